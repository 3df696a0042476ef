//! What a valid configuration says. Every value here has been checked; limits are in range,
//! names can be carried by a topic, paths are absolute or relative to the working folder.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::camera::Camera;
use super::inference::Inference;
use crate::frame::{RecipeId, StationId, Tiling};
use crate::sys::log::LogSettings;

/// A checked configuration. Defaults are stated at each field.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidConfig {
    /// The file it came from.
    pub file: PathBuf,
    /// `station`: name of the station, one MQTT topic level. Required.
    pub station: StationId,
    /// `state_dir`: folder of the verdict journal. Default `/var/lib/crrd`.
    pub state_dir: PathBuf,
    /// `engine`: the model. Required.
    pub engine: EngineSource,
    /// `calibration`: the limits. Required.
    pub calibration: CalibrationSource,
    /// `[inference]`: what runs the model.
    pub inference: Inference,
    /// `[mqtt]`.
    pub mqtt: Mqtt,
    /// `[sparkplug]`: the mirror for SCADA; none without the table.
    pub sparkplug: Option<Sparkplug>,
    /// `[[recipe]]`, at least one; ids are unique.
    pub recipes: Vec<Recipe>,
    /// `[camera]`, or `[[camera]]` for several that look at one part; at least one.
    pub cameras: Vec<Camera>,
    /// `[limits]`.
    pub limits: Limits,
    /// `[trigger]`.
    pub trigger: Trigger,
    /// `[journal]`.
    pub journal: Journal,
    /// `[record]`: the recording; none without the table.
    pub record: Option<Record>,
    /// `[log]`: `level` (default `info`) and `format` (default `text`).
    pub log: LogSettings,
}

impl ValidConfig {
    /// The only camera, or the first: parts have their names and recipes from it.
    pub fn camera(&self) -> &Camera {
        &self.cameras[0]
    }
}

/// Where the model comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineSource {
    /// `"demo"`: the bundle inside the program.
    Demo,
    /// A bundle folder with `manifest.toml`.
    Folder(PathBuf),
}

/// Where the limits come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CalibrationSource {
    /// `"demo"`: the limits inside the program; only with the demo engine.
    Demo,
    /// A calibration file.
    File(PathBuf),
}

/// The broker and how to speak to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mqtt {
    /// Name or address of the broker. Default `127.0.0.1`.
    pub host: String,
    /// TCP port. Default 1883, with TLS 8883.
    pub port: u16,
    /// Version of MQTT. Default `3.1.1`.
    pub version: MqttVersion,
    /// `tls = true` and its files. Default none: plain TCP.
    pub tls: Option<Tls>,
    /// First topic levels. Default `crr`.
    pub prefix: String,
    /// MQTT client id, unique at the broker. Default `crrd-` and the station.
    pub client_id: String,
    /// User name. Default none.
    pub username: Option<String>,
    /// Where the password is. Default none.
    pub password: Option<Password>,
    /// Silence after which either side checks the connection; the broker publishes the last
    /// will after one and a half times this. Default 5.
    pub keep_alive_s: u16,
    /// Live messages sent and not yet acknowledged. Default 32.
    pub live_in_flight_max: u16,
    /// Late (`hist`) messages sent and not yet acknowledged. Default 8.
    pub hist_in_flight_max: u16,
    /// `vbin`: live verdicts in binary form, too. Default `off`.
    pub binary: Option<ByteOrder>,
    /// Time between metrics in seconds. Default 10.
    pub health_s: u32,
}

/// Order of the bytes of a number in the binary form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    /// `big`: S7.
    Big,
    /// `little`: CODESYS, TwinCAT, Rockwell.
    Little,
}

/// What SCADA sees of the station, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sparkplug {
    /// Group of edge nodes. Required.
    pub group: String,
    /// The station as an edge node. Default the station's name.
    pub edge: String,
    /// The camera's place as a device. Default `camera`.
    pub device: String,
    /// The host application to wait for. Default none.
    pub primary_host: Option<String>,
    /// `host`, `port`, `username`, `password_file`. Default all of `[mqtt]`; the client id is
    /// always that of `[mqtt]` with `-sparkplug` behind it, and its TLS files hold here, too.
    pub broker: Mqtt,
}

/// Version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MqttVersion {
    /// `3.1.1`: every broker takes it.
    V3_1_1,
    /// `5`: live verdicts expire, refused messages are told.
    V5,
}

/// Files for TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// `ca_file`: the authority that signed the broker's certificate. Required with TLS.
    pub ca_file: PathBuf,
    /// `client_cert_file` and `client_key_file`, both or none. Default none.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// Where the password for the broker is; its first line counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Password {
    /// `password_file`.
    File(PathBuf),
    /// `password_credential`: a credential that systemd passes to the service.
    Credential(String),
}

/// What the PLC's recipe number means.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// Recipe number, 0 to 65535. Required.
    pub id: RecipeId,
    /// Product class of the engine. Required.
    pub class: String,
    /// `views`: cameras whose view is a class of its own, by name. Default none.
    pub views: BTreeMap<String, String>,
    /// `tiles` and `overlap`: pieces of a picture that the model sees one by one. Default: the
    /// picture at once; overlap 0.1 of a tile.
    pub tiling: Tiling,
}

/// How triggers become parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// `mode` after the start; the PLC may change it. Default `continuous`.
    pub mode: TriggerMode,
    /// From arming a part to its picture; later the part is answered without a verdict.
    /// Default 500: too short shows at once, as rejects; too long only when a trigger is lost.
    pub arm_wait_ms_max: u32,
    /// How far apart the pictures of one part may come, with several cameras. Default 50.
    pub window_ms_max: u32,
}

/// How triggers become parts after the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TriggerMode {
    /// `continuous`: each picture is a part.
    Continuous,
    /// `single`: the PLC arms each part before its picture comes.
    Single,
    /// `stop`: every part is answered without a verdict until the PLC changes the mode.
    Stop,
}

/// Limits of the data path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From trigger to verdict; later is INVALID. Default 1000.
    pub latency_ms_max: u32,
    /// Frames waiting for the engine. Default 4.
    pub queue_frames: usize,
}

/// The verdict journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Journal {
    /// How durable a verdict is before it is published. Default `full`.
    pub sync: SyncMode,
    /// `bytes_max_mb` (10^6 bytes): size bound, masks are dropped first. Default 2000.
    pub bytes_max: u64,
    /// `age_max_days`: rows older than this are dropped. Default 365.
    pub age_max: Duration,
}

/// What is recorded of the running station, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Folder of the recordings. Required.
    pub folder: PathBuf,
    /// `bytes_max_mb` (10^6 bytes): bound of all recordings in it. Default 10000.
    pub bytes_max: u64,
    /// What is kept. Default `all`.
    pub keep: KeepWord,
}

/// Which parts are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepWord {
    /// `all`.
    All,
    /// `rejects`: every part that did not pass.
    Rejects,
}

/// SQLite's synchronous setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMode {
    /// `full`: survives a power cut.
    Full,
    /// `normal`: survives a kill of the process; a power cut may cost the newest verdicts.
    Normal,
}

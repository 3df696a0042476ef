//! What a valid `[camera]` table says.

use std::path::PathBuf;

use super::v4l2::V4l2;
use crate::frame::{CameraName, Geometry, PixelFormat, RecipeId};

/// A camera and what becomes of its pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct Camera {
    /// `name`: for people. Default `camera`.
    pub name: CameraName,
    /// `kind` and the fields of that kind.
    pub source: CameraSource,
    /// Which recipe a picture belongs to. Default: the only recipe.
    pub recipe: RecipeChoice,
    /// `trigger = "software"`: a picture comes when the PLC asks for it; default `"free"`.
    pub software_trigger: bool,
    /// `[camera.geometry]`: what of each picture the model sees. Default: the whole picture.
    pub geometry: Geometry,
    /// `queue`: what becomes of pictures that wait when more come. Default `every`.
    pub queue: QueuePolicy,
}

/// What becomes of pictures that wait for the engine when more come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueuePolicy {
    /// `every`: all are looked at; what finds no room is answered without a verdict.
    Every,
    /// `latest`: a newer one replaces the one that waits, which is answered without a verdict.
    Latest,
}

/// Where the pictures come from.
#[derive(Clone, Debug, PartialEq)]
pub enum CameraSource {
    /// `replay`.
    Replay(Replay),
    /// `gige`.
    Gige(Gige),
    /// `webcam`.
    Webcam(Webcam),
    /// `v4l2`.
    V4l2(V4l2),
}

/// The replay camera: files of a folder, in the order of their names.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    /// Folder with the pictures; sub-folders included. Required.
    pub folder: PathBuf,
    /// What the files are. Default `image`.
    pub format: FileFormat,
    /// Pictures a second; 0 = as fast as the station takes them. Default 0.
    pub rate_hz: f64,
    /// Default `once`.
    pub mode: Mode,
    /// Fault script: what goes wrong on purpose. Default none.
    pub faults: Option<PathBuf>,
}

/// What the replayed files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// `image`: PNG, JPEG, BMP or TIFF, by content.
    Image,
    /// `raw`: pixels without header or padding, as a camera delivers them.
    Raw {
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
        /// Layout of one pixel.
        pixel_format: PixelFormat,
    },
}

/// Which recipe a picture belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecipeChoice {
    /// `recipe = ID`: all pictures, until the PLC makes another recipe the current one.
    Fixed(RecipeId),
    /// `recipe_from = "folder"`: the recipe whose class is the first folder name on the way to the
    /// picture that is a class; then classes are unique among the recipes.
    ClassFolder,
}

/// What happens after the last picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The run ends.
    Once,
    /// It begins again with the first.
    Loop,
}

/// A GigE Vision or USB3 Vision camera (`[camera.gige]`).
#[derive(Clone, Debug, PartialEq)]
pub struct Gige {
    /// Its id, IP or MAC address, serial number or user name. Required.
    pub device: String,
    /// Required: what a camera sends after power-up is its maker's choice.
    pub pixel_format: PixelFormat,
    /// Which part of the sensor is read out. Default: all of it.
    pub region: Region,
    /// Set of settings in the camera that is loaded before everything else. Default: none.
    pub user_set: Option<String>,
    /// The input line that triggers. Default: none, the camera runs free.
    pub trigger: Option<LineTrigger>,
    /// Ask the camera for its facts of each frame, where it can. Default true.
    pub chunks: bool,
    /// How the frames come over the network.
    pub link: GigeLink,
    /// Further features by their SFNC names, applied in the order of the file.
    pub features: Vec<Feature>,
}

impl Gige {
    /// What a table with these two keys alone says.
    pub fn new(device: impl Into<String>, pixel_format: PixelFormat) -> Self {
        Self {
            device: device.into(),
            pixel_format,
            region: Region::default(),
            user_set: None,
            trigger: None,
            chunks: true,
            link: GigeLink::default(),
            features: Vec::new(),
        }
    }
}

/// A part of the sensor in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Region {
    /// Default: the whole width.
    pub width: Option<u32>,
    /// Default: the whole height.
    pub height: Option<u32>,
    /// Left edge. Default 0.
    pub offset_x: u32,
    /// Upper edge. Default 0.
    pub offset_y: u32,
}

/// A trigger on an input line of the camera.
#[derive(Clone, Debug, PartialEq)]
pub struct LineTrigger {
    /// `Line1` and so on, or another source that the camera has (`Encoder0`, `Action1`).
    pub source: String,
    /// Default `RisingEdge`.
    pub activation: String,
    /// From the edge to the exposure in microseconds. Default 0.
    pub delay_us: f64,
    /// Shorter pulses on the line are ignored. Default: as the camera has it.
    pub debounce_us: Option<f64>,
    /// `trigger_counter`: the counter of the camera that counts the triggers, so that those which
    /// it ignores are missed. Default: none.
    pub counter: Option<String>,
}

/// How the frames of a GigE Vision camera come over the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GigeLink {
    /// Size of a packet in bytes. Default: the largest that reaches this machine, found by trying.
    pub packet_bytes: Option<u32>,
    /// Ask again for packets that are missing. Default true.
    pub resend: bool,
    /// Receive buffer that the kernel is asked for. Default 32 MiB.
    pub socket_buffer_bytes: u32,
    /// Take packets from the kernel's ring, when the process has the right to. Default true.
    pub packet_socket: bool,
}

/// Wanted receive buffer of the socket: a quarter of a second of a full gigabit link.
const SOCKET_BUFFER_BYTES: u32 = 32 << 20;

impl Default for GigeLink {
    fn default() -> Self {
        Self {
            packet_bytes: None,
            resend: true,
            socket_buffer_bytes: SOCKET_BUFFER_BYTES,
            packet_socket: true,
        }
    }
}

/// A feature of a camera and the value it gets.
#[derive(Clone, Debug, PartialEq)]
pub struct Feature {
    /// SFNC name, or any that the camera has.
    pub name: String,
    /// Selector and entry for which the value holds: `LineSource[LineSelector=Line2]`.
    pub selector: Option<(String, String)>,
    /// The value.
    pub value: FeatureValue,
}

/// A value of a feature.
#[derive(Clone, Debug, PartialEq)]
pub enum FeatureValue {
    /// A whole number.
    Integer(i64),
    /// A number.
    Float(f64),
    /// On or off; `true` runs a command.
    Boolean(bool),
    /// A text, or the name of an entry.
    Text(String),
}

impl std::fmt::Display for FeatureValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FeatureValue::Integer(whole) => write!(f, "{whole}"),
            FeatureValue::Float(number) => write!(f, "{number}"),
            FeatureValue::Boolean(word) => write!(f, "{word}"),
            FeatureValue::Text(text) => write!(f, "\"{text}\""),
        }
    }
}

/// A webcam (`[camera.webcam]`); its driver must take these settings exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Webcam {
    /// The number in `/dev/videoN`. Default 0.
    pub index: u32,
    /// Pixels in a row. Default 640.
    pub width: u32,
    /// Rows. Default 480.
    pub height: u32,
    /// Default `YUYV`.
    pub pixel_format: PixelFormat,
    /// Whole pictures a second. Default 30.
    pub rate_hz: u32,
}

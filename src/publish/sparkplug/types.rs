//! What the mirror is told.

use std::path::PathBuf;

use crate::message::{Counters, VerdictRecord};
use crate::publish::TlsFiles;
use crate::publish::types::Credentials;

/// Names in the Sparkplug namespace; each is one topic level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Group of edge nodes, for example the hall.
    pub group: String,
    /// The station as an edge node; unique in its group.
    pub edge: String,
    /// The camera's place as a device of the edge node.
    pub device: String,
    /// The host application without which nothing is told; `None` = anybody may listen.
    pub primary_host: Option<String>,
}

/// Where and as whom to mirror.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Broker's host name or address.
    pub host: String,
    /// Broker's port.
    pub port: u16,
    /// TLS; `None` = plain TCP.
    pub tls: Option<TlsFiles>,
    /// MQTT client id, unique at the broker.
    pub client_id: String,
    /// User name and password.
    pub credentials: Option<Credentials>,
    /// Keep-alive in seconds, at least 1.
    pub keep_alive_s: u16,
    /// Names in the namespace.
    pub names: Names,
    /// Version of this program.
    pub version: String,
    /// SHA-256 (hex) of the model file.
    pub engine_sha256: String,
    /// Names of the engine's classes, by number.
    pub classes: Vec<String>,
    /// File that keeps the number of the last session over restarts.
    pub bd_seq_file: PathBuf,
}

/// A part that was answered; its record is in the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// What was answered.
    pub record: VerdictRecord,
    /// UTC in milliseconds at which it was told.
    pub at_unix_ms: u64,
}

/// The station as SCADA shows it; a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Boot epoch.
    pub epoch: u32,
    /// Triggers are answered by judgement.
    pub ready: bool,
    /// State name of OPC 40100-1.
    pub state: &'static str,
    /// What is missing for `ready`, in words; empty = nothing.
    pub missing: &'static str,
    /// How triggers are taken.
    pub mode: &'static str,
    /// The current recipe.
    pub recipe: Option<u16>,
    /// Triggers that could not be taken since they were acknowledged.
    pub missed: u64,
    /// Calibration in force.
    pub calibration: u32,
    /// Whether the camera delivers; `None` = not known, as before.
    pub camera: Option<bool>,
    /// Parts answered, by outcome.
    pub counters: Counters,
}

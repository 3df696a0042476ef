//! The configuration file: TOML text -> [`ValidConfig`], or every problem at once.
//!
//! Two steps. [`parse`] is pure: it reads the text, checks every field, value and relation
//! and reports ALL problems, each with file, line, field, value and remedy, so that an
//! integrator mends a file in one round. [`load`] reads the file, parses it and proves that what
//! it names exists. Fields nobody asked for are refused: a misspelt limit must not fall back to
//! its default in silence.
//!
//! Relative paths are relative to the configuration file. `docs/spec/config.md` has the
//! reference; a test holds it to the fields and defaults of the code.

mod camera;
mod framings;
mod inference;
mod mqtt;
mod paths;
mod problem;
mod reader;
mod record;
mod sparkplug;
mod tiles;
mod types;
mod validate;
mod values;

use std::path::Path;

pub use camera::{
    Camera, CameraSource, Control, ControlValue, Feature, FeatureValue, FileFormat, Gige, GigeLink,
    LineTrigger, Mode, QueuePolicy, RecipeChoice, Region, Replay, V4l2, Webcam,
};
pub use framings::Framings;
pub use inference::{BackendChoice, Inference};
pub use mqtt::IN_FLIGHT_MAX;
pub use problem::{ConfigError, ConfigErrorKind, Problem};
pub use types::{
    ByteOrder, CalibrationSource, EngineSource, Journal, KeepWord, Limits, Mqtt, MqttVersion,
    Password, Recipe, Record, Sparkplug, SyncMode, Tls, Trigger, TriggerMode, ValidConfig,
};

use crate::sys::fs;

/// A configuration is a page of text; more is a wrong file.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Reads, parses and checks `file` and the paths it names.
///
/// # Errors
/// When the file cannot be read, or with all the problems found in it.
pub fn load(file: &Path) -> Result<ValidConfig, ConfigError> {
    let text = fs::read_text(file, FILE_BYTES_MAX).map_err(ConfigError::unreadable)?;
    let (config, lines) = validate::validate(file, &text)?;
    let missing = paths::problems(&config, &lines);
    if missing.is_empty() { Ok(config) } else { Err(ConfigError::invalid(missing)) }
}

/// Checks `text` without touching anything; `file` names it in messages and anchors its
/// relative paths.
///
/// # Errors
/// With all the problems found.
pub fn parse(file: &Path, text: &str) -> Result<ValidConfig, ConfigError> {
    validate::validate(file, text).map(|(config, _)| config)
}

#[cfg(test)]
mod tests;

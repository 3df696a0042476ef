//! What of a camera's pictures the model sees: one setting for calibration and production.
//!
//! The configuration says it (`[camera.geometry]`), `crrd calibrate` records it with the limits it
//! makes, and the station shows the model what the limits were made from. When the two differ the
//! station does not start.

use std::path::Path;

use anyhow::{Result, bail};

use crate::calibrate::Calibration;
use crate::config::{self, ValidConfig};
use crate::frame::Geometry;

/// The geometry of each product class.
pub(super) struct Views {
    config: Option<ValidConfig>,
}

/// What the configuration file says; whole pictures without one. What the file names need not be
/// there yet.
///
/// # Errors
/// When the file cannot be read or is not valid.
pub(super) fn of_config(file: Option<&Path>) -> Result<Views> {
    let Some(file) = file else { return Ok(Views { config: None }) };
    let text = crate::sys::fs::read_text(file, CONFIG_BYTES_MAX)?;
    Ok(Views { config: Some(config::parse(file, &text)?) })
}

/// No configuration comes near it.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

impl Views {
    /// What the model sees of the pictures of a class.
    pub(super) fn of_class(&self, class: &str) -> Geometry {
        self.config.as_ref().map_or(Geometry::WHOLE, |config| geometry_of(config, class))
    }
}

fn geometry_of(config: &ValidConfig, _class: &str) -> Geometry {
    config.camera.geometry
}

/// Refuses limits that were made from pictures seen in another way than the camera's are now.
///
/// # Errors
/// For the first recipe whose limit does not fit; the message says both ways.
pub(super) fn check(config: &ValidConfig, calibration: &Calibration) -> Result<()> {
    for recipe in &config.recipes {
        let Some(limit) = calibration.limit(&recipe.class) else { continue };
        let now = geometry_of(config, &recipe.class);
        if limit.geometry != now {
            bail!(
                "the limit of class {:?} was made from other pictures: the model saw {}, and \
                 [camera.geometry] says {now}; run `crrd calibrate` with --config {}, or put \
                 [camera.geometry] back",
                recipe.class,
                limit.geometry,
                config.file.display()
            );
        }
    }
    Ok(())
}

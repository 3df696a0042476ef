//! What of a camera's pictures the model sees: one setting for calibration and production.
//!
//! The configuration says it (`[camera.geometry]`), `crrd calibrate` records it with the limits it
//! makes, and the station shows the model what the limits were made from. When the two differ the
//! station does not start.

use std::path::Path;

use anyhow::{Result, bail};

use crate::calibrate::Calibration;
use crate::config::{self, Camera, Recipe, ValidConfig};
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

/// Of several cameras, that which sees the class.
fn geometry_of(config: &ValidConfig, class: &str) -> Geometry {
    let sees = |camera: &&Camera| config.recipes.iter().any(|r| class_of(r, camera) == class);
    config.cameras.iter().find(sees).unwrap_or_else(|| config.camera()).geometry
}

fn class_of<'a>(recipe: &'a Recipe, camera: &Camera) -> &'a str {
    recipe.views.get(camera.name.as_str()).unwrap_or(&recipe.class)
}

/// Refuses limits that were made from pictures seen in another way than the camera's are now.
///
/// # Errors
/// For the first recipe whose limit does not fit; the message says both ways.
pub(super) fn check(config: &ValidConfig, calibration: &Calibration) -> Result<()> {
    let all = config.cameras.iter().flat_map(|c| config.recipes.iter().map(move |r| (c, r)));
    for (camera, recipe) in all {
        let class = class_of(recipe, camera);
        let Some(limit) = calibration.limit(class) else { continue };
        let now = camera.geometry;
        if limit.geometry != now {
            bail!(
                "the limit of class {class:?} was made from other pictures: the model saw {}, and \
                 [camera.geometry] says {now}; run `crrd calibrate` with --config {}, or put \
                 [camera.geometry] back",
                limit.geometry,
                config.file.display()
            );
        }
    }
    Ok(())
}

//! What of a camera's pictures the model sees, and in how many tiles: one setting for calibration
//! and production.
//!
//! The configuration says it (`[camera.geometry]` and `tiles` of the recipe), `crrd calibrate`
//! records it with the limits it makes, and the station shows the model what the limits were made
//! from. When the two differ the station does not start.

use std::path::Path;

use anyhow::{Result, bail};

use crate::calibrate::Calibration;
use crate::config::{self, Camera, Recipe, ValidConfig};
use crate::engine::ModelSpec;
use crate::frame::Framing;
use crate::judge::Judge;

/// How the model sees the pictures of each product class.
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
    /// How the model sees the pictures of a class.
    pub(super) fn of_class(&self, class: &str) -> Framing {
        self.config.as_ref().map_or(Framing::WHOLE, |config| framing_of(config, class))
    }
}

/// Of several cameras, that which sees the class.
fn framing_of(config: &ValidConfig, class: &str) -> Framing {
    let both = |camera: &Camera, recipe: &Recipe| Framing {
        geometry: camera.geometry,
        tiling: recipe.tiling,
    };
    let all = config.cameras.iter().flat_map(|c| config.recipes.iter().map(move |r| (c, r)));
    let sees = |(camera, recipe): &(&Camera, &Recipe)| class_of(recipe, camera) == class;
    let seen = all.into_iter().find(sees).map(|(camera, recipe)| both(camera, recipe));
    // A class without a recipe is seen as the first camera sees.
    seen.unwrap_or(Framing { geometry: config.camera().geometry, ..Framing::WHOLE })
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
        let file = config.file.display();
        if limit.geometry != camera.geometry {
            bail!(
                "the limit of class {class:?} was made from other pictures: the model saw {}, and \
                 [camera.geometry] says {}; run `crrd calibrate` with --config {file}, or put \
                 [camera.geometry] back",
                limit.geometry,
                camera.geometry
            );
        }
        if limit.tiling != recipe.tiling {
            bail!(
                "the limit of class {class:?} does not hold in these tiles: it was made from \
                 pictures seen {}, and recipe {} wants them {}; run `crrd calibrate` with --config \
                 {file}, or put tiles and overlap back",
                limit.tiling,
                recipe.id.0,
                recipe.tiling
            );
        }
    }
    Ok(())
}

/// Refuses tiles whose maps make a larger one than can be judged: no part would ever pass.
///
/// # Errors
/// When they do.
pub(super) fn check_size(framing: &Framing, spec: &ModelSpec) -> Result<()> {
    let (width, height) = framing.tiling.grid((spec.map_width, spec.map_height)).size();
    if width.max(height) <= Judge::SIDE_PX_MAX {
        return Ok(());
    }
    bail!(
        "pictures seen {} make a map of {width}x{height} pixels, and one of at most {} a side can \
         be judged: use fewer tiles",
        framing.tiling,
        Judge::SIDE_PX_MAX
    )
}

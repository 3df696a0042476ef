//! What of a camera's pictures the model sees, and in how many tiles: one setting for training,
//! calibration and production.
//!
//! The configuration says it ([`Framings`](crate::config::Framings)), `crrd calibrate` records it
//! with the limits it makes, and the station shows the model what the limits were made from. When
//! the two differ the station does not start.

use anyhow::{Result, bail};

use crate::calibrate::Calibration;
use crate::config::ValidConfig;
use crate::engine::ModelSpec;
use crate::frame::Framing;
use crate::judge::Judge;

/// Refuses limits that were made from pictures seen in another way than the camera's are now.
///
/// # Errors
/// For the first recipe whose limit does not fit; the message says both ways.
pub(super) fn check(config: &ValidConfig, calibration: &Calibration) -> Result<()> {
    for (camera, recipe) in config.looks() {
        let class = recipe.class_seen_by(camera);
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

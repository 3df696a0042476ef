//! From the camera that the configuration names to the camera that the station takes.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::capture::gige::{self, GigeOptions};
use crate::capture::replay::{self as capture, ReplayOptions, Source};
use crate::capture::webcam::{self, WebcamOptions};
use crate::capture::{Camera as AnyCamera, CameraError};
use crate::config::{Camera, CameraSource, FileFormat, Mode, Recipe, RecipeChoice, Replay};
use crate::frame::CameraId;
use crate::sys::clock::Clock;

/// Opens the camera; it does not stream yet.
///
/// # Errors
/// When it cannot be opened; the message says what to do.
pub(super) fn open(
    camera: &Camera,
    recipes: &[Recipe],
    clock: Arc<dyn Clock>,
) -> Result<Box<dyn AnyCamera>, CameraError> {
    match &camera.source {
        CameraSource::Replay(replay) => {
            let options = replay_options(camera, replay, recipes);
            Ok(Box::new(capture::Replay::open(options, clock)?))
        }
        CameraSource::Gige(settings) => {
            let options = GigeOptions {
                settings: settings.clone(),
                software_trigger: camera.software_trigger,
                camera: CameraId(0),
            };
            Ok(Box::new(gige::open(options, clock)?))
        }
        CameraSource::Webcam(settings) => webcam::open(
            WebcamOptions {
                index: settings.index,
                width: settings.width as usize,
                height: settings.height as usize,
                format: settings.pixel_format,
                rate_hz: settings.rate_hz,
                camera: CameraId(0),
            },
            clock,
        ),
    }
}

/// The settings of the replay camera.
pub(super) fn replay_options(
    camera: &Camera,
    replay: &Replay,
    recipes: &[Recipe],
) -> ReplayOptions {
    let source = match replay.format {
        FileFormat::Image => Source::Images,
        FileFormat::Raw { width, height, pixel_format } => {
            Source::Raw { width: width as usize, height: height as usize, format: pixel_format }
        }
    };
    let recipe = match camera.recipe {
        // The station starts with this recipe, and the PLC may change it.
        RecipeChoice::Fixed(_) => capture::RecipeChoice::Current,
        RecipeChoice::ClassFolder => {
            let table: BTreeMap<_, _> = recipes.iter().map(|r| (r.class.clone(), r.id)).collect();
            capture::RecipeChoice::Folder(table)
        }
    };
    ReplayOptions {
        folder: replay.folder.clone(),
        source,
        recipe,
        rate_hz: replay.rate_hz,
        triggered: camera.software_trigger,
        repeat: replay.mode == Mode::Loop,
        faults: replay.faults.clone(),
        // This version has one camera.
        camera: CameraId(0),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{self, ValidConfig};
    use crate::frame::{PixelFormat, RecipeId};

    fn replay_of(config: &ValidConfig) -> ReplayOptions {
        let CameraSource::Replay(replay) = &config.camera.source else { panic!("{config:?}") };
        replay_options(&config.camera, replay, &config.recipes)
    }

    fn parse(extra: &str) -> ValidConfig {
        let text = format!(
            "station = \"a\"\nengine = \"e\"\ncalibration = \"c\"\n\
             [[recipe]]\nid = 1\nclass = \"steel\"\n[[recipe]]\nid = 2\nclass = \"brass\"\n{extra}"
        );
        config::parse(Path::new("/etc/crrd.toml"), &text).unwrap()
    }

    #[test]
    fn the_camera_table_becomes_the_replay_it_describes() {
        let config = parse(
            "[camera]\nfolder = \"p\"\nrecipe_from = \"folder\"\nrate_hz = 2.5\nmode = \"loop\"\n\
             format = \"raw\"\nwidth = 8\nheight = 4\npixel_format = \"Mono8\"",
        );
        let options = replay_of(&config);
        let format = PixelFormat::Mono8;
        assert_eq!(options.source, Source::Raw { width: 8, height: 4, format });
        assert_eq!((options.rate_hz, options.repeat), (2.5, true));
        assert_eq!(options.folder, Path::new("/etc/p"));
        let table = [("brass", 2), ("steel", 1)].map(|(c, id)| (c.to_owned(), RecipeId(id)));
        assert_eq!(options.recipe, capture::RecipeChoice::Folder(table.into()));
        let config = parse("[camera]\nfolder = \"p\"\nrecipe = 2");
        let options = replay_of(&config);
        assert_eq!(options.recipe, capture::RecipeChoice::Current);
        assert_eq!((options.source, options.repeat), (Source::Images, false));
    }
}

//! From the camera that the configuration names to the camera that the station takes.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::capture::gige::{self, GigeOptions};
use crate::capture::replay::{self as capture, ReplayOptions, Source};
use crate::capture::v4l2::{self, V4l2Options};
use crate::capture::webcam::{self, WebcamOptions};
use crate::capture::{Camera as AnyCamera, CameraError};
use crate::config::{
    self, Camera, CameraSource, ControlValue, FileFormat, Mode, Recipe, RecipeChoice, Replay,
};
use crate::frame::CameraId;
use crate::sys::clock::Clock;

/// Opens the camera; it does not stream yet.
///
/// # Errors
/// When it cannot be opened; the message says what to do.
pub(super) fn open(
    camera: &Camera,
    id: CameraId,
    recipes: &[Recipe],
    clock: Arc<dyn Clock>,
) -> Result<Box<dyn AnyCamera>, CameraError> {
    match &camera.source {
        CameraSource::Replay(replay) => {
            let options = ReplayOptions { camera: id, ..replay_options(camera, replay, recipes) };
            Ok(Box::new(capture::Replay::open(options, clock)?))
        }
        CameraSource::Gige(settings) => {
            let options = GigeOptions {
                settings: settings.clone(),
                software_trigger: camera.software_trigger,
                camera: id,
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
                camera: id,
            },
            clock,
        ),
        CameraSource::V4l2(v4l2) => Ok(Box::new(v4l2::V4l2::open(v4l2_options(v4l2, id), clock)?)),
    }
}

fn v4l2_options(camera: &config::V4l2, id: CameraId) -> V4l2Options {
    let control = |control: &config::Control| v4l2::Setting {
        name: control.name.clone(),
        value: match &control.value {
            ControlValue::Number(number) => v4l2::Value::Number(*number),
            ControlValue::Flag(flag) => v4l2::Value::Flag(*flag),
            ControlValue::Word(word) => v4l2::Value::Word(word.clone()),
        },
    };
    V4l2Options {
        device: camera.device.clone(),
        format: camera.pixel_format,
        width: camera.width,
        height: camera.height,
        interval: camera.rate_hz.map(v4l2::Interval::of_hz),
        way: if camera.user_memory { v4l2::Way::UserPtr } else { v4l2::Way::Mmap },
        buffers: camera.buffer_count,
        controls: camera.controls.iter().map(control).collect(),
        camera: id,
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
        let CameraSource::Replay(replay) = &config.camera().source else { panic!("{config:?}") };
        replay_options(config.camera(), replay, &config.recipes)
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
    #[test]
    fn the_v4l2_table_becomes_the_camera_it_describes() {
        let config = parse(
            "[camera]\nkind = \"v4l2\"\nrecipe = 1\n[camera.v4l2]\ndevice = \"/dev/video0\"\n\
             pixel_format = \"BayerRG8\"\nwidth = 1920\nheight = 1200\nrate_hz = 29.97\n\
             buffers = \"userptr\"\nbuffer_count = 9\n\
             controls = { auto_exposure = \"Manual Mode\", gain = 3, flip = true }",
        );
        let CameraSource::V4l2(camera) = &config.camera().source else { panic!("{config:?}") };
        let options = v4l2_options(camera, CameraId(1));
        assert_eq!(options.device, Path::new("/dev/video0"));
        assert_eq!(options.format, PixelFormat::BayerRG8);
        assert_eq!((options.width, options.height, options.buffers), (1920, 1200, Some(9)));
        assert_eq!(options.interval, Some(v4l2::Interval { seconds: 100, per: 2997 }));
        assert_eq!(options.way, v4l2::Way::UserPtr);
        let set = |name: &str, value| v4l2::Setting { name: name.to_owned(), value };
        let expected = [
            set("auto_exposure", v4l2::Value::Word("Manual Mode".to_owned())),
            set("gain", v4l2::Value::Number(3)),
            set("flip", v4l2::Value::Flag(true)),
        ];
        assert_eq!(options.controls, expected);
    }
}

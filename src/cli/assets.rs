//! From what the configuration names to what the station takes: the engine bundle, the
//! calibration, the replay camera, the password. Shared by `run`, `check` and the tools, so that
//! `check` proves what `run` will do.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use crate::calibrate::Calibration;
use crate::capture::replay::{self, ReplayOptions, Source};
use crate::config::{
    CalibrationSource, Camera, EngineSource, FileFormat, Mode, Mqtt, Recipe, RecipeChoice,
};
use crate::engine::bundle::{BundleSource, EmbeddedBundle};
use crate::frame::CameraId;
use crate::publish::Credentials;
use crate::sys::fs;

/// A calibration holds some thousand scores for each of a few classes.
const CALIBRATION_BYTES_MAX: u64 = 64 << 20;
/// MQTT carries a password of up to 65535 bytes; a longer file is a wrong file.
const PASSWORD_BYTES_MAX: u64 = 65_535;

/// The engine of the demonstration: part of the program, so that it needs no files.
pub(super) const DEMO_ENGINE: EmbeddedBundle = EmbeddedBundle {
    name: "demo",
    manifest: include_str!("../../engines/demo/manifest.toml"),
    model: include_bytes!("../../engines/demo/model.onnx"),
    golden: include_bytes!("../../engines/demo/golden.safetensors"),
};

/// The limits of the demonstration, certified on rendered good parts.
pub(super) const DEMO_CALIBRATION: &str = include_str!("../../calibration/demo.toml");

/// Where the engine bundle lies.
///
pub(super) fn bundle_source(engine: &EngineSource) -> BundleSource {
    match engine {
        EngineSource::Folder(folder) => BundleSource::Dir(folder.clone()),
        EngineSource::Demo => BundleSource::Embedded(DEMO_ENGINE),
    }
}

/// Reads the calibration and proves what it can prove about itself.
///
/// # Errors
/// When it cannot be read or is damaged; the message names the file.
pub(super) fn calibration(source: &CalibrationSource) -> Result<Calibration> {
    match source {
        CalibrationSource::File(file) => {
            let text = fs::read_text(file, CALIBRATION_BYTES_MAX)?;
            Calibration::from_toml(&text).with_context(|| format!("calibration {}", file.display()))
        }
        CalibrationSource::Demo => {
            Calibration::from_toml(DEMO_CALIBRATION).context("calibration `demo`")
        }
    }
}

/// The settings of the replay camera.
pub(super) fn replay_options(camera: &Camera, recipes: &[Recipe]) -> ReplayOptions {
    let source = match camera.format {
        FileFormat::Image => Source::Images,
        FileFormat::Raw { width, height, pixel_format } => {
            Source::Raw { width: width as usize, height: height as usize, format: pixel_format }
        }
    };
    let recipe = match camera.recipe {
        // The station starts with this recipe, and the PLC may change it.
        RecipeChoice::Fixed(_) => replay::RecipeChoice::Current,
        RecipeChoice::ClassFolder => {
            let table: BTreeMap<_, _> = recipes.iter().map(|r| (r.class.clone(), r.id)).collect();
            replay::RecipeChoice::Folder(table)
        }
    };
    ReplayOptions {
        folder: camera.folder.clone(),
        source,
        recipe,
        rate_hz: camera.rate_hz,
        triggered: camera.software_trigger,
        repeat: camera.mode == Mode::Loop,
        // This version has one camera.
        camera: CameraId(0),
    }
}

/// User name and password, when the configuration has a user. The password is the first line of
/// its file.
///
/// # Errors
/// When the password file cannot be read; a missing secret must not become an anonymous login.
pub(super) fn credentials(mqtt: &Mqtt) -> Result<Option<Credentials>> {
    let Some(user) = mqtt.username.clone() else { return Ok(None) };
    let password = match &mqtt.password_file {
        None => String::new(),
        Some(file) => {
            let text = fs::read_text(file, PASSWORD_BYTES_MAX)?;
            text.lines().next().unwrap_or_default().to_owned()
        }
    };
    Ok(Some(Credentials { user, password }))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;
    use crate::frame::{PixelFormat, RecipeId};

    fn parse(extra: &str) -> config::ValidConfig {
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
        let options = replay_options(&config.camera, &config.recipes);
        let format = PixelFormat::Mono8;
        assert_eq!(options.source, Source::Raw { width: 8, height: 4, format });
        assert_eq!((options.rate_hz, options.repeat), (2.5, true));
        assert_eq!(options.folder, Path::new("/etc/p"));
        let table = [("brass", 2), ("steel", 1)].map(|(c, id)| (c.to_owned(), RecipeId(id)));
        assert_eq!(options.recipe, replay::RecipeChoice::Folder(table.into()));
        let config = parse("[camera]\nfolder = \"p\"\nrecipe = 2");
        let options = replay_options(&config.camera, &config.recipes);
        assert_eq!(options.recipe, replay::RecipeChoice::Current);
        assert_eq!((options.source, options.repeat), (Source::Images, false));
    }

    #[test]
    fn the_password_is_the_first_line_of_its_file_and_is_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        std::fs::write(&file, "geheim word \nsecond line\n").unwrap();
        let mut mqtt = parse("[camera]\nfolder = \"p\"\nrecipe = 1").mqtt;
        assert_eq!(credentials(&mqtt).unwrap(), None);
        mqtt.username = Some("crrd".into());
        assert_eq!(credentials(&mqtt).unwrap().unwrap().password, "");
        mqtt.password_file = Some(file.clone());
        let found = credentials(&mqtt).unwrap().unwrap();
        assert_eq!((found.user.as_str(), found.password.as_str()), ("crrd", "geheim word "));
        assert!(!format!("{found:?}").contains("geheim"));
        std::fs::remove_file(&file).unwrap();
        assert!(format!("{:#}", credentials(&mqtt).unwrap_err()).contains("password"));
    }
}

//! What of a picture the model sees, and in how many tiles, by product class: `camera.geometry`
//! and the `tiles` of the recipe. Training, evaluation and calibration ask here, so that all see
//! what the station shows the model.

use std::path::Path;

use super::{Camera, ConfigError, FILE_BYTES_MAX, Recipe, ValidConfig, parse};
use crate::frame::Framing;
use crate::sys::fs;

/// How the model sees the pictures of each product class. The default: whole pictures at once.
#[derive(Clone, Debug, Default)]
pub struct Framings {
    config: Option<ValidConfig>,
}

impl Framings {
    /// What the configuration file says; whole pictures without one. What the file names need not
    /// be there yet.
    ///
    /// # Errors
    /// When the file cannot be read or is not valid.
    pub fn of_file(file: Option<&Path>) -> Result<Self, ConfigError> {
        let Some(file) = file else { return Ok(Self::default()) };
        let text = fs::read_text(file, FILE_BYTES_MAX).map_err(ConfigError::unreadable)?;
        Ok(Self { config: Some(parse(file, &text)?) })
    }

    /// How the model sees the pictures of a class. One that no recipe names is seen at once, as
    /// the first camera sees.
    pub fn of_class(&self, class: &str) -> Framing {
        let Some(config) = &self.config else { return Framing::WHOLE };
        let named = config.looks_at(class).next();
        let first = Framing { geometry: config.camera().geometry, ..Framing::WHOLE };
        named.map_or(first, |(camera, recipe)| Framing {
            geometry: camera.geometry,
            tiling: recipe.tiling,
        })
    }

    /// Whether there is a configuration, and none of its recipes names the class.
    pub fn lack(&self, class: &str) -> bool {
        self.config.as_ref().is_some_and(|config| config.looks_at(class).next().is_none())
    }
}

impl ValidConfig {
    /// Every camera with every recipe.
    pub fn looks(&self) -> impl Iterator<Item = (&Camera, &Recipe)> {
        self.cameras.iter().flat_map(|c| self.recipes.iter().map(move |r| (c, r)))
    }

    /// The cameras that see a class, each with the recipe it does so for.
    fn looks_at(&self, class: &str) -> impl Iterator<Item = (&Camera, &Recipe)> {
        self.looks().filter(move |(camera, recipe)| recipe.class_seen_by(camera) == class)
    }
}

impl Recipe {
    /// The class that a part of this recipe is to this camera.
    pub fn class_seen_by(&self, camera: &Camera) -> &str {
        self.views.get(camera.name.as_str()).unwrap_or(&self.class)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Geometry, Tiling};

    const TWO_CAMERAS: &str = r#"
station = "line1"
engine = "engines/steel"
calibration = "steel.toml"
[trigger]
mode = "single"
[[recipe]]
id = 7
class = "steel"
views = { side = "steel-side" }
tiles = "2x1"
overlap = 0.2
[[camera]]
name = "top"
folder = "top"
geometry = { roi = [8, 4, 40, 30], mirror = true }
[[camera]]
name = "side"
folder = "side"
geometry = { rotate = 90 }
"#;

    #[test]
    fn each_class_is_seen_as_its_camera_and_its_recipe_say() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("crrd.toml");
        std::fs::write(&file, TWO_CAMERAS).unwrap();
        let framings = Framings::of_file(Some(&file)).unwrap();
        let top = Geometry { roi: Some([8, 4, 40, 30]), mirror: true, ..Geometry::WHOLE };
        let tiling = Tiling { columns: 2, rows: 1, overlap: 0.2 };
        assert_eq!(framings.of_class("steel"), Framing { geometry: top, tiling });
        let side = Geometry { rotate: 90, ..Geometry::WHOLE };
        assert_eq!(framings.of_class("steel-side"), Framing { geometry: side, tiling });
        assert_eq!(framings.of_class("brass"), Framing { geometry: top, tiling: Tiling::WHOLE });
        let lacking = ["steel", "steel-side", "brass"].map(|class| framings.lack(class));
        assert_eq!(lacking, [false, false, true]);
    }

    #[test]
    fn without_a_file_pictures_are_seen_whole_and_a_file_that_is_not_there_is_said() {
        let framings = Framings::of_file(None).unwrap();
        assert!(framings.of_class("steel").is_whole() && !framings.lack("steel"));
        let error = Framings::of_file(Some(Path::new("nowhere/crrd.toml"))).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("nowhere"), "{source}");
    }
}

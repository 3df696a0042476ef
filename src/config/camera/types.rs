//! What a valid `[camera]` table says.

use std::path::PathBuf;

use crate::frame::{PixelFormat, RecipeId};

/// A camera and what becomes of its pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct Camera {
    /// `kind` and the fields of that kind.
    pub source: CameraSource,
    /// Which recipe a picture belongs to. Default: the only recipe.
    pub recipe: RecipeChoice,
    /// `trigger = "software"`: a picture comes when the PLC asks for it; default `"free"`.
    pub software_trigger: bool,
}

/// Where the pictures come from.
#[derive(Clone, Debug, PartialEq)]
pub enum CameraSource {
    /// `replay`.
    Replay(Replay),
}

/// The replay camera: files of a folder, in the order of their names.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    /// Folder with the pictures; sub-folders included. Required.
    pub folder: PathBuf,
    /// What the files are. Default `image`.
    pub format: FileFormat,
    /// Pictures a second; 0 = as fast as the station takes them. Default 0.
    pub rate_hz: f64,
    /// Default `once`.
    pub mode: Mode,
}

/// What the replayed files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// `image`: PNG, JPEG, BMP or TIFF, by content.
    Image,
    /// `raw`: pixels without header or padding, as a camera delivers them.
    Raw {
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
        /// Layout of one pixel.
        pixel_format: PixelFormat,
    },
}

/// Which recipe a picture belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecipeChoice {
    /// `recipe = ID`: all pictures, until the PLC makes another recipe the current one.
    Fixed(RecipeId),
    /// `recipe_from = "folder"`: the recipe whose class is the first folder name on the way to the
    /// picture that is a class; then classes are unique among the recipes.
    ClassFolder,
}

/// What happens after the last picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The run ends.
    Once,
    /// It begins again with the first.
    Loop,
}

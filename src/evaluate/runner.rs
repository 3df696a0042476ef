//! From a picture's bytes to the engine's answer, as the station does it.

use crate::engine::{Engine, EngineError, Eye, Held};
use crate::frame::{AnomalyMap, Framing, Geometry, ViewError};
use crate::image::{ImageError, RgbImage, decode};

/// An engine with the one preprocessing in front of it.
pub struct Runner {
    eye: Eye,
}

/// A picture could not be answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The picture cannot be read; the engine is fine.
    #[error("the picture cannot be used")]
    Picture(#[from] ImageError),
    /// The picture's size and its bytes contradict each other.
    #[error("the picture cannot be used")]
    View(#[from] ViewError),
    /// The engine failed.
    #[error("the engine failed on the picture")]
    Engine(#[from] EngineError),
}

impl Runner {
    /// A runner on `engine`.
    pub fn new(engine: Box<dyn Engine>) -> Self {
        Self { eye: Eye::new(engine) }
    }

    /// The engine.
    pub fn engine(&self) -> &dyn Engine {
        self.eye.engine()
    }

    /// Decodes and runs what `framing` shows of a picture file's bytes.
    ///
    /// # Errors
    /// See [`RunError`].
    pub fn run(
        &mut self,
        file: &[u8],
        framing: &Framing,
    ) -> Result<(RgbImage, AnomalyMap), RunError> {
        let picture = decode(file)?;
        let map = self.run_decoded(&picture, framing)?;
        Ok((picture, map))
    }

    /// Runs what `framing` shows of a decoded picture.
    ///
    /// # Errors
    /// See [`RunError`].
    pub fn run_decoded(
        &mut self,
        picture: &RgbImage,
        framing: &Framing,
    ) -> Result<AnomalyMap, RunError> {
        let held = self.eye.prepare(framing, picture.view()?)?;
        // Nobody waits for the answer.
        self.eye.look((held == Held::Picture).then_some(picture.data.as_slice()), || true)?;
        Ok(self.eye.take_map())
    }
}

/// Reads a mask picture: every pixel above 0 belongs to the defect; what `geometry` shows of it,
/// brought to `to` (width, height).
///
/// # Errors
/// When the file is not a picture.
pub fn read_mask(
    file: &[u8],
    geometry: &Geometry,
    to: (usize, usize),
) -> Result<Vec<bool>, ImageError> {
    let picture = decode(file)?;
    let mask: Vec<bool> = picture.data.chunks_exact(3).map(|p| p.iter().any(|v| *v > 0)).collect();
    Ok(super::regions::mask_seen(&mask, (picture.width, picture.height), geometry, to))
}

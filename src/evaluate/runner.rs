//! From a picture's bytes to the engine's answer, as the station does it.

use crate::engine::{Engine, EngineError};
use crate::frame::{AnomalyMap, Geometry, ViewError};
use crate::image::{ImageError, Preprocessor, RgbImage, decode};

/// An engine with the one preprocessing in front of it.
pub struct Runner {
    engine: Box<dyn Engine>,
    preprocessor: Preprocessor,
    input: Vec<u8>,
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
        let spec = engine.spec();
        let preprocessor = Preprocessor::new(spec.input_width, spec.input_height);
        let input = vec![0; spec.input_bytes()];
        Self { engine, preprocessor, input }
    }

    /// The engine.
    pub fn engine(&self) -> &dyn Engine {
        &*self.engine
    }

    /// Decodes and runs what `geometry` shows of a picture file's bytes.
    ///
    /// # Errors
    /// See [`RunError`].
    pub fn run(
        &mut self,
        file: &[u8],
        geometry: &Geometry,
    ) -> Result<(RgbImage, AnomalyMap), RunError> {
        let picture = decode(file)?;
        let map = self.run_decoded(&picture, geometry)?;
        Ok((picture, map))
    }

    /// Runs what `geometry` shows of a decoded picture.
    ///
    /// # Errors
    /// See [`RunError`].
    pub fn run_decoded(
        &mut self,
        picture: &RgbImage,
        geometry: &Geometry,
    ) -> Result<AnomalyMap, RunError> {
        self.preprocessor.run_in(geometry, picture.view()?, &mut self.input)?;
        let mut map = AnomalyMap::default();
        self.engine.infer(&self.input, &mut map)?;
        Ok(map)
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

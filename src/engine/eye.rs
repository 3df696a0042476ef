//! The one way from a picture to an anomaly map: preprocessing, tiles, inference, stitching.
//!
//! Calibration, evaluation, inspection and the station look through the same eye, so that a limit
//! holds for what it was made from. Two steps, because a camera's buffer is free again as soon as
//! the model's input is made: [`Eye::prepare`], then [`Eye::look`]. An engine that reads the camera's
//! frames where they lie takes one step: [`Eye::read`]. Allocates nothing once it has
//! seen the largest tiling, besides what the inference library and the decoder of JPEG frames do.

use super::{Condition, Engine, EngineError, Happening, ModelSpec};
use crate::frame::{AnomalyMap, Frame, Framing, Grid, ImageView, Tiling};
use crate::image::{ImageError, Preprocessor};

/// An engine with all the memory that looking at a picture takes.
pub struct Eye {
    engine: Box<dyn Engine>,
    preprocessor: Preprocessor,
    /// Inputs of the tiles, one after the other.
    input: Vec<u8>,
    /// Of the picture that was prepared last.
    grid: Grid,
    /// What the engine said of one tile.
    tile: AnomalyMap,
    /// What it said of the picture.
    map: AnomalyMap,
}

/// What must stay until the engine has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Nothing: the input was made.
    Nothing,
    /// The picture, whose own bytes are the input.
    Picture,
}

impl Eye {
    /// An eye of `engine`, for pictures seen at once until others come.
    pub fn new(engine: Box<dyn Engine>) -> Self {
        let spec = engine.spec();
        let map = (spec.map_width, spec.map_height);
        let preprocessor = Preprocessor::new(spec.input_width, spec.input_height);
        Self {
            input: vec![0; preprocessor.output_bytes()],
            grid: Tiling::WHOLE.grid(map),
            tile: AnomalyMap::unwritten(map.0, map.1),
            map: AnomalyMap::unwritten(map.0, map.1),
            preprocessor,
            engine,
        }
    }

    /// The engine.
    pub fn engine(&self) -> &dyn Engine {
        &*self.engine
    }

    /// What the engine takes and gives.
    pub fn spec(&self) -> &ModelSpec {
        self.engine.spec()
    }

    /// Between two parts: see [`Engine::attend`].
    pub fn attend(&mut self) -> Condition {
        self.engine.attend()
    }

    /// What happened to the engine: see [`Engine::happened`].
    pub fn happened(&mut self) -> Option<Happening> {
        self.engine.happened()
    }

    /// The tiles of a picture.
    pub fn grid(&self, tiling: &Tiling) -> Grid {
        tiling.grid((self.spec().map_width, self.spec().map_height))
    }

    /// Takes the memory for pictures in these tiles now.
    pub fn reserve(&mut self, tiling: &Tiling) {
        let grid = self.grid(tiling);
        let (bytes, (width, height)) =
            (grid.count() * self.preprocessor.output_bytes(), grid.size());
        self.input.reserve(bytes.saturating_sub(self.input.len()));
        let values = &mut self.map.values;
        values.reserve((width * height).saturating_sub(values.len()));
    }

    /// The bytes of a picture that is the engine's input as it is.
    pub fn as_is<'a>(&self, framing: &Framing, picture: &ImageView<'a>) -> Option<&'a [u8]> {
        let at_once = framing.tiling.is_whole();
        at_once.then(|| self.preprocessor.as_is(picture, &framing.geometry)).flatten()
    }

    /// Whether the engine reads this frame itself, where it lies: then [`Eye::read`] takes the place of
    /// preparing and looking.
    pub fn reads(&mut self, framing: &Framing, frame: &Frame) -> bool {
        framing.tiling.is_whole() && self.engine.reads(frame, &framing.geometry)
    }

    /// Runs the engine on the frame itself; the answer is [`Eye::map`]. Nothing reads the frame any
    /// more when this returns.
    ///
    /// # Errors
    /// When the engine fails or does not read such frames; the map is then incomplete.
    pub fn read(&mut self, framing: &Framing, frame: &Frame) -> Result<(), EngineError> {
        self.grid = self.grid(&framing.tiling);
        self.engine.infer_frame(frame, &framing.geometry, &mut self.map)
    }

    /// Makes the engine's input of what `framing` shows of the picture, unless it is that already.
    ///
    /// # Errors
    /// When the framing does not fit the picture, or the picture is damaged.
    pub fn prepare(
        &mut self,
        framing: &Framing,
        picture: ImageView<'_>,
    ) -> Result<Held, ImageError> {
        let map = (self.spec().map_width, self.spec().map_height);
        self.grid = framing.tiling.grid(map);
        if self.as_is(framing, &picture).is_some() {
            return Ok(Held::Picture);
        }
        self.input.resize(self.grid.count() * self.preprocessor.output_bytes(), 0);
        self.preprocessor.run_framed(framing, map, picture, &mut self.input)?;
        Ok(Held::Nothing)
    }

    /// Runs the engine on the picture prepared last, or on `own`, its bytes, when they are the
    /// input; the answer is [`Eye::map`]. Before each further tile `go_on` is asked whether there
    /// is time; false when there was not, and the map is then incomplete.
    ///
    /// # Errors
    /// When the engine fails; the map is then incomplete.
    pub fn look(
        &mut self,
        own: Option<&[u8]>,
        mut go_on: impl FnMut() -> bool,
    ) -> Result<bool, EngineError> {
        if self.grid.count() == 1 {
            let input = own.unwrap_or(&self.input);
            return self.engine.infer(input, &mut self.map).map(|()| true);
        }
        self.grid.clear(&mut self.map);
        let bytes = self.preprocessor.output_bytes();
        for at in 0..self.grid.count() {
            if at > 0 && !go_on() {
                return Ok(false);
            }
            self.engine.infer(&self.input[at * bytes..(at + 1) * bytes], &mut self.tile)?;
            self.grid.lay(at, &self.tile, &mut self.map);
        }
        Ok(true)
    }

    /// What the engine said of the picture looked at last: one map of all tiles.
    pub fn map(&self) -> &AnomalyMap {
        &self.map
    }

    /// Size (width, height) of the map that the picture prepared last has.
    pub fn map_size(&self) -> (usize, usize) {
        self.grid.size()
    }

    /// The same, given away.
    pub fn take_map(&mut self) -> AnomalyMap {
        std::mem::take(&mut self.map)
    }
}

#[cfg(test)]
#[path = "eye_tests.rs"]
mod tests;

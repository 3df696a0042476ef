//! What an engine is built of: a bundle, an arithmetic, and whether the model is given pictures of its
//! size or the frames of a camera.

use std::borrow::Cow;
use std::collections::BTreeSet;

use prost::Message;
use tract_onnx::pb::ModelProto;

use super::ffi::{DataType, Tensor};
use super::plan::FramesKey;
use crate::engine::bundle::{Bundle, GoldenCase};
use crate::engine::graph::{CameraFrames, FRAME, GraphError, for_camera, picture};
use crate::engine::selfcheck::{SelfCheck, compare};
use crate::engine::{EngineError, EngineErrorKind, FRAME_TOLERANCE, TensorRtEngine, frame_cases};
use crate::frame::Precision;
use crate::sys::hash::sha256_hex;

/// What an engine is built of.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The model.
    pub bundle: &'a Bundle,
    /// Arithmetic.
    pub precision: Precision,
    /// Frames that the engine reads as they lie in memory; `None`: pictures of the model's size.
    pub frames: Option<&'a CameraFrames>,
}

impl<'a> Target<'a> {
    /// For pictures of the model's size.
    pub fn pictures(bundle: &'a Bundle, precision: Precision) -> Self {
        Self { bundle, precision, frames: None }
    }

    /// How far the engine may be from the answers that it is proved by, in units of the map.
    pub fn diff_allowed(&self) -> f32 {
        let rounding = if self.frames.is_some() { FRAME_TOLERANCE } else { 0.0 };
        self.precision.diff_allowed(self.bundle) + rounding * self.bundle.golden().range()
    }

    /// The ONNX file; the named nodes keep 32 bits.
    pub(super) fn onnx(&self, keep: &BTreeSet<String>) -> Result<Cow<'a, [u8]>, EngineError> {
        let Some(frames) = self.frames else { return self.precision.onnx(self.bundle, keep) };
        let model = match self.precision {
            Precision::Fp16 => self.bundle.half_graph(keep)?,
            Precision::Fp32 => self.bundle.graph()?,
        };
        let input = &self.bundle.manifest().input;
        let to = (input.width, input.height);
        let composed = for_camera(&model, &input.name, to, frames).map_err(|e| self.no_graph(e))?;
        Ok(Cow::Owned(composed.encode_to_vec()))
    }

    /// What tells plans for these frames from others: the frames, and the graph that this program
    /// makes of them.
    pub(super) fn frames_key(&self) -> Result<Option<FramesKey>, EngineError> {
        let Some(frames) = self.frames else { return Ok(None) };
        let input = &self.bundle.manifest().input;
        let front: ModelProto = picture(&input.name, (input.width, input.height), frames)
            .map_err(|e| self.no_graph(e))?;
        let graph_sha256 = sha256_hex(&front.encode_to_vec());
        Ok(Some(FramesKey { frames: frames.to_string(), graph_sha256 }))
    }

    /// What tells plans of this graph in 16 bits from others.
    pub(super) fn half_sha256(&self) -> Result<Option<String>, EngineError> {
        match self.precision {
            Precision::Fp16 => self.bundle.half_sha256().map(|hash| Some(hash.to_owned())),
            Precision::Fp32 => Ok(None),
        }
    }

    fn no_graph(&self, e: GraphError) -> EngineError {
        let what = format!("{}: no engine for such frames", self.bundle.place());
        EngineError::with_source(EngineErrorKind::Input, what, e)
    }

    /// The input that the engine must have.
    pub(super) fn input(&self) -> Tensor {
        let input = &self.bundle.manifest().input;
        let shape = |sizes: &[usize]| sizes.iter().map(|size| *size as i64).collect();
        let (name, shape) = match self.frames {
            Some(frames) => (FRAME, shape(&frames.shape())),
            None => (&*input.name, shape(&[1, input.height, input.width, 3])),
        };
        Tensor { name: name.to_owned(), shape, data_type: DataType::Uint8 }
    }

    /// What the engine is proved by.
    ///
    /// # Errors
    /// As [`frame_cases`].
    pub(super) fn proof(&self) -> Result<Proof<'a>, EngineError> {
        let cases = match self.frames {
            Some(frames) => Cow::Owned(frame_cases(self.bundle, frames)?),
            None => Cow::Borrowed(self.bundle.golden().cases()),
        };
        Ok(Proof { cases, diff_allowed: self.diff_allowed() })
    }
}

/// Inputs with their answers, and how close an engine must come to them.
pub(super) struct Proof<'a> {
    pub(super) cases: Cow<'a, [GoldenCase]>,
    pub(super) diff_allowed: f32,
}

impl Proof<'_> {
    /// How far the engine is from the answers. All inputs are run twice, because the second run on is
    /// a recorded one ([`super::runs`]): that is proved, too, be there one picture only.
    ///
    /// # Errors
    /// The engine's own when it fails.
    pub(super) fn measure(&self, engine: &mut TensorRtEngine) -> Result<SelfCheck, EngineError> {
        let mut once =
            || compare(&self.cases, self.diff_allowed, |input, map| engine.answer(input, map));
        let first = once()?;
        Ok(first.worse_of(&once()?))
    }
}

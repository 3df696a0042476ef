//! Engines: a model-size picture in, an anomaly map out. An engine knows no threshold.
//!
//! [`open`] loads a bundle into a backend and proves it by the bundle's golden pictures before
//! anyone may use it. Backends: [`CpuEngine`] (tract, always there), [`OrtEngine`] (feature
//! `ort`: onnxruntime found at run time), [`TensorRtEngine`] (NVIDIA GPUs, found at run time) and
//! [`ScriptedEngine`] (tests and trials).

mod background;
pub mod bundle;
mod cpu;
mod eye;
mod frame_cases;
mod frames;
pub mod graph;
mod happening;
mod in_use;
mod kept;
mod numbers;
#[cfg(feature = "ort")]
mod onnxruntime;
mod open;
mod present;
mod scripted;
mod selfcheck;
pub mod tensorrt;

pub use background::{Background, Stopper};
pub use cpu::CpuEngine;
pub use eye::{Eye, Held};
pub use frame_cases::{FRAME_TOLERANCE, frame_cases};
pub use frames::{FrameReader, FramesEngine, KINDS_MAX, ReaderSource, kind_of};
pub use happening::Happening;
pub use in_use::{InUse, in_use};
pub use kept::{KeptEngine, Retries, Workshop};
#[cfg(feature = "ort")]
pub use onnxruntime::OrtEngine;
pub use open::{Backend, Gpu, on_gpu, open, open_many, open_serving, open_watched};
pub use present::nvidia_gpu;
pub use scripted::ScriptedEngine;
pub use selfcheck::{SelfCheck, measure, self_check};
pub use tensorrt::TensorRtEngine;

use std::sync::Arc;

use crate::frame::{AnomalyMap, Buffers, Frame, Geometry, Precision};

/// What a loaded model takes and gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSpec {
    /// Input picture width in pixels (RGB, 8 bits, rows top-down).
    pub input_width: usize,
    /// Input picture height in pixels.
    pub input_height: usize,
    /// Anomaly map width.
    pub map_width: usize,
    /// Anomaly map height.
    pub map_height: usize,
    /// Product classes the model was trained on, in the order of their numbers.
    pub classes: Vec<String>,
    /// SHA-256 (hex) of the model file: what a calibration is bound to.
    pub sha256: String,
    /// Arithmetic it is run in: a calibration is bound to that, too.
    pub precision: Precision,
}

/// Runs a model. One owner thread per engine; batch 1.
pub trait Engine: Send {
    /// What the model takes and gives.
    fn spec(&self) -> &ModelSpec;

    /// Runs the model on `input` (`input_height * input_width * 3` bytes, RGB interleaved) and
    /// overwrites `out` in place, score included.
    ///
    /// # Errors
    /// When `input` has the wrong length or the backend fails; `out` is then left unwritten
    /// (all NaN), so that it cannot pass a part.
    fn infer(&mut self, input: &[u8], out: &mut AnomalyMap) -> Result<(), EngineError>;

    /// Called between two parts: what was made ready in the background takes over now. Tells how the
    /// engine is; never waits.
    fn attend(&mut self) -> Condition {
        Condition::Serving
    }

    /// What happened to the engine and was not told yet, oldest first; asked for after
    /// [`Engine::attend`].
    fn happened(&mut self) -> Option<Happening> {
        None
    }

    /// What came of a picture that another engine looked at, on the same device: whoever keeps an engine
    /// serving counts it, and hears when the device is lost to this process.
    fn hear(&mut self, _of: Result<(), &EngineError>) {}

    /// Memory that this engine reads where it lies, for cameras to write into; `None`: any will do.
    fn buffers(&self) -> Option<Arc<dyn Buffers>> {
        None
    }

    /// Whether [`Engine::infer_frame`] takes this frame as it lies in memory, and sees of it what
    /// `geometry` shows. An engine that is being made for such frames says so from some frame on.
    fn reads(&mut self, _frame: &Frame, _geometry: &Geometry) -> bool {
        false
    }

    /// Runs the model on the frame itself and overwrites `out`. Nothing reads the frame any more when
    /// this returns.
    ///
    /// # Errors
    /// When the frame is none that [`Engine::reads`] said yes to, or the backend fails; `out` is then
    /// left unwritten (all NaN).
    fn infer_frame(
        &mut self,
        _frame: &Frame,
        _geometry: &Geometry,
        out: &mut AnomalyMap,
    ) -> Result<(), EngineError> {
        self.spec().clear(out);
        Err(frames::unread())
    }
}

/// How an engine is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// It serves.
    #[default]
    Serving,
    /// Another proved engine of the same model and arithmetic serves in its place.
    Substitute,
    /// Nobody serves: each picture is answered with an error until there is an engine.
    Absent,
    /// Nobody serves, and nobody will in this process.
    Lost,
}

impl Condition {
    /// The name on the health topic.
    pub fn name(self) -> &'static str {
        match self {
            Condition::Serving => "serving",
            Condition::Substitute => "substitute",
            Condition::Absent | Condition::Lost => "absent",
        }
    }

    /// Whether pictures are judged.
    pub fn judges(self) -> bool {
        matches!(self, Condition::Serving | Condition::Substitute)
    }
}

/// An engine that could not be loaded or run.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct EngineError {
    kind: EngineErrorKind,
    message: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What went wrong, for callers that act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineErrorKind {
    /// A file is missing or unreadable.
    Io,
    /// The manifest is malformed or of another format version.
    Manifest,
    /// A file's hash is not the manifest's.
    Corrupt,
    /// The model's tensors are not the manifest's.
    Foreign,
    /// The golden tensors are not reproduced.
    SelfCheck,
    /// The backend failed.
    Backend,
    /// What the device computes in is broken for the rest of this process: only another process can use
    /// it again.
    Lost,
    /// Somebody ended the build of an engine before it was done.
    Cancelled,
    /// The caller passed a buffer of the wrong size.
    Input,
}

impl EngineError {
    /// An error of `kind` with a message that says what, where and what to do.
    pub fn new(kind: EngineErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// The same with the error it came from; the message must not repeat the source's.
    pub fn with_source(
        kind: EngineErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind, message: message.into(), source: Some(source.into()) }
    }

    /// What went wrong.
    pub fn kind(&self) -> EngineErrorKind {
        self.kind
    }

    /// The error with its causes, in one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        text
    }
}

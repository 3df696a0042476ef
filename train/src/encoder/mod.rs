//! The frozen, pretrained encoder: its weights, where they come from, and its graph.
//!
//! - [`spec`]: the supported encoders behind one type; a folder for each family, as tables and
//!   nodes: [`lite`], [`resnet`], [`vit`].
//! - [`weights`]: checked weights from a safetensors file.
//! - [`import`]: that file from a published archive, without running any code in it.
//! - [`nodes`]: the encoder as ONNX nodes, used by the export and by
//! - [`frozen`]: the encoder alone, run for training.

mod folded;
pub mod frozen;
pub mod import;
pub mod lite;
pub mod nodes;
mod pickle;
pub mod resnet;
pub mod spec;
mod torch_legacy;
pub mod vit;
pub mod weights;

pub use frozen::FrozenEncoder;
pub use import::{ImportReport, import};
pub use weights::EncoderWeights;

/// An encoder that could not be imported, loaded or run.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct EncoderError {
    kind: EncoderErrorKind,
    message: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What went wrong, for callers that act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncoderErrorKind {
    /// A file is missing, unreadable or cannot be written.
    Io,
    /// A file is damaged or of a format this program does not read.
    Format,
    /// A file is not one of the published ones whose hash is known.
    Unknown,
    /// Names or shapes are not those of a supported encoder.
    Foreign,
    /// The model asks for an input or taps this encoder does not have.
    Architecture,
    /// The graph could not be built or run.
    Backend,
}

impl EncoderError {
    pub(crate) fn new(kind: EncoderErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    pub(crate) fn with_source(
        kind: EncoderErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind, message: message.into(), source: Some(source.into()) }
    }

    /// The error of whoever asks for what a memory sees that sees the grid.
    pub(crate) fn no_finer(memory: usize) -> Self {
        let text = format!("the encoder shows memory {memory} nothing finer than the grid");
        Self::new(EncoderErrorKind::Architecture, text)
    }

    /// What went wrong.
    pub fn kind(&self) -> EncoderErrorKind {
        self.kind
    }
}

/// Result with [`EncoderError`].
pub type Result<T> = std::result::Result<T, EncoderError>;

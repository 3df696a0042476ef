//! Why a training run failed.

use crate::checkpoint::CheckpointError;
use crate::dataset::DatasetError;
use crate::encoder::EncoderError;
use crate::export::ExportError;
use crate::synth::TextureError;

/// Why a training run failed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct TrainError {
    kind: TrainErrorKind,
    message: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What went wrong, for callers that act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrainErrorKind {
    /// The station's configuration cannot be used.
    Config,
    /// The pictures cannot be used.
    Data,
    /// The encoder is missing, damaged or failed.
    Encoder,
    /// The texture folder cannot be used.
    Textures,
    /// Too many pictures for the memory or too little time.
    Budget,
    /// The checkpoint cannot be used or written.
    Checkpoint,
    /// The loss is no longer a number.
    Diverged,
    /// The bundle cannot be written.
    Export,
    /// A thread could not be started.
    System,
}

impl TrainError {
    pub(crate) fn new(kind: TrainErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    pub(crate) fn with_source(
        kind: TrainErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind, message: message.into(), source: Some(source.into()) }
    }

    /// What went wrong.
    pub fn kind(&self) -> TrainErrorKind {
        self.kind
    }
}

impl From<DatasetError> for TrainError {
    fn from(e: DatasetError) -> Self {
        Self::with_source(TrainErrorKind::Data, "the training pictures cannot be used", e)
    }
}

impl From<TextureError> for TrainError {
    fn from(e: TextureError) -> Self {
        Self::with_source(TrainErrorKind::Textures, "the textures cannot be used", e)
    }
}

impl From<EncoderError> for TrainError {
    fn from(e: EncoderError) -> Self {
        Self::with_source(TrainErrorKind::Encoder, "the encoder cannot be used", e)
    }
}

impl From<CheckpointError> for TrainError {
    fn from(e: CheckpointError) -> Self {
        Self::with_source(TrainErrorKind::Checkpoint, "the training state cannot be kept", e)
    }
}

impl From<ExportError> for TrainError {
    fn from(e: ExportError) -> Self {
        Self::with_source(TrainErrorKind::Export, "the engine bundle cannot be written", e)
    }
}

//! Why a station cannot start or had to stop.

/// A station that could not start or had to stop.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct PipelineError {
    kind: PipelineErrorKind,
    message: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What went wrong, for callers that act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PipelineErrorKind {
    /// The calibration is damaged or belongs to another engine.
    Calibration,
    /// A recipe names what does not exist.
    Recipe,
    /// There are too many cameras, none, or two of one name.
    Camera,
    /// The journal cannot be opened.
    Journal,
    /// The publisher cannot be started.
    Publish,
    /// A thread cannot be started.
    Thread,
    /// A stage failed while running.
    Stage,
    /// A stage did not end in its time.
    Shutdown,
}

impl PipelineError {
    /// An error of `kind` with a message that says what, where and what to do.
    pub(super) fn new(kind: PipelineErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// The same with the error behind it; the message must not repeat the source's.
    pub(super) fn with_source(
        kind: PipelineErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind, message: message.into(), source: Some(source.into()) }
    }

    /// What went wrong.
    pub fn kind(&self) -> PipelineErrorKind {
        self.kind
    }
}

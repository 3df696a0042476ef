//! What a camera could not do.

/// A camera that could not be opened, started or read.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CameraError {
    kind: CameraErrorKind,
    message: String,
    #[source]
    source: Option<std::io::Error>,
}

/// What went wrong, for callers that act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CameraErrorKind {
    /// A folder or device cannot be opened.
    Open,
    /// The source holds no frame.
    Empty,
    /// The settings cannot be met by this source.
    Settings,
    /// The stream broke.
    Stream,
}

impl CameraError {
    /// An error of `kind` with a message that says what, where and what to do.
    pub fn new(kind: CameraErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// The same with the I/O error behind it; the message must not repeat the source's.
    pub fn with_source(
        kind: CameraErrorKind,
        message: impl Into<String>,
        source: std::io::Error,
    ) -> Self {
        Self { kind, message: message.into(), source: Some(source) }
    }

    /// What went wrong.
    pub fn kind(&self) -> CameraErrorKind {
        self.kind
    }
}

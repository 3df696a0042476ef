//! What can be wrong with a picture.

/// A picture that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ImageError {
    kind: ImageErrorKind,
    message: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What went wrong, for callers that act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageErrorKind {
    /// Not one of the formats this program reads.
    Format,
    /// Cut off, or its contents contradict each other.
    Damaged,
    /// Larger than the stated limits, or without pixels.
    Size,
    /// The caller's buffer does not have the size of the result.
    Buffer,
}

impl ImageError {
    pub(super) fn new(kind: ImageErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    pub(super) fn with_source(
        kind: ImageErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind, message: message.into(), source: Some(source.into()) }
    }

    /// What went wrong.
    pub fn kind(&self) -> ImageErrorKind {
        self.kind
    }
}

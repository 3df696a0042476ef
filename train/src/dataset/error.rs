//! Why a data set cannot be used.

use std::path::{Path, PathBuf};

/// Why a data set cannot be used; the message names the folder and the remedy.
#[derive(Debug, thiserror::Error)]
#[error("data set {}: {reason}", path.display())]
pub struct DatasetError {
    kind: DatasetErrorKind,
    path: PathBuf,
    reason: String,
    source: Option<std::io::Error>,
}

/// What is wrong with a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatasetErrorKind {
    /// A folder cannot be listed.
    Unreadable,
    /// No `CLASS/train/good` folder was found.
    NoClass,
    /// A class has no picture that can be decoded.
    EmptyClass,
    /// The pictures would not fit into memory.
    TooLarge,
}

impl DatasetError {
    pub(super) fn new(kind: DatasetErrorKind, path: &Path, reason: String) -> Self {
        Self { kind, path: path.to_owned(), reason, source: None }
    }

    pub(super) fn unreadable(path: &Path, source: std::io::Error) -> Self {
        Self {
            kind: DatasetErrorKind::Unreadable,
            path: path.to_owned(),
            reason: "cannot be listed; check the path and its permissions".to_owned(),
            source: Some(source),
        }
    }

    /// What is wrong.
    pub fn kind(&self) -> DatasetErrorKind {
        self.kind
    }
}

//! What is wrong with a configuration, in words that say where and what to do.

use std::fmt;
use std::path::PathBuf;

use crate::sys::fs::FsError;

/// One problem: where, what, remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The configuration file.
    pub file: PathBuf,
    /// Line in the file, from 1; `None` when the field is missing altogether.
    pub line: Option<usize>,
    /// Dotted path of the field; empty for a syntax error.
    pub field: String,
    /// The value as written; `None` when missing or when it may be a secret.
    pub value: Option<String>,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        write!(f, ": {}; {}", self.what, self.remedy)
    }
}

/// A configuration that cannot be used.
#[derive(Debug)]
pub struct ConfigError {
    problems: Vec<Problem>,
    source: Option<FsError>,
}

/// What went wrong, for callers that act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigErrorKind {
    /// The file cannot be read.
    Unreadable,
    /// The file was read and is not valid.
    Invalid,
}

impl ConfigError {
    pub(super) fn unreadable(source: FsError) -> Self {
        Self { problems: Vec::new(), source: Some(source) }
    }

    pub(super) fn invalid(mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|p| p.line.unwrap_or(usize::MAX));
        Self { problems, source: None }
    }

    /// What went wrong.
    pub fn kind(&self) -> ConfigErrorKind {
        match self.source {
            Some(_) => ConfigErrorKind::Unreadable,
            None => ConfigErrorKind::Invalid,
        }
    }

    /// Everything found, in the order of the file; what is missing altogether comes last.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.source.is_some() {
            return write!(f, "the configuration cannot be read");
        }
        let count = self.problems.len();
        write!(f, "{count} problem{} in the configuration", if count == 1 { "" } else { "s" })?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|e| e as _)
    }
}

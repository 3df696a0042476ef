//! Why the journal failed, and what to do about it.

use std::path::Path;

/// A journal that could not be opened, written or read.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct JournalError {
    kind: JournalErrorKind,
    message: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + std::marker::Sync>>,
}

/// What went wrong, for callers that act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalErrorKind {
    /// Another process has the folder open.
    Locked,
    /// There is no journal.
    Missing,
    /// The folder or a file in it cannot be written.
    Unwritable,
    /// No space left. Appending works again once there is room.
    DiskFull,
    /// The database is damaged; opening the journal again heals it.
    Damaged,
    /// The database was written by a newer version.
    Foreign,
    /// An option is out of range.
    Option,
    /// Reading or writing failed for another reason; may be tried again.
    Io,
}

impl JournalError {
    pub(super) fn new(kind: JournalErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    pub(super) fn io(what: &str, path: &Path, source: std::io::Error) -> Self {
        use std::io::ErrorKind as E;
        let (kind, remedy) = match source.kind() {
            E::StorageFull | E::QuotaExceeded | E::FileTooLarge => {
                (JournalErrorKind::DiskFull, FULL)
            }
            E::PermissionDenied | E::ReadOnlyFilesystem | E::NotADirectory | E::NotFound => {
                (JournalErrorKind::Unwritable, UNWRITABLE)
            }
            _ => (JournalErrorKind::Io, IO),
        };
        let message = format!("journal: cannot {what} {}; {remedy}", path.display());
        Self { kind, message, source: Some(Box::new(source)) }
    }

    pub(super) fn sqlite(what: &str, path: &Path, source: rusqlite::Error) -> Self {
        let (kind, remedy) = classify(&source);
        let message = format!("journal: cannot {what} {}; {remedy}", path.display());
        Self { kind, message, source: Some(Box::new(source)) }
    }

    /// What went wrong.
    pub fn kind(&self) -> JournalErrorKind {
        self.kind
    }
}

const FULL: &str = "free disk space";
const UNWRITABLE: &str = "state_dir must be a folder this user may write";
const DAMAGED: &str = "open the journal again: it moves the damaged file aside";
const IO: &str = "check the storage device and its log";

/// Sorts an SQLite error by what the caller can do about it.
pub(super) fn classify(error: &rusqlite::Error) -> (JournalErrorKind, &'static str) {
    use rusqlite::ErrorCode as C;
    use rusqlite::ffi;
    // A file that ends before its pages do was cut short, and a sector that cannot be read stays
    // so until it is written: no use in trying again.
    let unreadable = [
        ffi::SQLITE_IOERR_READ,
        ffi::SQLITE_IOERR_SHORT_READ,
        ffi::SQLITE_IOERR_DATA,
        ffi::SQLITE_IOERR_CORRUPTFS,
    ];
    if error.sqlite_error().is_some_and(|e| unreadable.contains(&e.extended_code)) {
        return (JournalErrorKind::Damaged, DAMAGED);
    }
    match error.sqlite_error_code() {
        Some(C::DiskFull) => (JournalErrorKind::DiskFull, FULL),
        Some(C::ReadOnly | C::CannotOpen | C::PermissionDenied) => {
            (JournalErrorKind::Unwritable, UNWRITABLE)
        }
        Some(C::DatabaseCorrupt | C::NotADatabase | C::TypeMismatch) => {
            (JournalErrorKind::Damaged, DAMAGED)
        }
        Some(_) => (JournalErrorKind::Io, IO),
        // A value of an unexpected type or a row that must be there and is not: not our file.
        None => (JournalErrorKind::Damaged, DAMAGED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_damage_and_what_cannot_be_written_is_not() {
        use rusqlite::ffi;
        let kind = |code| classify(&rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)).0;
        assert_eq!(kind(ffi::SQLITE_IOERR_READ), JournalErrorKind::Damaged);
        assert_eq!(kind(ffi::SQLITE_IOERR_SHORT_READ), JournalErrorKind::Damaged);
        assert_eq!(kind(ffi::SQLITE_CORRUPT), JournalErrorKind::Damaged);
        assert_eq!(kind(ffi::SQLITE_IOERR_WRITE), JournalErrorKind::Io);
        assert_eq!(kind(ffi::SQLITE_IOERR_FSYNC), JournalErrorKind::Io);
        assert_eq!(kind(ffi::SQLITE_FULL), JournalErrorKind::DiskFull);
    }
}

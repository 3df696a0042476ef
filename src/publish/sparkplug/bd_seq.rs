//! The number of the last session on disk, so that a host never takes the death of an old session
//! for that of a new one.

use std::path::Path;

use crate::sys::fs::{self, FsError, FsErrorKind};

/// A number of up to three digits and a line end.
const FILE_BYTES_MAX: u64 = 16;

/// The last number; `None` when there is none yet or the file holds something else.
///
/// # Errors
/// When the file is there and cannot be read.
pub(super) fn load(file: &Path) -> Result<Option<u8>, FsError> {
    match fs::read_text(file, FILE_BYTES_MAX) {
        Ok(text) => Ok(text.trim().parse().ok()),
        Err(error) => match error.kind() {
            FsErrorKind::NotFound | FsErrorKind::TooLarge | FsErrorKind::NotText => Ok(None),
            _ => Err(error),
        },
    }
}

/// Keeps the number; it survives a power cut once this returns.
///
/// # Errors
/// When it cannot be written.
pub(super) fn store(file: &Path, bd_seq: u8) -> Result<(), FsError> {
    if let Some(folder) = file.parent() {
        fs::ensure_dir(folder)?;
    }
    fs::write_atomic(file, format!("{bd_seq}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_survives_and_a_damaged_file_counts_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("state/sparkplug-bdseq");
        assert_eq!(load(&file).unwrap(), None);
        for number in [0, 7, 255] {
            store(&file, number).unwrap();
            assert_eq!(load(&file).unwrap(), Some(number));
        }
        for damaged in ["", "256", "-1", "seven", "111111111111111111111"] {
            std::fs::write(&file, damaged).unwrap();
            assert_eq!(load(&file).unwrap(), None, "{damaged:?}");
        }
    }

    #[test]
    fn a_folder_in_the_way_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(load(dir.path()).is_err());
        assert!(store(dir.path(), 1).is_err());
    }
}

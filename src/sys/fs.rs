//! Files: whole-file reads with a limit, atomic durable writes, folders that can be written.
//!
//! A reader of [`write_atomic`]'s target sees the old content or the new one, never a mixture,
//! and after the call returns the new one survives a power cut: temporary file in the same
//! folder, fsync, rename, fsync of the folder.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A file or folder that could not be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {remedy}", path.display())]
pub struct FsError {
    kind: FsErrorKind,
    action: &'static str,
    path: PathBuf,
    remedy: String,
    #[source]
    source: Option<io::Error>,
}

/// What went wrong, for callers that act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FsErrorKind {
    /// There is no such file or folder.
    NotFound,
    /// The process may not do this.
    Permission,
    /// The file system is full or a quota is used up.
    Full,
    /// The file is larger than the stated limit.
    TooLarge,
    /// The file is not UTF-8 text.
    NotText,
    /// Anything else the operating system said.
    Other,
}

impl FsError {
    /// An operating-system error while doing `action` (a verb) to `path`.
    pub fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        use io::ErrorKind as K;
        let (kind, remedy) = match source.kind() {
            K::NotFound => (FsErrorKind::NotFound, "check that the path exists"),
            K::PermissionDenied => {
                (FsErrorKind::Permission, "give the user that runs this program access to it")
            }
            K::ReadOnlyFilesystem => {
                (FsErrorKind::Permission, "choose a folder on a writable file system")
            }
            K::StorageFull | K::QuotaExceeded => {
                (FsErrorKind::Full, "free space on this file system")
            }
            K::IsADirectory => (FsErrorKind::Other, "give a file, not a folder"),
            K::NotADirectory => (FsErrorKind::Other, "give a folder, not a file"),
            _ => (FsErrorKind::Other, "check the path and the disk"),
        };
        Self {
            kind,
            action,
            path: path.to_owned(),
            remedy: remedy.to_owned(),
            source: Some(source),
        }
    }

    fn new(kind: FsErrorKind, action: &'static str, path: &Path, remedy: String) -> Self {
        Self { kind, action, path: path.to_owned(), remedy, source: None }
    }

    /// What went wrong.
    pub fn kind(&self) -> FsErrorKind {
        self.kind
    }

    /// The file or folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Reads a whole file of at most `bytes_max` bytes.
///
/// # Errors
/// When it cannot be read or is larger; nothing beyond the limit is read into memory.
pub fn read_limited(path: &Path, bytes_max: u64) -> Result<Vec<u8>, FsError> {
    let file = File::open(path).map_err(|e| FsError::io("open", path, e))?;
    let mut bytes = Vec::new();
    let limit = bytes_max.saturating_add(1);
    file.take(limit).read_to_end(&mut bytes).map_err(|e| FsError::io("read", path, e))?;
    if bytes.len() as u64 > bytes_max {
        let remedy = format!("it is larger than the limit of {bytes_max} bytes");
        return Err(FsError::new(FsErrorKind::TooLarge, "read", path, remedy));
    }
    Ok(bytes)
}

/// Reads a whole UTF-8 file of at most `bytes_max` bytes.
///
/// # Errors
/// As [`read_limited`], and when the content is not UTF-8.
pub fn read_text(path: &Path, bytes_max: u64) -> Result<String, FsError> {
    String::from_utf8(read_limited(path, bytes_max)?).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        let remedy = format!("save it as UTF-8 text (first other byte at offset {at})");
        FsError::new(FsErrorKind::NotText, "read", path, remedy)
    })
}

/// Creates `dir` and its parents when missing.
///
/// # Errors
/// When a part of the path is a file or may not be created.
pub fn ensure_dir(dir: &Path) -> Result<(), FsError> {
    std::fs::create_dir_all(dir).map_err(|e| FsError::io("create folder", dir, e))
}

/// Proves that files can be written in `dir` by writing and removing one.
///
/// # Errors
/// When `dir` is missing, read-only, not ours or full.
pub fn check_writable(dir: &Path) -> Result<(), FsError> {
    let probe = temporary_in(dir, "write-check");
    let written = File::create_new(&probe).and_then(|mut file| {
        file.write_all(b"crrd")?;
        file.sync_all()
    });
    let removed = match &written {
        Err(e) if e.kind() != io::ErrorKind::StorageFull => Ok(()),
        _ => std::fs::remove_file(&probe),
    };
    written.and(removed).map_err(|e| FsError::io("write in", dir, e))
}

/// Replaces the content of `path` at once and durably (see the module's design).
///
/// # Errors
/// When a step fails; the old content then stays and the temporary file is removed.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), FsError> {
    let Some(name) = path.file_name() else {
        let remedy = "give the name of a file".to_owned();
        return Err(FsError::new(FsErrorKind::Other, "write", path, remedy));
    };
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let temporary = temporary_in(dir, &name.to_string_lossy());
    let result = write_synced(&temporary, bytes)
        .and_then(|()| std::fs::rename(&temporary, path))
        .and_then(|()| File::open(dir)?.sync_all());
    result.map_err(|e| {
        // The first error is the one to report; a left-over temporary file harms nothing.
        let _ = std::fs::remove_file(&temporary);
        FsError::io("write", path, e)
    })
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// A hidden name that no other thread or process uses at the same time.
fn temporary_in(dir: &Path, name: &str) -> PathBuf {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    dir.join(format!(".{name}.{}.{count}.tmp", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entry = |e: io::Result<std::fs::DirEntry>| e.unwrap().file_name();
        std::fs::read_dir(dir).unwrap().map(|e| entry(e).to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn an_atomic_write_replaces_the_content_and_leaves_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("calibration.toml");
        for content in ["one", "a longer second version", ""] {
            write_atomic(&path, content.as_bytes()).unwrap();
            assert_eq!(read_text(&path, 100).unwrap(), content);
            assert_eq!(names(dir.path()), ["calibration.toml"]);
        }
    }

    #[test]
    fn a_failed_atomic_write_keeps_the_old_content_and_cleans_up() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        // Renaming a file over a non-empty folder fails after the temporary file was written.
        std::fs::create_dir(&target).unwrap();
        std::fs::write(target.join("old"), "old").unwrap();
        let error = write_atomic(&target, b"new").unwrap_err();
        assert!(error.to_string().contains(&target.display().to_string()), "{error}");
        assert_eq!(names(dir.path()), ["target"]);
        assert_eq!(read_text(&target.join("old"), 100).unwrap(), "old");
    }

    #[test]
    fn a_read_stops_at_its_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, [7; 100]).unwrap();
        assert_eq!(read_limited(&path, 100).unwrap().len(), 100);
        let error = read_limited(&path, 99).unwrap_err();
        assert_eq!(error.kind(), FsErrorKind::TooLarge);
        assert!(error.to_string().contains("99 bytes"), "{error}");
    }

    #[test]
    fn errors_say_what_where_and_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        let binary = dir.path().join("binary");
        std::fs::write(&binary, b"ok\xff").unwrap();
        for (error, kind, says) in [
            (read_text(&missing, 1).unwrap_err(), FsErrorKind::NotFound, "path exists"),
            (read_text(&binary, 9).unwrap_err(), FsErrorKind::NotText, "offset 2"),
            (check_writable(&missing).unwrap_err(), FsErrorKind::NotFound, "path exists"),
            (check_writable(&binary).unwrap_err(), FsErrorKind::Other, "not a file"),
            (ensure_dir(&binary.join("x")).unwrap_err(), FsErrorKind::Other, "not a file"),
        ] {
            assert_eq!(error.kind(), kind, "{error}");
            let text = error.to_string();
            assert!(text.contains(says), "{text}");
            assert!(text.contains(&error.path().display().to_string()), "{text}");
        }
    }

    #[test]
    fn a_write_check_leaves_no_trace() {
        let dir = tempfile::tempdir().unwrap();
        check_writable(dir.path()).unwrap();
        assert!(names(dir.path()).is_empty());
    }
}

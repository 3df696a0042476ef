//! Builds that failed, kept beside the plans.
//!
//! A build takes minutes, and the search for layers that need 32 bits makes many. One that fails for what it
//! builds, or where, fails again: a station that is started again after each would build for ever. So
//! failures are counted under the key of its plan, and after a few the station does not build that
//! again: the first may have been for want of memory that something else held. Another key (model,
//! driver, library, arithmetic) and another version of this program are free to try; so are people, by
//! `crrd engine build`.

use std::path::{Path, PathBuf};

use super::plan::PlanKey;
use crate::engine::{EngineError, EngineErrorKind};
use crate::sys::clock::{Clock, RealClock};
use crate::sys::fs;

/// Failures after which nothing is built by itself any more.
const FAILURES_MAX: u32 = 3;
/// Largest note, in bytes.
const BYTES_MAX: u64 = 64 << 10;
/// Longest reason that is kept, in characters: what the library says may be long.
const WHY_CHARS_MAX: usize = 2_000;
/// Extension of notes; the names are those of the plans that there are not.
const EXTENSION: &str = "failed";

#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Note {
    key: PlanKey,
    /// Version of the program that built.
    program: String,
    /// How often this failed.
    failures: u32,
    when_utc: String,
    why: String,
}

fn file(folder: &Path, key: &PlanKey) -> PathBuf {
    key.file(folder).with_extension(EXTENSION)
}

/// Builds, unless that failed too often before.
///
/// # Errors
/// `Backend` with what failed when, and what to do, when it is not tried; else as [`noted`].
pub(super) fn unless_failed<T>(
    folder: &Path,
    key: &PlanKey,
    build: impl FnOnce() -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    if let Some(note) = read(folder, key).filter(|note| note.failures >= FAILURES_MAX) {
        return Err(refusal(&note, &file(folder, key)));
    }
    noted(folder, key, build)
}

/// Builds, whatever came of it before, and notes what comes of it now.
///
/// # Errors
/// Those of `build`.
pub(super) fn noted<T>(
    folder: &Path,
    key: &PlanKey,
    build: impl FnOnce() -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    let built = build();
    match &built {
        Ok(_) => forget(folder, key),
        Err(e) => match e.kind() {
            // A full disk, somebody who ends it and a broken device say nothing of the next build.
            EngineErrorKind::Io | EngineErrorKind::Cancelled | EngineErrorKind::Lost => {}
            _ => note(folder, key, e),
        },
    }
    built
}

/// What is known now speaks against a note, if there is one.
pub(super) fn forget(folder: &Path, key: &PlanKey) {
    let path = file(folder, key);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::debug!(%error, path = %path.display(), "the note of a failed build stays");
        }
        _ => {}
    }
}

/// What is known of failures; `None` when there is nothing. A note that cannot be read is none.
fn read(folder: &Path, key: &PlanKey) -> Option<Note> {
    let bytes = fs::read_limited(&file(folder, key), BYTES_MAX).ok()?;
    let note: Note = serde_json::from_slice(&bytes).ok()?;
    (note.key == *key && note.program == env!("CARGO_PKG_VERSION")).then_some(note)
}

fn refusal(note: &Note, path: &Path) -> EngineError {
    let what = format!(
        "no engine is built: that failed {} times, at {} the last time ({}); `crrd engine build` tries it \
         all the same, and so does the station when {} is deleted",
        note.failures,
        note.when_utc,
        note.why,
        path.display()
    );
    EngineError::new(EngineErrorKind::Backend, what)
}

/// Not worth an error of its own: the one of the build counts.
fn note(folder: &Path, key: &PlanKey, error: &EngineError) {
    let note = Note {
        key: key.clone(),
        program: env!("CARGO_PKG_VERSION").to_owned(),
        failures: read(folder, key).map_or(1, |before| before.failures.saturating_add(1)),
        when_utc: RealClock.wall_utc_rfc3339(),
        why: error.chain().chars().take(WHY_CHARS_MAX).collect(),
    };
    let bytes = serde_json::to_vec_pretty(&note).unwrap_or_default();
    let path = file(folder, key);
    let written = fs::ensure_dir(folder).and_then(|()| fs::write_atomic(&path, &bytes));
    if let Err(error) = written {
        tracing::warn!(error = &error as &dyn std::error::Error, "a failed build is not noted");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tensorrt::plan::{self, list};
    use crate::frame::Precision;

    fn key(precision: Precision) -> PlanKey {
        PlanKey { precision, ..plan::tests::key() }
    }

    fn fails(kind: EngineErrorKind) -> Result<u8, EngineError> {
        Err(EngineError::new(kind, "the golden answers are missed"))
    }

    fn built() -> Result<u8, EngineError> {
        Ok(7)
    }

    #[test]
    fn what_failed_is_not_built_again_until_something_changes_or_somebody_wants_it() {
        let dir = tempfile::tempdir().unwrap();
        // The folder may not be there yet.
        let folder = dir.path().join("plans");
        let (key, other) = (key(Precision::Fp16), key(Precision::Fp32));
        for kind in [EngineErrorKind::SelfCheck, EngineErrorKind::Backend] {
            for _ in 0..FAILURES_MAX {
                assert_eq!(unless_failed(&folder, &key, || fails(kind)).unwrap_err().kind(), kind);
            }
            let again =
                unless_failed(&folder, &key, || -> Result<u8, _> { panic!("builds again") });
            let text = again.unwrap_err().to_string();
            let path = file(&folder, &key);
            for part in ["3 times", "the golden answers are missed", "crrd engine build", "20"] {
                assert!(text.contains(part), "{part:?} is not in {text:?}");
            }
            assert!(text.contains(&path.display().to_string()), "{text}");
            // Another key is free to try, and it is no plan.
            assert_eq!(unless_failed(&folder, &other, built).unwrap(), 7);
            assert!(list(&folder).unwrap().is_empty());
            // By hand; what succeeds leaves no note.
            assert_eq!(noted(&folder, &key, || fails(kind)).unwrap_err().kind(), kind);
            assert_eq!(noted(&folder, &key, built).unwrap(), 7);
            assert_eq!(unless_failed(&folder, &key, built).unwrap(), 7);
            // Deleted by hand.
            for _ in 0..FAILURES_MAX {
                unless_failed(&folder, &key, || fails(kind)).unwrap_err();
            }
            std::fs::remove_file(path).unwrap();
            assert_eq!(unless_failed(&folder, &key, built).unwrap(), 7);
        }
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let key = key(Precision::Fp16);
        for kind in [EngineErrorKind::Io, EngineErrorKind::Cancelled, EngineErrorKind::Lost] {
            for _ in 0..FAILURES_MAX {
                assert_eq!(
                    unless_failed(dir.path(), &key, || fails(kind)).unwrap_err().kind(),
                    kind
                );
            }
            assert_eq!(unless_failed(dir.path(), &key, built).unwrap(), 7, "{kind:?}");
        }
        // Nor does what another program found bind this one, or a damaged note.
        let fail = || unless_failed(dir.path(), &key, || fails(EngineErrorKind::Backend));
        (0..FAILURES_MAX).for_each(|_| drop(fail().unwrap_err()));
        assert!(fail().unwrap_err().to_string().contains("is built"));
        let path = file(dir.path(), &key);
        let text = std::fs::read_to_string(&path).unwrap();
        let version = env!("CARGO_PKG_VERSION");
        assert!(text.contains(version));
        for text in [text.replace(version, "0.0.0"), "{".to_owned(), String::new()] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(unless_failed(dir.path(), &key, built).unwrap(), 7);
        }
    }
}

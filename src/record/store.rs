//! The files of all recordings in a folder: appending, the bound in bytes, the oldest go first.
//!
//! A recording is a folder of its own with pairs of files, the segments. Bytes are freed by whole
//! segments, of the oldest recording first.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::feed::Shot;
use super::line::{FrameLine, Head, PartLine};
use super::{FRAMES, HEAD_FILE, LINES};
use crate::sys::fs::{self, FsError};

/// Names of recordings begin so; other folders are not touched.
const PREFIX: &str = "rec-";
/// Parts that the bound is divided into: as much of it is lost at most when the oldest goes.
const SEGMENTS: u64 = 16;

/// A pair of files that is complete.
struct Segment {
    /// Path without the ending.
    stem: PathBuf,
    bytes: u64,
}

impl Segment {
    fn file(&self, ending: &str) -> PathBuf {
        self.stem.with_extension(ending)
    }

    /// Removes both files, and the recording with its last segment.
    fn remove(&self, current: &Path) -> Result<(), FsError> {
        for ending in [FRAMES, LINES] {
            let file = self.file(ending);
            match std::fs::remove_file(&file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(FsError::io("remove", &file, error));
                }
                _ => {}
            }
        }
        let Some(recording) = self.stem.parent().filter(|recording| *recording != current) else {
            return Ok(());
        };
        if segments_of(recording)?.is_empty() {
            let gone = std::fs::remove_dir_all(recording);
            gone.map_err(|error| FsError::io("remove", recording, error))?;
        }
        Ok(())
    }
}

/// Where the recorder writes.
pub(super) struct Store {
    dir: PathBuf,
    bytes_max: u64,
    /// All but the open one, the oldest first.
    closed: VecDeque<Segment>,
    closed_bytes: u64,
    open: Open,
    number: u32,
}

/// The segment that is written to.
struct Open {
    segment: Segment,
    frames: File,
    lines: File,
    frames_bytes: u64,
}

impl Store {
    /// Begins a recording in `folder`, named after the time.
    pub(super) fn create(
        folder: &Path,
        bytes_max: u64,
        head: &Head,
        text: &str,
    ) -> Result<Self, FsError> {
        fs::ensure_dir(folder)?;
        let mut closed = VecDeque::new();
        for recording in recordings(folder)? {
            let segments = segments_of(&recording)?;
            if segments.iter().all(|segment| segment.bytes == 0) {
                // A start without a part leaves nothing worth a folder.
                let gone = std::fs::remove_dir_all(&recording);
                gone.map_err(|error| FsError::io("remove", &recording, error))?;
            } else {
                closed.extend(segments);
            }
        }
        let dir = new_folder(folder, &head.created_utc)?;
        fs::write_atomic(&dir.join(HEAD_FILE), text.as_bytes())?;
        let closed_bytes = closed.iter().map(|segment: &Segment| segment.bytes).sum();
        let open = Open::create(&dir, 1)?;
        Ok(Self { dir, bytes_max, closed, closed_bytes, open, number: 1 })
    }

    /// The folder of this recording.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Bytes of all recordings.
    pub(super) fn bytes(&self) -> u64 {
        self.closed_bytes + self.open.segment.bytes
    }

    /// Writes a decision and its pictures; false when they are larger than all that may be.
    pub(super) fn append(&mut self, mut line: PartLine, shots: &[Shot]) -> Result<bool, FsError> {
        let pictures: u64 = shots.iter().map(|shot| shot.bytes().len() as u64).sum();
        // A line takes less than this, so that the room is there before the offsets are known.
        let need = pictures + LINE_BYTES_MAX;
        if need > self.bytes_max {
            return Ok(false);
        }
        if self.open.segment.bytes >= self.bytes_max / SEGMENTS {
            self.roll()?;
        }
        while self.bytes() + need > self.bytes_max {
            match self.closed.pop_front() {
                Some(oldest) => {
                    oldest.remove(&self.dir)?;
                    self.closed_bytes -= oldest.bytes;
                }
                // One large picture after another: the open segment is the oldest.
                None => self.roll()?,
            }
        }
        for shot in shots {
            line.frames.push(FrameLine::of(shot, self.open.frames_bytes));
            self.open.write_frame(shot.bytes())?;
        }
        let mut text = serde_json::to_string(&line).unwrap_or_default();
        text.push('\n');
        self.open.write_line(text.as_bytes())?;
        Ok(true)
    }

    /// Begins the next segment.
    fn roll(&mut self) -> Result<(), FsError> {
        self.number += 1;
        let full = std::mem::replace(&mut self.open, Open::create(&self.dir, self.number)?);
        self.closed_bytes += full.segment.bytes;
        self.closed.push_back(full.segment);
        Ok(())
    }
}

/// Bound of a line of text: some numbers for each of a few cameras.
const LINE_BYTES_MAX: u64 = 16 * 1024;

impl Open {
    fn create(dir: &Path, number: u32) -> Result<Self, FsError> {
        let segment = Segment { stem: dir.join(format!("{number:08}")), bytes: 0 };
        let create = |ending: &str| {
            let file = segment.file(ending);
            let opened = OpenOptions::new().append(true).create_new(true).open(&file);
            opened.map_err(|error| FsError::io("create", &file, error))
        };
        let (frames, lines) = (create(FRAMES)?, create(LINES)?);
        Ok(Self { frames, lines, segment, frames_bytes: 0 })
    }

    fn write_frame(&mut self, bytes: &[u8]) -> Result<(), FsError> {
        let written = self.frames.write_all(bytes);
        written.map_err(|error| FsError::io("write", &self.segment.file(FRAMES), error))?;
        self.frames_bytes += bytes.len() as u64;
        self.segment.bytes += bytes.len() as u64;
        Ok(())
    }

    fn write_line(&mut self, text: &[u8]) -> Result<(), FsError> {
        let written = self.lines.write_all(text);
        written.map_err(|error| FsError::io("write", &self.segment.file(LINES), error))?;
        self.segment.bytes += text.len() as u64;
        Ok(())
    }
}

/// Recordings in `folder`, the oldest first by their names.
fn recordings(folder: &Path) -> Result<Vec<PathBuf>, FsError> {
    let mut found = entries(folder)?;
    found.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(PREFIX) && path.join(HEAD_FILE).is_file()
    });
    Ok(found)
}

/// Segments of a recording, the oldest first.
fn segments_of(recording: &Path) -> Result<Vec<Segment>, FsError> {
    let size = |file: PathBuf| std::fs::metadata(file).map_or(0, |meta| meta.len());
    let mut segments = vec![];
    for path in entries(recording)? {
        if path.extension().is_some_and(|ending| ending == LINES) {
            let mut segment = Segment { stem: path.with_extension(""), bytes: 0 };
            segment.bytes = size(segment.file(LINES)) + size(segment.file(FRAMES));
            segments.push(segment);
        }
    }
    Ok(segments)
}

/// Files of lines of a recording, the oldest first.
pub(super) fn line_files(recording: &Path) -> Result<Vec<PathBuf>, FsError> {
    Ok(segments_of(recording)?.iter().map(|segment| segment.file(LINES)).collect())
}

/// What lies in `folder`, sorted.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, FsError> {
    let failed = |error| FsError::io("read folder", folder, error);
    let entries = std::fs::read_dir(folder).map_err(failed)?;
    let mut found = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    found.sort();
    Ok(found)
}

/// `rec-20261125T190405Z`, with a number behind it when there is one of that second.
fn new_folder(folder: &Path, created_utc: &str) -> Result<PathBuf, FsError> {
    let stamp: String = created_utc.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    let mut tries = 1;
    loop {
        let name = match tries {
            1 => format!("{PREFIX}{stamp}"),
            n => format!("{PREFIX}{stamp}-{n}"),
        };
        let dir = folder.join(name);
        match std::fs::create_dir(&dir) {
            Ok(()) => return Ok(dir),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && tries < 1000 => {
                tries += 1;
            }
            Err(error) => return Err(FsError::io("create folder", &dir, error)),
        }
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;

//! The recording of a running station: pictures as the camera sent them, triggers and decisions,
//! bounded in bytes, to be replayed as a regression test (`crrd replay`).
//!
//! A recording never delays a verdict and never stops the station. What is to be recorded is
//! handed over through a bounded queue, a picture as a copy in one of [`SHOTS_MAX`] buffers; when
//! the disk is too slow, the hand-over is refused and counted. When the bytes are used up, the
//! oldest part of the recording goes first. When the disk fails, the recording ends and says so.
//!
//! A recording is not the record of verdicts: that is the journal, which keeps every one of them.
//! `docs/spec/recording.md` describes the files.

mod feed;
mod line;
mod pairs;
mod read;
mod recorder;
mod store;

pub use feed::{Counters, Feed, Shot};
pub use line::{FrameLine, Head, HeadRecipe, PartLine};
pub use read::{Part, ReadError, Reading};
pub use recorder::{Keep, RecordError, Recorder, Settings};

/// Pictures that wait to be written or for their verdict: more than a station's queue holds.
pub const SHOTS_MAX: usize = 12;

/// Version of the files.
pub const FORMAT: u32 = 1;
/// Says what a recording is; the first file that is written.
const HEAD_FILE: &str = "recording.toml";
/// Endings of the two files of a segment.
const LINES: &str = "jsonl";
const FRAMES: &str = "frames";

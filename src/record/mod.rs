//! The recording of a running station: pictures as the camera sent them, triggers and decisions,
//! bounded in bytes, to be replayed as a regression test (`crrd replay`).
//!
//! A recording never delays a verdict and never stops the station. What is to be recorded is
//! handed over through a bounded queue, a picture as a copy in one of a fixed number of buffers; when
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
pub use line::{FrameLine, Head, HeadRecipe, PartLine, ViewLine};
pub use read::{Part, ReadError, Reading};
pub use recorder::{Keep, RecordError, Recorder, Settings, View};

/// Pictures of each camera that may wait to be written, besides those that wait for their verdict.
pub const SHOTS_SPARE: usize = 8;

/// Version of the files.
pub const FORMAT: u32 = 1;
/// Says what a recording is; the first file that is written.
const HEAD_FILE: &str = "recording.toml";
/// Endings of the two files of a segment.
const LINES: &str = "jsonl";
const FRAMES: &str = "frames";

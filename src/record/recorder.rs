//! The recorder's thread.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::Receiver;

use super::feed::{Counters, Feed, Message, Shot, Tally};
use super::line::{Head, HeadRecipe, PartLine};
use super::pairs::Pairs;
use super::store::Store;
use super::{FORMAT, SHOTS_SPARE};
use crate::frame::FrameKeys;
use crate::judge::Outcome;
use crate::message::{VerdictRecord, ViewResults};
use crate::sys::clock::Clock;
use crate::sys::fs::FsError;

/// Time for what waits to be written when the station ends: a second of pictures on a slow disk.
const STOP_MS_MAX: u64 = 5_000;
/// How often the ending thread is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Every decision.
    All,
    /// Decisions other than PASS.
    Rejects,
}

impl Keep {
    fn name(self) -> &'static str {
        match self {
            Keep::All => "all",
            Keep::Rejects => "rejects",
        }
    }
}

/// What is recorded, and where.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Folder of the recordings; made when missing.
    pub folder: PathBuf,
    /// Bound of all recordings in it in bytes.
    pub bytes_max: u64,
    /// What is recorded.
    pub keep: Keep,
    /// The station.
    pub station: String,
    /// SHA-256 (hex) of the model file.
    pub engine_sha256: String,
    /// Id of the calibration: eight hex digits.
    pub calibration: String,
    /// What the recipe numbers mean.
    pub recipes: Vec<HeadRecipe>,
    /// The cameras, by their numbers.
    pub cameras: Vec<View>,
    /// Pictures of each camera that may wait for their verdict at the station.
    pub frames_waiting: usize,
}

/// A camera that is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Its name.
    pub name: String,
    /// Size of its largest picture.
    pub frame_bytes_max: usize,
}

/// A recording that cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The folder or a file cannot be made.
    #[error("the recording cannot begin")]
    Files(#[from] FsError),
    /// The head cannot be written as TOML.
    #[error("the head of the recording cannot be written")]
    Head(#[from] toml::ser::Error),
    /// No thread.
    #[error("cannot start thread crrd-record: raise the limit on tasks")]
    Thread(#[source] std::io::Error),
}

/// A recording under way.
pub struct Recorder {
    feed: Feed,
    tally: Arc<Tally>,
    thread: JoinHandle<()>,
    folder: PathBuf,
}

impl Recorder {
    /// Begins a recording.
    ///
    /// # Errors
    /// When its files cannot be made or there is no thread for it.
    pub fn start(settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, RecordError> {
        let head = Head {
            format: FORMAT,
            station: settings.station,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            created_utc: clock.wall_utc_rfc3339(),
            engine_sha256: settings.engine_sha256,
            calibration: settings.calibration,
            keep: settings.keep.name().to_owned(),
            camera: match settings.cameras.as_slice() {
                // The only camera needs no name.
                [_] => vec![],
                several => several.iter().map(|view| view.name.clone()).collect(),
            },
            recipe: settings.recipes,
        };
        let text = toml::to_string(&head)?;
        let store = Store::create(&settings.folder, settings.bytes_max, &head, &text)?;
        let folder = store.dir().to_owned();
        tracing::info!(folder = %folder.display(), keep = settings.keep.name(), "recording");
        let tally = Arc::new(Tally::default());
        let bytes: Vec<usize> = settings.cameras.iter().map(|view| view.frame_bytes_max).collect();
        let shots = settings.frames_waiting + SHOTS_SPARE;
        let (feed, messages) = Feed::new(shots, &bytes, Arc::clone(&tally));
        let task = Task {
            store: Some(store),
            keep: settings.keep,
            pairs: Pairs::default(),
            tally: Arc::clone(&tally),
            clock,
        };
        let thread = std::thread::Builder::new().name("crrd-record".to_owned());
        let thread = thread.spawn(move || task.run(&messages)).map_err(RecordError::Thread)?;
        Ok(Self { feed, tally, thread, folder })
    }

    /// What hands over to it.
    pub fn feed(&self) -> Feed {
        self.feed.clone()
    }

    /// The folder of this recording.
    pub fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    /// What was recorded so far.
    pub fn counters(&self) -> Counters {
        self.tally.get()
    }

    /// Writes what waits, in bounded time, and ends.
    pub fn stop(self) -> Counters {
        let step = Duration::from_millis(STOP_MS_MAX);
        let told = self.feed.stop(step);
        let mut looks = STOP_MS_MAX / LOOK_EVERY.as_millis() as u64;
        while told && !self.thread.is_finished() && looks > 0 {
            std::thread::sleep(LOOK_EVERY);
            looks -= 1;
        }
        if !self.thread.is_finished() {
            tracing::warn!("the recording did not end in time; its last parts may be missing");
        }
        let counters = self.counters();
        let Counters { parts, frames, dropped, .. } = counters;
        tracing::info!(parts, frames, dropped, folder = %self.folder.display(), "recording ended");
        counters
    }
}

/// What the thread works with.
struct Task {
    /// Gone when the disk failed.
    store: Option<Store>,
    keep: Keep,
    pairs: Pairs,
    tally: Arc<Tally>,
    clock: Arc<dyn Clock>,
}

impl Task {
    fn run(mut self, messages: &Receiver<Message>) {
        while let Ok(message) = messages.recv() {
            match message {
                Message::Shot(shot) => self.pairs.shot(shot),
                Message::Decided(record, frames, views) => self.decided(&record, &frames, &views),
                Message::Stop => return,
            }
        }
    }

    fn decided(&mut self, record: &VerdictRecord, frames: &FrameKeys, views: &ViewResults) {
        let found = frames.iter().flatten().filter_map(|key| self.pairs.decided(*key));
        let shots: Vec<Shot> = found.collect();
        let passed = record.verdict.outcome() == Outcome::Pass;
        if passed && self.keep == Keep::Rejects {
            return;
        }
        let Some(store) = &mut self.store else { return };
        let line = PartLine::of(record, views, self.clock.wall_unix_s(), self.tally.get().dropped);
        let frames = shots.len() as u64;
        match store.append(line, &shots) {
            Ok(true) => {
                self.tally.parts.fetch_add(1, Ordering::Relaxed);
                self.tally.frames.fetch_add(frames, Ordering::Relaxed);
            }
            Ok(false) => self.tally.skip("one part is larger than record.bytes_max_mb"),
            Err(error) => {
                // The station goes on: what it decides is in the journal.
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the recording has stopped; the station goes on without it"
                );
                self.tally.failed.store(true, Ordering::Relaxed);
                self.store = None;
            }
        }
    }
}

#[cfg(test)]
#[path = "recorder_tests.rs"]
mod tests;

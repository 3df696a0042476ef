//! Replay: a folder of pictures or raw frames played as if a camera saw them.
//!
//! Each file is one accepted trigger. A file that cannot be read is a trigger without a picture
//! ([`Event::Incomplete`]), never silence. With a rate, the next frame is read ahead and handed
//! over when its trigger is due, as a camera would; triggers do not wait for the station: one
//! that finds no free buffer is reported as [`Damage::NoBuffer`]. Without a rate (0 Hz) the
//! replay waits for a buffer instead, so nothing is dropped.
//!
//! A fault script makes it an unreliable camera: pictures that are lost, doubled, late or damaged,
//! a camera that disconnects, a frame counter that wraps. Whatever the script does, each file is
//! one trigger that the station hears of or can infer from the frame numbers. What a camera
//! cannot show by a gap (a picture lost before a disconnection or the end, and those that pass
//! during one) is reported as [`Damage::Lost`] afterwards, as a camera with a trigger counter can.

mod faults;
mod load;
mod scan;
mod stream;

use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};

#[cfg(doc)]
use super::Damage;
use super::{Camera, CameraError, CameraErrorKind, CameraStats, Event, SoftTrigger};
use crate::frame::{CameraId, Nanos, PixelFormat, Pool};
use crate::sys::clock::Clock;
use faults::Faults;
pub use scan::RecipeChoice;
use scan::{Item, scan};
use stream::Stream;

/// Software triggers that may wait; more are refused: the PLC is told at once.
const FIRED_MAX: usize = 64;

/// What the files of the folder are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Picture files; the format is found by content.
    Images,
    /// Files that are nothing but the pixels of one frame, rows top-down, not padded.
    Raw {
        /// Pixels.
        width: usize,
        /// Pixels.
        height: usize,
        /// Layout of a pixel.
        format: PixelFormat,
    },
}

/// Settings of a replay camera.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayOptions {
    /// Walked with all its sub-folders but `ground_truth`, in sorted order.
    pub folder: PathBuf,
    /// What the files are.
    pub source: Source,
    /// Which recipe a file belongs to.
    pub recipe: RecipeChoice,
    /// Triggers per second; 0 = as fast as the station takes them.
    pub rate_hz: f64,
    /// Pictures come only when [`Camera::soft_trigger`] asks for them; the rate is then unused.
    pub triggered: bool,
    /// Start again after the last file.
    pub repeat: bool,
    /// What goes wrong on purpose: a fault script.
    pub faults: Option<PathBuf>,
    /// Number of this camera.
    pub camera: CameraId,
}

/// The replay camera.
pub struct Replay {
    options: ReplayOptions,
    clock: Arc<dyn Clock>,
    items: Vec<Item>,
    faults: Faults,
    frame_bytes_max: usize,
    stream: Option<Stream>,
    /// Triggers so far, over all streams: the number of the newest.
    triggers: u64,
    /// The newest trigger that the station has heard of.
    told: u64,
    /// When the next trigger is due, with a rate; time goes on while the camera is lost.
    due: Option<Nanos>,
    /// Software triggers on their way.
    fired: (Sender<()>, Receiver<()>),
    stats: CameraStats,
}

impl Replay {
    /// Lists the folder and finds the largest frame.
    ///
    /// # Errors
    /// When the folder cannot be read, holds no file of the kind, the rate is not a number, or the
    /// fault script cannot be played.
    pub fn open(options: ReplayOptions, clock: Arc<dyn Clock>) -> Result<Self, CameraError> {
        if !options.rate_hz.is_finite() || options.rate_hz < 0.0 {
            return Err(CameraError::new(
                CameraErrorKind::Settings,
                format!("replay rate {} Hz is not usable: give 0 or more", options.rate_hz),
            ));
        }
        let faults = match &options.faults {
            Some(file) => Faults::load(file)?,
            None => Faults::default(),
        };
        let items = scan(&options)?;
        let frame_bytes_max = load::largest(&items, options.source)?;
        tracing::info!(folder = %options.folder.display(), files = items.len(), "replay camera");
        Ok(Self {
            options,
            clock,
            items,
            faults,
            frame_bytes_max,
            stream: None,
            triggers: 0,
            told: 0,
            due: None,
            fired: bounded(FIRED_MAX),
            stats: CameraStats::default(),
        })
    }

    /// Files the folder holds: triggers of one round.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Never: a folder without a usable file is refused when it is opened.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    fn period(&self) -> Option<Nanos> {
        (self.options.rate_hz > 0.0).then(|| Nanos((1e9 / self.options.rate_hz) as u64))
    }

    /// Whether the last file has had its trigger.
    fn is_exhausted(&self) -> bool {
        !self.options.repeat && self.triggers >= self.items.len() as u64
    }

    /// The file of a trigger, which counts from 1.
    fn item(&self, number: u64) -> &Item {
        // A folder without files is refused when it is opened.
        &self.items[(number.saturating_sub(1) % self.items.len() as u64) as usize]
    }

    /// Counts a trigger; the number it gets.
    fn count(&mut self) -> u64 {
        self.triggers += 1;
        if let (Some(due), Some(period)) = (self.due, self.period()) {
            self.due = Some(Nanos(due.0.saturating_add(period.0)));
        }
        self.triggers
    }

    /// Counts what passed while there was no stream.
    fn count_unseen(&mut self) {
        let now = self.clock.now();
        while self.due.is_some_and(|due| due <= now) && !self.is_exhausted() {
            self.count();
        }
        while self.options.triggered && self.fired.1.try_recv().is_ok() && !self.is_exhausted() {
            self.count();
        }
    }
}

impl Camera for Replay {
    fn frame_bytes_max(&self) -> usize {
        self.frame_bytes_max
    }

    fn start(&mut self, pool: Pool, epoch: u32) -> Result<(), CameraError> {
        if self.triggers > 0 {
            self.count_unseen();
        } else {
            self.due = self.period().map(|period| Nanos(self.clock.now().0 + period.0));
        }
        self.stream = Some(Stream::new(pool, epoch, self.told + 1, self.faults.frame_id));
        Ok(())
    }

    fn next(&mut self, deadline: Nanos) -> Result<Event, CameraError> {
        let Some(mut stream) = self.stream.take() else {
            return Err(CameraError::new(
                CameraErrorKind::Stream,
                "the replay camera is not started: start it before asking for frames",
            ));
        };
        let event = self.step(&mut stream, deadline)?;
        if !matches!(event, Event::Gone { .. }) {
            self.stream = Some(stream);
        }
        Ok(event)
    }

    fn stats(&self) -> CameraStats {
        self.stats
    }

    fn soft_trigger(&self) -> Option<SoftTrigger> {
        let fired = self.fired.0.clone();
        self.options.triggered.then(|| Box::new(move || fired.try_send(()).is_ok()) as SoftTrigger)
    }

    fn stop(&mut self) -> Result<(), CameraError> {
        self.stream = None;
        Ok(())
    }
}

#[cfg(test)]
mod faults_tests;
#[cfg(test)]
mod tests;

//! Replay: a folder of pictures or raw frames played as if a camera saw them.
//!
//! Each file is one accepted trigger. A file that cannot be read is a trigger without a picture
//! ([`Event::Incomplete`]), never silence. With a rate, the next frame is read ahead and handed
//! over when its trigger is due, as a camera would; triggers do not wait for the station: one
//! that finds no free buffer is reported as [`Damage::NoBuffer`]. Without a rate (0 Hz) the
//! replay waits for a buffer instead, so nothing is dropped.

mod load;
mod scan;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{
    Camera, CameraError, CameraErrorKind, CameraStats, Damage, Event, SoftTrigger, Trigger,
};
use crate::frame::{CameraId, Frame, FrameMeta, Lease, Nanos, PixelFormat, Pool, TriggerId};
use crate::sys::clock::Clock;
use load::Shape;
pub use scan::RecipeChoice;
use scan::{Item, scan};

/// Software triggers that may wait; more are refused: the PLC is told at once.
const FIRED_MAX: usize = 64;
/// Longest nap while waiting for a buffer, in milliseconds: short against any inference.
const BUFFER_NAP_MS: u64 = 1;

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
    /// Number of this camera.
    pub camera: CameraId,
}

/// A file read ahead, waiting for its trigger.
enum Staged {
    Picture(Lease, Shape),
    Damaged(Damage),
}

/// The replay camera.
pub struct Replay {
    options: ReplayOptions,
    clock: Arc<dyn Clock>,
    items: Vec<Item>,
    frame_bytes_max: usize,
    stream: Option<Stream>,
    /// Triggers so far, over all streams: the trigger ids.
    triggers: u64,
    /// Software triggers on their way.
    fired: (Sender<()>, Receiver<()>),
    stats: CameraStats,
}

struct Stream {
    pool: Pool,
    epoch: u32,
    next_item: usize,
    seq: u64,
    due: Nanos,
    staged: Option<Staged>,
}

impl Stream {
    /// Whether no frame handed over before waits for its inspection. Without a rate the next
    /// trigger comes only then: its latency is not spent in a queue that the replay filled.
    fn others_are_back(&self) -> bool {
        let mine = match &self.staged {
            Some(Staged::Picture(..)) => 1,
            _ => 0,
        };
        self.pool.free() + mine == self.pool.slots()
    }
}

impl Replay {
    /// Lists the folder and finds the largest frame.
    ///
    /// # Errors
    /// When the folder cannot be read, holds no file of the kind, or the rate is not a number.
    pub fn open(options: ReplayOptions, clock: Arc<dyn Clock>) -> Result<Self, CameraError> {
        if !options.rate_hz.is_finite() || options.rate_hz < 0.0 {
            return Err(CameraError::new(
                CameraErrorKind::Settings,
                format!("replay rate {} Hz is not usable: give 0 or more", options.rate_hz),
            ));
        }
        let items = scan(&options)?;
        let frame_bytes_max = load::largest(&items, options.source)?;
        tracing::info!(folder = %options.folder.display(), files = items.len(), "replay camera");
        let stats = CameraStats::default();
        let fired = bounded(FIRED_MAX);
        Ok(Self { options, clock, items, frame_bytes_max, stream: None, triggers: 0, fired, stats })
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

    /// Reads the next file ahead, when there is a buffer for it.
    fn stage(&self, stream: &mut Stream) {
        if stream.staged.is_some() {
            return;
        }
        // Asked first: waiting for a buffer is no refusal that the pool should count.
        if stream.pool.free() == 0 {
            return;
        }
        let Some(mut lease) = stream.pool.lease() else { return };
        let item = &self.items[stream.next_item];
        stream.staged = Some(match load::load(&item.path, self.options.source, &mut lease) {
            Ok(shape) => Staged::Picture(lease, shape),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(file = %item.path.display(), error, "no usable picture in this file");
                Staged::Damaged(Damage::Unreadable)
            }
        });
    }

    /// Waits until a staged file may be handed over; what is handed over, or `None` at
    /// `deadline`.
    fn wait(&self, stream: &mut Stream, deadline: Nanos) -> Option<Staged> {
        if self.options.triggered {
            return self.wait_fired(stream, deadline);
        }
        let paced = self.options.rate_hz > 0.0;
        loop {
            self.stage(stream);
            let now = self.clock.now();
            if paced && now >= stream.due {
                return Some(stream.staged.take().unwrap_or(Staged::Damaged(Damage::NoBuffer)));
            }
            if !paced
                && stream.others_are_back()
                && let Some(staged) = stream.staged.take()
            {
                return Some(staged);
            }
            if now >= deadline {
                return None;
            }
            let until = if paced { stream.due.min(deadline) } else { deadline };
            // With a file staged only the time is waited for; otherwise a buffer, too.
            let nap = if paced && stream.staged.is_some() {
                until.since(now).0
            } else {
                BUFFER_NAP_MS * 1_000_000
            };
            std::thread::sleep(Duration::from_nanos(nap.min(until.since(now).0)));
        }
    }

    /// Waits for a software trigger.
    fn wait_fired(&self, stream: &mut Stream, deadline: Nanos) -> Option<Staged> {
        self.stage(stream);
        let wait = Duration::from_nanos(deadline.since(self.clock.now()).0);
        self.fired.1.recv_timeout(wait).ok()?;
        self.stage(stream);
        Some(stream.staged.take().unwrap_or(Staged::Damaged(Damage::NoBuffer)))
    }

    fn hand_over(&mut self, stream: &mut Stream, staged: Staged) -> Event {
        let arrived = self.clock.now();
        let item = &self.items[stream.next_item];
        let trigger = Trigger {
            seq: stream.seq,
            // The PLC's number is 32 bits wide and wraps.
            id: TriggerId(self.triggers.wrapping_add(1) as u32),
            part: item.part,
            recipe: item.recipe,
            arrived,
        };
        self.triggers += 1;
        stream.seq += 1;
        stream.next_item += 1;
        if let Some(period) = self.period() {
            stream.due = Nanos(stream.due.0.saturating_add(period.0));
        }
        match staged {
            Staged::Picture(lease, shape) => {
                self.stats.delivered += 1;
                let number = (stream.epoch, trigger.seq);
                let size = (shape.width, shape.height);
                let camera = self.options.camera;
                let meta = FrameMeta::packed(camera, number, arrived, shape.format, size);
                Event::Frame { trigger, frame: Frame { meta, lease } }
            }
            Staged::Damaged(why) => {
                self.stats.incomplete += 1;
                self.stats.no_buffer += u64::from(why == Damage::NoBuffer);
                Event::Incomplete { trigger, why }
            }
        }
    }
}

impl Camera for Replay {
    fn frame_bytes_max(&self) -> usize {
        self.frame_bytes_max
    }

    fn start(&mut self, pool: Pool, epoch: u32) -> Result<(), CameraError> {
        let due = Nanos(self.clock.now().0 + self.period().unwrap_or_default().0);
        self.stream = Some(Stream { pool, epoch, next_item: 0, seq: 1, due, staged: None });
        Ok(())
    }

    fn next(&mut self, deadline: Nanos) -> Result<Event, CameraError> {
        let Some(mut stream) = self.stream.take() else {
            return Err(CameraError::new(
                CameraErrorKind::Stream,
                "the replay camera is not started: start it before asking for frames",
            ));
        };
        if stream.next_item == self.items.len() {
            if !self.options.repeat {
                self.stream = Some(stream);
                return Ok(Event::End);
            }
            stream.next_item = 0;
        }
        let event = match self.wait(&mut stream, deadline) {
            Some(staged) => self.hand_over(&mut stream, staged),
            None => Event::Idle,
        };
        self.stream = Some(stream);
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
mod tests;

//! Cameras: one trait, a replay back-end for files and a scripted one for tests.
//!
//! A camera reports every accepted trigger exactly once, as a frame or as the reason why there
//! is none; [`Supervisor`] finds the triggers it did not report by their sequence numbers, and
//! says when a lost camera is started again. [`views::Matcher`] brings the frames of several
//! cameras together. What becomes of a missing frame is decided further
//! down the line, never here: a camera knows no verdict.
//!
//! Frames lie in leased buffers. A camera that finds the pool empty either waits (a replay with
//! no rate of its own) or reports the trigger as [`Damage::NoBuffer`]; it never allocates.

pub mod diagnose;
mod error;
pub mod gige;
pub mod replay;
pub mod scripted;
pub mod supervisor;
mod trigger;
mod unwrap;
pub mod v4l2;
pub mod views;
pub mod webcam;

pub use error::{CameraError, CameraErrorKind};
pub use supervisor::{Continuity, FrameNumbers, GAP_PARTS_MAX, Supervisor};
pub use trigger::{Damage, Trigger, part_id_of, part_of_trigger};
pub use unwrap::{Counter, Unwrap};

use crate::frame::{Frame, Nanos, Pool};

/// What a camera has to say.
#[derive(Debug)]
pub enum Event {
    /// An accepted trigger and its picture.
    Frame {
        /// The trigger.
        trigger: Trigger,
        /// The picture, in a leased buffer.
        frame: Frame,
    },
    /// An accepted trigger without a usable picture.
    Incomplete {
        /// The trigger.
        trigger: Trigger,
        /// What happened to the picture.
        why: Damage,
    },
    /// Nothing came before the deadline: normal on a triggered line.
    Idle,
    /// The camera is lost; start it again after a pause.
    Gone {
        /// For people: what was seen.
        reason: String,
    },
    /// The source is exhausted; nothing will come any more.
    End,
}

/// Counters of a camera since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CameraStats {
    /// Frames handed over.
    pub delivered: u64,
    /// Triggers without a usable frame.
    pub incomplete: u64,
    /// Triggers that found no free buffer (also counted in `incomplete`).
    pub no_buffer: u64,
    /// Packets that never came (cameras on a network).
    pub packets_missing: u64,
    /// Packets that came when they were asked for again (cameras on a network).
    pub packets_resent: u64,
}

impl CameraStats {
    /// Counts what became of a trigger, and tells it.
    fn tell(&mut self, trigger: Trigger, picture: Result<Frame, Damage>) -> Event {
        match picture {
            Ok(frame) => {
                self.delivered += 1;
                Event::Frame { trigger, frame }
            }
            Err(why) => {
                self.incomplete += 1;
                self.no_buffer += u64::from(why == Damage::NoBuffer);
                Event::Incomplete { trigger, why }
            }
        }
    }
}

/// Makes a camera take a picture now; false when it cannot take another one yet. Used from another
/// thread than the camera's.
pub type SoftTrigger = Box<dyn Fn() -> bool + Send>;

/// A source of frames. One owner thread per camera.
pub trait Camera: Send {
    /// Bytes the largest frame takes: the buffer size of the pool given to [`Camera::start`].
    fn frame_bytes_max(&self) -> usize;

    /// Starts streaming into buffers of `pool`; also after [`Event::Gone`] and [`Camera::stop`].
    /// Applies all settings again and verifies them: a camera that lost power has forgotten them.
    /// `epoch` marks the frames of this stream.
    ///
    /// # Errors
    /// When the camera cannot be started, or does not hold its settings; trying again later is
    /// allowed.
    fn start(&mut self, pool: Pool, epoch: u32) -> Result<(), CameraError>;

    /// The next event; [`Event::Idle`] at `deadline` at the latest (monotonic clock).
    ///
    /// # Errors
    /// When the camera failed in a way that only a restart can heal.
    fn next(&mut self, deadline: Nanos) -> Result<Event, CameraError>;

    /// Counters.
    fn stats(&self) -> CameraStats;

    /// What makes the camera take a picture, when it is triggered by software.
    fn soft_trigger(&self) -> Option<SoftTrigger> {
        None
    }

    /// Stops streaming. Leased frames stay valid.
    ///
    /// # Errors
    /// When the camera does not answer; the stream is then treated as stopped.
    fn stop(&mut self) -> Result<(), CameraError>;
}

//! What becomes of a camera: a state machine that is told what happened and says what to do next.
//! Pure: no camera, no clock, no thread.
//!
//! ```text
//!            started               expected parts without a frame
//! Starting ----------> Running ------------------------------------> Stalled
//!    ^  |                 ^  |<------------ a frame --------------------|
//!    |  | not started     |  | gone, failed                             | too many of them
//!    |  v                 |  v                                          v
//!    +-- Lost: a pause of 250 ms to 5 s, then the next start under a new epoch
//! ```
//!
//! - A start opens the camera, applies its settings and verifies them; one that cannot be
//!   verified is not started.
//! - Time that passes without a frame is no event here: on a triggered line it is normal, and it
//!   resets nothing. Only a part that was expected and brought no frame says something, and only
//!   [`UNSEEN_PARTS_MAX`] of them in a row say that the stream is dead.
//! - The pause grows until a frame proves that the camera delivers, not merely that it starts.
//! - Frame numbers mean nothing across a start: the first one after it is whatever comes.

mod backoff;
mod numbers;
#[cfg(test)]
mod tests;

pub use backoff::Backoff;
pub use numbers::{Continuity, FrameNumbers, GAP_PARTS_MAX};

use std::borrow::Cow;

use crate::frame::Nanos;

/// Expected parts in a row without a frame after which the stream is taken for dead and started
/// anew: a driver that hangs without a word. Fewer are pulses that the camera did not take.
pub const UNSEEN_PARTS_MAX: u64 = 3;

/// Longest cause kept, in characters: a line for people.
const CAUSE_CHARS_MAX: usize = 160;

/// How a camera is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// It is being opened and its settings are verified.
    Starting,
    /// It streams.
    Running,
    /// It streams, but the last expected part brought no frame.
    Stalled,
    /// It is gone; the next start comes after a pause.
    Lost,
}

impl State {
    /// The name on the health topic.
    pub fn name(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Running => "running",
            State::Stalled => "stalled",
            State::Lost => "lost",
        }
    }

    /// Whether frames may come.
    pub fn streams(self) -> bool {
        matches!(self, State::Running | State::Stalled)
    }
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Start the camera, then say [`Supervisor::started`] or [`Supervisor::failed`].
    Start {
        /// Marks the frames of this stream; larger with each start.
        epoch: u32,
    },
    /// Read its events.
    Read,
    /// Leave it alone until then.
    Pause {
        /// When the next start is due.
        until: Nanos,
    },
}

/// What went wrong, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// For people; what is known beforehand is not copied.
    pub text: Cow<'static, str>,
    /// Monotonic.
    pub at: Nanos,
}

/// What the supervisor counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames that the camera numbered and never delivered.
    pub lost: u64,
    /// Streams after the first.
    pub reconnects: u64,
    /// Frames that came twice or after their part was answered.
    pub stale: u64,
}

/// Follows one camera.
#[derive(Clone, Debug)]
pub struct Supervisor {
    state: State,
    epoch: u32,
    /// When the next start is due, while lost.
    until: Nanos,
    numbers: FrameNumbers,
    backoff: Backoff,
    /// Expected parts since the last frame.
    unseen: u64,
    streams: u64,
    counts: Counts,
    cause: Option<Cause>,
}

impl Default for Supervisor {
    /// A camera that was never started.
    fn default() -> Self {
        Self {
            state: State::Starting,
            epoch: 1,
            until: Nanos(0),
            numbers: FrameNumbers::default(),
            backoff: Backoff::default(),
            unseen: 0,
            streams: 0,
            counts: Counts::default(),
            cause: None,
        }
    }
}

impl Supervisor {
    /// What is to be done at `now`.
    pub fn order(&mut self, now: Nanos) -> Order {
        if self.state == State::Lost {
            if now < self.until {
                return Order::Pause { until: self.until };
            }
            self.state = State::Starting;
            self.epoch = self.epoch.wrapping_add(1);
        }
        match self.state {
            State::Starting => Order::Start { epoch: self.epoch },
            State::Running | State::Stalled => Order::Read,
            State::Lost => Order::Pause { until: self.until },
        }
    }

    /// The camera streams, and its settings are what they should be.
    pub fn started(&mut self) {
        self.state = State::Running;
        self.numbers.restart();
        self.unseen = 0;
        self.counts.reconnects += u64::from(self.streams > 0);
        self.streams += 1;
    }

    /// The camera could not be started, is gone, or failed in a way that only a start can heal.
    pub fn failed(&mut self, now: Nanos, cause: impl Into<Cow<'static, str>>) {
        self.note(now, cause);
        self.state = State::Lost;
        self.until = now.plus_ms(self.backoff.next_ms());
    }

    /// The camera reported a trigger, with or without a picture.
    pub fn observe(&mut self, seq: u64) -> Continuity {
        self.backoff.reset();
        self.unseen = 0;
        if self.state == State::Stalled {
            self.state = State::Running;
        }
        let continuity = self.numbers.observe(seq);
        match &continuity {
            Continuity::Gap(missing) => self.counts.lost += missing.end - missing.start,
            Continuity::Stale => self.counts.stale += 1,
            Continuity::InOrder | Continuity::Jump => {}
        }
        continuity
    }

    /// `parts` expected parts brought no frame; true when the camera is lost by that.
    pub fn unseen(&mut self, now: Nanos, parts: u64) -> bool {
        if parts == 0 || !self.state.streams() {
            return false;
        }
        self.unseen = self.unseen.saturating_add(parts);
        self.state = State::Stalled;
        if self.unseen < UNSEEN_PARTS_MAX {
            self.note(now, "an expected part brought no frame");
            return false;
        }
        self.failed(now, "expected parts brought no frame, one after the other");
        true
    }

    /// Remembers something that went wrong without ending the stream.
    pub fn note(&mut self, now: Nanos, cause: impl Into<Cow<'static, str>>) {
        let mut text = cause.into();
        if let Cow::Owned(long) = &mut text
            && let Some((cut, _)) = long.char_indices().nth(CAUSE_CHARS_MAX)
        {
            long.truncate(cut);
        }
        self.cause = Some(Cause { text, at: now });
    }

    /// How the camera is.
    pub fn state(&self) -> State {
        self.state
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What went wrong last.
    pub fn cause(&self) -> Option<&Cause> {
        self.cause.as_ref()
    }
}

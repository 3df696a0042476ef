//! Where a capture stage hands over what it has: at the gate itself with one camera, to the
//! matching of views with several.

use std::borrow::Cow;
use std::sync::Arc;

use crossbeam_channel::{SendTimeoutError, Sender};

use super::board::Board;
use super::gate::{Gate, Lack, Offer, Passed, reason};
use super::progress::{Progress, Stage};
use super::stage::TICK;
use super::views_stage::{Said, What};
use super::work::single;
use crate::capture::supervisor::State;
use crate::capture::{Damage, Trigger};
use crate::frame::{Frame, FrameKeys, Nanos};
use crate::station;
use crate::sys::clock::Clock;

pub(super) enum Exit {
    /// The only camera.
    Only(Only),
    /// One of several.
    Shared(Shared),
}

/// The only camera's way.
pub(super) struct Only {
    pub(super) gate: Gate,
    pub(super) board: Arc<Board>,
    pub(super) progress: Progress,
    pub(super) clock: Arc<dyn Clock>,
    /// Pictures that replaced one that nobody had looked at.
    pub(super) replaced: u64,
}

/// One camera's way to the others.
pub(super) struct Shared {
    pub(super) view: usize,
    pub(super) say: Sender<Said>,
    pub(super) progress: Progress,
}

impl Exit {
    /// A trigger with its picture, or why there is none; false when nobody listens.
    pub(super) fn trigger(&mut self, trigger: &Trigger, picture: Result<Frame, Damage>) -> bool {
        match self {
            Exit::Only(only) => only.accept(trigger, picture),
            Exit::Shared(shared) => shared.send(What::Trigger(*trigger, picture)),
        }
    }

    /// A trigger that the camera numbered and never reported, which was seen at `before`.
    pub(super) fn lost(&mut self, trigger: &Trigger, before: Nanos) -> bool {
        match self {
            Exit::Only(only) => only.accept(trigger, Err(Damage::Lost)),
            Exit::Shared(shared) => shared.send(What::Lost(*trigger, before)),
        }
    }

    /// The camera's numbers jumped.
    pub(super) fn renumbered(&mut self) -> bool {
        match self {
            Exit::Only(_) => true,
            Exit::Shared(shared) => shared.send(What::Renumbered),
        }
    }

    /// The camera is in another state, or something new went wrong (with the wall time).
    pub(super) fn changed(&mut self, state: State, cause: Option<(Cow<'static, str>, u64)>) {
        match self {
            Exit::Only(only) => only.board.camera_changed(only.clock.now(), 0, state, cause),
            // Who does not listen any more needs no news.
            Exit::Shared(shared) => _ = shared.send(What::Changed(state, cause)),
        }
    }

    /// Nothing will come any more; `told` = somebody may still listen.
    pub(super) fn end(&mut self, told: bool) {
        match self {
            Exit::Only(only) => {
                if told {
                    only.gate.tell(station::Event::Ending);
                }
                only.board.camera_ended(0);
                // Not lost: it left in order.
                only.board.camera_changed(only.clock.now(), 0, State::Starting, None);
            }
            Exit::Shared(shared) => {
                let _ = shared.send(What::Ended);
                let _ = shared.send(What::Changed(State::Starting, None));
            }
        }
    }

    /// Pictures of this camera that replaced one nobody had looked at. With several cameras the
    /// gate sees parts, not cameras.
    pub(super) fn replaced(&self) -> u64 {
        match self {
            Exit::Only(only) => only.replaced,
            Exit::Shared(_) => 0,
        }
    }
}

impl Only {
    fn accept(&mut self, trigger: &Trigger, picture: Result<Frame, Damage>) -> bool {
        let offer = match picture {
            Ok(frame) => Offer::whole(single(frame)),
            Err(why) => {
                let lack = Lack { reason: reason(why), view: None };
                Offer::lacking(lack, FrameKeys::default())
            }
        };
        let passed = self.gate.accept(trigger, offer, (&self.progress, Stage::Capture(0)));
        self.replaced += u64::from(passed == Passed::Replacing);
        passed != Passed::NobodyListens
    }
}

impl Shared {
    /// Waits for room: nothing that was seen is dropped here.
    fn send(&self, what: What) -> bool {
        let mut said = Said { view: self.view, what };
        loop {
            match self.say.send_timeout(said, TICK) {
                Ok(()) => return true,
                Err(SendTimeoutError::Timeout(back)) => said = back,
                Err(SendTimeoutError::Disconnected(_)) => return false,
            }
            self.progress.beat(Stage::Capture(self.view));
        }
    }
}

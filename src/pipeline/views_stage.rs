//! Between several cameras and the gate: which frames show the same part. One thread takes what
//! all cameras say, in the order in which it came, so that a loss and the parts it costs are told
//! in their order, too.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::board::Board;
use super::gate::{Gate, Lack, Offer, Passed, reason};
use super::progress::{Progress, Stage};
use super::stage::{Outcome, Signals, TICK};
use super::work::{Views, keys};
use crate::capture::supervisor::State;
use crate::capture::views::{At, Matcher, Missing, Set, Slot, Taken};
use crate::capture::{Damage, Trigger, part_of_trigger};
use crate::frame::{Frame, Nanos, PartId, RecipeId, TriggerId};
use crate::judge::Reason;
use crate::station;
use crate::sys::clock::Clock;

/// Messages taken before sets whose time is over are closed: a frame that came in time and waits
/// in the queue is not late.
const AT_ONCE_MAX: usize = 256;

/// What a capture thread says of its camera.
pub(super) struct Said {
    pub(super) view: usize,
    pub(super) what: What,
}

/// What happened.
pub(super) enum What {
    /// The camera is in another state, or something new went wrong (with the wall time).
    Changed(State, Option<(Cow<'static, str>, u64)>),
    /// Its frame numbers jumped: they mean nothing any more.
    Renumbered,
    /// Its source came to its end.
    Ended,
    /// A trigger with its picture, or why there is none.
    Trigger(Trigger, Result<Frame, Damage>),
    /// A trigger that it numbered and never reported; that was seen then.
    Lost(Trigger, Nanos),
}

/// A trigger as one camera saw it.
pub(super) struct Look {
    trigger: Trigger,
    picture: Result<Frame, Damage>,
}

pub(super) struct ViewsStage {
    pub(super) said: Receiver<Said>,
    pub(super) matcher: Matcher<Look>,
    pub(super) gate: Gate,
    pub(super) board: Arc<Board>,
    pub(super) progress: Progress,
    pub(super) signals: Arc<Signals>,
    pub(super) clock: Arc<dyn Clock>,
}

impl ViewsStage {
    /// Runs until all cameras have ended.
    pub(super) fn run(mut self) -> Outcome {
        loop {
            self.progress.beat(Stage::Views);
            let now = self.clock.now();
            let due = self.matcher.next_due().map(|due| Duration::from_nanos(due.since(now).0));
            let last = match self.said.recv_timeout(due.unwrap_or(TICK).min(TICK)) {
                Ok(said) => {
                    self.take(said);
                    false
                }
                Err(RecvTimeoutError::Timeout) => self.signals.drain_views(),
                Err(RecvTimeoutError::Disconnected) => true,
            };
            for _ in 0..AT_ONCE_MAX {
                let Ok(said) = self.said.try_recv() else { break };
                self.take(said);
            }
            if last {
                self.matcher.close();
            }
            if !self.pass_on(Some(self.clock.now())) {
                return Outcome::Done;
            }
            if last {
                self.gate.tell(station::Event::Ending);
                return Outcome::Done;
            }
        }
    }

    fn take(&mut self, Said { view, what }: Said) {
        match what {
            What::Changed(state, cause) => self.changed(view, state, cause),
            What::Renumbered => self.matcher.started(view),
            What::Ended => {
                self.matcher.gone(view);
                self.board.camera_ended(view);
            }
            What::Trigger(trigger, picture) => {
                let at = At::Arrived(trigger.arrived);
                self.look(view, at, Look { trigger, picture });
            }
            What::Lost(trigger, before) => {
                let picture = Err(Damage::Lost);
                self.look(view, At::LostBefore(before), Look { trigger, picture });
            }
        }
        // Complete sets only: what is in time may wait in the queue.
        self.pass_on(None);
    }

    fn changed(&mut self, view: usize, state: State, cause: Option<(Cow<'static, str>, u64)>) {
        let streamed = self.matcher.is_present(view);
        if state.streams() && !streamed {
            self.matcher.started(view);
        }
        if !state.streams() && streamed {
            self.matcher.gone(view);
            // The parts that this cost come before the news: they were armed while it was there.
            self.pass_on(None);
        }
        self.board.camera_changed(self.clock.now(), view, state, cause);
    }

    fn look(&mut self, view: usize, at: At, look: Look) {
        let (now, seq) = (self.clock.now(), look.trigger.seq);
        let lost = matches!(look.picture, Err(Damage::Lost));
        match self.matcher.seen(now, view, seq, at, look) {
            Taken::Matched => {}
            // Its part was answered without it, and nobody misses a frame that is not there.
            Taken::Refused(_) if lost => {}
            Taken::Refused(_) => {
                if self.board.view_refused(view) {
                    tracing::warn!(view, frame = seq, "view too late for its part; not used");
                }
            }
        }
    }

    /// Sends the closed sets on as parts; false when nobody takes them.
    fn pass_on(&mut self, now: Option<Nanos>) -> bool {
        while let Some(set) = self.matcher.take(now) {
            for (view, slot) in set.views.iter().enumerate().take(self.matcher.views()) {
                if matches!(slot, Slot::Missing(Missing::Late | Missing::Passed))
                    && self.board.view_missed(view, self.clock.wall_unix_s())
                {
                    tracing::error!(view, trigger = set.count, "a view is missing");
                }
            }
            let (trigger, offer) = self.part(set);
            let beat = (&self.progress, Stage::Views);
            match self.gate.accept(&trigger, offer, beat) {
                Passed::Through => {}
                Passed::Replacing => self.board.views_replaced(),
                Passed::NobodyListens => return false,
            }
        }
        true
    }

    /// The part that a set shows. It is looked at only when all views are there and agree on its
    /// recipe: whatever else they show, it is rejected.
    fn part(&self, set: Set<Look>) -> (Trigger, Offer) {
        let mut views = Views::default();
        let mut lack = None;
        let mut names: Option<PartId> = None;
        let mut recipe: Option<RecipeId> = None;
        for (view, slot) in set.views.into_iter().enumerate().take(self.matcher.views()) {
            let mut lacks = |reason| _ = lack.get_or_insert(Lack { reason, view: Some(view) });
            let Slot::There(Look { trigger, picture }) = slot else {
                lacks(Reason::FrameLost);
                continue;
            };
            if recipe.is_some() && trigger.recipe.is_some() && recipe != trigger.recipe {
                lacks(Reason::RecipeUnknown);
            }
            recipe = recipe.or(trigger.recipe);
            match picture {
                Ok(frame) => {
                    views[view] = Some(frame);
                    names = names.or(Some(trigger.part));
                }
                Err(why) => lacks(reason(why)),
            }
        }
        // The PLC's number is 32 bits wide and wraps.
        let id = TriggerId(set.count as u32);
        let trigger = Trigger {
            seq: set.count,
            id,
            part: names.unwrap_or_else(|| part_of_trigger(id)),
            recipe,
            arrived: set.at.unwrap_or_else(|| self.clock.now()),
        };
        let offer = match lack {
            None => Offer::whole(views),
            Some(lack) => Offer::lacking(lack, keys(&views)),
        };
        (trigger, offer)
    }
}

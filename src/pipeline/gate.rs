//! The gate between capture and inspection: the station accepts a captured trigger, and the part
//! goes into the queue with what there is to look at.

use std::sync::Arc;

use crossbeam_channel::{SendTimeoutError, Sender};

use super::board::Board;
use super::newest::Newest;
use super::progress::{Progress, Stage};
use super::stage::TICK;
use super::work::{Input, Views, Work, keys};
use crate::capture::{Damage, Trigger};
use crate::frame::FrameKeys;
use crate::judge::Reason;
use crate::station::{self, Action, Captured, Step};
use crate::sys::clock::Clock;

/// What becomes of pictures that wait for the inspection when more come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Queue {
    /// All are looked at, in order; a trigger that finds no free buffer is answered INVALID
    /// (overrun).
    #[default]
    Every,
    /// A newer one replaces the one that waits, whose part is answered INVALID (overrun).
    Latest,
}

pub(super) struct Gate {
    pub(super) work: Sender<Work>,
    /// Where pictures lie under [`Queue::Latest`].
    pub(super) newest: Option<Newest>,
    pub(super) board: Arc<Board>,
    pub(super) clock: Arc<dyn Clock>,
    /// Scratch of one step.
    pub(super) scratch: Step,
}

/// Why a part is not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lack {
    pub(super) reason: Reason,
    /// The view that is missing; `None` with one camera.
    pub(super) view: Option<usize>,
}

/// What there is of a part.
pub(super) struct Offer {
    views: Result<Views, Lack>,
    frames: FrameKeys,
}

impl Offer {
    /// Everything there is to look at.
    pub(super) fn whole(views: Views) -> Self {
        Self { frames: keys(&views), views: Ok(views) }
    }

    /// Too little; these pictures there were.
    pub(super) fn lacking(lack: Lack, frames: FrameKeys) -> Self {
        Self { views: Err(lack), frames }
    }
}

/// What became of a trigger at the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// Its part is on the way.
    Through,
    /// The same, and its picture replaced one that nobody had looked at.
    Replacing,
    /// Nobody takes the work any more.
    NobodyListens,
}

impl Gate {
    /// The station accepts the trigger; the part goes to the inspection with what there is.
    pub(super) fn accept(
        &mut self,
        trigger: &Trigger,
        Offer { views, frames }: Offer,
        beat: (&Progress, Stage),
    ) -> Passed {
        let captured = Captured {
            trigger: trigger.id,
            part: trigger.part,
            recipe: trigger.recipe,
            arrived: trigger.arrived,
            damage: views.as_ref().err().map(|lack| lack.reason),
        };
        self.board.step(self.clock.now(), station::Event::Captured(captured), &mut self.scratch);
        let work = self.scratch.drain(..).find_map(|action| match action {
            Action::Inspect(ticket) => Some((ticket, None)),
            Action::Skip(ticket, reason) => Some((ticket, Some(reason))),
            _ => None,
        });
        // Every captured trigger becomes exactly one part.
        let Some((ticket, skipped)) = work else { return Passed::Through };
        let mut replaced = false;
        let input = match (skipped, views) {
            (Some(reason), Err(lack)) if reason == lack.reason => Input::Missing(lack),
            (Some(reason), _) => Input::Missing(Lack { reason, view: None }),
            (None, Err(lack)) => Input::Missing(lack),
            (None, Ok(views)) => match &self.newest {
                None => Input::Views(views),
                Some(newest) => {
                    replaced = newest.put(ticket.seq, views);
                    Input::Newest
                }
            },
        };
        match self.send(Work { ticket, input, frames }, beat) {
            false => Passed::NobodyListens,
            true if replaced => Passed::Replacing,
            true => Passed::Through,
        }
    }

    /// One event that asks nothing of capture.
    pub(super) fn tell(&mut self, event: station::Event) {
        self.board.step(self.clock.now(), event, &mut self.scratch);
        self.scratch.clear();
    }

    /// Waits for room: an accepted trigger is never dropped here.
    fn send(&self, mut work: Work, (progress, stage): (&Progress, Stage)) -> bool {
        loop {
            match self.work.send_timeout(work, TICK) {
                Ok(()) => return true,
                Err(SendTimeoutError::Timeout(back)) => work = back,
                Err(SendTimeoutError::Disconnected(_)) => return false,
            }
            progress.beat(stage);
        }
    }
}

pub(super) fn reason(why: Damage) -> Reason {
    match why {
        Damage::Unreadable => Reason::FrameDamaged,
        Damage::NoBuffer => Reason::Overrun,
        Damage::Lost => Reason::FrameLost,
    }
}

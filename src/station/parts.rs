//! The parts that have no answer yet.

use std::collections::VecDeque;

use super::ARMED_MAX;
use crate::frame::{Nanos, PartId, RecipeId, TriggerId};

/// Parts under inspection that room is kept for: more than the pipeline's queues hold together.
const OPEN_MAX: usize = 512;

/// An accepted part: the promise of exactly one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Number of its answer in this boot epoch.
    pub seq: u32,
    /// The PLC's trigger.
    pub trigger: TriggerId,
    /// The part.
    pub part: PartId,
    /// What it is judged by; `None` when no recipe is known.
    pub recipe: Option<RecipeId>,
    /// When it was accepted: latency counts from here.
    pub arrived: Nanos,
    /// The answer is due.
    pub deadline: Nanos,
    /// A test run: whatever is found drives no output.
    pub test: bool,
}

/// A part under inspection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Open {
    seq: u32,
    /// When it is answered without the result at the latest; `None` once that has happened.
    due: Option<Nanos>,
}

/// Armed parts whose picture has not come, and parts whose picture is being judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    /// In the order of arming, which is the order of the pictures.
    armed: VecDeque<Ticket>,
    /// This many of the armed parts, the oldest, are not waited for any more.
    given_up: usize,
    /// Longest time that a picture is under way, from its exposure until it is here.
    under_way_max: Nanos,
    /// Until then a picture may come that shows a part that was given up.
    stray_until: Nanos,
    /// How often a picture did not come in time, while the camera seemed to be there.
    unseen: u64,
    /// Ordered by number, as they were accepted; an armed part enters at its place.
    open: VecDeque<(Open, Ticket)>,
}

/// What became of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Result {
    /// It is the part's answer.
    Answer,
    /// The part was answered at its deadline.
    Late,
    /// No such part is open: a defect of the caller.
    Unknown,
}

impl Parts {
    /// Room for all parts there can be: accepting one must not allocate.
    pub(super) fn new(under_way_max: Nanos) -> Self {
        Self {
            armed: VecDeque::with_capacity(ARMED_MAX),
            given_up: 0,
            under_way_max,
            stray_until: Nanos(0),
            unseen: 0,
            open: VecDeque::with_capacity(OPEN_MAX),
        }
    }

    pub(super) fn armed_len(&self) -> usize {
        self.armed.len()
    }

    /// Parts that have no answer yet.
    pub(super) fn unanswered(&self) -> usize {
        self.armed.len() + self.open.iter().filter(|(open, _)| open.due.is_some()).count()
    }

    pub(super) fn arm(&mut self, ticket: Ticket) {
        self.armed.push_back(ticket);
    }

    /// Whether an armed part waits for its picture.
    pub(super) fn waits_for_picture(&self) -> bool {
        !self.armed.is_empty()
    }

    /// Whether a picture that comes at `now` or later may show a part that was given up: nothing
    /// may be armed, for that picture would be taken for the new part's. It is the time that an
    /// armed part's trigger had, and the time that its picture has to get here.
    pub(super) fn expects_stray(&self, now: Nanos) -> bool {
        now < self.stray_until || self.has_run_out(now)
    }

    fn has_run_out(&self, now: Nanos) -> bool {
        self.armed.front().is_some_and(|first| first.deadline <= now)
    }

    /// How often a picture did not come in time, while the camera seemed to be there.
    pub(super) fn unseen(&self) -> u64 {
        self.unseen
    }

    /// The armed part that a picture shows which was `taken` then, as far as the camera can tell:
    /// many know only when it got here. A picture older than the arming shows another part. After
    /// one that did not come in time, no picture is anybody's until none can be under way any
    /// more, even if nobody has answered that part yet: a late picture would be taken for that of
    /// the next part, and a lost one would shift all that follow.
    pub(super) fn matched(&mut self, taken: Nanos) -> Option<Ticket> {
        self.run_out(taken);
        if self.given_up > 0 || taken < self.stray_until {
            return None;
        }
        if taken < self.armed.front()?.arrived { None } else { self.armed.pop_front() }
    }

    /// No picture that comes from now on shows a part armed so far: they are due.
    pub(super) fn give_up_armed(&mut self) {
        let waiting = self.armed.iter().skip(self.given_up);
        if let Some(last_trigger) = waiting.map(|part| part.deadline).max() {
            let last_picture = Nanos(last_trigger.0.saturating_add(self.under_way_max.0));
            self.stray_until = self.stray_until.max(last_picture);
        }
        self.given_up = self.armed.len();
    }

    /// The part's picture came (or is known not to come): it is answered by `due` at the latest.
    pub(super) fn open(&mut self, ticket: Ticket, due: Nanos) {
        let at = self.open.partition_point(|(open, _)| open.seq < ticket.seq);
        self.open.insert(at, (Open { seq: ticket.seq, due: Some(due) }, ticket));
    }

    /// The inspection of `seq` ended.
    pub(super) fn finish(&mut self, seq: u32) -> Result {
        let Ok(at) = self.open.binary_search_by_key(&seq, |(open, _)| open.seq) else {
            return Result::Unknown;
        };
        match self.open.remove(at) {
            Some((Open { due: Some(_), .. }, _)) => Result::Answer,
            _ => Result::Late,
        }
    }

    /// The next part that is due at `now`: it counts as answered from here on.
    pub(super) fn take_due(&mut self, now: Nanos) -> Option<Ticket> {
        let due = |(open, _): &&mut (Open, Ticket)| open.due.is_some_and(|due| due <= now);
        let (open, ticket) = self.open.iter_mut().find(due)?;
        open.due = None;
        Some(*ticket)
    }

    /// When the wait of an armed part is over at `now`, it and all armed after it are given up.
    pub(super) fn run_out(&mut self, now: Nanos) {
        if self.given_up == 0 && self.has_run_out(now) {
            self.unseen += 1;
            self.give_up_armed();
        }
    }

    /// The next armed part that was given up.
    pub(super) fn take_given_up(&mut self) -> Option<Ticket> {
        self.given_up = self.given_up.checked_sub(1)?;
        self.armed.pop_front()
    }

    /// When something is due next.
    pub(super) fn next_due(&self) -> Option<Nanos> {
        let due = |first: &Ticket| if self.given_up > 0 { first.arrived } else { first.deadline };
        let armed = self.armed.front().map(due);
        let open = self.open.iter().filter_map(|(open, _)| open.due).min();
        armed.into_iter().chain(open).min()
    }

    /// Numbers are in order, and armed parts are not open.
    pub(super) fn check_invariants(&self) {
        let numbers: Vec<u32> = self.open.iter().map(|(open, _)| open.seq).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "open parts are in order: {numbers:?}");
        for (open, ticket) in &self.open {
            assert_eq!(open.seq, ticket.seq);
            assert!(self.armed.iter().all(|armed| armed.seq != open.seq), "{} is both", open.seq);
        }
        assert!(self.armed.iter().is_sorted_by(|a, b| a.seq < b.seq), "armed first in, first out");
        assert!(self.given_up <= self.armed.len(), "only armed parts are given up");
    }
}

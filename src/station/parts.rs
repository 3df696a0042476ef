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
    /// Armed parts up to this number are not waited for any more.
    given_up: u32,
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

impl Default for Parts {
    /// Room for all parts there can be: accepting one must not allocate.
    fn default() -> Self {
        let armed = VecDeque::with_capacity(ARMED_MAX);
        Self { armed, given_up: 0, open: VecDeque::with_capacity(OPEN_MAX) }
    }
}

impl Parts {
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

    /// Whether a picture taken at `now` would show an armed part.
    pub(super) fn waits_for_picture(&self, now: Nanos) -> bool {
        self.armed.iter().any(|armed| now < armed.deadline)
    }

    /// The armed part that a picture taken at `exposed` shows. A picture older than the arming
    /// shows another part, and so does one that comes when the part's waiting time is over, even
    /// if nobody has answered the part yet: otherwise one lost picture would shift all that follow.
    pub(super) fn matched(&mut self, exposed: Nanos) -> Option<Ticket> {
        let waits = |armed: &Ticket| exposed < armed.deadline && !self.is_given_up(armed);
        let first = self.armed.iter().position(waits)?;
        if exposed < self.armed[first].arrived { None } else { self.armed.remove(first) }
    }

    /// No picture that comes from now on shows a part armed so far: they are due.
    pub(super) fn give_up_armed(&mut self) {
        self.given_up = self.armed.back().map_or(self.given_up, |newest| newest.seq);
    }

    /// Whether this armed part was given up.
    pub(super) fn is_given_up(&self, ticket: &Ticket) -> bool {
        ticket.seq <= self.given_up
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

    /// The next armed part whose picture did not come in time, or any when `all` are given up.
    pub(super) fn take_unmatched(&mut self, now: Nanos, all: bool) -> Option<Ticket> {
        let over = |first: &Ticket| all || first.deadline <= now || self.is_given_up(first);
        let given_up = self.armed.front().is_some_and(over);
        if given_up { self.armed.pop_front() } else { None }
    }

    /// When something is due next.
    pub(super) fn next_due(&self) -> Option<Nanos> {
        let due = |ticket: &Ticket| {
            if self.is_given_up(ticket) { ticket.arrived } else { ticket.deadline }
        };
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
    }
}

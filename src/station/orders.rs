//! Guarding the command topic: repetitions and floods.

use std::collections::VecDeque;

use crate::frame::Nanos;
use crate::message::{Reply, Request};

/// Commands a second that are executed for ever.
const RATE_HZ: u64 = 50;
/// Commands at once after a pause: a PLC that catches up.
const BURST: u64 = 100;
/// A command with the same number and content within this time is a repetition of the transport,
/// in milliseconds: as long as a broker and a client take to reconnect, and far shorter than the
/// way of a number counter once around.
const REPEATED_MS: u64 = 5_000;
/// Answers kept for repetitions: more than a burst of parts.
const REMEMBERED_MAX: usize = 128;
/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

/// A bucket of permissions that fills with time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RateLimit {
    /// Permissions times nanoseconds a second.
    level: u64,
    at: Nanos,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self { level: BURST * SECOND, at: Nanos(0) }
    }
}

impl RateLimit {
    /// Takes a permission; false when there is none.
    pub(super) fn take(&mut self, now: Nanos) -> bool {
        let gained = now.since(self.at).0.saturating_mul(RATE_HZ);
        self.level = self.level.saturating_add(gained).min(BURST * SECOND);
        self.at = self.at.max(now);
        let granted = self.level >= SECOND;
        if granted {
            self.level -= SECOND;
        }
        granted
    }
}

/// The newest answers, for commands that the transport delivers twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answered {
    kept: VecDeque<(Nanos, Request, Reply)>,
}

impl Answered {
    /// The answer that this very command got a moment ago.
    pub(super) fn find(&self, now: Nanos, request: &Request) -> Option<Reply> {
        let recent = |at: &Nanos| now.since(*at) <= Nanos(0).plus_ms(REPEATED_MS);
        let same = self.kept.iter().rev().find(|(at, seen, _)| seen == request && recent(at));
        same.map(|(_, _, reply)| *reply)
    }

    pub(super) fn remember(&mut self, now: Nanos, request: Request, reply: Reply) {
        if self.kept.len() == REMEMBERED_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back((now, request, reply));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_to_the_rate_after_the_burst() {
        let mut limit = RateLimit::default();
        let mut now = Nanos(0).plus_ms(1_000);
        let granted = (0..BURST + 50).filter(|_| limit.take(now)).count() as u64;
        assert_eq!(granted, BURST);
        now = now.plus_ms(1_000);
        assert_eq!((0..BURST).filter(|_| limit.take(now)).count() as u64, RATE_HZ);
        // A clock that steps back grants nothing for it.
        assert!(!limit.take(Nanos(0)));
    }
}

//! Ranges to be sent again that were handed over a moment ago: the transport may deliver their
//! command twice, and a PLC without an answer repeats it.

use std::collections::VecDeque;

use crate::frame::Nanos;
use crate::publish::ReplayRange;

/// The same command within this time is a repetition, in milliseconds.
const REPEATED_MS: u64 = 5_000;
/// Ranges remembered: more than can be under way and wait at once.
const REMEMBERED_MAX: usize = 16;

/// What was handed over; public so that the simulation remembers as the station does.
#[derive(Debug, Default)]
pub struct Taken {
    recent: VecDeque<(Nanos, ReplayRange)>,
}

impl Taken {
    /// Whether this very command was carried out a moment ago.
    pub fn has(&self, now: Nanos, range: &ReplayRange) -> bool {
        let recent = |at: Nanos| now.since(at) <= Nanos(0).plus_ms(REPEATED_MS);
        self.recent.iter().any(|(at, taken)| taken == range && recent(*at))
    }

    /// It is carried out now.
    pub fn note(&mut self, now: Nanos, range: ReplayRange) {
        if self.recent.len() == REMEMBERED_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((now, range));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repetition_is_known_for_a_while_whatever_came_between() {
        let range = |id| ReplayRange { id, epoch: 1, first: 1, last: 9 };
        let ms = |ms| Nanos(0).plus_ms(ms);
        let mut taken = Taken::default();
        (1..=5).for_each(|id| taken.note(ms(id.into()), range(id)));
        assert!(taken.has(ms(5_001), &range(1)));
        assert!(!taken.has(ms(5_002), &range(1)), "numbers come round");
        assert!(taken.has(ms(5_002), &range(2)));
        assert!(!taken.has(ms(6), &ReplayRange { last: 8, ..range(5) }), "another command");
        (6..100).for_each(|id| taken.note(ms(6), range(id)));
        assert_eq!(taken.recent.len(), REMEMBERED_MAX);
    }
}

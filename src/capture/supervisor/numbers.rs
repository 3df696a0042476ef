//! Frame numbers: a number that is missing is a part nobody looked at, and it needs a verdict
//! (never PASS) all the same. Numbers restart with each stream.

use std::ops::Range;

/// Parts lost in one gap that get a record each. A larger jump is not a loss but a counter that
/// restarted without notice (a camera that lost power): it is reported as [`Continuity::Jump`].
pub const GAP_PARTS_MAX: u64 = 4096;

/// How a frame number follows the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Continuity {
    /// The next number.
    InOrder,
    /// These numbers are missing before it.
    Gap(Range<u64>),
    /// This number, or a later one, was here before: the part already has its verdict.
    Stale,
    /// So far ahead that the numbers between cannot be lost frames; taken as a new start.
    Jump,
}

/// Follows the frame numbers of one camera.
#[derive(Clone, Debug, Default)]
pub struct FrameNumbers {
    expected: Option<u64>,
}

impl FrameNumbers {
    /// A new stream: its first number is whatever comes.
    pub fn restart(&mut self) {
        self.expected = None;
    }

    /// Takes the number of the next reported trigger.
    pub fn observe(&mut self, seq: u64) -> Continuity {
        let Some(expected) = self.expected else {
            self.expected = Some(seq.saturating_add(1));
            return Continuity::InOrder;
        };
        if seq < expected {
            return Continuity::Stale;
        }
        self.expected = Some(seq.saturating_add(1));
        match seq - expected {
            0 => Continuity::InOrder,
            missing if missing > GAP_PARTS_MAX => Continuity::Jump,
            _ => Continuity::Gap(expected..seq),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_jump_beyond_the_limit_is_a_restart_and_not_a_flood_of_lost_parts() {
        let mut s = FrameNumbers::default();
        s.observe(1);
        assert_eq!(s.observe(2 + GAP_PARTS_MAX), Continuity::Gap(2..2 + GAP_PARTS_MAX));
        assert_eq!(s.observe(u64::MAX - 1), Continuity::Jump);
        assert_eq!(s.observe(u64::MAX), Continuity::InOrder);
    }

    proptest! {
        /// Whatever is dropped, doubled or swapped: every number between the first and the last
        /// one seen is accounted for exactly once.
        #[test]
        fn every_number_is_accounted_for_exactly_once(
            first in 0u64..1_000_000,
            steps in proptest::collection::vec(-3i64..40, 1..200),
        ) {
            let mut s = FrameNumbers::default();
            let mut seen = vec![];
            let mut seq = first;
            for step in std::iter::once(0).chain(steps) {
                seq = seq.saturating_add_signed(step);
                match s.observe(seq) {
                    Continuity::InOrder => seen.push(seq),
                    Continuity::Gap(missing) => {
                        prop_assert_eq!(missing.end, seq);
                        seen.extend(missing);
                        seen.push(seq);
                    }
                    Continuity::Stale => prop_assert!(seen.contains(&seq) || seq < first),
                    Continuity::Jump => prop_assert!(false, "no step is that large"),
                }
            }
            let all: Vec<u64> = (first..first + seen.len() as u64).collect();
            prop_assert_eq!(seen, all);
        }
    }
}

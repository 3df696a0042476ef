//! Frame numbers without end: counters of 16, 32 or 64 bits made into one that never wraps. Pure.

/// How a camera counts its frames within one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// 1 to 65535, then 1 again: block ids of GigE Vision 1.x, where 0 is no number.
    SkipZero16,
    /// 0 to 2^32 - 1, then 0 again: V4L2, whose drivers hand frames over in order.
    Wrap32,
    /// 64 bits, which no camera lives to use up: GigE Vision 2.x, USB3 Vision.
    Whole64,
}

impl Counter {
    /// Frames may arrive this much out of order, as when a packet was sent again. A number that
    /// is further back is no late frame but a counter that restarted without notice.
    fn late_max(self) -> u64 {
        match self {
            Counter::Wrap32 => 0,
            Counter::SkipZero16 | Counter::Whole64 => LATE_MAX,
        }
    }

    /// Numbers in one round of the counter, and its first one.
    fn round(self) -> (u64, u64) {
        match self {
            Counter::SkipZero16 => (65_535, 1),
            Counter::Wrap32 => (1 << 32, 0),
            Counter::Whole64 => (u64::MAX, 0),
        }
    }
}

/// More than any camera has on its way at a time.
const LATE_MAX: u64 = 16;

/// What a counter of 64 bits that restarted is moved ahead by: far more than what could be taken
/// for lost frames.
const RESTART_STEP: u64 = 1 << 32;

/// Follows the counter of one stream.
///
/// A counter that restarts unnoticed must not look like pictures that were here before, because
/// those are ignored: it comes out as a large jump ahead.
#[derive(Clone, Debug)]
pub struct Unwrap {
    counter: Counter,
    /// What is added to a counter of 64 bits; 0 until it restarts.
    offset: u64,
    newest: Option<u64>,
}

impl Unwrap {
    /// For a new stream, whose first number stands for itself.
    pub fn new(counter: Counter) -> Self {
        Self { counter, offset: 0, newest: None }
    }

    /// The number without end of the frame with the camera's number `raw`; `None` when the camera
    /// cannot have sent this number.
    pub fn number(&mut self, raw: u64) -> Option<u64> {
        let (round, first) = self.counter.round();
        let place = raw.checked_sub(first).filter(|place| *place < round)?;
        let Some(newest) = self.newest else {
            self.newest = Some(raw);
            return Some(raw);
        };
        let number = match self.counter {
            Counter::Whole64 => self.whole(raw, newest),
            Counter::SkipZero16 | Counter::Wrap32 => {
                let before = (newest - first) % round;
                let ahead = (place + round - before) % round;
                let late = round - ahead;
                if late <= self.counter.late_max() {
                    newest.saturating_sub(late)
                } else {
                    newest.saturating_add(ahead)
                }
            }
        };
        self.newest = Some(newest.max(number));
        Some(number)
    }

    fn whole(&mut self, raw: u64, newest: u64) -> u64 {
        let number = raw.saturating_add(self.offset);
        if newest.saturating_sub(number) <= self.counter.late_max() {
            return number;
        }
        let restarted = newest.saturating_add(RESTART_STEP);
        self.offset = restarted.saturating_sub(raw);
        restarted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{Continuity, Supervisor};
    use proptest::prelude::*;

    const ALL: [Counter; 3] = [Counter::SkipZero16, Counter::Wrap32, Counter::Whole64];

    /// What a camera of this kind shows for its frame number `n` (counted from its first number).
    fn shown(counter: Counter, n: u64) -> u64 {
        match counter {
            Counter::SkipZero16 => n % 65_535 + 1,
            Counter::Wrap32 => n % (1 << 32),
            Counter::Whole64 => n,
        }
    }

    fn counter() -> impl Strategy<Value = Counter> {
        proptest::sample::select(ALL.to_vec())
    }

    #[test]
    fn gige_counts_over_its_missing_zero_and_v4l2_through_it() {
        let mut gige = Unwrap::new(Counter::SkipZero16);
        let numbers: Vec<_> = [65_534, 65_535, 1, 2].map(|raw| gige.number(raw)).into();
        assert_eq!(numbers, [65_534, 65_535, 65_536, 65_537].map(Some));
        let mut v4l2 = Unwrap::new(Counter::Wrap32);
        let numbers: Vec<_> = [u32::MAX as u64, 0, 2].map(|raw| v4l2.number(raw)).into();
        assert_eq!(numbers, [(1 << 32) - 1, 1 << 32, (1 << 32) + 2].map(Some));
    }

    #[test]
    fn a_number_that_the_counter_does_not_have_is_none() {
        let mut gige = Unwrap::new(Counter::SkipZero16);
        assert_eq!(gige.number(7), Some(7));
        assert_eq!((gige.number(0), gige.number(65_536)), (None, None));
        assert_eq!(gige.number(8), Some(8), "and changes nothing");
        assert_eq!(Unwrap::new(Counter::Wrap32).number(1 << 32), None);
    }

    proptest! {
        /// Frames lost between, however often the counter wraps: numbers differ by what the
        /// camera counted.
        #[test]
        fn the_distance_of_two_frames_is_what_the_camera_counted(
            counter in counter(),
            first in prop_oneof![0u64..10, 65_500u64..65_600, 0xffff_ff00u64..0x1_0000_0100],
            steps in proptest::collection::vec(1u64..30_000, 1..100),
        ) {
            let mut unwrap = Unwrap::new(counter);
            let mut n = first;
            let start = unwrap.number(shown(counter, n)).unwrap();
            for step in steps {
                n += step;
                prop_assert_eq!(unwrap.number(shown(counter, n)), Some(start + (n - first)));
            }
        }

        /// Frames that come a little out of order keep their own numbers.
        #[test]
        fn a_late_frame_keeps_its_number(
            first in 1_000u64..200_000,
            late in proptest::collection::vec(0u64..=LATE_MAX, 1..100),
        ) {
            for counter in [Counter::SkipZero16, Counter::Whole64] {
                let mut unwrap = Unwrap::new(counter);
                let start = unwrap.number(shown(counter, first)).unwrap();
                for (i, late) in late.iter().enumerate() {
                    let n = first + 1 + i as u64;
                    prop_assert_eq!(unwrap.number(shown(counter, n)), Some(start + n - first));
                    let n = n.saturating_sub(*late).max(first);
                    prop_assert_eq!(unwrap.number(shown(counter, n)), Some(start + n - first));
                }
            }
        }

        /// A camera that lost power for a moment counts from its start again. Its pictures are
        /// new parts: never taken for old ones, and never for a flood of lost ones. (Of 16 bits
        /// the last few thousand numbers are left out: there a restart looks like lost frames.)
        #[test]
        fn a_restarted_counter_is_a_jump_and_not_a_row_of_old_pictures(
            counter in counter(),
            before in 100u64..60_000,
            again in 0u64..50,
        ) {
            let (mut unwrap, mut supervisor) = (Unwrap::new(counter), Supervisor::default());
            supervisor.observe(unwrap.number(shown(counter, before)).unwrap());
            let jumped = supervisor.observe(unwrap.number(shown(counter, again)).unwrap());
            prop_assert_eq!(jumped, Continuity::Jump);
            let next = supervisor.observe(unwrap.number(shown(counter, again + 1)).unwrap());
            prop_assert_eq!(next, Continuity::InOrder);
        }
    }
}

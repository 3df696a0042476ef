//! When late rows may go out beside live verdicts.
//!
//! A line makes parts at a steady pace. A late row in the first half of the usual time between two
//! live verdicts is gone when the next one comes, and delays nothing; one in the second half is in
//! its way. So late rows wait in the second half, until the next live verdict (they go out right
//! behind it), or until it is overdue by a whole such time: then the line stands still, and they
//! have the connection for themselves.
//!
//! Nor do they follow a live verdict at its heels: broker and consumer may have one processor between
//! them. They wait for its acknowledgement, unless that takes longer than half the pace on this
//! connection: then they could wait for ever.
//!
//! A verdict that comes earlier than usual finds late rows ahead of it, at most those in flight.

use crate::frame::Nanos;
use crate::publish::limits::LIVE_GAP_MS_MAX;

/// The pace of the live verdicts.
#[derive(Debug, Default)]
pub(super) struct Share {
    last: Option<Nanos>,
    /// The last two times between two verdicts; the shorter one counts.
    gaps: [Option<Nanos>; 2],
    /// Since the last verdict everything urgent was acknowledged.
    settled: bool,
    /// The last time that was known, it took longer than half the pace.
    slow: bool,
}

impl Share {
    /// A live verdict was committed now.
    pub(super) fn verdict(&mut self, now: Nanos) {
        if let Some(last) = self.last {
            let gap = now.since(last).min(Nanos(0).plus_ms(LIVE_GAP_MS_MAX));
            self.gaps = [Some(gap), self.gaps[0]];
            self.slow |= !self.settled;
        }
        self.settled = false;
        self.last = Some(now);
    }

    /// Nothing urgent waits for its acknowledgement any more.
    pub(super) fn settled(&mut self, now: Nanos) {
        if !self.settled
            && let Some((since, gap)) = self.since(now)
        {
            self.slow = since.0 > gap.0 / 2;
        }
        self.settled = true;
    }

    /// Whether late rows may go out now.
    pub(super) fn is_open(&self, now: Nanos) -> bool {
        let Some((since, gap)) = self.since(now) else { return true };
        let first_half = since.0 <= gap.0 / 2 && (self.settled || self.slow);
        first_half || since.0 >= gap.0.saturating_mul(2)
    }

    /// The time since the last verdict, and the pace.
    fn since(&self, now: Nanos) -> Option<(Nanos, Nanos)> {
        Some((now.since(self.last?), *self.gaps.iter().flatten().min()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A verdict, acknowledged at once.
    fn verdict(share: &mut Share, ms: u64) {
        share.verdict(Nanos(0).plus_ms(ms));
        share.settled(Nanos(0).plus_ms(ms));
    }

    fn open_ms(share: &Share, from: u64, times: std::ops::RangeInclusive<u64>) -> Vec<u64> {
        times.filter(|ms| share.is_open(Nanos(0).plus_ms(from + ms))).collect()
    }

    #[test]
    fn late_rows_have_the_first_half_of_the_pace_and_all_once_the_line_stands_still() {
        let mut share = Share::default();
        assert_eq!(open_ms(&share, 0, 0..=2), [0, 1, 2], "nothing is known of a pace");
        for at in [100, 110, 120] {
            verdict(&mut share, at);
        }
        assert_eq!(open_ms(&share, 120, 0..=21), [0, 1, 2, 3, 4, 5, 20, 21]);
        // One that comes early shortens it, one that comes late does not stretch it at once.
        verdict(&mut share, 124);
        assert_eq!(open_ms(&share, 124, 0..=9), [0, 1, 2, 8, 9]);
        verdict(&mut share, 224);
        assert_eq!(open_ms(&share, 224, 0..=9), [0, 1, 2, 8, 9]);
        verdict(&mut share, 324);
        assert_eq!(open_ms(&share, 324, 49..=52), [49, 50]);
    }

    #[test]
    fn late_rows_wait_for_the_acknowledgement_unless_it_takes_too_long() {
        let mut share = Share::default();
        (0..3).for_each(|at| verdict(&mut share, at * 10));
        share.verdict(Nanos(0).plus_ms(30));
        assert_eq!(open_ms(&share, 30, 0..=21), [20, 21]);
        share.settled(Nanos(0).plus_ms(32));
        assert_eq!(open_ms(&share, 30, 2..=9), [2, 3, 4, 5]);
        // Over half the pace: the next verdicts are not waited for,
        share.verdict(Nanos(0).plus_ms(40));
        share.settled(Nanos(0).plus_ms(48));
        share.verdict(Nanos(0).plus_ms(50));
        assert_eq!(open_ms(&share, 50, 0..=9), [0, 1, 2, 3, 4, 5]);
        // nor when one comes before the acknowledgement of the last,
        share.verdict(Nanos(0).plus_ms(60));
        assert_eq!(open_ms(&share, 60, 0..=9), [0, 1, 2, 3, 4, 5]);
        // until acknowledgements are quick again.
        share.settled(Nanos(0).plus_ms(61));
        share.verdict(Nanos(0).plus_ms(70));
        assert_eq!(open_ms(&share, 70, 0..=9), [] as [u64; 0]);
    }

    #[test]
    fn a_slow_line_keeps_late_rows_waiting_for_a_bounded_time() {
        let mut share = Share::default();
        share.verdict(Nanos(1));
        share.verdict(Nanos(0).plus_ms(60_000));
        let closed = |ms: u64| !share.is_open(Nanos(0).plus_ms(60_000 + ms));
        assert!(closed(LIVE_GAP_MS_MAX));
        assert!(!closed(LIVE_GAP_MS_MAX * 2));
    }

    #[test]
    fn verdicts_at_the_same_moment_make_no_pace() {
        let mut share = Share::default();
        share.verdict(Nanos(5));
        share.verdict(Nanos(5));
        assert!(share.is_open(Nanos(5)) && share.is_open(Nanos(6)));
    }
}

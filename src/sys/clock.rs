//! Time enters here: monotonic time for order and latency, wall time for the record only.
//!
//! Order is by boot epoch and sequence number, never by wall time, because plant clocks jump.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::frame::Nanos;

/// Where time comes from.
pub trait Clock: Send + Sync {
    /// Monotonic time since an arbitrary start, the same start for every clock of this kind in
    /// the process.
    fn now(&self) -> Nanos;

    /// Wall time in whole seconds since 1970-01-01T00:00:00Z, for ages only, never for order.
    fn wall_unix_s(&self) -> u64;

    /// The same in milliseconds, for protocols that want them.
    fn wall_unix_ms(&self) -> u64 {
        self.wall_unix_s() * 1000
    }

    /// Wall time as RFC 3339 in UTC with whole seconds, for records that people read.
    fn wall_utc_rfc3339(&self) -> String {
        rfc3339(self.wall_unix_s())
    }
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealClock;

/// One origin per process, so that stamps of different `RealClock` values compare.
static ORIGIN: OnceLock<Instant> = OnceLock::new();

impl Clock for RealClock {
    fn now(&self) -> Nanos {
        let elapsed = ORIGIN.get_or_init(Instant::now).elapsed();
        Nanos(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
    }

    fn wall_unix_s(&self) -> u64 {
        self.wall_unix_ms() / 1000
    }

    #[allow(clippy::disallowed_methods)] // This is the door the lint points to.
    fn wall_unix_ms(&self) -> u64 {
        // A clock set before 1970 reads as 1970: the stamp is for people, nothing depends on it.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// A clock that moves only when told to: tests and simulations.
#[derive(Debug, Default)]
pub struct ManualClock {
    now_ns: AtomicU64,
    wall_s: AtomicU64,
}

impl ManualClock {
    /// Starts at monotonic zero, wall time `wall_s` seconds after 1970-01-01T00:00:00Z.
    pub fn new(wall_s: u64) -> Self {
        Self { now_ns: AtomicU64::new(0), wall_s: AtomicU64::new(wall_s) }
    }

    /// Moves both clocks forward.
    pub fn advance_ms(&self, ms: u64) {
        let before = self.now_ns.fetch_add(ms * 1_000_000, Ordering::SeqCst);
        let seconds = (before + ms * 1_000_000) / 1_000_000_000 - before / 1_000_000_000;
        self.wall_s.fetch_add(seconds, Ordering::SeqCst);
    }

    /// Sets the wall clock alone, as an operator or NTP would.
    pub fn jump_wall_s(&self, wall_s: u64) {
        self.wall_s.store(wall_s, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Nanos {
        Nanos(self.now_ns.load(Ordering::SeqCst))
    }

    fn wall_unix_s(&self) -> u64 {
        self.wall_s.load(Ordering::SeqCst)
    }
}

/// Seconds since 1970 as `YYYY-MM-DDTHH:MM:SSZ`.
pub(crate) fn rfc3339(unix_s: u64) -> String {
    let (year, month, day) = civil_from_days(unix_s / 86_400);
    let s = unix_s % 86_400;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", s / 3600, s / 60 % 60, s % 60)
}

/// Days since 1970-01-01 -> (year, month, day) of the Gregorian calendar.
///
/// Counting years from 1 March of year 0 puts the leap day last, so every month start is linear
/// (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (era * 400 + yoe + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_time_is_written_as_rfc3339() {
        for (unix_s, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_704_067_199, "2023-12-31T23:59:59Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(unix_s), text);
        }
    }

    #[test]
    fn every_day_of_eight_centuries_follows_the_one_before() {
        let leap =
            |y: u64| y.is_multiple_of(4) && (!y.is_multiple_of(100) || y.is_multiple_of(400));
        let mut expected = (1970, 1, 1);
        for days in 0..292_194 {
            assert_eq!(civil_from_days(days), expected);
            let (y, m, d) = expected;
            let length = match m {
                2 => 28 + u64::from(leap(y)),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            expected = match (m, d) {
                (12, 31) => (y + 1, 1, 1),
                _ if d == length => (y, m + 1, 1),
                _ => (y, m, d + 1),
            };
        }
    }

    #[test]
    fn real_clocks_share_one_origin_and_never_go_back() {
        let (a, b) = (RealClock, RealClock);
        let mut last = a.now();
        for i in 0..1000 {
            let now = if i % 2 == 0 { a.now() } else { b.now() };
            assert!(now >= last);
            last = now;
        }
    }

    #[test]
    fn a_wall_clock_jump_leaves_monotonic_time_alone() {
        let clock = ManualClock::new(1_704_067_199);
        clock.advance_ms(600);
        assert_eq!(clock.wall_utc_rfc3339(), "2023-12-31T23:59:59Z");
        clock.advance_ms(600);
        assert_eq!(clock.now(), Nanos(1_200_000_000));
        assert_eq!(clock.wall_utc_rfc3339(), "2024-01-01T00:00:00Z");
        clock.jump_wall_s(0);
        assert_eq!(clock.now(), Nanos(1_200_000_000));
        assert_eq!(clock.wall_utc_rfc3339(), "1970-01-01T00:00:00Z");
    }
}

//! How long to wait before connecting again: doubling, bounded, spread by chance, without end.

#[derive(Debug)]
pub(in crate::publish) struct Backoff {
    ms_min: u64,
    ms_max: u64,
    failures: u32,
    random: u64,
}

impl Backoff {
    pub(in crate::publish) fn new(ms_min: u64, ms_max: u64, seed: u64) -> Self {
        Self { ms_min, ms_max, failures: 0, random: seed | 1 }
    }

    /// After a connection that held.
    pub(in crate::publish) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Between half of the doubled wait and all of it, so that the stations of a plant do not
    /// come back in step.
    pub(in crate::publish) fn next_ms(&mut self) -> u64 {
        let doubled = self.ms_min.saturating_mul(1 << self.failures.min(32)).min(self.ms_max);
        self.failures = self.failures.saturating_add(1);
        // xorshift64: enough to spread, and the machine stays reproducible by its seed.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let half = doubled / 2;
        half + self.random % (doubled - half + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_bound_and_never_end() {
        let mut backoff = Backoff::new(100, 10_000, 7);
        for (failure, full) in
            [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000].iter().enumerate()
        {
            let wait = backoff.next_ms();
            assert!((full / 2..=*full).contains(&wait), "failure {failure}: {wait} ms");
        }
        for _ in 0..1000 {
            assert!((5_000..=10_000).contains(&backoff.next_ms()));
        }
        backoff.reset();
        assert!(backoff.next_ms() <= 100);
    }

    #[test]
    fn stations_with_different_seeds_do_not_come_back_in_step() {
        let first = |seed| Backoff::new(1_000, 10_000, seed).next_ms();
        let waits: std::collections::BTreeSet<_> = (1..50).map(|seed| first(seed * 7919)).collect();
        assert!(waits.len() > 25, "{waits:?}");
    }
}

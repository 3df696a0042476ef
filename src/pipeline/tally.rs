//! Latencies in fixed memory: a histogram with logarithmic buckets.

use crate::frame::Nanos;

/// Buckets for each doubling: quantiles are at most 1/16 too high.
const PER_DOUBLING: usize = 16;
const PER_DOUBLING_BITS: u32 = PER_DOUBLING.trailing_zeros();
/// 64 doublings, less the first few that hold one value a bucket.
const BUCKETS: usize = (64 - PER_DOUBLING_BITS as usize + 1) * PER_DOUBLING;

/// Counts latencies; quantiles without keeping every value.
#[derive(Clone, Debug)]
pub struct Latencies {
    counts: Box<[u64]>,
    total: u64,
    max: Nanos,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS].into_boxed_slice(), total: 0, max: Nanos(0) }
    }
}

fn bucket(ns: u64) -> usize {
    if ns < PER_DOUBLING as u64 {
        return ns as usize;
    }
    let shift = ns.ilog2() - PER_DOUBLING_BITS;
    let mantissa = (ns >> shift) as usize - PER_DOUBLING;
    (shift as usize + 1) * PER_DOUBLING + mantissa
}

/// Largest value of a bucket.
fn upper(bucket: usize) -> u64 {
    if bucket < PER_DOUBLING {
        return bucket as u64;
    }
    let shift = (bucket / PER_DOUBLING - 1) as u32;
    let mantissa = (PER_DOUBLING + bucket % PER_DOUBLING) as u64;
    (mantissa << shift) + ((1 << shift) - 1)
}

impl Latencies {
    /// Counts one.
    pub fn record(&mut self, latency: Nanos) {
        self.counts[bucket(latency.0)] += 1;
        self.total += 1;
        self.max = self.max.max(latency);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// The largest; zero when there is none.
    pub fn max(&self) -> Nanos {
        self.max
    }

    /// The value that a fraction `q` of the latencies does not exceed, rounded up by at most
    /// 1/16 and never above the maximum; `None` when nothing was counted.
    pub fn quantile(&self, q: f64) -> Option<Nanos> {
        let rank = ((q * self.total as f64).ceil() as u64).clamp(1, self.total.max(1));
        let mut below = 0;
        let found = self.counts.iter().position(|count| {
            below += count;
            below >= rank
        })?;
        Some(Nanos(upper(found)).min(self.max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_counted_has_no_quantile() {
        assert_eq!(Latencies::default().quantile(0.5), None);
    }

    #[test]
    fn the_largest_number_has_a_bucket() {
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert_eq!(upper(BUCKETS - 1), u64::MAX);
    }

    proptest! {
        #[test]
        fn quantiles_are_right_within_a_sixteenth(
            mut values in proptest::collection::vec(0u64..u64::MAX, 1..300), q in 0.0..=1.0f64,
        ) {
            let mut l = Latencies::default();
            values.iter().for_each(|v| l.record(Nanos(*v >> (v % 60))));
            values.iter_mut().for_each(|v| *v >>= *v % 60);
            values.sort_unstable();
            let rank = ((q * values.len() as f64).ceil() as usize).clamp(1, values.len());
            let exact = values[rank - 1];
            let got = l.quantile(q).unwrap().0;
            prop_assert!(got >= exact, "{} < {}", got, exact);
            prop_assert!(got - exact <= exact / 16, "{} is too far above {}", got, exact);
        }
    }
}

//! The binomial distribution, summed exactly in log space.

/// The largest `k` with P(X <= k) <= `bound` for X ~ Binomial(`n`, `p`), 0 < p < 1; `None` when
/// already P(X = 0) is above it.
pub(super) fn largest_with_cdf_below(n: u64, p: f64, bound: f64) -> Option<u64> {
    let mut cdf = 0.0;
    for (k, mass) in masses(n, p).enumerate() {
        cdf += mass;
        if cdf > bound {
            return (k as u64).checked_sub(1);
        }
    }
    Some(n)
}

/// P(X = 0), P(X = 1), ..., P(X = n).
fn masses(n: u64, p: f64) -> impl Iterator<Item = f64> {
    // P(X = 0) underflows for a few thousand parts already, its logarithm never does.
    let (ln_odds, mut ln_mass) = (p.ln() - (-p).ln_1p(), n as f64 * (-p).ln_1p());
    (0..=n).map(move |k| {
        let mass = ln_mass.exp();
        ln_mass += ((n - k) as f64).ln() - ((k + 1) as f64).ln() + ln_odds;
        mass
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masses_are_those_of_pascals_triangle() {
        let got: Vec<f64> = masses(4, 0.25).collect();
        for (got, want) in got.iter().zip([81.0, 108.0, 54.0, 12.0, 1.0]) {
            assert!((got - want / 256.0).abs() < 1e-15);
        }
        assert_eq!(got.len(), 5);
    }

    #[test]
    fn masses_sum_to_one_where_plain_powers_underflow() {
        let sum: f64 = masses(200_000, 0.05).sum();
        assert!((sum - 1.0).abs() < 1e-8, "{sum}");
    }
}

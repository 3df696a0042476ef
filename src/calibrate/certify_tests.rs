//! The certificate: published table values, exactness, and coverage by simulation.

use proptest::prelude::*;

use super::*;

fn ascending(n: u64) -> Vec<f32> {
    (0..n).map(|i| i as f32).collect()
}

fn allowed(n: u64, alpha: f64) -> Option<u32> {
    certify(&ascending(n), alpha, 0.95).ok().map(|b| b.k)
}

#[test]
fn the_fewest_parts_are_those_of_the_table() {
    for (alpha, n) in [(0.05, 59), (0.02, 149), (0.01, 299), (0.005, 598), (0.001, 2995)] {
        assert_eq!(parts_needed(alpha, 0.95).unwrap(), n, "alpha {alpha}");
        assert_eq!(allowed(n, alpha), Some(0), "alpha {alpha}");
        assert_eq!(allowed(n - 1, alpha), None, "alpha {alpha}");
    }
}

#[test]
fn the_parts_allowed_above_the_limit_are_those_of_the_table() {
    let table = [
        (300, [(0.05, Some(8)), (0.02, Some(1)), (0.01, Some(0)), (0.005, None), (0.001, None)]),
        (
            1000,
            [(0.05, Some(38)), (0.02, Some(12)), (0.01, Some(4)), (0.005, Some(1)), (0.001, None)],
        ),
    ];
    for (n, row) in table {
        for (alpha, k) in row {
            assert_eq!(allowed(n, alpha), k, "n {n}, alpha {alpha}");
        }
    }
}

#[test]
fn the_limit_is_the_largest_score_but_k() {
    let bound = certify(&ascending(300), 0.05, 0.95).unwrap();
    assert_eq!(bound, Bound { k: 8, limit: 291.0 });
    let mut shuffled = ascending(300);
    shuffled.reverse();
    assert_eq!(certify(&shuffled, 0.05, 0.95).unwrap(), bound);
}

#[test]
fn too_few_parts_say_how_many_more() {
    for have in [0u64, 1, 58, 298] {
        let err = certify(&ascending(have), 0.01, 0.95).unwrap_err();
        let missing = 299 - have;
        assert_eq!(err.kind(), CertifyErrorKind::TooFew { missing });
        assert!(err.to_string().starts_with(&format!("need {missing} more good parts")), "{err}");
        assert!(err.to_string().contains("at most 1 %"), "{err}");
    }
}

#[test]
fn scores_that_are_no_numbers_and_senseless_wishes_are_refused() {
    let mut scores = ascending(100);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        scores[41] = bad;
        let err = certify(&scores, 0.05, 0.95).unwrap_err();
        assert_eq!(err.kind(), CertifyErrorKind::NotFinite);
        assert!(err.to_string().contains("score 42 of 100"), "{err}");
    }
    for (alpha, confidence) in [
        (0.0, 0.95),
        (1.0, 0.95),
        (0.05, 0.0),
        (0.05, 1.0),
        (f64::NAN, 0.95),
        (0.05, f64::NAN),
        (-0.1, 0.5),
        (1e-12, 0.95),
    ] {
        let err = certify(&ascending(100), alpha, confidence).unwrap_err();
        assert_eq!(err.kind(), CertifyErrorKind::Parameters, "{alpha} {confidence}");
    }
}

#[test]
fn ties_at_the_limit_pass_and_are_not_counted_as_above() {
    // 8 of 300 may be above; the 20 highest are equal, so none is above.
    let mut scores = ascending(300);
    scores[280..].fill(280.0);
    assert_eq!(certify(&scores, 0.05, 0.95).unwrap(), Bound { k: 0, limit: 280.0 });
    assert_eq!(certify(&[0.5; 60], 0.05, 0.95).unwrap(), Bound { k: 0, limit: 0.5 });
}

#[test]
fn the_most_suspicious_parts_come_highest_first() {
    assert_eq!(most_suspicious(&[0.1, 0.9, 0.3, f32::NAN, 0.9], 4), [3, 1, 4, 2]);
    assert_eq!(most_suspicious(&[0.1], 5), [0]);
}

#[test]
fn p_values_count_the_parts_at_least_as_odd() {
    let sorted = [0.1, 0.2, 0.2, 0.4];
    for (score, p) in [(0.0, 1.0), (0.1, 1.0), (0.2, 0.8), (0.3, 0.4), (0.4, 0.4), (0.5, 0.2)] {
        assert_eq!(p_value(&sorted, score), p as f32, "{score}");
    }
    assert_eq!(p_value(&sorted, f32::NAN), 0.0);
    assert_eq!(p_value(&[], 0.3), 1.0);
}

proptest! {
    #[test]
    fn a_bound_is_one_of_the_scores_and_a_lower_one_has_no_certificate(
        scores in prop::collection::vec(prop_oneof![-1.0f32..1.0, Just(0.5f32)], 20..400),
        alpha in 0.005f64..0.3, confidence in 0.5f64..0.999,
    ) {
        let Ok(bound) = certify(&scores, alpha, confidence) else {
            prop_assert!((scores.len() as u64) < parts_needed(alpha, confidence).unwrap());
            return Ok(());
        };
        prop_assert!(scores.contains(&bound.limit));
        let (n, delta) = (scores.len() as u64, 1.0 - confidence);
        let largest = largest_with_cdf_below(n, alpha, delta).unwrap();
        prop_assert!(u64::from(bound.k) <= largest);
        let lower = scores.iter().copied().filter(|&s| s < bound.limit).fold(f32::NAN, f32::max);
        if !lower.is_nan() {
            prop_assert!(u64::from(above(&scores, lower)) > largest);
        }
    }

    #[test]
    fn more_parts_never_lose_the_certificate(n in 59u64..500) {
        prop_assert!(allowed(n, 0.05).is_some());
    }
}

/// Simulation of whole calibrations: seeded, so that the test either always or never passes.
mod coverage {
    use super::*;

    const RUNS: u32 = 10_000;

    struct Random(u64);

    impl Random {
        /// SplitMix64, as a number in (0, 1).
        fn uniform(&mut self) -> f64 {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            (((z ^ (z >> 31)) >> 11) as f64 + 0.5) / (1u64 << 53) as f64
        }

        fn normal(&mut self) -> f64 {
            (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
        }
    }

    /// P(N > x), Abramowitz and Stegun 26.2.17, error below 1e-7.
    fn normal_above(x: f64) -> f64 {
        if x < 0.0 {
            return 1.0 - normal_above(-x);
        }
        let t = 1.0 / (1.0 + 0.231_641_9 * x);
        let poly = [1.330_274_429, -1.821_255_978, 1.781_477_937, -0.356_563_782, 0.319_381_530]
            .iter()
            .fold(0.0, |sum, c| (sum + c) * t);
        poly * (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt()
    }

    /// P(T > x) for Student's t with 3 degrees of freedom.
    fn t3_above(x: f64) -> f64 {
        let z = x / 3f64.sqrt();
        0.5 - (z / (1.0 + z * z) + z.atan()) / std::f64::consts::PI
    }

    type Draw = fn(&mut Random) -> f64;
    type Above = fn(f64) -> f64;

    const DISTRIBUTIONS: [(&str, Draw, Above); 5] = [
        ("normal", |r| r.normal(), normal_above),
        // Sum of two exponentials; independent of the inverse it is checked with.
        ("gamma", |r| -(r.uniform() * r.uniform()).ln(), |x| (1.0 + x) * (-x).exp()),
        ("lognormal", |r| r.normal().exp(), |x| normal_above(x.ln())),
        (
            "mixture",
            |r| r.normal() + if r.uniform() < 0.1 { 4.0 } else { 0.0 },
            |x| 0.9 * normal_above(x) + 0.1 * normal_above(x - 4.0),
        ),
        (
            "t",
            |r| {
                let chi2: f64 = (0..3).map(|_| r.normal().powi(2)).sum();
                r.normal() / (chi2 / 3.0).sqrt()
            },
            t3_above,
        ),
    ];

    fn share_of_runs_that_hold(n: usize, alpha: f64, draw: Draw, above: Above) -> f64 {
        let mut random = Random(20_240_607);
        let mut held = 0u32;
        let mut scores = vec![0f32; n];
        for _ in 0..RUNS {
            scores.iter_mut().for_each(|s| *s = draw(&mut random) as f32);
            let limit = certify(&scores, alpha, 0.95).unwrap().limit;
            held += u32::from(above(f64::from(limit)) <= alpha);
        }
        f64::from(held) / f64::from(RUNS)
    }

    /// P(X > k) for X ~ Binomial(n, alpha): what the share must be for continuous scores.
    fn exact(n: u64, alpha: f64) -> f64 {
        let k = i32::try_from(largest_with_cdf_below(n, alpha, 0.05).unwrap()).unwrap();
        let choose =
            |j: i32| (0..j).fold(1.0, |c, i| c * (n as f64 - f64::from(i)) / f64::from(i + 1));
        1.0 - (0..=k)
            .map(|j| choose(j) * alpha.powi(j) * (1.0 - alpha).powi(n as i32 - j))
            .sum::<f64>()
    }

    #[test]
    fn the_false_reject_rate_holds_with_the_stated_confidence_on_five_distributions() {
        for (n, alpha) in [(60, 0.05), (130, 0.05)] {
            let want = exact(n, alpha);
            assert!(want >= 0.95);
            for (name, draw, above) in DISTRIBUTIONS {
                let share = share_of_runs_that_hold(n as usize, alpha, draw, above);
                let sigma = (want * (1.0 - want) / f64::from(RUNS)).sqrt();
                assert!((share - want).abs() < 4.0 * sigma, "{name}, n {n}: {share} for {want}");
            }
        }
    }

    #[test]
    fn ties_only_make_the_certificate_safer() {
        // Scores in steps of a half: P(S > x) of the rounded score is that at the step's edge.
        let draw: Draw = |r| (r.normal() * 2.0).round() / 2.0;
        let above: Above = |x| normal_above(x + 0.25);
        let share = share_of_runs_that_hold(60, 0.05, draw, above);
        assert!(share >= exact(60, 0.05) - 0.01, "{share}");
    }
}

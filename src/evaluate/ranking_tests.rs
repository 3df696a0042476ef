//! Metrics against scikit-learn's values and against their definitions.

use proptest::prelude::*;

use super::*;

/// AUROC by its meaning: the chance that a bad sample scores above a good one, ties half.
fn auroc_by_pairs(samples: &[(f32, bool)]) -> f64 {
    let (mut wins, mut pairs) = (0.0, 0.0);
    for (bad, _) in samples.iter().filter(|s| s.1) {
        for (good, _) in samples.iter().filter(|s| !s.1) {
            pairs += 1.0;
            wins += if bad > good {
                1.0
            } else if bad == good {
                0.5
            } else {
                0.0
            };
        }
    }
    wins / pairs
}

/// (TP, FP) with `score >= t` detected, for every distinct score from the largest.
fn counts(samples: &[(f32, bool)]) -> Vec<(usize, usize)> {
    let mut thresholds: Vec<f32> = samples.iter().map(|s| s.0).collect();
    thresholds.sort_by(|a, b| b.total_cmp(a));
    thresholds.dedup();
    let count = |t: f32, bad: bool| samples.iter().filter(|s| s.0 >= t && s.1 == bad).count();
    thresholds.iter().map(|t| (count(*t, true), count(*t, false))).collect()
}

fn ap_by_definition(samples: &[(f32, bool)]) -> f64 {
    let positives = samples.iter().filter(|s| s.1).count() as f64;
    let (mut ap, mut recall) = (0.0, 0.0);
    for (tp, fp) in counts(samples) {
        let next = tp as f64 / positives;
        ap += (next - recall) * tp as f64 / (tp + fp) as f64;
        recall = next;
    }
    ap
}

fn f1_by_definition(samples: &[(f32, bool)]) -> f64 {
    let positives = samples.iter().filter(|s| s.1).count();
    let f1 = |(tp, fp): (usize, usize)| 2.0 * tp as f64 / (tp + fp + positives) as f64;
    counts(samples).into_iter().map(f1).fold(0.0, f64::max)
}

/// AUPRO by thresholding at every distinct score; `region` 0 is good.
fn aupro_by_definition(samples: &[(f32, u32)], regions: u32, limit: f64) -> f64 {
    let mut thresholds: Vec<f32> = samples.iter().map(|s| s.0).collect();
    thresholds.sort_by(|a, b| b.total_cmp(a));
    thresholds.dedup();
    let fraction = |t: f32, region: u32| {
        let all = samples.iter().filter(|s| s.1 == region).count() as f64;
        samples.iter().filter(|s| s.1 == region && s.0 >= t).count() as f64 / all
    };
    let mut points = vec![(0.0, 0.0)];
    for t in thresholds {
        let pro = (1..=regions).map(|r| fraction(t, r)).sum::<f64>() / f64::from(regions);
        points.push((fraction(t, 0), pro));
    }
    let mut area = 0.0;
    for pair in points.windows(2) {
        let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
        if x0 >= limit || x1 == x0 {
            continue;
        }
        let end = x1.min(limit);
        let y = y0 + (y1 - y0) * (end - x0) / (x1 - x0);
        area += (end - x0) * (y0 + y) / 2.0;
    }
    area / limit
}

fn rank(samples: &[(f32, bool)]) -> Option<RankMetrics> {
    let mut ranking = Ranking::default();
    for (score, bad) in samples {
        if *bad {
            ranking.push_positive(*score);
        } else {
            ranking.push_negative(*score);
        }
    }
    ranking.metrics()
}

/// Scores with many ties, both signs and both zeros.
fn score() -> impl Strategy<Value = f32> {
    prop_oneof![(-4_i8..4).prop_map(|i| f32::from(i) / 2.0), -1.0_f32..1.0, Just(-0.0_f32)]
}

proptest! {
    #[test]
    fn auroc_ap_and_f1_agree_with_their_definitions(
        samples in prop::collection::vec((score(), any::<bool>()), 2..60)
    ) {
        let bad = samples.iter().filter(|s| s.1).count();
        let Some(m) = rank(&samples) else {
            prop_assert!(bad == 0 || bad == samples.len());
            return Ok(());
        };
        prop_assert!((m.auroc - auroc_by_pairs(&samples)).abs() < 1e-12);
        prop_assert!((m.ap - ap_by_definition(&samples)).abs() < 1e-12);
        prop_assert!((m.f1_max - f1_by_definition(&samples)).abs() < 1e-12);
        let hits = samples.iter().filter(|s| s.0 >= m.f1_threshold);
        let (found, true_hits) = hits.fold((0, 0), |n, s| (n.0 + 1, n.1 + usize::from(s.1)));
        let f1 = 2.0 * true_hits as f64 / (found + bad) as f64;
        prop_assert!((m.f1_max - f1).abs() < 1e-12, "threshold {}", m.f1_threshold);
    }

    #[test]
    fn aupro_agrees_with_its_definition(
        samples in prop::collection::vec((score(), 0_u32..4), 4..80)
    ) {
        let area = |r: u32| samples.iter().filter(|s| s.1 == r).count() as u32;
        prop_assume!((0..4).all(|r| area(r) > 0));
        let mut ranking = Ranking::default();
        for r in 1..4 {
            ranking.add_region(area(r));
        }
        for (score, region) in &samples {
            match region {
                0 => ranking.push_negative(*score),
                region => ranking.push_region(*score, *region),
            }
        }
        let m = ranking.metrics().unwrap();
        for (have, limit) in m.aupro.iter().zip(AUPRO_LIMITS) {
            let want = aupro_by_definition(&samples, 3, limit);
            prop_assert!((have - want).abs() < 1e-12, "{have} {want} at {limit}");
        }
    }

    #[test]
    fn only_the_order_of_the_scores_counts(
        samples in prop::collection::vec((score(), any::<bool>()), 2..40)
    ) {
        let scaled: Vec<(f32, bool)> = samples.iter().map(|(s, b)| (s * 8.0 + 3.0, *b)).collect();
        // Adding can merge close scores; then the two rankings are not the same question.
        prop_assume!(counts(&samples).len() == counts(&scaled).len());
        let plain = |s: &[(f32, bool)]| rank(s).map(|m| (m.auroc, m.ap, m.f1_max, m.aupro));
        prop_assert_eq!(plain(&samples), plain(&scaled));
    }
}

#[test]
fn without_good_or_without_bad_samples_no_metric_is_defined() {
    assert_eq!(rank(&[]), None);
    assert_eq!(rank(&[(0.1, true), (0.2, true)]), None);
    assert_eq!(rank(&[(0.1, false)]), None);
}

#[test]
fn nan_ranks_above_every_score() {
    let m = rank(&[(f32::NAN, false), (f32::INFINITY, true), (0.0, false)]).unwrap();
    assert_eq!(m.auroc, 0.5);
    let m = rank(&[(-f32::NAN, true), (f32::INFINITY, false)]).unwrap();
    assert_eq!(m.auroc, 1.0);
}

#[test]
fn sixty_maps_of_65536_pixels_are_ranked_within_seconds() {
    let started = std::time::Instant::now();
    let mut ranking = Ranking::with_capacity(60 * 65_536);
    let region = ranking.add_region(65_536);
    let mut state = 1_u32;
    for i in 0..60 * 65_536_u32 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let score = (state >> 8) as f32 / (1 << 24) as f32;
        if i < 65_536 { ranking.push_region(score, region) } else { ranking.push_negative(score) }
    }
    let m = ranking.metrics().unwrap();
    println!("60 maps of 256x256 ranked in {:?}", started.elapsed());
    assert!((m.auroc - 0.5).abs() < 0.01, "{m:?}");
    assert!(started.elapsed().as_secs() < 10);
}

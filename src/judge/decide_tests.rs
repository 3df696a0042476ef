//! No part passes that is not proved good.

use half::f16;
use proptest::prelude::*;

use super::*;

fn class(image_threshold: f32, pixel_threshold: f32) -> ClassLimit {
    ClassLimit {
        image_threshold,
        pixel_threshold,
        n: 4,
        k: 0,
        dataset_sha256: "0".repeat(64),
        scores: vec![0.1, 0.2, 0.3, 0.4],
        geometry: crate::frame::Geometry::WHOLE,
        tiling: crate::frame::Tiling::WHOLE,
    }
}

fn map(width: usize, height: usize, values: &[f32], score: f32) -> AnomalyMap {
    AnomalyMap { width, height, values: values.to_vec(), score }
}

fn ask<'a>(map: &'a AnomalyMap, limit: &'a ClassLimit) -> Question<'a> {
    Question { map, limit: Some(limit), calibration_valid: true, in_time: true }
}

fn judge(question: &Question<'_>) -> Verdict {
    let (w, h) = (question.map.width, question.map.height);
    Judge::new(w, h).judge(question, &mut Mask::default())
}

#[test]
fn a_good_part_passes_and_the_limit_itself_is_good() {
    let limit = class(0.5, 0.9);
    for score in [-1.0, 0.0, 0.4, 0.5] {
        let map = map(2, 2, &[0.1; 4], score);
        let verdict = judge(&ask(&map, &limit));
        assert_eq!((verdict.outcome(), verdict.reason), (Outcome::Pass, Reason::None));
        assert_eq!((verdict.score, verdict.limit), (score, 0.5));
    }
    let map = map(2, 2, &[0.1; 4], 0.5f32.next_up());
    assert_eq!(judge(&ask(&map, &limit)).outcome(), Outcome::Reject);
}

#[test]
fn no_half_precision_score_passes_unless_finite_and_not_above_the_limit() {
    let limits = [0.0, -0.0, 1.0, -1.0, 0.5, 65504.0, -65504.0, 6e-8, f32::MAX, f32::MIN];
    let bad_limits = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    let mut judge = Judge::new(1, 1);
    let (mut mask, mut passed) = (Mask::default(), 0u32);
    for bits in 0..=u16::MAX {
        let score = f16::from_bits(bits).to_f32();
        let map = map(1, 1, &[0.25], score);
        for t in limits.into_iter().chain(bad_limits) {
            let pass =
                judge.judge(&ask(&map, &class(t, 0.5)), &mut mask).outcome() == Outcome::Pass;
            assert_eq!(pass, score.is_finite() && t.is_finite() && score <= t, "{score} {t}");
            passed += u32::from(pass);
        }
    }
    // The loop must have seen both answers.
    assert!(passed > 100_000);
}

/// Every score of half precision, held against its own neighbourhood, with each proof missing in
/// turn and each kind of map that is no map: exhaustive, so that no pattern is left to luck.
#[test]
fn no_score_passes_without_the_whole_proof_whatever_is_missing() {
    let mut whole = map(2, 2, &[0.25; 4], 0.0);
    let mut broken = [
        map(2, 2, &[0.25; 3], 0.0),
        map(2, 2, &[0.25; 5], 0.0),
        map(2, 2, &[], 0.0),
        map(4, 1, &[0.25; 4], 0.0),
        map(2, 2, &[0.25, f32::NAN, 0.25, 0.25], 0.0),
        map(2, 2, &[0.25, 0.25, 0.25, f32::INFINITY], 0.0),
        map(2, 2, &[f32::NEG_INFINITY, 0.25, 0.25, 0.25], 0.0),
    ];
    let (mut judge, mut mask) = (Judge::new(2, 2), Mask::default());
    let (mut passed, mut asked) = (0u32, 0u32);
    let mut limit = class(0.0, 0.5);
    for bits in 0..=u16::MAX {
        let score = f16::from_bits(bits).to_f32();
        whole.score = score;
        for t in [score, score.next_up(), score.next_down(), -score, f32::NAN, f32::INFINITY] {
            limit.image_threshold = t;
            for (calibration_valid, in_time) in
                [(true, true), (true, false), (false, true), (false, false)]
            {
                let limit = Some(&limit);
                let question = Question { map: &whole, limit, calibration_valid, in_time };
                let pass = judge.judge(&question, &mut mask).outcome() == Outcome::Pass;
                let proved = score.is_finite() && t.is_finite() && score <= t;
                assert_eq!(pass, proved && calibration_valid && in_time, "{bits:#06x} against {t}");
                (passed, asked) = (passed + u32::from(pass), asked + 1);
            }
        }
        // The most tempting case: the score alone would pass.
        limit.image_threshold = f32::MAX;
        for map in &mut broken {
            map.score = score;
            let verdict = judge.judge(&ask(map, &limit), &mut mask);
            assert_ne!(verdict.outcome(), Outcome::Pass, "{bits:#06x} with {:?}", map.values);
        }
        let question = Question { limit: None, ..ask(&whole, &limit) };
        assert_ne!(judge.judge(&question, &mut mask).outcome(), Outcome::Pass);
    }
    // Both answers were seen, and often.
    assert!(passed > 120_000 && asked - passed > 1_000_000, "{passed} of {asked}");
}

#[test]
fn every_half_precision_value_in_the_map_is_looked_at() {
    let limit = class(f32::MAX, f32::MAX);
    let (mut judge, mut mask) = (Judge::new(3, 1), Mask::default());
    let mut whole = map(3, 1, &[0.25; 3], 0.1);
    for bits in 0..=u16::MAX {
        for at in 0..3 {
            whole.values[at] = f16::from_bits(bits).to_f32();
            let pass = judge.judge(&ask(&whole, &limit), &mut mask).outcome() == Outcome::Pass;
            assert_eq!(pass, whole.values[at].is_finite(), "{bits:#06x} at {at}");
            whole.values[at] = 0.25;
        }
    }
}

#[test]
fn each_missing_proof_has_its_reason_and_the_first_in_order_wins() {
    let good = map(2, 1, &[0.1, 0.2], 0.1);
    let above = map(2, 1, &[0.1, 0.2], 0.7);
    let holes = map(2, 1, &[0.1, f32::NAN], f32::NAN);
    let nameless = map(2, 1, &[0.1, 0.2], f32::INFINITY);
    let limit = class(0.5, 0.9);
    let damaged = class(f32::NAN, 0.9);
    let cases = [
        (&good, Some(&limit), true, true, Outcome::Pass, Reason::None),
        (&above, Some(&limit), true, true, Outcome::Reject, Reason::ScoreAboveLimit),
        (&above, Some(&limit), true, false, Outcome::Invalid, Reason::Deadline),
        (&good, Some(&limit), true, false, Outcome::Invalid, Reason::Deadline),
        (&good, Some(&damaged), true, false, Outcome::Invalid, Reason::NotCalibrated),
        (&good, None, true, true, Outcome::Invalid, Reason::NotCalibrated),
        (&good, None, false, false, Outcome::Invalid, Reason::CalibrationForeign),
        (&nameless, None, false, false, Outcome::Invalid, Reason::ScoreNotFinite),
        (&holes, None, false, false, Outcome::Invalid, Reason::MapIncomplete),
    ];
    for (i, (map, limit, calibration_valid, in_time, outcome, reason)) in
        cases.into_iter().enumerate()
    {
        let verdict = judge(&Question { map, limit, calibration_valid, in_time });
        assert_eq!((verdict.outcome(), verdict.reason), (outcome, reason), "case {i}");
    }
}

#[test]
fn a_map_of_another_size_or_with_missing_values_is_incomplete() {
    let limit = class(0.5, 0.9);
    let mut judge = Judge::new(2, 2);
    let mut mask = Mask::default();
    for map in [
        map(4, 1, &[0.1; 4], 0.1),
        map(2, 2, &[0.1; 3], 0.1),
        map(2, 2, &[0.1; 5], 0.1),
        map(0, 0, &[], 0.1),
        AnomalyMap::unwritten(2, 2),
    ] {
        assert_eq!(judge.judge(&ask(&map, &limit), &mut mask).reason, Reason::MapIncomplete);
        assert_eq!((mask.width(), mask.height(), mask.count()), (2, 2, 0));
    }
}

#[test]
fn a_reject_without_a_pixel_above_its_threshold_points_to_the_maximum() {
    let mut values = vec![0.0; 64];
    (values[9], values[10], values[11]) = (0.4, 0.6, 0.2);
    let map = map(8, 8, &values, 0.7);
    let mut mask = Mask::default();
    let verdict = Judge::new(8, 8).judge(&ask(&map, &class(0.5, 0.9)), &mut mask);
    let region = verdict.regions.as_slice()[0];
    assert_eq!((region.x, region.y, region.width, region.height), (1, 1, 2, 1));
    assert_eq!((verdict.regions.found, region.score), (1, 0.6));
    assert!(mask.is_set(2, 1) && mask.is_set(1, 1) && !mask.is_set(3, 1));
    assert_eq!(mask.count(), 2);
}

#[test]
fn a_flat_rejected_map_is_one_area() {
    let map = map(3, 3, &[0.6; 9], 0.6);
    let verdict = judge(&ask(&map, &class(0.5, 0.9)));
    assert_eq!(verdict.regions.found, 1);
    assert_eq!(verdict.regions.as_slice()[0].width, 3);
}

#[test]
fn diagonal_neighbours_are_one_area_and_the_strongest_comes_first() {
    #[rustfmt::skip]
    let values = [
        2.0, 0.0, 0.0, 0.0, 5.0,
        0.0, 2.0, 0.0, 0.0, 0.0,
        0.0, 0.0, 3.0, 0.0, 0.0,
    ];
    let map = map(5, 3, &values, 9.0);
    let verdict = judge(&ask(&map, &class(1.0, 1.0)));
    let found: Vec<_> =
        verdict.regions.as_slice().iter().map(|r| (r.x, r.y, r.width, r.height, r.score)).collect();
    assert_eq!(found, [(4, 0, 1, 1, 5.0), (0, 0, 3, 3, 3.0)]);
}

#[test]
fn more_areas_than_fit_are_counted() {
    let values: Vec<f32> = (0..40).map(|i| if i % 2 == 0 { 2.0 + i as f32 } else { 0.0 }).collect();
    let map = map(40, 1, &values, 9.0);
    let regions = judge(&ask(&map, &class(1.0, 1.0))).regions;
    assert_eq!((regions.found, regions.as_slice().len()), (20, Regions::MAX));
    assert_eq!(regions.as_slice()[0].x, 38);
    assert!(regions.as_slice().is_sorted_by(|a, b| a.score >= b.score));
}

#[test]
fn the_p_value_is_conformal_and_zero_without_calibration() {
    let map = map(1, 1, &[0.1], 0.3);
    let limit = class(0.5, 0.9);
    assert_eq!(judge(&ask(&map, &limit)).p_value, 3.0 / 5.0);
    assert_eq!(judge(&Question { limit: None, ..ask(&map, &limit) }).p_value, 0.0);
}

fn any_f32() -> impl Strategy<Value = f32> {
    prop_oneof![any::<u32>().prop_map(f32::from_bits), -2.0f32..2.0]
}

/// Areas by repeated merging of labels: slow, obvious, nothing shared with the flood fill.
fn areas_by_merging(map: &AnomalyMap, threshold: f32) -> Vec<(usize, usize, usize, usize)> {
    let on: Vec<_> = (0..map.values.len()).filter(|&i| map.values[i] > threshold).collect();
    let mut label: Vec<usize> = (0..map.values.len()).collect();
    let at = |i: usize| (i % map.width, i / map.width);
    loop {
        let before = label.clone();
        for &a in &on {
            for &b in &on {
                let ((ax, ay), (bx, by)) = (at(a), at(b));
                if ax.abs_diff(bx) <= 1 && ay.abs_diff(by) <= 1 {
                    let low = label[a].min(label[b]);
                    (label[a], label[b]) = (low, low);
                }
            }
        }
        if label == before {
            break;
        }
    }
    let mut boxes = std::collections::BTreeMap::new();
    for &i in &on {
        let (x, y) = at(i);
        let b = boxes.entry(label[i]).or_insert((x, y, x, y));
        *b = (b.0.min(x), b.1.min(y), b.2.max(x), b.3.max(y));
    }
    let mut found: Vec<_> =
        boxes.into_values().map(|(l, t, r, b)| (l, t, r - l + 1, b - t + 1)).collect();
    found.sort();
    found
}

proptest! {
    #[test]
    fn nothing_non_finite_ever_passes(
        values in prop::collection::vec(any_f32(), 6),
        score in any_f32(), image in any_f32(), pixel in any_f32(),
        calibration_valid in any::<bool>(), in_time in any::<bool>(),
    ) {
        let map = map(3, 2, &values, score);
        let limit = class(image, pixel);
        let q = Question { map: &map, limit: Some(&limit), calibration_valid, in_time };
        let finite = values.iter().chain([&score, &image, &pixel]).all(|v| v.is_finite());
        let proved = finite && score <= image && calibration_valid && in_time;
        let verdict = judge(&q);
        prop_assert_eq!(verdict.outcome() == Outcome::Pass, proved);
        prop_assert_eq!(verdict.outcome() == Outcome::Pass, verdict.reason == Reason::None);
    }

    #[test]
    fn a_higher_score_never_turns_a_part_good(a in any_f32(), b in any_f32(), t in any_f32()) {
        let (low, high) = if a <= b { (a, b) } else { (b, a) };
        let limit = class(t, 0.5);
        let passes = |s| judge(&ask(&map(1, 1, &[0.1], s), &limit)).outcome() == Outcome::Pass;
        prop_assert!(!passes(high) || passes(low) || !low.is_finite());
    }

    #[test]
    fn areas_are_the_connected_sets_of_pixels_above_the_threshold(
        (w, h, on) in (1usize..9, 1usize..9).prop_flat_map(|(w, h)| {
            (Just(w), Just(h), prop::collection::vec(prop::bool::weighted(0.35), w * h))
        }),
    ) {
        let values: Vec<f32> = on.iter().map(|&o| f32::from(u8::from(o))).collect();
        let map = map(w, h, &values, 0.0);
        let mut mask = Mask::default();
        let verdict = Judge::new(w, h).judge(&ask(&map, &class(0.5, 0.5)), &mut mask);
        let want = areas_by_merging(&map, 0.5);
        prop_assert_eq!(usize::from(verdict.regions.found), want.len());
        if want.len() <= Regions::MAX {
            let mut got: Vec<_> = verdict.regions.as_slice().iter().map(|r| {
                (usize::from(r.x), usize::from(r.y), usize::from(r.width), usize::from(r.height))
            }).collect();
            got.sort();
            prop_assert_eq!(got, want);
        }
        prop_assert_eq!(Some(mask), Mask::from_pixels(w, h, &on));
    }
}

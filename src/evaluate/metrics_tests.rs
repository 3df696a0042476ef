//! Class metrics against scikit-learn's values on toy maps (tests/golden/metrics.py).

use serde_json::Value;

use super::*;

fn golden() -> Value {
    serde_json::from_str(include_str!("../../tests/golden/metrics.json")).unwrap()
}

/// The mixer of tests/golden/metrics.py: 24 bits in [0, 1).
fn unit(n: u64) -> f64 {
    let mut z = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 40) as f64 / f64::from(1 << 24)
}

fn number(case: &Value, name: &str) -> f64 {
    case[name].as_f64().unwrap()
}

fn close(have: Option<f64>, case: &Value, name: &str) {
    let (have, want) = (have.unwrap(), number(case, name));
    assert!((have - want).abs() < 1e-9, "{name}: {have}, scikit-learn says {want}");
}

fn flat(score: f32) -> AnomalyMap {
    AnomalyMap { width: 1, height: 1, values: vec![score], score }
}

#[test]
fn image_metrics_are_scikit_learns() {
    for case in golden()["image"].as_array().unwrap() {
        let seed = number(case, "seed") as u64 * 1_000_003;
        let (levels, lift) = (number(case, "levels"), number(case, "lift"));
        let mut scores = Scores::default();
        for i in 0..number(case, "n") as u64 {
            let bad = unit(seed + 2 * i) < 0.4;
            let raised = unit(seed + 2 * i + 1) + lift * f64::from(u8::from(bad));
            let map = flat(((raised * levels).floor() / levels) as f32);
            if bad { scores.push_bad(&map, None) } else { scores.push_good(&map, false) }
        }
        let m = scores.metrics("toy");
        close(m.values.image_auroc, case, "auroc");
        close(m.values.image_ap, case, "ap");
        close(m.values.image_f1_max, case, "f1_max");
        assert_eq!(m.values.pixel_auroc, None, "no masks, no pixel metrics");
    }
}

/// Picture `i` of a map case: its map and its mask.
fn toy(case: &Value, i: i64) -> (AnomalyMap, Vec<bool>) {
    let side = number(case, "side") as i64;
    let levels = number(case, "levels");
    let seed = number(case, "seed") as i64 * 1_000_003;
    let (cx, cy) = (4 + (5 * i) % (side - 8), 4 + (7 * i) % (side - 8));
    let (mut values, mut mask) = (Vec::new(), Vec::new());
    for y in 0..side {
        for x in 0..side {
            let first = (x - cx).abs() <= 2 && (y - cy).abs() <= 1;
            let second = (0..=1).contains(&(x - cx - 3)) && (0..=i % 3).contains(&(y - cy - 2));
            mask.push((first || second) && i % 3 != 2);
            let near = (1.0 - ((x - cx).abs() + (y - cy).abs()) as f64 / 8.0).max(0.0);
            let value = unit((seed + (i * side + y) * side + x) as u64) + near;
            values.push(((value * levels).floor() / levels) as f32);
        }
    }
    let score = values.iter().copied().fold(0.0, f32::max);
    (AnomalyMap { width: side as usize, height: side as usize, values, score }, mask)
}

#[test]
fn pixel_metrics_are_scikit_learns_and_aupro_is_its_definition() {
    for case in golden()["map"].as_array().unwrap() {
        let mut scores = Scores::default();
        for i in 0..number(case, "images") as i64 {
            let (map, mask) = toy(case, i);
            if mask.contains(&true) {
                scores.push_bad(&map, Some(&mask));
            } else {
                scores.push_good(&map, true);
            }
        }
        let m = scores.metrics("toy");
        close(m.values.pixel_auroc, case, "auroc");
        close(m.values.pixel_ap, case, "ap");
        close(m.values.pixel_f1_max, case, "f1_max");
        close(m.values.aupro_030, case, "aupro_030");
        close(m.values.aupro_005, case, "aupro_005");
    }
}

#[test]
fn the_mean_is_over_the_classes_that_have_the_metric() {
    let class = |image: Option<f64>, pixel: Option<f64>| ClassMetrics {
        class: "c".to_owned(),
        good: 1,
        bad: 1,
        masks: 0,
        pixel_f1_threshold: None,
        values: Values { image_auroc: image, pixel_auroc: pixel, ..Values::default() },
    };
    let classes = [class(Some(0.5), Some(0.9)), class(Some(1.0), None)];
    let mean = Values::mean(&classes);
    assert_eq!(mean.image_auroc, Some(0.75));
    assert_eq!(mean.pixel_auroc, Some(0.9));
    assert_eq!(mean.image_ap, None);
}

#[test]
fn bad_parts_without_a_mask_do_not_touch_the_pixel_metrics() {
    let map = AnomalyMap { width: 2, height: 1, values: vec![0.1, 0.9], score: 0.9 };
    let mut scores = Scores::default();
    scores.push_bad(&map, Some(&[false, true]));
    let before = scores.clone().metrics("c");
    scores.push_bad(&map, None);
    let after = scores.metrics("c");
    assert_eq!((before.masks, after.masks, after.bad), (1, 1, 2));
    assert_eq!(before.values.pixel_auroc, after.values.pixel_auroc);
    assert_eq!(after.values.pixel_auroc, Some(1.0));
}

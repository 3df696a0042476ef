//! Unit tests of the losses.

use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

const ROWS: Rows = Rows { sequences: 3, tokens: 7, channels: 11 };

fn features(seed: u64) -> (Vec<f32>, Vec<f32>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let count = ROWS.sequences * ROWS.tokens * ROWS.channels;
    let mut draw = || (0..count).map(|_| rng.random_range(-2.0..2.0f32)).collect::<Vec<_>>();
    (draw(), draw())
}

fn slope(targets: &[f32], outputs: &[f32], i: usize) -> f64 {
    let step = 1e-2f32;
    let loss = |by: f32| {
        let mut moved = outputs.to_vec();
        moved[i] += by;
        cosine(targets, &moved, ROWS, 0.0).loss
    };
    (loss(step) - loss(-step)) / (2.0 * f64::from(step))
}

#[test]
fn without_mining_the_gradient_is_the_finite_difference_of_the_loss() {
    let (targets, outputs) = features(1);
    let graded = cosine(&targets, &outputs, ROWS, 0.0);
    for i in 0..outputs.len() {
        let expected = slope(&targets, &outputs, i);
        assert!((f64::from(graded.gradient[i]) - expected).abs() < 2e-5, "element {i}");
    }
}

#[test]
fn easy_positions_get_exactly_a_tenth_of_the_finite_difference_gradient() {
    let (targets, outputs) = features(2);
    let mined = cosine(&targets, &outputs, ROWS, 0.6);
    let distance = |row: usize| {
        let at = row * ROWS.channels..(row + 1) * ROWS.channels;
        let (t, o) = (&targets[at.clone()], &outputs[at]);
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
        };
        1.0 - dot(t, o) / (dot(t, t) * dot(o, o)).sqrt()
    };
    let mut order: Vec<usize> = (0..ROWS.sequences * ROWS.tokens).collect();
    order.sort_by(|a, b| distance(*a).total_cmp(&distance(*b)));
    let easy = (order.len() as f64 * 0.6) as usize;
    for (rank, row) in order.into_iter().enumerate() {
        let factor = if rank < easy { 0.1 } else { 1.0 };
        for i in row * ROWS.channels..(row + 1) * ROWS.channels {
            let expected = factor * slope(&targets, &outputs, i);
            assert!((f64::from(mined.gradient[i]) - expected).abs() < 2e-5, "rank {rank}");
        }
    }
    assert_eq!(mined.loss, cosine(&targets, &outputs, ROWS, 0.0).loss);
}

#[test]
fn equal_directions_cost_nothing_and_opposite_ones_two() {
    let (targets, _) = features(3);
    let scaled: Vec<f32> = targets.iter().map(|t| t * 3.0).collect();
    let against: Vec<f32> = targets.iter().map(|t| -t).collect();
    assert!(cosine(&targets, &scaled, ROWS, 0.0).loss.abs() < 1e-6);
    assert!((cosine(&targets, &against, ROWS, 0.0).loss - 2.0).abs() < 1e-6);
}

#[test]
fn an_all_zero_picture_gives_a_finite_loss_and_gradient() {
    let (targets, _) = features(4);
    let graded = cosine(&targets, &vec![0.0; targets.len()], ROWS, 0.5);
    assert!(graded.loss.is_finite() && graded.gradient.iter().all(|g| g.is_finite()));
}

#[test]
fn focal_loss_at_one_half_is_a_quarter_of_ln_2() {
    for mask in [[0u8; 4], [1; 4], [0, 1, 1, 0]] {
        let loss = focal(&[0.5; 4], &mask).loss;
        assert!((loss - 0.25 * std::f64::consts::LN_2).abs() < 1e-12);
    }
}

proptest! {
    #[test]
    fn the_focal_gradient_is_the_finite_difference(p in 0.01f32..0.99, label in 0u8..2) {
        let graded = focal(&[p], &[label]);
        let step = 1e-3f32;
        let difference = (focal(&[p + step], &[label]).loss - focal(&[p - step], &[label]).loss)
            / f64::from((p + step) - (p - step));
        let tolerance = 1e-2 * difference.abs().max(1.0);
        prop_assert!((f64::from(graded.gradient[0]) - difference).abs() < tolerance);
    }

    #[test]
    fn the_focal_loss_falls_towards_the_label(p in 0.01f32..0.98) {
        prop_assert!(focal(&[p], &[1]).loss > focal(&[p + 0.01], &[1]).loss);
        prop_assert!(focal(&[p], &[0]).loss < focal(&[p + 0.01], &[0]).loss);
    }
}

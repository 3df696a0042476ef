//! Unit tests of the optimiser.

use super::*;
use crate::arch::HostTensor;

fn tensor(values: &[f64]) -> HostTensor {
    HostTensor { shape: vec![values.len()], values: values.iter().map(|&v| v as f32).collect() }
}

/// The formula, written down once more in f64 and scalar by scalar.
fn reference(mut w: Vec<f64>, gradients: &[Vec<f64>], rate: f64) -> Vec<f64> {
    let n = w.len();
    let (mut m, mut v, mut top) = (vec![0.0; n], vec![0.0; n], vec![0f64; n]);
    for (t, g) in gradients.iter().enumerate() {
        let t = (t + 1) as i32;
        for i in 0..n {
            m[i] = 0.9 * m[i] + 0.1 * g[i];
            v[i] = 0.999 * v[i] + 0.001 * g[i] * g[i];
            top[i] = top[i].max(v[i]);
        }
        let hat = |x: f64| x / (1.0 - 0.999f64.powi(t));
        let mean = (0..n).map(|i| g[i] * g[i] / hat(top[i]).max(1e-20)).sum::<f64>() / n as f64;
        let rate = rate / mean.sqrt().max(1.0);
        for i in 0..n {
            w[i] -= rate * 1e-4 * w[i];
            w[i] -= rate * (m[i] / (1.0 - 0.9f64.powi(t))) / (hat(top[i]).sqrt() + 1e-10);
        }
    }
    w
}

#[test]
fn five_steps_follow_the_formula() {
    // The third gradient is large, so that its step is clipped; the fourth is small, so that
    // amsgrad's maximum matters.
    let gradients = [
        vec![0.5, -0.2, 0.01],
        vec![0.4, 0.1, -0.02],
        vec![8.0, -6.0, 3.0],
        vec![0.01, 0.02, -0.01],
        vec![-0.3, 0.2, 0.5],
    ];
    let start = vec![0.7, -1.1, 0.05];
    let mut weights = Weights::from([("w".to_owned(), tensor(&start))]);
    let mut moments = Moments::default();
    for (t, g) in gradients.iter().enumerate() {
        let g = Weights::from([("w".to_owned(), tensor(g))]);
        StableAdamW::default().step(&mut weights, &g, &mut moments, 2e-3);
        let expected = reference(start.clone(), &gradients[..=t], 2e-3);
        for (w, e) in weights["w"].values.iter().zip(&expected) {
            assert!((f64::from(*w) - e).abs() < 1e-6, "step {}: {w} instead of {e}", t + 1);
        }
    }
}

#[test]
fn without_decay_clipping_and_maximum_it_is_adam() {
    let gradients = [vec![0.5, -0.2], vec![8.0, -6.0], vec![0.01, 0.02], vec![0.0, 0.3]];
    let mut weights = Weights::from([("w".to_owned(), tensor(&[0.7, -1.1]))]);
    let (mut moments, mut expected) = (Moments::default(), [0.7, -1.1]);
    let (mut m, mut v) = ([0.0f64; 2], [0.0f64; 2]);
    for (t, g) in gradients.iter().enumerate() {
        let step = Weights::from([("w".to_owned(), tensor(g))]);
        StableAdamW::adam().step(&mut weights, &step, &mut moments, 1e-2);
        let t = (t + 1) as i32;
        for i in 0..2 {
            m[i] = 0.9 * m[i] + 0.1 * g[i];
            v[i] = 0.999 * v[i] + 0.001 * g[i] * g[i];
            let (mean, square) = (m[i] / (1.0 - 0.9f64.powi(t)), v[i] / (1.0 - 0.999f64.powi(t)));
            expected[i] -= 1e-2 * mean / (square.sqrt() + 1e-8);
            let found = f64::from(weights["w"].values[i]);
            assert!((found - expected[i]).abs() < 1e-6, "step {t}: {found}, not {}", expected[i]);
        }
    }
    assert!(moments.square_max.is_empty(), "no maximum is kept");
}

#[test]
fn a_sudden_gradient_moves_less_with_clipping_than_without() {
    let shift = |clip_rms: f64| {
        let optimiser = StableAdamW { clip_rms, weight_decay: 0.0, ..Default::default() };
        let mut weights = Weights::from([("w".to_owned(), tensor(&[0.0]))]);
        let mut moments = Moments::default();
        for g in [0.01, 0.01, 0.01, 5.0] {
            let g = Weights::from([("w".to_owned(), tensor(&[g]))]);
            optimiser.step(&mut weights, &g, &mut moments, 1e-2);
        }
        weights["w"].values[0].abs()
    };
    assert!(shift(1.0) < 0.99 * shift(f64::INFINITY));
}

#[test]
fn weights_without_a_gradient_stay() {
    let mut weights =
        Weights::from([("a".to_owned(), tensor(&[1.0])), ("b".to_owned(), tensor(&[1.0]))]);
    let gradients = Weights::from([("a".to_owned(), tensor(&[1.0]))]);
    StableAdamW::default().step(&mut weights, &gradients, &mut Moments::default(), 1e-3);
    assert!(weights["a"].values[0] < 1.0);
    assert_eq!(weights["b"].values[0], 1.0);
}

#[test]
fn the_common_norm_is_clipped_and_small_gradients_are_left_alone() {
    let mut gradients =
        Weights::from([("a".to_owned(), tensor(&[3.0])), ("b".to_owned(), tensor(&[4.0]))]);
    assert!((clip_norm(&mut gradients, 0.1) - 5.0).abs() < 1e-9);
    assert!((gradients["a"].values[0] - 0.06).abs() < 1e-6);
    assert!((gradients["b"].values[0] - 0.08).abs() < 1e-6);
    let before = gradients.clone();
    clip_norm(&mut gradients, 1.0);
    assert_eq!(gradients, before);
}

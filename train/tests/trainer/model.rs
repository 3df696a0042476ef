//! The burn forward pass against formulas and against the exported graph.

use burn::tensor::{Device, Tensor};
use crrd_train::arch::{self, HostTensor, MEMORY_FLOOR, Weights};
use crrd_train::encoder::FrozenEncoder;
use crrd_train::export::model;
use crrd_train::features::{Seen, Statistics};
use crrd_train::model::{
    HeadMask, anomaly_map, host_values, linear_attention, nearest, tensor_from,
};
use crrd_train::onnx::Storage;
use crrd_train::plan::Plan;
use half::f16;

use crate::export_support::{difference_and_range, encoder_weights, picture, weights};

/// `out_i = sum_j phi(q_i).phi(k_j) v_j / (sum_j phi(q_i).phi(k_j) + eps)`, every pair in turn.
fn quadratic(q: &[f32], k: &[f32], v: &[f32], n: usize, width: usize, heads: usize) -> Vec<f64> {
    let phi = |x: f32| if x > 0.0 { f64::from(x) + 1.0 } else { f64::from(x).exp() };
    let size = width / heads;
    let mut out = vec![0.0; n * width];
    for h in 0..heads {
        for i in 0..n {
            let mut total = 1e-6;
            let mut sums = vec![0.0; size];
            for j in 0..n {
                let pair =
                    |c: usize| phi(q[i * width + h * size + c]) * phi(k[j * width + h * size + c]);
                let weight: f64 = (0..size).map(pair).sum();
                total += weight;
                for (c, s) in sums.iter_mut().enumerate() {
                    *s += weight * f64::from(v[j * width + h * size + c]);
                }
            }
            for (c, s) in sums.iter().enumerate() {
                out[i * width + h * size + c] = s / total;
            }
        }
    }
    out
}

#[test]
fn linear_attention_equals_the_quadratic_formula() {
    let (sequences, n, width) = (2, 13, 12);
    let device = Device::flex();
    let values = |salt: usize| -> Vec<f32> {
        let count = sequences * n * width;
        (0..count).map(|i| ((i * 37 + salt * 101) % 97) as f32 / 16.0 - 3.0).collect()
    };
    let (q, k, v) = (values(1), values(2), values(3));
    let tensor =
        |x: &[f32]| -> Tensor<3> { tensor_from(x.to_vec(), [sequences, n, width], &device) };
    for heads in [1, 3, 4] {
        let mask = HeadMask::new(width, heads, &device);
        let fast = host_values(linear_attention(tensor(&q), tensor(&k), tensor(&v), &mask));
        for s in 0..sequences {
            let at = s * n * width..(s + 1) * n * width;
            let slow = quadratic(&q[at.clone()], &k[at.clone()], &v[at.clone()], n, width, heads);
            for (a, b) in fast[at].iter().zip(slow) {
                assert!((f64::from(*a) - b).abs() < 1e-5, "{a} {b}, {heads} heads");
            }
        }
    }
}

#[test]
fn the_exported_graph_equals_the_training_forward_with_mask_and_memory() {
    let memory = |taps, scale| arch::Memory { taps, scale, window: 3, prototypes: 50, weight: 0.3 };
    let memories = vec![memory(vec![1, 2], 1), memory(vec![0], 2)];
    let arch = arch::Architecture { memories, ..arch::tiny() };
    let encoder = encoder_weights(&arch.encoder);
    let weights = weights(&arch);
    let frozen = FrozenEncoder::new(&encoder, &arch).unwrap();
    let statistics = Statistics {
        mean: weights["taps.mean"].values.clone(),
        deviation: weights["taps.std"].values.clone(),
    };
    let plan =
        Plan::new(&model(&arch, &encoder, &weights, Storage::Fp32).unwrap(), arch.input).unwrap();
    for number in 0..2 {
        let rgb = picture(arch.input, number);
        let seen = Seen::new(&arch, &frozen, &statistics, &rgb).unwrap();
        let (map, score) = anomaly_map(&arch, &weights, &seen, &Device::flex());
        let mut outputs = vec![];
        plan.run(&rgb, |_, values| outputs.push(values.to_vec())).unwrap();
        let expected: Vec<f64> = map.iter().map(|v| f64::from(*v)).collect();
        let (difference, range) = difference_and_range(&outputs[0], &expected);
        assert!(range > 0.05, "a flat map would prove nothing: {range}");
        assert!(difference < 1e-3 * range, "{difference} of {range}");
        assert!(f64::from((outputs[1][0] - score).abs()) < 1e-3 * range);
    }
}

#[test]
fn half_precision_features_standardise_like_full_ones() {
    let statistics = Statistics { mean: vec![0.5, -2.0], deviation: vec![2.0, 0.25] };
    let mut out = [0.0; 2];
    statistics.standardise(&[f16::from_f32(2.5), f16::from_f32(-1.5)], &mut out);
    assert_eq!(out, [1.0, 2.0]);
}

#[test]
fn a_place_that_is_kept_is_no_stranger_and_others_are_as_far_as_they_are() {
    let prototypes = HostTensor { shape: vec![2, 2], values: vec![1.0, 2.0, -3.0, 0.5] };
    let weights = Weights::from([("memory.0.prototypes".to_owned(), prototypes)]);
    let queries = vec![-3.0, 0.5, 1.0, 2.0, 4.0, 6.0];
    let distances = nearest(&weights, 0, queries, &Device::flex());
    let floor = (2.0 * MEMORY_FLOOR) as f32;
    for (distance, expected) in distances.iter().zip([0.0, 0.0, 25.0]) {
        let expected = f32::sqrt(expected + floor);
        assert!((distance - expected).abs() < 1e-5, "{distances:?}");
    }
}

//! Weights and pictures by formula, and a forward pass written a second time.
//!
//! `train/tools/encoder_fixture.py` has the same formulas in Python: change both.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "clippy does not see that this is test code")]

pub(crate) mod legacy;
pub(crate) mod reference;

use std::collections::BTreeMap;

use crrd_train::arch::{self, Architecture, Group, HeadShape, HostTensor, Tap, Weights};
use crrd_train::encoder::spec::EncoderSpec;
use crrd_train::encoder::vit::VitSpec;
use crrd_train::encoder::{EncoderWeights, FrozenEncoder};
use crrd_train::export::expected_weights;

/// FNV-1a of a name: the start of its sequence.
fn seed(name: &str) -> u64 {
    name.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

/// Value `index` of the sequence `seed`, uniform in [-1, 1): SplitMix64.
fn uniform(seed: u64, index: u64) -> f32 {
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    ((z >> 40) as f64 / f64::from(1 << 23) - 1.0) as f32
}

/// `centre + spread * uniform` for every value of the tensor `name`.
pub(crate) fn formula(name: &str, shape: &[usize], centre: f32, spread: f32) -> HostTensor {
    let seed = seed(name);
    let count = shape.iter().product::<usize>() as u64;
    let values = (0..count).map(|i| centre + spread * uniform(seed, i)).collect();
    HostTensor { shape: shape.to_vec(), values }
}

/// Encoder weights by formula.
pub(crate) fn encoder_weights(name: &str) -> EncoderWeights {
    EncoderWeights::from_tensors(encoder_tensors(name), "0".repeat(64)).unwrap()
}

/// Encoder tensors by formula.
pub(crate) fn encoder_tensors(name: &str) -> BTreeMap<String, HostTensor> {
    spec_tensors(&EncoderSpec::named(name).unwrap())
}

/// The vision transformer that is small enough for tests.
pub(crate) const REDUCED_VIT: EncoderSpec = EncoderSpec::Vit(VitSpec {
    name: "vit_reduced",
    width: 48,
    heads: 3,
    depth: 10,
    used: 10,
    table: 7,
});

/// Weights of [`REDUCED_VIT`] by formula.
pub(crate) fn reduced_vit() -> EncoderWeights {
    EncoderWeights::with_spec(REDUCED_VIT, spec_tensors(&REDUCED_VIT), "0".repeat(64)).unwrap()
}

/// The published scheme on it, as small: four blocks on a grid of five.
pub(crate) fn reduced_paper() -> Architecture {
    let tap = |name: &str| Tap { name: name.to_owned(), channels: 48, stride: 14 };
    Architecture {
        encoder: "vit_reduced".to_owned(),
        input: 70,
        taps: vec![tap("b2+3+4+5"), tap("b6+7+8+9")],
        grid: 5,
        groups: vec![
            Group { taps: vec![0], after_block: 4 },
            Group { taps: vec![1], after_block: 2 },
        ],
        bottleneck: 96,
        width: 48,
        heads: 3,
        depth: 4,
        head: HeadShape::Slim([16, 8]),
        map: 64,
        ..arch::paper_s()
    }
}

/// Layers that keep the variance, mild normalisation.
fn spec_tensors(spec: &EncoderSpec) -> BTreeMap<String, HostTensor> {
    spec.tensors()
        .into_iter()
        .map(|(name, shape)| {
            let fan_in: usize = shape[1..].iter().product();
            let (centre, spread) = match name.rsplit('.').next().unwrap() {
                "running_mean" | "bias" | "cls_token" | "reg_token" | "pos_embed" => (0.0, 0.25),
                "running_var" | "gamma" => (1.0, 0.5),
                _ if shape.len() == 1 => (1.0, 0.25),
                _ => (0.0, (6.0 / fan_in as f32).sqrt()),
            };
            let tensor = formula(&name, &shape, centre, spread);
            (name, tensor)
        })
        .collect()
}

/// Trained weights by formula.
pub(crate) fn weights(arch: &Architecture) -> Weights {
    expected_weights(arch)
        .into_iter()
        .map(|(name, shape)| {
            let fan_in: usize = match shape.len() {
                2 => shape[0],
                4 => shape[1..].iter().product(),
                _ => 1,
            };
            let (centre, spread) = match name.rsplit('.').next().unwrap() {
                "std" | "level" | "share" | "var" => (1.0, 0.5),
                "prototypes" => (0.0, 1.0),
                "gamma" => (1.0, 0.25),
                "weight" => (0.0, (3.0 / fan_in as f32).sqrt()),
                _ => (0.0, 0.25),
            };
            let (centre, spread) = match name.strip_prefix("taps.") {
                Some("mean") if !arch.is_projected() => (0.0, 0.0),
                Some("std") if !arch.is_projected() => (1.0, 0.0),
                _ => (centre, spread),
            };
            let tensor = formula(&name, &shape, centre, spread);
            (name, tensor)
        })
        .collect()
}

/// What each memory that looks closer than the grid sees of `rgb`, not standardised.
pub(crate) fn fine_features(
    frozen: &FrozenEncoder,
    arch: &Architecture,
    rgb: &[u8],
) -> Vec<Vec<f32>> {
    let memories = arch.memories.iter().enumerate();
    memories
        .map(|(i, memory)| {
            if memory.scale == 1 {
                return Vec::new();
            }
            let mut out = vec![0.0; arch.seen_by(memory).features()];
            frozen.encode_fine(i, rgb, &mut out).unwrap();
            out
        })
        .collect()
}

/// A picture of `side` x `side` RGB bytes: a gradient, a checkerboard and noise.
pub(crate) fn picture(side: usize, number: usize) -> Vec<u8> {
    let noise = seed(&format!("picture.{number}"));
    let mut bytes = Vec::with_capacity(side * side * 3);
    for y in 0..side {
        for x in 0..side {
            for c in 0..3 {
                let index = ((y * side + x) * 3 + c) as u64;
                let gradient = (x * (c + 1) + y * (3 - c)) * 48 / side;
                let board = 60 * ((x / 16 + y / 16 + number) % 2);
                let grain = ((uniform(noise, index) + 1.0) * 24.0) as usize;
                bytes.push((gradient + board + grain).min(255) as u8);
            }
        }
    }
    bytes
}

/// Largest difference between two sequences and the range of the second.
pub(crate) fn difference_and_range(got: &[f32], wanted: &[f64]) -> (f64, f64) {
    assert_eq!(got.len(), wanted.len());
    let difference =
        got.iter().zip(wanted).map(|(g, w)| (f64::from(*g) - w).abs()).fold(0.0, f64::max);
    let low = wanted.iter().copied().fold(f64::INFINITY, f64::min);
    let high = wanted.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    assert!(difference.is_finite() && (high - low).is_finite());
    (difference, high - low)
}

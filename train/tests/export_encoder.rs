//! The encoder graph against independent implementations, and its speed when asked for.
//!
//! With `CRRD_DATA` naming a folder that holds `encoders/efficientnet_lite0.{safetensors,onnx}`
//! (the published weights, and an export of them by other code), the real weights are compared
//! too; without it that test says that it was skipped.
#![allow(clippy::unwrap_used, reason = "clippy does not see that helpers are test code")]

mod export_support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use crrd_train::arch;
use crrd_train::arch::{Architecture, Group};
use crrd_train::encoder::{EncoderWeights, FrozenEncoder};
use export_support::{encoder_weights, picture};
use tract_onnx::prelude::*;

/// Largest difference as a fraction of the largest value of a tap.
const TOLERANCE: f32 = 1e-3;

fn data() -> Option<PathBuf> {
    let data = std::env::var_os("CRRD_DATA").map(PathBuf::from);
    if data.is_none() {
        println!("skipped: CRRD_DATA not set");
    }
    data
}

/// An architecture whose grid is the tap's own, so that features are the tap itself.
fn one_tap(input: usize, at: usize) -> Architecture {
    let tap = arch::edge().taps[at].clone();
    let grid = input / tap.stride;
    let groups = vec![Group { taps: vec![0], after_block: 1 }];
    Architecture { input, grid, taps: vec![tap], groups, ..arch::edge() }
}

/// A tap by this project's graph: `[tokens, channels]`.
fn tap(weights: &EncoderWeights, input: usize, at: usize, rgb: &[u8]) -> Vec<f32> {
    let encoder = FrozenEncoder::new(weights, &one_tap(input, at)).unwrap();
    let mut out = vec![0.0; encoder.features()];
    encoder.encode(rgb, &mut out).unwrap();
    out
}

#[test]
fn published_weights_give_the_taps_of_an_independent_export() {
    let Some(data) = data() else { return };
    let folder = data.join("encoders");
    let weights = EncoderWeights::load(&folder.join("efficientnet_lite0.safetensors")).unwrap();
    let side = 224;
    let rgb = picture(side, 3);
    let other = tract_onnx::onnx()
        .model_for_path(folder.join("efficientnet_lite0.onnx"))
        .unwrap()
        .with_input_fact(0, f32::fact([1, 3, side, side]).into())
        .unwrap()
        .into_optimized()
        .unwrap()
        .into_runnable()
        .unwrap();
    let planes: Vec<f32> = (0..3)
        .flat_map(|c| rgb.iter().skip(c).step_by(3).map(|b| (f32::from(*b) - 127.0) / 128.0))
        .collect();
    let image = Tensor::from_shape(&[1, 3, side, side], &planes).unwrap();
    let outputs = other.run(tvec!(image.into())).unwrap();
    for at in 0..4 {
        let ours = tap(&weights, side, at, &rgb);
        let wanted = outputs[at].to_plain_array_view::<f32>().unwrap();
        let wanted = wanted.as_slice().unwrap();
        let channels = arch::edge().taps[at].channels;
        let tokens = ours.len() / channels;
        assert_eq!(wanted.len(), ours.len());
        let scale = wanted.iter().fold(0f32, |m, v| m.max(v.abs()));
        let off = (0..ours.len())
            .map(|i| (ours[i] - wanted[i % channels * tokens + i / channels]).abs())
            .fold(0f32, f32::max);
        println!("tap {at}: scale {scale:.3}, difference {off:.2e}");
        assert!(scale > 0.1 && off < TOLERANCE * scale, "tap {at}: {off} of {scale}");
    }
}

/// `fixtures/efficientnet_lite0.json`: written by `train/tools/encoder_fixture.py`.
#[derive(serde::Deserialize)]
struct Fixture {
    side: usize,
    picture: usize,
    taps: BTreeMap<String, FixtureTap>,
}

#[derive(serde::Deserialize)]
struct FixtureTap {
    shape: [usize; 3],
    scale: f32,
    /// Position in `[height, width, channels]` and value.
    values: Vec<(usize, f32)>,
}

#[test]
fn weights_by_formula_give_the_taps_of_timm() {
    let fixture = include_str!("fixtures/efficientnet_lite0.json");
    let fixture: Fixture = serde_json::from_str(fixture).unwrap();
    let weights = encoder_weights("efficientnet_lite0");
    let rgb = picture(fixture.side, fixture.picture);
    for (at, known) in arch::edge().taps.iter().enumerate() {
        let wanted = &fixture.taps[&known.name];
        let side = fixture.side / known.stride;
        assert_eq!(wanted.shape, [known.channels, side, side]);
        let ours = tap(&weights, fixture.side, at, &rgb);
        let off = wanted.values.iter().map(|(i, v)| (ours[*i] - v).abs()).fold(0f32, f32::max);
        println!("{}: scale {:.3}, difference {off:.2e}", known.name, wanted.scale);
        assert!(off < TOLERANCE * wanted.scale, "{}: {off} of {}", known.name, wanted.scale);
        assert!(wanted.values.iter().any(|(_, v)| v.abs() > 0.1 * wanted.scale));
    }
}

#[test]
fn finer_taps_are_averaged_and_coarser_ones_interpolated_onto_the_grid() {
    let weights = encoder_weights("efficientnet_lite0");
    let arch = Architecture { input: 64, grid: 8, ..arch::edge() };
    let rgb = picture(64, 0);
    let encoder = FrozenEncoder::new(&weights, &arch).unwrap();
    let mut all = vec![0.0; encoder.features()];
    encoder.encode(&rgb, &mut all).unwrap();
    let at = |token: usize, channel: usize| all[token * arch.channels() + channel];
    let (fine, coarse) = (tap(&weights, 64, 0, &rgb), tap(&weights, 64, 2, &rgb));
    // Token (0, 0): the mean of the first 2 x 2 pixels of f4.
    let mean = [0, 1, 16, 17].map(|p| fine[p * 24]).iter().sum::<f32>() / 4.0;
    assert!((at(0, 0) - mean).abs() < 1e-4);
    // Token (1, 2) of f16's first channel: half-pixel bilinear between rows 0, 1, columns 0, 1.
    let c = |y: usize, x: usize| coarse[(y * 4 + x) * 112];
    let wanted =
        0.75 * (0.75 * c(0, 1) + 0.25 * c(0, 0)) + 0.25 * (0.75 * c(1, 1) + 0.25 * c(1, 0));
    assert!((at(8 + 2, 64) - wanted).abs() < 1e-4, "{} {wanted}", at(10, 64));
}

#[test]
fn several_threads_share_one_encoder() {
    let arch = Architecture { input: 64, grid: 8, ..arch::tiny() };
    let encoder = FrozenEncoder::new(&encoder_weights("efficientnet_lite0"), &arch).unwrap();
    let encode = |n: usize| {
        let mut out = vec![0.0; encoder.features()];
        encoder.encode(&picture(64, n), &mut out).unwrap();
        out
    };
    let alone: Vec<_> = (0..4).map(encode).collect();
    let together: Vec<_> = std::thread::scope(|s| {
        let threads: Vec<_> = (0..4).map(|n| s.spawn(move || encode(n))).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert_eq!(alone, together);
    assert_ne!(alone[0], alone[1]);
}

#[test]
fn buffers_of_the_wrong_size_are_refused() {
    let arch = Architecture { input: 64, grid: 8, ..arch::tiny() };
    let encoder = FrozenEncoder::new(&encoder_weights("efficientnet_lite0"), &arch).unwrap();
    let mut out = vec![0.0; encoder.features()];
    assert!(encoder.encode(&[0; 5], &mut out).is_err());
    assert!(encoder.encode(&picture(64, 0), &mut out[1..]).is_err());
}

#[test]
fn all_encoders_of_the_family_run() {
    for (name, channels) in [("efficientnet_lite1", 40), ("efficientnet_lite2", 48)] {
        let mut arch = Architecture { encoder: name.to_owned(), ..one_tap(64, 1) };
        arch.taps[0].channels = channels;
        let encoder = FrozenEncoder::new(&encoder_weights(name), &arch).unwrap();
        let mut out = vec![0.0; encoder.features()];
        encoder.encode(&picture(64, 0), &mut out).unwrap();
        assert!(out.iter().all(|v| v.is_finite()) && out.iter().any(|v| *v != out[0]));
    }
}

/// `cargo test -p crrd-train --test export_encoder -- --ignored --nocapture`
#[test]
#[ignore = "a measurement, not a check"]
fn measure_the_frozen_encoder() {
    for (name, arch) in [("edge", arch::edge()), ("tiny", arch::tiny())] {
        let encoder = FrozenEncoder::new(&encoder_weights(&arch.encoder), &arch).unwrap();
        let rgb = picture(arch.input, 0);
        let mut out = vec![0.0; encoder.features()];
        let mut best = f64::INFINITY;
        for _ in 0..30 {
            let start = Instant::now();
            encoder.encode(&rgb, &mut out).unwrap();
            best = best.min(start.elapsed().as_secs_f64());
        }
        println!("{name}: {:.1} ms per picture on one thread (best of 30)", best * 1e3);
    }
}

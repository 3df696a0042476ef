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
use crrd_train::arch::{Architecture, Group, Tap};
use crrd_train::encoder::spec::EncoderSpec;
use crrd_train::encoder::vit::{EXTRA_TOKENS, interpolated};
use crrd_train::encoder::{EncoderErrorKind, EncoderWeights, FrozenEncoder};
use export_support::{encoder_tensors, encoder_weights, formula, picture, reduced_vit};
use tract_onnx::prelude::*;

/// Largest difference of a tap.
const TOLERANCE: f32 = 1e-3;

fn data() -> Option<PathBuf> {
    let data = std::env::var_os("CRRD_DATA").map(PathBuf::from);
    if data.is_none() {
        println!("skipped: CRRD_DATA not set");
    }
    data
}

/// An architecture whose grid is the tap's own, so that features are the tap itself.
fn one_tap(spec: &EncoderSpec, input: usize, name: &str) -> Architecture {
    let (channels, stride) = spec.tap(name).unwrap();
    let taps = vec![Tap { name: name.to_owned(), channels, stride }];
    let groups = vec![Group { taps: vec![0], after_block: 1 }];
    let encoder = spec.name().to_owned();
    let memories = Vec::new();
    Architecture { encoder, input, grid: input / stride, taps, groups, memories, ..arch::edge() }
}

/// A tap by this project's graph: `[tokens, channels]`.
fn tap(weights: &EncoderWeights, input: usize, name: &str, rgb: &[u8]) -> Vec<f32> {
    let encoder = FrozenEncoder::new(weights, &one_tap(&weights.spec(), input, name)).unwrap();
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
        let ours = tap(&weights, side, &arch::edge().taps[at].name, &rgb);
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

/// `fixtures/ENCODER.json`: written by `train/tools/encoder_fixture.py`.
#[derive(serde::Deserialize)]
struct Fixture {
    side: usize,
    picture: usize,
    taps: BTreeMap<String, FixtureTap>,
}

#[derive(serde::Deserialize)]
struct FixtureTap {
    /// `[channels, height, width]` or `[tokens, channels]`.
    shape: Vec<usize>,
    scale: f32,
    /// Position in `[tokens, channels]` and value.
    values: Vec<(usize, f32)>,
}

/// Compares every tap of the fixture; `extra` tokens stand before those of the picture in it.
fn check_taps(weights: &EncoderWeights, fixture: &str, extra: usize) {
    let fixture: Fixture = serde_json::from_str(fixture).unwrap();
    let rgb = picture(fixture.side, fixture.picture);
    let encoder = weights.name();
    for (name, wanted) in &fixture.taps {
        let ours = tap(weights, fixture.side, name, &rgb);
        let (channels, _) = weights.spec().tap(name).unwrap();
        assert_eq!(ours.len() + extra * channels, wanted.shape.iter().product::<usize>());
        let shared = wanted.values.iter().filter_map(|(i, v)| {
            let at = i.checked_sub(extra * channels)?;
            Some((ours[at] - v).abs())
        });
        let off = shared.clone().fold(0f32, f32::max);
        println!("{encoder} {name}: scale {:.3}, difference {off:.2e}", wanted.scale);
        assert!(shared.count() > wanted.values.len() / 2, "{encoder} {name}");
        // Absolute up to the size that real features have, then relative: random residual
        // networks grow with their depth.
        let bound = TOLERANCE * (wanted.scale / 30.0).max(1.0);
        assert!(off < bound, "{encoder} {name}: {off}");
        assert!(wanted.values.iter().any(|(_, v)| v.abs() > 0.1 * wanted.scale));
    }
}

#[test]
fn convolutional_encoders_with_weights_by_formula_give_the_taps_of_timm_and_torchvision() {
    let fixtures = [
        ("efficientnet_lite0", include_str!("fixtures/efficientnet_lite0.json")),
        ("efficientnet_lite1", include_str!("fixtures/efficientnet_lite1.json")),
        ("efficientnet_lite2", include_str!("fixtures/efficientnet_lite2.json")),
        ("resnet18", include_str!("fixtures/resnet18.json")),
        ("resnet50", include_str!("fixtures/resnet50.json")),
        ("wide_resnet50_2", include_str!("fixtures/wide_resnet50_2.json")),
    ];
    for (name, fixture) in fixtures {
        check_taps(&encoder_weights(name), fixture, 0);
    }
}

#[test]
fn vision_transformers_with_weights_by_formula_give_the_tokens_of_timm() {
    check_taps(&reduced_vit(), include_str!("fixtures/vit_reduced.json"), EXTRA_TOKENS);
    let small = encoder_weights("vit_small_patch14_reg4_dinov2");
    let fixture = include_str!("fixtures/vit_small_patch14_reg4_dinov2.json");
    check_taps(&small, fixture, EXTRA_TOKENS);
}

#[test]
fn the_position_table_is_interpolated_as_by_torch() {
    #[derive(serde::Deserialize)]
    struct Positions {
        table: usize,
        grids: BTreeMap<usize, Vec<f32>>,
    }
    let known: Positions =
        serde_json::from_str(include_str!("fixtures/vit_positions.json")).unwrap();
    let table = formula("pos_embed", &[1, known.table * known.table, 1], 0.0, 0.25);
    for (grid, wanted) in known.grids {
        let ours = interpolated(&table.values, known.table, grid);
        assert_eq!(ours.len(), wanted.len());
        let off = ours.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        println!("grid {grid}: difference {off:.2e}");
        assert!(off < 1e-5, "grid {grid}: {off}");
    }
}

#[test]
fn a_deeper_relative_is_not_taken_for_a_supported_encoder() {
    let extra = [
        ("resnet18", "layer1.2.conv1.weight"),
        ("resnet50", "layer3.6.conv1.weight"),
        ("efficientnet_lite0", "_blocks.16._project_conv.weight"),
        ("vit_small_patch14_reg4_dinov2", "blocks.12.norm1.weight"),
    ];
    for (name, deeper) in extra {
        let mut tensors = encoder_tensors(name);
        tensors.insert(deeper.to_owned(), formula(deeper, &[4], 0.0, 1.0));
        let error = EncoderWeights::from_tensors(tensors, "").unwrap_err();
        assert_eq!(error.kind(), EncoderErrorKind::Foreign);
        assert!(error.to_string().contains(deeper), "{error}");
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
    let (fine, coarse) = (tap(&weights, 64, "f4", &rgb), tap(&weights, 64, "f16", &rgb));
    // Token (0, 0): the mean of the first 2 x 2 pixels of f4.
    let mean = [0, 1, 16, 17].map(|p| fine[p * 24]).iter().sum::<f32>() / 4.0;
    assert!((at(0, 0) - mean).abs() < 1e-4);
    // Token (1, 2) of f16's first channel: half-pixel bilinear between rows 0, 1, columns 0, 1.
    let c = |y: usize, x: usize| coarse[(y * 4 + x) * 112];
    let wanted =
        0.75 * (0.75 * c(0, 1) + 0.25 * c(0, 0)) + 0.25 * (0.75 * c(1, 1) + 0.25 * c(1, 0));
    assert!((at(8 + 2, 64) - wanted).abs() < 1e-4, "{} {wanted}", at(10, 64));
    // The second memory is shown f4 as it is; the first sees the grid.
    let mut closer = vec![0.0; fine.len()];
    encoder.encode_fine(1, &rgb, &mut closer).unwrap();
    assert!(closer.iter().zip(&fine).all(|(a, b)| (a - b).abs() < 1e-4));
    assert_eq!(
        encoder.encode_fine(0, &rgb, &mut closer).unwrap_err().kind(),
        EncoderErrorKind::Architecture
    );
}

#[test]
fn a_memory_of_taps_that_are_not_there_is_refused() {
    let memory = arch::Memory { taps: vec![4], ..arch::edge().memories[0].clone() };
    let arch = Architecture { memories: vec![memory], ..arch::edge() };
    let refused = FrozenEncoder::new(&encoder_weights("efficientnet_lite0"), &arch).err().unwrap();
    assert_eq!(refused.kind(), EncoderErrorKind::Architecture);
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

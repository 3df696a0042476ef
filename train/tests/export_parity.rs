//! The exported graph against a forward pass written a second time.
#![allow(clippy::unwrap_used, reason = "clippy does not see that helpers are test code")]

mod export_support;

use std::path::Path;

use crrd_train::arch::{self, Architecture, Weights};
use crrd_train::encoder::spec::EncoderSpec;
use crrd_train::encoder::{EncoderWeights, FrozenEncoder};
use crrd_train::export::model;
use crrd_train::onnx::Storage;
use crrd_train::plan::Plan;
use crrd_train::trainer::Preset;
use export_support::{
    difference_and_range, encoder_weights, fine_features, picture, reduced_paper, reduced_vit,
    reference, weights,
};

/// The project's parity bound: a fraction of the map's range.
const TOLERANCE: f64 = 1e-3;

struct Compared {
    map: f64,
    score: f64,
}

/// Exports, runs in tract, and compares with the reference on the same encoder's features.
fn compare(
    arch: &Architecture,
    encoder: &EncoderWeights,
    weights: &Weights,
    storage: Storage,
) -> Compared {
    let rgb = picture(arch.input, 1);
    let frozen = FrozenEncoder::with_storage(encoder, arch, storage).unwrap();
    let mut features = vec![0.0; frozen.features()];
    frozen.encode(&rgb, &mut features).unwrap();
    let fine = fine_features(&frozen, arch, &rgb);
    let (map, score) = reference::forward(arch, weights, &features, &fine);
    let plan = Plan::new(&model(arch, encoder, weights, storage).unwrap(), arch.input).unwrap();
    let mut outputs = vec![];
    plan.run(&rgb, |_, values| outputs.push(values.to_vec())).unwrap();
    assert_eq!(outputs.len(), 2);
    let (difference, range) = difference_and_range(&outputs[0], &map);
    assert!(range > 0.05, "a flat map would prove nothing: {range}");
    println!("range {range:.4}, difference {difference:.2e}, score {score:.4}");
    Compared { map: difference / range, score: (f64::from(outputs[1][0]) - score).abs() / range }
}

#[test]
fn exported_presets_equal_the_reference_with_the_mask_folded() {
    for arch in [arch::tiny(), arch::edge()] {
        let encoder = encoder_weights(&arch.encoder);
        let off = compare(&arch, &encoder, &weights(&arch), Storage::Fp32);
        assert!(off.map < TOLERANCE, "map differs by {} of its range", off.map);
        assert!(off.score < TOLERANCE, "score differs by {} of the range", off.score);
    }
}

#[test]
fn presets_on_every_convolutional_encoder_equal_the_reference() {
    for spec in EncoderSpec::all().filter(EncoderSpec::is_convolutional) {
        for preset in [Preset::Tiny, Preset::Edge] {
            let arch = preset.settings_on(&spec, Path::new("")).unwrap().arch;
            // As small as the strides allow: what differs is the encoder and its widths.
            let arch = Architecture { input: 64, grid: 8, map: 64, ..arch };
            println!("{} on {}", preset.as_str(), spec.name());
            let off = compare(&arch, &encoder_weights(spec.name()), &weights(&arch), Storage::Fp32);
            assert!(off.map < TOLERANCE && off.score < TOLERANCE, "{} {}", off.map, off.score);
        }
    }
}

#[test]
fn the_published_scheme_equals_the_reference_with_extra_tokens_and_the_mask_folded() {
    let arch = reduced_paper();
    let off = compare(&arch, &reduced_vit(), &weights(&arch), Storage::Fp32);
    assert!(off.map < TOLERANCE && off.score < TOLERANCE, "{} {}", off.map, off.score);
}

#[test]
fn the_published_head_equals_the_reference_with_batch_normalisation_folded() {
    let arch = Architecture { head: arch::HeadShape::Parity, ..reduced_paper() };
    let off = compare(&arch, &reduced_vit(), &weights(&arch), Storage::Fp32);
    assert!(off.map < TOLERANCE && off.score < TOLERANCE, "{} {}", off.map, off.score);
}

#[test]
fn unusual_architectures_are_exported_as_well() {
    let unusual = Architecture {
        input: 96,
        grid: 6,
        taps: arch::edge().taps,
        groups: vec![
            arch::Group { taps: vec![1, 2, 3], after_block: 1 },
            arch::Group { taps: vec![0], after_block: 3 },
            arch::Group { taps: vec![2], after_block: 3 },
        ],
        width: 24,
        heads: 3,
        bottleneck: 20,
        head: arch::HeadShape::Slim([5, 3]),
        memories: vec![
            arch::Memory { taps: vec![0, 1], scale: 2, window: 1, prototypes: 9, weight: 0.2 },
            arch::Memory { taps: vec![0, 1, 2], scale: 1, window: 5, prototypes: 7, weight: 0.6 },
        ],
        map: 50,
        smoothing: (3, 0.8),
        score_fraction: 0.033,
        mask_probability: 0.0,
        distance_weight: 0.8,
        ..arch::edge()
    };
    let group = |tap, after_block| arch::Group { taps: vec![tap], after_block };
    let published_head = Architecture {
        groups: vec![group(0, 1), group(1, 3)],
        head: arch::HeadShape::Parity,
        ..unusual.clone()
    };
    let encoder = encoder_weights(&unusual.encoder);
    for arch in [unusual, published_head] {
        let off = compare(&arch, &encoder, &weights(&arch), Storage::Fp32);
        assert!(off.map < TOLERANCE && off.score < TOLERANCE, "{} {}", off.map, off.score);
    }
}

#[test]
fn sixteen_bit_storage_stays_close_and_halves_the_file() {
    use prost::Message;
    let arch = arch::tiny();
    let (encoder, weights) = (encoder_weights(&arch.encoder), weights(&arch));
    let bytes = |s| model(&arch, &encoder, &weights, s).unwrap().encode_to_vec().len();
    let (full, half) = (bytes(Storage::Fp32), bytes(Storage::Fp16));
    println!("fp32 {full} bytes, fp16 {half} bytes");
    assert!(half * 10 < full * 7, "{half} of {full} bytes");
    // The encoder is rounded in both, the trained weights only in the export.
    let off = compare(&arch, &encoder, &weights, Storage::Fp16);
    assert!(off.map > 0.0 && off.map < 0.02, "map differs by {} of its range", off.map);
}

#[test]
fn a_second_export_of_the_same_weights_is_the_same_file() {
    use prost::Message;
    let arch = arch::tiny();
    let encoder = encoder_weights(&arch.encoder);
    let bytes = || model(&arch, &encoder, &weights(&arch), Storage::Fp16).unwrap().encode_to_vec();
    assert_eq!(bytes(), bytes());
}

#[test]
fn weights_that_do_not_fit_are_refused_by_name() {
    let arch = arch::tiny();
    let encoder = encoder_weights(&arch.encoder);
    let good = weights(&arch);
    type Change = fn(&mut Weights);
    let cases: [(Change, &str); 5] = [
        (|w| drop(w.remove("position")), "`position` is missing"),
        (
            |w| w.get_mut("block.1.fc1.bias").unwrap().values[3] = f32::NAN,
            "`block.1.fc1.bias` is not finite",
        ),
        (|w| w.get_mut("taps.std").unwrap().values[0] = 0.0, "`taps.std` is not positive"),
        (
            |w| w.get_mut("out.0.fc.weight").unwrap().shape = vec![64, 64, 1],
            "`out.0.fc.weight` has shape",
        ),
        (|w| drop(w.insert("extra".to_owned(), w["position"].clone())), "`extra` is not part"),
    ];
    for (change, wanted) in cases {
        let mut bad = good.clone();
        change(&mut bad);
        let error = model(&arch, &encoder, &bad, Storage::Fp32).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn architectures_that_contradict_themselves_or_the_encoder_are_refused() {
    let encoder = encoder_weights("efficientnet_lite0");
    type Change = fn(&mut Architecture);
    let cases: [Change; 8] = [
        |a| a.heads = 3,
        |a| a.groups[0].after_block = 3,
        |a| a.groups[0].taps = vec![0, 2],
        |a| a.smoothing.0 = 4,
        |a| a.input = 250,
        |a| a.grid = 20,
        |a| a.taps[0].channels = 32,
        |a| a.encoder = "efficientnet_lite2".to_owned(),
    ];
    for (i, change) in cases.into_iter().enumerate() {
        let mut arch = arch::tiny();
        change(&mut arch);
        // Weights of the right names are given where they exist, so that only the change can fail.
        let error = model(&arch, &encoder, &weights(&arch), Storage::Fp32);
        let kind = error.err().map(|e| e.kind());
        assert_eq!(kind, Some(crrd_train::export::ExportErrorKind::Architecture), "case {i}");
    }
}

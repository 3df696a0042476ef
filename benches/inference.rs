//! The CPU engine against its named reference, bare tract on the same graph; and against the
//! optional engine on onnxruntime, which takes the feature `ort` and, in `ORT_DYLIB_PATH`, the
//! library (it is inside the Python package onnxruntime).

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod support;

use std::hint::black_box;
use std::path::Path;

use criterion::Criterion;
use crrd::engine::bundle::{BundleSource, MODEL_FILE};
use crrd::engine::{Backend, Engine, open};
use crrd::frame::AnomalyMap;
use support::{Pair, bundle, noise};
use tract_onnx::prelude::*;

fn ours(dir: &Path) -> (Box<dyn Engine>, AnomalyMap) {
    let engine = open(&BundleSource::Dir(dir.to_owned()), Backend::Cpu).unwrap();
    (engine, AnomalyMap::default())
}

/// The engine on onnxruntime; without it, says why.
fn onnxruntime(dir: &Path) -> Option<Box<dyn Engine>> {
    let opened = open(&BundleSource::Dir(dir.to_owned()), Backend::Ort);
    opened.map_err(|error| println!("onnxruntime: skipped: {error}")).ok()
}

/// What tract's own example does: load, optimise, run.
fn bare(dir: &Path, side: (usize, usize), picture: &[u8]) -> impl FnMut() + use<> {
    let plan = tract_onnx::onnx()
        .model_for_path(dir.join(MODEL_FILE))
        .unwrap()
        .into_optimized()
        .unwrap()
        .into_runnable()
        .unwrap();
    let input = Tensor::from_shape(&[1, side.1, side.0, 3], picture).unwrap();
    let mut state = plan.spawn().unwrap();
    move || {
        let answer = state.run(tvec!(input.clone().into_tvalue())).unwrap();
        black_box(&answer);
    }
}

fn main() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = bundle(scratch.path());
    let (mut engine, mut map) = ours(&dir);
    let side = (engine.spec().input_width, engine.spec().input_height);
    let picture = noise(side.0 * side.1 * 3);
    let mut ours = || {
        engine.infer(black_box(&picture), &mut map).unwrap();
        black_box(map.score);
    };
    let mut reference = bare(&dir, side, &picture);

    let mut criterion = Criterion::default().sample_size(20).configure_from_args();
    let mut group = criterion.benchmark_group("inference");
    group.bench_function("crrd", |b| b.iter(&mut ours));
    group.bench_function("bare tract", |b| b.iter(&mut reference));
    group.finish();
    criterion.final_summary();
    Pair::measure(51, &mut ours, reference).print("inference", "bare tract");
    if let Some(mut other) = onnxruntime(&dir) {
        let mut map = AnomalyMap::default();
        let other = || {
            other.infer(black_box(&picture), &mut map).unwrap();
            black_box(map.score);
        };
        Pair::measure(51, ours, other).print("engines, one thread each", "onnxruntime");
    }
}

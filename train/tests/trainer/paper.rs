//! The published scheme, reduced: from pictures to a bundle, and back through the station's engine.

use std::time::Instant;

use burn::tensor::Device;
use crrd_train::checkpoint::State;
use crrd_train::encoder::FrozenEncoder;
use crrd_train::export::{BundleFacts, WEIGHTS_FILE, write_bundle};
use crrd_train::features::{Cache, Material, Picture};
use crrd_train::model::anomaly_map;
use crrd_train::onnx::Storage;
use crrd_train::plan::Plan;
use crrd_train::progress::Progress;
use crrd_train::synth::{Synthesizer, Textures};
use crrd_train::trainer::{Compute, Length, Run, Settings, Workers};
use prost::Message;
use tract_onnx::pb::ModelProto;

use crate::export_support::{difference_and_range, picture, reduced_paper, reduced_vit};
use crate::toy::finished;

const ITERATIONS: usize = 60;

fn settings() -> Settings {
    let mut settings = Settings::paper(reduced_paper());
    settings.batch.pairs = 4;
    settings
}

fn train(settings: &Settings, encoder: &FrozenEncoder, threads: usize, iterations: usize) -> State {
    let workers = Workers::new(threads).unwrap();
    let side = settings.arch.input;
    let synthesizer = Synthesizer::new(Textures::procedural(3, side, 10), side);
    let pictures = (0..6).map(|i| Picture { class: i % 2, rgb: picture(side, i % 2) }).collect();
    let material = Material::new(&settings.arch, pictures, synthesizer, encoder, 5, &workers);
    let mut cache = Cache::fill(&material, 2, 0, &workers, &|_| true).unwrap().unwrap();
    let run = Run {
        settings,
        material: &material,
        workers: &workers,
        device: &Compute::Cpu.device().unwrap(),
        progress: &Progress::silent(),
        checkpoint: None,
        stop: &|| false,
        length: Length::Iterations(iterations),
        started: Instant::now(),
    };
    finished(run.train(&mut cache, None, State::default()).unwrap())
}

#[test]
fn a_run_learns_whatever_the_number_of_threads_and_its_bundle_gives_the_same_maps() {
    let settings = settings();
    let arch = &settings.arch;
    let weights = reduced_vit();
    let encoder = FrozenEncoder::new(&weights, arch).unwrap();
    let state = train(&settings, &encoder, 2, ITERATIONS);
    let losses: Vec<f64> = state.counters.records.decoder_loss.points().map(|p| p.1).collect();
    let few = |l: &[f64]| l.iter().sum::<f64>() / l.len() as f64;
    let (first, last) = (few(&losses[..5]), few(&losses[losses.len() - 5..]));
    assert!(last < 0.8 * first, "{first} to {last}");
    let short = |threads| train(&settings, &encoder, threads, 2).weights;
    assert_eq!(short(1), short(3), "dropout and mask depend on the seed alone");

    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("model");
    let golden = [picture(arch.input, 0), picture(arch.input, 5)];
    let facts = facts();
    write_bundle(&out, arch, &weights, &state.weights, &golden, facts).unwrap();
    assert!(out.join(WEIGHTS_FILE).is_file());
    let model = std::fs::read(out.join("model.onnx")).unwrap();
    let plan = Plan::new(&ModelProto::decode(&model[..]).unwrap(), arch.input).unwrap();
    for rgb in &golden {
        let mut features = vec![0.0; encoder.features()];
        encoder.encode(rgb, &mut features).unwrap();
        let (map, _) = anomaly_map(arch, &state.weights, &features, &Device::flex());
        let wanted: Vec<f64> = map.iter().map(|v| f64::from(*v)).collect();
        let mut outputs = vec![];
        plan.run(rgb, |_, values| outputs.push(values.to_vec())).unwrap();
        let (difference, range) = difference_and_range(&outputs[0], &wanted);
        assert!(range > 1e-3, "a flat map would prove nothing: {range}");
        assert!(difference < 1e-3 * range, "{difference} of {range}");
    }
}

fn facts() -> BundleFacts {
    BundleFacts {
        name: "reduced".to_owned(),
        preset: "paper-s".to_owned(),
        command: "crrd-train fit".to_owned(),
        seed: 5,
        images: 6,
        iterations: ITERATIONS,
        minutes: 0.1,
        dataset_sha256: "0".repeat(64),
        created_utc: "2020-01-01T00:00:00Z".to_owned(),
        storage: Storage::Fp32,
        classes: vec!["bolt".to_owned(), "nut".to_owned()],
        spdx: "Apache-2.0".to_owned(),
        notice: "an encoder by formula".to_owned(),
    }
}

//! The published scheme, reduced: from pictures to a bundle, and back through the station's engine.

use std::time::Instant;

use burn::tensor::Device;
use crrd_train::arch::{self, Architecture, Weights};
use crrd_train::checkpoint::State;
use crrd_train::encoder::FrozenEncoder;
use crrd_train::export::{BundleFacts, WEIGHTS_FILE, write_bundle};
use crrd_train::features::{Cache, Material, Picture, Purpose, Seen, stream};
use crrd_train::memory::head_bytes;
use crrd_train::model::{Head, Lifted, anomaly_map, host_values, init_head, tensor_from};
use crrd_train::onnx::Storage;
use crrd_train::plan::Plan;
use crrd_train::progress::Progress;
use crrd_train::synth::{Synthesizer, Textures};
use crrd_train::trainer::{Compute, HeadChoice, Length, Run, Settings, Workers};
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
    let synthesizer =
        Synthesizer::new(Textures::procedural(3, side, 10), side).with_mix(settings.mix.mix());
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

    the_bundle_gives_the_same_maps(arch, &state.weights);
}

#[test]
fn the_published_head_learns_from_whole_batches_and_its_bundle_gives_the_same_maps() {
    let mut settings = settings().with_head(HeadChoice::Parity);
    settings.head_batch.pictures = 4;
    settings.head_rate = 1e-3;
    let encoder = FrozenEncoder::new(&reduced_vit(), &settings.arch).unwrap();
    let state = train(&settings, &encoder, 2, ITERATIONS);
    let losses: Vec<f64> = state.counters.records.head_loss.points().map(|p| p.1).collect();
    let few = |l: &[f64]| l.iter().sum::<f64>() / l.len() as f64;
    let (first, last) = (few(&losses[..5]), few(&losses[losses.len() - 5..]));
    println!("head loss {first} to {last}");
    assert!(last < 0.8 * first, "{first} to {last}");
    let kept = |part: &str| &state.weights[&format!("head.2.2.{part}")].values;
    assert!(kept("mean").iter().all(|v| *v != 0.0) && kept("var").iter().all(|v| *v != 1.0));
    let short = |threads| train(&settings, &encoder, threads, 2).weights;
    assert_eq!(short(1), short(3), "sums do not depend on the number of threads");
    the_bundle_gives_the_same_maps(&settings.arch, &state.weights);
}

#[test]
fn kept_statistics_become_those_of_the_batch() {
    let arch = settings().with_head(HeadChoice::Parity).arch;
    let mut weights = init_head(&arch, &mut stream(1, Purpose::Weights, 1, 0));
    let count = 2 * arch.tokens() * arch.channels();
    let input: Vec<f32> = (0..count).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
    let device = Device::flex().autodiff();
    let input = || tensor_from(input.clone(), [2 * arch.tokens(), arch.channels()], &device);
    let mut learnt = vec![];
    for _ in 0..120 {
        let lifted = Lifted::trainable(&weights, &device);
        let (logits, statistics) = Head::new(&lifted, &arch).learn(input());
        learnt = host_values(logits.inner());
        assert_eq!(statistics.len(), 18, "a mean and a variance of each convolution");
        weights.extend(statistics);
    }
    let kept = host_values(Head::new(&Lifted::frozen(&weights, &device), &arch).run(input()));
    let expected: Vec<f64> = learnt.iter().map(|v| f64::from(*v)).collect();
    let (difference, range) = difference_and_range(&kept, &expected);
    // The variance that is kept is the unbiased one: half a percent more in the first stage.
    assert!(difference < 0.05 * range, "{difference} of {range}");
}

/// The most memory that this process has had, in bytes.
pub(crate) fn peak_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// The size of ViT-S, alone in its process:
/// `cargo test -p crrd-train --test trainer -- --ignored --nocapture what_the_published_head_takes`
#[test]
#[ignore = "minutes, and the process must run nothing else"]
fn what_the_published_head_takes_is_what_is_told() {
    let arch = Settings::paper(arch::paper_s()).with_head(HeadChoice::Parity).arch;
    let device = Device::flex().autodiff();
    let weights = init_head(&arch, &mut stream(1, Purpose::Weights, 1, 0));
    let peak = |pictures: usize| {
        let rows = pictures * arch.tokens();
        let began = Instant::now();
        let lifted = Lifted::trainable(&weights, &device);
        let input =
            tensor_from(vec![0.5; rows * arch.channels()], [rows, arch.channels()], &device);
        let (logits, _) = Head::new(&lifted, &arch).learn(input);
        lifted.add_gradients(&mut logits.sum().backward(), &mut Weights::new());
        let (peak, seconds) = (peak_bytes(), began.elapsed().as_secs_f64());
        println!("{pictures} pictures: {peak} bytes at most, {seconds:.1} s");
        peak
    };
    let (one, two) = (peak(1), peak(2));
    let (each, told) = (two - one, head_bytes(&arch, 1));
    println!("{each} bytes for each picture, {told} told");
    assert!(each <= told && told < 2 * each);
}

fn the_bundle_gives_the_same_maps(arch: &Architecture, trained: &Weights) {
    let weights = reduced_vit();
    let encoder = FrozenEncoder::new(&weights, arch).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("model");
    let golden = [picture(arch.input, 0), picture(arch.input, 5)];
    write_bundle(&out, arch, &weights, trained, &golden, facts()).unwrap();
    assert!(out.join(WEIGHTS_FILE).is_file());
    let model = std::fs::read(out.join("model.onnx")).unwrap();
    let plan = Plan::new(&ModelProto::decode(&model[..]).unwrap(), arch.input).unwrap();
    for rgb in &golden {
        let mut features = vec![0.0; encoder.features()];
        encoder.encode(rgb, &mut features).unwrap();
        let seen = Seen { features, fine: Vec::new() };
        let (map, _) = anomaly_map(arch, trained, &seen, &Device::flex());
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

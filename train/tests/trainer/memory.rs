//! What a step takes of memory, against what is told before a run. Measured alone in a process:
//! `cargo test -p crrd-train --test trainer -- --ignored --nocapture what_a_step_takes`

use crrd_train::arch::{self, Architecture};
use crrd_train::features::{Cache, Purpose, Statistics, Variant, stream};
use crrd_train::memory::{Batches, Need};
use crrd_train::model::init_decoder;
use crrd_train::trainer::{Classes, Compute, Settings, Stage1, Stage1Batch, Workers};
use half::f16;
use rand::Rng;

use crate::paper::peak_bytes;

/// A cache of one picture: of what, the memory does not depend on.
fn cache(arch: &Architecture) -> Cache {
    let mut rng = stream(1, Purpose::Textures, 0, 0);
    let mut features =
        || (0..arch.features()).map(|_| f16::from_f32(rng.random_range(-1.0..1.0))).collect();
    let clean = vec![features()];
    let mask = vec![0; arch.input * arch.input];
    Cache { clean, variants: vec![Variant { features: features(), mask }], per_picture: 1 }
}

/// The size of ViT-S, whose decoder has 15 million values.
#[test]
#[ignore = "a minute, and the process must run nothing else"]
fn what_a_step_takes_is_what_is_told() {
    let settings = Settings::paper(arch::paper_s());
    let arch = &settings.arch;
    let cache = cache(arch);
    let weights = init_decoder(arch, &mut stream(1, Purpose::Weights, 0, 0));
    let (statistics, classes) =
        (Statistics::identity(arch.channels()), Classes::new([0].into_iter()));
    let device = Compute::Cpu.device().unwrap();
    let nothing = Need { decoded: 0, pictures: 0, variants: 1, workers: 1 };
    // From the least to the most: what is measured never falls.
    for (pairs, share, workers) in [(1, 1, 1), (6, 1, 1), (2, 2, 1), (4, 2, 2)] {
        let batch = Stage1Batch { pairs, share, ..settings.batch };
        let (cache, statistics, classes) = (&cache, &statistics, &classes);
        let pool = Workers::new(workers).unwrap();
        Stage1 { arch, cache, statistics, classes, batch, seed: 1, device: &device }
            .step(&weights, 0, 0.9, &pool);
        let batches = Batches {
            share,
            tokens: batch.tokens,
            head_pictures: settings.head_batch.pictures,
            is_on_gpu: false,
            encoder_bytes: 0,
        };
        let (peak, told) = (peak_bytes(), Need { workers, ..nothing }.bytes(arch, batches));
        println!("{pairs} pairs in shares of {share} by {workers}: {peak} bytes, {told} told");
        assert!(peak <= told && told < 3 * peak);
    }
}

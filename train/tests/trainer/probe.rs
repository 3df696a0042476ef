//! The identity-mapping probe: does the decoder repair, or does it copy?
//!
//! A decoder that copies its input shows no distance where the damage is. The table has the mean
//! distance inside and outside synthetic damage on pictures that were not trained on, with
//! repair on and off and with the element mask at three probabilities.

use burn::tensor::Device;
use crrd_train::arch::Weights;
use crrd_train::features::Cache;
use crrd_train::features::Statistics;
use crrd_train::model::{compare, segment};
use crrd_train::trainer::{Settings, Workers};
use half::f16;

use crate::toy::{ToyEncoder, finished, material, pictures, settings, train};

const ITERATIONS: usize = 120;

struct Contrast {
    inside: f64,
    outside: f64,
}

impl Contrast {
    fn ratio(&self) -> f64 {
        self.inside / self.outside
    }
}

fn standardised(raw: &[f16], weights: &Weights) -> Vec<f32> {
    let statistics = Statistics {
        mean: weights["taps.mean"].values.clone(),
        deviation: weights["taps.std"].values.clone(),
    };
    let mut out = vec![0.0; raw.len()];
    let c = statistics.mean.len();
    raw.chunks_exact(c)
        .zip(out.chunks_exact_mut(c))
        .for_each(|(r, o)| statistics.standardise(r, o));
    out
}

/// Fraction of each grid cell that is damaged.
fn coverage(mask: &[u8], input: usize, grid: usize) -> Vec<f64> {
    let cell = input / grid;
    (0..grid * grid)
        .map(|t| {
            let (y, x) = (t / grid * cell, t % grid * cell);
            let pixels = (0..cell * cell)
                .map(|p| mask[(y + p / cell) * input + x + p % cell])
                .map(f64::from);
            pixels.sum::<f64>() / (cell * cell) as f64
        })
        .collect()
}

fn held_out(settings: &Settings) -> Cache {
    let workers = Workers::new(2).unwrap();
    let encoder = ToyEncoder::new();
    let material = material(settings, pictures(10, 99), &encoder, &workers);
    Cache::fill(&material, 2, 0, &workers, &|_| true).unwrap().unwrap()
}

fn contrast(settings: &Settings, weights: &Weights) -> Contrast {
    let arch = &settings.arch;
    let (mut inside, mut outside) = ((0.0, 0.0), (0.0, 0.0));
    for variant in &held_out(settings).variants {
        let features = standardised(&variant.features, weights);
        let compared = compare(arch, weights, &features, &Device::flex()).pop().unwrap();
        let cover = coverage(&variant.mask, arch.input, arch.grid);
        for (a, c) in compared.distance.iter().zip(cover) {
            let a = f64::from(*a);
            if c > 0.5 {
                inside = (inside.0 + a, inside.1 + 1.0);
            } else if c == 0.0 {
                outside = (outside.0 + a, outside.1 + 1.0);
            }
        }
    }
    Contrast { inside: inside.0 / inside.1, outside: outside.0 / outside.1 }
}

#[test]
fn repair_and_masking_keep_the_decoder_from_copying_damage() {
    let mut table = Vec::new();
    println!("repair  mask  inside  outside  ratio");
    for repair in [true, false] {
        for mask in [0.0, 0.2, 0.4] {
            let mut settings = settings();
            settings.batch.repair = repair;
            settings.arch.mask_probability = mask;
            settings.head_share = 0.0;
            let state = finished(train(&settings, ITERATIONS, 2, None, &|| false));
            let c = contrast(&settings, &state.weights);
            println!("{repair:6} {mask:5} {:7.4} {:8.4} {:6.2}", c.inside, c.outside, c.ratio());
            table.push(c.ratio());
        }
    }
    for (i, mask) in [0.0, 0.2, 0.4].iter().enumerate() {
        assert!(table[i] > table[3 + i], "repair does not help with mask {mask}: {table:?}");
        assert!(table[i] > 1.5, "with repair the damage must stand out: {table:?}");
    }
}

#[test]
fn the_head_says_damage_where_the_damage_is() {
    let mut settings = settings();
    settings.head_share = 3.0;
    settings.head_rate = 4e-3;
    let state = finished(train(&settings, ITERATIONS, 2, None, &|| false));
    let arch = &settings.arch;
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    for variant in &held_out(&settings).variants {
        let features = standardised(&variant.features, &state.weights);
        let compared = compare(arch, &state.weights, &features, &Device::flex()).pop().unwrap();
        let map = segment(arch, &state.weights, compared.products, &Device::flex()).concat();
        for (p, c) in map.iter().zip(coverage(&variant.mask, arch.input, 2 * arch.grid)) {
            if c > 0.5 { &mut inside } else { &mut outside }.push(f64::from(*p));
        }
    }
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let (inside, outside) = (mean(&inside), mean(&outside));
    println!("mean probability inside {inside:.3}, outside {outside:.3}");
    // A head that learned nothing answers the same everywhere: a ratio of 1.
    assert!(inside > 1.6 * outside, "inside {inside}, outside {outside}");
}

//! The identity-mapping probe: does the decoder repair, or does it copy?
//!
//! A decoder that copies its input shows no distance where the damage is. The table has the mean
//! distance inside and outside synthetic damage on pictures that were not trained on, with
//! repair on and off and with the element mask at three probabilities.

use burn::tensor::Device;
use crrd_train::arch::Weights;
use crrd_train::features::{Cache, Purpose, Seen, Statistics, stream};
use crrd_train::model::{
    Decoder, Lifted, compare, host_values, nearest, segment, surroundings, tensor_from,
};
use crrd_train::trainer::{Settings, Workers, mask_elements};
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
    statistics.standardised(raw)
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

#[test]
fn good_parts_sound_alike_to_groups_and_memories_and_damage_is_strange_to_the_memories() {
    let settings = settings();
    let state = finished(train(&settings, ITERATIONS, 2, None, &|| false));
    let (arch, weights, device) = (&settings.arch, &state.weights, Device::flex());
    let statistics = Statistics {
        mean: weights["taps.mean"].values.clone(),
        deviation: weights["taps.std"].values.clone(),
    };
    let (workers, encoder) = (Workers::new(2).unwrap(), ToyEncoder::new());
    let held_out = material(&settings, pictures(10, 99), &encoder, &workers);
    let seen = |rgb: &[u8]| Seen::new(arch, &encoder, &statistics, rgb).unwrap();
    let strangeness = |i: usize, seen: &Seen| {
        let level = weights[&format!("memory.{i}.level")].values[0];
        let all = nearest(weights, i, surroundings(arch, i, seen), &device);
        all.into_iter().map(|p| f64::from(p * level)).collect::<Vec<f64>>()
    };
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let mut groups = vec![vec![]; arch.groups.len()];
    let mut memories = vec![vec![]; arch.memories.len()];
    for picture in &held_out.pictures {
        let seen = seen(&picture.rgb);
        let compared = compare(arch, weights, &seen.features, &device).pop().unwrap();
        let shares = &weights["distance.share"].values;
        for ((all, own), share) in groups.iter_mut().zip(compared.group_means).zip(shares) {
            all.push(f64::from(own * share));
        }
        memories.iter_mut().enumerate().for_each(|(i, all)| all.extend(strangeness(i, &seen)));
    }
    let decoder: f64 = groups.iter().map(|g| mean(g)).sum();
    let loudness = mean(&groups[0]) / mean(&groups[1]);
    println!("groups {loudness:.2}");
    // Not the pictures they were measured on, so not exactly 1.
    assert!((0.7..1.4).contains(&loudness), "{loudness}");
    for (i, memory) in arch.memories.iter().enumerate() {
        let (mut inside, mut outside) = (Vec::new(), Vec::new());
        for picture in 0..held_out.pictures.len() {
            let damaged = held_out.damaged(picture, 0);
            let cover = coverage(&damaged.mask, arch.input, arch.memory_grid(memory));
            for (p, c) in strangeness(i, &seen(&damaged.rgb)).into_iter().zip(cover) {
                if c > 0.5 { &mut inside } else { &mut outside }.push(p);
            }
        }
        let (inside, outside) = (mean(&inside), mean(&outside));
        let loudness = mean(&memories[i]) / decoder;
        println!("memory {i}: {loudness:.2}, inside {inside:.3}, outside {outside:.3}");
        assert!((0.6..1.6).contains(&loudness), "memory {i}: {loudness}");
        assert!(inside > 1.2 * outside, "memory {i}: inside {inside}, outside {outside}");
    }
}

/// Distances of one pass with the mask on, as the published inference has it.
fn masked_pass(settings: &Settings, weights: &Weights, features: &[f32], pass: u64) -> Vec<f64> {
    let (arch, device) = (&settings.arch, Device::flex());
    let mut input = features.to_vec();
    let mut rng = stream(7, Purpose::Validation, 0, pass);
    mask_elements(&mut input, arch.mask_probability, &mut rng);
    let input = tensor_from(input, [arch.tokens(), arch.channels()], &device);
    let lifted = Lifted::frozen(weights, &device);
    let decoded = Decoder::new(&lifted, arch).run(input, 1, None).groups;
    let shares = &weights["distance.share"].values;
    let mut distance = vec![0.0; arch.tokens()];
    for (g, decoded) in decoded.into_iter().map(host_values).enumerate() {
        let range = arch.group_channels(g);
        let rows = features.chunks_exact(arch.channels()).zip(decoded.chunks_exact(range.len()));
        for (out, (e, d)) in distance.iter_mut().zip(rows) {
            let dot = |a: &[f32], b: &[f32]| {
                a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
            };
            let e = &e[range.clone()];
            *out += f64::from(shares[g]) * (1.0 - dot(e, d) / (dot(e, e) * dot(d, d)).sqrt());
        }
    }
    distance
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let (ma, mb) = (mean(a), mean(b));
    let product = |f: &dyn Fn(usize) -> f64| (0..a.len()).map(f).sum::<f64>();
    let (da, db) = (|i: usize| a[i] - ma, |i: usize| b[i] - mb);
    product(&|i| da(i) * db(i)) / (product(&|i| da(i) * da(i)) * product(&|i| db(i) * db(i))).sqrt()
}

#[test]
fn one_pass_with_the_mask_folded_says_what_many_passes_with_the_mask_say_on_average() {
    const PASSES: u64 = 32;
    let mut settings = settings();
    settings.head_share = 0.0;
    let state = finished(train(&settings, ITERATIONS, 2, None, &|| false));
    let (mut folded, mut average, mut single) = (Vec::new(), Vec::new(), Vec::new());
    for variant in &held_out(&settings).variants {
        let features = standardised(&variant.features, &state.weights);
        let compared = compare(&settings.arch, &state.weights, &features, &Device::flex());
        folded.extend(compared[0].distance.iter().map(|a| f64::from(*a)));
        let passes: Vec<Vec<f64>> = (0..PASSES)
            .map(|pass| masked_pass(&settings, &state.weights, &features, pass))
            .collect();
        let mean = |t: usize| passes.iter().map(|p| p[t]).sum::<f64>() / PASSES as f64;
        average.extend((0..settings.arch.tokens()).map(mean));
        single.extend_from_slice(&passes[0]);
    }
    let (of_folded, of_single) = (correlation(&folded, &average), correlation(&single, &average));
    println!("correlation with {PASSES} passes: folded {of_folded:.4}, one pass {of_single:.4}");
    assert!(of_folded > 0.95, "{of_folded}");
    assert!(of_folded > of_single, "folding must beat a single random pass");
}

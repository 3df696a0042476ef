//! Which positions hard mining weighs against each other.

use burn::tensor::{Device, Tensor};
use crrd_train::arch::Weights;
use crrd_train::features::{Cache, Purpose, Statistics, stream};
use crrd_train::loss::{EASY_GRADIENT, Rows, cosine};
use crrd_train::model::{Decoder, Lifted, host_values, init_decoder, tensor_from};
use crrd_train::trainer::{
    Classes, Compute, Mining, Settings, Stage1, Stage1Batch, Workers, draw_pairs,
};

use crate::toy::{ToyEncoder, material, pictures, settings};

const SEED: u64 = 5;
const ITERATION: u64 = 3;
const EASY: f64 = 0.6;
const PAIRS: usize = 4;

/// What a step on a fresh decoder reads.
struct World {
    settings: Settings,
    cache: Cache,
    statistics: Statistics,
    classes: Classes,
    weights: Weights,
    device: Device,
}

impl World {
    fn new() -> Self {
        let settings = settings();
        let (encoder, workers) = (ToyEncoder::new(), Workers::new(2).unwrap());
        let material = material(&settings, pictures(12, 1), &encoder, &workers);
        let cache = Cache::fill(&material, 2, 0, &workers, &|_| true).unwrap().unwrap();
        Self {
            statistics: Statistics::of(&cache.clean, settings.arch.channels()),
            classes: Classes::new(material.pictures.iter().map(|p| p.class)),
            weights: init_decoder(&settings.arch, &mut stream(SEED, Purpose::Weights, 0, 0)),
            device: Compute::Cpu.device().unwrap(),
            settings,
            cache,
        }
    }

    fn gradients(&self, mining: Mining, share: usize, threads: usize) -> Weights {
        let arch = &self.settings.arch;
        let tokens = arch.tokens();
        let stage = Stage1 {
            arch,
            cache: &self.cache,
            statistics: &self.statistics,
            classes: &self.classes,
            batch: Stage1Batch { pairs: PAIRS, share, tokens, repair: true, mining },
            seed: SEED,
            device: &self.device,
        };
        stage.step(&self.weights, ITERATION, EASY, &Workers::new(threads).unwrap()).1
    }

    /// The gradient of a batch in shares of one pair, written down plainly: all outputs first,
    /// then the quantile over the batch, then the weight of each position.
    fn by_hand(&self) -> Weights {
        let arch = &self.settings.arch;
        let lifted = Lifted::trainable(&self.weights, &self.device);
        let decoder = Decoder::new(&lifted, arch);
        let mut outputs: Vec<(usize, Tensor<2>, Vec<f32>)> = Vec::new();
        for share in 0..PAIRS as u64 {
            let mut rng = stream(SEED, Purpose::Decoder, ITERATION, share);
            let shape = (1, arch.tokens());
            let drawn =
                draw_pairs(arch, &self.cache, &self.statistics, &self.classes, shape, &mut rng);
            let rows = 2 * arch.tokens();
            let input = tensor_from(drawn.input, [rows, arch.channels()], &self.device);
            for (g, output) in decoder.run(input, 2, None).groups.into_iter().enumerate() {
                for side in 0..2 {
                    let half = output.clone().narrow(0, side * arch.tokens(), arch.tokens());
                    outputs.push((2 * g + side, half, drawn.targets[g].clone()));
                }
            }
        }
        let mut loss: Tensor<1> = tensor_from(vec![0.0], [1], &self.device);
        for part in 0..2 * arch.groups.len() {
            let of_part: Vec<_> = outputs.iter().filter(|(p, ..)| *p == part).collect();
            let distances: Vec<Vec<f64>> = of_part
                .iter()
                .map(|(_, output, target)| {
                    let [_, channels] = output.dims();
                    rows_apart(&host_values(output.clone().inner()), target, channels)
                })
                .collect();
            let mut sorted = distances.concat();
            sorted.sort_by(f64::total_cmp);
            let limit = sorted[(sorted.len() as f64 * EASY) as usize];
            for ((_, output, target), distances) in of_part.into_iter().zip(distances) {
                let [tokens, channels] = output.dims();
                let rows = Rows { sequences: 1, tokens, channels };
                let values = host_values(output.clone().inner());
                let mut gradient = cosine(target, &values, rows, 0.0).gradient;
                for (row, distance) in gradient.chunks_exact_mut(channels).zip(distances) {
                    let weight = if distance < limit { EASY_GRADIENT } else { 1.0 };
                    row.iter_mut().for_each(|g| *g *= weight);
                }
                let gradient = tensor_from(gradient, [tokens, channels], &self.device);
                loss = loss + (output.clone() * gradient).sum();
            }
        }
        let share = 1.0 / (PAIRS * arch.groups.len()) as f64;
        let mut gradients = Weights::new();
        lifted.add_gradients(&mut (loss * share).backward(), &mut gradients);
        gradients
    }
}

fn rows_apart(outputs: &[f32], targets: &[f32], channels: usize) -> Vec<f64> {
    let rows = outputs.chunks_exact(channels).zip(targets.chunks_exact(channels));
    rows.map(|(a, b)| {
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
        };
        1.0 - dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    })
    .collect()
}

/// Norm of the difference over that of `expected`.
fn apart(found: &Weights, expected: &Weights) -> f64 {
    assert!(found.keys().eq(expected.keys()));
    let (mut difference, mut norm) = (0.0, 0.0);
    for (name, tensor) in expected {
        for (a, b) in found[name].values.iter().zip(&tensor.values) {
            difference += f64::from(a - b).powi(2);
            norm += f64::from(*b).powi(2);
        }
    }
    (difference / norm).sqrt()
}

#[test]
fn the_quantile_of_a_batch_in_shares_is_that_of_the_whole_batch() {
    let world = World::new();
    let expected = world.by_hand();
    let batch = apart(&world.gradients(Mining::Batch, 1, 2), &expected);
    let share = apart(&world.gradients(Mining::Share, 1, 2), &expected);
    println!("from the gradient by hand: {batch:.2e} by batch, {share:.2e} by share");
    // The position at the limit may fall on either side by its rounding, which moves the gradient by
    // 2e-3: nine tenths of one position among 1024, of which four tenths count in full.
    assert!(batch < 5e-3, "{batch}");
    assert!(share > 10.0 * batch, "a quantile of each share would go unnoticed: {share}");
}

#[test]
fn shares_and_threads_change_nothing_that_they_must_not() {
    let world = World::new();
    let one = |mining| world.gradients(mining, PAIRS, 2);
    assert_eq!(one(Mining::Batch), one(Mining::Share), "one share is the whole batch");
    let threads = |n| world.gradients(Mining::Batch, 1, n);
    assert_eq!(threads(1), threads(3));
}

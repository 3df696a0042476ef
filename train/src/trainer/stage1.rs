//! Stage 1: the decoder learns to reproduce clean features and to repair damaged ones.

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::batch::{Classes, Pairs, draw_pairs};
use super::workers::Workers;
use crate::arch::{Architecture, Weights};
use crate::features::{Cache, Purpose, Statistics, stream};
use crate::loss::{Rows, cosine, cosine_below, distances, easy_limit};
use crate::model::{Decoder, Lifted, Placed, host_values, tensor_from};

/// Parts of the loss, for the progress line and for ablations.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stage1Loss {
    /// Reconstruction of clean pictures.
    pub clean: f64,
    /// Repair of damaged pictures.
    pub repair: f64,
}

impl Stage1Loss {
    /// The number that is minimised.
    pub fn total(&self) -> f64 {
        self.clean + self.repair
    }
}

/// Which positions are weighed against each other to tell easy from hard ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mining {
    /// Those of a share of the batch: costs nothing.
    Share,
    /// Those of the whole batch, as published. Where a batch has several shares, their distances
    /// are taken first, in a forward pass of their own.
    Batch,
}

/// How a stage 1 batch is made up.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Stage1Batch {
    /// Pairs of a clean and a damaged picture in one batch; a multiple of `share`.
    pub pairs: usize,
    /// Pairs that one worker takes at a time.
    pub share: usize,
    /// Grid positions drawn of each picture. Neighbouring positions say much the same, so a
    /// quarter of them gives nearly the gradient of all at a quarter of the cost.
    pub tokens: usize,
    /// Whether damaged pictures are repaired; off only to measure what repair brings.
    pub repair: bool,
    /// What hard mining goes by.
    pub mining: Mining,
}

/// What stage 1 reads.
pub struct Stage1<'a> {
    /// Shape of the model.
    pub arch: &'a Architecture,
    /// Features.
    pub cache: &'a Cache,
    /// Channel statistics.
    pub statistics: &'a Statistics,
    /// Pictures by class.
    pub classes: &'a Classes,
    /// Make-up of a batch.
    pub batch: Stage1Batch,
    /// Seeds the batches.
    pub seed: u64,
    /// A burn device with autodiff.
    pub device: &'a Device,
}

/// The distances below which positions of clean and of damaged pictures are easy, by group.
type Limits = Vec<[f64; 2]>;

/// One worker's job in a step.
enum Job<T> {
    Aside(T),
    Share(Stage1Loss, Weights),
}

impl Stage1<'_> {
    /// Loss and gradient of batch number `iteration`, averaged over its pairs.
    pub fn step(
        &self,
        weights: &Weights,
        iteration: u64,
        easy_share: f64,
        workers: &Workers,
    ) -> (Stage1Loss, Weights) {
        let (loss, gradients, ()) = self.step_with(weights, iteration, easy_share, workers, &|| ());
        (loss, gradients)
    }

    /// The same with `aside` run beside it, as one more job of the workers.
    pub fn step_with<T: Send>(
        &self,
        weights: &Weights,
        iteration: u64,
        easy_share: f64,
        workers: &Workers,
        aside: &(dyn Fn() -> T + Sync),
    ) -> (Stage1Loss, Weights, T) {
        let shares = self.batch.pairs.div_ceil(self.batch.share).max(1);
        let weights = &Placed::new(weights, self.device);
        let limits = match self.batch.mining {
            Mining::Batch if shares > 1 && easy_share > 0.0 => {
                Some(self.limits(weights, iteration, shares, easy_share, workers))
            }
            Mining::Batch | Mining::Share => None,
        };
        let mining = (easy_share, limits.as_ref());
        let work = |job: usize| match job.checked_sub(1) {
            None => Job::Aside(aside()),
            Some(share) => {
                let (loss, gradient) = self.share(weights, iteration, share, mining);
                Job::Share(loss, gradient)
            }
        };
        let mut loss = Stage1Loss::default();
        let mut gradients = Weights::new();
        let mut result = None;
        workers.fold(shares + 1, work, |job| match job {
            Job::Aside(value) => result = Some(value),
            Job::Share(part, gradient) => {
                loss.clean += part.clean / shares as f64;
                loss.repair += part.repair / shares as f64;
                super::add_scaled(&mut gradients, gradient, 1.0 / shares as f32);
            }
        });
        let Some(result) = result else { panic!("job 0 always runs") };
        (loss, gradients, result)
    }

    fn share(
        &self,
        weights: &Placed<'_>,
        iteration: u64,
        share: usize,
        mining: (f64, Option<&Limits>),
    ) -> (Stage1Loss, Weights) {
        let drawn = self.draw(iteration, share);
        let lifted = Lifted::trainable_at(weights);
        let outputs = self.forward(&lifted, &drawn);
        let (loss, surrogate) = self.grade(&drawn, outputs, mining);
        let mut gradients = Weights::new();
        lifted.add_gradients(&mut surrogate.backward(), &mut gradients);
        (loss, gradients)
    }

    fn draw(&self, iteration: u64, share: usize) -> Pairs {
        let mut rng = stream(self.seed, Purpose::Decoder, iteration, share as u64);
        let shape = (self.batch.share, self.batch.tokens);
        draw_pairs(self.arch, self.cache, self.statistics, self.classes, shape, &mut rng)
    }

    /// The limits that all shares of the batch have in common. A share draws the same pictures,
    /// masks and dropout again when it learns.
    fn limits(
        &self,
        weights: &Placed<'_>,
        iteration: u64,
        shares: usize,
        easy_share: f64,
        workers: &Workers,
    ) -> Limits {
        let parts = workers.map(shares, |share| {
            let drawn = self.draw(iteration, share);
            let outputs = self.forward(&Lifted::frozen_at(weights), &drawn);
            let group = |(output, target): (Tensor<2>, &Vec<f32>)| {
                let [_, channels] = output.dims();
                let values = host_values(output);
                let (clean, damaged) = values.split_at(values.len() / 2);
                [clean, damaged].map(|side| distances(target, side, channels))
            };
            outputs.into_iter().zip(&drawn.targets).map(group).collect::<Vec<_>>()
        });
        let limit = |group: usize, side: usize| {
            let of_share = parts.iter().flat_map(|part| part[group][side].iter().copied());
            easy_limit(of_share.collect(), easy_share)
        };
        (0..self.arch.groups.len()).map(|g| [limit(g, 0), limit(g, 1)]).collect()
    }

    fn forward(&self, lifted: &Lifted<'_>, drawn: &Pairs) -> Vec<Tensor<2>> {
        let sequences = 2 * drawn.pairs;
        let rows = sequences * (self.arch.extra_tokens() + drawn.tokens.len());
        let tensor = |values: &Vec<f32>| {
            tensor_from(values.clone(), [rows, values.len() / rows], lifted.device())
        };
        let input = tensor(&drawn.input);
        let decoder = Decoder::new(lifted, self.arch);
        if let Some([hidden, output]) = &drawn.dropout {
            return decoder.run_dropped(input, sequences, [tensor(hidden), tensor(output)]).groups;
        }
        let tokens = (drawn.tokens.len() < self.arch.tokens()).then(|| {
            let indices: Vec<i64> = drawn.tokens.iter().map(|&t| t as i64).collect();
            let indices = TensorData::new(indices, [drawn.tokens.len()]);
            Tensor::<1, Int>::from_data(indices, lifted.device())
        });
        decoder.run(input, sequences, tokens).groups
    }

    /// The loss, and a scalar whose backward pass is the loss's gradient.
    fn grade(
        &self,
        drawn: &Pairs,
        outputs: Vec<Tensor<2>>,
        (easy_share, limits): (f64, Option<&Limits>),
    ) -> (Stage1Loss, Tensor<1>) {
        let groups = outputs.len() as f64;
        let mut loss = Stage1Loss::default();
        let mut surrogate: Option<Tensor<1>> = None;
        for (g, (output, target)) in outputs.into_iter().zip(&drawn.targets).enumerate() {
            let [total, channels] = output.dims();
            let rows = Rows { sequences: drawn.pairs, tokens: drawn.tokens.len(), channels };
            let values = host_values(output.clone().inner());
            let (clean, damaged) = values.split_at(values.len() / 2);
            let graded = |values: &[f32], side: usize| match limits {
                Some(limits) => cosine_below(target, values, rows, limits[g][side]),
                None => cosine(target, values, rows, easy_share),
            };
            let (clean, mut repair) = (graded(clean, 0), graded(damaged, 1));
            if !self.batch.repair {
                repair.gradient.fill(0.0);
            }
            loss.clean += clean.loss / groups;
            loss.repair += repair.loss / groups;
            let mut gradient = clean.gradient;
            gradient.extend_from_slice(&repair.gradient);
            gradient.iter_mut().for_each(|g| *g /= groups as f32);
            let gradient = tensor_from(gradient, [total, channels], self.device);
            let part = (output * gradient).sum();
            surrogate = Some(match surrogate {
                Some(sum) => sum + part,
                None => part,
            });
        }
        let Some(surrogate) = surrogate else { panic!("an architecture has at least one group") };
        (loss, surrogate)
    }
}

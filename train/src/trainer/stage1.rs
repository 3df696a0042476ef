//! Stage 1: the decoder learns to reproduce clean features and to repair damaged ones.

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::batch::{Classes, Pairs, draw_pairs};
use super::workers::Workers;
use crate::arch::{Architecture, Weights};
use crate::features::{Cache, Purpose, Statistics, stream};
use crate::loss::{Rows, cosine};
use crate::model::{Decoder, Lifted, host_values, tensor_from};

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
        let parts = workers.map(shares + 1, |job| match job.checked_sub(1) {
            None => Job::Aside(aside()),
            Some(share) => {
                let (loss, gradient) = self.share(weights, iteration, share, easy_share);
                Job::Share(loss, gradient)
            }
        });
        let mut loss = Stage1Loss::default();
        let mut gradients = Weights::new();
        let mut result = None;
        for part in parts {
            let (part, gradient) = match part {
                Job::Aside(value) => {
                    result = Some(value);
                    continue;
                }
                Job::Share(loss, gradient) => (loss, gradient),
            };
            loss.clean += part.clean / shares as f64;
            loss.repair += part.repair / shares as f64;
            super::add_scaled(&mut gradients, gradient, 1.0 / shares as f32);
        }
        let Some(result) = result else { panic!("job 0 always runs") };
        (loss, gradients, result)
    }

    fn share(
        &self,
        weights: &Weights,
        iteration: u64,
        share: usize,
        easy_share: f64,
    ) -> (Stage1Loss, Weights) {
        let mut rng = stream(self.seed, Purpose::Decoder, iteration, share as u64);
        let shape = (self.batch.share, self.batch.tokens);
        let drawn =
            draw_pairs(self.arch, self.cache, self.statistics, self.classes, shape, &mut rng);
        let lifted = Lifted::trainable(weights, self.device);
        let outputs = self.forward(&lifted, &drawn);
        let (loss, surrogate) = self.grade(&drawn, outputs, easy_share);
        let mut gradients = Weights::new();
        lifted.add_gradients(&mut surrogate.backward(), &mut gradients);
        (loss, gradients)
    }

    fn forward(&self, lifted: &Lifted<'_>, drawn: &Pairs) -> Vec<Tensor<2>> {
        let sequences = 2 * drawn.pairs;
        let rows = sequences * (self.arch.extra_tokens() + drawn.tokens.len());
        let tensor = |values: &Vec<f32>| {
            tensor_from(values.clone(), [rows, values.len() / rows], self.device)
        };
        let input = tensor(&drawn.input);
        let decoder = Decoder::new(lifted, self.arch);
        if let Some([hidden, output]) = &drawn.dropout {
            return decoder.run_dropped(input, sequences, [tensor(hidden), tensor(output)]).groups;
        }
        let tokens = (drawn.tokens.len() < self.arch.tokens()).then(|| {
            let indices: Vec<i64> = drawn.tokens.iter().map(|&t| t as i64).collect();
            Tensor::<1, Int>::from_data(TensorData::new(indices, [drawn.tokens.len()]), self.device)
        });
        decoder.run(input, sequences, tokens).groups
    }

    /// The loss, and a scalar whose backward pass is the loss's gradient.
    fn grade(
        &self,
        drawn: &Pairs,
        outputs: Vec<Tensor<2>>,
        easy_share: f64,
    ) -> (Stage1Loss, Tensor<1>) {
        let groups = outputs.len() as f64;
        let mut loss = Stage1Loss::default();
        let mut surrogate: Option<Tensor<1>> = None;
        for (output, target) in outputs.into_iter().zip(&drawn.targets) {
            let [total, channels] = output.dims();
            let rows = Rows { sequences: drawn.pairs, tokens: drawn.tokens.len(), channels };
            let values = host_values(output.clone().inner());
            let (clean, damaged) = values.split_at(values.len() / 2);
            let clean = cosine(target, clean, rows, easy_share);
            let mut repair = cosine(target, damaged, rows, easy_share);
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

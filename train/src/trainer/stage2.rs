//! Stage 2: with the decoder frozen, the segmentation head learns where the damage was.

use std::borrow::Cow;

use burn::tensor::Device;
use rand::Rng;

use super::batch::Classes;
use super::workers::Workers;
use crate::arch::{Architecture, HeadShape, Weights};
use crate::features::{Cache, Purpose, Statistics, stream};
use crate::loss::{Graded, focal};
use crate::model::{Head, Lifted, compare, host_values, resample, tensor_from};
use crate::resample::{Axis, upsampling};

/// Share of undamaged pictures with empty masks in a batch: they hold down false alarms.
pub const CLEAN_SHARE: f64 = 0.35;

/// What stage 2 reads.
pub struct Stage2<'a> {
    /// Shape of the model.
    pub arch: &'a Architecture,
    /// Features.
    pub cache: &'a Cache,
    /// Channel statistics.
    pub statistics: &'a Statistics,
    /// Pictures by class.
    pub classes: &'a Classes,
    /// Pictures in a batch; each worker takes one at a time, but for the parity head.
    pub pictures: usize,
    /// Seeds the batches.
    pub seed: u64,
    /// A burn device with autodiff.
    pub device: &'a Device,
    up: Axis,
    down: Axis,
}

/// What one batch says.
#[derive(Clone, Debug, Default)]
pub struct HeadStep {
    /// Mean over the batch.
    pub loss: f64,
    /// Gradient of the head's weights.
    pub gradients: Weights,
    /// Statistics of batch normalisation after this batch, by weight name; none in the slim head.
    pub statistics: Weights,
}

/// A picture of a batch.
struct Sample<'a> {
    products: Vec<f32>,
    mask: Cow<'a, [u8]>,
}

impl<'a> Stage2<'a> {
    /// Prepares the resampling between head and mask.
    pub fn new(
        arch: &'a Architecture,
        cache: &'a Cache,
        statistics: &'a Statistics,
        classes: &'a Classes,
        (pictures, seed): (usize, u64),
        device: &'a Device,
    ) -> Self {
        let up = upsampling(arch.segmentation_side(), arch.input);
        let transposed = |a: &Axis| Axis {
            rows: a.columns,
            columns: a.rows,
            values: (0..a.columns)
                .flat_map(|c| (0..a.rows).map(move |r| (r, c)))
                .map(|(r, c)| a.values[r * a.columns + c])
                .collect(),
        };
        let down = transposed(&up);
        Self { arch, cache, statistics, classes, pictures, seed, device, up, down }
    }

    /// Loss, gradient and statistics of the head for batch number `iteration`.
    pub fn step(&self, weights: &Weights, iteration: u64, workers: &Workers) -> HeadStep {
        let parts = match self.arch.head {
            HeadShape::Slim(_) => workers
                .map(self.pictures, |i| self.learn(weights, &[self.sample(weights, iteration, i)])),
            // Batch normalisation needs the batch as a whole; on one worker, so that sums do not
            // depend on how many there are.
            HeadShape::Parity => {
                let samples = workers.map(self.pictures, |i| self.sample(weights, iteration, i));
                workers.map(1, |_| self.learn(weights, &samples))
            }
        };
        let mut whole = HeadStep::default();
        for part in parts {
            whole.loss += part.loss;
            super::add_scaled(&mut whole.gradients, part.gradients, 1.0);
            whole.statistics.extend(part.statistics);
        }
        whole
    }

    fn sample(&self, weights: &Weights, iteration: u64, i: usize) -> Sample<'_> {
        let mut rng = stream(self.seed, Purpose::Head, iteration, i as u64);
        let picture = self.classes.pick(&mut rng);
        let variant = &self.cache.variants
            [picture * self.cache.per_picture + rng.random_range(0..self.cache.per_picture)];
        let (raw, mask) = match rng.random_bool(CLEAN_SHARE) {
            true => (&self.cache.clean[picture], Cow::Owned(vec![0u8; variant.mask.len()])),
            false => (&variant.features, Cow::Borrowed(&variant.mask[..])),
        };
        let features = self.statistics.standardised(raw);
        let products =
            match compare(self.arch, weights, &features, &self.device.clone().inner()).pop() {
                Some(compared) => compared.products,
                None => panic!("one picture gives one comparison"),
            };
        Sample { products, mask }
    }

    /// The share of `samples` in the batch.
    fn learn(&self, weights: &Weights, samples: &[Sample<'_>]) -> HeadStep {
        let lifted = Lifted::trainable(weights, self.device);
        let products: Vec<f32> = samples.iter().flat_map(|s| s.products.iter().copied()).collect();
        let rows = samples.len() * self.arch.tokens();
        let input = tensor_from(products, [rows, self.arch.channels()], self.device);
        let (logits, statistics) = Head::new(&lifted, self.arch).learn(input);
        let shape = logits.dims();
        let values = host_values(logits.clone().inner());
        let share = 1.0 / self.pictures as f64;
        let mut step = HeadStep { statistics, ..HeadStep::default() };
        let mut gradient = Vec::with_capacity(values.len());
        for (logits, sample) in values.chunks_exact(values.len() / samples.len()).zip(samples) {
            let graded = self.grade(logits, &sample.mask);
            step.loss += graded.loss * share;
            gradient.extend(graded.gradient.iter().map(|g| g * share as f32));
        }
        let surrogate = (logits * tensor_from(gradient, shape, self.device)).sum();
        lifted.add_gradients(&mut surrogate.backward(), &mut step.gradients);
        step
    }

    /// Focal loss of the upsampled probabilities, and its gradient with respect to the logits.
    fn grade(&self, logits: &[f32], mask: &[u8]) -> Graded {
        let probabilities: Vec<f32> = logits.iter().map(|&z| 1.0 / (1.0 + (-z).exp())).collect();
        let fine = focal(&resample(&probabilities, &self.up), mask);
        let mut gradient = resample(&fine.gradient, &self.down);
        for (g, p) in gradient.iter_mut().zip(&probabilities) {
            *g *= p * (1.0 - p);
        }
        Graded { loss: fine.loss, gradient }
    }
}

//! Stage 2: with the decoder frozen, the segmentation head learns where the damage was.

use burn::tensor::Device;
use rand::Rng;

use super::batch::Classes;
use super::workers::Workers;
use crate::arch::{Architecture, Weights};
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
    /// Pictures in a batch; each worker takes one at a time.
    pub pictures: usize,
    /// Seeds the batches.
    pub seed: u64,
    /// A burn device with autodiff.
    pub device: &'a Device,
    up: Axis,
    down: Axis,
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
        let up = upsampling(2 * arch.grid, arch.input);
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

    /// Loss and gradient of the head's weights for batch number `iteration`.
    pub fn step(&self, weights: &Weights, iteration: u64, workers: &Workers) -> (f64, Weights) {
        let parts = workers.map(self.pictures, |i| self.picture(weights, iteration, i));
        let share = 1.0 / self.pictures as f64;
        let mut gradients = Weights::new();
        let mut loss = 0.0;
        for (part, gradient) in parts {
            loss += part * share;
            super::add_scaled(&mut gradients, gradient, share as f32);
        }
        (loss, gradients)
    }

    fn picture(&self, weights: &Weights, iteration: u64, i: usize) -> (f64, Weights) {
        let mut rng = stream(self.seed, Purpose::Head, iteration, i as u64);
        let picture = self.classes.pick(&mut rng);
        let variant = &self.cache.variants
            [picture * self.cache.per_picture + rng.random_range(0..self.cache.per_picture)];
        let empty;
        let (raw, mask) = if rng.random_bool(CLEAN_SHARE) {
            empty = vec![0u8; variant.mask.len()];
            (&self.cache.clean[picture], &empty)
        } else {
            (&variant.features, &variant.mask)
        };
        let features = self.statistics.standardised(raw);
        let products =
            match compare(self.arch, weights, &features, &self.device.clone().inner()).pop() {
                Some(compared) => compared.products,
                None => panic!("one picture gives one comparison"),
            };
        self.learn(weights, products, mask)
    }

    fn learn(&self, weights: &Weights, products: Vec<f32>, mask: &[u8]) -> (f64, Weights) {
        let lifted = Lifted::trainable(weights, self.device);
        let input = tensor_from(products, [self.arch.tokens(), self.arch.channels()], self.device);
        let logits = Head::new(&lifted, self.arch.grid).run(input);
        let shape = logits.dims();
        let graded = self.grade(&host_values(logits.clone().inner()), mask);
        let gradient = tensor_from(graded.gradient, shape, self.device);
        let surrogate = (logits * gradient).sum();
        let mut gradients = Weights::new();
        lifted.add_gradients(&mut surrogate.backward(), &mut gradients);
        (graded.loss, gradients)
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

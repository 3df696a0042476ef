//! Stage 2: with the decoder frozen, the segmentation head learns where the damage was.

use std::borrow::Cow;

use burn::tensor::Device;
use rand::Rng;

use super::batch::Classes;
use super::workers::Workers;
use crate::arch::{Architecture, HeadShape, Weights};
use crate::features::{Cache, Purpose, Statistics, stream};
use crate::loss::{Graded, focal};
use crate::model::{Head, Lifted, Placed, compare_with, host_values, resample, tensor_from};
use crate::resample::{Axis, upsampling};

/// Share of undamaged pictures with empty masks in a batch: they hold down false alarms. None in the
/// published scheme.
pub const CLEAN_SHARE: f64 = 0.35;
/// Damaged share of a pixel of the map from which on it counts as damaged.
const DAMAGED_FROM: f32 = 0.5;

/// The size at which probabilities and mask are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JudgedAt {
    /// That of the model's input, at which the mask is drawn.
    Input,
    /// That of the map, as published.
    Map,
}

/// How a stage 2 batch is made up.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Stage2Batch {
    /// Pictures; each worker takes one at a time, but for the parity head.
    pub pictures: usize,
    /// Share of undamaged ones.
    pub clean_share: f64,
    /// Where the loss is taken.
    pub judged_at: JudgedAt,
}

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
    /// Make-up of a batch.
    pub batch: Stage2Batch,
    /// Seeds the batches.
    pub seed: u64,
    /// A burn device with autodiff.
    pub device: &'a Device,
    up: Axis,
    down: Axis,
    /// From the mask as it was drawn to where it is judged; `None` when that is the same.
    mask: Option<Axis>,
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
        (batch, seed): (Stage2Batch, u64),
        device: &'a Device,
    ) -> Self {
        let side = match batch.judged_at {
            JudgedAt::Input => arch.input,
            JudgedAt::Map => arch.map,
        };
        let up = upsampling(arch.segmentation_side(), side);
        let mask = (side != arch.input).then(|| upsampling(arch.input, side));
        let transposed = |a: &Axis| Axis {
            rows: a.columns,
            columns: a.rows,
            values: (0..a.columns)
                .flat_map(|c| (0..a.rows).map(move |r| (r, c)))
                .map(|(r, c)| a.values[r * a.columns + c])
                .collect(),
        };
        let down = transposed(&up);
        Self { arch, cache, statistics, classes, batch, seed, device, up, down, mask }
    }

    /// Loss, gradient and statistics of the head for batch number `iteration`.
    pub fn step(&self, weights: &Weights, iteration: u64, workers: &Workers) -> HeadStep {
        let weights = &Placed::new(weights, self.device);
        let mut whole = HeadStep::default();
        let add = |part: HeadStep| {
            whole.loss += part.loss;
            super::add_scaled(&mut whole.gradients, part.gradients, 1.0);
            whole.statistics.extend(part.statistics);
        };
        let pictures = self.batch.pictures;
        match self.arch.head {
            HeadShape::Slim(_) => workers.fold(
                pictures,
                |i| self.learn(weights, &[self.sample(weights, iteration, i)]),
                add,
            ),
            // Batch normalisation needs the batch as a whole; on one worker, so that sums do not
            // depend on how many there are.
            HeadShape::Parity => {
                let samples = workers.map(pictures, |i| self.sample(weights, iteration, i));
                workers.fold(1, |_| self.learn(weights, &samples), add);
            }
        }
        whole
    }

    fn sample(&self, weights: &Placed<'_>, iteration: u64, i: usize) -> Sample<'_> {
        let mut rng = stream(self.seed, Purpose::Head, iteration, i as u64);
        let picture = self.classes.pick(&mut rng);
        let variant = &self.cache.variants
            [picture * self.cache.per_picture + rng.random_range(0..self.cache.per_picture)];
        let (raw, mask) = match rng.random_bool(self.batch.clean_share) {
            true => (&self.cache.clean[picture], Cow::Owned(vec![0u8; self.up.rows.pow(2)])),
            false => (&variant.features, self.judged(&variant.mask)),
        };
        let features = self.statistics.standardised(raw);
        let compared = compare_with(self.arch, &Lifted::frozen_at(weights), &features).pop();
        let Some(compared) = compared else { panic!("one picture gives one comparison") };
        Sample { products: compared.products, mask }
    }

    /// The mask at the size at which it is judged.
    fn judged<'m>(&self, mask: &'m [u8]) -> Cow<'m, [u8]> {
        match &self.mask {
            Some(axis) => Cow::Owned(mask_at(mask, axis)),
            None => Cow::Borrowed(mask),
        }
    }

    /// The share of `samples` in the batch.
    fn learn(&self, weights: &Placed<'_>, samples: &[Sample<'_>]) -> HeadStep {
        let lifted = Lifted::trainable_at(weights);
        let products: Vec<f32> = samples.iter().flat_map(|s| s.products.iter().copied()).collect();
        let rows = samples.len() * self.arch.tokens();
        let input = tensor_from(products, [rows, self.arch.channels()], self.device);
        let (logits, statistics) = Head::new(&lifted, self.arch).learn(input);
        let shape = logits.dims();
        let values = host_values(logits.clone().inner());
        let share = 1.0 / self.batch.pictures as f64;
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

/// A mask of 0 and 1 at another size.
fn mask_at(mask: &[u8], axis: &Axis) -> Vec<u8> {
    let values: Vec<f32> = mask.iter().map(|m| f32::from(*m)).collect();
    resample(&values, axis).into_iter().map(|v| u8::from(v >= DAMAGED_FROM)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smaller_mask_has_the_pixels_that_are_damaged_to_a_half_or_more() {
        // Four by four, judged at two by two: each pixel is the mean of its four.
        let mask = [0, 0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0];
        assert_eq!(mask_at(&mask, &upsampling(4, 2)), [0, 1, 1, 0]);
        assert_eq!(mask_at(&mask, &upsampling(4, 4)), mask);
    }
}

//! The published segmentation head (step 6 of [`crate::arch`]).
//!
//! Batch normalisation ties the pictures of a batch together: while learning, the batch goes through
//! as one, and its statistics move those that are kept for inference.

use burn::tensor::Tensor;
use burn::tensor::activation::relu;

use super::head::{same3, upsample};
use super::lift::{Lifted, host_values};
use crate::arch::{Architecture, BATCH_NORM_EPS, HostTensor, ParityConv, Weights};

/// Weight of the newest batch in the statistics that are kept.
const MOMENTUM: f32 = 0.1;

/// What batch normalisation goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Norms {
    /// The statistics of the batch.
    OfBatch,
    /// Those that were kept while learning.
    Kept,
}

/// A convolution and its batch normalisation.
struct Layer {
    conv: ParityConv,
    weight: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    /// Kept mean and variance.
    kept: [HostTensor; 2],
}

pub(super) struct ParityHead {
    layers: Vec<Layer>,
    out_weight: Tensor<4>,
    out_bias: Tensor<1>,
    map: usize,
}

impl ParityHead {
    pub(super) fn new(w: &Lifted<'_>, arch: &Architecture) -> Self {
        let layer = |conv: ParityConv| {
            let part = |part: &str| format!("{}.{part}", conv.name);
            Layer {
                weight: w.get(&part("weight")),
                gamma: w.get(&part("gamma")),
                beta: w.get(&part("beta")),
                kept: [w.host(&part("mean")).clone(), w.host(&part("var")).clone()],
                conv,
            }
        };
        Self {
            layers: arch.parity_convs().into_iter().map(layer).collect(),
            out_weight: w.get("head.out.weight"),
            out_bias: w.get("head.out.bias"),
            map: arch.map,
        }
    }

    /// Logits `[B, 1, map, map]` of planes `[B, C, grid, grid]`, and the statistics that are kept
    /// from now on (none unless those of the batch were used).
    pub(super) fn run(&self, mut x: Tensor<4>, norms: Norms) -> (Tensor<4>, Weights) {
        let mut moved = Weights::new();
        for layer in &self.layers {
            if layer.conv.doubles {
                x = upsample(x, layer.conv.side);
            }
            let y = same3(x, &layer.weight, None);
            x = relu(match norms {
                Norms::Kept => layer.by_kept(y),
                Norms::OfBatch => layer.by_batch(y, &mut moved),
            });
        }
        let x = same3(upsample(x, self.map), &self.out_weight, Some(&self.out_bias));
        // The softmax of two channels is the sigmoid of their difference.
        (x.clone().narrow(1, 1, 1) - x.narrow(1, 0, 1), moved)
    }
}

impl Layer {
    fn by_kept(&self, x: Tensor<4>) -> Tensor<4> {
        let [mean, var] = &self.kept;
        let device = x.device();
        let tensor = |t: &HostTensor| Tensor::<1>::from_floats(t.values.as_slice(), &device);
        self.scaled(x - per_channel(tensor(mean)), per_channel(tensor(var)))
    }

    fn by_batch(&self, x: Tensor<4>, moved: &mut Weights) -> Tensor<4> {
        let [pictures, _, height, width] = x.dims();
        let mean = mean(x.clone());
        let centred = x - mean.clone();
        let var = self::mean(centred.clone() * centred.clone());
        // What is kept is the unbiased variance, as everywhere.
        let count = (pictures * height * width) as f32;
        let unbiased = count / (count - 1.0).max(1.0);
        for ((part, kept), (new, factor)) in
            ["mean", "var"].into_iter().zip(&self.kept).zip([(&mean, 1.0), (&var, unbiased)])
        {
            let values = host_values(new.clone().inner());
            let blend = |(old, new): (&f32, f32)| old + MOMENTUM * (new * factor - old);
            let values = kept.values.iter().zip(values).map(blend).collect();
            let name = format!("{}.{part}", self.conv.name);
            moved.insert(name, HostTensor { shape: kept.shape.clone(), values });
        }
        self.scaled(centred, var)
    }

    fn scaled(&self, centred: Tensor<4>, var: Tensor<4>) -> Tensor<4> {
        let scale = per_channel(self.gamma.clone()) / (var + BATCH_NORM_EPS).sqrt();
        centred * scale + per_channel(self.beta.clone())
    }
}

/// Mean over all but channels, `[1, C, 1, 1]`.
fn mean(x: Tensor<4>) -> Tensor<4> {
    x.mean_dim(3).mean_dim(2).mean_dim(0)
}

/// `[C]` as `[1, C, 1, 1]`.
fn per_channel(x: Tensor<1>) -> Tensor<4> {
    let [channels] = x.dims();
    x.reshape([1, channels, 1, 1])
}

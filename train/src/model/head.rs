//! The segmentation head (step 6 of [`crate::arch`]).

use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::module::{conv2d, interpolate};
use burn::tensor::ops::{ConvOptions, InterpolateMode, InterpolateOptions};

use super::decoder::Linear;
use super::lift::Lifted;
use super::parity::{Norms, ParityHead};
use crate::arch::{Architecture, HeadShape, Weights};

/// The head, lifted for one step.
pub struct Head {
    shape: Shape,
    grid: usize,
}

enum Shape {
    Slim(Box<SlimHead>),
    Parity(Box<ParityHead>),
}

impl Head {
    /// Takes the head's weights out of `w`.
    pub fn new(w: &Lifted<'_>, arch: &Architecture) -> Self {
        let shape = match arch.head {
            HeadShape::Slim(_) => Shape::Slim(Box::new(SlimHead::new(w, arch.grid))),
            HeadShape::Parity => Shape::Parity(Box::new(ParityHead::new(w, arch))),
        };
        Self { shape, grid: arch.grid }
    }

    /// Logits `[B, 1, side, side]` from head inputs `[B * grid * grid, C]`, channels last; `side` is
    /// [`Architecture::segmentation_side`].
    pub fn run(&self, x: Tensor<2>) -> Tensor<4> {
        match &self.shape {
            Shape::Slim(head) => head.run(x),
            Shape::Parity(head) => head.run(planes(x, self.grid), Norms::Kept).0,
        }
    }

    /// The same for a whole batch that is learnt from, and the statistics of batch normalisation as
    /// they are after it (none in the slim head).
    pub fn learn(&self, x: Tensor<2>) -> (Tensor<4>, Weights) {
        match &self.shape {
            Shape::Slim(head) => (head.run(x), Weights::new()),
            Shape::Parity(head) => head.run(planes(x, self.grid), Norms::OfBatch),
        }
    }
}

/// `[B * grid * grid, C]` as `[B, C, grid, grid]`.
fn planes(x: Tensor<2>, grid: usize) -> Tensor<4> {
    let [rows, channels] = x.dims();
    let tokens = grid * grid;
    let x = x.reshape([rows / tokens, tokens, channels]).swap_dims(1, 2);
    x.reshape([rows / tokens, channels, grid, grid])
}

struct Conv {
    weight: Tensor<4>,
    bias: Tensor<1>,
}

impl Conv {
    fn new(w: &Lifted<'_>, name: &str) -> Self {
        Self { weight: w.get(&format!("{name}.weight")), bias: w.get(&format!("{name}.bias")) }
    }

    fn run(&self, x: Tensor<4>) -> Tensor<4> {
        same3(x, &self.weight, Some(&self.bias))
    }
}

struct SlimHead {
    conv0: Linear,
    conv1: Conv,
    conv2: Conv,
    conv3: Conv,
    grid: usize,
}

impl SlimHead {
    fn new(w: &Lifted<'_>, grid: usize) -> Self {
        let bias: Tensor<1> = w.get("head.conv0.bias");
        let weight: Tensor<4> = w.get("head.conv0.weight");
        let [out, input, _, _] = weight.dims();
        Self {
            conv0: Linear::from_parts(weight.reshape([out, input]).transpose(), bias.unsqueeze()),
            conv1: Conv::new(w, "head.conv1"),
            conv2: Conv::new(w, "head.conv2"),
            conv3: Conv::new(w, "head.conv3"),
            grid,
        }
    }

    /// The 1x1 convolution is a matrix product.
    fn run(&self, x: Tensor<2>) -> Tensor<4> {
        let x = planes(relu(self.conv0.run(x)), self.grid);
        let x = relu(self.conv1.run(x));
        let x = upsample(x, 2 * self.grid);
        let x = relu(self.conv2.run(x));
        self.conv3.run(x)
    }
}

/// Convolution of 3x3 that keeps the size.
pub(super) fn same3(x: Tensor<4>, weight: &Tensor<4>, bias: Option<&Tensor<1>>) -> Tensor<4> {
    let same = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
    conv2d(x, weight.clone(), bias.cloned(), same)
}

/// Bilinear resize to `side` x `side`, half-pixel centres.
pub(crate) fn upsample(x: Tensor<4>, side: usize) -> Tensor<4> {
    let options = InterpolateOptions::new(InterpolateMode::Bilinear)
        .with_align_corners(false)
        .with_output_size([side, side]);
    interpolate(x, options)
}

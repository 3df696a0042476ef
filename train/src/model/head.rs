//! The slim segmentation head (step 6 of [`crate::arch`]).

use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::module::{conv2d, interpolate};
use burn::tensor::ops::{ConvOptions, InterpolateMode, InterpolateOptions};

use super::decoder::Linear;
use super::lift::Lifted;

struct Conv {
    weight: Tensor<4>,
    bias: Tensor<1>,
}

impl Conv {
    fn new(w: &Lifted<'_>, name: &str) -> Self {
        Self { weight: w.get(&format!("{name}.weight")), bias: w.get(&format!("{name}.bias")) }
    }

    fn run(&self, x: Tensor<4>) -> Tensor<4> {
        let same = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
        conv2d(x, self.weight.clone(), Some(self.bias.clone()), same)
    }
}

/// The head, lifted for one step.
pub struct Head {
    conv0: Linear,
    conv1: Conv,
    conv2: Conv,
    conv3: Conv,
    grid: usize,
}

impl Head {
    /// Takes the head's weights out of `w`; `grid` is the token grid's side.
    pub fn new(w: &Lifted<'_>, grid: usize) -> Self {
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

    /// Logits `[B, 1, 2*grid, 2*grid]` from head inputs `[B * grid * grid, C]` (channels last:
    /// the 1x1 convolution is a matrix product).
    pub fn run(&self, x: Tensor<2>) -> Tensor<4> {
        let g = self.grid;
        let x = relu(self.conv0.run(x));
        let [rows, channels] = x.dims();
        let x = x.reshape([rows / (g * g), g * g, channels]).swap_dims(1, 2);
        let x = x.reshape([rows / (g * g), channels, g, g]);
        let x = relu(self.conv1.run(x));
        let x = upsample(x, 2 * g);
        let x = relu(self.conv2.run(x));
        self.conv3.run(x)
    }
}

/// Bilinear resize to `side` x `side`, half-pixel centres.
pub(crate) fn upsample(x: Tensor<4>, side: usize) -> Tensor<4> {
    let options = InterpolateOptions::new(InterpolateMode::Bilinear)
        .with_align_corners(false)
        .with_output_size([side, side]);
    interpolate(x, options)
}

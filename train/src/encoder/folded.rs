//! A convolution with the batch normalisation behind it, as one convolution.

use super::EncoderWeights;
use crate::onnx::{Conv2d, GraphBuilder, Value};

/// Names of the tensors and the shape of the convolution.
pub(super) struct Folded {
    /// Node name.
    pub name: String,
    /// Tensor name of the kernel.
    pub weight: String,
    /// Tensor name of the normalisation.
    pub norm: String,
    /// `[out, in / groups, kernel, kernel]`.
    pub shape: [usize; 4],
    /// Factor on input channel `c % 3`: the scale of a picture's channels, 1 elsewhere.
    pub scale: [f64; 3],
    /// Step in both directions.
    pub stride: usize,
    /// Zero rows and columns before and after.
    pub pads: (usize, usize),
    /// Epsilon of the normalisation.
    pub eps: f64,
}

impl Folded {
    /// Adds the convolution of `x` `[1, c, side, side]`.
    pub(super) fn wire(&self, g: &mut GraphBuilder, weights: &EncoderWeights, x: &Value) -> Value {
        let (kernel, bias) = self.fold(weights);
        let kernel = g.weight(&format!("{}.weight", self.name), &self.shape, &kernel);
        let bias = g.weight(&format!("{}.bias", self.name), &self.shape[..1], &bias);
        let [_, per_group, ..] = self.shape;
        let conv = Conv2d {
            stride: self.stride,
            pads: self.pads,
            groups: x.shape().get(1).map_or(1, |c| c / per_group),
        };
        g.conv(&self.name, x, &kernel, &bias, conv)
    }

    /// Kernel and bias, folded in 64-bit arithmetic.
    pub(super) fn fold(&self, weights: &EncoderWeights) -> (Vec<f32>, Vec<f32>) {
        let norm = |part: &str| weights.values(&format!("{}.{part}", self.norm));
        let (gamma, beta) = (norm("weight"), norm("bias"));
        let (mean, var) = (norm("running_mean"), norm("running_var"));
        let [_, _, height, width] = self.shape;
        let (per_channel, plane) = (self.shape[1..].iter().product(), height * width);
        let mut kernel = Vec::with_capacity(self.shape.iter().product());
        let mut bias = Vec::with_capacity(self.shape[0]);
        for (o, taps) in weights.values(&self.weight).chunks_exact(per_channel).enumerate() {
            let gain = f64::from(gamma[o]) / (f64::from(var[o]) + self.eps).sqrt();
            let scaled = |(i, w): (usize, &f32)| f64::from(*w) * gain * self.scale[i / plane % 3];
            kernel.extend(taps.iter().enumerate().map(|tap| scaled(tap) as f32));
            bias.push((f64::from(beta[o]) - f64::from(mean[o]) * gain) as f32);
        }
        (kernel, bias)
    }
}

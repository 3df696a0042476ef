//! Linear layers on the host, for graphs: what can be folded into their weights is.

use std::ops::Range;

use crate::onnx::{GraphBuilder, Value};

/// `x W + b`: `weight` is `[in, out]`, row-major.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Linear {
    pub(crate) weight: Vec<f32>,
    pub(crate) bias: Vec<f32>,
}

impl Linear {
    /// From a weight of `[out, in]`, as PyTorch keeps it.
    pub(crate) fn from_rows(rows: &[f32], bias: &[f32]) -> Self {
        let input = rows.len() / bias.len().max(1);
        let column = |i: usize| rows[i..].iter().step_by(input).copied();
        Self { weight: (0..input).flat_map(column).collect(), bias: bias.to_vec() }
    }

    /// With the `gamma` and `beta` of the norm before it:
    /// `(gamma * n + beta) W + b = n (gamma W) + (beta W + b)`.
    pub(crate) fn after_norm(&self, gamma: &[f32], beta: &[f32]) -> Self {
        let mut bias: Vec<f64> = self.bias.iter().map(|b| f64::from(*b)).collect();
        let mut weight = Vec::with_capacity(self.weight.len());
        for ((row, g), b) in self.weight.chunks_exact(bias.len()).zip(gamma).zip(beta) {
            weight.extend(row.iter().map(|w| w * g));
            bias.iter_mut().zip(row).for_each(|(o, w)| *o += f64::from(*b) * f64::from(*w));
        }
        Self { weight, bias: bias.iter().map(|b| *b as f32).collect() }
    }

    /// With each output multiplied by its factor.
    pub(crate) fn scaled(&self, factors: &[f32]) -> Self {
        let scale =
            |row: &[f32]| -> Vec<f32> { row.iter().zip(factors).map(|(w, f)| w * f).collect() };
        let rows = self.weight.chunks_exact(self.bias.len());
        Self { weight: rows.flat_map(scale).collect(), bias: scale(&self.bias) }
    }

    /// Only the outputs `range`.
    pub(crate) fn columns(&self, range: Range<usize>) -> Self {
        let rows = self.weight.chunks_exact(self.bias.len());
        Self {
            weight: rows.flat_map(|row| row[range.clone()].iter().copied()).collect(),
            bias: self.bias[range].to_vec(),
        }
    }

    /// Adds the layer behind `x` `[rows, in]` as the nodes `{name}.product` and `name`.
    pub(crate) fn wire(&self, g: &mut GraphBuilder, name: &str, x: &Value) -> Value {
        let output = self.bias.len();
        let input = self.weight.len() / output.max(1);
        let weight = g.weight(&format!("{name}.weight"), &[input, output], &self.weight);
        let bias = g.weight(&format!("{name}.bias"), &[output], &self.bias);
        let product = g.matmul(&format!("{name}.product"), x, &weight);
        g.add(name, &product, &bias)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_keeps_what_the_layer_computes() {
        // Two inputs, three outputs.
        let layer = Linear::from_rows(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[0.5, 0.0, -0.5]);
        assert_eq!(layer.weight, [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
        let run = |l: &Linear, x: [f32; 2]| -> Vec<f32> {
            let n = l.bias.len();
            (0..n).map(|o| l.bias[o] + x[0] * l.weight[o] + x[1] * l.weight[n + o]).collect()
        };
        let normed = layer.after_norm(&[2.0, -1.0], &[0.25, 1.0]);
        assert_eq!(run(&normed, [1.5, 2.0]), run(&layer, [3.25, -1.0]));
        assert_eq!(run(&layer.scaled(&[1.0, 0.0, 2.0]), [1.0, 1.0]), [3.5, 0.0, 21.0]);
        assert_eq!(run(&layer.columns(1..3), [1.0, 1.0]), [7.0, 10.5]);
    }
}

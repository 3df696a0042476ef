//! The published segmentation head as ONNX nodes: batch normalisation is folded into the
//! convolutions, and the softmax of two channels is the sigmoid of their difference.

use super::head::resized;
use super::weights::values;
use crate::arch::{Architecture, BATCH_NORM_EPS, ParityConv, Weights};
use crate::onnx::{Conv2d, GraphBuilder, Value};

/// Three by three, the size kept.
const SAME: Conv2d = Conv2d { stride: 1, pads: (1, 1), groups: 1 };

/// `S` at the map's size, `[map, map]`, from the head input of each group `[tokens, channels]`.
pub(super) fn wire(
    g: &mut GraphBuilder,
    arch: &Architecture,
    weights: &Weights,
    parts: &[&Value],
) -> Value {
    let (grid, map) = (arch.grid, arch.map);
    let x = g.concat("head.tokens", parts, 1);
    let x = g.transpose("head.channels", &x, &[1, 0]);
    let mut x = g.reshape("head.grid", &x, &[1, arch.grouped_channels(), grid, grid]);
    let mut side = grid;
    for conv in arch.parity_convs() {
        let name = &conv.name;
        if conv.doubles {
            x = resized(g, &format!("{name}.up"), &x, (side, conv.side));
            side = conv.side;
        }
        let (weight, bias) = folded(&conv, weights);
        let shape = [conv.output, conv.input, 3, 3];
        let weight = g.weight(&format!("{name}.weight"), &shape, &weight);
        let bias = g.weight(&format!("{name}.bias"), &[conv.output], &bias);
        x = g.conv(name, &x, &weight, &bias, SAME);
        x = g.relu(&format!("{name}.relu"), &x);
    }
    let x = resized(g, "head.up", &x, (side, map));
    let (weight, bias) = difference(weights);
    let weight = g.weight("head.out.weight", &[1, arch.parity_channels(), 3, 3], &weight);
    let bias = g.weight("head.out.bias", &[1], &bias);
    let x = g.conv("head.out", &x, &weight, &bias, SAME);
    let x = g.reshape("head.logits", &x, &[map, map]);
    g.sigmoid("segmentation", &x)
}

/// Weight and bias of a convolution with its batch normalisation.
fn folded(conv: &ParityConv, weights: &Weights) -> (Vec<f32>, Vec<f32>) {
    let part = |part: &str| values(weights, &format!("{}.{part}", conv.name));
    let scale: Vec<f64> = (part("gamma").iter().zip(part("var")))
        .map(|(gamma, var)| f64::from(*gamma) / (f64::from(*var) + BATCH_NORM_EPS).sqrt())
        .collect();
    let kernels = part("weight").chunks_exact(conv.input * 9).zip(&scale);
    let weight = kernels
        .flat_map(|(kernel, scale)| kernel.iter().map(move |w| (f64::from(*w) * scale) as f32))
        .collect();
    let shifts = part("beta").iter().zip(part("mean")).zip(&scale);
    let bias = shifts
        .map(|((beta, mean), scale)| (f64::from(*beta) - f64::from(*mean) * scale) as f32)
        .collect();
    (weight, bias)
}

/// The last convolution's second channel less its first.
fn difference(weights: &Weights) -> (Vec<f32>, Vec<f32>) {
    let less = |name: &str| {
        let (first, second) = values(weights, name).split_at(values(weights, name).len() / 2);
        second.iter().zip(first).map(|(s, f)| s - f).collect()
    };
    (less("head.out.weight"), less("head.out.bias"))
}

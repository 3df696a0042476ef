//! Distance map, segmentation head, fusion, smoothing and score as ONNX nodes.
//!
//! With `P = E * D` (elementwise) and `r = |E| |D|` per token, the cosine is `sum(P) / r` and the
//! head input is `-C P / r`. So the 1x1 convolution on the head input is a matrix product of `P`
//! by weights that have `-C` folded in, divided by `r` afterwards: one pass over wide tensors.

use super::decoder::GroupPair;
use super::weights::values;
use super::{ANOMALY_MAP, SCORE};
use crate::arch::{Architecture, DISTANCE_FLOOR, Weights};
use crate::onnx::{Conv2d, GraphBuilder, Value};
use crate::resample::{Axis, smoothing, upsampling};

/// Under the square root of the product of two squared norms: keeps a zero feature vector from
/// dividing by zero. Squared norms of standardised features are of the order of their channels.
pub(super) const COSINE_EPS: f32 = 1e-12;

/// Pixels in a run when the score's pixels are searched: between sorting many maxima and sorting
/// many candidates.
const RUN: usize = 16;

/// Adds `arch.rs` steps 5 to 7 and the outputs. `strangeness`: what the memory says of each token.
pub(super) fn wire(
    g: &mut GraphBuilder,
    arch: &Architecture,
    weights: &Weights,
    groups: &[GroupPair],
    strangeness: Option<&Value>,
) {
    let mut head = Head { g, arch, weights };
    let compared: Vec<_> = groups.iter().enumerate().map(|(i, p)| head.compare(i, p)).collect();
    let distance = head.distance(&compared, strangeness);
    let segmentation = head.segmentation(&compared);
    head.outputs(&distance, &segmentation);
}

/// Cosine of one group per token `[tokens, 1]` and its part of `conv0` `[tokens, head[0]]`.
struct Compared {
    cosine: Value,
    conv0: Value,
}

struct Head<'a> {
    g: &'a mut GraphBuilder,
    arch: &'a Architecture,
    weights: &'a Weights,
}

impl Head<'_> {
    fn compare(&mut self, i: usize, pair: &GroupPair) -> Compared {
        let at = |part: &str| format!("group.{i}.{part}");
        let product = self.g.mul(&at("product"), &pair.encoded, &pair.decoded);
        let dot = self.g.sum(&at("dot"), &product, 1);
        let square_e = self.g.mul(&at("encoded.square"), &pair.encoded, &pair.encoded);
        let square_e = self.g.sum(&at("encoded.norm2"), &square_e, 1);
        let square_d = self.g.mul(&at("decoded.square"), &pair.decoded, &pair.decoded);
        let square_d = self.g.sum(&at("decoded.norm2"), &square_d, 1);
        let both = self.g.mul(&at("norm4"), &square_e, &square_d);
        let eps = self.g.constant(&at("eps"), &[], &[COSINE_EPS]);
        let both = self.g.add(&at("norm4.eps"), &both, &eps);
        let norm = self.g.sqrt(&at("norm2"), &both);
        let cosine = self.g.div(&at("cosine"), &dot, &norm);
        let weight = self.conv0_columns(i);
        let shape = [pair.encoded.shape().last().copied().unwrap_or(0), self.arch.head[0]];
        let weight = self.g.weight(&at("conv0.weight"), &shape, &weight);
        let conv0 = self.g.matmul(&at("conv0.product"), &product, &weight);
        let conv0 = self.g.div(&at("conv0"), &conv0, &norm);
        Compared { cosine, conv0 }
    }

    /// The columns of `conv0` that read group `i`, as `[channels, head[0]]`, times `-C`.
    fn conv0_columns(&self, i: usize) -> Vec<f32> {
        let sizes = |g: usize| self.arch.group_channels(g).len();
        let (total, first): (usize, usize) =
            ((0..self.arch.groups.len()).map(sizes).sum(), (0..i).map(sizes).sum());
        let weight = values(self.weights, "head.conv0.weight");
        let scale = -(sizes(i) as f32);
        (first..first + sizes(i))
            .flat_map(|c| weight[c..].iter().step_by(total).map(move |w| w * scale))
            .collect()
    }

    /// `A` on the grid, with what the memory says if there is one: `[grid, grid]`.
    fn distance(&mut self, compared: &[Compared], strangeness: Option<&Value>) -> Value {
        let grid = [self.arch.grid, self.arch.grid];
        let parts: Vec<&Value> = compared.iter().map(|c| &c.cosine).collect();
        let cosines = self.g.concat("distance.cosines", &parts, 1);
        let count = parts.len();
        let alike = vec![1.0 / count as f32; count];
        let shares = match self.arch.is_projected() {
            true => values(self.weights, "distance.share"),
            false => &alike,
        };
        let all = self.g.constant("distance.all", &[], &[shares.iter().sum()]);
        let shares = self.g.constant("distance.share", &[count, 1], shares);
        let cosine = self.g.matmul("distance.cosine", &cosines, &shares);
        let distance = self.g.sub("distance.tokens", &all, &cosine);
        let Some(strangeness) = strangeness else {
            return self.g.reshape("distance", &distance, &grid);
        };
        let distance = self.g.reshape("distance.grid", &distance, &grid);
        // Rounding may take a cosine a little above one.
        let distance = self.g.relu("distance.positive", &distance);
        let floor = self.g.constant("distance.floor", &[], &[DISTANCE_FLOOR as f32]);
        let distance = self.g.add("distance.floored", &distance, &floor);
        let strangeness = self.g.reshape("memory.grid", strangeness, &grid);
        let both = self.g.mul("distance.squared", &distance, &strangeness);
        self.g.sqrt("distance", &both)
    }

    /// `S` before its upsampling: `[2 grid, 2 grid]`.
    fn segmentation(&mut self, compared: &[Compared]) -> Value {
        let (grid, [coarse, fine]) = (self.arch.grid, self.arch.head);
        let bias = self.bias("head.conv0", coarse);
        let first =
            compared.iter().skip(1).enumerate().fold(compared[0].conv0.clone(), |sum, (i, c)| {
                self.g.add(&format!("head.conv0.sum.{i}"), &sum, &c.conv0)
            });
        let x = self.g.add("head.conv0", &first, &bias);
        let x = self.g.relu("head.relu0", &x);
        let x = self.g.transpose("head.channels", &x, &[1, 0]);
        let x = self.g.reshape("head.grid", &x, &[1, coarse, grid, grid]);
        let x = self.conv("head.conv1", &x, coarse, coarse);
        let x = self.g.relu("head.relu1", &x);
        let x = self.double(&x, coarse);
        let x = self.conv("head.conv2", &x, coarse, fine);
        let x = self.g.relu("head.relu2", &x);
        let x = self.conv("head.conv3", &x, fine, 1);
        let x = self.g.reshape("head.logits", &x, &[2 * grid, 2 * grid]);
        self.g.sigmoid("segmentation", &x)
    }

    /// Bilinear x2 of `[1, channels, grid, grid]`.
    fn double(&mut self, x: &Value, channels: usize) -> Value {
        let grid = self.arch.grid;
        let up = upsampling(grid, 2 * grid);
        let right = self.g.constant("head.up.right", &[grid, 2 * grid], &up.transposed());
        let left = self.g.constant("head.up.left", &[2 * grid, grid], &up.to_f32());
        let x = self.g.reshape("head.up.rows", x, &[channels * grid, grid]);
        let x = self.g.matmul("head.up.wide", &x, &right);
        let x = self.g.reshape("head.up.planes", &x, &[channels, grid, 2 * grid]);
        let x = self.g.matmul("head.up.high", &left, &x);
        self.g.reshape("head.up", &x, &[1, channels, 2 * grid, 2 * grid])
    }

    fn outputs(&mut self, distance: &Value, segmentation: &Value) {
        let (grid, map) = (self.arch.grid, self.arch.map);
        let (kernel, sigma) = self.arch.smoothing;
        let smooth = smoothing(map, kernel, f64::from(sigma));
        let weight = f64::from(self.arch.distance_weight);
        let a = smooth.after(&self.arch.distance_upsampling());
        let s = smooth.after(&upsampling(2 * grid, map));
        let a = self.resampled("map.distance", distance, &a, weight);
        let s = self.resampled("map.segmentation", segmentation, &s, 1.0 - weight);
        let fused = self.g.add("map", &a, &s);
        let anomaly = self.g.reshape(ANOMALY_MAP, &fused, &[1, 1, map, map]);
        self.g.output(&anomaly);
        let top = self.top_pixels(&fused);
        let row = self.g.reshape("score.row", &top, &[1, self.arch.score_pixels()]);
        let score = self.g.mean_over(SCORE, &row, 1);
        self.g.output(&score);
    }

    /// The largest pixels of the map, exactly: at most `k` runs of pixels have a maximum as large
    /// as the `k`-th pixel, so the `k` runs of the largest maxima hold the `k` largest pixels.
    /// Runtimes sort everything that `TopK` is given; this way it is a fraction.
    fn top_pixels(&mut self, map: &Value) -> Value {
        let (pixels, k) = (self.arch.map * self.arch.map, self.arch.score_pixels());
        if !pixels.is_multiple_of(RUN) || 2 * k * RUN > pixels {
            let all = self.g.reshape("score.pixels", map, &[pixels]);
            return self.g.top_k("score.top", &all, k).0;
        }
        let runs = self.g.reshape("score.runs", map, &[pixels / RUN, RUN]);
        let maxima = self.g.max_over("score.maxima", &runs, 1);
        let (_, highest) = self.g.top_k("score.highest", &maxima, k);
        let runs = self.g.rows("score.candidates", &runs, &highest);
        let pixels = self.g.reshape("score.pixels", &runs, &[k * RUN]);
        self.g.top_k("score.top", &pixels, k).0
    }

    /// `weight * R X R^T`: the map that `x` becomes.
    fn resampled(&mut self, name: &str, x: &Value, axis: &Axis, weight: f64) -> Value {
        let at = |part: &str| format!("{name}.{part}");
        let left: Vec<f32> = axis.values.iter().map(|v| (v * weight) as f32).collect();
        let left = self.g.constant(&at("left"), &[axis.rows, axis.columns], &left);
        let right = self.g.constant(&at("right"), &[axis.columns, axis.rows], &axis.transposed());
        let wide = self.g.matmul(&at("wide"), x, &right);
        self.g.matmul(name, &left, &wide)
    }

    fn conv(&mut self, name: &str, x: &Value, input: usize, output: usize) -> Value {
        let part = format!("{name}.weight");
        let weight = self.g.weight(&part, &[output, input, 3, 3], values(self.weights, &part));
        let bias = self.bias(name, output);
        self.g.conv(name, x, &weight, &bias, Conv2d { stride: 1, pads: (1, 1), groups: 1 })
    }

    fn bias(&mut self, name: &str, channels: usize) -> Value {
        let part = format!("{name}.bias");
        self.g.weight(&part, &[channels], values(self.weights, &part))
    }
}

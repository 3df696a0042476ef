//! Distance map, segmentation head, fusion, smoothing and score as ONNX nodes.
//!
//! With `P = E * D` (elementwise) and `r = |E| |D|` per token, the cosine is `sum(P) / r` and the
//! head input is `-C P / r`. So the 1x1 convolution on the head input is a matrix product of `P`
//! by weights that have `-C` folded in, divided by `r` afterwards: one pass over wide tensors.

use super::decoder::GroupPair;
use super::weights::values;
use super::{ANOMALY_MAP, SCORE, parity};
use crate::arch::{Architecture, DISTANCE_FLOOR, HEAD_FLOOR, HeadShape, Weights};
use crate::onnx::{Conv2d, GraphBuilder, Value};
use crate::resample::{Axis, smoothing, upsampling};

/// Under the square root of the product of two squared norms: keeps a zero feature vector from
/// dividing by zero. Squared norms of standardised features are of the order of their channels.
pub(super) const COSINE_EPS: f32 = 1e-12;

/// Pixels in a run when the score's pixels are searched: between sorting many maxima and sorting
/// many candidates.
const RUN: usize = 16;

/// Adds `arch.rs` steps 5 to 7 and the outputs. `memories`: what each says, to the power of its weight.
pub(super) fn wire(
    g: &mut GraphBuilder,
    arch: &Architecture,
    weights: &Weights,
    groups: &[GroupPair],
    memories: &[Value],
) {
    let mut head = Head { g, arch, weights };
    let compared: Vec<_> = groups.iter().enumerate().map(|(i, p)| head.compare(i, p)).collect();
    let distance = head.distance(&compared, memories);
    let segmentation = head.segmentation(&compared);
    head.outputs(&distance, &segmentation);
}

/// Cosine of one group per token `[tokens, 1]` and what the segmentation head makes of its product:
/// its part of `conv0` `[tokens, coarse]`, or of the parity head's input `[tokens, channels]`.
struct Compared {
    cosine: Value,
    part: Value,
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
        let channels = self.arch.group_channels(i).len();
        let part = match self.arch.head {
            HeadShape::Slim([coarse, _]) => {
                let weight = self.conv0_columns(i);
                let weight = self.g.weight(&at("conv0.weight"), &[channels, coarse], &weight);
                let conv0 = self.g.matmul(&at("conv0.product"), &product, &weight);
                self.g.div(&at("conv0"), &conv0, &norm)
            }
            // The factor goes into the narrow divisor, so that the wide values are near one.
            HeadShape::Parity => {
                let factor = self.g.constant(&at("factor"), &[], &[-1.0 / channels as f32]);
                let norm = self.g.mul(&at("divisor"), &norm, &factor);
                self.g.div(&at("likeness"), &product, &norm)
            }
        };
        Compared { cosine, part }
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

    /// `A` on the grid, `[grid, grid]`; in the compact scheme `D`, `[2 grid, 2 grid]`.
    fn distance(&mut self, compared: &[Compared], memories: &[Value]) -> Value {
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
        if !self.arch.is_projected() {
            return self.g.reshape("distance", &distance, &grid);
        }
        let distance = self.g.reshape("distance.grid", &distance, &grid);
        self.joined(&distance, memories)
    }

    /// The geometric mean of the decoder's distance and the memories'.
    fn joined(&mut self, distance: &Value, memories: &[Value]) -> Value {
        // Rounding may take a cosine a little above one.
        let distance = self.g.relu("distance.positive", distance);
        let floor = self.g.constant("distance.floor", &[], &[DISTANCE_FLOOR as f32]);
        let distance = self.g.add("distance.floored", &distance, &floor);
        let mut coarse = self.g.pow("distance.weighted", &distance, self.arch.decoder_weight());
        let all = || self.arch.memories.iter().zip(memories).enumerate();
        for (i, (_, said)) in all().filter(|(_, (m, _))| m.scale == 1) {
            coarse = self.g.mul(&format!("distance.with.{i}"), &coarse, said);
        }
        let up = upsampling(self.arch.grid, self.arch.fine_grid());
        let mut fine = self.resampled("distance.fine", &coarse, &up, 1.0);
        for (i, (_, said)) in all().filter(|(_, (m, _))| m.scale > 1) {
            fine = self.g.mul(&format!("distance.with.{i}"), &fine, said);
        }
        fine
    }

    /// `S` before its upsampling, `[side, side]` with [`Architecture::segmentation_side`].
    fn segmentation(&mut self, compared: &[Compared]) -> Value {
        let parts: Vec<&Value> = compared.iter().map(|c| &c.part).collect();
        match self.arch.head {
            HeadShape::Slim(channels) => self.slim(&parts, channels),
            HeadShape::Parity => parity::wire(self.g, self.arch, self.weights, &parts),
        }
    }

    fn slim(&mut self, parts: &[&Value], [coarse, fine]: [usize; 2]) -> Value {
        let grid = self.arch.grid;
        let bias = self.bias("head.conv0", coarse);
        let first = parts.iter().skip(1).enumerate().fold(parts[0].clone(), |sum, (i, part)| {
            self.g.add(&format!("head.conv0.sum.{i}"), &sum, part)
        });
        let x = self.g.add("head.conv0", &first, &bias);
        let x = self.g.relu("head.relu0", &x);
        let x = self.g.transpose("head.channels", &x, &[1, 0]);
        let x = self.g.reshape("head.grid", &x, &[1, coarse, grid, grid]);
        let x = self.conv("head.conv1", &x, coarse, coarse);
        let x = self.g.relu("head.relu1", &x);
        let x = resized(self.g, "head.up", &x, (grid, 2 * grid));
        let x = self.conv("head.conv2", &x, coarse, fine);
        let x = self.g.relu("head.relu2", &x);
        let x = self.conv("head.conv3", &x, fine, 1);
        let x = self.g.reshape("head.logits", &x, &[2 * grid, 2 * grid]);
        self.g.sigmoid("segmentation", &x)
    }

    fn outputs(&mut self, distance: &Value, segmentation: &Value) {
        let map = self.arch.map;
        let fused = self.fused(distance, segmentation);
        let anomaly = self.g.reshape(ANOMALY_MAP, &fused, &[1, 1, map, map]);
        self.g.output(&anomaly);
        let top = self.top_pixels(&fused);
        let row = self.g.reshape("score.row", &top, &[1, self.arch.score_pixels()]);
        let score = self.g.mean_over(SCORE, &row, 1);
        self.g.output(&score);
    }

    fn fused(&mut self, distance: &Value, segmentation: &Value) -> Value {
        let map = self.arch.map;
        let (kernel, sigma) = self.arch.smoothing;
        let smooth = smoothing(map, kernel, f64::from(sigma));
        let weight = self.arch.distance_weight;
        let side = self.arch.segmentation_side();
        let up = smooth.after(&upsampling(side, map));
        if self.arch.is_projected() {
            let fits = side == self.arch.fine_grid();
            let larger = upsampling(self.arch.fine_grid(), side);
            let larger = (!fits).then(|| self.resampled("map.larger", distance, &larger, 1.0));
            let distance = self.g.pow("map.distance", larger.as_ref().unwrap_or(distance), weight);
            let floor = self.g.constant("map.floor", &[], &[HEAD_FLOOR as f32]);
            let segmentation = self.g.add("map.floored", segmentation, &floor);
            let segmentation = self.g.pow("map.segmentation", &segmentation, 1.0 - weight);
            let joined = self.g.mul("map.joined", &distance, &segmentation);
            return self.resampled("map", &joined, &up, 1.0);
        }
        let weight = f64::from(weight);
        let a = smooth.after(&self.arch.distance_upsampling());
        let a = self.resampled("map.distance", distance, &a, weight);
        let s = self.resampled("map.segmentation", segmentation, &up, 1.0 - weight);
        self.g.add("map", &a, &s)
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

/// Bilinear resize of `[1, channels, from, from]` to `[1, channels, to, to]`.
pub(super) fn resized(
    g: &mut GraphBuilder,
    name: &str,
    x: &Value,
    (from, to): (usize, usize),
) -> Value {
    let at = |part: &str| format!("{name}.{part}");
    let channels = x.shape().get(1).copied().unwrap_or(0);
    let up = upsampling(from, to);
    let right = g.constant(&at("right"), &[from, to], &up.transposed());
    let left = g.constant(&at("left"), &[to, from], &up.to_f32());
    let x = g.reshape(&at("rows"), x, &[channels * from, from]);
    let x = g.matmul(&at("wide"), &x, &right);
    let x = g.reshape(&at("planes"), &x, &[channels, from, to]);
    let x = g.matmul(&at("high"), &left, &x);
    g.reshape(name, &x, &[1, channels, to, to])
}

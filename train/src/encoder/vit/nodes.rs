//! The vision transformer as ONNX nodes: patches and extra tokens, blocks, means of their outputs.
//!
//! Tokens by channels throughout, so that linear layers are matrix products. A norm's weights are
//! folded into the layer behind it, LayerScale into the layer before it, the scale of the
//! attention into its queries.

use super::{EXTRA_TOKENS, NORM_EPS, PATCH, VitSpec, interpolated};
use crate::encoder::EncoderWeights;
use crate::encoder::nodes::{Source, picture_imagenet};
use crate::linear::Linear;
use crate::onnx::{Conv2d, GraphBuilder, Value};

/// Adds the encoder up to the last block asked for; `take` gets each tap's name and value
/// `[EXTRA_TOKENS + grid * grid, width]`.
pub(in crate::encoder) fn wire(
    g: &mut GraphBuilder,
    source: Source,
    spec: &VitSpec,
    mut take: impl FnMut(&mut GraphBuilder, &str, &Value),
) {
    let taps: Vec<(&str, Vec<usize>)> = source
        .arch
        .taps
        .iter()
        .filter_map(|t| Some((t.name.as_str(), spec.tap_blocks(&t.name)?)))
        .collect();
    let last = taps.iter().flat_map(|(_, blocks)| blocks).max().copied().unwrap_or(0);
    let mut net = Net { g, weights: source.weights, spec, grid: source.arch.input / PATCH };
    let mut x = net.tokens(source.arch.input);
    let mut states = Vec::with_capacity(last + 1);
    for i in 0..=last {
        x = net.block(i, &x);
        states.push(x.clone());
    }
    for (name, blocks) in &taps {
        let members: Vec<&Value> = blocks.iter().map(|b| &states[*b]).collect();
        let mean = net.g.mean_of(&format!("encoder.mean.{name}"), &members);
        take(net.g, name, &mean);
    }
}

struct Net<'a> {
    g: &'a mut GraphBuilder,
    weights: &'a EncoderWeights,
    spec: &'a VitSpec,
    grid: usize,
}

impl Net<'_> {
    fn rows(&self) -> usize {
        EXTRA_TOKENS + self.grid * self.grid
    }

    /// Class, registers and patches with their positions.
    fn tokens(&mut self, input: usize) -> Value {
        let (width, patches) = (self.spec.width, self.grid * self.grid);
        let patch = self.patches(input);
        let patch = self.g.reshape("encoder.patches.flat", &patch, &[width, patches]);
        let patch = self.g.transpose("encoder.patches.tokens", &patch, &[1, 0]);
        let table = self.weights.values("pos_embed");
        let positions = interpolated(table, self.spec.table, self.grid);
        let positions = self.g.weight("encoder.positions", &[patches, width], &positions);
        let patch = self.g.add("encoder.placed", &patch, &positions);
        let extra = [self.weights.values("cls_token"), self.weights.values("reg_token")].concat();
        let extra = self.g.weight("encoder.extra", &[EXTRA_TOKENS, width], &extra);
        self.g.concat("encoder.tokens", &[&extra, &patch], 0)
    }

    /// `[1, width, grid, grid]`.
    fn patches(&mut self, input: usize) -> Value {
        let width = self.spec.width;
        let (image, scale) = picture_imagenet(self.g, input);
        let kernel = self.weights.values("patch_embed.proj.weight").iter().enumerate();
        let scaled =
            |(i, w): (usize, &f32)| (f64::from(*w) * scale[i / (PATCH * PATCH) % 3]) as f32;
        let kernel: Vec<f32> = kernel.map(scaled).collect();
        let shape = [width, 3, PATCH, PATCH];
        let kernel = self.g.weight("encoder.patches.weight", &shape, &kernel);
        let bias = self.weights.values("patch_embed.proj.bias");
        let bias = self.g.weight("encoder.patches.bias", &[width], bias);
        let conv = Conv2d { stride: PATCH, pads: (0, 0), groups: 1 };
        self.g.conv("encoder.patches", &image, &kernel, &bias, conv)
    }

    fn block(&mut self, i: usize, x: &Value) -> Value {
        let at = |part: &str| format!("encoder.block.{i}.{part}");
        let normed = self.g.normalised(&at("norm1"), x, NORM_EPS);
        let attended = self.attention(i, &normed);
        let proj = self.linear(i, "attn.proj").scaled(self.vector(i, "ls1.gamma"));
        let attended = proj.wire(self.g, &at("proj"), &attended);
        let x = self.g.add(&at("attended"), x, &attended);
        let normed = self.g.normalised(&at("norm2"), &x, NORM_EPS);
        let fc1 = self.after_norm(i, "norm2", "mlp.fc1");
        let inner = fc1.wire(self.g, &at("fc1"), &normed);
        let inner = self.g.gelu(&at("gelu"), &inner);
        let fc2 = self.linear(i, "mlp.fc2").scaled(self.vector(i, "ls2.gamma"));
        let inner = fc2.wire(self.g, &at("fc2"), &inner);
        self.g.add(&at("out"), &x, &inner)
    }

    /// Softmax attention of normalised tokens, before its projection.
    fn attention(&mut self, i: usize, x: &Value) -> Value {
        let at = |part: &str| format!("encoder.block.{i}.{part}");
        let (n, width, heads) = (self.rows(), self.spec.width, self.spec.heads);
        let size = width / heads;
        let qkv = self.after_norm(i, "norm1", "attn.qkv");
        let scale = (size as f32).sqrt().recip();
        // Queries, keys and values as three products: slicing one product would copy it.
        let parts = [("q", [1, 0, 2], scale), ("k", [1, 2, 0], 1.0), ("v", [1, 0, 2], 1.0)];
        let mut index = 0;
        let [q, k, v] = parts.map(|(name, perm, scale)| {
            let part = qkv.columns(index * width..(index + 1) * width);
            index += 1;
            let value = part.scaled(&vec![scale; width]).wire(self.g, &at(name), x);
            let value = self.g.reshape(&at(&format!("{name}.heads")), &value, &[n, heads, size]);
            self.g.transpose(&at(&format!("{name}.by_head")), &value, &perm)
        });
        let scores = self.g.matmul(&at("scores"), &q, &k);
        let shares = self.g.softmax(&at("shares"), &scores);
        let mixed = self.g.matmul(&at("mixed"), &shares, &v);
        let mixed = self.g.transpose(&at("mixed.heads"), &mixed, &[1, 0, 2]);
        self.g.reshape(&at("mixed.flat"), &mixed, &[n, width])
    }

    fn vector(&self, i: usize, part: &str) -> &[f32] {
        self.weights.values(&format!("blocks.{i}.{part}"))
    }

    fn linear(&self, i: usize, part: &str) -> Linear {
        let bias = self.vector(i, &format!("{part}.bias"));
        Linear::from_rows(self.vector(i, &format!("{part}.weight")), bias)
    }

    fn after_norm(&self, i: usize, norm: &str, part: &str) -> Linear {
        let gamma = self.vector(i, &format!("{norm}.weight"));
        let beta = self.vector(i, &format!("{norm}.bias"));
        self.linear(i, part).after_norm(gamma, beta)
    }
}

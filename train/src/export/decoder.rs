//! Masked bottleneck, linear-attention blocks and group outputs as ONNX nodes.
//!
//! Everything is tokens by channels, so that linear layers are plain matrix products. A norm's
//! `gamma` and `beta` are folded into the linear layers behind it: a product by a row vector is
//! a slow path in some runtimes.

use super::weights::values;
use crate::arch::{ATTENTION_EPS, Architecture, Weights};
use crate::linear::Linear;
use crate::onnx::{GraphBuilder, Value};

/// A group's encoder features and their reconstruction, both `[tokens, channels]`.
pub(super) struct GroupPair {
    pub(super) encoded: Value,
    pub(super) decoded: Value,
}

/// Adds `arch.rs` steps 2 to 4 behind the encoder's standardised `taps`.
pub(super) fn wire(
    g: &mut GraphBuilder,
    arch: &Architecture,
    weights: &Weights,
    taps: &[Value],
) -> Vec<GroupPair> {
    let mut net = Net { g, arch, weights };
    let taps: Vec<&Value> = taps.iter().collect();
    let encoded = match arch.is_projected() {
        true => net.g.concat("features", &taps, 1),
        false => net.g.mean_of("features", &taps),
    };
    let mut x = net.bottleneck(&encoded);
    let mut states = Vec::with_capacity(arch.depth);
    for i in 0..arch.depth {
        x = net.block(i, &x);
        states.push(x.clone());
    }
    let group = |at: usize| match arch.is_projected() {
        true => net.group(at, &encoded, &states[arch.groups[at].after_block - 1]),
        false => net.mean_group(at, &taps, &states),
    };
    (0..arch.groups.len()).map(group).collect()
}

struct Net<'a> {
    g: &'a mut GraphBuilder,
    arch: &'a Architecture,
    weights: &'a Weights,
}

impl Net<'_> {
    fn bottleneck(&mut self, features: &Value) -> Value {
        let (hidden, width) = (self.arch.bottleneck, self.arch.width);
        // In training each feature is kept with this probability; in the mean over masks the
        // first linear layer sees its input times it.
        let keep = 1.0 - self.arch.mask_probability;
        let mut fc1 = self.read("bottleneck.fc1");
        fc1.weight.iter_mut().for_each(|w| *w *= keep);
        let x = fc1.wire(self.g, "bottleneck.fc1", features);
        let x = self.g.gelu("bottleneck.gelu", &x);
        if !self.arch.is_projected() {
            return self.trained("bottleneck.fc2", &x);
        }
        let w2 = self.g.weight(
            "bottleneck.fc2.weight",
            &[hidden, width],
            values(self.weights, "bottleneck.fc2.weight"),
        );
        let x = self.g.matmul("bottleneck.fc2", &x, &w2);
        let position = self.position();
        self.g.add("decoder.input", &x, &position)
    }

    /// The position table with the bias of `bottleneck.fc2` on every row.
    fn position(&mut self) -> Value {
        let bias = values(self.weights, "bottleneck.fc2.bias");
        let table: Vec<f32> = values(self.weights, "position")
            .chunks_exact(self.arch.width)
            .flat_map(|row| row.iter().zip(bias).map(|(p, b)| p + b))
            .collect();
        self.g.weight("position", &[self.arch.tokens(), self.arch.width], &table)
    }

    fn block(&mut self, i: usize, x: &Value) -> Value {
        let at = |part: &str| format!("block.{i}.{part}");
        let normed = self.normalised(&at("norm1"), x);
        let attended = self.attention(i, &normed);
        let projected = self.trained(&at("proj"), &attended);
        let x = self.g.add(&at("attended"), x, &projected);
        let normed = self.normalised(&at("norm2"), &x);
        let fc1 = self.after_norm(&at("norm2"), &at("fc1"));
        let inner = fc1.wire(self.g, &at("fc1"), &normed);
        let inner = self.g.gelu(&at("gelu"), &inner);
        let inner = self.trained(&at("fc2"), &inner);
        self.g.add(&at("out"), &x, &inner)
    }

    fn attention(&mut self, i: usize, x: &Value) -> Value {
        let at = |part: &str| format!("block.{i}.{part}");
        let (n, width, heads) = (self.arch.rows(), self.arch.width, self.arch.heads);
        let per_head = [n, heads, width / heads];
        let [q, k, v] = self.qkv(i, x);
        let q = self.g.elu_plus_one(&at("q.positive"), &q);
        let k = self.g.elu_plus_one(&at("k.positive"), &k);
        let q = self.g.reshape(&at("q.heads"), &q, &per_head);
        let k = self.g.reshape(&at("k.heads"), &k, &per_head);
        let v = self.g.reshape(&at("v.heads"), &v, &per_head);
        let q = self.g.transpose(&at("q.by_head"), &q, &[1, 0, 2]);
        let k = self.g.transpose(&at("k.by_head"), &k, &[1, 2, 0]);
        let v = self.g.transpose(&at("v.by_head"), &v, &[1, 0, 2]);
        let kv = self.g.matmul(&at("kv"), &k, &v);
        let sum_k = self.g.sum(&at("k.sum"), &k, 2);
        let numerator = self.g.matmul(&at("numerator"), &q, &kv);
        let denominator = self.g.matmul(&at("qk"), &q, &sum_k);
        let eps = self.g.constant(&at("eps"), &[], &[ATTENTION_EPS as f32]);
        let denominator = self.g.add(&at("denominator"), &denominator, &eps);
        let out = self.g.div(&at("attention.by_head"), &numerator, &denominator);
        let out = self.g.transpose(&at("attention.heads"), &out, &[1, 0, 2]);
        self.g.reshape(&at("attention"), &out, &[n, width])
    }

    /// Queries, keys and values as three products: slicing one product would copy it.
    fn qkv(&mut self, i: usize, x: &Value) -> [Value; 3] {
        let width = self.arch.width;
        let all = self.after_norm(&format!("block.{i}.norm1"), &format!("block.{i}.qkv"));
        [("q", 0), ("k", 1), ("v", 2)].map(|(name, part)| {
            let part = all.columns(part * width..(part + 1) * width);
            part.wire(self.g, &format!("block.{i}.{name}"), x)
        })
    }

    fn group(&mut self, at: usize, encoded: &Value, x: &Value) -> GroupPair {
        let channels = self.arch.group_channels(at);
        let (norm, fc) = (format!("out.{at}.norm"), format!("out.{at}.fc"));
        let normed = self.normalised(&norm, x);
        let folded = self.after_norm(&norm, &fc);
        let decoded = folded.wire(self.g, &fc, &normed);
        let encoded = self.g.columns(&format!("group.{at}.encoded"), encoded, channels);
        GroupPair { encoded, decoded }
    }

    /// The published reading: a tap as it is, and the mean of some blocks, extra tokens dropped.
    fn mean_group(&mut self, at: usize, taps: &[&Value], states: &[Value]) -> GroupPair {
        let grid = self.arch.extra_tokens()..self.arch.rows();
        let members: Vec<&Value> = states[self.arch.group_blocks(at)].iter().collect();
        let name = |part: &str| format!("group.{at}.{part}");
        let decoded = self.g.mean_of(&name("mean"), &members);
        let tap = taps[self.arch.groups[at].taps[0]];
        GroupPair {
            encoded: self.g.row_range(&name("encoded"), tap, grid.clone()),
            decoded: self.g.row_range(&name("decoded"), &decoded, grid),
        }
    }

    /// Mean 0 and variance 1 over channels, without `gamma` and `beta`.
    fn normalised(&mut self, name: &str, x: &Value) -> Value {
        self.g.normalised(name, x, self.arch.norm_eps())
    }

    /// The linear layer `name` with the `gamma` and `beta` of the norm before it.
    fn after_norm(&self, norm: &str, name: &str) -> Linear {
        let gamma = values(self.weights, &format!("{norm}.gamma"));
        let beta = values(self.weights, &format!("{norm}.beta"));
        self.read(name).after_norm(gamma, beta)
    }

    fn read(&self, name: &str) -> Linear {
        let part = |p: &str| values(self.weights, &format!("{name}.{p}")).to_vec();
        Linear { weight: part("weight"), bias: part("bias") }
    }

    fn trained(&mut self, name: &str, x: &Value) -> Value {
        self.read(name).wire(self.g, name, x)
    }
}

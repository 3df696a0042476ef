//! Masked bottleneck, linear-attention blocks and group outputs as ONNX nodes.
//!
//! Everything is tokens by channels, so that linear layers are plain matrix products. A norm's
//! `gamma` and `beta` are folded into the linear layers behind it: a product by a row vector is
//! a slow path in some runtimes.

use super::weights::values;
use crate::arch::{ATTENTION_EPS, Architecture, NORM_EPS, Weights};
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
    let encoded = net.g.concat("features", &taps.iter().collect::<Vec<_>>(), 1);
    let mut x = net.bottleneck(&encoded);
    let mut pairs: Vec<Option<GroupPair>> = arch.groups.iter().map(|_| None).collect();
    for i in 0..arch.depth {
        x = net.block(i, &x);
        for (at, group) in arch.groups.iter().enumerate() {
            if group.after_block == i + 1 {
                pairs[at] = Some(net.group(at, &encoded, &x));
            }
        }
    }
    pairs.into_iter().flatten().collect()
}

/// A linear layer: `weight` is `[in, out]`.
struct Linear {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

struct Net<'a> {
    g: &'a mut GraphBuilder,
    arch: &'a Architecture,
    weights: &'a Weights,
}

impl Net<'_> {
    fn bottleneck(&mut self, features: &Value) -> Value {
        let (c, hidden, width) = (self.arch.channels(), self.arch.bottleneck, self.arch.width);
        // In training each feature is kept with this probability; in the mean over masks the
        // first linear layer sees its input times it.
        let keep = 1.0 - self.arch.mask_probability;
        let mut fc1 = self.read("bottleneck.fc1");
        fc1.weight.iter_mut().for_each(|w| *w *= keep);
        let x = self.linear("bottleneck.fc1", features, [c, hidden], &fc1);
        let x = self.g.gelu("bottleneck.gelu", &x);
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
        let (width, hidden) = (self.arch.width, self.arch.width * self.arch.mlp_ratio);
        let normed = self.normalised(&at("norm1"), x);
        let attended = self.attention(i, &normed);
        let projected = self.trained(&at("proj"), &attended, [width, width]);
        let x = self.g.add(&at("attended"), x, &projected);
        let normed = self.normalised(&at("norm2"), &x);
        let fc1 = self.after_norm(&at("norm2"), &at("fc1"));
        let inner = self.linear(&at("fc1"), &normed, [width, hidden], &fc1);
        let inner = self.g.gelu(&at("gelu"), &inner);
        let inner = self.trained(&at("fc2"), &inner, [hidden, width]);
        self.g.add(&at("out"), &x, &inner)
    }

    fn attention(&mut self, i: usize, x: &Value) -> Value {
        let at = |part: &str| format!("block.{i}.{part}");
        let (n, width, heads) = (self.arch.tokens(), self.arch.width, self.arch.heads);
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
            let columns = part * width..(part + 1) * width;
            let rows = all.weight.chunks_exact(3 * width);
            let weight = rows.flat_map(|row| row[columns.clone()].iter().copied()).collect();
            let part = Linear { weight, bias: all.bias[columns].to_vec() };
            self.linear(&format!("block.{i}.{name}"), x, [width, width], &part)
        })
    }

    fn group(&mut self, at: usize, encoded: &Value, x: &Value) -> GroupPair {
        let channels = self.arch.group_channels(at);
        let width = self.arch.width;
        let (norm, fc) = (format!("out.{at}.norm"), format!("out.{at}.fc"));
        let normed = self.normalised(&norm, x);
        let folded = self.after_norm(&norm, &fc);
        let decoded = self.linear(&fc, &normed, [width, channels.len()], &folded);
        let encoded = self.g.columns(&format!("group.{at}.encoded"), encoded, channels);
        GroupPair { encoded, decoded }
    }

    /// Mean 0 and variance 1 over channels, without `gamma` and `beta`.
    fn normalised(&mut self, name: &str, x: &Value) -> Value {
        let width = self.arch.width;
        let ones = self.g.constant(&format!("{name}.ones"), &[width], &vec![1.0; width]);
        self.g.layer_norm(name, x, &ones, NORM_EPS as f32)
    }

    /// The linear layer `name` with the `gamma` and `beta` of the norm before it:
    /// `(gamma * n + beta) W + b = n (gamma W) + (beta W + b)`.
    fn after_norm(&self, norm: &str, name: &str) -> Linear {
        let plain = self.read(name);
        let gamma = values(self.weights, &format!("{norm}.gamma"));
        let beta = values(self.weights, &format!("{norm}.beta"));
        let mut bias: Vec<f64> = plain.bias.iter().map(|b| f64::from(*b)).collect();
        let mut weight = Vec::with_capacity(plain.weight.len());
        for ((row, g), b) in plain.weight.chunks_exact(bias.len()).zip(gamma).zip(beta) {
            weight.extend(row.iter().map(|w| w * g));
            bias.iter_mut().zip(row).for_each(|(o, w)| *o += f64::from(*b) * f64::from(*w));
        }
        Linear { weight, bias: bias.iter().map(|b| *b as f32).collect() }
    }

    fn read(&self, name: &str) -> Linear {
        let part = |p: &str| values(self.weights, &format!("{name}.{p}")).to_vec();
        Linear { weight: part("weight"), bias: part("bias") }
    }

    fn trained(&mut self, name: &str, x: &Value, shape: [usize; 2]) -> Value {
        self.linear(name, x, shape, &self.read(name))
    }

    fn linear(&mut self, name: &str, x: &Value, shape: [usize; 2], layer: &Linear) -> Value {
        let weight = self.g.weight(&format!("{name}.weight"), &shape, &layer.weight);
        let bias = self.g.weight(&format!("{name}.bias"), &shape[1..], &layer.bias);
        let product = self.g.matmul(&format!("{name}.product"), x, &weight);
        self.g.add(name, &product, &bias)
    }
}

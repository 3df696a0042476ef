//! Bottleneck, linear-attention blocks and group outputs (steps 2 to 4 of [`crate::arch`]).

use burn::tensor::activation::gelu;
use burn::tensor::module::layer_norm;
use burn::tensor::{Int, Tensor};

use super::attention::{HeadMask, linear_attention};
use super::lift::Lifted;
use crate::arch::{Architecture, NORM_EPS};

/// `x W + b` over the last dimension of a matrix.
#[derive(Clone)]
pub(super) struct Linear {
    weight: Tensor<2>,
    bias: Tensor<2>,
}

impl Linear {
    pub(super) fn new(w: &Lifted<'_>, name: &str) -> Self {
        Self {
            weight: w.get(&format!("{name}.weight")),
            bias: w.get::<1>(&format!("{name}.bias")).unsqueeze(),
        }
    }

    /// `weight` is `[in, out]`, `bias` `[1, out]`.
    pub(super) fn from_parts(weight: Tensor<2>, bias: Tensor<2>) -> Self {
        Self { weight, bias }
    }

    pub(super) fn run(&self, x: Tensor<2>) -> Tensor<2> {
        x.matmul(self.weight.clone()) + self.bias.clone()
    }
}

struct Norm {
    gamma: Tensor<1>,
    beta: Tensor<1>,
}

impl Norm {
    fn new(w: &Lifted<'_>, name: &str) -> Self {
        Self { gamma: w.get(&format!("{name}.gamma")), beta: w.get(&format!("{name}.beta")) }
    }

    fn run(&self, x: Tensor<2>) -> Tensor<2> {
        layer_norm(x, self.gamma.clone(), Some(self.beta.clone()), NORM_EPS)
    }
}

struct Block {
    norm1: Norm,
    qkv: Linear,
    proj: Linear,
    norm2: Norm,
    fc1: Linear,
    fc2: Linear,
}

impl Block {
    fn new(w: &Lifted<'_>, i: usize) -> Self {
        let name = |part: &str| format!("block.{i}.{part}");
        Self {
            norm1: Norm::new(w, &name("norm1")),
            qkv: Linear::new(w, &name("qkv")),
            proj: Linear::new(w, &name("proj")),
            norm2: Norm::new(w, &name("norm2")),
            fc1: Linear::new(w, &name("fc1")),
            fc2: Linear::new(w, &name("fc2")),
        }
    }

    /// `x` is `[sequences * tokens, width]`.
    fn run(&self, x: Tensor<2>, sequences: usize, mask: &HeadMask) -> Tensor<2> {
        let [rows, width] = x.dims();
        let tokens = rows / sequences;
        let qkv = self.qkv.run(self.norm1.run(x.clone())).reshape([sequences, tokens, 3 * width]);
        let part = |i: usize| qkv.clone().narrow(2, i * width, width);
        let mixed = linear_attention(part(0), part(1), part(2), mask).reshape([rows, width]);
        let x = x + self.proj.run(mixed);
        let hidden = gelu(self.fc1.run(self.norm2.run(x.clone())));
        x + self.fc2.run(hidden)
    }
}

struct Output {
    norm: Norm,
    fc: Linear,
}

/// What the decoder says about a batch: one `[sequences * tokens, group channels]` per group.
pub struct Reading {
    /// In group order.
    pub groups: Vec<Tensor<2>>,
}

/// Bottleneck, blocks and outputs, lifted for one step.
pub struct Decoder {
    fc1: Linear,
    fc2: Linear,
    position: Tensor<2>,
    blocks: Vec<Block>,
    outputs: Vec<Output>,
    after_block: Vec<usize>,
    mask: HeadMask,
}

impl Decoder {
    /// Takes the decoder's weights out of `w`.
    pub fn new(w: &Lifted<'_>, arch: &Architecture) -> Self {
        let output = |g: usize| Output {
            norm: Norm::new(w, &format!("out.{g}.norm")),
            fc: Linear::new(w, &format!("out.{g}.fc")),
        };
        Self {
            fc1: Linear::new(w, "bottleneck.fc1"),
            fc2: Linear::new(w, "bottleneck.fc2"),
            position: w.get("position"),
            blocks: (0..arch.depth).map(|i| Block::new(w, i)).collect(),
            outputs: (0..arch.groups.len()).map(output).collect(),
            after_block: arch.groups.iter().map(|g| g.after_block).collect(),
            mask: HeadMask::new(arch.width, arch.heads, w.device()),
        }
    }

    /// `features` is `[sequences * tokens, C]`, standardised and already masked (training) or
    /// scaled (inference). `tokens` picks the grid positions when only some of them are present;
    /// the same ones for every sequence.
    pub fn run(
        &self,
        features: Tensor<2>,
        sequences: usize,
        tokens: Option<Tensor<1, Int>>,
    ) -> Reading {
        let rows = features.dims()[0];
        let x = self.fc2.run(gelu(self.fc1.run(features)));
        let width = x.dims()[1];
        let position = match tokens {
            Some(indices) => self.position.clone().select(0, indices),
            None => self.position.clone(),
        };
        let x = x.reshape([sequences, rows / sequences, width]) + position.unsqueeze::<3>();
        let mut x = x.reshape([rows, width]);
        let mut states = Vec::with_capacity(self.blocks.len());
        for block in &self.blocks {
            x = block.run(x, sequences, &self.mask);
            states.push(x.clone());
        }
        let read = |(output, after): (&Output, &usize)| {
            output.fc.run(output.norm.run(states[after - 1].clone()))
        };
        Reading { groups: self.outputs.iter().zip(&self.after_block).map(read).collect() }
    }
}

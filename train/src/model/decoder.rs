//! Bottleneck, linear-attention blocks and group outputs (steps 2 to 4 of [`crate::arch`]).

use burn::tensor::activation::gelu;
use burn::tensor::module::layer_norm;
use burn::tensor::{Int, Tensor};

use super::attention::{HeadMask, linear_attention};
use super::lift::Lifted;
use crate::arch::Architecture;

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
    eps: f64,
}

impl Norm {
    fn new(w: &Lifted<'_>, name: &str, eps: f64) -> Self {
        Self { gamma: w.get(&format!("{name}.gamma")), beta: w.get(&format!("{name}.beta")), eps }
    }

    fn run(&self, x: Tensor<2>) -> Tensor<2> {
        layer_norm(x, self.gamma.clone(), Some(self.beta.clone()), self.eps)
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
    fn new(w: &Lifted<'_>, i: usize, eps: f64) -> Self {
        let name = |part: &str| format!("block.{i}.{part}");
        Self {
            norm1: Norm::new(w, &name("norm1"), eps),
            qkv: Linear::new(w, &name("qkv")),
            proj: Linear::new(w, &name("proj")),
            norm2: Norm::new(w, &name("norm2"), eps),
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
    /// By grid position, of the projected scheme.
    position: Option<Tensor<2>>,
    blocks: Vec<Block>,
    /// By group, of the projected scheme.
    outputs: Vec<Output>,
    /// Blocks that each group is read from.
    read_from: Vec<std::ops::Range<usize>>,
    extra: usize,
    mask: HeadMask,
}

impl Decoder {
    /// Takes the decoder's weights out of `w`.
    pub fn new(w: &Lifted<'_>, arch: &Architecture) -> Self {
        let output = |g: usize| Output {
            norm: Norm::new(w, &format!("out.{g}.norm"), arch.norm_eps()),
            fc: Linear::new(w, &format!("out.{g}.fc")),
        };
        let projections = if arch.is_projected() { arch.groups.len() } else { 0 };
        Self {
            fc1: Linear::new(w, "bottleneck.fc1"),
            fc2: Linear::new(w, "bottleneck.fc2"),
            position: arch.is_projected().then(|| w.get("position")),
            blocks: (0..arch.depth).map(|i| Block::new(w, i, arch.norm_eps())).collect(),
            outputs: (0..projections).map(output).collect(),
            read_from: (0..arch.groups.len()).map(|g| arch.group_blocks(g)).collect(),
            extra: arch.extra_tokens(),
            mask: HeadMask::new(arch.width, arch.heads, w.device()),
        }
    }

    /// `features` is `[sequences * rows, input channels]`, standardised and already masked
    /// (training) or scaled (inference); a sequence's extra tokens come first. `tokens` picks the
    /// grid positions when only some of them are present; the same ones for every sequence.
    pub fn run(
        &self,
        features: Tensor<2>,
        sequences: usize,
        tokens: Option<Tensor<1, Int>>,
    ) -> Reading {
        let hidden = gelu(self.fc1.run(features));
        self.read(self.fc2.run(hidden), sequences, tokens)
    }

    /// The same with factors on the bottleneck's hidden values and on its outputs: the dropout of
    /// a training step.
    pub fn run_dropped(
        &self,
        features: Tensor<2>,
        sequences: usize,
        [hidden, output]: [Tensor<2>; 2],
    ) -> Reading {
        let x = gelu(self.fc1.run(features)) * hidden;
        self.read(self.fc2.run(x) * output, sequences, None)
    }

    fn read(&self, x: Tensor<2>, sequences: usize, tokens: Option<Tensor<1, Int>>) -> Reading {
        let mut x = self.placed(x, sequences, tokens);
        let mut states = Vec::with_capacity(self.blocks.len());
        for block in &self.blocks {
            x = block.run(x, sequences, &self.mask);
            states.push(x.clone());
        }
        let group = |(g, from): (usize, &std::ops::Range<usize>)| {
            let members = &states[from.clone()];
            let sum = members[1..].iter().fold(members[0].clone(), |sum, s| sum + s.clone());
            let state = self.without_extra(sum / members.len() as f64, sequences);
            match self.outputs.get(g) {
                Some(output) => output.fc.run(output.norm.run(state)),
                None => state,
            }
        };
        Reading { groups: self.read_from.iter().enumerate().map(group).collect() }
    }

    /// With the positions added, where there are any.
    fn placed(&self, x: Tensor<2>, sequences: usize, tokens: Option<Tensor<1, Int>>) -> Tensor<2> {
        let Some(table) = self.position.clone() else { return x };
        let [rows, width] = x.dims();
        let position = match tokens {
            Some(indices) => table.select(0, indices),
            None => table,
        };
        let x = x.reshape([sequences, rows / sequences, width]) + position.unsqueeze::<3>();
        x.reshape([rows, width])
    }

    /// Only the rows of the grid.
    fn without_extra(&self, x: Tensor<2>, sequences: usize) -> Tensor<2> {
        if self.extra == 0 {
            return x;
        }
        let [rows, width] = x.dims();
        let (each, grid) = (rows / sequences, rows / sequences - self.extra);
        let x = x.reshape([sequences, each, width]).narrow(1, self.extra, grid);
        x.reshape([sequences * grid, width])
    }
}

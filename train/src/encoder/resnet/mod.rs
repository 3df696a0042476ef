//! ResNet-18, ResNet-50 and wide ResNet-50-2 with torchvision's tensor names: `conv1`, `bn1`,
//! `layer{1..4}.{i}.conv{1..3}`, `bn{1..3}`, `downsample.{0,1}`.
//!
//! A stride stands in the 3x3 convolution, as in torchvision. The tap at the end of `layer{n}`
//! is called by its stride: `f4`, `f8`, `f16`, `f32`.

pub(super) mod nodes;

use super::spec::{NamedShape, push_norm};

/// Channels after the first convolution.
pub const STEM_CHANNELS: usize = 64;
/// Side of the first convolution.
pub const STEM_KERNEL: usize = 7;
/// Epsilon of every batch normalisation.
pub const BN_EPS: f64 = 1e-5;
/// Input sides are multiples of this: the product of all strides.
pub const INPUT_MULTIPLE: usize = 32;

/// The taps' names, by layer.
const TAPS: [&str; 4] = ["f4", "f8", "f16", "f32"];

/// One member of the family.
#[derive(Debug, PartialEq, Eq)]
pub struct ResnetSpec {
    /// Name as in `Architecture::encoder`.
    pub name: &'static str,
    /// Blocks in each layer.
    pub repeats: [usize; 4],
    /// Channels of the 3x3 convolutions in the first layer; they double with each layer.
    pub inner: usize,
    /// Output channels of the first layer; they double with each layer.
    pub output: usize,
    /// Whether a block is 1x1, 3x3, 1x1 (else 3x3, 3x3).
    pub bottleneck: bool,
}

/// The supported members.
pub static RESNETS: [ResnetSpec; 3] = [
    ResnetSpec {
        name: "resnet18",
        repeats: [2, 2, 2, 2],
        inner: 64,
        output: 64,
        bottleneck: false,
    },
    ResnetSpec {
        name: "resnet50",
        repeats: [3, 4, 6, 3],
        inner: 64,
        output: 256,
        bottleneck: true,
    },
    ResnetSpec {
        name: "wide_resnet50_2",
        repeats: [3, 4, 6, 3],
        inner: 128,
        output: 256,
        bottleneck: true,
    },
];

/// A convolution of a block with its batch normalisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conv {
    /// Tensor name of the convolution, without `.weight`.
    pub conv: String,
    /// Tensor name of the normalisation.
    pub norm: String,
    /// `[out, in, kernel, kernel]`.
    pub shape: [usize; 4],
    /// Stride.
    pub stride: usize,
}

/// One residual block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// `layer{n}.{i}`.
    pub name: String,
    /// The convolutions in order, a ReLU between them and after the sum.
    pub convs: Vec<Conv>,
    /// What the input passes through before the sum, when its shape changes.
    pub shortcut: Option<Conv>,
    /// Name of the tap this block ends, if any.
    pub tap: Option<&'static str>,
}

impl ResnetSpec {
    /// All blocks in order.
    pub fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut input = STEM_CHANNELS;
        for (layer, &repeats) in self.repeats.iter().enumerate() {
            for i in 0..repeats {
                let stride = if i == 0 && layer > 0 { 2 } else { 1 };
                let tap = (i + 1 == repeats).then_some(TAPS[layer]);
                blocks.push(self.block(layer, i, (input, stride), tap));
                input = self.output << layer;
            }
        }
        blocks
    }

    fn block(
        &self,
        layer: usize,
        i: usize,
        (input, stride): (usize, usize),
        tap: Option<&'static str>,
    ) -> Block {
        let name = format!("layer{}.{i}", layer + 1);
        let (inner, output) = (self.inner << layer, self.output << layer);
        let conv = |n: usize, shape: [usize; 4], stride: usize| Conv {
            conv: format!("{name}.conv{n}"),
            norm: format!("{name}.bn{n}"),
            shape,
            stride,
        };
        let convs = if self.bottleneck {
            vec![
                conv(1, [inner, input, 1, 1], 1),
                conv(2, [inner, inner, 3, 3], stride),
                conv(3, [output, inner, 1, 1], 1),
            ]
        } else {
            vec![conv(1, [inner, input, 3, 3], stride), conv(2, [output, inner, 3, 3], 1)]
        };
        let shortcut = (stride != 1 || input != output).then(|| Conv {
            conv: format!("{name}.downsample.0"),
            norm: format!("{name}.downsample.1"),
            shape: [output, input, 1, 1],
            stride,
        });
        Block { name, convs, shortcut, tap }
    }

    /// Channels and stride of the tap `name`.
    pub fn tap(&self, name: &str) -> Option<(usize, usize)> {
        let layer = TAPS.iter().position(|tap| *tap == name)?;
        Some((self.output << layer, 4 << layer))
    }

    /// Names and shapes of all tensors but the classifier's.
    pub fn tensors(&self) -> Vec<NamedShape> {
        let mut all =
            vec![("conv1.weight".to_owned(), vec![STEM_CHANNELS, 3, STEM_KERNEL, STEM_KERNEL])];
        push_norm(&mut all, "bn1", STEM_CHANNELS);
        for block in self.blocks() {
            for conv in block.convs.iter().chain(&block.shortcut) {
                all.push((format!("{}.weight", conv.conv), conv.shape.to_vec()));
                push_norm(&mut all, &conv.norm, conv.shape[0]);
            }
        }
        all
    }

    /// Tensors of deeper members.
    pub(super) fn absent(&self) -> Vec<String> {
        let beyond = |(layer, n): (usize, &usize)| format!("layer{}.{n}.conv1.weight", layer + 1);
        let mut all: Vec<String> = self.repeats.iter().enumerate().map(beyond).collect();
        // The first three convolutions of a deep network fit a shallow one by name.
        all.extend((!self.bottleneck).then(|| "layer1.0.conv3.weight".to_owned()));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feature_parameters_agree_with_the_published_models() {
        // Published counts less the classifier's; batch-norm statistics come on top.
        let published = [11_689_512, 25_557_032, 68_883_240];
        for (spec, published) in RESNETS.iter().zip(published) {
            let all = spec.tensors();
            let trained = all.iter().filter(|(n, _)| !n.contains("running"));
            let count: usize = trained.map(|(_, s)| s.iter().product::<usize>()).sum();
            let features = spec.output * 8;
            assert_eq!(count, published - (1000 * features + 1000), "{}", spec.name);
        }
    }
}

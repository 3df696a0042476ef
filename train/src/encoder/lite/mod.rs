//! The EfficientNet-Lite family: EfficientNet without squeeze-and-excitation, with ReLU6, and
//! with stem, first and last stage not scaled (tensorflow/tpu, `efficientnet_lite_builder`).
//!
//! Tensor names are those of the published PyTorch weights: `_conv_stem`, `_bn0`,
//! `_blocks.{i}._{expand,depthwise,project}_conv`, `_blocks.{i}._bn{0,1,2}`. Those of timm's
//! `tf_efficientnet_lite*` are translated when weights are read ([`from_timm`]).

pub(super) mod nodes;
mod timm;

pub(super) use timm::from_timm;

use super::spec::push_norm;

/// Channels after the first convolution.
pub const STEM_CHANNELS: usize = 32;
/// Epsilon of every batch normalisation.
pub const BN_EPS: f64 = 1e-3;
/// Subtracted from each input byte.
pub const INPUT_MEAN: f32 = 127.0;
/// Then divided by this.
pub const INPUT_SCALE: f32 = 128.0;
/// Input sides are multiples of this: the product of all strides.
pub const INPUT_MULTIPLE: usize = 32;

/// Inverted-residual blocks of one kernel and width; only the first has a stride.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Blocks.
    pub repeats: usize,
    /// Depthwise kernel side.
    pub kernel: usize,
    /// Stride of the first block.
    pub stride: usize,
    /// Hidden channels as a multiple of the input's.
    pub expand: usize,
    /// Output channels.
    pub channels: usize,
    /// Name of the tap at the end of this stage, if there is one.
    pub tap: Option<&'static str>,
}

/// One member of the family.
#[derive(Debug, PartialEq, Eq)]
pub struct LiteSpec {
    /// Name as in `Architecture::encoder`.
    pub name: &'static str,
    /// Stages from the stem on.
    pub stages: [Stage; 7],
}

/// The supported members.
pub static LITES: [LiteSpec; 3] = [
    LiteSpec {
        name: "efficientnet_lite0",
        stages: stages([1, 2, 2, 3, 3, 4, 1], [16, 24, 40, 80, 112, 192, 320]),
    },
    LiteSpec {
        name: "efficientnet_lite1",
        stages: stages([1, 3, 3, 4, 4, 5, 1], [16, 24, 40, 80, 112, 192, 320]),
    },
    LiteSpec {
        name: "efficientnet_lite2",
        stages: stages([1, 3, 3, 4, 4, 5, 1], [16, 24, 48, 88, 120, 208, 352]),
    },
];

const fn stages(repeats: [usize; 7], channels: [usize; 7]) -> [Stage; 7] {
    const KERNEL: [usize; 7] = [3, 3, 5, 3, 5, 5, 3];
    const STRIDE: [usize; 7] = [1, 2, 2, 2, 1, 2, 1];
    const TAP: [Option<&str>; 7] =
        [None, Some("f4"), Some("f8"), None, Some("f16"), None, Some("f32")];
    let mut out =
        [Stage { repeats: 0, kernel: 0, stride: 0, expand: 6, channels: 0, tap: None }; 7];
    let mut i = 0;
    while i < 7 {
        out[i].repeats = repeats[i];
        out[i].kernel = KERNEL[i];
        out[i].stride = STRIDE[i];
        out[i].channels = channels[i];
        out[i].tap = TAP[i];
        i += 1;
    }
    out[0].expand = 1;
    out
}

/// One inverted-residual block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Number in the tensor names.
    pub index: usize,
    /// Input channels.
    pub input: usize,
    /// Channels between expansion and projection.
    pub hidden: usize,
    /// Output channels.
    pub output: usize,
    /// Depthwise kernel side.
    pub kernel: usize,
    /// Depthwise stride.
    pub stride: usize,
    /// Whether there is an expansion convolution.
    pub expands: bool,
    /// Name of the tap this block ends, if any.
    pub tap: Option<&'static str>,
}

impl LiteSpec {
    /// All blocks in order.
    pub fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut input = STEM_CHANNELS;
        for stage in &self.stages {
            for n in 0..stage.repeats {
                blocks.push(Block {
                    index: blocks.len(),
                    input,
                    hidden: input * stage.expand,
                    output: stage.channels,
                    kernel: stage.kernel,
                    stride: if n == 0 { stage.stride } else { 1 },
                    expands: stage.expand != 1,
                    tap: stage.tap.filter(|_| n + 1 == stage.repeats),
                });
                input = stage.channels;
            }
        }
        blocks
    }

    /// Channels and stride of the tap `name`.
    pub fn tap(&self, name: &str) -> Option<(usize, usize)> {
        let mut stride = 2; // the stem halves the picture once
        self.blocks().iter().find_map(|b| {
            stride *= b.stride;
            (b.tap == Some(name)).then_some((b.output, stride))
        })
    }

    /// Names and shapes of all tensors up to the last tap; the classifier is not part of it.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let mut all = vec![("_conv_stem.weight".to_owned(), vec![STEM_CHANNELS, 3, 3, 3])];
        push_norm(&mut all, "_bn0", STEM_CHANNELS);
        for b in self.blocks() {
            let at = |part: &str| format!("_blocks.{}.{part}", b.index);
            if b.expands {
                all.push((at("_expand_conv.weight"), vec![b.hidden, b.input, 1, 1]));
                push_norm(&mut all, &at("_bn0"), b.hidden);
            }
            all.push((at("_depthwise_conv.weight"), vec![b.hidden, 1, b.kernel, b.kernel]));
            push_norm(&mut all, &at("_bn1"), b.hidden);
            all.push((at("_project_conv.weight"), vec![b.output, b.hidden, 1, 1]));
            push_norm(&mut all, &at("_bn2"), b.output);
        }
        all
    }
}

/// Tensor name that every block has.
pub(super) fn block_name(index: usize) -> String {
    format!("_blocks.{index}._project_conv.weight")
}

/// TensorFlow's SAME padding `(before, after)`: the odd pixel goes after.
pub fn same_padding(input: usize, kernel: usize, stride: usize) -> (usize, usize) {
    let output = input.div_ceil(stride);
    let total = ((output - 1) * stride + kernel).saturating_sub(input);
    (total / 2, total - total / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_asymmetric_at_stride_two_on_even_sides() {
        assert_eq!(same_padding(256, 3, 2), (0, 1));
        assert_eq!(same_padding(256, 5, 2), (1, 2));
        assert_eq!(same_padding(256, 5, 1), (2, 2));
        assert_eq!(same_padding(255, 3, 2), (1, 1));
    }

    #[test]
    fn the_smallest_encoder_has_sixteen_blocks_and_its_taps_have_the_published_channels() {
        let blocks = LITES[0].blocks();
        assert_eq!(blocks.len(), 16);
        let taps: Vec<_> =
            blocks.iter().filter_map(|b| Some((b.index, b.tap?, b.output))).collect();
        assert_eq!(taps, [(2, "f4", 24), (4, "f8", 40), (10, "f16", 112), (15, "f32", 320)]);
    }

    #[test]
    fn feature_parameters_agree_with_the_published_model() {
        // The PyTorch file holds 4 652 008 trainable values, 1 690 600 of them in the head and
        // classifier that are left out here; batch-norm statistics come on top.
        let count = |f: &dyn Fn(&str) -> bool| -> usize {
            let all = LITES[0].tensors();
            all.iter().filter(|(n, _)| f(n)).map(|(_, s)| s.iter().product::<usize>()).sum()
        };
        let trained = count(&|n| !n.contains("running"));
        assert_eq!(trained, 4_652_008 - (1280 * 320 + 2 * 1280) - (1000 * 1280 + 1000));
    }
}

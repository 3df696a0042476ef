//! EfficientNet-Lite as ONNX nodes: stem, inverted-residual blocks.

use super::{BN_EPS, Block, INPUT_MEAN, INPUT_SCALE, LiteSpec, STEM_CHANNELS, same_padding};
use crate::encoder::EncoderWeights;
use crate::encoder::folded::Folded;
use crate::encoder::nodes::{Source, picture};
use crate::onnx::{GraphBuilder, Value};

/// Adds the encoder up to the last tap asked for; `take` gets each tap's name and value
/// `[1, c, side, side]`.
pub(in crate::encoder) fn wire(
    g: &mut GraphBuilder,
    source: Source,
    spec: &LiteSpec,
    mut take: impl FnMut(&mut GraphBuilder, &str, &Value),
) {
    let mut x = stem(g, source);
    let blocks = spec.blocks();
    let wanted = |b: &Block| b.tap.is_some_and(|t| source.arch.taps.iter().any(|a| a.name == t));
    let last = blocks.iter().rposition(wanted).unwrap_or(0);
    for b in &blocks[..=last] {
        x = block(g, source.weights, b, &x);
        if let Some(tap) = b.tap {
            take(g, tap, &x);
        }
    }
}

fn stem(g: &mut GraphBuilder, source: Source) -> Value {
    let x = picture(g, source.arch.input);
    let mean = g.constant("encoder.mean", &[], &[INPUT_MEAN]);
    let x = g.sub("encoder.centred", &x, &mean);
    let conv = Folded {
        name: "encoder.stem".to_owned(),
        weight: "_conv_stem.weight".to_owned(),
        norm: "_bn0".to_owned(),
        shape: [STEM_CHANNELS, 3, 3, 3],
        scale: [1.0 / f64::from(INPUT_SCALE); 3],
        stride: 2,
        pads: same_padding(source.arch.input, 3, 2),
        eps: BN_EPS,
    };
    let x = conv.wire(g, source.weights, &x);
    g.clip("encoder.stem.relu6", &x, 0.0, 6.0)
}

fn block(g: &mut GraphBuilder, weights: &EncoderWeights, b: &Block, input: &Value) -> Value {
    let at = |part: &str| format!("encoder.block.{}.{part}", b.index);
    let side = input.shape().last().copied().unwrap_or(1);
    let conv = |part: &str, norm: &str, shape: [usize; 4], stride: usize| Folded {
        name: at(part),
        weight: format!("_blocks.{}._{part}_conv.weight", b.index),
        norm: format!("_blocks.{}.{norm}", b.index),
        shape,
        scale: [1.0; 3],
        stride,
        pads: same_padding(side, shape[2], stride),
        eps: BN_EPS,
    };
    let mut x = input.clone();
    if b.expands {
        let expand = conv("expand", "_bn0", [b.hidden, b.input, 1, 1], 1);
        x = if b.stride == 1 {
            let x = expand.wire(g, weights, &x);
            g.clip(&at("expand.relu6"), &x, 0.0, 6.0)
        } else {
            wire_channels_last(&expand, g, weights, &x)
        };
    }
    let depthwise = conv("depthwise", "_bn1", [b.hidden, 1, b.kernel, b.kernel], b.stride);
    x = depthwise.wire(g, weights, &x);
    x = g.clip(&at("depthwise.relu6"), &x, 0.0, 6.0);
    x = conv("project", "_bn2", [b.output, b.hidden, 1, 1], 1).wire(g, weights, &x);
    if b.stride == 1 && b.input == b.output { g.add(&at("sum"), &x, input) } else { x }
}

/// A 1x1 convolution and ReLU6 as a matrix product with channels last. The values are those
/// of `wire`; the layout tells the CPU runtime to keep channels last in the strided depthwise
/// convolution behind it, which it then does across channels instead of one by one.
fn wire_channels_last(
    conv: &Folded,
    g: &mut GraphBuilder,
    weights: &EncoderWeights,
    x: &Value,
) -> Value {
    let at = |part: &str| format!("{}.{part}", conv.name);
    let [output, input, ..] = conv.shape;
    let (kernel, bias) = conv.fold(weights);
    let columns = (0..input).flat_map(|i| kernel[i..].iter().step_by(input).copied());
    let columns: Vec<f32> = columns.collect();
    let kernel = g.weight(&at("weight"), &[input, output], &columns);
    let bias = g.weight(&at("bias"), &[output], &bias);
    let x = g.transpose(&at("pixels"), x, &[0, 2, 3, 1]);
    let x = g.matmul(&at("product"), &x, &kernel);
    let x = g.add(&conv.name, &x, &bias);
    let x = g.clip(&at("relu6"), &x, 0.0, 6.0);
    g.transpose(&at("planes"), &x, &[0, 3, 1, 2])
}

//! ResNets as ONNX nodes: stem, residual blocks.

use super::{BN_EPS, Block, Conv, ResnetSpec, STEM_CHANNELS, STEM_KERNEL};
use crate::encoder::folded::Folded;
use crate::encoder::nodes::{Source, picture_imagenet};
use crate::onnx::{GraphBuilder, Value};

/// Adds the encoder up to the last tap asked for; `take` gets each tap's name and value
/// `[1, c, side, side]`.
pub(in crate::encoder) fn wire(
    g: &mut GraphBuilder,
    source: Source,
    spec: &ResnetSpec,
    mut take: impl FnMut(&mut GraphBuilder, &str, &Value),
) {
    let mut x = stem(g, source);
    let blocks = spec.blocks();
    let wanted = |b: &Block| b.tap.is_some_and(|t| source.arch.taps.iter().any(|a| a.name == t));
    let last = blocks.iter().rposition(wanted).unwrap_or(0);
    for b in &blocks[..=last] {
        x = block(g, source, b, &x);
        if let Some(tap) = b.tap {
            take(g, tap, &x);
        }
    }
}

fn stem(g: &mut GraphBuilder, source: Source) -> Value {
    let (x, scale) = picture_imagenet(g, source.arch.input);
    let conv = Folded {
        name: "encoder.stem".to_owned(),
        weight: "conv1.weight".to_owned(),
        norm: "bn1".to_owned(),
        shape: [STEM_CHANNELS, 3, STEM_KERNEL, STEM_KERNEL],
        scale,
        stride: 2,
        pads: (3, 3),
        eps: BN_EPS,
    };
    let x = conv.wire(g, source.weights, &x);
    let x = g.relu("encoder.stem.relu", &x);
    g.max_pool("encoder.stem.pool", &x, 3, 2, 1)
}

fn block(g: &mut GraphBuilder, source: Source, b: &Block, input: &Value) -> Value {
    let at = |part: &str| format!("encoder.{}.{part}", b.name);
    let mut x = input.clone();
    for (i, conv) in b.convs.iter().enumerate() {
        if i > 0 {
            x = g.relu(&at(&format!("relu{i}")), &x);
        }
        x = convolution(g, source, conv, &x);
    }
    let around = match &b.shortcut {
        Some(conv) => convolution(g, source, conv, input),
        None => input.clone(),
    };
    let sum = g.add(&at("sum"), &x, &around);
    g.relu(&at("out"), &sum)
}

fn convolution(g: &mut GraphBuilder, source: Source, conv: &Conv, x: &Value) -> Value {
    let folded = Folded {
        name: format!("encoder.{}", conv.conv),
        weight: format!("{}.weight", conv.conv),
        norm: conv.norm.clone(),
        shape: conv.shape,
        scale: [1.0; 3],
        stride: conv.stride,
        pads: (conv.shape[2] / 2, conv.shape[2] / 2),
        eps: BN_EPS,
    };
    folded.wire(g, source.weights, x)
}

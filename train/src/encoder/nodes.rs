//! The encoder as ONNX nodes: bytes in, taps brought to the token grid out.
//!
//! Batch normalisation is folded into the convolutions in 64-bit arithmetic, and the division by
//! 128 of the input into the stem. Only the blocks up to the last tap asked for are written.

use super::spec::{
    BN_EPS, Block, EncoderSpec, INPUT_MEAN, INPUT_MULTIPLE, INPUT_SCALE, STEM_CHANNELS,
    same_padding,
};
use super::{EncoderError, EncoderErrorKind, EncoderWeights, Result};
use crate::arch::Architecture;
use crate::onnx::{Conv2d, GraphBuilder, Value};
use crate::resample::upsampling;

/// Refuses an architecture that this encoder cannot serve.
///
/// # Errors
/// Names the field of the architecture that does not fit, and what would.
pub fn check(arch: &Architecture, spec: &EncoderSpec) -> Result<()> {
    let fail = |text: String| Err(EncoderError::new(EncoderErrorKind::Architecture, text));
    if arch.encoder != spec.name {
        return fail(format!("the model wants {}, the weights are {}", arch.encoder, spec.name));
    }
    if arch.input == 0 || !arch.input.is_multiple_of(INPUT_MULTIPLE) {
        return fail(format!("input side {} is not a multiple of {INPUT_MULTIPLE}", arch.input));
    }
    let blocks = spec.blocks();
    for tap in &arch.taps {
        let Some(block) = blocks.iter().find(|b| b.tap == Some(tap.name.as_str())) else {
            return fail(format!("{} has no tap `{}`", spec.name, tap.name));
        };
        let stride = stride_after(&blocks, block.index);
        if (block.output, stride) != (tap.channels, tap.stride) {
            return fail(format!(
                "tap `{}` has {} channels at stride {stride}, not {} at {}",
                tap.name, block.output, tap.channels, tap.stride
            ));
        }
        let side = arch.input / tap.stride;
        if arch.grid == 0 || !(side.is_multiple_of(arch.grid) || arch.grid.is_multiple_of(side)) {
            return fail(format!(
                "grid {} is no whole multiple or fraction of tap `{}`'s side {side}",
                arch.grid, tap.name
            ));
        }
    }
    if arch.taps.is_empty() { fail("the model has no taps".to_owned()) } else { Ok(()) }
}

/// Input pixels per feature pixel after block `index`; the stem halves the picture once.
fn stride_after(blocks: &[Block], index: usize) -> usize {
    2 * blocks[..=index].iter().map(|b| b.stride).product::<usize>()
}

/// Mean and standard deviation of each channel in the order of `arch.taps`.
pub type Statistics<'a> = (&'a [f32], &'a [f32]);

/// Adds the input `image` (UINT8 `[1, side, side, 3]`) and the encoder; gives each tap on the
/// grid as `[tokens, channels]` in the order of `arch.taps`, standardised when there are
/// statistics.
///
/// # Errors
/// When [`check`] refuses the architecture.
pub fn encoder(
    g: &mut GraphBuilder,
    arch: &Architecture,
    weights: &EncoderWeights,
    statistics: Option<Statistics>,
) -> Result<Vec<Value>> {
    check(arch, weights.spec())?;
    let mut x = stem(g, arch, weights);
    let blocks = weights.spec().blocks();
    let wanted = |b: &Block| arch.taps.iter().position(|t| b.tap == Some(t.name.as_str()));
    let last = blocks.iter().rposition(|b| wanted(b).is_some()).unwrap_or(0);
    let mut taps: Vec<Option<Value>> = vec![None; arch.taps.len()];
    for b in &blocks[..=last] {
        x = block(g, weights, b, &x);
        if let Some(at) = wanted(b) {
            taps[at] = Some(to_grid(g, arch, at, &x, statistics));
        }
    }
    Ok(taps.into_iter().flatten().collect())
}

fn stem(g: &mut GraphBuilder, arch: &Architecture, weights: &EncoderWeights) -> Value {
    let image = g.input_u8("image", &[1, arch.input, arch.input, 3]);
    // Cast first: TensorRT takes bytes as an input only when they are cast at once.
    let x = g.cast_f32("encoder.image", &image);
    let x = g.transpose("encoder.planes", &x, &[0, 3, 1, 2]);
    let mean = g.constant("encoder.mean", &[], &[INPUT_MEAN]);
    let x = g.sub("encoder.centred", &x, &mean);
    let conv = Folded {
        name: "encoder.stem".to_owned(),
        weight: "_conv_stem.weight".to_owned(),
        norm: "_bn0".to_owned(),
        shape: [STEM_CHANNELS, 3, 3, 3],
        scale: 1.0 / f64::from(INPUT_SCALE),
        stride: 2,
    };
    let x = conv.wire(g, weights, &x);
    g.clip("encoder.stem.relu6", &x, 0.0, 6.0)
}

fn block(g: &mut GraphBuilder, weights: &EncoderWeights, b: &Block, input: &Value) -> Value {
    let at = |part: &str| format!("encoder.block.{}.{part}", b.index);
    let conv = |part: &str, norm: &str, shape: [usize; 4], stride: usize| Folded {
        name: at(part),
        weight: format!("_blocks.{}._{part}_conv.weight", b.index),
        norm: format!("_blocks.{}.{norm}", b.index),
        shape,
        scale: 1.0,
        stride,
    };
    let mut x = input.clone();
    if b.expands {
        let expand = conv("expand", "_bn0", [b.hidden, b.input, 1, 1], 1);
        x = if b.stride == 1 {
            let x = expand.wire(g, weights, &x);
            g.clip(&at("expand.relu6"), &x, 0.0, 6.0)
        } else {
            expand.wire_channels_last(g, weights, &x)
        };
    }
    let depthwise = conv("depthwise", "_bn1", [b.hidden, 1, b.kernel, b.kernel], b.stride);
    x = depthwise.wire(g, weights, &x);
    x = g.clip(&at("depthwise.relu6"), &x, 0.0, 6.0);
    x = conv("project", "_bn2", [b.output, b.hidden, 1, 1], 1).wire(g, weights, &x);
    if b.stride == 1 && b.input == b.output { g.add(&at("sum"), &x, input) } else { x }
}

/// A convolution with the batch normalisation that follows it.
struct Folded {
    name: String,
    weight: String,
    norm: String,
    shape: [usize; 4],
    scale: f64,
    stride: usize,
}

impl Folded {
    fn wire(&self, g: &mut GraphBuilder, weights: &EncoderWeights, x: &Value) -> Value {
        let (kernel, bias) = self.fold(weights);
        let kernel = g.weight(&format!("{}.weight", self.name), &self.shape, &kernel);
        let bias = g.weight(&format!("{}.bias", self.name), &self.shape[..1], &bias);
        let side = x.shape().last().copied().unwrap_or(1);
        let [_, per_group, side_kernel, _] = self.shape;
        let conv = Conv2d {
            stride: self.stride,
            pads: same_padding(side, side_kernel, self.stride),
            groups: x.shape().get(1).map_or(1, |c| c / per_group),
        };
        g.conv(&self.name, x, &kernel, &bias, conv)
    }

    /// A 1x1 convolution and ReLU6 as a matrix product with channels last. The values are those
    /// of `wire`; the layout tells the CPU runtime to keep channels last in the strided depthwise
    /// convolution behind it, which it then does across channels instead of one by one.
    fn wire_channels_last(
        &self,
        g: &mut GraphBuilder,
        weights: &EncoderWeights,
        x: &Value,
    ) -> Value {
        let at = |part: &str| format!("{}.{part}", self.name);
        let [output, input, ..] = self.shape;
        let (kernel, bias) = self.fold(weights);
        let columns = (0..input).flat_map(|i| kernel[i..].iter().step_by(input).copied());
        let columns: Vec<f32> = columns.collect();
        let kernel = g.weight(&at("weight"), &[input, output], &columns);
        let bias = g.weight(&at("bias"), &[output], &bias);
        let x = g.transpose(&at("pixels"), x, &[0, 2, 3, 1]);
        let x = g.matmul(&at("product"), &x, &kernel);
        let x = g.add(&self.name, &x, &bias);
        let x = g.clip(&at("relu6"), &x, 0.0, 6.0);
        g.transpose(&at("planes"), &x, &[0, 3, 1, 2])
    }

    fn fold(&self, weights: &EncoderWeights) -> (Vec<f32>, Vec<f32>) {
        let norm = |part: &str| weights.values(&format!("{}.{part}", self.norm));
        let (gamma, beta) = (norm("weight"), norm("bias"));
        let (mean, var) = (norm("running_mean"), norm("running_var"));
        let per_channel: usize = self.shape[1..].iter().product();
        let mut kernel = Vec::with_capacity(self.shape.iter().product());
        let mut bias = Vec::with_capacity(self.shape[0]);
        for (o, taps) in weights.values(&self.weight).chunks_exact(per_channel).enumerate() {
            let gain = f64::from(gamma[o]) / (f64::from(var[o]) + BN_EPS).sqrt();
            kernel.extend(taps.iter().map(|w| (f64::from(*w) * gain * self.scale) as f32));
            bias.push((f64::from(beta[o]) - f64::from(mean[o]) * gain) as f32);
        }
        (kernel, bias)
    }
}

/// Tap `at`: `[1, c, side, side]` -> `[grid * grid, c]`.
fn to_grid(
    g: &mut GraphBuilder,
    arch: &Architecture,
    at: usize,
    x: &Value,
    statistics: Option<Statistics>,
) -> Value {
    let tap = &arch.taps[at];
    let name = format!("tap.{}", tap.name);
    let part = |part: &str| format!("{name}.{part}");
    let side = arch.input / tap.stride;
    let pooled = if side > arch.grid {
        g.average_pool(&part("pooled"), x, side / arch.grid)
    } else {
        x.clone()
    };
    let side = side.min(arch.grid);
    let mut flat = g.reshape(&part("flat"), &pooled, &[tap.channels, side * side]);
    if let Some((mean, std)) = statistics {
        let first: usize = arch.taps[..at].iter().map(|t| t.channels).sum();
        let range = first..first + tap.channels;
        flat = standardise(g, &name, &flat, (&mean[range.clone()], &std[range]));
    }
    if side == arch.grid {
        return g.transpose(&name, &flat, &[1, 0]);
    }
    let tokens = g.transpose(&part("tokens"), &flat, &[1, 0]);
    let up = upsampling(side, arch.grid).kronecker();
    let up = g.constant(&part("upsampling"), &[arch.tokens(), side * side], &up);
    g.matmul(&name, &up, &tokens)
}

/// `(x - mean) / std` for each row of `[channels, pixels]`. It stands before the upsampling,
/// whose weights sum to one, because there are fewer pixels there.
fn standardise(g: &mut GraphBuilder, name: &str, x: &Value, (mean, std): Statistics) -> Value {
    let gain: Vec<f32> = std.iter().map(|s| (1.0 / f64::from(*s)) as f32).collect();
    let shift: Vec<f32> =
        mean.iter().zip(std).map(|(m, s)| (-f64::from(*m) / f64::from(*s)) as f32).collect();
    let column = [gain.len(), 1];
    let gain = g.constant(&format!("{name}.gain"), &column, &gain);
    let shift = g.constant(&format!("{name}.shift"), &column, &shift);
    let scaled = g.mul(&format!("{name}.scaled"), x, &gain);
    g.add(&format!("{name}.standardised"), &scaled, &shift)
}

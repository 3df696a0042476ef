//! The encoder as ONNX nodes: bytes in, taps brought to the token grid out.
//!
//! Batch normalisation is folded into the convolutions in 64-bit arithmetic, and the scale of the
//! input into the first one. Only the blocks up to the last tap asked for are written.

use super::spec::EncoderSpec;
use super::{EncoderError, EncoderErrorKind, EncoderWeights, Result, lite, resnet, vit};
use crate::arch::Architecture;
use crate::onnx::{GraphBuilder, Value};
use crate::resample::upsampling;

/// Mean and standard deviation of ImageNet's channels, for pictures from 0 to 1.
const IMAGENET: [(f64, f64); 3] = [(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)];

/// Refuses an architecture that this encoder cannot serve.
///
/// # Errors
/// Names the field of the architecture that does not fit, and what would.
pub fn check(arch: &Architecture, spec: &EncoderSpec) -> Result<()> {
    let fail = |text: String| Err(EncoderError::new(EncoderErrorKind::Architecture, text));
    if arch.encoder != spec.name() {
        return fail(format!("the model wants {}, the weights are {}", arch.encoder, spec.name()));
    }
    let extra = arch.extra_tokens();
    if extra > 0 && extra != spec.extra_tokens() {
        return fail(format!(
            "{} has {} extra tokens, not {extra}",
            spec.name(),
            spec.extra_tokens()
        ));
    }
    let multiple = spec.input_multiple();
    if arch.input == 0 || !arch.input.is_multiple_of(multiple) {
        return fail(format!("input side {} is not a multiple of {multiple}", arch.input));
    }
    for tap in &arch.taps {
        let Some((channels, stride)) = spec.tap(&tap.name) else {
            return fail(format!("{} has no tap `{}`", spec.name(), tap.name));
        };
        if (channels, stride) != (tap.channels, tap.stride) {
            return fail(format!(
                "tap `{}` has {channels} channels at stride {stride}, not {} at {}",
                tap.name, tap.channels, tap.stride
            ));
        }
        let side = arch.input / tap.stride;
        if extra > 0 && side != arch.grid {
            return fail(format!("grid {} is not that of the encoder, {side}", arch.grid));
        }
        if arch.grid == 0 || !(side.is_multiple_of(arch.grid) || arch.grid.is_multiple_of(side)) {
            return fail(format!(
                "grid {} is no whole multiple or fraction of tap `{}`'s side {side}",
                arch.grid, tap.name
            ));
        }
    }
    if arch.taps.is_empty() {
        return fail("the model has no taps".to_owned());
    }
    if arch.memories.iter().flat_map(|m| &m.taps).any(|tap| *tap >= arch.taps.len()) {
        return fail("a memory wants a tap that the model does not have".to_owned());
    }
    arch.memories.iter().try_for_each(|memory| check(&arch.seen_by(memory), spec))
}

/// What the nodes of an encoder are made from.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    /// Input side and taps.
    pub arch: &'a Architecture,
    /// The encoder's tensors.
    pub weights: &'a EncoderWeights,
}

/// Mean and standard deviation of each channel in the order of `arch.taps`.
pub type Statistics<'a> = (&'a [f32], &'a [f32]);

/// What the encoder's nodes give.
pub struct Taps {
    /// Each tap on the grid, `[rows, channels]`, in the order of the architecture.
    pub grid: Vec<Value>,
    /// For each memory that looks closer than the grid its taps, `[places, channels]`; none for
    /// the others.
    pub fine: Vec<Vec<Value>>,
}

/// Adds the input `image` (UINT8 `[1, side, side, 3]`) and the encoder; gives its taps, standardised
/// when there are statistics.
///
/// # Errors
/// When [`check`] refuses the architecture.
pub fn encoder(
    g: &mut GraphBuilder,
    arch: &Architecture,
    weights: &EncoderWeights,
    statistics: Option<Statistics>,
) -> Result<Taps> {
    let spec = weights.spec();
    check(arch, &spec)?;
    let source = Source { arch, weights };
    let mut taps: Vec<Option<Value>> = vec![None; arch.taps.len()];
    let mut fine: Vec<Vec<(usize, Value)>> = vec![Vec::new(); arch.memories.len()];
    let mut take = |g: &mut GraphBuilder, name: &str, x: &Value| {
        let Some(at) = arch.taps.iter().position(|t| t.name == name) else { return };
        if arch.extra_tokens() > 0 {
            taps[at] = Some(x.clone());
            return;
        }
        let planes = match spec {
            EncoderSpec::Vit(_) => planes(g, arch, name, x, spec.extra_tokens()),
            EncoderSpec::Lite(_) | EncoderSpec::Resnet(_) => x.clone(),
        };
        taps[at] = Some(to_grid(g, ("tap", arch), at, &planes, statistics));
        for (i, memory) in arch.memories.iter().enumerate().filter(|(_, m)| m.scale > 1) {
            let Some(own) = memory.taps.iter().position(|tap| *tap == at) else { continue };
            let range = arch.tap_channels(&memory.taps);
            let statistics =
                statistics.map(|(mean, std)| (&mean[range.clone()], &std[range.clone()]));
            let seen = (format!("memory.{i}.tap"), arch.seen_by(memory));
            let tap = to_grid(g, (&seen.0, &seen.1), own, &planes, statistics);
            fine[i].push((own, tap));
        }
    };
    match spec {
        EncoderSpec::Lite(spec) => lite::nodes::wire(g, source, spec, &mut take),
        EncoderSpec::Resnet(spec) => resnet::nodes::wire(g, source, spec, &mut take),
        EncoderSpec::Vit(spec) => vit::nodes::wire(g, source, &spec, &mut take),
    }
    let in_order = |mut taps: Vec<(usize, Value)>| {
        taps.sort_unstable_by_key(|(at, _)| *at);
        taps.into_iter().map(|(_, tap)| tap).collect()
    };
    Ok(Taps {
        grid: taps.into_iter().flatten().collect(),
        fine: fine.into_iter().map(in_order).collect(),
    })
}

/// The input `image` and its planes `[1, 3, side, side]`, 0 to 255.
pub(super) fn picture(g: &mut GraphBuilder, side: usize) -> Value {
    let image = g.input_u8("image", &[1, side, side, 3]);
    // Cast first: TensorRT takes bytes as an input only when they are cast at once.
    let x = g.cast_f32("encoder.image", &image);
    g.transpose("encoder.planes", &x, &[0, 3, 1, 2])
}

/// The same less ImageNet's mean, and the factors that are left for the first convolution.
pub(super) fn picture_imagenet(g: &mut GraphBuilder, side: usize) -> (Value, [f64; 3]) {
    let x = picture(g, side);
    let mean = IMAGENET.map(|(mean, _)| (255.0 * mean) as f32);
    let mean = g.constant("encoder.mean", &[1, 3, 1, 1], &mean);
    let x = g.sub("encoder.centred", &x, &mean);
    (x, IMAGENET.map(|(_, deviation)| 1.0 / (255.0 * deviation)))
}

/// Tokens `[extra + side * side, c]` without the extra ones as `[1, c, side, side]`.
fn planes(g: &mut GraphBuilder, arch: &Architecture, name: &str, x: &Value, extra: usize) -> Value {
    let part = |part: &str| format!("tap.{name}.{part}");
    let (rows, channels) = (x.shape()[0], x.shape()[1]);
    let side = arch.input / vit::PATCH;
    let patches = g.row_range(&part("patches"), x, extra..rows);
    let planes = g.transpose(&part("channels"), &patches, &[1, 0]);
    g.reshape(&part("planes"), &planes, &[1, channels, side, side])
}

/// Tap `at`: `[1, c, side, side]` -> `[grid * grid, c]`.
fn to_grid(
    g: &mut GraphBuilder,
    (prefix, arch): (&str, &Architecture),
    at: usize,
    x: &Value,
    statistics: Option<Statistics>,
) -> Value {
    let tap = &arch.taps[at];
    let name = format!("{prefix}.{}", tap.name);
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

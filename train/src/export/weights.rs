//! What an architecture must satisfy and which weights it has.

use super::{ExportError, ExportErrorKind, Result};
use crate::arch::{Architecture, Group, HostTensor, Scheme, Weights};

/// Largest side of picture, grid or map in pixels: keeps a mistyped number from asking for
/// gigabytes of constants.
const SIDE_MAX: usize = 4096;

/// Refuses an architecture that contradicts itself.
///
/// # Errors
/// Names the field and what it must be.
pub fn check_architecture(arch: &Architecture) -> Result<()> {
    let side = |v: usize| (1..=SIDE_MAX).contains(&v);
    let consecutive = |taps: &[usize]| {
        !taps.is_empty()
            && taps.windows(2).all(|w| w[1] == w[0] + 1)
            && taps.iter().all(|t| *t < arch.taps.len())
    };
    let (kernel, sigma) = arch.smoothing;
    let unit = 0.0..=1.0;
    let rules = [
        (side(arch.input) && side(arch.grid) && side(arch.map), "input, grid and map: 1 to 4096"),
        (arch.depth > 0 && arch.width > 0 && arch.bottleneck > 0, "sizes must not be zero"),
        (arch.mlp_ratio > 0, "sizes must not be zero"),
        (arch.head_fits(), "head: channels, or for the parity head a multiple of 8 of them"),
        (arch.heads > 0 && arch.width.is_multiple_of(arch.heads.max(1)), "heads must divide width"),
        (!arch.groups.is_empty(), "there must be a group"),
        (arch.groups.iter().all(|g| consecutive(&g.taps)), "a group's taps must be consecutive"),
        (
            arch.groups.iter().all(|g| (1..=arch.depth).contains(&g.after_block)),
            "a group must be read after one of the blocks",
        ),
        (
            averaged_fits(arch),
            "averaged: a tap as wide as the decoder and enough blocks for each group",
        ),
        (
            arch.memories.iter().all(|m| {
                let whole = arch.is_projected() && consecutive(&m.taps) && m.prototypes > 0;
                whole && [1, 2].contains(&m.scale) && m.window % 2 == 1
            }),
            "memory: consecutive taps of the projected scheme, scale 1 or 2, an odd window, some \
             prototypes",
        ),
        (
            arch.memories.iter().all(|m| m.weight > 0.0) && arch.decoder_weight() >= 0.0,
            "memory: weights above 0 that are 1 together at most",
        ),
        ((0.0..1.0).contains(&arch.mask_probability), "mask_probability must be in [0, 1)"),
        (unit.contains(&arch.distance_weight), "distance_weight must be in [0, 1]"),
        (arch.score_fraction > 0.0 && arch.score_fraction <= 1.0, "score_fraction: above 0, to 1"),
        (kernel % 2 == 1 && sigma > 0.0, "smoothing needs an odd kernel and a positive sigma"),
    ];
    match rules.iter().find(|(holds, _)| !holds) {
        None => Ok(()),
        Some((_, rule)) => {
            let text = format!("the architecture is impossible: {rule}");
            Err(ExportError::new(ExportErrorKind::Architecture, text))
        }
    }
}

/// Whether the published scheme can be read with these groups.
fn averaged_fits(arch: &Architecture) -> bool {
    let Scheme::Averaged { dropout, .. } = arch.scheme else { return true };
    let share = arch.depth / arch.groups.len().max(1);
    let alone = |g: &Group| g.taps.len() == 1 && arch.taps[g.taps[0]].channels == arch.width;
    (0.0..1.0).contains(&dropout)
        && arch.taps.len() == arch.groups.len()
        && arch.groups.iter().all(|g| alone(g) && share > 0 && g.after_block >= share)
}

/// Names and shapes of all trained tensors of `arch`, in the order of its module documentation.
pub fn expected_weights(arch: &Architecture) -> Vec<(String, Vec<usize>)> {
    let (c, w, hidden) = (arch.channels(), arch.width, arch.width * arch.mlp_ratio);
    let mut all = Vec::new();
    let mut add = |name: String, shape: &[usize]| all.push((name, shape.to_vec()));
    add("taps.mean".to_owned(), &[c]);
    add("taps.std".to_owned(), &[c]);
    let linear = |prefix: String, input: usize, output: usize| {
        [
            (format!("{prefix}.weight"), vec![input, output]),
            (format!("{prefix}.bias"), vec![output]),
        ]
    };
    let norm = |prefix: String| {
        [(format!("{prefix}.gamma"), vec![w]), (format!("{prefix}.beta"), vec![w])]
    };
    all.extend(linear("bottleneck.fc1".to_owned(), arch.input_channels(), arch.bottleneck));
    all.extend(linear("bottleneck.fc2".to_owned(), arch.bottleneck, w));
    if arch.is_projected() {
        all.push(("position".to_owned(), vec![arch.tokens(), w]));
    }
    for i in 0..arch.depth {
        all.extend(norm(format!("block.{i}.norm1")));
        all.extend(norm(format!("block.{i}.norm2")));
        all.extend(linear(format!("block.{i}.qkv"), w, 3 * w));
        all.extend(linear(format!("block.{i}.proj"), w, w));
        all.extend(linear(format!("block.{i}.fc1"), w, hidden));
        all.extend(linear(format!("block.{i}.fc2"), hidden, w));
    }
    let projections = if arch.is_projected() { arch.groups.len() } else { 0 };
    for g in 0..projections {
        all.extend(norm(format!("out.{g}.norm")));
        all.extend(linear(format!("out.{g}.fc"), w, arch.group_channels(g).len()));
    }
    if arch.is_projected() {
        all.push(("distance.share".to_owned(), vec![arch.groups.len()]));
    }
    for (i, memory) in arch.memories.iter().enumerate() {
        let shape = vec![memory.prototypes, arch.tap_channels(&memory.taps).len()];
        all.push((format!("memory.{i}.prototypes"), shape));
        all.push((format!("memory.{i}.level"), vec![1]));
    }
    all.extend(arch.head_weights());
    all
}

/// Refuses weights that are not those of `arch`.
///
/// # Errors
/// Names the tensor that is missing, of another shape, not finite, or unexpected.
pub fn check_weights(arch: &Architecture, weights: &Weights) -> Result<()> {
    let fail = |text: String| Err(ExportError::new(ExportErrorKind::Weights, text));
    let expected = expected_weights(arch);
    for (name, shape) in &expected {
        let Some(tensor) = weights.get(name) else {
            return fail(format!("weight `{name}` is missing"));
        };
        if tensor.shape != *shape || tensor.values.len() != shape.iter().product::<usize>() {
            let text = format!("weight `{name}` has shape {:?}, not {shape:?}", tensor.shape);
            return fail(text);
        }
        if !tensor.values.iter().all(|v| v.is_finite()) {
            return fail(format!("weight `{name}` is not finite: the training diverged"));
        }
    }
    if weights["taps.std"].values.iter().any(|v| *v <= 0.0) {
        return fail("`taps.std` is not positive: a feature channel never varies".to_owned());
    }
    let negative = |(name, t): &(&String, &HostTensor)| {
        name.ends_with(".var") && t.values.iter().any(|v| *v < 0.0)
    };
    if let Some((name, _)) = weights.iter().find(negative) {
        return fail(format!("`{name}` is a negative variance"));
    }
    let is_loudness = |name: &str| name.ends_with(".level") || name == "distance.share";
    for (name, tensor) in weights.iter().filter(|(name, _)| is_loudness(name)) {
        if tensor.values.iter().any(|v| *v <= 0.0) {
            return fail(format!("`{name}` is not positive: good parts never differ"));
        }
    }
    match weights.keys().find(|name| !expected.iter().any(|(n, _)| n == *name)) {
        Some(name) => fail(format!("weight `{name}` is not part of this architecture")),
        None => Ok(()),
    }
}

/// Values of the weight `name`, which [`check_weights`] has seen.
pub(super) fn values<'a>(weights: &'a Weights, name: &str) -> &'a [f32] {
    weights.get(name).map_or(&[], |t| &t.values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::{paper_b, paper_l, paper_s};
    use crate::encoder::spec::EncoderSpec;

    #[test]
    fn the_published_models_have_the_published_number_of_parameters() {
        // Millions: the whole encoder (all blocks, last norm), bottleneck and decoder; no head.
        // No figure is published for ViT-L: only that it is built.
        for (arch, published) in
            [(paper_s(), Some(37.4)), (paper_b(), Some(148.0)), (paper_l(), None)]
        {
            check_architecture(&arch).unwrap();
            let Some(EncoderSpec::Vit(encoder)) = EncoderSpec::named(&arch.encoder) else {
                panic!("{} is no vision transformer", arch.encoder)
            };
            let counted = |name: &str| !name.starts_with("taps.") && !name.starts_with("head.");
            let all = expected_weights(&arch);
            let trained = all.iter().filter(|(name, _)| counted(name));
            let trained: usize = trained.map(|(_, shape)| shape.iter().product::<usize>()).sum();
            let millions = (encoder.parameters() + trained) as f64 / 1e6;
            if let Some(published) = published {
                assert!((millions - published).abs() < 0.05, "{}: {millions}", arch.encoder);
            }
        }
    }
}

//! How far each place is from the normal surroundings that are kept (step 5 of [`crate::arch`]).

use burn::tensor::Device;

use super::lift::{host_values, tensor_from};
use crate::arch::{Architecture, DISTANCE_FLOOR, MEMORY_FLOOR, Memory, Weights};

/// What the memory compares: for each token the mean of its neighbourhood, `[tokens, channels]` of
/// the memory's taps, from standardised features `[tokens, C]` of one picture.
pub fn surroundings(arch: &Architecture, memory: &Memory, features: &[f32]) -> Vec<f32> {
    let (grid, c) = (arch.grid as isize, arch.channels());
    let channels = arch.tap_channels(&memory.taps);
    let radius = (memory.window / 2) as isize;
    let share = 1.0 / (memory.window * memory.window) as f32;
    let mut all = vec![0f32; arch.tokens() * channels.len()];
    for (t, out) in all.chunks_exact_mut(channels.len()).enumerate() {
        let (y, x) = (t as isize / grid, t as isize % grid);
        for v in y - radius..=y + radius {
            for u in x - radius..=x + radius {
                let at = v.clamp(0, grid - 1) * grid + u.clamp(0, grid - 1);
                let row = &features[at as usize * c..][channels.clone()];
                out.iter_mut().zip(row).for_each(|(o, v)| *o += v * share);
            }
        }
    }
    all
}

/// `P`: the Euclidean distance of each row of `queries` (`[rows, channels]`) to the nearest prototype,
/// with its floor.
pub fn nearest(weights: &Weights, queries: Vec<f32>, device: &Device) -> Vec<f32> {
    let Some(prototypes) = weights.get("memory.prototypes") else {
        panic!("a model with a memory has prototypes")
    };
    let [count, channels] = prototypes.shape[..] else { panic!("prototypes are a matrix") };
    let square = |row: &[f32]| row.iter().map(|v| v * v).sum::<f32>();
    let own: Vec<f32> = queries.chunks_exact(channels).map(square).collect();
    let rows = own.len();
    let theirs = prototypes.values.chunks_exact(channels).map(square).collect();
    let prototypes = tensor_from(prototypes.values.clone(), [count, channels], device);
    let theirs = tensor_from::<2>(theirs, [1, count], device);
    let queries = tensor_from::<2>(queries, [rows, channels], device);
    let likeness = queries.matmul(prototypes.transpose()).mul_scalar(2.0) - theirs;
    let best = host_values(likeness.max_dim(1));
    own.iter()
        .zip(best)
        .map(|(own, best)| ((own - best).max(0.0) + MEMORY_FLOOR as f32).sqrt())
        .collect()
}

/// The distance map (`[tokens]`, mean over groups of `1 - cos`) of one picture with what its
/// memory says of the same features; as it is without a memory.
pub fn remembered(
    arch: &Architecture,
    weights: &Weights,
    features: &[f32],
    distance: Vec<f32>,
    device: &Device,
) -> Vec<f32> {
    let Some(memory) = &arch.memory else { return distance };
    let level = weights.get("memory.level").map_or(1.0, |t| t.values[0]);
    let strange = nearest(weights, surroundings(arch, memory, features), device);
    let floor = DISTANCE_FLOOR as f32;
    // Rounding may take a cosine a little above one.
    distance.iter().zip(strange).map(|(a, p)| ((a.max(0.0) + floor) * p * level).sqrt()).collect()
}

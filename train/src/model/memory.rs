//! How far each place is from the normal surroundings that are kept (step 5 of [`crate::arch`]).

use burn::tensor::Device;

use super::infer::resample;
use super::lift::{host_values, tensor_from};
use crate::arch::{Architecture, DISTANCE_FLOOR, MEMORY_FLOOR, Weights};
use crate::features::Seen;
use crate::resample::upsampling;

/// What memory `i` compares: for each of its places the mean of the neighbourhood, `[places,
/// channels]`.
pub fn surroundings(arch: &Architecture, i: usize, seen: &Seen) -> Vec<f32> {
    let memory = &arch.memories[i];
    let own = arch.tap_channels(&memory.taps);
    let (features, row, channels) = match memory.scale {
        1 => (&seen.features, arch.channels(), own),
        _ => (&seen.fine[i], own.len(), 0..own.len()),
    };
    let grid = arch.memory_grid(memory) as isize;
    let radius = (memory.window / 2) as isize;
    let share = 1.0 / (memory.window * memory.window) as f32;
    let mut all = vec![0f32; (grid * grid) as usize * channels.len()];
    for (t, out) in all.chunks_exact_mut(channels.len()).enumerate() {
        let (y, x) = (t as isize / grid, t as isize % grid);
        for v in y - radius..=y + radius {
            for u in x - radius..=x + radius {
                let at = v.clamp(0, grid - 1) * grid + u.clamp(0, grid - 1);
                let row = &features[at as usize * row..][channels.clone()];
                out.iter_mut().zip(row).for_each(|(o, v)| *o += v * share);
            }
        }
    }
    all
}

/// The Euclidean distance of each row of `queries` (`[rows, channels]`) to the nearest prototype of
/// memory `i`, with its floor.
pub fn nearest(weights: &Weights, i: usize, queries: Vec<f32>, device: &Device) -> Vec<f32> {
    let Some(prototypes) = weights.get(&format!("memory.{i}.prototypes")) else {
        panic!("a memory has prototypes")
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
    let floor = MEMORY_FLOOR as f32 * channels as f32;
    own.iter().zip(best).map(|(own, best)| ((own - best).max(0.0) + floor).sqrt()).collect()
}

/// `D`, `[fine_grid, fine_grid]`, from the decoder's `distance` (`[tokens]`, sum over groups) and the
/// memories. In the published scheme there is nothing to join: the distance as it is.
pub fn distance_map(
    arch: &Architecture,
    weights: &Weights,
    seen: &Seen,
    distance: Vec<f32>,
    device: &Device,
) -> Vec<f32> {
    if !arch.is_projected() {
        return distance;
    }
    // Rounding may take a cosine a little above one.
    let decoder = |a: &f32| (a.max(0.0) + DISTANCE_FLOOR as f32).powf(arch.decoder_weight());
    let mut coarse: Vec<f32> = distance.iter().map(decoder).collect();
    let mut fine = vec![1f32; arch.fine_grid().pow(2)];
    for (i, memory) in arch.memories.iter().enumerate() {
        let level = weights.get(&format!("memory.{i}.level")).map_or(1.0, |t| t.values[0]);
        let strange = nearest(weights, i, surroundings(arch, i, seen), device);
        let joined = if memory.scale == 1 { &mut coarse } else { &mut fine };
        joined.iter_mut().zip(strange).for_each(|(d, p)| *d *= (p * level).powf(memory.weight));
    }
    let coarse = resample(&coarse, &upsampling(arch.grid, arch.fine_grid()));
    fine.iter().zip(coarse).map(|(f, c)| f * c).collect()
}

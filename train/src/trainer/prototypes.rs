//! Which normal surroundings the memory keeps.
//!
//! Prototypes of a class are chosen by greedy k-centre (Sener and Savarese, ICLR 2018; as in
//! PatchCore): always the candidate that is farthest from all chosen so far, so that rare normal
//! surroundings are kept as well as frequent ones. Distances for the choice are taken in a random
//! projection, which keeps them well enough.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::batch::{Classes, pick_tokens};
use super::workers::Workers;
use crate::arch::{Architecture, HostTensor, Memory};
use crate::features::{Cache, Purpose, Statistics, stream};
use crate::model::surroundings;

/// Surroundings of a class that are chosen from.
const CANDIDATES_MAX: usize = 60_000;
/// Dimensions of the random projection.
const PROJECTED: usize = 48;

/// Chooses the prototypes, `[prototypes, channels]`: as many of each class.
pub(super) fn choose(
    (arch, memory): (&Architecture, &Memory),
    cache: &Cache,
    statistics: &Statistics,
    classes: &Classes,
    seed: u64,
    workers: &Workers,
) -> HostTensor {
    let (classes, count) = (classes.members(), memory.prototypes);
    let width = arch.tap_channels(&memory.taps).len();
    let chosen = workers.map(classes.len(), |class| {
        let mut rng = stream(seed, Purpose::Memory, class as u64, 0);
        let share = count * (class + 1) / classes.len() - count * class / classes.len();
        let mut candidates = Vec::new();
        let each = CANDIDATES_MAX.div_ceil(classes[class].len()).min(arch.tokens());
        for &picture in &classes[class] {
            let features = statistics.standardised(&cache.clean[picture]);
            let all = surroundings(arch, memory, &features);
            for t in pick_tokens(arch.tokens(), each, &mut rng) {
                candidates.extend_from_slice(&all[t * width..(t + 1) * width]);
            }
        }
        let rows = farthest_first(&projected(&candidates, width, &mut rng), PROJECTED, share);
        rows.into_iter().flat_map(|r| candidates[r * width..(r + 1) * width].to_vec()).collect()
    });
    let values: Vec<Vec<f32>> = chosen;
    HostTensor { shape: vec![count, width], values: values.concat() }
}

/// `rows` of `width` values in [`PROJECTED`] random directions.
fn projected(rows: &[f32], width: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    // Signs do as well as normal values (Achlioptas, 2003).
    let directions: Vec<f32> =
        (0..width * PROJECTED).map(|_| if rng.random() { 1.0 } else { -1.0 }).collect();
    let mut out = vec![0f32; rows.len() / width * PROJECTED];
    for (row, out) in rows.chunks_exact(width).zip(out.chunks_exact_mut(PROJECTED)) {
        for (v, direction) in row.iter().zip(directions.chunks_exact(PROJECTED)) {
            out.iter_mut().zip(direction).for_each(|(o, d)| *o += v * d);
        }
    }
    out
}

/// `count` of the `points` (rows of `width` values), the first one and then always the farthest
/// from those before it. With fewer points than `count` some come again.
fn farthest_first(points: &[f32], width: usize, count: usize) -> Vec<usize> {
    let mut distance = vec![f32::INFINITY; points.len() / width];
    let mut chosen = Vec::with_capacity(count);
    let mut next = 0;
    for _ in 0..count {
        chosen.push(next);
        let centre = &points[next * width..(next + 1) * width];
        let mut farthest = (0, f32::NEG_INFINITY);
        for (i, (point, d)) in points.chunks_exact(width).zip(&mut distance).enumerate() {
            let square: f32 = point.iter().zip(centre).map(|(a, b)| (a - b) * (a - b)).sum();
            *d = d.min(square);
            if *d > farthest.1 {
                farthest = (i, *d);
            }
        }
        next = farthest.0;
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_points_are_chosen_before_frequent_ones_come_again() {
        // A crowd around zero, two loners.
        let mut points: Vec<f32> = (0..50).map(|i| i as f32 * 1e-3).collect();
        points.extend([9.0, -7.0]);
        assert_eq!(farthest_first(&points, 1, 3), [0, 50, 51]);
    }

    #[test]
    fn with_too_few_points_some_come_again() {
        let chosen = farthest_first(&[0.0, 5.0], 1, 4);
        assert_eq!(chosen.len(), 4);
        assert_eq!(chosen[..2], [0, 1]);
    }

    #[test]
    fn a_projection_keeps_distances_roughly() {
        let mut rng = stream(1, Purpose::Memory, 0, 0);
        let rows: Vec<f32> = (0..40 * 150).map(|_| rng.random::<f32>() - 0.5).collect();
        let out = projected(&rows, 150, &mut rng);
        let distance = |rows: &[f32], width: usize, a: usize, b: usize| {
            let at = |i: usize| &rows[i * width..(i + 1) * width];
            at(a).iter().zip(at(b)).map(|(x, y)| (x - y).powi(2)).sum::<f32>().sqrt()
        };
        for i in 1..40 {
            let kept = distance(&out, PROJECTED, 0, i) / (PROJECTED as f32).sqrt();
            let ratio = kept / distance(&rows, 150, 0, i);
            assert!((0.6..1.4).contains(&ratio), "{ratio}");
        }
    }
}

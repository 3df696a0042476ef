//! Which normal surroundings the memories keep.
//!
//! Prototypes of a class are chosen by greedy k-centre (Sener and Savarese, ICLR 2018; as in
//! PatchCore): always the candidate that is farthest from all chosen so far, so that rare normal
//! surroundings are kept as well as frequent ones. Distances for the choice are taken in a random
//! projection, which keeps them well enough.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::batch::{Classes, pick_tokens};
use super::workers::Workers;
use crate::arch::{Architecture, HostTensor};
use crate::encoder::EncoderError;
use crate::features::{Cache, Material, Purpose, Seen, Statistics, stream};
use crate::model::surroundings;

/// Surroundings of a class that are chosen from.
const CANDIDATES_MAX: usize = 60_000;
/// Dimensions of the random projection; surroundings of fewer are compared as they are.
const PROJECTED: usize = 48;

/// What the prototypes are chosen from.
pub(super) struct Choice<'a> {
    pub(super) arch: &'a Architecture,
    pub(super) cache: &'a Cache,
    pub(super) material: &'a Material<'a>,
    pub(super) statistics: &'a Statistics,
    pub(super) classes: &'a Classes,
}

impl Choice<'_> {
    /// The prototypes of memory `i`, `[prototypes, channels]`: as many of each class.
    ///
    /// # Errors
    /// When the encoder fails.
    pub(super) fn of(&self, i: usize, workers: &Workers) -> Result<HostTensor, EncoderError> {
        let (classes, memory) = (self.classes.members(), &self.arch.memories[i]);
        let count = memory.prototypes;
        let width = self.arch.tap_channels(&memory.taps).len();
        let chosen = workers.map(classes.len(), |class| {
            let share = count * (class + 1) / classes.len() - count * class / classes.len();
            let mut rng = stream(self.material.seed, Purpose::Memory, class as u64, i as u64);
            let candidates = self.candidates(i, &classes[class], &mut rng)?;
            let rows = if width > PROJECTED {
                let near = projected(&candidates, width, &mut rng);
                farthest_first(&near, PROJECTED, share)
            } else {
                farthest_first(&candidates, width, share)
            };
            let row = |r: usize| &candidates[r * width..(r + 1) * width];
            Ok(rows.into_iter().flat_map(|r| row(r).to_vec()).collect())
        });
        let values = chosen.into_iter().collect::<Result<Vec<Vec<f32>>, EncoderError>>()?;
        Ok(HostTensor { shape: vec![count, width], values: values.concat() })
    }

    /// Surroundings of the pictures, as many of each and not too many in all.
    fn candidates(
        &self,
        i: usize,
        pictures: &[usize],
        rng: &mut ChaCha8Rng,
    ) -> Result<Vec<f32>, EncoderError> {
        let (arch, memory) = (self.arch, &self.arch.memories[i]);
        let (width, places) =
            (arch.tap_channels(&memory.taps).len(), arch.memory_grid(memory).pow(2));
        let each = CANDIDATES_MAX.div_ceil(pictures.len()).min(places);
        let mut candidates = Vec::new();
        for &picture in pictures {
            let all = surroundings(arch, i, &self.seen(i, picture)?);
            for t in pick_tokens(places, each, rng) {
                candidates.extend_from_slice(&all[t * width..(t + 1) * width]);
            }
        }
        Ok(candidates)
    }

    /// What memory `i` is shown of a picture, and nothing else.
    fn seen(&self, i: usize, picture: usize) -> Result<Seen, EncoderError> {
        if self.arch.memories[i].scale == 1 {
            let features = self.statistics.standardised(&self.cache.clean[picture]);
            return Ok(Seen { features, fine: Vec::new() });
        }
        let (encoder, rgb) = (self.material.encoder, &self.material.pictures[picture].rgb);
        let fine = Seen::fine(self.arch, encoder, self.statistics, rgb)?;
        Ok(Seen { features: Vec::new(), fine })
    }
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

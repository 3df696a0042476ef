//! Areas of damage by thresholded Perlin noise.

use std::f32::consts::{FRAC_PI_2, SQRT_2, TAU};

use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// Lattice cells along an axis are `2^k`, `k` below this.
const OCTAVES: u32 = 6;
/// Noise above this belongs to the area.
const THRESHOLD: f32 = 0.5;
/// Draws before giving up; coarse lattices and small foregrounds often leave nothing.
const ATTEMPTS_MAX: usize = 16;

/// A non-empty area within `allowed`, or `None` when no draw left a pixel.
pub(super) fn mask(
    size: usize,
    allowed: Option<&[bool]>,
    rng: &mut ChaCha8Rng,
) -> Option<Vec<bool>> {
    for _ in 0..ATTEMPTS_MAX {
        let mut area = draw(size, rng);
        if let Some(allowed) = allowed {
            area.iter_mut().zip(allowed).for_each(|(a, &ok)| *a &= ok);
        }
        if area.iter().any(|&a| a) {
            return Some(area);
        }
    }
    None
}

fn draw(size: usize, rng: &mut ChaCha8Rng) -> Vec<bool> {
    let cells = [1usize << rng.random_range(0..OCTAVES), 1usize << rng.random_range(0..OCTAVES)];
    let (sin, cos) = rng.random_range(-FRAC_PI_2..FRAC_PI_2).sin_cos();
    // The noise is evaluated at turned coordinates, not turned as a picture: no empty corners
    // and no second resampling. A turned square reaches (sqrt 2 - 1) / 2 beyond its sides.
    let lattice = Lattice::new([cells[0] + cells[0] / 2 + 2, cells[1] + cells[1] / 2 + 2], rng);
    let unit = 1.0 / size as f32;
    let origin = |cells: usize| (0.5 * SQRT_2) * cells as f32;
    let (ox, oy) = (origin(cells[0]), origin(cells[1]));
    let mut area = Vec::with_capacity(size * size);
    for y in 0..size {
        let v = (y as f32 + 0.5) * unit - 0.5;
        for x in 0..size {
            let u = (x as f32 + 0.5) * unit - 0.5;
            let p = (u * cos - v * sin) * cells[0] as f32 + ox;
            let q = (u * sin + v * cos) * cells[1] as f32 + oy;
            area.push(lattice.noise(p.max(0.0), q.max(0.0)) > THRESHOLD);
        }
    }
    area
}

/// Unit gradients on lattice points.
struct Lattice {
    columns: usize,
    gradients: Vec<(f32, f32)>,
}

impl Lattice {
    fn new(cells: [usize; 2], rng: &mut ChaCha8Rng) -> Self {
        let columns = cells[0] + 1;
        let gradients = (0..columns * (cells[1] + 1))
            .map(|_| {
                let (s, c) = rng.random_range(0.0..TAU).sin_cos();
                (c, s)
            })
            .collect();
        Self { columns, gradients }
    }

    /// Noise at a non-negative lattice coordinate, about -1 to 1.
    fn noise(&self, p: f32, q: f32) -> f32 {
        let (i, j) = (p as usize, q as usize);
        let (u, v) = (p - i as f32, q - j as f32);
        let at = j * self.columns + i;
        let row = [self.gradients[at], self.gradients[at + 1]];
        let next = [self.gradients[at + self.columns], self.gradients[at + self.columns + 1]];
        let dot = |g: (f32, f32), x: f32, y: f32| g.0 * x + g.1 * y;
        let (s, t) = (fade(u), fade(v));
        let top = lerp(dot(row[0], u, v), dot(row[1], u - 1.0, v), s);
        let bottom = lerp(dot(next[0], u, v - 1.0), dot(next[1], u - 1.0, v - 1.0), s);
        SQRT_2 * lerp(top, bottom, t)
    }
}

/// `6 t^5 - 15 t^4 + 10 t^3`: first and second derivative vanish on lattice points.
fn fade(t: f32) -> f32 {
    t * t * t * (t * (t * 6.0 - 15.0) + 10.0)
}

fn lerp(a: f32, b: f32, t: f32) -> f32 {
    a + t * (b - a)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn noise_vanishes_on_lattice_points_and_stays_within_its_range() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let lattice = Lattice::new([6, 6], &mut rng);
        for k in 0..5 {
            assert!(lattice.noise(k as f32, k as f32).abs() < 1e-6);
        }
        for k in 0..10_000 {
            let v = lattice.noise((k % 100) as f32 * 0.05, (k / 100) as f32 * 0.05);
            assert!(v.abs() <= 1.01, "{v}");
        }
    }

    #[test]
    fn the_area_of_the_published_recipe_is_a_small_part_of_the_picture() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let mean = (0..60)
            .map(|_| {
                let area = mask(128, None, &mut rng).unwrap();
                area.iter().filter(|&&a| a).count() as f32 / area.len() as f32
            })
            .sum::<f32>()
            / 60.0;
        assert!((0.01..0.25).contains(&mean), "mean area {mean}");
    }

    #[test]
    fn an_impossible_foreground_gives_none() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        assert_eq!(mask(32, Some(&[false; 32 * 32]), &mut rng), None);
    }
}

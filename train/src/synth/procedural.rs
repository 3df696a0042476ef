//! Procedural textures, so that training works without a texture collection.
//!
//! Seven families with random palette, scale and direction, all warped by smooth noise: no two
//! textures are alike, and their statistics (edges, dots, grain, cells) differ widely, which is
//! what a source of foreign structure has to offer.

use std::f32::consts::TAU;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::canvas::byte;

/// Value noise on a wrapping lattice.
struct Noise {
    side: usize,
    values: Vec<f32>,
}

impl Noise {
    fn new(side: usize, rng: &mut ChaCha8Rng) -> Self {
        Self { side, values: (0..side * side).map(|_| rng.random()).collect() }
    }

    /// Smooth value in 0 to 1.
    fn at(&self, x: f32, y: f32) -> f32 {
        let (fx, fy) = (x.floor(), y.floor());
        let (u, v) = (x - fx, y - fy);
        let (u, v) = (u * u * (3.0 - 2.0 * u), v * v * (3.0 - 2.0 * v));
        let wrap = |k: f32| (k as i64).rem_euclid(self.side as i64) as usize;
        let (i, j) = (wrap(fx), wrap(fy));
        let (i1, j1) = ((i + 1) % self.side, (j + 1) % self.side);
        let value = |i: usize, j: usize| self.values[j * self.side + i];
        let top = value(i, j) + u * (value(i1, j) - value(i, j));
        let bottom = value(i, j1) + u * (value(i1, j1) - value(i, j1));
        top + v * (bottom - top)
    }

    /// Four octaves, 0 to 1.
    fn fractal(&self, x: f32, y: f32) -> f32 {
        let mut sum = 0.0;
        let (mut gain, mut scale) = (0.5, 1.0);
        for k in 0..4 {
            sum += gain * self.at(x * scale + 7.3 * k as f32, y * scale + 3.1 * k as f32);
            gain *= 0.5;
            scale *= 2.03;
        }
        sum / 0.9375
    }
}

/// The shape of a texture.
#[derive(Clone, Copy)]
enum Family {
    Clouds,
    Stripes,
    Checks,
    Dots,
    Cells,
    Weave,
    Grain,
}

const FAMILIES: [Family; 7] = [
    Family::Clouds,
    Family::Stripes,
    Family::Checks,
    Family::Dots,
    Family::Cells,
    Family::Weave,
    Family::Grain,
];

/// One texture: `size * size * 3` bytes.
pub(super) fn texture(size: usize, rng: &mut ChaCha8Rng) -> Vec<u8> {
    let family = FAMILIES[rng.random_range(0..FAMILIES.len())];
    let noise = Noise::new(64, rng);
    let palette = palette(rng);
    let (sin, cos) = rng.random_range(0.0..TAU).sin_cos();
    // Between 3 and 40 repeats over the picture, evenly on a logarithmic scale.
    let repeats = 3.0 * (rng.random::<f32>() * (40f32 / 3.0).ln()).exp();
    let warp = rng.random_range(0.0..0.8f32);
    let contrast = rng.random_range(1.0..3.0f32);
    let grain = rng.random_range(0.0..24.0f32);
    let points = Noise::new(64, rng);
    let mut rgb = Vec::with_capacity(size * size * 3);
    for y in 0..size {
        for x in 0..size {
            let (px, py) = (x as f32 / size as f32, y as f32 / size as f32);
            let (mut u, mut v) = (px * cos - py * sin, px * sin + py * cos);
            u = u * repeats + warp * (noise.at(px * 6.0, py * 6.0) - 0.5);
            v = v * repeats + warp * (noise.at(px * 6.0 + 31.0, py * 6.0) - 0.5);
            let shape = value(family, u, v, &noise, &points);
            let t = ((shape - 0.5) * contrast + 0.5).clamp(0.0, 1.0);
            let colour = blend(&palette, t);
            let speck = grain * (rng.random::<f32>() - 0.5);
            rgb.extend(colour.map(|c| byte(c + speck)));
        }
    }
    rgb
}

/// Three colours; one texture in three is nearly grey.
fn palette(rng: &mut ChaCha8Rng) -> [[f32; 3]; 3] {
    let tint = if rng.random_range(0..3) == 0 { 0.1 } else { 1.0 };
    std::array::from_fn(|_| {
        let grey: f32 = rng.random_range(10.0..245.0);
        std::array::from_fn(|_| {
            let free: f32 = rng.random_range(0.0..255.0);
            grey + tint * (free - grey)
        })
    })
}

fn blend(palette: &[[f32; 3]; 3], t: f32) -> [f32; 3] {
    let (a, b, u) = if t < 0.5 { (0, 1, 2.0 * t) } else { (1, 2, 2.0 * t - 1.0) };
    std::array::from_fn(|c| palette[a][c] + u * (palette[b][c] - palette[a][c]))
}

fn value(family: Family, u: f32, v: f32, noise: &Noise, points: &Noise) -> f32 {
    let wave = |t: f32| 0.5 + 0.5 * (TAU * t).sin();
    match family {
        Family::Clouds => noise.fractal(u, v),
        Family::Stripes => wave(u + 0.3 * noise.fractal(u * 0.3, v * 0.3)),
        Family::Checks => {
            let odd = (u.floor() + v.floor()).rem_euclid(2.0);
            0.15 + 0.7 * odd + 0.15 * noise.fractal(u * 3.0, v * 3.0)
        }
        Family::Dots => {
            let (d, id) = nearest(u, v, points);
            let radius = 0.18 + 0.25 * id;
            ((radius - d) * 8.0 + 0.5).clamp(0.0, 1.0)
        }
        Family::Cells => nearest(u, v, points).0,
        Family::Weave => {
            let over = (u.floor() + v.floor()).rem_euclid(2.0) < 0.5;
            let thread = |t: f32| (TAU * 0.5 * t.rem_euclid(1.0)).sin();
            let body = if over { thread(u) } else { thread(v) * 0.8 };
            body * (0.8 + 0.2 * noise.at(u * 7.0, v * 7.0))
        }
        // Fine along one axis, long along the other: brushed metal, wood.
        Family::Grain => 0.6 * noise.fractal(u * 6.0, v * 0.3) + 0.4 * noise.at(u * 0.7, v * 0.2),
    }
}

/// Distance to the nearest of the scattered points, one a cell, and that cell's own value.
fn nearest(u: f32, v: f32, points: &Noise) -> (f32, f32) {
    let mut best = (f32::MAX, 0.0);
    for j in -1..=1 {
        for i in -1..=1 {
            let (cx, cy) = (u.floor() + i as f32, v.floor() + j as f32);
            // Lattice values read away from the lattice points' own cells are independent enough.
            let (jx, jy) = (points.at(cx, cy), points.at(cx + 17.0, cy + 29.0));
            let (dx, dy) = (cx + jx - u, cy + jy - v);
            let square = dx * dx + dy * dy;
            if square < best.0 {
                best = (square, points.at(cx + 5.0, cy + 41.0));
            }
        }
    }
    (best.0.sqrt(), best.1)
}

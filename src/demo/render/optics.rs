//! From a surface to the picture a camera takes of it: light, lens, sensor.

use super::rng::Rng;
use super::surface::Surface;

/// One exposure's conditions; they vary from part to part as they do on a line.
#[derive(Clone, Debug)]
pub(super) struct Light {
    /// Direction to the lamp, unit length; z points to the camera.
    pub(super) to_lamp: [f32; 3],
    /// Light from everywhere.
    ambient: f32,
    /// Light from the lamp.
    key: f32,
    /// Gain of the three channels.
    balance: [f32; 3],
    /// Fall of the light across the picture, per half side.
    slope: (f32, f32),
    /// Darkening of the corners.
    vignette: f32,
    /// Share of a pixel's light that the lens spreads to each neighbour on its row or column.
    blur: f32,
    /// Sensor noise at full scale, as a fraction of full scale.
    noise: f32,
}

/// A linear picture, one colour a pixel.
pub(super) type Linear = Vec<[f32; 3]>;

impl Light {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        // The lamp is fixed at the station; mounting and ageing move it a little.
        let (sin, cos) = (-2.3 + rng.spread(0.12)).sin_cos();
        let high = 0.78 + rng.spread(0.03);
        let flat = (1.0f32 - high * high).sqrt();
        let gain = 1.0 + rng.spread(0.07);
        Self {
            to_lamp: [flat * cos, flat * sin, high],
            ambient: 0.42 * gain,
            key: 0.72 * gain,
            balance: std::array::from_fn(|_| 1.0 + rng.spread(0.02)),
            slope: (rng.spread(0.05), rng.spread(0.05)),
            vignette: rng.range(0.06, 0.14),
            blur: rng.range(0.10, 0.17),
            noise: rng.range(0.009, 0.016),
        }
    }

    /// Lights the surface; the result is linear and without noise.
    pub(super) fn shade(&self, surface: &Surface) -> Linear {
        let size = surface.size;
        let to_slope = size as f32 / 4.0;
        let [lx, ly, lz] = self.to_lamp;
        // Half-way between lamp and camera: where a mirror would have to face.
        let length = (lx * lx + ly * ly + (lz + 1.0) * (lz + 1.0)).sqrt();
        let [hx, hy, hz] = [lx / length, ly / length, (lz + 1.0) / length];
        let mut out = Vec::with_capacity(size * size);
        for y in 0..size {
            let (above, below) = (y.saturating_sub(1) * size, (y + 1).min(size - 1) * size);
            let v = y as f32 / size as f32 * 2.0 - 1.0;
            for x in 0..size {
                let cell = &surface.cells[y * size + x];
                let height = |i: usize| surface.cells[i].height;
                let (left, right) = (x.saturating_sub(1), (x + 1).min(size - 1));
                let gx = (height(y * size + right) - height(y * size + left)) * to_slope;
                let gy = (height(below + x) - height(above + x)) * to_slope;
                let upright = 1.0 / (1.0 + gx * gx + gy * gy).sqrt();
                let facing = ((lz - gx * lx - gy * ly) * upright).max(0.0);
                let mirror = ((hz - gx * hx - gy * hy) * upright).clamp(0.0, 1.0);
                let mirror = mirror.powi(32) * cell.gloss;
                let u = x as f32 / size as f32 * 2.0 - 1.0;
                let field = (1.0 + u * self.slope.0 + v * self.slope.1)
                    * (1.0 - self.vignette * (u * u + v * v) * 0.5);
                let diffuse = self.ambient + self.key * facing;
                out.push(std::array::from_fn(|c| {
                    (cell.albedo[c] * diffuse + mirror) * field * self.balance[c]
                }));
            }
        }
        self.lens(out, size)
    }

    /// Spreads light to the neighbours, along rows and then along columns.
    fn lens(&self, mut picture: Linear, size: usize) -> Linear {
        let (side, middle) = (self.blur, 1.0 - 2.0 * self.blur);
        let mix = |a: [f32; 3], b: [f32; 3], c: [f32; 3]| {
            std::array::from_fn(|k| side * (a[k] + c[k]) + middle * b[k])
        };
        for row in picture.chunks_exact_mut(size) {
            let mut before = row[0];
            for x in 0..size {
                let here = row[x];
                row[x] = mix(before, here, row[(x + 1).min(size - 1)]);
                before = here;
            }
        }
        let mut before = picture[..size].to_vec();
        for y in 0..size {
            let next = (y + 1).min(size - 1) * size;
            for (x, before) in before.iter_mut().enumerate() {
                let here = picture[y * size + x];
                picture[y * size + x] = mix(*before, here, picture[next + x]);
                *before = here;
            }
        }
        picture
    }

    /// Adds noise and encodes to 8-bit RGB.
    pub(super) fn expose(&self, picture: &Linear, rng: &mut Rng) -> Vec<u8> {
        let encode = Encode::new();
        let mut rgb = Vec::with_capacity(picture.len() * 3);
        for colour in picture {
            // Photon noise grows with the root of the light; most of it is common to the
            // channels, because a colour sensor interpolates them from neighbours.
            let level = (colour[0] + colour[1] + colour[2]) / 3.0;
            let spread = self.noise * (0.02 + level.max(0.0)).sqrt();
            let common = rng.normal() * spread;
            for value in colour {
                rgb.push(encode.byte(value + common + 0.5 * spread * rng.normal()));
            }
        }
        rgb
    }
}

/// Gamma 2.2 by table.
pub(super) struct Encode(Vec<u8>);

impl Encode {
    const STEPS: usize = 4096;

    pub(super) fn new() -> Self {
        let level = |i: usize| (i as f32 + 0.5) / Self::STEPS as f32;
        Self((0..Self::STEPS).map(|i| (255.0 * level(i).powf(1.0 / 2.2)).round() as u8).collect())
    }

    pub(super) fn byte(&self, linear: f32) -> u8 {
        let last = Self::STEPS - 1;
        self.0[((linear.max(0.0) * Self::STEPS as f32) as usize).min(last)]
    }
}

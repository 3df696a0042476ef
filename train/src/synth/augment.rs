//! The colour and geometry changes that turn one source picture into many.

#![allow(clippy::ptr_arg)] // One signature for the whole table of augmenters.

use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::canvas::{byte, luma, sample};

/// Augmenters applied to one source.
const APPLIED: usize = 3;

/// One change with its strength drawn from the generator.
type Augmenter = fn(&mut Vec<u8>, usize, &mut ChaCha8Rng);

/// The published set.
const ALL: [Augmenter; 10] = [
    gamma,
    brightness,
    sharpness,
    hue_saturation,
    solarise,
    posterise,
    invert,
    auto_contrast,
    equalise,
    rotate,
];

/// Applies three different augmenters in random order.
pub(super) fn three(rgb: &mut Vec<u8>, size: usize, rng: &mut ChaCha8Rng) {
    let mut order = ALL;
    let (drawn, _) = order.partial_shuffle(rng, APPLIED);
    for augmenter in drawn {
        augmenter(rgb, size, rng);
    }
}

fn table(rgb: &mut [u8], f: impl Fn(u8) -> u8) {
    let levels: [u8; 256] = std::array::from_fn(|v| f(v as u8));
    rgb.iter_mut().for_each(|v| *v = levels[usize::from(*v)]);
}

fn gamma(rgb: &mut Vec<u8>, _: usize, rng: &mut ChaCha8Rng) {
    let exponent = rng.random_range(0.5..2.0f32);
    table(rgb, |v| byte(255.0 * (f32::from(v) / 255.0).powf(exponent)));
}

fn brightness(rgb: &mut Vec<u8>, _: usize, rng: &mut ChaCha8Rng) {
    let (gain, shift) = (rng.random_range(0.8..1.2f32), rng.random_range(-30.0..30.0f32));
    table(rgb, |v| byte(f32::from(v) * gain + shift));
}

/// Moves every pixel away from the mean of its four neighbours, or towards it.
fn sharpness(rgb: &mut Vec<u8>, size: usize, rng: &mut ChaCha8Rng) {
    let amount = rng.random_range(-0.8..1.5f32);
    let old = rgb.clone();
    let row = size * 3;
    for y in 0..size {
        let (up, down) = (y.saturating_sub(1) * row, (y + 1).min(size - 1) * row);
        for x in 0..size {
            let (left, right) = (x.saturating_sub(1) * 3, (x + 1).min(size - 1) * 3);
            for c in 0..3 {
                let at = |i: usize| f32::from(old[i + c]);
                let here = at(y * row + x * 3);
                let round = at(up + x * 3) + at(down + x * 3) + at(y * row + left);
                let mean = (round + at(y * row + right)) / 4.0;
                rgb[y * row + x * 3 + c] = byte(here + amount * (here - mean));
            }
        }
    }
}

/// Turns the colours round the grey axis and scales their distance from it.
fn hue_saturation(rgb: &mut Vec<u8>, _: usize, rng: &mut ChaCha8Rng) {
    let (sin, cos) = rng.random_range(-0.9..0.9f32).sin_cos();
    let gain = rng.random_range(0.5..1.5f32);
    // Rodrigues' rotation about (1, 1, 1) / sqrt 3, on the part without grey.
    let across = sin / 3f32.sqrt();
    for p in rgb.chunks_exact_mut(3) {
        let [r, g, b] = [f32::from(p[0]), f32::from(p[1]), f32::from(p[2])];
        let grey = (r + g + b) / 3.0;
        let d = [r - grey, g - grey, b - grey];
        for c in 0..3 {
            let turned = d[c] * cos + across * (d[(c + 2) % 3] - d[(c + 1) % 3]);
            p[c] = byte(grey + gain * turned);
        }
    }
}

fn solarise(rgb: &mut Vec<u8>, _: usize, rng: &mut ChaCha8Rng) {
    let limit = rng.random_range(32..128u8);
    table(rgb, |v| if v >= limit { 255 - v } else { v });
}

fn posterise(rgb: &mut Vec<u8>, _: usize, rng: &mut ChaCha8Rng) {
    let bits = rng.random_range(2..5u32);
    let keep = 0xffu8 << (8 - bits);
    table(rgb, |v| v & keep);
}

fn invert(rgb: &mut Vec<u8>, _: usize, _: &mut ChaCha8Rng) {
    table(rgb, |v| 255 - v);
}

/// Stretches the brightness between its darkest and brightest value.
fn auto_contrast(rgb: &mut Vec<u8>, _: usize, _: &mut ChaCha8Rng) {
    let (low, high) = rgb.iter().fold((255u8, 0u8), |(low, high), &v| (low.min(v), high.max(v)));
    if high > low {
        let scale = 255.0 / f32::from(high - low);
        table(rgb, |v| byte(f32::from(v.saturating_sub(low)) * scale));
    }
}

/// Spreads the brightness evenly over the scale.
fn equalise(rgb: &mut Vec<u8>, _: usize, _: &mut ChaCha8Rng) {
    let mut counts = [0u32; 256];
    rgb.chunks_exact(3).for_each(|p| counts[usize::from(luma(p))] += 1);
    let total = (rgb.len() / 3) as f32;
    let mut sum = 0;
    let levels: [u8; 256] = std::array::from_fn(|v| {
        sum += counts[v];
        byte(255.0 * sum as f32 / total)
    });
    table(rgb, |v| levels[usize::from(v)]);
}

/// Turns by up to 45 degrees; what comes from beyond the border is mirrored.
fn rotate(rgb: &mut Vec<u8>, size: usize, rng: &mut ChaCha8Rng) {
    let (sin, cos) = rng.random_range(-0.79..0.79f32).sin_cos();
    let centre = (size - 1) as f32 / 2.0;
    let top = (size - 1) as f32;
    let mirror = |v: f32| {
        let v = v.abs();
        if v > top { (2.0 * top - v).max(0.0) } else { v }
    };
    let old = rgb.clone();
    for (y, line) in rgb.chunks_exact_mut(size * 3).enumerate() {
        let v = y as f32 - centre;
        for (x, p) in line.chunks_exact_mut(3).enumerate() {
            let u = x as f32 - centre;
            let (sx, sy) = (u * cos - v * sin + centre, u * sin + v * cos + centre);
            let colour = sample(&old, size, mirror(sx), mirror(sy));
            p.copy_from_slice(&colour.map(byte));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn ramp(size: usize) -> Vec<u8> {
        (0..size * size).flat_map(|i| [(i % 251) as u8, (i / 7 % 256) as u8, 90]).collect()
    }

    #[test]
    fn every_augmenter_keeps_the_size_and_changes_the_picture() {
        for (index, augmenter) in ALL.iter().enumerate() {
            let mut rng = ChaCha8Rng::seed_from_u64(index as u64);
            let mut rgb = ramp(32);
            augmenter(&mut rgb, 32, &mut rng);
            assert_eq!(rgb.len(), 32 * 32 * 3, "augmenter {index}");
            assert_ne!(rgb, ramp(32), "augmenter {index}");
        }
    }

    #[test]
    fn grey_stays_grey_under_a_change_of_hue() {
        let mut rgb = vec![120u8; 16 * 16 * 3];
        hue_saturation(&mut rgb, 16, &mut ChaCha8Rng::seed_from_u64(3));
        assert_eq!(rgb, vec![120u8; 16 * 16 * 3]);
    }
}

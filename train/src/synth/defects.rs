//! The kinds of damage that production lines show and Perlin noise does not draw.
//!
//! Lengths are drawn in pixels of a 256 px picture and scaled to the actual size, so that the
//! same seed means the same damage at every size.

use std::f32::consts::TAU;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::canvas::{Blob, Layer, anchor, byte, luma, reach, sample, stroke};

type Allowed<'a> = Option<&'a [bool]>;

fn scale(size: usize) -> f32 {
    size as f32 / 256.0
}

/// Evenly distributed on a logarithmic scale: small damage is the common one.
fn log_uniform(low: f32, high: f32, rng: &mut ChaCha8Rng) -> f32 {
    low * (rng.random::<f32>() * (high / low).ln()).exp()
}

fn sign(rng: &mut ChaCha8Rng) -> f32 {
    if rng.random() { 1.0 } else { -1.0 }
}

fn start(size: usize, allowed: Allowed<'_>, rng: &mut ChaCha8Rng) -> (f32, f32) {
    let (x, y) = anchor(size, allowed, rng);
    (x as f32, y as f32)
}

fn empty(clean: &[u8], size: usize) -> Layer {
    Layer { size, rgb: clean.to_vec(), alpha: vec![0.0; size * size] }
}

/// Adds `change` to every pixel that the layer covers, varying from pixel to pixel by `rough`.
fn shift(layer: &mut Layer, change: [f32; 3], rough: f32, rng: &mut ChaCha8Rng) {
    for (p, alpha) in layer.rgb.chunks_exact_mut(3).zip(&layer.alpha) {
        if *alpha > 0.0 {
            let vary = 1.0 + rough * (rng.random::<f32>() - 0.5);
            for c in 0..3 {
                p[c] = byte(f32::from(p[c]) + change[c] * vary);
            }
        }
    }
}

/// A brightness change with a slight tint.
fn tone(levels: f32, rng: &mut ChaCha8Rng) -> [f32; 3] {
    std::array::from_fn(|_| levels * rng.random_range(0.8..1.2))
}

/// A scratch that bends slowly, or a crack that turns sharply and branches.
pub(super) fn line(clean: &[u8], size: usize, allowed: Allowed<'_>, rng: &mut ChaCha8Rng) -> Layer {
    let mut layer = empty(clean, size);
    let s = scale(size);
    let crack = rng.random_range(0..3) == 0;
    let strokes = if crack { 1 } else { rng.random_range(1..=3) };
    let heading = rng.random_range(0.0..TAU);
    for _ in 0..strokes {
        let at = start(size, allowed, rng);
        let length = log_uniform(14.0, 170.0, rng) * s;
        let width = log_uniform(0.7, if crack { 2.2 } else { 3.5 }, rng) * s.max(0.5);
        // Several scratches of one accident run nearly parallel.
        let heading = heading + rng.random_range(-0.2..0.2);
        path(&mut layer.alpha, size, at, heading, length, width, crack, rng);
    }
    let levels = if crack {
        -rng.random_range(35.0..130.0)
    } else {
        sign(rng) * rng.random_range(25.0..110.0)
    };
    let change = tone(levels, rng);
    shift(&mut layer, change, 0.6, rng);
    layer
}

#[allow(clippy::too_many_arguments)] // a walk has that many properties; a struct would be used once
fn path(
    alpha: &mut [f32],
    size: usize,
    from: (f32, f32),
    mut heading: f32,
    length: f32,
    width: f32,
    crack: bool,
    rng: &mut ChaCha8Rng,
) {
    let step = 4.0 * scale(size).max(0.25);
    let steps = (length / step).ceil().max(2.0) as usize;
    let (turn, mut bend) = if crack { (1.1, 0.0) } else { (0.06, rng.random_range(-0.05..0.05)) };
    let opacity = rng.random_range(0.55..1.0);
    let (mut x, mut y) = from;
    for k in 0..steps {
        let (sin, cos) = heading.sin_cos();
        let next = (x + step * cos, y + step * sin);
        let taper = |k: usize| {
            let t = k as f32 / steps as f32;
            width * (4.0 * t * (1.0 - t)).sqrt().max(0.45)
        };
        stroke(alpha, size, (x, y, taper(k)), (next.0, next.1, taper(k + 1)), opacity);
        if crack && width > 0.5 && rng.random_range(0..9) == 0 {
            let side = heading + sign(rng) * rng.random_range(0.5..1.2);
            let rest = length * (1.0 - k as f32 / steps as f32) * 0.5;
            path(alpha, size, next, side, rest, width * 0.6, true, rng);
        }
        (x, y) = next;
        bend += rng.random_range(-0.02..0.02);
        heading += bend + turn * (rng.random::<f32>() - 0.5);
        if crack {
            bend = 0.0;
        }
    }
}

/// Spots and pits (small, hard), dents (shaded), stains (wide, soft).
pub(super) fn spot(clean: &[u8], size: usize, allowed: Allowed<'_>, rng: &mut ChaCha8Rng) -> Layer {
    match rng.random_range(0..10) {
        0..5 => pits(clean, size, allowed, rng),
        5..7 => dent(clean, size, allowed, rng),
        _ => stain(clean, size, allowed, rng),
    }
}

fn pits(clean: &[u8], size: usize, allowed: Allowed<'_>, rng: &mut ChaCha8Rng) -> Layer {
    let mut layer = empty(clean, size);
    let centre = start(size, allowed, rng);
    let count = if rng.random_range(0..3) == 0 { rng.random_range(2..=6) } else { 1 };
    for k in 0..count {
        let spread = if k == 0 { 0.0 } else { 22.0 * scale(size) };
        let mut off = || spread * (rng.random::<f32>() * 2.0 - 1.0);
        let (x, y) = (centre.0 + off(), centre.1 + off());
        let radius = log_uniform(1.4, 10.0, rng) * scale(size);
        let soft = rng.random_range(0.8..2.5);
        Blob::new(x, y, radius, soft, rng).paint(&mut layer.alpha, size, 1.0);
    }
    let levels = sign(rng) * rng.random_range(30.0..130.0);
    let change = tone(levels, rng);
    shift(&mut layer, change, rng.random_range(0.0..0.8), rng);
    layer
}

/// A hollow or a bump: bright on the side towards the light, dark on the other.
fn dent(clean: &[u8], size: usize, allowed: Allowed<'_>, rng: &mut ChaCha8Rng) -> Layer {
    let mut layer = empty(clean, size);
    let (x, y) = start(size, allowed, rng);
    let radius = log_uniform(4.0, 22.0, rng) * scale(size);
    let (sin, cos) = rng.random_range(0.0..TAU).sin_cos();
    let levels = rng.random_range(40.0..150.0);
    let [x0, y0, x1, y1] = reach(size, x, y, 2.0 * radius);
    for py in y0..=y1 {
        for px in x0..=x1 {
            let (u, v) = ((px as f32 - x) / radius, (py as f32 - y) / radius);
            let fall = (-1.5 * (u * u + v * v)).exp();
            // The slope of a Gaussian hollow in the direction of the light.
            let light = levels * (u * cos + v * sin) * fall * 2.0;
            let i = py * size + px;
            layer.alpha[i] = 1.0;
            for c in 3 * i..3 * i + 3 {
                layer.rgb[c] = byte(f32::from(clean[c]) + light);
            }
        }
    }
    layer
}

fn stain(clean: &[u8], size: usize, allowed: Allowed<'_>, rng: &mut ChaCha8Rng) -> Layer {
    let mut layer = empty(clean, size);
    let (x, y) = start(size, allowed, rng);
    let radius = log_uniform(8.0, 40.0, rng) * scale(size);
    let blob = Blob::new(x, y, radius, radius * rng.random_range(0.2..0.9), rng);
    let gain: [f32; 3] = match rng.random_range(0..3) {
        0 => std::array::from_fn(|_| rng.random_range(1.1..1.6)),
        _ => std::array::from_fn(|_| rng.random_range(0.45..0.9)),
    };
    let rim = rng.random_range(0.0..0.8);
    let [x0, y0, x1, y1] = blob.bounds(size);
    for py in y0..=y1 {
        for px in x0..=x1 {
            let (alpha, depth) = blob.at(px, py);
            if alpha <= 0.0 {
                continue;
            }
            let i = py * size + px;
            // A drop dries from its middle outwards: the rim is the strongest.
            layer.alpha[i] = alpha * (1.0 - rim * (1.0 - depth.min(1.0)));
            for c in 0..3 {
                layer.rgb[3 * i + c] = byte(f32::from(clean[3 * i + c]) * gain[c]);
            }
        }
    }
    layer
}

/// A patch from elsewhere in the picture, turned and mirrored: a blob, a box or a thin scar.
pub(super) fn paste(
    clean: &[u8],
    size: usize,
    allowed: Allowed<'_>,
    rng: &mut ChaCha8Rng,
) -> Layer {
    let mut layer = empty(clean, size);
    let (x, y) = start(size, allowed, rng);
    let (fx, fy) = start(size, allowed, rng);
    let s = scale(size);
    let reach_px;
    if rng.random() {
        let radius = log_uniform(5.0, 26.0, rng) * s;
        Blob::new(x, y, radius, 1.5, rng).paint(&mut layer.alpha, size, 1.0);
        reach_px = 3.0 * radius;
    } else {
        let length = log_uniform(10.0, 60.0, rng) * s;
        let width = log_uniform(2.5, 14.0, rng) * s;
        let (sin, cos) = rng.random_range(0.0..TAU).sin_cos();
        let (dx, dy) = (length / 2.0 * cos, length / 2.0 * sin);
        stroke(&mut layer.alpha, size, (x - dx, y - dy, width), (x + dx, y + dy, width), 1.0);
        reach_px = length / 2.0 + width;
    }
    let (sin, cos) = rng.random_range(0.0..TAU).sin_cos();
    let mirror = sign(rng);
    let gain = if rng.random() { rng.random_range(0.75..1.3) } else { 1.0 };
    let [x0, y0, x1, y1] = reach(size, x, y, reach_px + 2.0);
    for py in y0..=y1 {
        for px in x0..=x1 {
            let i = py * size + px;
            if layer.alpha[i] > 0.0 {
                let (u, v) = ((px as f32 - x) * mirror, py as f32 - y);
                let from = sample(clean, size, fx + u * cos - v * sin, fy + u * sin + v * cos);
                layer.rgb[3 * i..3 * i + 3].copy_from_slice(&from.map(|c| byte(c * gain)));
            }
        }
    }
    layer
}

/// Structure erased or added: a small area takes a tone found close by that differs from the
/// tone at its centre. On an edge this bites out or builds on, as opens, shorts, spurs, broken
/// teeth and missing print do.
pub(super) fn structure(
    clean: &[u8],
    size: usize,
    allowed: Allowed<'_>,
    rng: &mut ChaCha8Rng,
) -> Layer {
    let mut layer = empty(clean, size);
    let s = scale(size);
    let radius = log_uniform(2.5, 18.0, rng) * s;
    let (at, from) = contrast_pair(clean, size, allowed, 2.5 * radius + 3.0, rng);
    let elongated = rng.random_range(0..3) == 0;
    if elongated {
        // A bridge from one structure towards the other.
        let width = log_uniform(2.0, 8.0, rng) * s;
        stroke(&mut layer.alpha, size, (at.0, at.1, width), (from.0, from.1, width), 1.0);
    } else {
        Blob::new(at.0, at.1, radius, 1.0, rng).paint(&mut layer.alpha, size, 1.0);
    }
    let fill = sample(clean, size, from.0, from.1);
    let (around, grain) = local_grain(clean, size, from);
    // Half-way to the neighbourhood's mean: a single pixel's noise must not become a flat tone.
    let fill: [f32; 3] = std::array::from_fn(|c| 0.6 * fill[c] + 0.4 * around[c]);
    for (p, alpha) in layer.rgb.chunks_exact_mut(3).zip(&layer.alpha) {
        if *alpha > 0.0 {
            let speck = grain * (rng.random::<f32>() - 0.5);
            p.copy_from_slice(&fill.map(|c| byte(c + speck)));
        }
    }
    layer
}

/// Two points within `distance` whose brightness differs the most among a few draws.
fn contrast_pair(
    clean: &[u8],
    size: usize,
    allowed: Allowed<'_>,
    distance: f32,
    rng: &mut ChaCha8Rng,
) -> ((f32, f32), (f32, f32)) {
    let top = (size - 1) as f32;
    let bright = |(x, y): (f32, f32)| {
        let i = y as usize * size + x as usize;
        luma(&clean[3 * i..3 * i + 3])
    };
    let mut best = None;
    for _ in 0..10 {
        let at = start(size, allowed, rng);
        let (sin, cos) = rng.random_range(0.0..TAU).sin_cos();
        let far = rng.random_range(0.3..1.0) * distance;
        let from = ((at.0 + far * cos).clamp(0.0, top), (at.1 + far * sin).clamp(0.0, top));
        let contrast = bright(at).abs_diff(bright(from));
        if best.is_none_or(|(c, _, _)| contrast > c) {
            best = Some((contrast, at, from));
        }
    }
    best.map_or(((0.0, 0.0), (0.0, 0.0)), |(_, at, from)| (at, from))
}

/// Mean colour and noise amplitude (levels, peak to peak) in the 5 x 5 pixels round a point.
fn local_grain(clean: &[u8], size: usize, at: (f32, f32)) -> ([f32; 3], f32) {
    let [x0, y0, x1, y1] = reach(size, at.0, at.1, 2.0);
    let mut sum = [0.0; 3];
    let (mut count, mut squares, mut brights) = (0.0, 0.0, 0.0);
    for y in y0..=y1 {
        for x in x0..=x1 {
            let p = &clean[3 * (y * size + x)..3 * (y * size + x) + 3];
            for c in 0..3 {
                sum[c] += f32::from(p[c]);
            }
            let v = f32::from(luma(p));
            brights += v;
            squares += v * v;
            count += 1.0;
        }
    }
    let variance: f32 = squares / count - (brights / count) * (brights / count);
    // A uniform distribution of width w has the variance w^2 / 12.
    (sum.map(|v: f32| v / count), (12.0 * variance.max(0.0)).sqrt().min(24.0))
}

/// The picture pushed aside, pinched or twisted round a point.
pub(super) fn warp(clean: &[u8], size: usize, allowed: Allowed<'_>, rng: &mut ChaCha8Rng) -> Layer {
    let mut layer = empty(clean, size);
    let (x, y) = start(size, allowed, rng);
    let s = scale(size);
    let radius = log_uniform(9.0, 34.0, rng) * s;
    let (sin, cos) = rng.random_range(0.0..TAU).sin_cos();
    let push = rng.random_range(0.15..0.45) * radius;
    let (pinch, twist) = match rng.random_range(0..3) {
        0 => (0.0, 0.0),
        1 => (sign(rng) * rng.random_range(0.25..0.6), 0.0),
        _ => (0.0, sign(rng) * rng.random_range(0.5..1.4)),
    };
    let pushed = if pinch == 0.0 && twist == 0.0 { push } else { 0.0 };
    let [x0, y0, x1, y1] = reach(size, x, y, radius);
    for py in y0..=y1 {
        for px in x0..=x1 {
            let (u, v) = (px as f32 - x, py as f32 - y);
            let d = (u * u + v * v).sqrt() / radius;
            if d >= 1.0 {
                continue;
            }
            let fall = (1.0 - d * d) * (1.0 - d * d);
            let (ts, tc) = (twist * fall).sin_cos();
            let grow = 1.0 - pinch * fall;
            let sx = x + (u * tc - v * ts) * grow - pushed * fall * cos;
            let sy = y + (u * ts + v * tc) * grow - pushed * fall * sin;
            let i = py * size + px;
            layer.alpha[i] = 1.0;
            layer.rgb[3 * i..3 * i + 3].copy_from_slice(&sample(clean, size, sx, sy).map(byte));
        }
    }
    layer
}

/// Lost sharpness (smear, wear) or added grain (roughness) in a small area.
pub(super) fn blur(clean: &[u8], size: usize, allowed: Allowed<'_>, rng: &mut ChaCha8Rng) -> Layer {
    let mut layer = empty(clean, size);
    let (x, y) = start(size, allowed, rng);
    let s = scale(size);
    let radius = log_uniform(7.0, 30.0, rng) * s;
    let blob = Blob::new(x, y, radius, 3.0, rng);
    blob.paint(&mut layer.alpha, size, 1.0);
    if rng.random() {
        let grain = rng.random_range(40.0..130.0);
        for (p, alpha) in layer.rgb.chunks_exact_mut(3).zip(&layer.alpha) {
            if *alpha > 0.0 {
                let speck = grain * (rng.random::<f32>() - 0.5);
                p.iter_mut().for_each(|c| *c = byte(f32::from(*c) + speck));
            }
        }
        return layer;
    }
    let window = (rng.random_range(2.0..6.0) * s).ceil() as usize;
    let [x0, y0, x1, y1] = blob.bounds(size);
    for py in y0..=y1 {
        for px in x0..=x1 {
            let i = py * size + px;
            if layer.alpha[i] > 0.0 {
                let mean = window_mean(clean, size, px, py, window);
                layer.rgb[3 * i..3 * i + 3].copy_from_slice(&mean.map(byte));
            }
        }
    }
    layer
}

fn window_mean(rgb: &[u8], size: usize, x: usize, y: usize, window: usize) -> [f32; 3] {
    let mut sum = [0u32; 3];
    let (x0, x1) = (x.saturating_sub(window), (x + window).min(size - 1));
    let (y0, y1) = (y.saturating_sub(window), (y + window).min(size - 1));
    for row in y0..=y1 {
        let line = &rgb[3 * (row * size + x0)..3 * (row * size + x1) + 3];
        for p in line.chunks_exact(3) {
            for c in 0..3 {
                sum[c] += u32::from(p[c]);
            }
        }
    }
    let count = ((x1 - x0 + 1) * (y1 - y0 + 1)) as f32;
    sum.map(|v| v as f32 / count)
}

/// A disc that takes black on bright ground and white on dark ground: visible on any picture.
pub(super) fn contrast_disc(
    clean: &[u8],
    size: usize,
    allowed: Allowed<'_>,
    rng: &mut ChaCha8Rng,
) -> Layer {
    let mut layer = empty(clean, size);
    let (x, y) = start(size, allowed, rng);
    let radius = rng.random_range(3.0..9.0) * scale(size).max(0.7);
    Blob::new(x, y, radius, 1.0, rng).paint(&mut layer.alpha, size, 1.0);
    let i = y as usize * size + x as usize;
    layer.alpha[i] = 1.0;
    for (p, alpha) in layer.rgb.chunks_exact_mut(3).zip(&layer.alpha) {
        if *alpha > 0.0 {
            p.fill(if luma(p) > 127 { 10 } else { 245 });
        }
    }
    layer
}

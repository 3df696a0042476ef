//! Drawing tools shared by all kinds of damage: opacity shapes, sampling, composition.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// Change of one pixel, in 8-bit levels, that counts as visible: above the noise of a sensor.
const VISIBLE_LEVELS: u8 = 14;
/// The same for the mean over a 3 x 3 window: a faint change is visible when it is wide.
const VISIBLE_MEAN_LEVELS: u32 = 9;

/// What to paint and how opaque.
pub(super) struct Layer {
    /// Side of the square picture in pixels.
    pub(super) size: usize,
    /// `size * size * 3` bytes.
    pub(super) rgb: Vec<u8>,
    /// `size * size` opacities, 0 to 1.
    pub(super) alpha: Vec<f32>,
}

impl Layer {
    /// Paints over `clean` where allowed. Returns the picture, the mask of visible change and its
    /// area in pixels; where the change is not visible the clean pixels are put back.
    pub(super) fn compose(
        &self,
        clean: &[u8],
        allowed: Option<&[bool]>,
    ) -> (Vec<u8>, Vec<u8>, usize) {
        let pixels = self.size * self.size;
        let mut rgb = clean.to_vec();
        let mut change = vec![0u8; pixels];
        for i in 0..pixels {
            let alpha = self.alpha[i];
            if alpha <= 0.0 || allowed.is_some_and(|a| !a[i]) {
                continue;
            }
            for c in 3 * i..3 * i + 3 {
                let old = f32::from(clean[c]);
                rgb[c] = (old + alpha.min(1.0) * (f32::from(self.rgb[c]) - old) + 0.5) as u8;
                change[i] = change[i].max(rgb[c].abs_diff(clean[c]));
            }
        }
        let mask = visible(&change, self.size);
        let mut area = 0;
        for i in 0..pixels {
            if mask[i] == 1 {
                area += 1;
            } else {
                rgb[3 * i..3 * i + 3].copy_from_slice(&clean[3 * i..3 * i + 3]);
            }
        }
        (rgb, mask, area)
    }
}

/// Pixels that changed and whose change, or whose neighbourhood's mean change, can be seen.
fn visible(change: &[u8], size: usize) -> Vec<u8> {
    // Sums of three along the row first, then three rows: two passes of additions.
    let mut rows = vec![0u16; size * size];
    for (out, line) in rows.chunks_exact_mut(size).zip(change.chunks_exact(size)) {
        for x in 0..size {
            let left = line[x.saturating_sub(1)];
            let right = line[(x + 1).min(size - 1)];
            out[x] = u16::from(left) + u16::from(line[x]) + u16::from(right);
        }
    }
    let mut seen = vec![0u8; size * size];
    for y in 0..size {
        let (above, below) = (y.saturating_sub(1) * size, (y + 1).min(size - 1) * size);
        for x in 0..size {
            let i = y * size + x;
            let sum = u32::from(rows[above + x]) + u32::from(rows[i]) + u32::from(rows[below + x]);
            let wide = sum >= 9 * VISIBLE_MEAN_LEVELS;
            seen[i] = u8::from(change[i] > 0 && (wide || change[i] >= VISIBLE_LEVELS));
        }
    }
    fill_pinholes(&seen, change, size)
}

/// Marks changed pixels most of whose neighbours are marked: where source and picture happen to
/// agree for a pixel, the area has no hole.
fn fill_pinholes(seen: &[u8], change: &[u8], size: usize) -> Vec<u8> {
    let mut mask = seen.to_vec();
    for y in 1..size - 1 {
        for x in 1..size - 1 {
            let i = y * size + x;
            if seen[i] == 0 && change[i] > 0 {
                let row = |i: usize| seen[i - 1] + seen[i] + seen[i + 1];
                mask[i] = u8::from(row(i - size) + row(i) + row(i + size) >= 5);
            }
        }
    }
    mask
}

/// Whether every pixel has three equal channels.
pub(super) fn is_grey(rgb: &[u8]) -> bool {
    rgb.chunks_exact(3).all(|p| p[0] == p[1] && p[1] == p[2])
}

/// Brightness of a pixel, 0 to 255 (integer Rec. 601 weights).
pub(super) fn luma(p: &[u8]) -> u8 {
    ((u32::from(p[0]) * 77 + u32::from(p[1]) * 150 + u32::from(p[2]) * 29) >> 8) as u8
}

/// Replaces every pixel by its brightness.
pub(super) fn to_grey(rgb: &mut [u8]) {
    for p in rgb.chunks_exact_mut(3) {
        let y = luma(p);
        p.fill(y);
    }
}

/// A random pixel of the allowed area.
pub(super) fn anchor(
    size: usize,
    allowed: Option<&[bool]>,
    rng: &mut ChaCha8Rng,
) -> (usize, usize) {
    let pixels = size * size;
    let mut at = rng.random_range(0..pixels);
    if let Some(allowed) = allowed {
        for _ in 0..64 {
            if allowed[at] {
                break;
            }
            at = rng.random_range(0..pixels);
        }
        // A thin foreground is missed by chance: take the next allowed pixel, wrapping round.
        at = (0..pixels).map(|k| (at + k) % pixels).find(|&i| allowed[i]).unwrap_or(at);
    }
    (at % size, at / size)
}

/// Bilinear sample with replicated borders.
pub(super) fn sample(rgb: &[u8], size: usize, x: f32, y: f32) -> [f32; 3] {
    let top = (size - 1) as f32;
    let (x, y) = (x.clamp(0.0, top), y.clamp(0.0, top));
    let (x0, y0) = (x as usize, y as usize);
    let (x1, y1) = ((x0 + 1).min(size - 1), (y0 + 1).min(size - 1));
    let (u, v) = (x - x0 as f32, y - y0 as f32);
    let at = |x: usize, y: usize, c: usize| f32::from(rgb[3 * (y * size + x) + c]);
    std::array::from_fn(|c| {
        let upper = at(x0, y0, c) * (1.0 - u) + at(x1, y0, c) * u;
        let lower = at(x0, y1, c) * (1.0 - u) + at(x1, y1, c) * u;
        upper * (1.0 - v) + lower * v
    })
}

/// Rounds and clamps to a byte.
pub(super) fn byte(v: f32) -> u8 {
    (v + 0.5).clamp(0.0, 255.0) as u8
}

/// Inclusive pixel range of a box round (`x`, `y`), clipped to the picture.
pub(super) fn reach(size: usize, x: f32, y: f32, radius: f32) -> [usize; 4] {
    let low = |v: f32| (v - radius).floor().max(0.0) as usize;
    let high = |v: f32| ((v + radius).ceil().max(0.0) as usize).min(size - 1);
    [low(x), low(y), high(x), high(y)]
}

/// A rounded, irregular shape: an ellipse whose radius wobbles with the angle.
pub(super) struct Blob {
    x: f32,
    y: f32,
    radius: f32,
    stretch: f32,
    turn: (f32, f32),
    waves: [(f32, f32); 4],
    soft: f32,
}

impl Blob {
    /// Centre and mean radius in pixels; `soft` is the width of the edge in pixels.
    pub(super) fn new(x: f32, y: f32, radius: f32, soft: f32, rng: &mut ChaCha8Rng) -> Self {
        let turn = rng.random_range(0.0..std::f32::consts::TAU).sin_cos();
        let waves = std::array::from_fn(|k| {
            (
                rng.random_range(0.0..0.5) / (k + 1) as f32 / 1.5,
                rng.random_range(0.0..std::f32::consts::TAU),
            )
        });
        let stretch = rng.random_range(0.55..1.0);
        Self { x, y, radius, stretch, turn, waves, soft: soft.max(0.5) }
    }

    /// The box that holds the shape.
    pub(super) fn bounds(&self, size: usize) -> [usize; 4] {
        reach(size, self.x, self.y, 2.0 * self.radius / self.stretch.sqrt() + self.soft)
    }

    /// Opacity at a pixel, and the offset from the centre in units of the radius.
    pub(super) fn at(&self, x: usize, y: usize) -> (f32, f32) {
        let (dx, dy) = (x as f32 - self.x, y as f32 - self.y);
        let (s, c) = self.turn;
        let u = (dx * c + dy * s) * self.stretch.sqrt();
        let v = (dy * c - dx * s) / self.stretch.sqrt();
        let distance = (u * u + v * v).sqrt();
        if distance > 2.0 * self.radius + self.soft {
            return (0.0, 2.0);
        }
        let angle = v.atan2(u);
        let wave = |(k, (a, p)): (usize, &(f32, f32))| a * ((k + 2) as f32 * angle + p).cos();
        let wobble: f32 = self.waves.iter().enumerate().map(wave).sum();
        let edge = self.radius * (1.0 + wobble);
        (((edge - distance) / self.soft + 0.5).clamp(0.0, 1.0), distance / edge.max(0.1))
    }

    /// Raises `alpha` to `opacity` inside the shape.
    pub(super) fn paint(&self, alpha: &mut [f32], size: usize, opacity: f32) {
        let [x0, y0, x1, y1] = self.bounds(size);
        for y in y0..=y1 {
            for x in x0..=x1 {
                let a = &mut alpha[y * size + x];
                *a = a.max(self.at(x, y).0 * opacity);
            }
        }
    }
}

/// Raises `alpha` along a line from `a` to `b` (x, y, width in pixels), with soft edges.
pub(super) fn stroke(
    alpha: &mut [f32],
    size: usize,
    a: (f32, f32, f32),
    b: (f32, f32, f32),
    opacity: f32,
) {
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let square = (dx * dx + dy * dy).max(1e-6);
    let half = a.2.max(b.2) / 2.0 + 1.0;
    let (middle, far) = (((a.0 + b.0) / 2.0, (a.1 + b.1) / 2.0), square.sqrt() / 2.0 + half);
    let [x0, y0, x1, y1] = reach(size, middle.0, middle.1, far);
    for y in y0..=y1 {
        for x in x0..=x1 {
            let (px, py) = (x as f32 - a.0, y as f32 - a.1);
            let t = ((px * dx + py * dy) / square).clamp(0.0, 1.0);
            let (ex, ey) = (px - t * dx, py - t * dy);
            let width = a.2 + t * (b.2 - a.2);
            let cover = (width / 2.0 + 0.5 - (ex * ex + ey * ey).sqrt()).clamp(0.0, 1.0);
            let cell = &mut alpha[y * size + x];
            // A line thinner than a pixel covers a part of it only.
            *cell = cell.max(cover * opacity * width.min(1.0));
        }
    }
}

//! The two passes of the filter: down the columns over whole rows of bytes, then across.
//!
//! Fixed point: samples and weights are 16 bits, and the high half of each product is kept, which
//! every CPU has as one vector instruction. The sums have 8 bits behind the point.

/// Half a level of the result, to round instead of truncate.
const HALF_LEVEL: u32 = 1 << 23;

/// How samples lie in memory.
pub(super) trait Depth: Copy {
    /// One sample as it lies there.
    type Unit: Copy;

    /// The samples of a row.
    fn units(row: &[u8]) -> &[Self::Unit];

    /// A sample as 16 bits.
    fn widen(self, unit: Self::Unit) -> u16;

    /// What the weights must sum to, for the largest sample to become 255 with 8 bits behind the
    /// point.
    fn gain(self) -> f64;
}

/// A byte a sample.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes;

impl Depth for Bytes {
    type Unit = u8;

    fn units(row: &[u8]) -> &[u8] {
        row
    }

    fn widen(self, unit: u8) -> u16 {
        // The byte twice, not shifted: of a shifted byte compilers make a product of 32 bits,
        // of this one they keep the high half of one of 16 bits.
        u16::from_le_bytes([unit, unit])
    }

    fn gain(self) -> f64 {
        f64::from(255u32 << 8) / f64::from(u16::MAX)
    }
}

/// A little-endian word a sample, the value in its low bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words {
    max: u16,
    shift: u32,
}

impl Words {
    /// For values of 9 to 16 bits.
    pub(super) fn of(bits: u32) -> Self {
        Self { max: (u32::MAX >> (32 - bits)) as u16, shift: 16 - bits }
    }
}

impl Depth for Words {
    type Unit = [u8; 2];

    fn units(row: &[u8]) -> &[[u8; 2]] {
        row.as_chunks().0
    }

    fn widen(self, unit: [u8; 2]) -> u16 {
        // Bits above the value are no light: they would wrap to black.
        u16::from_le_bytes(unit).min(self.max) << self.shift
    }

    fn gain(self) -> f64 {
        f64::from(255u32 << 8) / f64::from(self.max << self.shift)
    }
}

/// High half of the product.
fn part(sample: u16, weight: u16) -> u16 {
    ((u32::from(sample) * u32::from(weight)) >> 16) as u16
}

/// One output row of the vertical pass: the weighted sum of the rows from `start` on.
pub(super) fn mix_rows<'a, D: Depth>(
    depth: D,
    row: impl Fn(usize) -> &'a [u8],
    (start, weights): (usize, &[u16]),
    out: &mut [u16],
) where
    D::Unit: 'a,
{
    // Each product is cut off by half a unit on average; the start value gives that back.
    out.fill(u16::try_from(weights.len() / 2).unwrap_or(u16::MAX));
    let mut quads = weights.chunks_exact(4);
    let mut y = start;
    for k in &mut quads {
        let rows = [row(y), row(y + 1), row(y + 2), row(y + 3)].map(D::units);
        mix_four(depth, out, rows, [k[0], k[1], k[2], k[3]]);
        y += 4;
    }
    for &k in quads.remainder() {
        mix_one(depth, out, D::units(row(y)), k);
        y += 1;
    }
}

/// Four rows at once: the sums are loaded and stored once for four products.
fn mix_four<D: Depth>(
    depth: D,
    out: &mut [u16],
    [a, b, c, d]: [&[D::Unit]; 4],
    [ka, kb, kc, kd]: [u16; 4],
) {
    let samples = a.iter().zip(b).zip(c).zip(d);
    for (sum, (((&a, &b), &c), &d)) in out.iter_mut().zip(samples) {
        *sum = sum
            .saturating_add(part(depth.widen(a), ka))
            .saturating_add(part(depth.widen(b), kb))
            .saturating_add(part(depth.widen(c), kc))
            .saturating_add(part(depth.widen(d), kd));
    }
}

fn mix_one<D: Depth>(depth: D, out: &mut [u16], row: &[D::Unit], k: u16) {
    for (sum, &sample) in out.iter_mut().zip(row) {
        *sum = sum.saturating_add(part(depth.widen(sample), k));
    }
}

/// One output pixel of the horizontal pass: `C` channels with one filter from a row of vertical
/// sums. The results have 24 bits behind the point; they fit, since the weights sum to less than
/// 2^16.
pub(super) fn mix_pixels<const C: usize>(
    row: &[u16],
    (start, weights): (usize, &[u16]),
) -> [u32; C] {
    let mut sums = [0; C];
    let pixels = &row.as_chunks::<C>().0[start..];
    for (pixel, &k) in pixels.iter().zip(weights) {
        for (sum, &value) in sums.iter_mut().zip(pixel) {
            *sum += u32::from(value) * u32::from(k);
        }
    }
    sums
}

/// The same where each of the `N` places of a cell has a filter of its own.
pub(super) fn mix_cells<const N: usize>(
    row: &[u16],
    (start, weights): (usize, &[[u16; N]]),
) -> [u32; N] {
    let mut sums = [0; N];
    let cells = &row.as_chunks::<N>().0[start..];
    for (cell, k) in cells.iter().zip(weights) {
        for n in 0..N {
            sums[n] += u32::from(cell[n]) * u32::from(k[n]);
        }
    }
    sums
}

/// The level that a horizontal sum rounds to.
pub(super) fn level(sum: u32) -> u8 {
    (sum.saturating_add(HALF_LEVEL) >> 24) as u8
}

/// RGB of Y, U and V as horizontal sums, by ITU-R BT.601 with limited range (Y 16 to 235, U and V
/// 16 to 240): what V4L2 and USB video cameras send unless they say otherwise.
pub(super) fn rgb_of_yuv([y, u, v]: [u32; 3]) -> [u8; 3] {
    /// Bits behind the point: 8 of the samples, 13 of the factors.
    const SHIFT: u32 = 21;
    const Y: i32 = 9539; // 255 / 219
    const RV: i32 = 13_075; // 255 / 224 * 2 (1 - 0.299)
    const GU: i32 = 3209; // 255 / 224 * 2 (1 - 0.114) * 0.114 / 0.587
    const GV: i32 = 6660; // 255 / 224 * 2 (1 - 0.299) * 0.299 / 0.587
    const BU: i32 = 16_525; // 255 / 224 * 2 (1 - 0.114)
    let sample = |sum: u32, zero: i32| (sum.saturating_add(1 << 15) >> 16) as i32 - (zero << 8);
    let (y, u, v) = (sample(y, 16) * Y, sample(u, 128), sample(v, 128));
    let level = |sum: i32| ((sum + (1 << (SHIFT - 1))) >> SHIFT).clamp(0, 255) as u8;
    [level(y + RV * v), level(y - GU * u - GV * v), level(y + BU * u)]
}

//! The passes of the filter: samples to 16 bits, rows mixed down the columns, the result turned
//! on its side, and mixed again.
//!
//! Fixed point: samples and weights are 16 bits, and the high half of each product is kept, which
//! every CPU has as one vector instruction. The sums have 8 bits behind the point. Each loop does
//! one simple thing to many neighbours, for the compiler to make vector instructions of.

/// Rows of the result that are made together: 16 bits each, they fill the widest vector in use.
pub(super) const BLOCK: usize = 16;

/// The same column of all rows of a block, in fours of rows.
pub(super) type Side = [[u16; 4]; BLOCK / 4];

/// How samples lie in memory.
pub(super) trait Depth: Copy {
    /// Writes the samples of a row as 16 bits.
    fn widen(self, row: &[u8], out: &mut [u16]);

    /// What the weights must sum to, for the largest sample to become 255 with 8 bits behind the
    /// point.
    fn gain(self) -> f64;
}

/// A byte a sample.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes;

impl Depth for Bytes {
    #[inline(always)]
    fn widen(self, row: &[u8], out: &mut [u16]) {
        for (wide, &byte) in out.iter_mut().zip(row) {
            *wide = u16::from(byte) << 8;
        }
    }

    fn gain(self) -> f64 {
        1.0
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
    #[inline(always)]
    fn widen(self, row: &[u8], out: &mut [u16]) {
        for (wide, &word) in out.iter_mut().zip(row.as_chunks().0) {
            // Bits above the value are no light: they would wrap to black.
            *wide = u16::from_le_bytes(word).min(self.max) << self.shift;
        }
    }

    fn gain(self) -> f64 {
        f64::from(255u32 << 8) / f64::from(self.max << self.shift)
    }
}

/// High half of the product.
#[inline(always)]
fn part(sample: u16, weight: u16) -> u16 {
    ((u32::from(sample) * u32::from(weight)) >> 16) as u16
}

/// Where sums begin. Each product is cut off by half a unit on average; this gives that back.
#[inline(always)]
fn begin(weights: &[u16]) -> u16 {
    u16::try_from(weights.len() / 2).unwrap_or(u16::MAX)
}

/// Down the columns: the weighted sum of rows, the first of which is number `start`.
#[inline(always)]
pub(super) fn mix_rows<'a>(
    row: impl Fn(usize) -> &'a [u16],
    (start, weights): (usize, &[u16]),
    out: &mut [u16],
) {
    let (fours, rest) = weights.as_chunks::<4>();
    let mut begin = Some(begin(weights));
    let mut y = start;
    for &four in fours {
        mix_four(begin.take(), [row(y), row(y + 1), row(y + 2), row(y + 3)], four, out);
        y += 4;
    }
    for &k in rest {
        if let Some(begin) = begin.take() {
            out.fill(begin);
        }
        for (sum, &sample) in out.iter_mut().zip(row(y)) {
            *sum = sum.saturating_add(part(sample, k));
        }
        y += 1;
    }
}

/// Four rows at once: the sums are loaded and stored once for four products. They begin at
/// `begin`, or go on.
#[inline(always)]
fn mix_four(
    begin: Option<u16>,
    [a, b, c, d]: [&[u16]; 4],
    [ka, kb, kc, kd]: [u16; 4],
    out: &mut [u16],
) {
    let samples = a.iter().zip(b).zip(c).zip(d);
    let more = |sum: u16, a: u16, b: u16, c: u16, d: u16| {
        sum.saturating_add(part(a, ka))
            .saturating_add(part(b, kb))
            .saturating_add(part(c, kc))
            .saturating_add(part(d, kd))
    };
    // Two loops, since the compiler leaves the choice in one.
    if let Some(begin) = begin {
        for (sum, (((&a, &b), &c), &d)) in out.iter_mut().zip(samples) {
            *sum = more(begin, a, b, c, d);
        }
    } else {
        for (sum, (((&a, &b), &c), &d)) in out.iter_mut().zip(samples) {
            *sum = more(*sum, a, b, c, d);
        }
    }
}

/// Turns the rows of a block on their side, so that across becomes down for the second pass too.
#[inline(always)]
pub(super) fn turn(rows: &[u16], width: usize, out: &mut [Side]) {
    /// Columns at a time.
    const STRIP: usize = 64;
    let row = |r: usize| &rows[r * width..][..width];
    for (at, out) in out.chunks_mut(STRIP).enumerate() {
        let columns = at * STRIP..at * STRIP + out.len();
        let mut fours = [[[0; 4]; STRIP]; BLOCK / 4];
        for (g, four) in fours.iter_mut().enumerate() {
            let [a, b, c, d] = [0, 1, 2, 3].map(|r| &row(4 * g + r)[columns.clone()]);
            let rows = a.iter().zip(b).zip(c).zip(d);
            for (four, (((&a, &b), &c), &d)) in four.iter_mut().zip(rows) {
                *four = [a, b, c, d];
            }
        }
        let [a, b, c, d] = &fours;
        let fours = a.iter().zip(b).zip(c).zip(d);
        for (side, (((&a, &b), &c), &d)) in out.iter_mut().zip(fours) {
            *side = [a, b, c, d];
        }
    }
}

/// Samples of one kind among those of a row: `first`, `first + step`, ...
#[derive(Clone, Copy, Debug)]
pub(super) struct Comb {
    pub(super) first: usize,
    pub(super) step: usize,
}

/// Across: one sample of the result for all rows of a block.
#[inline(always)]
pub(super) fn mix_sides(
    sides: &[Side],
    Comb { first, step }: Comb,
    (start, weights): (usize, &[u16]),
) -> [u16; BLOCK] {
    let mut sums = [begin(weights); BLOCK];
    let samples = sides[start * step + first..].iter().step_by(step);
    for (side, &k) in samples.zip(weights) {
        for (sum, &sample) in sums.iter_mut().zip(side.as_flattened()) {
            *sum = sum.saturating_add(part(sample, k));
        }
    }
    sums
}

/// The level that a sum rounds to.
#[inline(always)]
pub(super) fn level(sum: u16) -> u8 {
    (sum.saturating_add(1 << 7) >> 8) as u8
}

/// RGB of sums of Y, U and V, by ITU-R BT.601 with limited range (Y 16 to 235, U and V 16 to
/// 240): what V4L2 and USB video cameras send unless they say otherwise.
#[inline(always)]
pub(super) fn rgb_of_yuv([y, u, v]: [u16; 3]) -> [u8; 3] {
    /// Bits behind the point: 8 of the samples, 13 of the factors.
    const SHIFT: u32 = 21;
    const Y: i32 = 9539; // 255 / 219
    const RV: i32 = 13_075; // 255 / 224 * 2 (1 - 0.299)
    const GU: i32 = 3209; // 255 / 224 * 2 (1 - 0.114) * 0.114 / 0.587
    const GV: i32 = 6660; // 255 / 224 * 2 (1 - 0.299) * 0.299 / 0.587
    const BU: i32 = 16_525; // 255 / 224 * 2 (1 - 0.114)
    let sample = |sum: u16, zero: i32| i32::from(sum) - (zero << 8);
    let (y, u, v) = (sample(y, 16) * Y, sample(u, 128), sample(v, 128));
    let level = |sum: i32| ((sum + (1 << (SHIFT - 1))) >> SHIFT).clamp(0, 255) as u8;
    [level(y + RV * v), level(y - GU * u - GV * v), level(y + BU * u)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::widest;
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn the_widest_vectors_give_the_same_bits_as_the_least(
            samples in prop::collection::vec(any::<u8>(), 2 * 600..2 * 1400),
            weights in prop::collection::vec(0u16..9000, 1..7),
        ) {
            // What either makes of six rows, through every pass.
            let made = |is_wide: bool| {
                let work = || {
                    let width = samples.len() / 12;
                    let mut rows = vec![0; 6 * width];
                    for (row, bytes) in rows.chunks_mut(width).zip(samples.chunks(2 * width)) {
                        Words::of(12).widen(bytes, row);
                    }
                    let mut sums = vec![0; BLOCK * width];
                    for (i, sums) in sums.chunks_mut(width).enumerate() {
                        let taps = (0, &weights[..weights.len().min(1 + i % 6)]);
                        mix_rows(|y| &rows[y * width..][..width], taps, sums);
                    }
                    let mut sides = vec![Side::default(); width];
                    turn(&sums, width, &mut sides);
                    let mixed = mix_sides(&sides, Comb { first: 1, step: 3 }, (2, &weights));
                    let levels = mixed.map(|sum| rgb_of_yuv([sum, mixed[0], mixed[1]]));
                    (rows, sums, sides, mixed, levels)
                };
                if is_wide { widest::run(work) } else { work() }
            };
            prop_assert_eq!(made(true), made(false));
        }

        #[test]
        fn a_block_on_its_side_has_rows_for_columns(width in 1usize..200, seed in any::<u16>()) {
            let sums: Vec<u16> =
                (0..BLOCK * width).map(|i| (i as u16).wrapping_mul(40_503) ^ seed).collect();
            let mut sides = vec![Side::default(); width];
            turn(&sums, width, &mut sides);
            for (x, side) in sides.iter().enumerate() {
                for (r, &value) in side.as_flattened().iter().enumerate() {
                    prop_assert_eq!(value, sums[r * width + x]);
                }
            }
        }
    }
}

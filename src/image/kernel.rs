//! Weights of the antialiased triangle filter along one axis, and the two passes that apply them.
//!
//! Fixed point: a pixel is `value << 8` in 16 bits, a weight is 16 bits, and the weights of one
//! output pixel sum to 65 535, so that no pass can overflow 16 bits. The high half of each
//! product is kept, which every CPU has as one vector instruction.

/// Weights of an output pixel sum to this.
const ONE: f64 = 65_535.0;
/// A pixel's brightest value is 255; half a step of it, to round instead of truncate, in the
/// 32-bit product of a pixel and the weights.
const HALF_STEP: u32 = 1 << 23;

/// For each output pixel along one axis: which input pixels it takes, with which weights.
#[derive(Debug, Default)]
pub(super) struct Kernel {
    spans: Vec<Span>,
    weights: Vec<u16>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    len: usize,
    first_weight: usize,
}

impl Kernel {
    /// Computes the weights from `from` to `to` pixels (both at least 1), reusing the memory.
    pub(super) fn rebuild(&mut self, from: usize, to: usize) {
        self.spans.clear();
        self.weights.clear();
        self.spans.reserve(to);
        let scale = from as f64 / to as f64;
        let radius = scale.max(1.0);
        for out in 0..to {
            let centre = (out as f64 + 0.5) * scale;
            let start = (centre - radius).floor().max(0.0) as usize;
            let end = ((centre + radius).ceil() as usize).min(from);
            self.push_span(start, end, |x| {
                (1.0 - (x as f64 + 0.5 - centre).abs() / radius).max(0.0)
            });
        }
    }

    fn push_span(&mut self, start: usize, end: usize, weight: impl Fn(usize) -> f64) {
        // The triangle vanishes at the rims: do not read pixels for nothing.
        let start = (start..end).find(|&x| weight(x) > 0.0).unwrap_or(start);
        let end = (start..end).rev().find(|&x| weight(x) > 0.0).map_or(end, |x| x + 1);
        let total: f64 = (start..end).map(&weight).sum();
        let first_weight = self.weights.len();
        // Rounding the running sum, not each weight, keeps the total exact.
        let (mut sum, mut given) = (0.0, 0.0);
        for x in start..end {
            sum += weight(x);
            let upto = (sum / total * ONE).round();
            self.weights.push((upto - given) as u16);
            given = upto;
        }
        self.spans.push(Span { start, len: end - start, first_weight });
    }

    /// First input pixel and weights of output pixel `out`.
    pub(super) fn taps(&self, out: usize) -> (usize, &[u16]) {
        let Span { start, len, first_weight } = self.spans[out];
        (start, &self.weights[first_weight..first_weight + len])
    }
}

/// High half of the product of a pixel, widened to 16 bits, and a weight.
fn part(pixel: u8, weight: u16) -> u16 {
    (((u32::from(pixel) << 8) * u32::from(weight)) >> 16) as u16
}

/// One output row of the vertical pass: the weighted sum of the rows from `start` on.
pub(super) fn mix_rows<'a>(
    row: impl Fn(usize) -> &'a [u8],
    (start, weights): (usize, &[u16]),
    out: &mut [u16],
) {
    // Each product is cut off by half a unit on average; the start value gives that back.
    out.fill(u16::try_from(weights.len() / 2).unwrap_or(u16::MAX));
    let mut quads = weights.chunks_exact(4);
    let mut y = start;
    for k in &mut quads {
        let rows = [row(y), row(y + 1), row(y + 2), row(y + 3)];
        mix_four(out, rows, [k[0], k[1], k[2], k[3]]);
        y += 4;
    }
    for &k in quads.remainder() {
        mix_one(out, row(y), k);
        y += 1;
    }
}

/// Four rows at once: the sums are loaded and stored once for four products.
fn mix_four(out: &mut [u16], [a, b, c, d]: [&[u8]; 4], [ka, kb, kc, kd]: [u16; 4]) {
    let pixels = a.iter().zip(b).zip(c).zip(d);
    for (sum, (((&a, &b), &c), &d)) in out.iter_mut().zip(pixels) {
        *sum = sum
            .saturating_add(part(a, ka))
            .saturating_add(part(b, kb))
            .saturating_add(part(c, kc))
            .saturating_add(part(d, kd));
    }
}

fn mix_one(out: &mut [u16], row: &[u8], k: u16) {
    for (sum, &pixel) in out.iter_mut().zip(row) {
        *sum = sum.saturating_add(part(pixel, k));
    }
}

/// One output pixel of the horizontal pass: `C` channels from a row of vertical sums.
pub(super) fn mix_pixels<const C: usize>(
    row: &[u16],
    (start, weights): (usize, &[u16]),
) -> [u8; C] {
    let mut sums = [HALF_STEP; C];
    let (pixels, _) = row[start * C..].as_chunks::<C>();
    for (pixel, &k) in pixels.iter().zip(weights) {
        for (sum, &value) in sums.iter_mut().zip(pixel) {
            *sum = sum.saturating_add(u32::from(value) * u32::from(k));
        }
    }
    sums.map(|sum| (sum >> 24) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn weights_are_whole_and_spans_inside_the_picture(from in 1usize..3000, to in 1usize..600) {
            let mut kernel = Kernel::default();
            kernel.rebuild(from, to);
            prop_assert_eq!(kernel.spans.len(), to);
            for out in 0..to {
                let (start, weights) = kernel.taps(out);
                prop_assert!(!weights.is_empty() && start + weights.len() <= from);
                prop_assert_eq!(weights.iter().map(|&w| u32::from(w)).sum::<u32>(), 65_535);
            }
        }
    }

    #[test]
    fn a_size_that_stays_takes_each_pixel_itself() {
        let mut kernel = Kernel::default();
        kernel.rebuild(5, 5);
        for out in 0..5 {
            assert_eq!(kernel.taps(out), (out, &[65_535u16][..]));
        }
    }
}

//! Weights of the antialiased triangle filter along one axis.
//!
//! Fixed point: a weight is 16 bits, and the weights of one output pixel sum to 65 535, so that
//! no pass over 16-bit values can overflow.
//!
//! The samples of a picture need not be its pixels: a Bayer sensor has a red one in every second
//! column, YUV a colour for two columns. A [`Lattice`] says where they lie, and the filter takes
//! each from where it is, so that no colour is shifted against another.

use std::ops::Range;

/// Weights of an output pixel sum to this.
const ONE: f64 = 65_535.0;

/// A stretch of an axis of the picture, in pixels, that becomes `to` output pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Axis {
    pub(super) from: usize,
    pub(super) length: usize,
    pub(super) to: usize,
}

impl Axis {
    fn range(&self) -> Range<usize> {
        self.from..self.from + self.length
    }

    /// Picture pixels per output pixel.
    fn scale(&self) -> f64 {
        self.length as f64 / self.to as f64
    }
}

/// Where samples lie along an axis of the picture; pixel `i` covers `[i, i + 1)`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Lattice {
    /// Centre of sample 0.
    first: f64,
    /// From one sample to the next.
    step: f64,
    /// Numbers of the samples that may be used: none from outside the axis, as if the picture
    /// ended there.
    used: Range<usize>,
}

impl Lattice {
    /// One sample a pixel.
    pub(super) fn every(axis: &Axis) -> Self {
        Self { first: 0.5, step: 1.0, used: axis.range() }
    }

    /// The even (0) or the odd (1) pixels alone. The axis must be two pixels long at least.
    pub(super) fn second(axis: &Axis, parity: usize) -> Self {
        let Range { start, end } = axis.range();
        let upto = |pixel: usize| (pixel + 1).saturating_sub(parity) / 2;
        Self { first: parity as f64 + 0.5, step: 2.0, used: upto(start)..upto(end) }
    }

    /// One sample for two pixels, `first` pixels from the left edge of the first.
    pub(super) fn shared(axis: &Axis, first: f64) -> Self {
        let Range { start, end } = axis.range();
        Self { first, step: 2.0, used: start / 2..end.div_ceil(2) }
    }
}

/// For each output pixel along one axis: which samples it takes, with which weights.
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
    /// Computes the weights, reusing the memory; they sum to `gain`, at most 1.
    pub(super) fn rebuild(&mut self, axis: &Axis, lattice: &Lattice, gain: f64) {
        self.spans.clear();
        self.weights.clear();
        self.spans.reserve(axis.to);
        let scale = axis.scale();
        // Between samples that lie wider than the output pixels the triangle interpolates.
        let radius = scale.max(lattice.step);
        let Lattice { first, step, ref used } = *lattice;
        for out in 0..axis.to {
            let centre = axis.from as f64 + (out as f64 + 0.5) * scale;
            let sample = |position: f64| ((position - first) / step).max(0.0);
            let start = (sample(centre - radius).floor() as usize).clamp(used.start, used.end);
            let end = (sample(centre + radius).ceil() as usize + 1).clamp(start, used.end);
            let weight =
                |i: usize| (1.0 - (first + step * i as f64 - centre).abs() / radius).max(0.0);
            self.push_span(start, end, gain, weight);
        }
    }

    fn push_span(&mut self, start: usize, end: usize, gain: f64, weight: impl Fn(usize) -> f64) {
        // The triangle vanishes at the rims: do not read samples for nothing.
        let start = (start..end).find(|&i| weight(i) > 0.0).unwrap_or(start);
        let end = (start..end).rev().find(|&i| weight(i) > 0.0).map_or(end, |i| i + 1);
        let total: f64 = (start..end).map(&weight).sum();
        let first_weight = self.weights.len();
        // Rounding the running sum, not each weight, keeps the total exact.
        let (mut sum, mut given) = (0.0, 0.0);
        for i in start..end {
            sum += weight(i);
            let upto = (sum / total * ONE * gain).round();
            self.weights.push((upto - given) as u16);
            given = upto;
        }
        self.spans.push(Span { start, len: end - start, first_weight });
    }

    /// First sample and weights of output pixel `out`.
    pub(super) fn taps(&self, out: usize) -> (usize, &[u16]) {
        let Span { start, len, first_weight } = self.spans[out];
        (start, &self.weights[first_weight..first_weight + len])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(weights: &[u16]) -> u32 {
        weights.iter().map(|&w| u32::from(w)).sum()
    }

    proptest! {
        #[test]
        fn weights_are_whole_and_spans_inside_the_axis(
            from in 0usize..40, length in 2usize..3000, to in 1usize..600,
        ) {
            let axis = Axis { from, length, to };
            let end = from + length;
            let lattices = [
                (Lattice::every(&axis), from, end),
                (Lattice::second(&axis, 0), from.div_ceil(2), end.div_ceil(2)),
                (Lattice::second(&axis, 1), from / 2, end / 2),
                (Lattice::shared(&axis, 0.5), from / 2, end.div_ceil(2)),
                (Lattice::shared(&axis, 1.0), from / 2, end.div_ceil(2)),
            ];
            for (lattice, begin, end) in lattices {
                let mut kernel = Kernel::default();
                kernel.rebuild(&axis, &lattice, 1.0);
                prop_assert_eq!(kernel.spans.len(), to);
                for out in 0..to {
                    let (start, weights) = kernel.taps(out);
                    prop_assert!(!weights.is_empty());
                    prop_assert!(start >= begin && start + weights.len() <= end, "{:?}", lattice);
                    prop_assert_eq!(sum(weights), 65_535);
                }
            }
        }
    }

    #[test]
    fn a_size_that_stays_takes_each_pixel_itself() {
        let axis = Axis { from: 0, length: 5, to: 5 };
        let mut kernel = Kernel::default();
        kernel.rebuild(&axis, &Lattice::every(&axis), 1.0);
        for out in 0..5 {
            assert_eq!(kernel.taps(out), (out, &[65_535u16][..]));
        }
    }
}

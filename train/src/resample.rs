//! Bilinear upsampling and Gaussian smoothing as fixed matrices.
//!
//! Both are linear and separable: on a square map `X` they are `R X R^T` with one small matrix
//! `R` per axis. In the exported graph that is two matrix products, which every runtime does
//! fast, where `Resize` is a slow path in some and differs in its rounding between them.

/// One axis of a linear resampling: `[rows, columns]`, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// Output pixels.
    pub rows: usize,
    /// Input pixels.
    pub columns: usize,
    /// Weights; each row sums to one.
    pub values: Vec<f64>,
}

/// Bilinear interpolation from `input` to `output` pixels, half-pixel centres, clamped borders.
pub fn upsampling(input: usize, output: usize) -> Axis {
    let mut values = vec![0.0; output * input];
    let scale = input as f64 / output as f64;
    for (o, row) in values.chunks_exact_mut(input).enumerate() {
        let position = ((o as f64 + 0.5) * scale - 0.5).clamp(0.0, (input - 1) as f64);
        let low = position.floor() as usize;
        let fraction = position - low as f64;
        row[low] += 1.0 - fraction;
        row[(low + 1).min(input - 1)] += fraction;
    }
    Axis { rows: output, columns: input, values }
}

/// Bilinear interpolation from `input` to `output` pixels whose first and last pixels coincide.
pub fn upsampling_corners(input: usize, output: usize) -> Axis {
    let mut values = vec![0.0; output * input];
    let scale = (input - 1) as f64 / output.saturating_sub(1).max(1) as f64;
    for (o, row) in values.chunks_exact_mut(input).enumerate() {
        let position = (o as f64 * scale).clamp(0.0, (input - 1) as f64);
        let low = position.floor() as usize;
        row[low] += 1.0 - (position - low as f64);
        row[(low + 1).min(input - 1)] += position - low as f64;
    }
    Axis { rows: output, columns: input, values }
}

/// Gaussian smoothing of `side` pixels by `kernel` (odd) taps of `sigma`, normalised, the border
/// pixel repeated outwards.
pub fn smoothing(side: usize, kernel: usize, sigma: f64) -> Axis {
    let radius = (kernel / 2) as isize;
    let weight = |d: isize| (-((d * d) as f64) / (2.0 * sigma * sigma)).exp();
    let total: f64 = (-radius..=radius).map(weight).sum();
    let mut values = vec![0.0; side * side];
    for (o, row) in values.chunks_exact_mut(side).enumerate() {
        for d in -radius..=radius {
            let at = (o as isize + d).clamp(0, side as isize - 1) as usize;
            row[at] += weight(d) / total;
        }
    }
    Axis { rows: side, columns: side, values }
}

/// Mean of `window` (odd) neighbours of each of `side` pixels, the border pixel repeated outwards.
pub fn window_mean(side: usize, window: usize) -> Axis {
    let radius = (window / 2) as isize;
    let mut values = vec![0.0; side * side];
    for (o, row) in values.chunks_exact_mut(side).enumerate() {
        for d in -radius..=radius {
            let at = (o as isize + d).clamp(0, side as isize - 1) as usize;
            row[at] += 1.0 / window as f64;
        }
    }
    Axis { rows: side, columns: side, values }
}

impl Axis {
    /// First `first`, then this.
    ///
    /// # Panics
    /// When `first` does not give as many pixels as this takes.
    pub fn after(&self, first: &Axis) -> Axis {
        assert_eq!(self.columns, first.rows, "resampling steps do not fit");
        let mut values = vec![0.0; self.rows * first.columns];
        for (row, out) in
            self.values.chunks_exact(self.columns).zip(values.chunks_exact_mut(first.columns))
        {
            for (w, inner) in row.iter().zip(first.values.chunks_exact(first.columns)) {
                out.iter_mut().zip(inner).for_each(|(o, v)| *o += w * v);
            }
        }
        Axis { rows: self.rows, columns: first.columns, values }
    }

    /// The matrix as 32-bit values.
    pub fn to_f32(&self) -> Vec<f32> {
        self.values.iter().map(|v| *v as f32).collect()
    }

    /// The transposed matrix as 32-bit values, `[columns, rows]`.
    pub fn transposed(&self) -> Vec<f32> {
        let columns = 0..self.columns;
        columns
            .flat_map(|c| self.values[c..].iter().step_by(self.columns).map(|v| *v as f32))
            .collect()
    }

    /// Both axes at once on flattened square maps: `[rows * rows, columns * columns]`.
    pub fn kronecker(&self) -> Vec<f32> {
        let row = |r: usize| &self.values[r * self.columns..(r + 1) * self.columns];
        let mut out = Vec::with_capacity((self.rows * self.columns).pow(2));
        for y in 0..self.rows {
            for x in 0..self.rows {
                for wy in row(y) {
                    out.extend(row(x).iter().map(|wx| (wy * wx) as f32));
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upsampling_by_two_has_the_textbook_weights() {
        let up = upsampling(3, 6);
        #[rustfmt::skip]
        assert_eq!(up.to_f32(), [
            1.0, 0.0, 0.0,
            0.75, 0.25, 0.0,
            0.25, 0.75, 0.0,
            0.0, 0.75, 0.25,
            0.0, 0.25, 0.75,
            0.0, 0.0, 1.0,
        ]);
    }

    #[test]
    fn aligned_corners_keep_the_first_and_the_last_pixel() {
        let up = upsampling_corners(3, 5);
        #[rustfmt::skip]
        assert_eq!(up.to_f32(), [
            1.0, 0.0, 0.0,
            0.5, 0.5, 0.0,
            0.0, 1.0, 0.0,
            0.0, 0.5, 0.5,
            0.0, 0.0, 1.0,
        ]);
    }

    #[test]
    fn a_constant_map_stays_constant_up_to_its_border() {
        let both = smoothing(16, 5, 4.0).after(&upsampling(4, 16));
        for row in both.values.chunks_exact(4) {
            assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn smoothing_repeats_the_border_pixel() {
        let s = smoothing(8, 5, 4.0);
        let w = |d: f64| (-d * d / 32.0).exp();
        let total = 1.0 + 2.0 * w(1.0) + 2.0 * w(2.0);
        assert!((s.values[0] - (1.0 + w(1.0) + w(2.0)) / total).abs() < 1e-12);
        assert!((s.values[2] - w(2.0) / total).abs() < 1e-12);
        assert!((s.values[3]).abs() < 1e-12);
    }

    #[test]
    fn both_axes_at_once_equal_one_after_the_other() {
        let up = upsampling(2, 4);
        let map = [1.0f32, 2.0, 5.0, -3.0];
        let at_once: Vec<f32> = up
            .kronecker()
            .chunks_exact(4)
            .map(|row| row.iter().zip(&map).map(|(w, v)| w * v).sum())
            .collect();
        let m = up.to_f32();
        for y in 0..4 {
            for x in 0..4 {
                let mut sum = 0.0;
                for i in 0..2 {
                    for j in 0..2 {
                        sum += m[y * 2 + i] * map[i * 2 + j] * m[x * 2 + j];
                    }
                }
                assert!((sum - at_once[y * 4 + x]).abs() < 1e-6);
            }
        }
    }
}

//! The position table brought to the size of the token grid, once, when the graph is built.
//!
//! As in DINOv2: bicubic with a = -0.75, no antialiasing, borders repeated, and a scale of
//! `(grid + 0.1) / table` in place of `grid / table`. The weights were trained with that offset.

/// The cubic's parameter.
const A: f64 = -0.75;
/// Added to the grid's side when the scale is computed.
const OFFSET: f64 = 0.1;

/// A square table `[table * table, channels]` on `grid * grid` tokens, row-major.
///
/// # Panics
/// When `values` is no whole number of channels.
pub fn interpolated(values: &[f32], table: usize, grid: usize) -> Vec<f32> {
    let channels = values.len() / (table * table);
    assert_eq!(values.len(), channels * table * table, "a table of another size");
    if grid == table {
        return values.to_vec();
    }
    let axis: Vec<[(usize, f64); 4]> = (0..grid).map(|o| taps(o, table, grid)).collect();
    let mut out = Vec::with_capacity(grid * grid * channels);
    for rows in &axis {
        for columns in &axis {
            let mut token = vec![0f64; channels];
            for (y, wy) in rows {
                for (x, wx) in columns {
                    let from = &values[(y * table + x) * channels..][..channels];
                    token.iter_mut().zip(from).for_each(|(t, v)| *t += wy * wx * f64::from(*v));
                }
            }
            out.extend(token.iter().map(|v| *v as f32));
        }
    }
    out
}

/// Four source positions of output `o` and their weights.
fn taps(o: usize, table: usize, grid: usize) -> [(usize, f64); 4] {
    let scale = (grid as f64 + OFFSET) / table as f64;
    let place = (o as f64 + 0.5) / scale - 0.5;
    let (low, t) = (place.floor(), place - place.floor());
    let near = |x: f64| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f64| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    let weights = [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)];
    std::array::from_fn(|i| {
        let at = low as isize - 1 + i as isize;
        (at.clamp(0, table as isize - 1) as usize, weights[i])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_table_stays_constant_and_its_own_size_unchanged() {
        assert!(interpolated(&[3.0; 49], 7, 5).iter().all(|v| (v - 3.0).abs() < 1e-6));
        let own: Vec<f32> = (0..98).map(|v| v as f32).collect();
        assert_eq!(interpolated(&own, 7, 7), own);
    }
}

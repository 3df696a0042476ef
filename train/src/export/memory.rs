//! The memories of normal surroundings as ONNX nodes (step 5 of `arch.rs`).
//!
//! `|m - p|^2 = |m|^2 - (2 m.p - |p|^2)`: one matrix product and the largest of each row, stripe by
//! stripe: a product that leaves the processor's cache before its largest are looked for takes
//! half as long again as the whole rest of the model.

use super::weights::values;
use crate::arch::{Architecture, MEMORY_FLOOR, Weights};
use crate::encoder::nodes::Taps;
use crate::onnx::{GraphBuilder, Value};
use crate::resample::window_mean;

/// Values of a product that are held at a time: 4 MB.
const STRIPE_VALUES: usize = 1 << 20;

/// What memory `i` says of each of its places, to the power of its weight: `[side, side]`.
pub(super) fn wire(
    g: &mut GraphBuilder,
    arch: &Architecture,
    i: usize,
    weights: &Weights,
    taps: &Taps,
) -> Value {
    let memory = &arch.memories[i];
    let at = |part: &str| format!("memory.{i}.{part}");
    let (width, count) = (arch.tap_channels(&memory.taps).len(), memory.prototypes);
    let shown: Vec<&Value> = match memory.scale {
        1 => memory.taps.iter().map(|t| &taps.grid[*t]).collect(),
        _ => taps.fine[i].iter().collect(),
    };
    let shown = if let [one] = shown[..] { one.clone() } else { g.concat(&at("taps"), &shown, 1) };
    let query = surroundings(g, arch, i, &shown, width);
    let prototypes = values(weights, &at("prototypes"));
    let rows = || prototypes.chunks_exact(width);
    let twice: Vec<f32> = (0..width).flat_map(|c| rows().map(move |row| 2.0 * row[c])).collect();
    let twice = g.weight(&at("prototypes"), &[width, count], &twice);
    let square: Vec<f32> = rows().map(|row| row.iter().map(|v| v * v).sum()).collect();
    let square = g.constant(&at("prototypes.norm2"), &[1, count], &square);
    let side = arch.memory_grid(memory);
    let stripe = stripe(side * side, count);
    let best: Vec<Value> = (0..side * side)
        .step_by(stripe)
        .map(|row| {
            let part = |part: &str| at(&format!("{part}.{row}"));
            let rows = g.row_range(&part("stripe"), &query, row..row + stripe);
            let likeness = g.matmul(&part("product"), &rows, &twice);
            let likeness = g.sub(&part("likeness"), &likeness, &square);
            g.max_over(&part("best"), &likeness, 1)
        })
        .collect();
    let best = g.concat(&at("best"), &best.iter().collect::<Vec<_>>(), 0);
    let best = g.reshape(&at("best.column"), &best, &[side * side, 1]);
    let own = g.mul(&at("query.square"), &query, &query);
    let own = g.sum(&at("query.norm2"), &own, 1);
    let distance = g.sub(&at("distance2.raw"), &own, &best);
    let distance = g.relu(&at("distance2"), &distance);
    let floor = (MEMORY_FLOOR * width as f64) as f32;
    let floor = g.constant(&at("floor"), &[], &[floor]);
    let distance = g.add(&at("distance2.floored"), &distance, &floor);
    let distance = g.pow(&at("weighted"), &distance, 0.5 * memory.weight);
    let level = values(weights, &at("level")).iter().map(|l| l.powf(memory.weight));
    let level = g.constant(&at("level"), &[], &level.collect::<Vec<f32>>());
    let levelled = g.mul(&at("levelled"), &distance, &level);
    g.reshape(&at("grid"), &levelled, &[side, side])
}

/// Rows of a stripe: as many of `rows` as keep the product small, and divide them.
fn stripe(rows: usize, prototypes: usize) -> usize {
    let most = (STRIPE_VALUES / prototypes).clamp(1, rows);
    (1..=most).rev().find(|stripe| rows.is_multiple_of(*stripe)).unwrap_or(rows)
}

/// Mean of the neighbourhood of each place, `[places, width]`: a product along each axis of the
/// grid.
fn surroundings(
    g: &mut GraphBuilder,
    arch: &Architecture,
    i: usize,
    taps: &Value,
    width: usize,
) -> Value {
    let memory = &arch.memories[i];
    let at = |part: &str| format!("memory.{i}.{part}");
    let grid = arch.memory_grid(memory);
    let mean = window_mean(grid, memory.window);
    let mean = g.constant(&at("window"), &[grid, grid], &mean.to_f32());
    let x = g.reshape(&at("rows"), taps, &[grid, grid * width]);
    let x = g.matmul(&at("high"), &mean, &x);
    let x = g.reshape(&at("columns"), &x, &[grid, grid, width]);
    let x = g.matmul(&at("wide"), &mean, &x);
    g.reshape(&at("query"), &x, &[grid * grid, width])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stripes_divide_the_places_and_stay_small() {
        // Places and prototypes of both memories of `edge` and of `accurate`, and what is odd.
        let sizes =
            [(1024, 4096), (4096, 2048), (2304, 4096), (9216, 2048), (36, 7), (49, 1 << 21)];
        let stripes = sizes.map(|(rows, prototypes)| stripe(rows, prototypes));
        assert_eq!(stripes, [256, 512, 256, 512, 36, 1]);
    }
}

//! The memory of normal surroundings as ONNX nodes (step 5 of `arch.rs`).
//!
//! `|m - p|^2 = |m|^2 - (2 m.p - |p|^2)`: one matrix product and the largest of each row.

use super::weights::values;
use crate::arch::{Architecture, MEMORY_FLOOR, Memory, Weights};
use crate::onnx::{GraphBuilder, Value};
use crate::resample::window_mean;

/// Distance of each token to the nearest prototype times `memory.level`, `[tokens, 1]`, from the
/// encoder's standardised `taps`.
pub(super) fn wire(
    g: &mut GraphBuilder,
    (arch, memory): (&Architecture, &Memory),
    weights: &Weights,
    taps: &[Value],
) -> Value {
    let (width, count) = (arch.tap_channels(&memory.taps).len(), memory.prototypes);
    let taps: Vec<&Value> = memory.taps.iter().map(|t| &taps[*t]).collect();
    let taps = g.concat("memory.taps", &taps, 1);
    let query = surroundings(g, arch, memory, &taps, width);
    let prototypes = values(weights, "memory.prototypes");
    let rows = || prototypes.chunks_exact(width);
    let twice: Vec<f32> = (0..width).flat_map(|c| rows().map(move |row| 2.0 * row[c])).collect();
    let twice = g.weight("memory.prototypes", &[width, count], &twice);
    let square: Vec<f32> = rows().map(|row| row.iter().map(|v| v * v).sum()).collect();
    let square = g.constant("memory.prototypes.norm2", &[1, count], &square);
    let likeness = g.matmul("memory.product", &query, &twice);
    let likeness = g.sub("memory.likeness", &likeness, &square);
    let best = g.max_over("memory.best", &likeness, 1);
    let best = g.reshape("memory.best.column", &best, &[arch.tokens(), 1]);
    let own = g.mul("memory.query.square", &query, &query);
    let own = g.sum("memory.query.norm2", &own, 1);
    let distance = g.sub("memory.distance2.raw", &own, &best);
    let distance = g.relu("memory.distance2", &distance);
    let floor = g.constant("memory.floor", &[], &[MEMORY_FLOOR as f32]);
    let distance = g.add("memory.distance2.floored", &distance, &floor);
    let distance = g.sqrt("memory.distance", &distance);
    let level = g.constant("memory.level", &[], &values(weights, "memory.level")[..1]);
    g.mul("memory.levelled", &distance, &level)
}

/// Mean of the neighbourhood of each token, `[tokens, width]`: a product along each axis of the
/// grid.
fn surroundings(
    g: &mut GraphBuilder,
    arch: &Architecture,
    memory: &Memory,
    taps: &Value,
    width: usize,
) -> Value {
    let grid = arch.grid;
    let mean = window_mean(grid, memory.window);
    let mean = g.constant("memory.window", &[grid, grid], &mean.to_f32());
    let x = g.reshape("memory.rows", taps, &[grid, grid * width]);
    let x = g.matmul("memory.high", &mean, &x);
    let x = g.reshape("memory.columns", &x, &[grid, grid, width]);
    let x = g.matmul("memory.wide", &mean, &x);
    g.reshape("memory.query", &x, &[grid * grid, width])
}

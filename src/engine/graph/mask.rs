//! The pixel limit as an input of the model: the mask above it, packed, and figures of the map as
//! outputs beside the map.
//!
//! For programs that want no more than that, and no new engine for a new limit. The station's judge
//! reads the map itself.

use tract_onnx::pb;

use super::GraphError;
use super::builder::{GraphBuilder, Storage, Value};
use super::half::graph_of;

/// Name of the added input: FLOAT `[1]`, the pixel limit.
pub const LIMIT: &str = "limit";
/// Name of the added output: UINT8 `[pixels / 8, rounded up]`; bit `i`, from the lowest, of byte `n` says
/// whether pixel `8 n + i` of the map, row by row, is above the limit.
pub const MASK: &str = "mask";
/// Name of the added output: FLOAT `[3]`: largest value of the map, mean, pixels above the limit. The mean
/// is not finite when a value of the map is not: then the others say nothing.
pub const FIGURES: &str = "figures";
/// What the names of the added nodes begin with.
const PREFIX: &str = "limit.";
/// Pixels in a byte.
const BITS: usize = 8;

/// Adds mask and figures of `map`, the output of `model` with the anomaly map of `size` (width,
/// height) pixels.
///
/// # Errors
/// When the model has no such output, or the names are taken.
pub fn with_mask(
    model: &pb::ModelProto,
    map: &str,
    size: (usize, usize),
) -> Result<pb::ModelProto, GraphError> {
    let graph = graph_of(model)?;
    if !graph.output.iter().any(|output| output.name == map) {
        return Err(GraphError::new(map, "the model has no such output"));
    }
    let values = graph.node.iter().flat_map(|node| &node.output);
    let stored = graph.initializer.iter().map(|tensor| &tensor.name);
    let inputs = graph.input.iter().map(|input| &input.name);
    let ours = |name: &&String| [LIMIT, MASK, FIGURES].contains(&name.as_str());
    if let Some(taken) =
        values.chain(stored).chain(inputs).find(|name| ours(name) || name.starts_with(PREFIX))
    {
        return Err(GraphError::new(taken, "the name is kept for the mask"));
    }
    let tail = tail(map, size)?.graph.unwrap_or_default();
    let mut composed = model.clone();
    let whole = composed.graph.get_or_insert_default();
    whole.node.extend(tail.node);
    whole.initializer.extend(tail.initializer);
    whole.input.extend(tail.input.into_iter().filter(|input| input.name == LIMIT));
    whole.output.extend(tail.output);
    Ok(composed)
}

/// The added nodes alone, the map as an input.
fn tail(map: &str, (width, height): (usize, usize)) -> Result<pb::ModelProto, GraphError> {
    let mut g = GraphBuilder::new("mask", Storage::Fp32);
    let map = g.input_f32(map, &[1, 1, height, width]);
    let limit = g.input_f32(LIMIT, &[1]);
    let pixels = width * height;
    let flat = g.reshape("limit.pixels", &map, &[pixels]);
    // One is above, zero is not; NaN is not above anything.
    let above = g.greater("limit.above", &flat, &limit);
    let above = g.cast_f32("limit.flags", &above);
    let mask = packed(&mut g, &above);
    let figures = figures(&mut g, &flat, &above);
    g.output_u8(&mask);
    g.output(&figures);
    g.finish(vec![])
}

fn packed(g: &mut GraphBuilder, above: &Value) -> Value {
    let pixels = above.shape().iter().product::<usize>();
    let bytes = pixels.div_ceil(BITS);
    let missing = bytes * BITS - pixels;
    let whole = if missing == 0 {
        above.clone()
    } else {
        let rest = g.constant("limit.rest", &[missing], &vec![0.0; missing]);
        g.concat("limit.padded", &[above, &rest], 0)
    };
    let rows = g.reshape("limit.bits", &whole, &[bytes, BITS]);
    let weights: Vec<f32> = (0..BITS).map(|bit| f32::from(1u8 << bit)).collect();
    let weights = g.constant("limit.weights", &[BITS, 1], &weights);
    let sums = g.matmul("limit.sums", &rows, &weights);
    let sums = g.reshape("limit.bytes", &sums, &[bytes]);
    g.cast_u8(MASK, &sums)
}

fn figures(g: &mut GraphBuilder, map: &Value, above: &Value) -> Value {
    let most = g.max_over("limit.max", map, 0);
    let most = g.reshape("limit.max.one", &most, &[1]);
    let mean = g.mean_over("limit.mean", map, 0);
    let mean = g.reshape("limit.mean.one", &mean, &[1]);
    let area = g.sum("limit.area", above, 0);
    g.concat(FIGURES, &[&most, &mean, &area], 0)
}

#[cfg(test)]
#[path = "mask_tests.rs"]
mod tests;

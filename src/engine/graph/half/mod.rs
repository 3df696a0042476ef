//! FP32 graph in, FP16 graph out: the arithmetic of a model in 16 bits where that is safe.
//!
//! Precision lives in the graph, because strongly typed builders (TensorRT 11, and 10 on request)
//! take it from there: weights and activations become FLOAT16, and an explicit `Cast` stands
//! wherever a value enters or leaves what stays in 32 bits. Names, shapes and types of inputs and
//! outputs do not change. What stays in 32 bits is found from the graph alone, so any model
//! can be rewritten; `islands` says how.
//!
//! The rewriting is pure and its result depends on nothing but the graph and the list of nodes to
//! keep: two machines make the same bytes.

mod facts;
mod islands;
mod layers;
mod rewrite;

use std::collections::BTreeSet;

use tract_onnx::pb;

pub use layers::{Layer, layers};

use super::GraphError;
use facts::Facts;

/// `LayerNormalization` is an operator from here on; decomposed, it overflows 16 bits.
const OPSET_MIN: i64 = 17;

/// Rewrites `model` to FP16. The nodes named in `keep` stay in 32 bits beside those that do
/// anyway; a name that the model does not have is no mistake, so that a list outlives an export.
///
/// # Errors
/// When the model's operator set is older than 17, or it has something that cannot be followed:
/// nested graphs, operators of other domains, quantised or external tensors. Names the node.
pub fn to_half(
    model: &pb::ModelProto,
    keep: &BTreeSet<String>,
) -> Result<pb::ModelProto, GraphError> {
    let facts = Facts::of(model)?;
    let full = islands::full(&facts, keep);
    rewrite::rewrite(model, &facts, &full, keep)
}

/// The graph of `model`, whose operator set is new enough.
///
/// # Errors
/// When it is not, or there is no graph.
pub(super) fn graph_of(model: &pb::ModelProto) -> Result<&pb::GraphProto, GraphError> {
    let opset = model.opset_import.iter().find(|o| o.domain.is_empty()).map_or(0, |o| o.version);
    if opset < OPSET_MIN {
        let problem = format!("operator set {opset}, {OPSET_MIN} or newer is needed");
        return Err(GraphError::new("the model", problem));
    }
    model.graph.as_ref().ok_or_else(|| GraphError::new("the model", "it has no graph"))
}

#[cfg(test)]
mod tests;

//! The layers of a graph in order: the steps in which a fault of 16-bit arithmetic is looked for.

use std::collections::BTreeSet;

use tract_onnx::pb;

use super::facts::Facts;
use super::{GraphError, islands};

/// A layer with weights and the light nodes up to the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Name of the node with the weights; of the first node where none comes before.
    pub name: String,
    /// Names of the nodes whose arithmetic is 16-bit unless they are kept.
    pub nodes: Vec<String>,
}

/// The layers of `model` that become 16-bit, in the order of computation. Nodes without a name
/// cannot be kept and are left out.
///
/// # Errors
/// As [`super::to_half`].
pub fn layers(model: &pb::ModelProto) -> Result<Vec<Layer>, GraphError> {
    let facts = Facts::of(model)?;
    let full = islands::full(&facts, &BTreeSet::new());
    let mut layers: Vec<Layer> = Vec::new();
    for (at, node) in facts.graph.node.iter().enumerate() {
        let is_float = node.output.iter().any(|name| facts.is_float(name));
        if full[at] || !is_float || facts.is_constant_node(at) || node.name.is_empty() {
            continue;
        }
        match layers.last_mut() {
            Some(layer) if !islands::is_layer(&facts, at) => layer.nodes.push(node.name.clone()),
            _ => {
                let name = node.name.clone();
                layers.push(Layer { nodes: vec![name.clone()], name });
            }
        }
    }
    Ok(layers)
}

//! Which nodes keep 32 bits.
//!
//! A node does its arithmetic in 16 bits only when it is known to be harmless there (`HARMLESS`), and
//! is none of these:
//!
//! 1. a sum over many values, a root, a power, an exponential, a normalisation, a softmax: they are
//!    not on the list of harmless operators;
//! 2. a quotient of two computed values, and a product of two of which neither is bounded: squares
//!    of features beyond 256 overflow 16 bits;
//! 3. a matrix product of two computed values, which is the accumulation of linear attention; the
//!    two products around a softmax are not, their sums are few and bounded;
//! 4. a layer right behind a product of 2: it works on what has not been normalised yet;
//! 5. what has a constant that 16 bits cannot hold;
//! 6. elementwise and layout nodes behind any of these, up to the next layer with weights: casting
//!    down and up again would cost more and lose digits;
//! 7. the way from the last convolution, or the last of these, to each float output of the graph:
//!    map and score;
//! 8. what the caller asks to keep, because a device failed on it.

use std::collections::BTreeSet;

use half::f16;

use super::facts::{Facts, floats};

/// Operators whose results in 16 bits are as good as their inputs are.
#[rustfmt::skip]
const HARMLESS: [&str; 43] = [
    "Abs", "Add", "AveragePool", "Cast", "Clip", "Concat", "Conv", "ConvTranspose", "DepthToSpace",
    "Div", "Erf", "Expand", "Flatten", "Gather", "Gelu", "Gemm", "HardSigmoid", "HardSwish",
    "Identity", "LeakyRelu", "MatMul", "Max", "MaxPool", "Min", "Mul", "Neg", "PRelu", "Pad",
    "ReduceMax", "Relu", "Reshape", "Resize", "Sigmoid", "Slice", "SpaceToDepth", "Split",
    "Squeeze", "Sub", "Tanh", "Tile", "Transpose", "Unsqueeze", "Where",
];
/// They move values about.
#[rustfmt::skip]
const LAYOUT: [&str; 16] = [
    "Cast", "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "Pad", "Reshape",
    "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
];
/// Their results are at most 1, wherever they come from.
const BOUNDED: [&str; 5] = ["Erf", "HardSigmoid", "Sigmoid", "Softmax", "Tanh"];
/// Layers: they sum over many values, with weights.
const LAYERS: [&str; 4] = ["Conv", "ConvTranspose", "Gemm", "MatMul"];
/// A constant with as few values is a parameter of the method (an epsilon), not a weight.
const PARAMETER_VALUES_MAX: usize = 4;

/// Whether the node is a layer with fixed weights.
pub(super) fn is_layer(facts: &Facts<'_>, at: usize) -> bool {
    let node = &facts.graph.node[at];
    LAYERS.contains(&node.op_type.as_str())
        && node.input.iter().any(|name| facts.constant(name).is_some())
}

/// For each node whether it keeps 32 bits.
pub(super) fn full(facts: &Facts<'_>, keep: &BTreeSet<String>) -> Vec<bool> {
    let mut full = Vec::with_capacity(facts.graph.node.len());
    for at in 0..facts.graph.node.len() {
        let one = keep.contains(&facts.graph.node[at].name)
            || is_harmful(facts, at)
            || is_layer_on_product(facts, at)
            || follows(facts, at, &full);
        full.push(one);
    }
    let harmful: Vec<bool> = (0..full.len()).map(|at| is_harmful(facts, at)).collect();
    mark_tail(facts, &harmful, &mut full);
    full
}

/// 1, 2, 3 and 5.
fn is_harmful(facts: &Facts<'_>, at: usize) -> bool {
    let op = facts.graph.node[at].op_type.as_str();
    if facts.is_constant_node(at) {
        return false;
    }
    if !HARMLESS.contains(&op) {
        return true;
    }
    let computed = facts.activations(at).count();
    match op {
        "Div" => facts.graph.node[at].input.get(1).is_none_or(|i| facts.constant(i).is_none()),
        "Mul" => is_product(facts, at),
        "MatMul" if computed > 1 => !is_beside_softmax(facts, at),
        _ => has_unfit_constant(facts, at),
    }
}

/// A product of computed values of which none is bounded.
fn is_product(facts: &Facts<'_>, at: usize) -> bool {
    facts.activations(at).filter(|name| !is_bounded(facts, name)).count() > 1
        || has_unfit_constant(facts, at)
}

fn is_bounded(facts: &Facts<'_>, name: &str) -> bool {
    let Some(at) = facts.producer(name) else { return false };
    let op = facts.graph.node[at].op_type.as_str();
    // `1 + erf` of a GELU, and what else stays in the range of a bounded value.
    let passes = ["Add", "Sub", "Mul"].contains(&op) || LAYOUT.contains(&op);
    BOUNDED.contains(&op)
        || passes && {
            let mut inputs = facts.activations(at).peekable();
            inputs.peek().is_some() && inputs.all(|input| is_bounded(facts, input))
        }
}

fn has_unfit_constant(facts: &Facts<'_>, at: usize) -> bool {
    let constants = facts.graph.node[at].input.iter().filter_map(|name| facts.constant(name));
    constants.filter(|c| c.stored_half.is_none()).any(|c| {
        let values = floats(c.tensor);
        let is_parameter = values.len() <= PARAMETER_VALUES_MAX;
        values.iter().any(|v| {
            let near = f16::from_f32(*v);
            !near.is_finite() || is_parameter && *v != 0.0 && !near.is_normal()
        })
    })
}

/// Whether a softmax is the next or the previous thing but for scaling, masking and layout.
fn is_beside_softmax(facts: &Facts<'_>, at: usize) -> bool {
    let light = |op: &str| ["Add", "Mul", "Div"].contains(&op) || LAYOUT.contains(&op);
    let op = |at: usize| facts.graph.node[at].op_type.as_str();
    let mut ahead: Vec<usize> = takers(facts, at);
    while let Some(next) = ahead.pop() {
        match op(next) {
            "Softmax" => return true,
            name if light(name) => ahead.extend(takers(facts, next)),
            _ => {}
        }
    }
    let mut behind: Vec<usize> = makers(facts, at);
    while let Some(last) = behind.pop() {
        match op(last) {
            "Softmax" => return true,
            name if LAYOUT.contains(&name) => behind.extend(makers(facts, last)),
            _ => {}
        }
    }
    false
}

fn takers(facts: &Facts<'_>, at: usize) -> Vec<usize> {
    let outputs = facts.graph.node[at].output.iter();
    outputs.flat_map(|name| facts.consumers(name).iter().copied()).collect()
}

fn makers(facts: &Facts<'_>, at: usize) -> Vec<usize> {
    facts.activations(at).filter_map(|name| facts.producer(name)).collect()
}

/// 4.
fn is_layer_on_product(facts: &Facts<'_>, at: usize) -> bool {
    if !is_layer(facts, at) {
        return false;
    }
    let mut behind = makers(facts, at);
    while let Some(last) = behind.pop() {
        match facts.graph.node[last].op_type.as_str() {
            "Mul" if facts.activations(last).count() > 1 && is_product(facts, last) => return true,
            op if LAYOUT.contains(&op) => behind.extend(makers(facts, last)),
            _ => {}
        }
    }
    false
}

/// 6: `full` says it of all nodes before.
fn follows(facts: &Facts<'_>, at: usize, full: &[bool]) -> bool {
    let op = facts.graph.node[at].op_type.as_str();
    // Around a softmax both products are 16-bit.
    let ends = LAYERS.contains(&op) || facts.is_constant_node(at);
    !ends && makers(facts, at).iter().any(|&maker| full[maker])
}

/// 7.
fn mark_tail(facts: &Facts<'_>, harmful: &[bool], full: &mut [bool]) {
    let outputs = facts.graph.output.iter().map(|o| o.name.as_str());
    let mut open: Vec<usize> =
        outputs.filter(|n| facts.is_float(n)).filter_map(|n| facts.producer(n)).collect();
    // The output itself is 32-bit whatever makes it.
    open.iter().for_each(|&at| full[at] = true);
    let mut seen = vec![false; full.len()];
    while let Some(at) = open.pop() {
        if std::mem::replace(&mut seen[at], true) {
            continue;
        }
        let op = facts.graph.node[at].op_type.as_str();
        let is_last = harmful[at] && !["TopK", "ReduceMean", "ReduceSum"].contains(&op);
        if op == "Conv" || op == "ConvTranspose" {
            continue;
        }
        full[at] = true;
        if !is_last {
            open.extend(makers(facts, at));
        }
    }
}

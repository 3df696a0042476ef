//! The rewriting itself: each node with the precision decided for it, casts between them, weights
//! in the precision in which they are used.

use std::collections::{BTreeSet, HashMap, HashSet};

use half::f16;
use tract_onnx::pb;
use tract_onnx::pb::tensor_proto::DataType;

use super::super::GraphError;
use super::super::builder::attr_int;
use super::facts::{Constant, Facts, floats, label};

/// Metadata key of the arithmetic.
const PRECISION: &str = "precision";
/// Metadata key of the nodes that the caller wanted in 32 bits.
const KEPT: &str = "kept_fp32";

/// Writes the graph anew; `full` says which nodes keep 32 bits.
pub(super) fn rewrite(
    model: &pb::ModelProto,
    facts: &Facts<'_>,
    full: &[bool],
    keep: &BTreeSet<String>,
) -> Result<pb::ModelProto, GraphError> {
    let mut writer = Writer {
        facts,
        nodes: Vec::with_capacity(facts.graph.node.len()),
        initialisers: Vec::new(),
        halves: HashSet::new(),
        made: HashMap::new(),
        names: names_of(facts.graph),
    };
    for (at, full) in full.iter().enumerate() {
        if !facts.is_constant_node(at) {
            writer.node(at, *full)?;
        }
    }
    let mut rewritten = model.clone();
    let graph = rewritten.graph.get_or_insert_default();
    graph.node = writer.nodes;
    graph.initializer = writer.initialisers;
    graph.value_info.clear();
    let mut state = |key: &str, value: String| {
        rewritten.metadata_props.retain(|p| p.key != key);
        rewritten.metadata_props.push(pb::StringStringEntryProto { key: key.to_owned(), value });
    };
    state(PRECISION, "fp16".to_owned());
    if !keep.is_empty() {
        state(KEPT, keep.iter().map(String::as_str).collect::<Vec<_>>().join(","));
    }
    Ok(rewritten)
}

fn names_of(graph: &pb::GraphProto) -> HashSet<String> {
    let outputs = graph.node.iter().flat_map(|n| n.output.iter().chain([&n.name]));
    let stored = graph.initializer.iter().map(|t| &t.name);
    let inputs = graph.input.iter().map(|i| &i.name);
    outputs.chain(stored).chain(inputs).cloned().collect()
}

struct Writer<'f, 'a> {
    facts: &'f Facts<'a>,
    nodes: Vec<pb::NodeProto>,
    initialisers: Vec<pb::TensorProto>,
    /// Names of the tensors that are FLOAT16 now and were FLOAT.
    halves: HashSet<&'a str>,
    /// Tensors there already, by what was asked for: (name, as FLOAT16).
    made: HashMap<(&'a str, bool), String>,
    names: HashSet<String>,
}

impl<'a> Writer<'_, 'a> {
    fn node(&mut self, at: usize, full: bool) -> Result<(), GraphError> {
        let facts = self.facts;
        let node = &facts.graph.node[at];
        let mut written = node.clone();
        if node.op_type == "Cast" {
            return self.cast(at, written, full);
        }
        for (slot, input) in node.input.iter().enumerate() {
            let as_half = !full && !stays_float(&node.op_type, slot);
            written.input[slot] = self.tensor(input, as_half)?;
        }
        if !full {
            let floats = node.output.iter().filter(|name| facts.is_float(name));
            self.halves.extend(floats.map(String::as_str));
        }
        self.nodes.push(written);
        Ok(())
    }

    /// A cast takes what is there; one to FLOAT gives FLOAT16 where 16 bits are wanted.
    fn cast(
        &mut self,
        at: usize,
        mut written: pb::NodeProto,
        full: bool,
    ) -> Result<(), GraphError> {
        let node = &self.facts.graph.node[at];
        let (Some(input), Some(output)) = (node.input.first(), node.output.first()) else {
            return Err(GraphError::new(label(node), "a cast needs one input and one output"));
        };
        written.input[0] = match self.facts.is_float(input) {
            true if self.halves.contains(input.as_str()) => input.clone(),
            true => self.tensor(input, false)?,
            false => self.tensor(input, true)?,
        };
        // Integers beyond 2048 would lose digits.
        let small = matches!(
            self.facts.kind(input),
            Some(DataType::Uint8 | DataType::Int8 | DataType::Bool | DataType::Float)
        );
        if self.facts.is_float(output) && !full && small {
            for to in written.attribute.iter_mut().filter(|a| a.name == "to") {
                to.i = DataType::Float16 as i64;
            }
            self.halves.insert(output);
        }
        self.nodes.push(written);
        Ok(())
    }

    /// The name under which a tensor is there in the precision wanted; of tensors that are not
    /// FLOAT, the tensor itself.
    fn tensor(&mut self, name: &'a str, as_half: bool) -> Result<String, GraphError> {
        let facts = self.facts;
        let as_half = as_half && facts.is_float(name);
        if let Some(there) = self.made.get(&(name, as_half)) {
            return Ok(there.clone());
        }
        let there = match facts.constant(name) {
            Some(constant) => self.constant(name, constant, as_half),
            None if facts.is_float(name) && self.halves.contains(name) != as_half => {
                self.between(name, as_half)
            }
            None => {
                if let Some(stored) = facts.graph.initializer.iter().find(|t| t.name == name) {
                    self.store_once(stored);
                }
                name.to_owned()
            }
        };
        self.made.insert((name, as_half), there.clone());
        Ok(there)
    }

    /// A cast of a computed tensor.
    fn between(&mut self, name: &str, as_half: bool) -> String {
        let (suffix, to) =
            if as_half { ("f16", DataType::Float16) } else { ("f32", DataType::Float) };
        let made = self.fresh(&format!("{name}.{suffix}"));
        self.nodes.push(pb::NodeProto {
            name: made.clone(),
            op_type: "Cast".to_owned(),
            input: vec![name.to_owned()],
            output: vec![made.clone()],
            attribute: vec![attr_int("to", to as i64)],
            ..Default::default()
        });
        made
    }

    fn constant(&mut self, name: &str, constant: &Constant<'_>, as_half: bool) -> String {
        if !as_half {
            return self.full_constant(name, constant);
        }
        if let Some(stored) = constant.stored_half {
            self.store_once(constant.tensor);
            return stored.to_owned();
        }
        let made = self.fresh(&format!("{name}.f16"));
        let values = floats(constant.tensor);
        self.initialisers.push(pb::TensorProto {
            name: made.clone(),
            dims: constant.tensor.dims.clone(),
            data_type: DataType::Float16 as i32,
            raw_data: values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
            ..Default::default()
        });
        made
    }

    fn full_constant(&mut self, name: &str, constant: &Constant<'_>) -> String {
        match constant.node {
            Some(node) => {
                if constant.stored_half.is_some() {
                    self.store_once(constant.tensor);
                }
                self.nodes.push(self.facts.graph.node[node].clone());
            }
            None => self.initialisers.push(constant.tensor.clone()),
        }
        name.to_owned()
    }

    /// 16-bit storage may be wanted in both precisions.
    fn store_once(&mut self, tensor: &pb::TensorProto) {
        if !self.initialisers.iter().any(|t| t.name == tensor.name) {
            self.initialisers.push(tensor.clone());
        }
    }

    fn fresh(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_owned();
        while !self.names.insert(name.clone()) {
            name.push('_');
        }
        name
    }
}

/// Operands that operators want as FLOAT whatever their data is.
fn stays_float(op: &str, slot: usize) -> bool {
    op == "Resize" && matches!(slot, 1 | 2)
}

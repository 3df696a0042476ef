//! What a graph says about its tensors: element type, who makes each, who takes it, which are
//! constants.

use std::collections::HashMap;

use half::f16;
use tract_onnx::pb;
use tract_onnx::pb::tensor_proto::DataType;

use super::super::GraphError;
use super::graph_of;

/// A fixed float tensor.
pub(super) struct Constant<'a> {
    /// The stored tensor, FLOAT or FLOAT16.
    pub(super) tensor: &'a pb::TensorProto,
    /// The name under which it is FLOAT16 already.
    pub(super) stored_half: Option<&'a str>,
    /// The node that makes it FLOAT: a `Cast` of 16-bit storage, or a `Constant`.
    pub(super) node: Option<usize>,
}

/// Everything that is asked of a graph while it is rewritten.
pub(super) struct Facts<'a> {
    pub(super) graph: &'a pb::GraphProto,
    kinds: HashMap<&'a str, DataType>,
    constants: HashMap<&'a str, Constant<'a>>,
    producers: HashMap<&'a str, usize>,
    consumers: HashMap<&'a str, Vec<usize>>,
}

impl<'a> Facts<'a> {
    /// Reads the whole graph.
    ///
    /// # Errors
    /// When a tensor's type cannot be told.
    pub(super) fn of(model: &'a pb::ModelProto) -> Result<Self, GraphError> {
        let graph = graph_of(model)?;
        let mut facts = Self {
            graph,
            kinds: HashMap::new(),
            constants: HashMap::new(),
            producers: HashMap::new(),
            consumers: HashMap::new(),
        };
        facts.read_inputs()?;
        for (at, node) in graph.node.iter().enumerate() {
            facts.read_node(at, node)?;
        }
        Ok(facts)
    }

    fn read_inputs(&mut self) -> Result<(), GraphError> {
        for tensor in &self.graph.initializer {
            if !tensor.external_data.is_empty() {
                return Err(GraphError::new(&tensor.name, "its values lie in another file"));
            }
            let kind = kind_of(&tensor.name, tensor.data_type)?;
            self.kinds.insert(&tensor.name, kind);
            if kind == DataType::Float {
                let constant = Constant { tensor, stored_half: None, node: None };
                self.constants.insert(&tensor.name, constant);
            }
        }
        for input in &self.graph.input {
            let kind = input.r#type.as_ref().and_then(|t| t.value.as_ref()).map(|v| match v {
                pb::type_proto::Value::TensorType(tensor) => tensor.elem_type,
            });
            let kind = kind.ok_or_else(|| GraphError::new(&input.name, "an input has no type"))?;
            self.kinds.insert(&input.name, kind_of(&input.name, kind)?);
        }
        Ok(())
    }

    fn read_node(&mut self, at: usize, node: &'a pb::NodeProto) -> Result<(), GraphError> {
        refuse_what_cannot_be_followed(node)?;
        for input in node.input.iter().filter(|name| !name.is_empty()) {
            if !self.kinds.contains_key(input.as_str()) {
                return Err(GraphError::new(label(node), format!("nothing gives `{input}`")));
            }
            self.consumers.entry(input).or_default().push(at);
        }
        for (n, output) in node.output.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            let kind = self.output_kind(node, n)?;
            self.kinds.insert(output, kind);
            self.producers.insert(output, at);
        }
        self.read_constant(at, node);
        Ok(())
    }

    /// Recognises `Constant`, and the `Cast` of an initialiser that is stored in 16 bits.
    fn read_constant(&mut self, at: usize, node: &'a pb::NodeProto) {
        let Some(output) = node.output.first() else { return };
        if self.kinds.get(output.as_str()) != Some(&DataType::Float) {
            return;
        }
        let found = match node.op_type.as_str() {
            "Constant" => attribute(node, "value").and_then(|a| a.t.as_ref()).map(|t| (t, None)),
            "Cast" => {
                let source = node.input.first().map_or("", String::as_str);
                let stored = self.graph.initializer.iter().find(|t| t.name == source);
                stored
                    .filter(|t| t.data_type == DataType::Float16 as i32)
                    .map(|t| (t, Some(source)))
            }
            _ => None,
        };
        if let Some((tensor, stored_half)) = found {
            self.constants.insert(output, Constant { tensor, stored_half, node: Some(at) });
        }
    }

    fn output_kind(&self, node: &pb::NodeProto, n: usize) -> Result<DataType, GraphError> {
        let of_input = |at: usize| node.input.get(at).and_then(|i| self.kind(i));
        let stated = |name: &str| attribute(node, name);
        let kind = match (node.op_type.as_str(), n) {
            ("Cast", _) => stated("to").and_then(|a| DataType::try_from(a.i as i32).ok()),
            ("Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "Equal", _)
            | ("Not" | "And" | "Or" | "Xor" | "IsNaN" | "IsInf", _) => Some(DataType::Bool),
            ("Shape" | "Size" | "ArgMax" | "ArgMin" | "NonZero", _) | ("TopK" | "MaxPool", 1) => {
                Some(DataType::Int64)
            }
            ("Where", _) => of_input(1),
            ("Constant", _) => match stated("value").and_then(|a| a.t.as_ref()) {
                Some(tensor) => DataType::try_from(tensor.data_type).ok(),
                None => stated("value_ints").or(stated("value_int")).map(|_| DataType::Int64),
            },
            ("ConstantOfShape", _) => match stated("value").and_then(|a| a.t.as_ref()) {
                Some(tensor) => DataType::try_from(tensor.data_type).ok(),
                None => Some(DataType::Float),
            },
            _ => of_input(0),
        };
        kind.ok_or_else(|| GraphError::new(label(node), "the type of its result cannot be told"))
    }

    /// Element type of a tensor.
    pub(super) fn kind(&self, name: &str) -> Option<DataType> {
        self.kinds.get(name).copied()
    }

    /// Whether the graph as it stands has this tensor as FLOAT.
    pub(super) fn is_float(&self, name: &str) -> bool {
        self.kind(name) == Some(DataType::Float)
    }

    /// The constant of that name.
    pub(super) fn constant(&self, name: &str) -> Option<&Constant<'a>> {
        self.constants.get(name)
    }

    /// The node that makes a tensor.
    pub(super) fn producer(&self, name: &str) -> Option<usize> {
        self.producers.get(name).copied()
    }

    /// The nodes that take a tensor.
    pub(super) fn consumers(&self, name: &str) -> &[usize] {
        self.consumers.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether the node only brings a constant in.
    pub(super) fn is_constant_node(&self, at: usize) -> bool {
        let output = self.graph.node[at].output.first();
        output.and_then(|o| self.constant(o)).is_some_and(|c| c.node == Some(at))
    }

    /// Inputs of a node that are computed from the picture and are FLOAT.
    pub(super) fn activations(&self, at: usize) -> impl Iterator<Item = &'a str> + '_ {
        let inputs = self.graph.node[at].input.iter().map(String::as_str);
        inputs.filter(|name| self.is_float(name) && self.constant(name).is_none())
    }
}

/// The node's name, or its operator's where it has none.
pub(super) fn label(node: &pb::NodeProto) -> &str {
    if node.name.is_empty() { &node.op_type } else { &node.name }
}

/// The attribute of that name.
pub(super) fn attribute<'n>(node: &'n pb::NodeProto, name: &str) -> Option<&'n pb::AttributeProto> {
    node.attribute.iter().find(|a| a.name == name)
}

/// The values of a FLOAT or FLOAT16 tensor.
pub(super) fn floats(tensor: &pb::TensorProto) -> Vec<f32> {
    let raw = &tensor.raw_data;
    if tensor.data_type == DataType::Float16 as i32 {
        let bits = |v: &i32| f16::from_bits(*v as u16).to_f32();
        return match raw.is_empty() {
            true => tensor.int32_data.iter().map(bits).collect(),
            false => raw.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
        };
    }
    match raw.is_empty() {
        true => tensor.float_data.clone(),
        false => raw.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
    }
}

fn kind_of(name: &str, number: i32) -> Result<DataType, GraphError> {
    DataType::try_from(number).map_err(|_| GraphError::new(name, format!("element type {number}")))
}

fn refuse_what_cannot_be_followed(node: &pb::NodeProto) -> Result<(), GraphError> {
    let nested = |a: &pb::AttributeProto| a.g.is_some() || !a.graphs.is_empty();
    if node.attribute.iter().any(nested) {
        return Err(GraphError::new(label(node), "it has a nested graph"));
    }
    if !node.domain.is_empty() {
        let problem = format!("the operator {} is of domain {}", node.op_type, node.domain);
        return Err(GraphError::new(label(node), problem));
    }
    if node.op_type.contains("Quantize") || node.op_type.contains("Integer") {
        return Err(GraphError::new(label(node), "the model is quantised already"));
    }
    Ok(())
}

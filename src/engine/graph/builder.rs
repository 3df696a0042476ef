//! The builder: values, initialisers, nodes, and the finished model.

use std::collections::BTreeSet;

use half::f16;
use tract_onnx::pb;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;

/// Operator-set version of every graph: the newest that tract is tested against; it has
/// `LayerNormalization` (17) and `Resize`/`ReduceSum` with `axes` as attribute and input (18).
pub const OPSET: u32 = 18;
/// ONNX IR version that belongs to opset 18.
const IR_VERSION: i64 = 8;
/// Weights with fewer values stay FLOAT under [`Storage::Fp16`]: biases and norms are small in
/// bytes and large in effect.
const FP16_VALUES_MIN: usize = 1024;

/// How weights are stored in the file. Arithmetic is 32-bit in both cases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// FLOAT initialisers.
    #[default]
    Fp32,
    /// FLOAT16 initialisers and a `Cast` to FLOAT, folded by the runtime at load: half the file.
    Fp16,
}

impl Storage {
    /// `fp32` or `fp16`, as in the bundle manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Storage::Fp32 => "fp32",
            Storage::Fp16 => "fp16",
        }
    }
}

/// Why a graph could not be built or rewritten.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ONNX node `{node}`: {problem}")]
pub struct GraphError {
    node: String,
    problem: String,
}

impl GraphError {
    /// What is wrong with the node or tensor of that name.
    pub(super) fn new(node: &str, problem: impl Into<String>) -> Self {
        Self { node: node.to_owned(), problem: problem.into() }
    }
}

/// A tensor in the graph under construction.
#[derive(Clone, Debug)]
pub struct Value {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
}

impl Value {
    /// Dimensions.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }
}

/// Attributes of a two-dimensional convolution.
#[derive(Clone, Copy, Debug)]
pub struct Conv2d {
    /// Step in both directions.
    pub stride: usize,
    /// Zero rows/columns before and after, in both directions.
    pub pads: (usize, usize),
    /// Channel groups.
    pub groups: usize,
}

/// Key-value pairs written into the model file.
pub type Metadata = Vec<(String, String)>;

/// Builds one graph. The first mistake is kept and returned by [`GraphBuilder::finish`], so that
/// the code that describes a network reads like the network.
pub struct GraphBuilder {
    storage: Storage,
    graph: pb::GraphProto,
    names: BTreeSet<String>,
    error: Option<GraphError>,
}

impl GraphBuilder {
    /// An empty graph called `name`.
    pub fn new(name: &str, storage: Storage) -> Self {
        Self {
            storage,
            graph: pb::GraphProto { name: name.to_owned(), ..Default::default() },
            names: BTreeSet::new(),
            error: None,
        }
    }

    /// A graph input of unsigned bytes.
    pub fn input_u8(&mut self, name: &str, shape: &[usize]) -> Value {
        self.claim(name);
        self.graph.input.push(value_info(name, DataType::Uint8, shape));
        Value { name: name.to_owned(), shape: shape.to_vec() }
    }

    /// A graph input of floats.
    pub fn input_f32(&mut self, name: &str, shape: &[usize]) -> Value {
        self.claim(name);
        self.graph.input.push(value_info(name, DataType::Float, shape));
        Value { name: name.to_owned(), shape: shape.to_vec() }
    }

    /// Makes `value`, of unsigned bytes, an output of the graph under its own name.
    pub fn output_u8(&mut self, value: &Value) {
        self.graph.output.push(value_info(&value.name, DataType::Uint8, &value.shape));
    }

    /// Makes `value` a float output of the graph under its own name.
    pub fn output(&mut self, value: &Value) {
        self.graph.output.push(value_info(&value.name, DataType::Float, &value.shape));
    }

    /// A trained tensor, stored as this graph's [`Storage`] says.
    pub fn weight(&mut self, name: &str, shape: &[usize], values: &[f32]) -> Value {
        self.check_values(name, shape, values);
        if self.storage == Storage::Fp32 || values.len() < FP16_VALUES_MIN {
            return self.full(name, shape, values);
        }
        if values.iter().any(|v| v.abs() > f16::MAX.to_f32()) {
            self.fail(name, "a value does not fit 16-bit floating point; store the model as fp32");
        }
        self.halved(name, shape, values)
    }

    /// A fixed float tensor: never rounded, but stored in 16 bits where that loses nothing.
    pub fn constant(&mut self, name: &str, shape: &[usize], values: &[f32]) -> Value {
        self.check_values(name, shape, values);
        let exact = |v: &f32| f16::from_f32(*v).to_f32() == *v;
        let halve = self.storage == Storage::Fp16 && values.len() >= FP16_VALUES_MIN;
        if halve && values.iter().all(exact) {
            return self.halved(name, shape, values);
        }
        self.full(name, shape, values)
    }

    fn halved(&mut self, name: &str, shape: &[usize], values: &[f32]) -> Value {
        let stored = format!("{name}.fp16");
        let raw = values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect();
        self.initialiser(&stored, DataType::Float16, shape, raw);
        let stored = Value { name: stored, shape: shape.to_vec() };
        self.cast_f32(name, &stored)
    }

    fn full(&mut self, name: &str, shape: &[usize], values: &[f32]) -> Value {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.initialiser(name, DataType::Float, shape, raw);
        Value { name: name.to_owned(), shape: shape.to_vec() }
    }

    /// A fixed INT64 vector: an operand that is really an attribute (axes, sizes).
    pub(super) fn integers(&mut self, name: &str, values: &[i64]) -> Value {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.initialiser(name, DataType::Int64, &[values.len()], raw);
        Value { name: name.to_owned(), shape: vec![values.len()] }
    }

    /// Adds a node with one output of the node's name; the caller answers for `shape`.
    pub(super) fn node(
        &mut self,
        op: &str,
        name: &str,
        inputs: &[&Value],
        attributes: Vec<pb::AttributeProto>,
        shape: Vec<usize>,
    ) -> Value {
        self.claim(name);
        self.graph.node.push(pb::NodeProto {
            name: name.to_owned(),
            op_type: op.to_owned(),
            input: inputs.iter().map(|v| v.name.clone()).collect(),
            output: vec![name.to_owned()],
            attribute: attributes,
            ..Default::default()
        });
        Value { name: name.to_owned(), shape }
    }

    /// Adds a second output to the last node.
    pub(super) fn second_output(&mut self, name: &str, shape: Vec<usize>) -> Value {
        self.claim(name);
        if let Some(node) = self.graph.node.last_mut() {
            node.output.push(name.to_owned());
        }
        Value { name: name.to_owned(), shape }
    }

    /// Keeps the first mistake.
    pub(super) fn fail(&mut self, node: &str, problem: impl Into<String>) {
        self.error.get_or_insert_with(|| GraphError::new(node, problem));
    }

    /// The whole model.
    ///
    /// # Errors
    /// The first mistake made while building.
    pub fn finish(self, metadata: Metadata) -> Result<pb::ModelProto, GraphError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let entry = |(key, value)| pb::StringStringEntryProto { key, value };
        Ok(pb::ModelProto {
            ir_version: IR_VERSION,
            opset_import: vec![pb::OperatorSetIdProto {
                domain: String::new(),
                version: i64::from(OPSET),
            }],
            producer_name: env!("CARGO_PKG_NAME").to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            graph: Some(self.graph),
            metadata_props: metadata.into_iter().map(entry).collect(),
            ..Default::default()
        })
    }

    fn check_values(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        let expected: usize = shape.iter().product();
        if values.len() != expected {
            self.fail(name, format!("{} values for shape {shape:?}", values.len()));
        }
        if values.iter().any(|v| !v.is_finite()) {
            self.fail(name, "a value is not finite");
        }
    }

    fn initialiser(&mut self, name: &str, kind: DataType, shape: &[usize], raw_data: Vec<u8>) {
        self.claim(name);
        self.graph.initializer.push(pb::TensorProto {
            name: name.to_owned(),
            dims: shape.iter().map(|d| *d as i64).collect(),
            data_type: kind as i32,
            raw_data,
            ..Default::default()
        });
    }

    fn claim(&mut self, name: &str) {
        if !self.names.insert(name.to_owned()) {
            self.fail(name, "the name is used twice");
        }
    }
}

fn value_info(name: &str, kind: DataType, shape: &[usize]) -> pb::ValueInfoProto {
    use pb::tensor_shape_proto::{Dimension, dimension};
    let dim = shape
        .iter()
        .map(|d| Dimension {
            value: Some(dimension::Value::DimValue(*d as i64)),
            ..Default::default()
        })
        .collect();
    let tensor = pb::type_proto::Tensor {
        elem_type: kind as i32,
        shape: Some(pb::TensorShapeProto { dim }),
    };
    pb::ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(pb::TypeProto {
            value: Some(pb::type_proto::Value::TensorType(tensor)),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// An INT attribute.
pub(super) fn attr_int(name: &str, value: i64) -> pb::AttributeProto {
    attribute(name, AttributeType::Int, |a| a.i = value)
}

/// An INTS attribute.
pub(super) fn attr_ints(name: &str, values: &[usize]) -> pb::AttributeProto {
    attribute(name, AttributeType::Ints, |a| a.ints = values.iter().map(|v| *v as i64).collect())
}

/// A FLOAT attribute.
pub(super) fn attr_float(name: &str, value: f32) -> pb::AttributeProto {
    attribute(name, AttributeType::Float, |a| a.f = value)
}

fn attribute(
    name: &str,
    kind: AttributeType,
    fill: impl FnOnce(&mut pb::AttributeProto),
) -> pb::AttributeProto {
    let mut a =
        pb::AttributeProto { name: name.to_owned(), r#type: kind as i32, ..Default::default() };
    fill(&mut a);
    a
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    fn linear(weight: &[f32]) -> Result<pb::ModelProto, GraphError> {
        let mut g = GraphBuilder::new("test", Storage::Fp16);
        let x = g.input_u8("x", &[1, 4]);
        let x = g.cast_f32("x.float", &x);
        let w = g.weight("w", &[4, 512], weight);
        let y = g.matmul("y", &x, &w);
        g.output(&y);
        g.finish(vec![("k".to_owned(), "v".to_owned())])
    }

    #[test]
    fn the_same_weights_give_the_same_bytes() {
        let bytes = || linear(&[0.25; 2048]).unwrap().encode_to_vec();
        assert_eq!(bytes(), bytes());
        assert!(bytes().len() < 2048 * 2 + 600, "stored as 16 bits: {}", bytes().len());
    }

    #[test]
    fn mistakes_are_reported_with_the_name_of_the_node() {
        let error = |weight: &[f32]| linear(weight).unwrap_err().to_string();
        assert!(error(&[0.0; 7]).contains("`w`: 7 values"));
        let mut bad = vec![0.0; 2048];
        bad[3] = f32::NAN;
        assert!(error(&bad).contains("not finite"));
        bad[3] = 1e5;
        assert!(error(&bad).contains("16-bit"));
    }

    #[test]
    fn operands_that_do_not_fit_and_names_used_twice_are_refused() {
        let mut g = GraphBuilder::new("test", Storage::Fp32);
        let a = g.constant("a", &[2, 3], &[0.0; 6]);
        g.matmul("y", &a, &a);
        assert!(g.finish(vec![]).unwrap_err().to_string().contains("`y`"));
        let mut g = GraphBuilder::new("test", Storage::Fp32);
        g.constant("a", &[1], &[0.0]);
        g.constant("a", &[1], &[0.0]);
        assert!(g.finish(vec![]).unwrap_err().to_string().contains("twice"));
    }
}

//! Writes ONNX graphs: a small typed builder on the protobuf types that come with tract.
//!
//! The graphs of this crate are known and few, so the builder has just the operators they use.
//! Every value carries its shape; a node whose operands do not fit is an error with the node's
//! name, not a file that fails later in somebody's runtime. Node and tensor names are chosen by
//! the caller and never change between runs, so two exports of the same weights are the same
//! bytes.

mod graph;
mod ops;

pub use graph::{Conv2d, GraphBuilder, GraphError, Metadata, OPSET, Storage, Value};

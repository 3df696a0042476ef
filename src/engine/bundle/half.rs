//! The model of a bundle in 16-bit arithmetic, made from its model file.

use std::collections::BTreeSet;

use prost::Message;
use tract_onnx::pb::ModelProto;

use super::Bundle;
use crate::engine::graph::{GraphError, to_half};
use crate::engine::{EngineError, EngineErrorKind};
use crate::sys::hash::sha256_hex;

/// Largest difference to a golden map, as a fraction of its range, that 16-bit arithmetic may make:
/// the bound that its scores are held to.
pub const HALF_TOLERANCE: f32 = 0.01;

impl Bundle {
    /// The model file as a graph.
    ///
    /// # Errors
    /// `Backend` when it is not ONNX.
    pub fn graph(&self) -> Result<ModelProto, EngineError> {
        ModelProto::decode(self.model()).map_err(|e| {
            let what = format!(
                "{}: {} is not an ONNX model; export the bundle again",
                self.place(),
                self.manifest().model.file
            );
            EngineError::with_source(EngineErrorKind::Backend, what, e)
        })
    }

    /// The model in 16-bit arithmetic; the nodes named in `keep` stay in 32 bits beside those
    /// that do anyway.
    ///
    /// # Errors
    /// `Backend` when the model cannot be rewritten.
    pub fn half_graph(&self, keep: &BTreeSet<String>) -> Result<ModelProto, EngineError> {
        to_half(&self.graph()?, keep).map_err(|e: GraphError| {
            let what = format!(
                "{}: {} cannot be made 16-bit; use 32 bits",
                self.place(),
                self.manifest().model.file
            );
            EngineError::with_source(EngineErrorKind::Backend, what, e)
        })
    }

    /// SHA-256 (hex) of the model in 16-bit arithmetic as this program writes it, with no more nodes in
    /// 32 bits than it keeps anyway; made once.
    ///
    /// # Errors
    /// As [`Self::half_graph`].
    pub fn half_sha256(&self) -> Result<&str, EngineError> {
        if let Some(known) = self.half_sha256.get() {
            return Ok(known);
        }
        let made = sha256_hex(&self.half_graph(&BTreeSet::new())?.encode_to_vec());
        Ok(self.half_sha256.get_or_init(|| made))
    }

    /// Largest allowed difference of 16-bit arithmetic to the golden answers, in units of the map.
    pub fn half_diff_allowed(&self) -> f32 {
        HALF_TOLERANCE * self.golden().range()
    }
}

//! From trained weights to files: the ONNX graph and the engine bundle.
//!
//! The exported graph is the whole of `arch.rs`: bytes of a picture in, anomaly map and image
//! score out. It equals the training forward but for what is folded into constants: the mask
//! factor (into `bottleneck.fc1`), batch normalisation, `-C_g` of the head input, and bilinear
//! upsampling together with Gaussian smoothing.

mod bundle;
mod decoder;
mod head;
mod memory;
mod parity;
mod weights;

use std::path::Path;

use prost::Message;
use tract_onnx::pb::ModelProto;

pub use bundle::{
    BundleFacts, GOLDEN_TOLERANCE, HALF_MODEL_FILE, NamedFile, WEIGHTS_FILE, check_target,
    write_bundle, write_bundle_with,
};
pub use weights::{check_architecture, check_weights, expected_weights};

use crate::arch::{Architecture, Weights};
use crate::encoder::{EncoderWeights, nodes};
use crate::onnx::{GraphBuilder, Storage};
use weights::values;

/// Name of the graph's input: UINT8 `[1, side, side, 3]`, RGB.
pub const INPUT: &str = "image";
/// Name of the map output: f32 `[1, 1, map, map]`.
pub const ANOMALY_MAP: &str = "anomaly_map";
/// Name of the score output: f32 `[1]`.
pub const SCORE: &str = "score";

/// A model that could not be exported.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ExportError {
    kind: ExportErrorKind,
    message: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What went wrong, for callers that act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportErrorKind {
    /// The architecture contradicts itself or the encoder.
    Architecture,
    /// A weight is missing, of the wrong shape or not finite.
    Weights,
    /// The graph could not be built or run.
    Graph,
    /// A golden picture has the wrong size, or there is none.
    Golden,
    /// A file could not be written.
    Io,
}

impl ExportError {
    pub(crate) fn new(kind: ExportErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    pub(crate) fn with_source(
        kind: ExportErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind, message: message.into(), source: Some(source.into()) }
    }

    /// What went wrong.
    pub fn kind(&self) -> ExportErrorKind {
        self.kind
    }
}

/// Result with [`ExportError`].
pub type Result<T> = std::result::Result<T, ExportError>;

/// Builds the whole graph.
///
/// # Errors
/// When architecture, encoder and weights do not fit each other.
pub fn model(
    arch: &Architecture,
    encoder: &EncoderWeights,
    weights: &Weights,
    storage: Storage,
) -> Result<ModelProto> {
    check_architecture(arch)?;
    check_weights(arch, weights)?;
    let mut g = GraphBuilder::new("crr", storage);
    let statistics =
        arch.is_projected().then(|| (values(weights, "taps.mean"), values(weights, "taps.std")));
    let taps = nodes::encoder(&mut g, arch, encoder, statistics).map_err(|e| {
        ExportError::with_source(ExportErrorKind::Architecture, "the encoder does not fit", e)
    })?;
    let groups = decoder::wire(&mut g, arch, weights, &taps.grid);
    let memories = 0..arch.memories.len();
    let memories: Vec<_> =
        memories.map(|i| memory::wire(&mut g, arch, i, weights, &taps)).collect();
    head::wire(&mut g, arch, weights, &groups, &memories);
    let metadata = [
        ("method", "crr".to_owned()),
        ("encoder", encoder.name().to_owned()),
        ("encoder_sha256", encoder.sha256().to_owned()),
        ("storage", storage.as_str().to_owned()),
    ];
    g.finish(metadata.map(|(k, v)| (k.to_owned(), v)).into()).map_err(|e| {
        ExportError::with_source(ExportErrorKind::Graph, "the model cannot be written as ONNX", e)
    })
}

/// Builds the whole graph and writes it to `path`, which is replaced only by a whole file.
///
/// # Errors
/// As [`model`], and when the file cannot be written.
pub fn export(
    arch: &Architecture,
    encoder: &EncoderWeights,
    weights: &Weights,
    storage: Storage,
    path: &Path,
) -> Result<()> {
    let bytes = model(arch, encoder, weights, storage)?.encode_to_vec();
    crrd::sys::fs::write_atomic(path, &bytes)
        .map_err(|e| ExportError::with_source(ExportErrorKind::Io, "the model cannot be saved", e))
}

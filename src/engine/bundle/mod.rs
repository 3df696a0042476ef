//! The engine bundle: a folder with `manifest.toml`, `model.onnx` and golden tensors. It is the
//! only contract between the trainer and the station.
//!
//! Loading trusts nothing: the manifest is read with unknown fields refused, every field is
//! checked, both files must have the hashes the manifest states, and the golden pictures must
//! have the model's sizes and finite answers. What a loaded [`Bundle`] says is therefore true of
//! its bytes; that a backend reproduces the golden answers is checked by `engine::self_check`.

mod check;
mod golden;
mod half;
mod load;

pub use golden::{Golden, GoldenCase};
pub use half::HALF_TOLERANCE;
pub use load::{Bundle, BundleSource, EmbeddedBundle};

use serde::{Deserialize, Serialize};

/// Version of the bundle format this program reads and writes.
pub const FORMAT: u32 = 1;
/// File name of the manifest inside the bundle folder.
pub const MANIFEST_FILE: &str = "manifest.toml";
/// Default file name of the model inside the bundle folder.
pub const MODEL_FILE: &str = "model.onnx";
/// Default file name of the golden tensors (safetensors: `image.N` u8 [H,W,3],
/// `anomaly_map.N` f32 [h,w], `score.N` f32 [1]).
pub const GOLDEN_FILE: &str = "golden.safetensors";

/// `manifest.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Bundle format version, [`FORMAT`].
    pub format: u32,
    /// Name of the model, for people.
    pub name: String,
    /// RFC 3339, UTC; for the record only.
    pub created_utc: String,
    /// Product classes in the order of their numbers.
    pub classes: Vec<String>,
    /// The model file.
    pub model: ModelFile,
    /// The input tensor.
    pub input: InputSpec,
    /// The output tensors.
    pub output: OutputSpec,
    /// The method's settings, for the record.
    pub method: MethodRecord,
    /// The self-check.
    pub golden: GoldenSpec,
    /// How the model was made.
    pub training: TrainingRecord,
    /// Licences of what is inside.
    pub licence: LicenceRecord,
}

/// The model file and its identity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    /// File name inside the bundle folder.
    pub file: String,
    /// SHA-256 of the file, lower-case hex.
    pub sha256: String,
    /// ONNX operator-set version.
    pub opset: u32,
    /// Arithmetic of the graph: `fp32` or `fp16`.
    pub precision: String,
    /// Storage of the weights: `fp32` or `fp16`.
    pub storage: String,
}

/// The input: UINT8, NHWC, RGB, batch 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputSpec {
    /// Tensor name.
    pub name: String,
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
}

/// The outputs: map f32 [1,1,h,w] and score f32 [1].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputSpec {
    /// Tensor name of the anomaly map.
    pub anomaly_map: String,
    /// Tensor name of the image score.
    pub score: String,
    /// Map columns.
    pub map_width: usize,
    /// Map rows.
    pub map_height: usize,
}

/// Settings of the method, informative for the station.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MethodRecord {
    /// Always `crr`.
    pub name: String,
    /// Training preset.
    pub preset: String,
    /// Encoder name.
    pub encoder: String,
    /// SHA-256 of the encoder's weight file, lower-case hex.
    pub encoder_sha256: String,
    /// Weight of the distance map in the fused map (a geometric mean; arithmetic in the published
    /// scheme); the segmentation map has the rest.
    pub distance_weight: f32,
    /// Fraction of the map's pixels whose mean is the image score.
    pub score_fraction: f32,
}

/// Golden tensors and how closely an engine must reproduce them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenSpec {
    /// File name inside the bundle folder.
    pub file: String,
    /// SHA-256 of the file, lower-case hex.
    pub sha256: String,
    /// Number of golden pictures.
    pub count: usize,
    /// Largest allowed difference as a fraction of the golden map's range.
    pub tolerance: f32,
}

/// How the model was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingRecord {
    /// The command that makes it again.
    pub command: String,
    /// Program and version.
    pub program: String,
    /// Random seed.
    pub seed: u64,
    /// Good images used.
    pub images: usize,
    /// Decoder iterations.
    pub iterations: usize,
    /// Wall time in minutes.
    pub minutes: f64,
    /// SHA-256 over the names and hashes of the training images, lower-case hex.
    pub dataset_sha256: String,
}

/// Licences of what is inside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LicenceRecord {
    /// SPDX expression of the bundle.
    pub spdx: String,
    /// Notice of third-party parts (the encoder).
    pub notice: String,
}

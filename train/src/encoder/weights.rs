//! Encoder weights on the host: loaded from safetensors, checked against the table of encoders.

use std::collections::BTreeMap;
use std::path::Path;

use crrd::sys::hash::sha256_hex;
use safetensors::{Dtype, SafeTensors};

use super::spec::{ENCODERS, EncoderSpec};
use super::{EncoderError, EncoderErrorKind, Result};
use crate::arch::HostTensor;

/// Largest encoder file read, in bytes: the biggest supported one has 25 MB; the rest is room
/// for archives that carry more than the weights.
pub const FILE_BYTES_MAX: u64 = 128 << 20;

/// Weights of one frozen encoder.
#[derive(Clone, Debug)]
pub struct EncoderWeights {
    spec: &'static EncoderSpec,
    tensors: BTreeMap<String, HostTensor>,
    sha256: String,
}

impl EncoderWeights {
    /// Reads a safetensors file with the published tensor names.
    ///
    /// # Errors
    /// When the file cannot be read, is not safetensors, or is not one of [`ENCODERS`].
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = read_bounded(path)?;
        let tensors = parse(&bytes).map_err(|e| at(e, path))?;
        Self::from_tensors(tensors, sha256_hex(&bytes)).map_err(|e| at(e, path))
    }

    /// Weights from named tensors; tensors beyond the last tap (the classifier) are dropped.
    /// `sha256` is the hash of the file they came from.
    ///
    /// # Errors
    /// When the names and shapes are those of no supported encoder, or a value is not finite.
    pub fn from_tensors(
        mut tensors: BTreeMap<String, HostTensor>,
        sha256: impl Into<String>,
    ) -> Result<Self> {
        let spec = recognise(&tensors)?;
        let wanted: BTreeMap<String, Vec<usize>> = spec.tensors().into_iter().collect();
        tensors.retain(|name, _| wanted.contains_key(name));
        for (name, tensor) in &tensors {
            let valid = |v: &f32| v.is_finite() && !(name.ends_with("running_var") && *v < 0.0);
            if !tensor.values.iter().all(valid) {
                let text = format!(
                    "tensor `{name}` has a value that is not finite or a negative variance; import the encoder again"
                );
                return Err(EncoderError::new(EncoderErrorKind::Format, text));
            }
        }
        Ok(Self { spec, tensors, sha256: sha256.into() })
    }

    /// Name of the encoder, as in `Architecture::encoder`.
    pub fn name(&self) -> &'static str {
        self.spec.name
    }

    /// Its shape.
    pub fn spec(&self) -> &'static EncoderSpec {
        self.spec
    }

    /// SHA-256 of the file the weights came from, lower-case hex.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Values of the tensor `name`; empty when there is none, which the graph builder reports.
    pub(super) fn values(&self, name: &str) -> &[f32] {
        self.tensors.get(name).map_or(&[], |t| &t.values)
    }
}

/// The encoder whose names and shapes the tensors have.
fn recognise(tensors: &BTreeMap<String, HostTensor>) -> Result<&'static EncoderSpec> {
    let blocks = (0..).take_while(|i| tensors.contains_key(&block_name(*i))).count();
    let mismatch = |spec: &EncoderSpec| {
        spec.tensors().into_iter().find_map(|(name, shape)| match tensors.get(&name) {
            None => Some(format!("tensor `{name}` is missing")),
            Some(t) if t.shape != shape => {
                Some(format!("tensor `{name}` has shape {:?}, not {shape:?}", t.shape))
            }
            Some(_) => None,
        })
    };
    let mut problem = format!("no encoder with {blocks} blocks named `_blocks.N._project_conv`");
    for spec in ENCODERS.iter().filter(|s| s.blocks().len() == blocks) {
        match mismatch(spec) {
            None => return Ok(spec),
            Some(text) => problem = format!("not {}: {text}", spec.name),
        }
    }
    let names: Vec<_> = ENCODERS.iter().map(|e| e.name).collect();
    let text = format!("{problem}; supported are {} with their published names", names.join(", "));
    Err(EncoderError::new(EncoderErrorKind::Foreign, text))
}

fn block_name(index: usize) -> String {
    format!("_blocks.{index}._project_conv.weight")
}

/// All F32 tensors of a safetensors file.
pub(super) fn parse(bytes: &[u8]) -> Result<BTreeMap<String, HostTensor>> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| {
        EncoderError::with_source(EncoderErrorKind::Format, "not a whole safetensors file", e)
    })?;
    let mut out = BTreeMap::new();
    for (name, view) in file.tensors() {
        if view.dtype() != Dtype::F32 {
            continue;
        }
        let values =
            view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        out.insert(name, HostTensor { shape: view.shape().to_vec(), values: values.collect() });
    }
    Ok(out)
}

/// Reads a file of at most [`FILE_BYTES_MAX`].
pub(super) fn read_bounded(path: &Path) -> Result<Vec<u8>> {
    crrd::sys::fs::read_limited(path, FILE_BYTES_MAX).map_err(|e| {
        EncoderError::with_source(EncoderErrorKind::Io, "the encoder cannot be read", e)
    })
}

/// Puts the file's name in front of an error's message.
pub(super) fn at(mut error: EncoderError, path: &Path) -> EncoderError {
    error.message = format!("{}: {}", path.display(), error.message);
    error
}

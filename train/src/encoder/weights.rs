//! Encoder weights on the host: loaded from safetensors, checked against the table of encoders.

use std::collections::BTreeMap;
use std::path::Path;

use crrd::sys::hash::sha256_hex;
use safetensors::{Dtype, SafeTensors};

use super::spec::EncoderSpec;
use super::{EncoderError, EncoderErrorKind, Result, lite};
use crate::arch::HostTensor;

/// Largest encoder file read, in bytes: the biggest supported one (ViT-L) has 1.22 GB; the rest is
/// room for files that carry more than the weights.
pub const FILE_BYTES_MAX: u64 = 3 << 29;

/// Weights of one frozen encoder.
#[derive(Clone, Debug)]
pub struct EncoderWeights {
    spec: EncoderSpec,
    tensors: BTreeMap<String, HostTensor>,
    sha256: String,
}

impl EncoderWeights {
    /// Reads a safetensors file with the published tensor names.
    ///
    /// # Errors
    /// When the file cannot be read, is not safetensors, or is not one of
    /// [`EncoderSpec::all`].
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
        tensors: BTreeMap<String, HostTensor>,
        sha256: impl Into<String>,
    ) -> Result<Self> {
        let tensors = lite::from_timm(tensors);
        let spec = recognise(&tensors)?;
        Self::with_spec(spec, tensors, sha256)
    }

    /// Weights of an encoder of a shape of one's own, which no file is recognised as.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape, or a value is not finite.
    pub fn with_spec(
        spec: EncoderSpec,
        mut tensors: BTreeMap<String, HostTensor>,
        sha256: impl Into<String>,
    ) -> Result<Self> {
        if let Some(text) = mismatch(&spec, &tensors) {
            let text = format!("not {}: {text}", spec.name());
            return Err(EncoderError::new(EncoderErrorKind::Foreign, text));
        }
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
        self.spec.name()
    }

    /// Its shape.
    pub fn spec(&self) -> EncoderSpec {
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

/// What keeps the tensors from being those of `spec`.
fn mismatch(spec: &EncoderSpec, tensors: &BTreeMap<String, HostTensor>) -> Option<String> {
    let deeper = spec.absent().into_iter().find(|name| tensors.contains_key(name));
    deeper.map(|name| format!("tensor `{name}` belongs to a deeper one")).or_else(|| {
        spec.tensors().into_iter().find_map(|(name, shape)| match tensors.get(&name) {
            None => Some(format!("tensor `{name}` is missing")),
            Some(t) if t.shape != shape => {
                Some(format!("tensor `{name}` has shape {:?}, not {shape:?}", t.shape))
            }
            Some(_) => None,
        })
    })
}

/// The encoder whose names and shapes the tensors have; what is wrong is told of the one that
/// most of them fit.
fn recognise(tensors: &BTreeMap<String, HostTensor>) -> Result<EncoderSpec> {
    let fits = |spec: &EncoderSpec| {
        let fit = |(name, shape): &(String, Vec<usize>)| {
            tensors.get(name).is_some_and(|t| t.shape == *shape)
        };
        spec.tensors().iter().filter(|t| fit(t)).count()
    };
    let mut problem = "its tensors have other names".to_owned();
    let mut closest = 0;
    for spec in EncoderSpec::all() {
        let Some(text) = mismatch(&spec, tensors) else { return Ok(spec) };
        let fitting = fits(&spec);
        if fitting > closest {
            (closest, problem) = (fitting, format!("not {}: {text}", spec.name()));
        }
    }
    let names: Vec<_> = EncoderSpec::all().map(|e| e.name()).collect();
    let text = format!("{problem}; supported are {} with their published names", names.join(", "));
    Err(EncoderError::new(EncoderErrorKind::Foreign, text))
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

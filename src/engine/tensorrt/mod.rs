//! The engine of the product: a TensorRT plan on an NVIDIA GPU.
//!
//! Nothing of NVIDIA's is needed to build this program: the CUDA driver and TensorRT are found when
//! it runs, and a machine without them runs the same program on the CPU. `ffi` and `cuda` hold
//! everything unsafe; [`plan`] keeps what was built; [`TensorRtEngine`] runs it.
//!
//! The driver is asked before the library: without a driver TensorRT answers garbage pointers.
//! Only TensorRT for RTX builds without a GPU, which is how the whole way up to the plan is tried
//! on machines that have none (`tests/rtx.rs`).
//!
//! The precision is that of the ONNX file (a strongly typed network), which [`Precision`] writes.
//! Every engine is proved by the bundle's golden pictures before it is used: TensorRT 10.3 is known
//! to compute some 16-bit vision transformers wrongly.

mod cuda;
mod ffi;
mod plan;
mod precision;
mod runner;
mod table;
mod version;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use self::cuda::Device;
use self::ffi::{DataType, Library, Network, Runtime, Tensor};
use super::bundle::Bundle;
use super::{EngineError, EngineErrorKind};
use crate::frame::Precision;
use crate::sys::fs;
use crate::sys::hash::sha256_hex;
pub use cuda::DeviceInfo;
pub use plan::{Listed, PlanKey, PlanRecord, list};
pub use runner::TensorRtEngine;
pub use version::{Family, Version};

/// Working memory beside the weights that an engine may use unless said otherwise, in bytes: what
/// an 8 GB Jetson can spare. Small models use a fraction of it.
pub const WORKSPACE_BYTES_MAX: usize = 1 << 30;
/// Largest file of measured times, in bytes.
const TIMINGS_BYTES_MAX: u64 = 64 << 20;

/// TensorRT on this machine.
pub struct TensorRt {
    library: Arc<Library>,
    /// `None`: TensorRT for RTX on a machine without a GPU; it builds, and runs nothing.
    device: Option<Arc<Device>>,
}

/// What is built from a model.
#[derive(Debug)]
pub struct Built {
    /// The plan.
    pub plan: Vec<u8>,
    /// What this device's kernels were measured to take: makes the next build shorter.
    pub timings: Vec<u8>,
}

impl TensorRt {
    /// Finds the library in `folder`, or where the loader looks, and the GPU.
    ///
    /// # Errors
    /// `Backend` when one of them is missing or of a version that is not supported; the message
    /// says which and what to do.
    pub fn open(folder: Option<&Path>) -> Result<Self, EngineError> {
        let library = Library::open(folder)?;
        let device = match Device::open() {
            Ok(device) => Some(device),
            Err(_) if library.version().family == Family::Rtx => None,
            Err(e) => return Err(e),
        };
        Ok(Self { library, device })
    }

    /// The error of whoever needs a GPU here, when there is none.
    pub fn no_gpu(&self) -> EngineError {
        no_gpu()
    }

    /// Version of the library.
    pub fn version(&self) -> Version {
        self.library.version()
    }

    /// The GPU; `None` when there is none and nothing can run.
    pub fn device(&self) -> Option<&DeviceInfo> {
        self.device.as_deref().map(Device::info)
    }

    /// What a plan of this bundle on this machine is bound to.
    ///
    /// # Errors
    /// `Backend` without a GPU.
    pub fn key(&self, bundle: &Bundle, precision: Precision) -> Result<PlanKey, EngineError> {
        Ok(PlanKey {
            model_sha256: bundle.manifest().model.sha256.clone(),
            library: self.version().to_string(),
            device: self.device.as_ref().ok_or_else(no_gpu)?.info().clone(),
            precision,
            workspace_bytes_max: WORKSPACE_BYTES_MAX,
        })
    }

    /// Parses the bundle's model, checks its tensors against the manifest and builds it, the nodes
    /// in `keep` in 32 bits. Takes from seconds to many minutes. `timings` are those of an earlier
    /// build, or empty.
    ///
    /// # Errors
    /// `Foreign` when the tensors are not the manifest's, `Backend` with the library's words.
    pub fn build(
        &self,
        bundle: &Bundle,
        precision: Precision,
        keep: &BTreeSet<String>,
        timings: &[u8],
    ) -> Result<Built, EngineError> {
        if let Some(device) = &self.device {
            device.enter()?;
        }
        let network = Network::parse(&self.library, &precision.onnx(bundle, keep)?)?;
        let (inputs, outputs) = network.tensors();
        check(bundle, &inputs, &outputs)?;
        let (plan, timings) = network.build(WORKSPACE_BYTES_MAX, timings)?;
        Ok(Built { plan, timings })
    }

    /// The engine of a plan that was built in `precision`, not proved yet.
    ///
    /// # Errors
    /// `Backend` without a GPU or when the library refuses the plan, `Foreign` when its tensors are
    /// not the manifest's.
    pub fn load(
        &self,
        bundle: &Bundle,
        precision: Precision,
        plan: &[u8],
    ) -> Result<TensorRtEngine, EngineError> {
        if let Some(device) = &self.device {
            device.enter()?;
        }
        let engine = Runtime::new(&self.library)?.load(plan)?;
        let device = self.device.as_ref().ok_or_else(no_gpu)?;
        let (inputs, outputs): (Vec<_>, Vec<_>) = engine
            .tensors()
            .into_iter()
            .partition(|tensor| tensor.name == bundle.manifest().input.name);
        check(bundle, &inputs, &outputs)?;
        TensorRtEngine::on_gpu(bundle, precision, engine.context()?, device)
    }

    /// The proved engine of the bundle from the plan in `folder`, which is built and kept there
    /// when there is none for this machine. A plan that is damaged, foreign, refused or does not
    /// reproduce the golden pictures is told in the log and built anew; the new one only replaces it
    /// when it is proved.
    ///
    /// # Errors
    /// As [`Self::build`] and [`super::self_check`]; `Io` when the plan cannot be kept.
    pub fn engine(
        &self,
        bundle: &Bundle,
        precision: Precision,
        folder: &Path,
    ) -> Result<TensorRtEngine, EngineError> {
        match self.kept(bundle, precision, folder) {
            Ok(Some(engine)) => return Ok(engine),
            Ok(None) => tracing::info!("no engine was built for this machine yet: building"),
            Err(e) => tracing::warn!(error = %chain(&e), "the engine that was built is not used"),
        }
        Ok(self.build_into(bundle, precision, folder)?.0)
    }

    /// The proved engine of the plan in `folder`; `None` when there is none for this machine.
    ///
    /// # Errors
    /// When the plan cannot be used.
    pub fn kept(
        &self,
        bundle: &Bundle,
        precision: Precision,
        folder: &Path,
    ) -> Result<Option<TensorRtEngine>, EngineError> {
        let Some(plan) = plan::read(folder, &self.key(bundle, precision)?)? else {
            return Ok(None);
        };
        let mut engine = self.load(bundle, precision, &plan)?;
        super::self_check_within(&mut engine, bundle, precision.diff_allowed(bundle))?;
        Ok(Some(engine))
    }

    /// Builds, proves and keeps; answers what was found on the way, too.
    ///
    /// # Errors
    /// As [`Self::engine`].
    pub fn build_into(
        &self,
        bundle: &Bundle,
        precision: Precision,
        folder: &Path,
    ) -> Result<(TensorRtEngine, PlanRecord), EngineError> {
        let key = self.key(bundle, precision)?;
        let timings_file = folder.join(format!("{}.timings", self.timings_name(&key)));
        // Only saves time: without it the kernels are measured again.
        let timings = fs::read_limited(&timings_file, TIMINGS_BYTES_MAX).unwrap_or_default();
        let proved = precision::build(self, bundle, precision, timings)?;
        let record = PlanRecord {
            key,
            kept_fp32: proved.kept_fp32,
            golden_diff_max: proved.golden_diff_max,
        };
        plan::write(folder, &record, &proved.built.plan)?;
        if let Err(e) = fs::write_atomic(&timings_file, &proved.built.timings) {
            tracing::debug!(error = %e, "the measured times are not kept");
        }
        Ok((proved.engine, record))
    }

    /// Times are those of one device and library, whatever the model.
    fn timings_name(&self, key: &PlanKey) -> String {
        sha256_hex(format!("{}{:?}", key.library, key.device).as_bytes())[..16].to_owned()
    }
}

/// What [`TensorRt::no_gpu`] says.
fn no_gpu() -> EngineError {
    EngineError::new(
        EngineErrorKind::Backend,
        "there is no NVIDIA GPU here to run an engine on: use the backend `cpu`",
    )
}

/// The error with its causes, for the log.
fn chain(error: &EngineError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Whether a network or engine has the tensors of the manifest.
fn check(bundle: &Bundle, inputs: &[Tensor], outputs: &[Tensor]) -> Result<(), EngineError> {
    let manifest = bundle.manifest();
    let (input, output) = (&manifest.input, &manifest.output);
    let shape = |sizes: &[usize]| sizes.iter().map(|size| *size as i64).collect::<Vec<i64>>();
    let wanted_input = Tensor {
        name: input.name.clone(),
        shape: shape(&[1, input.height, input.width, 3]),
        data_type: DataType::Uint8,
    };
    let wanted_outputs = [
        Tensor {
            name: output.anomaly_map.clone(),
            shape: shape(&[1, 1, output.map_height, output.map_width]),
            data_type: DataType::Float,
        },
        Tensor { name: output.score.clone(), shape: shape(&[1]), data_type: DataType::Float },
    ];
    let same = inputs == [wanted_input.clone()]
        && outputs.len() == wanted_outputs.len()
        && wanted_outputs.iter().all(|wanted| outputs.contains(wanted));
    if same {
        return Ok(());
    }
    Err(EngineError::new(
        EngineErrorKind::Foreign,
        format!(
            "{}: TensorRT sees the inputs {inputs:?} and the outputs {outputs:?} in {}, expected are \
             {wanted_input:?} and {wanted_outputs:?}; export the bundle again with crrd-train",
            bundle.place(),
            manifest.model.file
        ),
    ))
}

#[cfg(test)]
mod tests;

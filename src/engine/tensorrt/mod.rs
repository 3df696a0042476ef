//! The engine of the product: a TensorRT plan on an NVIDIA GPU.
//!
//! Nothing of NVIDIA's is needed to build this program: the CUDA driver and TensorRT are found when
//! it runs, and a machine without them runs the same program on the CPU. `ffi`, `cuda` and `slab` hold
//! everything unsafe; [`plan`] keeps what was built; [`TensorRtEngine`] runs it, on pictures or on the
//! frames of a camera where they lie.
//!
//! The driver is asked before the library: without a driver TensorRT answers garbage pointers.
//! Only TensorRT for RTX builds without a GPU, which is how the whole way up to the plan is tried
//! on machines that have none (`tests/rtx.rs`).
//!
//! The precision is that of the ONNX file (a strongly typed network), which [`Precision`](crate::frame::Precision) writes.
//! Every engine is proved by the bundle's golden pictures before it is used: TensorRT 10.3 is known
//! to compute some 16-bit vision transformers wrongly.

mod control;
mod cuda;
mod failed;
mod ffi;
mod frames;
mod plan;
mod precision;
mod runner;
mod runs;
mod slab;
mod table;
mod target;
mod version;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use self::cuda::Device;
use self::ffi::{DataType, Library, Network, Runtime, Tensor};
use super::{EngineError, EngineErrorKind};
use crate::frame::Buffers;
use crate::sys::fs;
use crate::sys::hash::sha256_hex;
pub use control::{BuildControl, Phase};
pub use cuda::DeviceInfo;
pub(super) use frames::Readers;
pub use plan::{FramesKey, Listed, PlanKey, PlanRecord, list};
pub use runner::TensorRtEngine;
pub use target::Target;
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
    control: BuildControl,
}

/// One build at a time in this process: the builder measures kernels, and another one's would be in the
/// way.
static BUILDING: Mutex<()> = Mutex::new(());

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
        let device = Device::open();
        let library = Library::open(folder)?;
        let device = match device {
            Ok(device) => Some(device),
            Err(_) if library.version().family == Family::Rtx => None,
            Err(e) => return Err(e),
        };
        Ok(Self { library, device, control: BuildControl::default() })
    }

    /// The same, whose builds `control` watches and may end.
    pub fn controlled_by(self, control: BuildControl) -> Self {
        Self { control, ..self }
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

    /// Memory for cameras that the GPU reads where it lies; `None` without a GPU.
    pub fn buffers(&self) -> Option<Arc<dyn Buffers>> {
        Some(Arc::new(slab::PinnedBuffers::of(Arc::clone(self.device.as_ref()?))))
    }

    /// What a plan of this target on this machine is bound to.
    ///
    /// # Errors
    /// `Backend` without a GPU or when the model cannot be made 16-bit, `Input` when no engine can read such
    /// frames.
    pub fn key(&self, target: Target<'_>) -> Result<PlanKey, EngineError> {
        Ok(PlanKey {
            model_sha256: target.bundle.manifest().model.sha256.clone(),
            library: self.version().to_string(),
            device: self.device.as_ref().ok_or_else(no_gpu)?.info().clone(),
            precision: target.precision,
            workspace_bytes_max: WORKSPACE_BYTES_MAX,
            frames: target.frames_key()?,
            half_sha256: target.half_sha256()?,
        })
    }

    /// Parses the target's model, checks its tensors against the manifest and builds it, the nodes
    /// in `keep` in 32 bits. Takes from seconds to many minutes. `timings` are those of an earlier
    /// build, or empty.
    ///
    /// # Errors
    /// `Foreign` when the tensors are not the manifest's, `Input` when no engine can read such frames,
    /// `Cancelled` when [`BuildControl::cancel`] ended it, `Backend` with the library's words.
    pub fn build(
        &self,
        target: Target<'_>,
        keep: &BTreeSet<String>,
        timings: &[u8],
    ) -> Result<Built, EngineError> {
        if let Some(device) = &self.device {
            device.enter()?;
        }
        let network = Network::parse(&self.library, &target.onnx(keep)?)?;
        let (inputs, outputs) = network.tensors();
        check(target, &inputs, &outputs)?;
        let (plan, timings) = network.build(&self.control, WORKSPACE_BYTES_MAX, timings)?;
        Ok(Built { plan, timings })
    }

    /// Bytes of the plan of any ONNX file, which is not kept: whether this library takes what
    /// [`graph`](super::graph) writes for other programs.
    ///
    /// # Errors
    /// `Backend` with the library's words.
    pub fn try_build(&self, onnx: &[u8]) -> Result<usize, EngineError> {
        if let Some(device) = &self.device {
            device.enter()?;
        }
        let (plan, _) =
            Network::parse(&self.library, onnx)?.build(&self.control, WORKSPACE_BYTES_MAX, &[])?;
        Ok(plan.len())
    }

    /// The engine of a plan, not proved yet.
    ///
    /// # Errors
    /// `Backend` without a GPU or when the library refuses the plan, `Foreign` when its tensors are
    /// not the manifest's.
    pub fn load(&self, target: Target<'_>, plan: &[u8]) -> Result<TensorRtEngine, EngineError> {
        if let Some(device) = &self.device {
            device.enter()?;
        }
        let engine = Runtime::new(&self.library)?.load(plan)?;
        let device = self.device.as_ref().ok_or_else(no_gpu)?;
        let input = target.input();
        let (inputs, outputs): (Vec<_>, Vec<_>) =
            engine.tensors().into_iter().partition(|tensor| tensor.name == input.name);
        check(target, &inputs, &outputs)?;
        TensorRtEngine::on_gpu(target.bundle, (input, target.precision), engine.context()?, device)
    }

    /// The proved engine of the target from the plan in `folder`, which is built and kept there
    /// when there is none for this machine. A plan that is damaged, foreign, refused or does not
    /// reproduce the golden pictures is told in the log and built anew; the new one only replaces it
    /// when it is proved. What could not be built before is not tried again ([`Self::build_new`]).
    ///
    /// # Errors
    /// As [`Self::build`] and [`super::self_check`]; `Io` when the plan cannot be kept.
    pub fn engine(&self, target: Target<'_>, folder: &Path) -> Result<TensorRtEngine, EngineError> {
        match self.kept(target, folder) {
            Ok(Some(engine)) => return Ok(engine),
            Ok(None) => tracing::info!("no engine was built for this machine yet: building"),
            Err(e) => tracing::warn!(error = %e.chain(), "the engine that was built is not used"),
        }
        self.build_new(target, folder)
    }

    /// The plan in `folder` as the library wrote it; `None` when there is none for this machine.
    ///
    /// # Errors
    /// When the file cannot be used, or there is no GPU.
    pub fn plan(&self, target: Target<'_>, folder: &Path) -> Result<Option<Vec<u8>>, EngineError> {
        plan::read(folder, &self.key(target)?)
    }

    /// The proved engine of the plan in `folder`; `None` when there is none for this machine.
    ///
    /// # Errors
    /// When the plan cannot be used.
    pub fn kept(
        &self,
        target: Target<'_>,
        folder: &Path,
    ) -> Result<Option<TensorRtEngine>, EngineError> {
        let Some(plan) = self.plan(target, folder)? else {
            return Ok(None);
        };
        let mut engine = self.load(target, &plan)?;
        target.proof()?.measure(&mut engine)?.check(target.bundle.place())?;
        // Who built it did so in spite of a note, or after it.
        failed::forget(folder, &self.key(target)?);
        Ok(Some(engine))
    }

    /// As [`Self::build_into`], for programs: what failed before is not tried again, because it takes minutes
    /// and fails again, until somebody builds it by hand or deletes the note of it.
    ///
    /// # Errors
    /// As [`Self::build_into`]; `Backend` when it is not tried, with the reason.
    pub fn build_new(
        &self,
        target: Target<'_>,
        folder: &Path,
    ) -> Result<TensorRtEngine, EngineError> {
        let key = self.key(target)?;
        failed::unless_failed(folder, &key, || self.build_kept(target, key.clone(), folder))
            .map(|(engine, _)| engine)
    }

    /// Builds, proves and keeps; answers what was found on the way, too. A failure is noted beside the plans.
    ///
    /// # Errors
    /// As [`Self::engine`].
    pub fn build_into(
        &self,
        target: Target<'_>,
        folder: &Path,
    ) -> Result<(TensorRtEngine, PlanRecord), EngineError> {
        let key = self.key(target)?;
        failed::noted(folder, &key, || self.build_kept(target, key.clone(), folder))
    }

    fn build_kept(
        &self,
        target: Target<'_>,
        key: PlanKey,
        folder: &Path,
    ) -> Result<(TensorRtEngine, PlanRecord), EngineError> {
        // What is guarded is nothing that a panic could leave half done.
        let _alone = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
        let timings_file = folder.join(format!("{}.timings", self.timings_name(&key)));
        // Only saves time: without it the kernels are measured again.
        let timings = fs::read_limited(&timings_file, TIMINGS_BYTES_MAX).unwrap_or_default();
        let proved = precision::build(self, target, timings)?;
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

/// Whether a network or engine has the outputs of the manifest, and the input that is wanted.
fn check(target: Target<'_>, inputs: &[Tensor], outputs: &[Tensor]) -> Result<(), EngineError> {
    let bundle = target.bundle;
    let manifest = bundle.manifest();
    let output = &manifest.output;
    let shape = |sizes: &[usize]| sizes.iter().map(|size| *size as i64).collect::<Vec<i64>>();
    let wanted_input = target.input();
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

//! From a bundle to a proved engine.

use std::path::PathBuf;

use super::bundle::{Bundle, BundleSource};
use super::tensorrt::{BuildControl, Readers, Target, TensorRt};
use super::{
    CpuEngine, Engine, EngineError, EngineErrorKind, KeptEngine, ModelSpec, Retries, Stopper,
    Workshop,
};
use crate::frame::Precision;

/// What runs the model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// tract: pure Rust, on every machine.
    #[default]
    Cpu,
    /// onnxruntime, loaded from `ORT_DYLIB_PATH`; needs the feature `ort`.
    Ort,
    /// TensorRT on an NVIDIA GPU; an engine that is not there yet is built first.
    TensorRt(Gpu),
    /// TensorRT when it and a GPU are there, else the CPU.
    Auto(Gpu),
}

/// Where the pieces of TensorRT lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gpu {
    /// Folder of its libraries; `None` = where the loader looks.
    pub library_dir: Option<PathBuf>,
    /// Folder of the plans that were built here.
    pub plans_dir: PathBuf,
    /// Arithmetic.
    pub precision: Precision,
    /// Whether a station reads frames where the camera wrote them, by an engine for each kind of
    /// frames.
    pub raw_frames: bool,
}

/// Loads the bundle into the backend and proves it by the golden pictures.
///
/// # Errors
/// See [`Bundle::load`], [`CpuEngine::load`], [`TensorRt::engine`] and [`super::self_check`].
pub fn open(source: &BundleSource, backend: Backend) -> Result<Box<dyn Engine>, EngineError> {
    load(&Bundle::load(source)?, &backend)
}

/// The same, `count` times over one loaded model: one engine for each worker thread, the weights
/// in memory once where the backend can share them.
///
/// # Errors
/// As [`open`].
pub fn open_many(
    source: &BundleSource,
    backend: Backend,
    count: usize,
) -> Result<Vec<Box<dyn Engine>>, EngineError> {
    let bundle = Bundle::load(source)?;
    if backend == Backend::Cpu {
        let first = CpuEngine::load(&bundle)?;
        let mut engines: Vec<Box<dyn Engine>> = Vec::with_capacity(count);
        for _ in 1..count {
            engines.push(Box::new(first.fork()?));
        }
        engines.push(Box::new(first));
        return Ok(engines);
    }
    (0..count.max(1)).map(|_| load(&bundle, &backend)).collect()
}

/// The engine of a station: proved, and made again when it fails ([`KeptEngine`]). Where one for the
/// GPU has to be built first, that goes on in the background.
///
/// While there is none, the CPU serves if `cpu_meanwhile` and the engine computes in 32 bits, as the CPU
/// does: limits hold for one arithmetic. Else nobody serves.
///
/// # Errors
/// As [`open`], but for an engine that cannot be built, which is told in the log.
pub fn open_serving(
    source: &BundleSource,
    backend: Backend,
    cpu_meanwhile: bool,
) -> Result<Box<dyn Engine>, EngineError> {
    let gpu = match &backend {
        Backend::TensorRt(gpu) | Backend::Auto(gpu) => gpu.clone(),
        Backend::Cpu | Backend::Ort => return open(source, backend),
    };
    let bundle = Bundle::load(source)?;
    let tensorrt = match (TensorRt::open(gpu.library_dir.as_deref()), &backend) {
        (Ok(tensorrt), _) if tensorrt.device().is_some() => tensorrt,
        (Ok(_) | Err(_), Backend::Auto(_)) => return cpu(&bundle),
        (Ok(tensorrt), _) => return Err(tensorrt.no_gpu()),
        (Err(e), _) => return Err(e),
    };
    let spec = ModelSpec { precision: gpu.precision, ..bundle.spec() };
    let kept = tensorrt.kept(pictures(&bundle, &gpu), &gpu.plans_dir).unwrap_or_else(|e| {
        let error = &e as &dyn std::error::Error;
        tracing::warn!(error, "the engine that was built is not used");
        None
    });
    let control = BuildControl::default();
    let mut workshop =
        GpuWorkshop { source: source.clone(), gpu: gpu.clone(), cpu_meanwhile, control };
    let retries = Retries::default();
    let kept = match kept {
        Some(engine) => KeptEngine::serving(Box::new(engine), workshop, retries)?,
        None => {
            let substitute = workshop.substitute()?;
            let meanwhile = if substitute.is_some() { "the CPU serves" } else { "nobody serves" };
            tracing::info!("an engine for this GPU is being built; {meanwhile} until it is there");
            KeptEngine::building(spec, substitute, workshop, retries)?
        }
    };
    if !gpu.raw_frames {
        return Ok(Box::new(kept));
    }
    let Gpu { precision, plans_dir, .. } = gpu;
    Readers { tensorrt, bundle, precision, plans_dir }.beside(Box::new(kept))
}

/// Engines for the GPU. Everything is opened anew each time: what was open when an engine failed may be
/// what is broken.
struct GpuWorkshop {
    source: BundleSource,
    gpu: Gpu,
    cpu_meanwhile: bool,
    control: BuildControl,
}

impl Workshop for GpuWorkshop {
    fn stopper(&self) -> Stopper {
        let control = self.control.clone();
        Box::new(move || control.cancel())
    }

    fn build(&mut self) -> Result<Box<dyn Engine>, EngineError> {
        let bundle = Bundle::load(&self.source)?;
        let tensorrt =
            TensorRt::open(self.gpu.library_dir.as_deref())?.controlled_by(self.control.clone());
        let built = tensorrt.build_into(pictures(&bundle, &self.gpu), &self.gpu.plans_dir)?;
        Ok(Box::new(built.0))
    }

    fn reopen(&mut self) -> Result<Box<dyn Engine>, EngineError> {
        let bundle = Bundle::load(&self.source)?;
        let tensorrt = TensorRt::open(self.gpu.library_dir.as_deref())?;
        let kept = tensorrt.kept(pictures(&bundle, &self.gpu), &self.gpu.plans_dir)?;
        let engine = kept.ok_or_else(|| {
            let what = "the engine that was built is gone from the folder of engines";
            EngineError::new(EngineErrorKind::Io, what)
        })?;
        Ok(Box::new(engine))
    }

    fn substitute(&mut self) -> Result<Option<Box<dyn Engine>>, EngineError> {
        // The CPU computes in 32 bits only.
        if !self.cpu_meanwhile || self.gpu.precision != Precision::Fp32 {
            return Ok(None);
        }
        Ok(Some(cpu(&Bundle::load(&self.source)?)?))
    }
}

fn pictures<'a>(bundle: &'a Bundle, gpu: &Gpu) -> Target<'a> {
    Target::pictures(bundle, gpu.precision)
}

fn cpu(bundle: &Bundle) -> Result<Box<dyn Engine>, EngineError> {
    Ok(Box::new(CpuEngine::load(bundle)?))
}

fn load(bundle: &Bundle, backend: &Backend) -> Result<Box<dyn Engine>, EngineError> {
    match backend {
        Backend::Cpu => cpu(bundle),
        Backend::TensorRt(gpu) => {
            let tensorrt = TensorRt::open(gpu.library_dir.as_deref())?;
            Ok(Box::new(tensorrt.engine(pictures(bundle, gpu), &gpu.plans_dir)?))
        }
        Backend::Auto(gpu) => match TensorRt::open(gpu.library_dir.as_deref()) {
            Ok(tensorrt) if tensorrt.device().is_some() => {
                Ok(Box::new(tensorrt.engine(pictures(bundle, gpu), &gpu.plans_dir)?))
            }
            _ => cpu(bundle),
        },
        #[cfg(feature = "ort")]
        Backend::Ort => Ok(Box::new(super::OrtEngine::load(bundle)?)),
        #[cfg(not(feature = "ort"))]
        Backend::Ort => Err(EngineError::new(
            EngineErrorKind::Backend,
            "this program was built without onnxruntime: use the backend `cpu`, or build with \
             `--features ort`",
        )),
    }
}

//! From a bundle to a proved engine.

use std::path::PathBuf;

use super::bundle::{Bundle, BundleSource};
use super::tensorrt::TensorRt;
use super::{CpuEngine, Engine, EngineError, EngineErrorKind, SwapEngine};
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

/// As [`open`], but where an engine for the GPU has to be built first, the CPU serves until it is
/// there. It computes in 32 bits, and limits hold for one arithmetic: it cannot serve for an engine
/// in 16 bits, which is then waited for.
///
/// # Errors
/// As [`open`]. An engine that cannot be built is told in the log, and the CPU goes on.
pub fn open_serving(
    source: &BundleSource,
    backend: Backend,
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
    match tensorrt.kept(&bundle, gpu.precision, &gpu.plans_dir) {
        Ok(Some(engine)) => return Ok(Box::new(engine)),
        Ok(None) => {}
        Err(e) => {
            tracing::warn!(
                error = &e as &dyn std::error::Error,
                "the engine that was built is not used"
            );
        }
    }
    let serving = cpu(&bundle)?;
    if serving.spec().precision != gpu.precision {
        tracing::info!(
            "an engine in {} is being built; the station starts when it is there, for the CPU \
             computes in {} and cannot judge by its limits",
            gpu.precision,
            serving.spec().precision
        );
        return Ok(Box::new(tensorrt.engine(&bundle, gpu.precision, &gpu.plans_dir)?));
    }
    tracing::info!("an engine for this GPU is being built; the CPU serves until it is there");
    let (sender, next) = crossbeam_channel::bounded(1);
    let build = move || match tensorrt.build_into(&bundle, gpu.precision, &gpu.plans_dir) {
        // Nobody waits any more when the station has ended; the plan is kept all the same.
        Ok((engine, _)) => drop(sender.send(Box::new(engine) as Box<dyn Engine>)),
        Err(e) => tracing::error!(
            error = &e as &dyn std::error::Error,
            "no engine could be built for this GPU; the CPU goes on"
        ),
    };
    std::thread::Builder::new().name("engine-build".to_owned()).spawn(build).map_err(|e| {
        let what = "cannot start the thread that builds the engine";
        EngineError::with_source(EngineErrorKind::Backend, what, e)
    })?;
    Ok(Box::new(SwapEngine::new(serving, next)))
}

fn cpu(bundle: &Bundle) -> Result<Box<dyn Engine>, EngineError> {
    Ok(Box::new(CpuEngine::load(bundle)?))
}

fn load(bundle: &Bundle, backend: &Backend) -> Result<Box<dyn Engine>, EngineError> {
    match backend {
        Backend::Cpu => cpu(bundle),
        Backend::TensorRt(gpu) => {
            let tensorrt = TensorRt::open(gpu.library_dir.as_deref())?;
            Ok(Box::new(tensorrt.engine(bundle, gpu.precision, &gpu.plans_dir)?))
        }
        Backend::Auto(gpu) => match TensorRt::open(gpu.library_dir.as_deref()) {
            Ok(tensorrt) if tensorrt.device().is_some() => {
                Ok(Box::new(tensorrt.engine(bundle, gpu.precision, &gpu.plans_dir)?))
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

//! From a bundle to a proved engine.

use super::bundle::{Bundle, BundleSource};
use super::{CpuEngine, Engine, EngineError};

/// What runs the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// tract: pure Rust, on every machine.
    #[default]
    Cpu,
    /// onnxruntime, loaded from `ORT_DYLIB_PATH`; needs the feature `ort`.
    Ort,
}

/// Loads the bundle into the backend and proves it by the golden pictures.
///
/// # Errors
/// See [`Bundle::load`], [`CpuEngine::load`] and [`super::self_check`].
pub fn open(source: &BundleSource, backend: Backend) -> Result<Box<dyn Engine>, EngineError> {
    load(&Bundle::load(source)?, backend)
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
    (0..count.max(1)).map(|_| load(&bundle, backend)).collect()
}

fn load(bundle: &Bundle, backend: Backend) -> Result<Box<dyn Engine>, EngineError> {
    match backend {
        Backend::Cpu => Ok(Box::new(CpuEngine::load(bundle)?)),
        #[cfg(feature = "ort")]
        Backend::Ort => Ok(Box::new(super::OrtEngine::load(bundle)?)),
        #[cfg(not(feature = "ort"))]
        Backend::Ort => Err(EngineError::new(
            super::EngineErrorKind::Backend,
            "this program was built without onnxruntime: use the backend `cpu`, or build with \
             `--features ort`",
        )),
    }
}

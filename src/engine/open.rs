//! From a bundle to a proved engine.

use std::path::{Path, PathBuf};

use super::bundle::{Bundle, BundleSource};
use super::tensorrt::{BuildControl, Readers, Target, TensorRt};
use super::{
    CpuEngine, Engine, EngineError, EngineErrorKind, KeptEngine, ModelSpec, Retries, Stopper,
    Workshop, nvidia_gpu,
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
    /// TensorRT when it and a GPU are there, else the CPU; the log says why.
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
    load(&Bundle::load(source)?, &decided(backend), &BuildControl::default())
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
    open_watched(source, backend, count, &BuildControl::default())
}

/// The same, whose build, where there is one, `control` watches and may end.
///
/// # Errors
/// As [`open`].
pub fn open_watched(
    source: &BundleSource,
    backend: Backend,
    count: usize,
    control: &BuildControl,
) -> Result<Vec<Box<dyn Engine>>, EngineError> {
    let bundle = Bundle::load(source)?;
    let backend = decided(backend);
    if backend == Backend::Cpu {
        let first = CpuEngine::load(&bundle)?;
        let mut engines: Vec<Box<dyn Engine>> = Vec::with_capacity(count);
        for _ in 1..count {
            engines.push(Box::new(first.fork()?));
        }
        engines.push(Box::new(first));
        return Ok(engines);
    }
    (0..count.max(1)).map(|_| load(&bundle, &backend, control)).collect()
}

/// TensorRT with a GPU to run on.
///
/// # Errors
/// As [`TensorRt::open`], and when there is no GPU.
pub fn on_gpu(library_dir: Option<&Path>) -> Result<TensorRt, EngineError> {
    let tensorrt = TensorRt::open(library_dir)?;
    if tensorrt.device().is_none() {
        return Err(tensorrt.no_gpu());
    }
    Ok(tensorrt)
}

/// The backend with the choice made that `auto` leaves.
fn decided(backend: Backend) -> Backend {
    match backend {
        Backend::Auto(gpu) => match on_gpu(gpu.library_dir.as_deref()) {
            Ok(_) => Backend::TensorRt(gpu),
            Err(e) => {
                tell_of_cpu(&e);
                Backend::Cpu
            }
        },
        other => other,
    }
}

/// Says why no GPU runs the model: where there is one, that is seldom what somebody wanted.
fn tell_of_cpu(why: &EngineError) {
    let why = why.chain();
    match nvidia_gpu() {
        Some(there) => tracing::warn!(there, why, "the CPU runs the model, and not the GPU"),
        None => tracing::info!(why, "the CPU runs the model"),
    }
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
    let tensorrt = match (on_gpu(gpu.library_dir.as_deref()), &backend) {
        (Ok(tensorrt), _) => tensorrt,
        (Err(e), Backend::Auto(_)) => {
            tell_of_cpu(&e);
            return cpu(&bundle);
        }
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
        Ok(Box::new(tensorrt.build_new(pictures(&bundle, &self.gpu), &self.gpu.plans_dir)?))
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

fn load(
    bundle: &Bundle,
    backend: &Backend,
    control: &BuildControl,
) -> Result<Box<dyn Engine>, EngineError> {
    match backend {
        Backend::Cpu => cpu(bundle),
        // What `auto` means was decided before.
        Backend::TensorRt(gpu) | Backend::Auto(gpu) => {
            let tensorrt = TensorRt::open(gpu.library_dir.as_deref())?;
            let tensorrt = tensorrt.controlled_by(control.clone());
            Ok(Box::new(tensorrt.engine(pictures(bundle, gpu), &gpu.plans_dir)?))
        }
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

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Said(Arc<Mutex<Vec<u8>>>);

    impl Write for Said {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_log_says_once_why_auto_takes_the_cpu() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/engines/demo");
        let source = BundleSource::Dir(folder.into());
        // No library in it: TensorRT is not there, whatever this machine has.
        let empty = tempfile::tempdir().unwrap();
        let gpu = Gpu { library_dir: Some(empty.path().to_owned()), ..Gpu::default() };
        let log = |opens: &dyn Fn(Backend)| {
            let said = Said::default();
            let writer = said.clone();
            let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
            tracing::subscriber::with_default(subscriber, || opens(Backend::Auto(gpu.clone())));
            let text = said.0.lock().unwrap().clone();
            String::from_utf8(text).unwrap()
        };
        let serving = log(&|backend| drop(open_serving(&source, backend, true).unwrap()));
        let tools = log(&|backend| drop(open_many(&source, backend, 2).unwrap()));
        for text in [serving, tools] {
            assert_eq!(text.matches("the CPU runs the model").count(), 1, "{text}");
            assert!(text.contains("no TensorRT here"), "{text}");
        }
    }
}

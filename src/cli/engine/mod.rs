//! `crrd engine`: bundles and what is built from them, and the arguments by which every tool names
//! its engine.

mod bench;
mod build;
mod camera;
mod export;
mod machine;
mod progress;
mod tool;
mod trtexec;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};

use super::assets;
use crate::config::EngineSource;
use crate::engine::bundle::{Bundle, BundleSource};
use crate::engine::tensorrt::BuildControl;
use crate::engine::{self, Backend, Engine, Gpu};
use crate::frame::{AnomalyMap, Precision};
use crate::sys::clock::{Clock, RealClock};
use crate::sys::shutdown::Shutdown;
pub(super) use build::command as build_command;

/// The word that names the engine and the limits inside the program; a folder of this name is
/// `./demo`.
pub const DEMO: &str = "demo";
/// Where the service keeps them.
const PLANS_DIR_DEFAULT: &str = "/var/lib/crrd/plans";

/// Inferences timed by `engine check`: enough for a median, a second or two on a slow machine.
const SPEED_RUNS: usize = 9;

/// Which engine a tool uses.
#[derive(Clone, Debug, clap::Args)]
pub struct EngineArgs {
    /// Engine bundle: the folder that training wrote, or `demo` for the one inside the program
    #[arg(long, value_name = "DIR")]
    pub engine: String,
    /// What runs the model: `cpu`, `tensorrt`, or `ort` where onnxruntime is built in
    #[arg(long, value_name = "NAME", default_value = "cpu")]
    pub backend: BackendName,
    #[command(flatten)]
    gpu: GpuArgs,
}

/// Where TensorRT lies, and what it built.
#[derive(Clone, Debug, clap::Args)]
struct GpuArgs {
    /// Folder of TensorRT's libraries, when the system's loader does not find them
    #[arg(long, value_name = "DIR")]
    library_dir: Option<PathBuf>,
    /// Folder of the engines that were built for this GPU
    #[arg(long, value_name = "DIR", default_value = PLANS_DIR_DEFAULT)]
    plans: PathBuf,
    /// Arithmetic on the GPU
    #[arg(long, value_name = "NAME", default_value = "fp32")]
    precision: PrecisionName,
}

/// Arithmetic by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum PrecisionName {
    /// 32 bits, as trained.
    Fp32,
    /// 16 bits where that is safe.
    Fp16,
}

impl From<PrecisionName> for Precision {
    fn from(name: PrecisionName) -> Self {
        match name {
            PrecisionName::Fp32 => Self::Fp32,
            PrecisionName::Fp16 => Self::Fp16,
        }
    }
}

impl GpuArgs {
    fn gpu(&self) -> Gpu {
        Gpu {
            library_dir: self.library_dir.clone(),
            plans_dir: self.plans.clone(),
            precision: self.precision.into(),
            // Tools look at pictures from files, which lie in memory of the processor.
            raw_frames: false,
        }
    }
}

/// A backend by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum BackendName {
    /// tract, on every machine.
    Cpu,
    /// onnxruntime, found at run time.
    Ort,
    /// TensorRT on an NVIDIA GPU, found at run time.
    #[value(name = "tensorrt")]
    TensorRt,
}

impl EngineArgs {
    /// Where the bundle lies.
    pub fn source(&self) -> BundleSource {
        Self::source_named(&self.engine)
    }

    /// Where the bundle of that name lies.
    fn source_named(name: &str) -> BundleSource {
        let source = match name {
            DEMO => EngineSource::Demo,
            folder => EngineSource::Folder(folder.into()),
        };
        assets::bundle_source(&source)
    }

    /// The backend.
    pub fn backend(&self) -> Backend {
        match self.backend {
            BackendName::Cpu => Backend::Cpu,
            BackendName::Ort => Backend::Ort,
            BackendName::TensorRt => Backend::TensorRt(self.gpu.gpu()),
        }
    }

    /// Opens `count` engines, each proved by the golden pictures or sharing the proved model. One that
    /// has to be built for the GPU first shows how that goes, since it takes minutes.
    ///
    /// # Errors
    /// As [`engine::open_many`].
    pub fn open(&self, count: usize) -> Result<Vec<Box<dyn Engine>>> {
        let (source, backend) = (self.source(), self.backend());
        let control = BuildControl::default();
        let open = || engine::open_watched(&source, backend, count, &control);
        let opened = match self.backend {
            // Ctrl-C ends a tool at once, as ever: nothing half-built stays.
            BackendName::TensorRt => progress::watched(&control, &Shutdown::manual(), open),
            BackendName::Cpu | BackendName::Ort => open(),
        };
        Ok(opened?)
    }

    /// Opens one engine.
    ///
    /// # Errors
    /// As [`engine::open`].
    pub fn open_one(&self) -> Result<Box<dyn Engine>> {
        self.open(1)?.pop().context("no engine was opened")
    }
}

/// Works on engine bundles
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Action {
    /// Checks a bundle: manifest, hashes, tensors, golden pictures on this machine
    Check(EngineArgs),
    /// Writes the model as an ONNX file: in 16-bit arithmetic, for the pictures of a camera
    Export(export::Args),
    /// Builds a bundle's engine for this machine's GPU, proves it and keeps it
    Build(build::Args),
    /// Lists the engines that were built on this machine
    List(build::ListArgs),
    /// Measures the time of an inference: p50, p95, p99, throughput, memory
    Bench(bench::Args),
}

/// # Errors
/// When the bundle is not sound; the message says what is wrong and what to do.
pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.action {
        Action::Check(engine) => check(engine),
        Action::Export(args) => export::run(args),
        Action::Build(args) => build::run(args),
        Action::List(args) => build::list(args),
        Action::Bench(args) => bench::run(args),
    }
}

fn check(engine: &EngineArgs) -> Result<ExitCode> {
    let source = engine.source();
    let bundle = Bundle::load(&source)?;
    let manifest = bundle.manifest();
    println!("{source}: {}", manifest.name);
    println!(
        "  model    {} ({} bytes, {})",
        manifest.model.sha256,
        bundle.model().len(),
        manifest.model.precision
    );
    println!(
        "  input    {}x{} RGB, map {}x{}",
        manifest.input.width,
        manifest.input.height,
        manifest.output.map_width,
        manifest.output.map_height
    );
    println!("  method   {}, preset {}", manifest.method.name, manifest.method.preset);
    println!("  classes  {}", manifest.classes.join(", "));
    println!("  training {} ({})", manifest.training.command, manifest.created_utc);
    println!("  licence  {}", manifest.licence.spdx);
    let mut opened = engine.open_one()?;
    let found = engine::self_check(&mut *opened, &bundle)?;
    machine::backend(&engine.backend()).iter().for_each(|line| println!("  {line}"));
    println!(
        "  golden   {} pictures reproduced: map within {:.2e}, score within {:.2e}, allowed {:.2e}",
        found.pictures, found.map_diff_max, found.score_diff_max, found.diff_allowed
    );
    println!("  speed    {:.1} ms a picture (median)", median_ms(&mut *opened, &bundle)?);
    println!("ok");
    Ok(ExitCode::SUCCESS)
}

/// Median time of one inference in milliseconds, over the golden pictures in turn. The self-check
/// has warmed the engine up.
fn median_ms(engine: &mut dyn Engine, bundle: &Bundle) -> Result<f64> {
    let spec = engine.spec();
    let mut map = AnomalyMap::unwritten(spec.map_width, spec.map_height);
    let mut times = Vec::with_capacity(SPEED_RUNS);
    for case in bundle.golden().cases().iter().cycle().take(SPEED_RUNS) {
        let started = RealClock.now();
        engine.infer(&case.image, &mut map)?;
        times.push(RealClock.now().since(started).as_ms());
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

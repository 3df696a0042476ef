//! `crrd engine build` and `crrd engine list`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};

use super::camera::CameraArgs;
use super::progress::watched;
use super::{EngineArgs, GpuArgs};
use crate::engine::bundle::Bundle;
use crate::engine::tensorrt::{self, BuildControl, Target, TensorRt};
use crate::sys::clock::{Clock, RealClock};
use crate::sys::shutdown::Shutdown;

/// Builds a bundle's engine for this machine's GPU, proves it and keeps it
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Engine bundle: the folder that training wrote, or `demo` for the one inside the program
    #[arg(long, value_name = "DIR")]
    engine: String,
    #[command(flatten)]
    camera: CameraArgs,
    #[command(flatten)]
    gpu: GpuArgs,
}

/// # Errors
/// When TensorRT or the GPU is missing, the model cannot be built, or the engine does not
/// reproduce the golden pictures. Engines that were built before stay as they are.
pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let bundle = Bundle::load(&EngineArgs::source_named(&args.engine))?;
    let frames = args.camera.frames()?;
    let precision = args.gpu.precision.into();
    let target = Target { bundle: &bundle, precision, frames: frames.as_ref() };
    let shutdown = Shutdown::install().context("cannot install the signal handlers")?;
    let control = BuildControl::default();
    let tensorrt = TensorRt::open(args.gpu.library_dir.as_deref())?.controlled_by(control.clone());
    println!("{}: {}", bundle.place(), bundle.manifest().name);
    println!("  library  {}", tensorrt.version());
    if let Some(frames) = &frames {
        println!("  frames   {frames}");
    }
    let started = RealClock.now();
    if tensorrt.device().is_none() {
        // TensorRT for RTX: what it builds here shows that the model can be built, no more.
        let built = watched(&control, &shutdown, || tensorrt.build(target, &BTreeSet::new(), &[]))?;
        let seconds = RealClock.now().since(started).as_ms() / 1e3;
        println!("  built    {} bytes in {seconds:.1} s", built.plan.len());
        println!("not kept: there is no NVIDIA GPU here to run it on");
        return Ok(ExitCode::SUCCESS);
    }
    let key = tensorrt.key(target)?;
    println!("  for      {}", key.describe());
    let (_, record) =
        watched(&control, &shutdown, || tensorrt.build_into(target, &args.gpu.plans))?;
    println!("  built    in {:.1} s", RealClock.now().since(started).as_ms() / 1e3);
    println!(
        "  golden   pictures reproduced within {:.2e}, allowed {:.2e}",
        record.golden_diff_max,
        target.diff_allowed()
    );
    if !record.kept_fp32.is_empty() {
        println!("  32 bits  kept by {}: wrong in 16 on this GPU", record.kept_fp32.join(", "));
    }
    println!("  kept     {}", key.file(&args.gpu.plans).display());
    Ok(ExitCode::SUCCESS)
}

/// Lists the engines that were built on this machine
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Folder of the engines that were built for this GPU
    #[arg(long, value_name = "DIR", default_value = super::PLANS_DIR_DEFAULT)]
    plans: PathBuf,
}

/// # Errors
/// When the folder cannot be read.
pub(super) fn list(args: &ListArgs) -> Result<ExitCode> {
    let found = tensorrt::list(&args.plans).context("no list of engines")?;
    if found.is_empty() {
        println!("no engine was built yet in {}", args.plans.display());
    }
    for plan in &found {
        let says = match &plan.record {
            Ok(record) => record.key.describe(),
            Err(e) => format!("cannot be used: {e}"),
        };
        println!("{} ({:.1} MB): {says}", plan.path.display(), plan.bytes as f64 / 1e6);
    }
    Ok(ExitCode::SUCCESS)
}

//! `crrd engine build` and `crrd engine list`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};

use super::camera::{CameraArgs, words};
use super::progress::watched;
use super::{DEMO, EngineArgs, GpuArgs};
use crate::config::EngineSource;
use crate::engine::bundle::Bundle;
use crate::engine::graph::CameraFrames;
use crate::engine::tensorrt::{self, BuildControl, DeviceInfo, Listed, Target, TensorRt};
use crate::engine::{self, Gpu};
use crate::frame::Precision;
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

/// The command line that builds what a station with these settings will use.
pub(in crate::cli) fn command(
    engine: &EngineSource,
    gpu: &Gpu,
    frames: Option<&CameraFrames>,
) -> String {
    let engine = match engine {
        EngineSource::Demo => DEMO.to_owned(),
        EngineSource::Folder(folder) => folder.display().to_string(),
    };
    let mut all = vec!["--engine".to_owned(), engine];
    all.extend(["--plans".to_owned(), gpu.plans_dir.display().to_string()]);
    if let Some(folder) = &gpu.library_dir {
        all.extend(["--library-dir".to_owned(), folder.display().to_string()]);
    }
    if gpu.precision != Precision::Fp32 {
        all.extend(["--precision".to_owned(), gpu.precision.name().to_owned()]);
    }
    all.extend(frames.into_iter().flat_map(words));
    let quoted = all.iter().map(|word| match word.contains(char::is_whitespace) {
        true => format!("'{word}'"),
        false => word.clone(),
    });
    format!("crrd engine build {}", quoted.collect::<Vec<_>>().join(" "))
}

/// Lists the engines that were built on this machine
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Folder of the engines that were built for this GPU
    #[arg(long, value_name = "DIR", default_value = super::PLANS_DIR_DEFAULT)]
    plans: PathBuf,
    /// Folder of TensorRT's libraries, when the system's loader does not find them
    #[arg(long, value_name = "DIR")]
    library_dir: Option<PathBuf>,
}

/// # Errors
/// When the folder cannot be read.
pub(super) fn list(args: &ListArgs) -> Result<ExitCode> {
    let found = tensorrt::list(&args.plans).context("no list of engines")?;
    if found.is_empty() {
        println!("no engine was built yet in {}", args.plans.display());
    }
    // Without a GPU nobody knows which of them are out of use.
    let tensorrt = engine::on_gpu(args.library_dir.as_deref()).ok();
    let here = tensorrt.as_ref().and_then(|t| Some((t.version().to_string(), t.device()?.clone())));
    for plan in &found {
        listed(plan, here.as_ref()).iter().for_each(|line| println!("{line}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// The lines about one engine; `here` are the library and the GPU of this machine as they are now.
fn listed(plan: &Listed, here: Option<&(String, DeviceInfo)>) -> Vec<String> {
    let path = plan.path.display();
    let line = |says: &str| format!("{path} ({:.1} MB): {says}", plan.bytes as f64 / 1e6);
    let record = match &plan.record {
        Ok(record) => record,
        Err(e) => return vec![line(&format!("cannot be used: {e}"))],
    };
    let mut lines = vec![line(&record.key.describe())];
    if !record.kept_fp32.is_empty() {
        lines.push(format!("  32 bits  kept by {}", record.kept_fp32.join(", ")));
    }
    let gone = |(library, device): &(String, DeviceInfo)| {
        (library, device) != (&record.key.library, &record.key.device)
    };
    if here.is_some_and(gone) {
        lines.push(format!(
            "  not used: of another library, driver or GPU than this machine has now. Unless you go back to \
             it: rm '{path}'"
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::engine::tensorrt::{PlanKey, PlanRecord};
    use crate::frame::{Geometry, PixelFormat};

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn frames(row_bytes: usize, geometry: Geometry) -> CameraFrames {
        let (format, row_bytes) = (PixelFormat::BayerRG8, Some(row_bytes));
        CameraFrames { format, width: 1920, height: 1200, row_bytes, geometry }
    }

    #[test]
    fn the_list_tells_kept_layers_and_engines_that_are_out_of_use() {
        let device = |driver| DeviceInfo {
            name: "Orin".to_owned(),
            compute_capability: (8, 7),
            driver,
            multiprocessors: 8,
            memory_bytes: 8 << 30,
            tegra_release: None,
        };
        let key = PlanKey {
            model_sha256: "0123456789abcdef".repeat(4),
            library: "TensorRT 10.3.0".to_owned(),
            device: device(12_060),
            precision: Precision::Fp16,
            workspace_bytes_max: 1 << 30,
            frames: None,
            half_sha256: None,
        };
        let kept_fp32 = vec!["head".to_owned(), "stem".to_owned()];
        let record = PlanRecord { key, kept_fp32, golden_diff_max: 0.0 };
        let plan = Listed { path: "plans/a.plan".into(), bytes: 1_500_000, record: Ok(record) };
        let lines = |library: &str, driver| {
            listed(&plan, Some(&(library.to_owned(), device(driver)))).join("\n")
        };
        let used = lines("TensorRT 10.3.0", 12_060);
        assert!(used.contains("(1.5 MB)") && used.contains("kept by head, stem"), "{used}");
        assert!(!used.contains("not used"), "{used}");
        for gone in [lines("TensorRT 10.7.0", 12_060), lines("TensorRT 10.3.0", 13_000)] {
            assert!(gone.contains("not used") && gone.contains("rm 'plans/a.plan'"), "{gone}");
        }
        assert!(!listed(&plan, None).join("").contains("not used"), "nobody knows");
    }

    #[test]
    fn the_command_that_is_shown_builds_exactly_what_the_station_will_use() {
        let all = Geometry { roi: Some([1, 2, 300, 400]), mirror: true, rotate: 90, corners: None };
        for frames in [None, Some(frames(1920, Geometry::WHOLE)), Some(frames(2048, all))] {
            for precision in [Precision::Fp32, Precision::Fp16] {
                let gpu = Gpu {
                    library_dir: frames.map(|_| "/opt/libs".into()),
                    plans_dir: "/var/lib/crrd/plans".into(),
                    precision,
                    raw_frames: true,
                };
                let source = EngineSource::Folder("engines/line1".into());
                let command = command(&source, &gpu, frames.as_ref());
                let words = command.split(' ').skip(2);
                let Line { args } = Line::try_parse_from(words).unwrap();
                assert_eq!(args.engine, "engines/line1");
                assert_eq!(Gpu { raw_frames: true, ..args.gpu.gpu() }, gpu, "{command}");
                let parsed = args.camera.frames().unwrap();
                // Padding that there is none of may be said or not.
                let told =
                    |frames: Option<CameraFrames>| frames.map(|f| (f.to_string(), f.shape()));
                assert_eq!(told(parsed), told(frames), "{command}");
            }
        }
        let gpu = Gpu { plans_dir: "my plans".into(), ..Gpu::default() };
        let shown = command(&EngineSource::Demo, &gpu, None);
        assert_eq!(shown, "crrd engine build --engine demo --plans 'my plans'");
    }
}

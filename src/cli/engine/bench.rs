//! `crrd engine bench`: how long an inference takes on this machine, as it is now.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};

use super::EngineArgs;
use crate::engine::bundle::Bundle;
use crate::engine::tensorrt::TensorRt;
use crate::engine::{self, Backend};
use crate::frame::AnomalyMap;
use crate::sys::clock::{Clock, RealClock};

/// Runs before the measurement: caches, clocks and the GPU's recorded run are warm then.
const WARM_UP_RUNS: usize = 10;

/// Measures the time of an inference: p50, p95, p99, throughput, memory
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    engine: EngineArgs,
    /// Inferences measured
    #[arg(long, value_name = "N", default_value_t = 200,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    runs: u32,
}

/// # Errors
/// When the engine cannot be opened or fails.
pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let source = args.engine.source();
    let bundle = Bundle::load(&source)?;
    if bundle.golden().cases().is_empty() {
        bail!("{source}: the bundle has no golden picture to run");
    }
    let mut opened = engine::open(&source, args.engine.backend())?;
    let spec = opened.spec().clone();
    let mut map = AnomalyMap::unwritten(spec.map_width, spec.map_height);
    let runs = args.runs as usize;
    let mut times = Vec::with_capacity(runs);
    for (at, case) in bundle.golden().cases().iter().cycle().take(WARM_UP_RUNS + runs).enumerate() {
        let started = RealClock.now();
        opened.infer(&case.image, &mut map)?;
        if at >= WARM_UP_RUNS {
            times.push(RealClock.now().since(started).as_ms());
        }
    }
    println!("{source}: {}x{} pixels, batch 1, {runs} runs", spec.input_width, spec.input_height);
    for line in machine(&args.engine.backend()) {
        println!("  {line}");
    }
    let sum_ms: f64 = times.iter().sum();
    times.sort_by(f64::total_cmp);
    println!(
        "  latency  p50 {:.2} ms, p95 {:.2} ms, p99 {:.2} ms, longest {:.2} ms",
        percentile(&times, 50.0),
        percentile(&times, 95.0),
        percentile(&times, 99.0),
        percentile(&times, 100.0)
    );
    println!("  through  {:.1} pictures a second", 1e3 * runs as f64 / sum_ms);
    if let Some(bytes) = status_bytes("VmHWM:") {
        println!("  memory   {:.0} MB of this process at most", bytes as f64 / 1e6);
    }
    Ok(ExitCode::SUCCESS)
}

/// The value that so many percent of the sorted values do not exceed (nearest rank).
fn percentile(sorted: &[f64], percent: f64) -> f64 {
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
}

/// What the figures depend on beside the model.
fn machine(backend: &Backend) -> Vec<String> {
    let mut lines = Vec::new();
    match backend {
        Backend::Cpu => lines.push("backend  tract on one thread".to_owned()),
        Backend::Ort => lines.push("backend  onnxruntime on one thread".to_owned()),
        Backend::TensorRt(gpu) | Backend::Auto(gpu) => {
            if let Ok(tensorrt) = TensorRt::open(gpu.library_dir.as_deref()) {
                let device = tensorrt.device().map_or("none", |device| &device.name);
                lines.push(format!("backend  {} on {device}", tensorrt.version()));
            }
        }
    }
    let cpu = Path::new("/sys/devices/system/cpu/cpu0/cpufreq");
    if let (Some(governor), Some(now_khz)) =
        (word(&cpu.join("scaling_governor")), word(&cpu.join("scaling_cur_freq")))
    {
        lines.push(format!("CPU      governor {governor}, {now_khz} kHz now"));
    }
    // The GPU of a Jetson is one of these; on other machines there is none.
    for entry in std::fs::read_dir("/sys/class/devfreq").into_iter().flatten().flatten() {
        let path = entry.path();
        if let (Some(now), Some(most)) =
            (word(&path.join("cur_freq")), word(&path.join("max_freq")))
        {
            let name = entry.file_name();
            lines.push(format!("clock    {}: {now} of {most} Hz", name.to_string_lossy()));
        }
    }
    lines
}

fn word(path: &Path) -> Option<String> {
    Some(std::fs::read_to_string(path).ok()?.trim().to_owned())
}

/// A line of `/proc/self/status`, in bytes.
fn status_bytes(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(kilobytes.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let sorted: Vec<f64> = (1..=200).map(f64::from).collect();
        let found = [50.0, 95.0, 99.0, 100.0].map(|percent| percentile(&sorted, percent));
        assert_eq!(found, [100.0, 190.0, 198.0, 200.0]);
        assert_eq!(percentile(&[7.0], 50.0), 7.0);
        assert!(status_bytes("VmHWM:").unwrap() > 1_000_000);
    }
}

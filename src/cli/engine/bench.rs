//! `crrd engine bench`: how long an inference takes on this machine, as it is now.

use std::process::ExitCode;

use anyhow::{Context, Result};

use super::trtexec::{self, Measured, Quantiles};
use super::{EngineArgs, machine};
use crate::engine::bundle::Bundle;
use crate::engine::tensorrt::{Target, TensorRt};
use crate::engine::{Backend, Gpu};
use crate::frame::AnomalyMap;
use crate::sys::clock::{Clock, RealClock};

/// Runs before the measurement: caches, clocks and the GPU's recorded run are warm then.
const WARM_UP_RUNS: usize = 10;

/// Measures the time of an inference: p50, p95, p99, throughput, memory
///
/// With --backend tensorrt also what NVIDIA's trtexec measures for the same engine, when it is
/// installed (on PATH or in /usr/src/tensorrt/bin). It keeps the GPU busy without a pause, and
/// copies pictures only before TensorRT 11; ours is one picture at a time, from the picture in
/// memory to the map in memory.
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
    let mut opened = args.engine.open_one()?;
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
    if let Some(bytes) = machine::status_bytes("VmHWM:") {
        println!("  memory   {:.0} MB of this process at most", bytes as f64 / 1e6);
    }
    // The clocks are those after the work: before it they rest.
    for line in machine::lines(&args.engine.backend()) {
        println!("  {line}");
    }
    if let Backend::TensorRt(gpu) = args.engine.backend() {
        // Our engine's memory on the device would be in the way of theirs.
        drop(opened);
        // The figures above stand whatever their program says.
        let lines = compare(&bundle, &gpu).unwrap_or_else(|e| vec![format!("trtexec  {e:#}")]);
        lines.iter().for_each(|line| println!("  {line}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// The value that so many percent of the sorted values do not exceed (nearest rank).
fn percentile(sorted: &[f64], percent: f64) -> f64 {
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
}

/// NVIDIA's own measurement of the same plan, where its program is installed.
fn compare(bundle: &Bundle, gpu: &Gpu) -> Result<Vec<String>> {
    let Some(program) = trtexec::find() else {
        return Ok(vec!["trtexec  is not installed: nothing to compare with".to_owned()]);
    };
    let tensorrt = TensorRt::open(gpu.library_dir.as_deref())?;
    let plan = tensorrt.plan(Target::pictures(bundle, gpu.precision), &gpu.plans_dir)?;
    let plan = plan.context("the engine that was just measured is gone from its folder")?;
    let Measured { latency, compute, per_second } = trtexec::run(&program, &plan)?;
    let line = |what: &str, q: &Quantiles| {
        let Quantiles { p50_ms, p95_ms, p99_ms } = q;
        format!("trtexec  {what}p50 {p50_ms:.2} ms, p95 {p95_ms:.2} ms, p99 {p99_ms:.2} ms")
    };
    Ok(vec![
        line("", &latency),
        line("kernels alone ", &compute),
        format!("trtexec  {per_second:.1} pictures a second"),
    ])
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
    }
}

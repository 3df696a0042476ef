//! NVIDIA's own measurement beside ours: `trtexec` on the same plan, where it is installed.

use std::fs::OpenOptions;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::tool;

/// Its name.
const NAME: &str = "trtexec";
/// Where NVIDIA's packages put it, which is on nobody's `PATH`.
const FOLDER: &str = "/usr/src/tensorrt/bin";
/// Longest run: it loads the plan, warms up and measures for a few seconds.
const RUN_MAX: Duration = Duration::from_secs(120);
/// Percentiles that it is asked for; those of our own report.
const PERCENTILES: &str = "--percentile=50,95,99";

/// What it measured, in milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Measured {
    /// Of an inference with its copies, as far as this version makes any.
    pub(super) latency: Quantiles,
    /// Of the kernels alone.
    pub(super) compute: Quantiles,
    /// Inferences a second, several of them in flight.
    pub(super) per_second: f64,
}

/// Median, 95th and 99th percentile in milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Quantiles {
    pub(super) p50_ms: f64,
    pub(super) p95_ms: f64,
    pub(super) p99_ms: f64,
}

/// Where it is; `None` when it is not installed.
pub(super) fn find() -> Option<PathBuf> {
    tool::find(NAME, &[Path::new(FOLDER)])
}

/// Runs it on a plan as TensorRT wrote it.
///
/// # Errors
/// When the plan cannot be written down, or the program fails or says what cannot be read.
pub(super) fn run(program: &Path, plan: &[u8]) -> Result<Measured> {
    // Nobody else can guess it, and so put something there first; removed in any case.
    let name = RandomState::new().hash_one(std::process::id());
    let file =
        Removed::new(std::env::temp_dir().join(format!("crrd-bench-{name:016x}.plan")), plan)?;
    let engine = format!("--loadEngine={}", file.0.display());
    let said = tool::run(program, &[&engine, "--useCudaGraph", PERCENTILES], RUN_MAX)?;
    parse(&said)
}

/// A file that goes with its owner.
struct Removed(PathBuf);

impl Removed {
    /// A new file that only its owner reads.
    ///
    /// # Errors
    /// When it cannot be written, or anything is there already: a link would lead to a file of somebody.
    fn new(path: PathBuf, bytes: &[u8]) -> Result<Self> {
        let cannot = || format!("cannot write {}", path.display());
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).create_new(true).mode(0o600).open(&path).with_context(cannot)?;
        let written = file.write_all(bytes).with_context(cannot);
        let this = Self(path);
        written.map(|()| this)
    }
}

impl Drop for Removed {
    fn drop(&mut self) {
        // One that is not there needs no removal.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Reads the performance summary: lines of a time stamp, a level, a name and its figures.
///
/// # Errors
/// When a line or figure is missing or no number.
fn parse(said: &str) -> Result<Measured> {
    let line = |name: &str| {
        let found = said.lines().find_map(|line| {
            // "H2D Latency: ..." is another line than "Latency: ...".
            let text = line.rsplit_once("[I] ").map_or(line, |(_, text)| text);
            text.trim().strip_prefix(name)?.strip_prefix(": ")
        });
        found.with_context(|| format!("{NAME} gave no line `{name}`"))
    };
    let throughput = line("Throughput")?;
    Ok(Measured {
        latency: quantiles(line("Latency")?)?,
        compute: quantiles(line("GPU Compute Time")?)?,
        per_second: number(throughput, "", " qps")?,
    })
}

fn quantiles(line: &str) -> Result<Quantiles> {
    let at = |percent: u32| number(line, &format!("percentile({percent}%) = "), " ms");
    Ok(Quantiles { p50_ms: at(50)?, p95_ms: at(95)?, p99_ms: at(99)? })
}

/// The number between these two texts.
fn number(line: &str, before: &str, behind: &str) -> Result<f64> {
    let found = line.split_once(before).and_then(|(_, rest)| rest.split_once(behind));
    let value = found.and_then(|(number, _)| number.trim().parse::<f64>().ok());
    match value.filter(|value| value.is_finite() && *value > 0.0) {
        Some(value) => Ok(value),
        None => bail!("{NAME} gave no number `{before}`: {line}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In the format of `samples/common/sampleReporting.cpp`, which TensorRT 10.0 to 11.1 share.
    const SAID: &str = "\
&&&& RUNNING TensorRT.trtexec [TensorRT v100300] # trtexec --loadEngine=/tmp/a.plan
[11/26/2026-10:00:00] [I] === Performance summary ===
[11/26/2026-10:00:00] [I] Throughput: 1187.45 qps
[11/26/2026-10:00:00] [I] Latency: min = 0.8125 ms, max = 1.90625 ms, mean = 0.862 ms, median = 0.85 ms, percentile(50%) = 0.85 ms, percentile(95%) = 0.91 ms, percentile(99%) = 1.2e+00 ms
[11/26/2026-10:00:00] [I] Enqueue Time: min = 0.004 ms, max = 0.09 ms, mean = 0.006 ms, median = 0.005 ms, percentile(50%) = 0.005 ms, percentile(95%) = 0.007 ms, percentile(99%) = 0.02 ms
[11/26/2026-10:00:00] [I] H2D Latency: min = 0.01 ms, max = 0.1 ms, mean = 0.02 ms, median = 0.02 ms, percentile(50%) = 0.02 ms, percentile(95%) = 0.03 ms, percentile(99%) = 0.04 ms
[11/26/2026-10:00:00] [I] GPU Compute Time: min = 0.79 ms, max = 1.8 ms, mean = 0.83 ms, median = 0.82 ms, percentile(50%) = 0.82 ms, percentile(95%) = 0.88 ms, percentile(99%) = 1.1 ms
[11/26/2026-10:00:00] [I] D2H Latency: min = 0.005 ms, max = 0.05 ms, mean = 0.01 ms, median = 0.01 ms, percentile(50%) = 0.01 ms, percentile(95%) = 0.01 ms, percentile(99%) = 0.02 ms
[11/26/2026-10:00:00] [I] Total Host Walltime: 3.002 s
[11/26/2026-10:00:00] [I] Latency: the summation of H2D Latency, GPU Compute Time, and D2H Latency.
&&&& PASSED TensorRT.trtexec [TensorRT v100300] # trtexec --loadEngine=/tmp/a.plan
";

    #[test]
    fn the_summary_is_read() {
        let found = parse(SAID).unwrap();
        assert_eq!(found.per_second, 1187.45);
        assert_eq!(found.latency, Quantiles { p50_ms: 0.85, p95_ms: 0.91, p99_ms: 1.2 });
        assert_eq!(found.compute, Quantiles { p50_ms: 0.82, p95_ms: 0.88, p99_ms: 1.1 });
    }

    /// A program in its place: answers the summary when it is given the plan.
    #[test]
    fn the_program_is_given_the_plan_which_is_gone_afterwards() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (program, summary, given) =
            (dir.path().join(NAME), dir.path().join("summary"), dir.path().join("given"));
        std::fs::write(&summary, SAID).unwrap();
        let script = format!(
            "#!/bin/sh\nf=${{1#--loadEngine=}}\necho \"$f\" > {}\n[ \"$(cat \"$f\")\" = plan ] && cat {}\n",
            given.display(),
            summary.display()
        );
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!(run(&program, b"plan").unwrap(), parse(SAID).unwrap());
        let given = std::fs::read_to_string(given).unwrap();
        assert!(!Path::new(given.trim()).exists(), "{given}");
        assert!(run(&program, b"another").is_err(), "a program that fails is an error");
    }

    #[test]
    fn a_link_in_the_place_of_the_plan_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (victim, link) = (dir.path().join("victim"), dir.path().join("link"));
        std::fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, &link).unwrap();
        assert!(Removed::new(link.clone(), b"plan").is_err());
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
        assert!(link.is_symlink(), "what is not ours stays");
    }

    #[test]
    fn a_summary_that_is_none_is_an_error_and_no_figure() {
        let without = |line: &str| SAID.replace(line, "");
        for (said, names) in [
            (String::new(), "Throughput"),
            (without("[I] Latency: min"), "Latency"),
            (without("[I] GPU Compute Time: min"), "GPU Compute Time"),
            (without("percentile(99%) = 1.1 ms"), "percentile(99%)"),
            (SAID.replace("1187.45", "inf"), "no number"),
            (SAID.replace("0.85 ms, percentile(95%)", "? ms, percentile(95%)"), "percentile(50%)"),
        ] {
            let error = format!("{:#}", parse(&said).unwrap_err());
            assert!(error.contains(names), "{error}");
        }
    }
}

//! `crrd calibrate`: from good parts to certified limits, bound to one engine.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use super::assets;
use super::engine::EngineArgs;
use super::geometry;
use super::workers::Workers;
use crate::calibrate::{
    Bound, Calibration, CertifyError, ClassLimit, FORMAT, certify, most_suspicious, parts_needed,
};
use crate::config::{CalibrationSource, Framings};
use crate::engine::ModelSpec;
use crate::evaluate::{ClassDir, GOOD, class_dirs, pictures};
use crate::frame::Framing;
use crate::sys::clock::{Clock, RealClock};
use crate::sys::{fs, hash};

/// Exit code when a class could not be certified.
const EXIT_LEFT_OUT: u8 = 1;

/// Certifies the pass limit of each product class from pictures of good parts
///
/// The promise, for any distribution of scores: with the stated confidence the limit rejects at
/// most a fraction ALPHA of the good parts. A class with too few parts is told how many more it
/// needs and is left out of the file. Exit code 0 when every class is certified, 1 when one was
/// left out (the others are written), 2 for an error.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    engine: EngineArgs,
    /// Folder with CLASS/calibration/good, CLASS/test/good or CLASS/train/good
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Largest share of good parts that may be rejected
    #[arg(long, value_name = "FRACTION", default_value_t = 0.01)]
    alpha: f64,
    /// How sure that promise must be
    #[arg(long, value_name = "FRACTION", default_value_t = 0.95)]
    confidence: f64,
    /// Calibration file to write; an existing one is replaced at once and becomes `previous`
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Which good parts [default: calibration where present, else train with a warning]
    #[arg(long, value_name = "NAME")]
    split: Option<Split>,
    /// The station's configuration: pictures are cut, turned and rectified as `camera.geometry`
    /// says and seen in the tiles of the recipe, which the limits remember [default: whole pictures
    /// at once]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only these classes
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    classes: Option<Vec<String>>,
    /// Who answers for the limits [default: the user's name]
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
    /// Why the limits are made
    #[arg(long, value_name = "TEXT", default_value = "calibrated on good parts")]
    reason: String,
    /// Id of the calibration that this one replaces [default: that of the file replaced]
    #[arg(long, value_name = "ID")]
    previous: Option<String>,
    /// Good parts with the highest scores to show: look at them, a bad one raises the limit
    #[arg(long, value_name = "K", default_value_t = 3)]
    show: usize,
    /// Engines that work side by side [default: one per core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

/// The folders that good parts are taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Split {
    /// CLASS/calibration/good
    #[value(name = "calibration", alias = "calibration/good")]
    Calibration,
    /// CLASS/test/good
    #[value(name = "test", alias = "test/good")]
    Test,
    /// CLASS/train/good
    #[value(name = "train", alias = "train/good")]
    Train,
    /// All of them
    #[value(name = "all")]
    All,
}

impl Split {
    fn folders(self) -> &'static [&'static str] {
        match self {
            Split::Calibration => &["calibration"],
            Split::Test => &["test"],
            Split::Train => &["train"],
            Split::All => &["calibration", "test", "train"],
        }
    }

    /// Whether the model has seen parts of this split in training.
    fn is_seen(self) -> bool {
        matches!(self, Split::Train | Split::All)
    }
}

/// # Errors
/// When the engine or the data cannot be read, no class can be certified, or the file cannot be
/// written.
pub fn run(args: &Args) -> Result<ExitCode> {
    // Wrong fractions are an error now, not after minutes of inference.
    let needed = parts_needed(args.alpha, args.confidence)?;
    let dirs = class_dirs(&args.data, args.classes.as_deref())?;
    let framings = Framings::of_file(args.config.as_deref())?;
    let sources =
        dirs.iter().map(|d| source(d, args.split, &framings)).collect::<Result<Vec<Source>>>()?;
    warn_if_seen(&sources);
    let mut workers = Workers::open(&args.engine, args.threads)?;
    let mut limits = BTreeMap::new();
    let mut left_out = Vec::new();
    for source in &sources {
        geometry::check_size(&source.framing, workers.spec())?;
        let found = measure(&mut workers, source)?;
        match limit(&found, source.framing, args.alpha, args.confidence) {
            Ok(limit) => {
                print!("{}", describe(source, &found, &limit, args.show));
                limits.insert(source.class.clone(), limit);
            }
            Err(why) => {
                println!("{}: {} good parts: {why}", source.class, source.files.len());
                left_out.push(source.class.clone());
            }
        }
    }
    if limits.is_empty() {
        bail!(
            "no class can be certified, nothing was written: at least {needed} good parts of a \
             class are needed for alpha {} at confidence {}",
            args.alpha,
            args.confidence
        );
    }
    write(args, workers.spec(), limits)?;
    if left_out.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("left out, so every part is INVALID until calibrated: {}", left_out.join(", "));
    Ok(ExitCode::from(EXIT_LEFT_OUT))
}

/// The good parts of a class.
struct Source {
    class: String,
    split: Split,
    files: Vec<PathBuf>,
    framing: Framing,
}

fn source(dir: &ClassDir, split: Option<Split>, framings: &Framings) -> Result<Source> {
    let has = |folder: &str| dir.path.join(folder).join(GOOD).is_dir();
    let split = split.unwrap_or(if has("calibration") { Split::Calibration } else { Split::Train });
    let mut files = Vec::new();
    for folder in split.folders().iter().filter(|f| has(f)) {
        files.extend(pictures(&dir.path.join(folder).join(GOOD))?);
    }
    if files.is_empty() {
        bail!(
            "{}: no pictures of good parts in {}; choose another --split",
            dir.path.display(),
            split.folders().iter().map(|f| format!("{f}/{GOOD}")).collect::<Vec<_>>().join(", ")
        );
    }
    let framing = framings.of_class(&dir.name);
    Ok(Source { class: dir.name.clone(), split, files, framing })
}

fn warn_if_seen(sources: &[Source]) {
    let seen: Vec<&str> =
        sources.iter().filter(|s| s.split.is_seen()).map(|s| s.class.as_str()).collect();
    if seen.is_empty() {
        return;
    }
    eprintln!(
        "warning: {}: the limits come from parts that the model was trained on. It answers lower \
         for those than for new ones, so more good parts may be rejected than alpha promises. \
         Honest limits come from parts it has not seen: put them in CLASS/calibration/good, or use \
         --split test.",
        seen.join(", ")
    );
}

/// What the engine said of the good parts, in file order.
struct Measured {
    scores: Vec<f32>,
    map_maxima: Vec<f32>,
    dataset_sha256: String,
    names: Vec<String>,
}

fn measure(workers: &mut Workers, source: &Source) -> Result<Measured> {
    let answers = workers.run(&source.class, (&source.files, &source.framing), |at, _, map| {
        Ok((map.score, map.max(), hash::sha256_file_hex(&source.files[at])?))
    })?;
    let names: Vec<String> = source.files.iter().map(|f| short_name(f)).collect();
    let mut listing = String::new();
    for (name, (_, _, sha256)) in names.iter().zip(&answers) {
        let _ = writeln!(listing, "{sha256}  {name}");
    }
    Ok(Measured {
        scores: answers.iter().map(|a| a.0).collect(),
        map_maxima: answers.iter().map(|a| a.1).collect(),
        dataset_sha256: hash::sha256_hex(listing.as_bytes()),
        names,
    })
}

/// `SPLIT/good/NAME`: the same on every machine.
fn short_name(file: &Path) -> String {
    let parts: Vec<String> =
        file.components().map(|c| c.as_os_str().to_string_lossy().into_owned()).collect();
    parts[parts.len().saturating_sub(3)..].join("/")
}

fn limit(
    found: &Measured,
    framing: Framing,
    alpha: f64,
    confidence: f64,
) -> Result<ClassLimit, CertifyError> {
    let Bound { k, limit: image_threshold } = certify(&found.scores, alpha, confidence)?;
    let pixel = certify(&found.map_maxima, alpha, confidence)?;
    let mut scores = found.scores.clone();
    scores.sort_by(f32::total_cmp);
    Ok(ClassLimit {
        image_threshold,
        pixel_threshold: pixel.limit,
        n: scores.len() as u32,
        k,
        dataset_sha256: found.dataset_sha256.clone(),
        scores,
        geometry: framing.geometry,
        tiling: framing.tiling,
    })
}

fn describe(source: &Source, found: &Measured, limit: &ClassLimit, show: usize) -> String {
    let median = limit.scores[limit.scores.len() / 2];
    let mut out = format!(
        "{}: limit {:.5} from {} good parts ({} above it, median score {median:.5})\n",
        source.class, limit.image_threshold, limit.n, limit.k
    );
    if !source.framing.is_whole() {
        let _ = writeln!(out, "  of each picture the model saw {}", source.framing);
    }
    for at in most_suspicious(&found.scores, show) {
        let _ = writeln!(out, "  look at {:.5}  {}", found.scores[at], found.names[at]);
    }
    out
}

fn write(args: &Args, engine: &ModelSpec, class: BTreeMap<String, ClassLimit>) -> Result<()> {
    let calibration = Calibration {
        format: FORMAT,
        engine_sha256: engine.sha256.clone(),
        precision: engine.precision,
        created_utc: RealClock.wall_utc_rfc3339(),
        author: args.author.clone().unwrap_or_else(user),
        reason: args.reason.clone(),
        previous: args.previous.clone().or_else(|| id_of(&args.out)),
        alpha: args.alpha,
        confidence: args.confidence,
        class,
    };
    let text = calibration.to_toml().context("the calibration is not valid")?;
    if let Some(dir) = args.out.parent().filter(|d| !d.as_os_str().is_empty()) {
        fs::ensure_dir(dir)?;
    }
    fs::write_atomic(&args.out, text.as_bytes())?;
    println!(
        "wrote {}: calibration {}, {} classes, engine {:.8} in {}",
        args.out.display(),
        calibration.id()?,
        calibration.class.len(),
        engine.sha256,
        engine.precision
    );
    Ok(())
}

/// The id of the calibration that is about to be replaced, when there is a readable one.
fn id_of(file: &Path) -> Option<String> {
    let replaced = assets::calibration(&CalibrationSource::File(file.to_owned())).ok()?;
    Some(replaced.id().ok()?.to_string())
}

fn user() -> String {
    let named = |variable| std::env::var(variable).ok().filter(|v| !v.trim().is_empty());
    named("USER").or_else(|| named("LOGNAME")).unwrap_or_else(|| "unknown".to_owned())
}

//! `crrd inspect`: the verdict on picture files, by the station's own judge.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::assets;
use super::engine::{DEMO, EngineArgs};
use super::workers::PICTURE_BYTES_MAX;
use crate::calibrate::{Calibration, ClassLimit};
use crate::config::CalibrationSource;
use crate::engine::ModelSpec;
use crate::evaluate::{Overlay, RunError, Runner};
use crate::frame::{AnomalyMap, Framing, Geometry};
use crate::image::RgbImage;
use crate::judge::{Judge, Mask, Outcome, Question, Reason, Verdict};
use crate::sys::fs;

/// Exit code when a part did not pass.
const EXIT_NOT_PASSED: u8 = 1;

/// Judges picture files and prints the verdicts
///
/// Exit code 0 when every part passes, 1 when one is rejected or invalid (a picture that cannot
/// be read is INVALID, never skipped), 2 for an error.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    engine: EngineArgs,
    /// Calibration file that `crrd calibrate` wrote for this engine, or `demo`
    #[arg(long, value_name = "FILE")]
    calibration: String,
    /// Product class [default: a folder of the picture's path that names one, or the only one]
    #[arg(long, value_name = "NAME")]
    class: Option<String>,
    /// One JSON object a picture instead of text
    #[arg(long)]
    json: bool,
    /// Also write a picture per picture: picture, heat, defect pixels
    #[arg(long, value_name = "DIR")]
    overlays: Option<PathBuf>,
    /// Pictures (PNG, JPEG, BMP, TIFF)
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
}

/// # Errors
/// When the engine or the calibration cannot be used, or a picture's class is not known.
pub fn run(args: &Args) -> Result<ExitCode> {
    let calibration = calibration(&args.calibration)?;
    // Everything that can be wrong with the call is found before the first verdict is printed.
    let mut runner = Runner::new(args.engine.open_one()?);
    let spec = runner.engine().spec().clone();
    calibration
        .check_engine(&spec.sha256, spec.precision)
        .with_context(|| args.calibration.clone())?;
    let classes = args
        .images
        .iter()
        .map(|image| class_of(image, args.class.as_deref(), &calibration, &spec))
        .collect::<Result<Vec<String>>>()?;
    let mut judge = Judge::new(spec.map_width, spec.map_height);
    let mut mask = Mask::empty(spec.map_width, spec.map_height);
    let mut all_passed = true;
    for (image, class) in args.images.iter().zip(&classes) {
        let limit = calibration.limit(class);
        let framing = limit.map_or(Framing::WHOLE, ClassLimit::framing);
        let geometry = framing.geometry;
        let answer = answer(&mut runner, image, &framing)?;
        let verdict = match &answer {
            Answer::Map(_, map) => {
                let question = Question { map, limit, calibration_valid: true, in_time: true };
                judge.set_size(grid_size(&framing, &spec));
                judge.judge(&question, &mut mask)
            }
            Answer::Unusable(_) => Verdict::invalid(Reason::FrameDamaged),
        };
        all_passed &= verdict.outcome() == Outcome::Pass;
        let seen = Seen { image, class, verdict: &verdict, answer: &answer, geometry };
        if args.json {
            println!("{}", serde_json::to_string(&seen.json())?);
        } else {
            print!("{}", seen.text());
        }
        if let (Some(dir), Answer::Map(picture, map)) = (&args.overlays, &answer) {
            draw(dir, image, picture, map, limit)?;
        }
    }
    Ok(if all_passed { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NOT_PASSED) })
}

/// Size of the map that all tiles make.
fn grid_size(framing: &Framing, spec: &ModelSpec) -> (usize, usize) {
    framing.tiling.grid((spec.map_width, spec.map_height)).size()
}

fn calibration(name: &str) -> Result<Calibration> {
    assets::calibration(&match name {
        DEMO => CalibrationSource::Demo,
        file => CalibrationSource::File(file.into()),
    })
}

/// What became of a picture file.
enum Answer {
    Map(RgbImage, AnomalyMap),
    /// Why the picture cannot be judged.
    Unusable(String),
}

fn answer(runner: &mut Runner, image: &Path, framing: &Framing) -> Result<Answer> {
    let bytes = match fs::read_limited(image, PICTURE_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(e) => return Ok(Answer::Unusable(format!("{:#}", anyhow::Error::from(e)))),
    };
    match runner.run(&bytes, framing) {
        Ok((picture, map)) => Ok(Answer::Map(picture, map)),
        Err(e @ RunError::Engine(_)) => Err(e).with_context(|| image.display().to_string()),
        Err(e) => Ok(Answer::Unusable(format!("{:#}", anyhow::Error::from(e)))),
    }
}

/// The class asked for, or the innermost folder of the path that names one, or the only one.
fn class_of(
    image: &Path,
    asked: Option<&str>,
    calibration: &Calibration,
    spec: &ModelSpec,
) -> Result<String> {
    let known =
        |name: &str| calibration.limit(name).is_some() || spec.classes.iter().any(|c| c == name);
    if let Some(class) = asked {
        if known(class) {
            return Ok(class.to_owned());
        }
        bail!("class {class:?} is not known: there are {}", names(calibration));
    }
    let folders = image.parent().into_iter().flat_map(Path::components);
    let guess = folders.rev().find_map(|c| c.as_os_str().to_str().filter(|name| known(name)));
    if let Some(class) = guess {
        return Ok(class.to_owned());
    }
    let mut all = calibration.class.keys();
    match (all.next(), all.next()) {
        (Some(only), None) => Ok(only.clone()),
        _ => bail!(
            "{}: which product class is this? Say --class NAME, one of {}",
            image.display(),
            names(calibration)
        ),
    }
}

fn names(calibration: &Calibration) -> String {
    calibration.class.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// A picture with its verdict, ready to be printed.
struct Seen<'a> {
    image: &'a Path,
    class: &'a str,
    verdict: &'a Verdict,
    answer: &'a Answer,
    geometry: Geometry,
}

/// The JSON line. Regions are in picture pixels.
#[derive(Serialize)]
struct Line<'a> {
    image: String,
    class: &'a str,
    outcome: &'static str,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'a str>,
    score: Option<f32>,
    limit: Option<f32>,
    p_value: f32,
    regions_found: u16,
    regions: Vec<BoxPx>,
}

#[derive(Serialize)]
struct BoxPx {
    x: u32,
    y: u32,
    width: u32,
    height: u32,
    score: f32,
}

impl Seen<'_> {
    fn boxes(&self) -> Vec<BoxPx> {
        let Answer::Map(picture, map) = self.answer else { return Vec::new() };
        let sizes = ((map.width, map.height), (picture.width, picture.height));
        let regions = self.verdict.regions.as_slice().iter();
        regions
            .map(|r| {
                let area = (r.x, r.y, r.width, r.height);
                let [x, y, width, height] = self.geometry.enclosing(sizes.0, sizes.1, area);
                BoxPx { x, y, width, height, score: r.score }
            })
            .collect()
    }

    fn problem(&self) -> Option<&str> {
        match self.answer {
            Answer::Unusable(why) => Some(why),
            Answer::Map(..) => None,
        }
    }

    fn json(&self) -> Line<'_> {
        let finite = |v: f32| Some(v).filter(|v| v.is_finite());
        Line {
            image: self.image.display().to_string(),
            class: self.class,
            outcome: self.verdict.outcome().name(),
            reason: self.verdict.reason.name(),
            problem: self.problem(),
            score: finite(self.verdict.score),
            limit: finite(self.verdict.limit),
            p_value: self.verdict.p_value,
            regions_found: self.verdict.regions.found,
            regions: self.boxes(),
        }
    }

    fn text(&self) -> String {
        let v = self.verdict;
        let outcome = v.outcome().name();
        let mut out = format!("{outcome:7} {}  {}", self.image.display(), self.class);
        if v.score.is_finite() && v.limit.is_finite() {
            let sign = if v.score <= v.limit { "<=" } else { ">" };
            let _ = write!(out, "  score {:.5} {sign} limit {:.5}", v.score, v.limit);
            let _ = write!(out, "  p {:.4}", v.p_value);
        }
        if !matches!(v.reason, Reason::None | Reason::ScoreAboveLimit) {
            let _ = write!(out, "  {}", reason_text(v.reason));
        }
        if let Some(problem) = self.problem() {
            let _ = write!(out, ": {problem}");
        }
        out.push('\n');
        if v.outcome() == Outcome::Pass {
            return out;
        }
        for b in self.boxes() {
            let BoxPx { x, y, width, height, score } = b;
            let _ = writeln!(out, "        defect {width}x{height} px at ({x}, {y}), {score:.5}");
        }
        let more = usize::from(v.regions.found).saturating_sub(v.regions.as_slice().len());
        if more > 0 {
            let _ = writeln!(out, "        and {more} smaller ones");
        }
        out
    }
}

fn reason_text(reason: Reason) -> &'static str {
    match reason {
        Reason::NotCalibrated => "the class has no limit: run `crrd calibrate` with its good parts",
        Reason::FrameDamaged => "the picture cannot be used",
        Reason::ScoreNotFinite | Reason::MapIncomplete => {
            "the engine's answer is not finite: run `crrd engine check`"
        }
        other => other.name(),
    }
}

/// `DIR/CLASS..NAME.png` from the last three parts of the path, so that equal names of several
/// folders do not overwrite each other.
fn draw(
    dir: &Path,
    image: &Path,
    picture: &RgbImage,
    map: &AnomalyMap,
    limit: Option<&ClassLimit>,
) -> Result<()> {
    let threshold = limit.map(|l| l.pixel_threshold);
    let geometry = limit.map_or(Geometry::WHOLE, |l| l.geometry);
    let overlay = Overlay { picture, geometry, map, threshold, truth: None };
    let png = overlay.png().with_context(|| image.display().to_string())?;
    let plain = image.with_extension("");
    let parts: Vec<String> = plain
        .components()
        .filter_map(|c| match c {
            std::path::Component::Normal(part) => Some(part.to_string_lossy().into_owned()),
            _ => None,
        })
        .collect();
    let name = parts[parts.len().saturating_sub(4)..].join("_");
    fs::ensure_dir(dir)?;
    fs::write_atomic(&dir.join(format!("{name}.png")), &png)?;
    Ok(())
}

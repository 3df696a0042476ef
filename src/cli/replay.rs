//! `crrd replay`: a recording judged again, as a regression test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use serde::Serialize;

use super::assets;
use super::engine::DEMO;
use crate::calibrate::{Calibration, CalibrationId, ClassLimit};
use crate::config::{self, CalibrationSource, EngineSource};
use crate::engine::{self, Backend, Engine, EngineErrorKind, Eye};
use crate::frame::{Framing, ImageView, VIEWS_MAX};
use crate::judge::{Judge, Mask, Outcome, Question, Reason, Verdict, combine};
use crate::message::CLASS_NONE;
use crate::record::{FrameLine, Head, HeadRecipe, Part, PartLine, ReadError, Reading};

/// Differences that are listed; all are counted.
const LISTED_MAX: usize = 100;

/// Judges a recording again and says which parts come out differently
///
/// Score (every bit), verdict and reason of each part that was judged are compared. Exit code 0
/// when all are the same, 1 when one differs, a picture is damaged or there was nothing to compare,
/// 2 for an error. With another engine or calibration than the recording's it is a comparison of
/// the two, and said so.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Recording: a folder with recording.toml, or the folder of recordings when it holds only one
    #[arg(long, value_name = "DIR")]
    recording: PathBuf,
    /// Configuration whose engine and calibration are used
    #[arg(long, value_name = "FILE", conflicts_with_all = ["engine", "calibration"])]
    config: Option<PathBuf>,
    /// Engine bundle, or `demo`; with --calibration
    #[arg(long, value_name = "DIR", requires = "calibration")]
    engine: Option<String>,
    /// Calibration file, or `demo`; with --engine
    #[arg(long, value_name = "FILE", requires = "engine")]
    calibration: Option<String>,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// # Errors
/// When the recording, the engine or the calibration cannot be used.
pub fn run(args: &Args) -> Result<ExitCode> {
    let reading = Reading::open(&only_recording(&args.recording)?)?;
    let (engine, calibration) = sources(args)?;
    let engine = engine::open(&assets::bundle_source(&engine), Backend::Cpu)?;
    let calibration = assets::calibration(&calibration)?;
    let mut bench = Bench::new(engine, calibration, reading.head())?;
    let mut report = bench.report(reading.head());
    reading.parts(|part| report.take(&part, &mut bench))?;
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{}", report.text());
    }
    let passed = report.differ == 0 && report.compared > 0;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The folder itself, or the one recording in it.
fn only_recording(dir: &Path) -> Result<PathBuf> {
    const HEAD: &str = "recording.toml";
    if dir.join(HEAD).is_file() {
        return Ok(dir.to_owned());
    }
    let entries = std::fs::read_dir(dir).with_context(|| dir.display().to_string())?;
    let paths = entries.map(|entry| entry.map(|e| e.path())).collect::<Result<Vec<_>, _>>()?;
    let mut found: Vec<PathBuf> = paths.into_iter().filter(|p| p.join(HEAD).is_file()).collect();
    found.sort();
    match found.as_slice() {
        [only] => Ok(only.clone()),
        [] => bail!("{}: no recording here (no {HEAD})", dir.display()),
        [first, ..] => bail!(
            "{} holds {} recordings: name one, for example {}",
            dir.display(),
            found.len(),
            first.display()
        ),
    }
}

fn sources(args: &Args) -> Result<(EngineSource, CalibrationSource)> {
    match (&args.config, &args.engine, &args.calibration) {
        (Some(file), _, _) => {
            let config = config::load(file)?;
            Ok((config.engine, config.calibration))
        }
        (None, Some(engine), Some(calibration)) => Ok((
            match engine.as_str() {
                DEMO => EngineSource::Demo,
                folder => EngineSource::Folder(folder.into()),
            },
            match calibration.as_str() {
                DEMO => CalibrationSource::Demo,
                file => CalibrationSource::File(file.into()),
            },
        )),
        _ => bail!("name what judges: --config FILE, or --engine DIR and --calibration FILE"),
    }
}

/// What judges, as the station does: the same preprocessing, engine and judge.
struct Bench {
    eye: Eye,
    calibration: Calibration,
    calibration_id: CalibrationId,
    recipes: Vec<HeadRecipe>,
    /// Names of the cameras; one without a name when there was one only.
    cameras: Vec<String>,
    judge: Judge,
    mask: Mask,
}

impl Bench {
    fn new(engine: Box<dyn Engine>, calibration: Calibration, head: &Head) -> Result<Self> {
        let spec = engine.spec();
        calibration.check_engine(&spec.sha256, spec.precision)?;
        Ok(Self {
            calibration_id: calibration.id()?,
            calibration,
            recipes: head.recipe.clone(),
            cameras: match head.camera.as_slice() {
                [] => vec![String::new()],
                several => several.iter().take(VIEWS_MAX).cloned().collect(),
            },
            judge: Judge::new(spec.map_width, spec.map_height),
            mask: Mask::empty(spec.map_width, spec.map_height),
            eye: Eye::new(engine),
        })
    }

    fn report(&self, head: &Head) -> Report {
        let now = Used {
            engine_sha256: self.eye.spec().sha256.clone(),
            calibration: self.calibration_id.to_string(),
        };
        let then = Used {
            engine_sha256: head.engine_sha256.clone(),
            calibration: head.calibration.clone(),
        };
        Report { same_engine: then == now, then, now, ..Report::default() }
    }

    /// The class that a camera sees of a recipe.
    fn class(&self, recipe: u16, camera: usize) -> Option<String> {
        let recipe = self.recipes.iter().find(|known| known.id == recipe)?;
        let own = self.cameras.get(camera).and_then(|name| recipe.views.get(name));
        Some(own.unwrap_or(&recipe.class).clone())
    }

    /// The verdict on a part from the pictures of all its views, as the inspection reaches it.
    fn judge(&mut self, pictures: &[Picture<'_>], line: &PartLine) -> Result<Judged> {
        let mut views = [None; VIEWS_MAX];
        for (camera, picture) in pictures.iter().enumerate().take(VIEWS_MAX) {
            views[camera] = Some(self.judge_view(camera, *picture, line)?);
        }
        let (view, verdict) = combine(&views[..pictures.len().min(VIEWS_MAX)]);
        Ok(Judged { view, verdict, views })
    }

    fn judge_view(
        &mut self,
        camera: usize,
        picture: Picture<'_>,
        line: &PartLine,
    ) -> Result<Verdict> {
        let class = (line.class != CLASS_NONE).then(|| self.class(line.recipe, camera)).flatten();
        let Some(class) = class else { return Ok(Verdict::invalid(Reason::RecipeUnknown)) };
        let limit = self.calibration.limit(&class);
        let framing = limit.map_or(Framing::WHOLE, ClassLimit::framing);
        let prepared = picture.map(|view| self.eye.prepare(&framing, view));
        let Some(Ok(_)) = prepared else { return Ok(Verdict::invalid(Reason::FrameDamaged)) };
        let own = picture.and_then(|view| self.eye.as_is(&framing, &view));
        // Nobody waits for the answer.
        match self.eye.look(own, || true) {
            Ok(_) => {}
            Err(error) if error.kind() == EngineErrorKind::Input => {
                return Ok(Verdict::invalid(Reason::Internal));
            }
            Err(error) => return Err(anyhow!(error).context(format!("part {}", line.part))),
        }
        let map = self.eye.map();
        let question = Question { map, limit, calibration_valid: true, in_time: true };
        self.judge.set_size(self.eye.map_size());
        Ok(self.judge.judge(&question, &mut self.mask))
    }
}

/// A picture as an engine can read it; `None` when it does not fit its bytes.
type Picture<'a> = Option<ImageView<'a>>;

/// What came of a part now.
struct Judged {
    /// The view that decides.
    view: usize,
    verdict: Verdict,
    views: [Option<Verdict>; VIEWS_MAX],
}

/// What judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Used {
    engine_sha256: String,
    calibration: String,
}

/// What came of it.
#[derive(Debug, Default, Serialize)]
struct Report {
    /// The recording's engine and calibration.
    then: Used,
    /// Those of this run.
    now: Used,
    /// False: differences are those of two engines or calibrations.
    same_engine: bool,
    /// Decisions read.
    parts: u64,
    compared: u64,
    same: u64,
    differ: u64,
    /// Not compared, by cause.
    not_compared: BTreeMap<String, u64>,
    /// The first differences.
    differences: Vec<Difference>,
}

/// A part that came out differently.
#[derive(Debug, Serialize)]
struct Difference {
    epoch: u32,
    seq: u32,
    part: String,
    what: String,
}

/// What a decision can be held against.
enum Comparable {
    /// Verdict, reason and score.
    Whole,
    /// The score alone: the part was answered at its deadline.
    Score,
    /// Nothing of it: it came about by what is not in a picture.
    No,
}

fn comparable(line: &PartLine) -> Comparable {
    let live = [
        Reason::Deadline,
        Reason::FrameLost,
        Reason::Engine,
        Reason::Overrun,
        Reason::Internal,
        Reason::NotReady,
        Reason::Unmatched,
    ];
    if !live.iter().any(|reason| reason.name() == line.reason) {
        return Comparable::Whole;
    }
    let deadline = line.reason == Reason::Deadline.name();
    match deadline && f32::from_bits(line.score_bits).is_finite() {
        true => Comparable::Score,
        false => Comparable::No,
    }
}

impl Report {
    fn take(&mut self, part: &Part, bench: &mut Bench) -> Result<()> {
        let line = &part.line;
        self.parts += 1;
        let kind = match comparable(line) {
            Comparable::No => return self.leave_out(&line.reason),
            kind => kind,
        };
        let Some(frames) = of_all_views(line, bench.cameras.len()) else {
            let none = line.frames.is_empty();
            let why = if none { "no picture recorded" } else { "a view not recorded" };
            return self.leave_out(why);
        };
        self.compared += 1;
        let mut bytes = Vec::new();
        for frame in &frames {
            match part.bytes(frame) {
                Ok(read) => bytes.push(read),
                Err(error @ ReadError::Frame { .. }) => {
                    return self.differ(line, error.to_string());
                }
                Err(error) => return Err(error.into()),
            }
        }
        let mut pictures = Vec::new();
        for (frame, bytes) in frames.iter().zip(&bytes) {
            let view = frame.view(bytes).with_context(|| {
                format!("part {}: this program knows no pixel format {}", line.part, frame.format)
            })?;
            pictures.push(view.ok());
        }
        let judged = bench.judge(&pictures, line)?;
        let what = difference(line, &judged, &kind).or_else(|| view_difference(line, &judged));
        match what {
            Some(what) => self.differ(line, what),
            None => {
                self.same += 1;
                Ok(())
            }
        }
    }

    fn leave_out(&mut self, why: &str) -> Result<()> {
        *self.not_compared.entry(why.to_owned()).or_default() += 1;
        Ok(())
    }

    fn differ(&mut self, line: &PartLine, what: String) -> Result<()> {
        self.differ += 1;
        if self.differences.len() < LISTED_MAX {
            let (epoch, seq, part) = (line.epoch, line.seq, line.part.clone());
            self.differences.push(Difference { epoch, seq, part, what });
        }
        Ok(())
    }

    fn text(&self) -> String {
        let mut out = String::new();
        let mut say = |line: String| {
            out.push_str(&line);
            out.push('\n');
        };
        for Difference { epoch, seq, part, what } in &self.differences {
            say(format!("differs  {epoch}/{seq}  {part}  {what}"));
        }
        let more = self.differ.saturating_sub(self.differences.len() as u64);
        if more > 0 {
            say(format!("         and {more} more"));
        }
        if !self.same_engine {
            let (then, now) = (&self.then, &self.now);
            say(format!(
                "a comparison, not a regression test: recorded with engine {:.12} and calibration \
                 {}, judged with engine {:.12} and calibration {}",
                then.engine_sha256, then.calibration, now.engine_sha256, now.calibration
            ));
        }
        let left: Vec<String> =
            self.not_compared.iter().map(|(why, n)| format!("{n} {why}")).collect();
        let left = if left.is_empty() { "none".to_owned() } else { left.join(", ") };
        say(format!(
            "{} parts: {} compared, {} the same, {} differ; not compared: {left}",
            self.parts, self.compared, self.same, self.differ
        ));
        if self.compared == 0 {
            say("nothing was compared: record with pictures first".to_owned());
        }
        out
    }
}

/// The pictures of all cameras, in their order; `None` when one is not there.
fn of_all_views(line: &PartLine, cameras: usize) -> Option<Vec<&FrameLine>> {
    let of = |camera| line.frames.iter().find(|frame| usize::from(frame.camera) == camera);
    (0..cameras).map(of).collect()
}

/// What differs; `None` when nothing does.
fn difference(line: &PartLine, now: &Judged, kind: &Comparable) -> Option<String> {
    let now =
        if line.verdict == Outcome::Test.name() { now.verdict.as_test() } else { now.verdict };
    // Of several views at the deadline some were not looked at: each has its own score.
    let same_score = same_bits(now.score, line.score_bits)
        || (matches!(kind, Comparable::Score) && !line.views.is_empty());
    let same_answer = match kind {
        Comparable::Score => true,
        _ => now.outcome().name() == line.verdict && now.reason.name() == line.reason,
    };
    if same_score && same_answer {
        return None;
    }
    Some(change((&line.verdict, &line.reason, line.score_bits), now))
}

/// What was said then and is said now.
fn change((verdict, reason, score_bits): (&str, &str, u32), now: Verdict) -> String {
    format!(
        "was {verdict} {reason} score {:?}, is {} {} score {:?}",
        f32::from_bits(score_bits),
        now.outcome().name(),
        now.reason.name(),
        now.score
    )
}

/// What one of several views says otherwise than then.
fn view_difference(line: &PartLine, now: &Judged) -> Option<String> {
    let late = line.reason == Reason::Deadline.name();
    if line.view.is_some_and(|view| !late && usize::from(view) != now.view) {
        return Some(format!("view {:?} decided, now {} does", line.view, now.view));
    }
    line.views.iter().find_map(|then| {
        let now = now.views.get(usize::from(then.camera)).copied().flatten()?;
        // What was not looked at in time has no score to compare.
        let timeless = then.reason == Reason::Deadline.name();
        let same_answer = now.outcome().name() == then.verdict && now.reason.name() == then.reason;
        let same = match timeless {
            true => {
                f32::from_bits(then.score_bits).is_nan() || same_bits(now.score, then.score_bits)
            }
            false => same_answer && same_bits(now.score, then.score_bits),
        };
        (!same).then(|| {
            let change = change((&then.verdict, &then.reason, then.score_bits), now);
            format!("view {}: {change}", then.camera)
        })
    })
}

/// One NaN is like another: each says that there is no score.
fn same_bits(now: f32, then: u32) -> bool {
    now.to_bits() == then || (now.is_nan() && f32::from_bits(then).is_nan())
}

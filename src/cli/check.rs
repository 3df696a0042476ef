//! `crrd check`: everything `crrd run` will need, tried without starting. One line a check; the
//! service runs it before each start.

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};

use super::doctor::{self, Depth, Subject};
use super::inference::{self, Inference, Seen};
use super::{assets, cameras, geometry};
use crate::calibrate::Calibration;
use crate::capture::replay::Replay;
use crate::capture::{Camera, Event};
use crate::config::{
    self, CameraSource, Mqtt, Password, Recipe, Trigger, TriggerMode, ValidConfig,
};
use crate::engine::{self, Backend, ModelSpec};
use crate::frame::{CameraId, Frame, Geometry, Pool, Precision};
use crate::sys::clock::{Clock, RealClock};
use crate::sys::{cores, fs};

/// A certificate that ends sooner is warned about, in days: time to renew it without haste.
const EXPIRY_WARN_DAYS: i64 = 30;
/// Longest wait for the first picture to be read, in milliseconds: a slow network drive.
const PICTURE_WAIT_MS: u64 = 30_000;
/// An armed part that waits longer for its picture is warned about, in milliseconds: few lines
/// are so slow.
const ARM_WAIT_WARN_MS: u32 = 2_000;
/// Longest wait for a picture of a camera in milliseconds: one that runs free has sent one by then,
/// and one that is triggered must not hold up the start of the station.
const DEVICE_WAIT_MS: u64 = 2_000;
/// Buffers for that picture; a stream needs more than one.
const DEVICE_BUFFERS: usize = 4;
/// Permission bits of users outside owner and group.
const OTHERS: u32 = 0o007;

/// Checks everything `crrd run` needs, without starting anything.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should be; what was found.
    Ok(String),
    /// The station starts all the same; what is wrong and what to do.
    Warn(String),
    /// The station cannot work; what is wrong and what to do.
    Fail(String),
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was checked.
    pub name: &'static str,
    /// How it ended.
    pub outcome: Outcome,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, text) = match &self.outcome {
            Outcome::Ok(text) => ("ok  ", text),
            Outcome::Warn(text) => ("warn", text),
            Outcome::Fail(text) => ("FAIL", text),
        };
        write!(f, "{word}  {:<12}  {text}", self.name)
    }
}

/// Prints the report; exit code 0 without a `FAIL`, else 1.
///
/// # Errors
/// Never: what is wrong is part of the report.
pub fn run(args: &Args) -> Result<ExitCode> {
    let checks = examine(&args.config);
    for check in &checks {
        println!("{check}");
    }
    let failed = checks.iter().any(|c| matches!(c.outcome, Outcome::Fail(_)));
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Runs all checks; those that need a readable configuration are left out without one.
pub fn examine(file: &Path) -> Vec<Check> {
    let config = match config::load(file) {
        Ok(config) => config,
        Err(error) if error.problems().is_empty() => {
            return vec![Check::of("config", Err(anyhow!(error)))];
        }
        Err(error) => {
            let fail = |problem: &config::Problem| Outcome::Fail(problem.to_string());
            let problems = error.problems().iter();
            return problems.map(|p| Check { name: "config", outcome: fail(p) }).collect();
        }
    };
    let mut checks = vec![Check::of("config", Ok(format!("station {}", config.station)))];
    let engine = engine(&config);
    let spec = engine.as_ref().ok().map(|(spec, _)| spec.clone());
    let tiles = engine
        .as_ref()
        .ok()
        .and_then(|(spec, inference_ms)| super::tiles::check(&config, spec, *inference_ms));
    checks.push(Check::of("engine", engine.map(|(spec, _)| describe(&spec))));
    let (inference, outcome) = Inference::of(&config);
    checks.push(Check { name: "inference", outcome });
    let core = config.inference.core.map(|core| {
        // Tried, not only looked up: the unit's filter of system calls may forbid it.
        inference::core(core, cores::allowed(), || cores::try_keep_to(core))
    });
    checks.extend(core.map(|outcome| Check { name: "core", outcome }));
    if let Some(spec) = &spec {
        checks.push(Check::of("recipes", recipes(&config.recipes, spec)));
    }
    checks.extend(tiles.map(|outcome| Check { name: "tiles", outcome }));
    checks
        .push(Check::of("calibration", calibration(&config, spec.as_ref(), inference.precision())));
    let triggers = triggers(&config);
    checks.extend(triggers.map(|outcome| Check { name: "triggers", outcome }));
    checks.extend(all_cameras(&config, &inference));
    checks.push(Check::of("state_dir", state_dir(&config.state_dir)));
    if let Some(record) = &config.record {
        let outcome = match state_dir(&record.folder) {
            Ok(found) => Outcome::Ok(found),
            Err(error) => Outcome::Warn(format!("{error:#}; nothing would be recorded")),
        };
        checks.push(Check { name: "record", outcome });
    }
    let now_unix_s = i64::try_from(RealClock.wall_unix_s()).unwrap_or(i64::MAX);
    let certificates = certificates(&config, now_unix_s);
    checks.extend(certificates.map(|outcome| Check { name: "certificates", outcome }));
    checks.push(Check { name: "broker", outcome: broker(&config) });
    checks
}

impl Outcome {
    /// The same, naming the camera when there are several.
    fn of(self, camera: &config::Camera, cameras: usize) -> Self {
        let named = |text: String| match cameras {
            1 => text,
            _ => format!("{}: {text}", camera.name),
        };
        match self {
            Outcome::Ok(text) => Outcome::Ok(named(text)),
            Outcome::Warn(text) => Outcome::Warn(named(text)),
            Outcome::Fail(text) => Outcome::Fail(named(text)),
        }
    }
}

impl Check {
    fn of(name: &'static str, result: Result<String>) -> Self {
        let outcome = match result {
            Ok(found) => Outcome::Ok(found),
            Err(error) => Outcome::Fail(format!("{error:#}")),
        };
        Self { name, outcome }
    }
}

/// Loads the bundle; this runs the golden pictures. Also the time of one inference in
/// milliseconds, where pictures are seen in tiles.
fn engine(config: &ValidConfig) -> Result<(ModelSpec, f64)> {
    let source = assets::bundle_source(&config.engine);
    let mut engine = engine::open(&source, Backend::Cpu)?;
    let tiled = config.recipes.iter().any(|recipe| !recipe.tiling.is_whole());
    let inference_ms = if tiled { super::tiles::inference_ms(&mut *engine)? } else { 0.0 };
    Ok((engine.spec().clone(), inference_ms))
}

fn describe(spec: &ModelSpec) -> String {
    format!(
        "{} product classes, {}x{} pixels, sha256 {:.12}; golden pictures reproduced",
        spec.classes.len(),
        spec.input_width,
        spec.input_height,
        spec.sha256
    )
}

fn recipes(recipes: &[Recipe], spec: &ModelSpec) -> Result<String> {
    let unknown: Vec<_> = classes(recipes)
        .filter(|(_, class)| !spec.classes.contains(class))
        .map(|(recipe, class)| named(recipe, class))
        .collect();
    if unknown.is_empty() {
        let all = classes(recipes).map(|(recipe, class)| named(recipe, class));
        return Ok(all.collect::<Vec<_>>().join(", "));
    }
    Err(anyhow!(
        "the engine does not know the class of {}; it knows {}: mend [[recipe]], or train an \
         engine with it",
        unknown.join(", "),
        spec.classes.join(", ")
    ))
}

/// Each recipe with its classes: one, and those of the views that have their own.
fn classes(recipes: &[Recipe]) -> impl Iterator<Item = (&Recipe, &String)> {
    recipes.iter().flat_map(|recipe| {
        let all = std::iter::once(&recipe.class).chain(recipe.views.values());
        all.map(move |class| (recipe, class))
    })
}

fn named(recipe: &Recipe, class: &str) -> String {
    format!("recipe {} ({class})", recipe.id.0)
}

/// `precision` is the arithmetic that the station will compute in.
fn calibration(
    config: &ValidConfig,
    spec: Option<&ModelSpec>,
    precision: Precision,
) -> Result<String> {
    let calibration = assets::calibration(&config.calibration)?;
    let Some(spec) = spec else {
        // Never said to be fine: whether it fits the engine is the point of the check.
        return Err(anyhow!("undamaged, but not compared: the engine could not be loaded"));
    };
    calibration.check_engine(&spec.sha256, precision)?;
    geometry::check(config, &calibration)?;
    let without: Vec<_> = classes(&config.recipes)
        .filter(|(_, class)| calibration.limit(class).is_none())
        .map(|(recipe, class)| named(recipe, class))
        .collect();
    if !without.is_empty() {
        return Err(anyhow!(
            "no limit for {}: run `crrd calibrate` with good parts of this class",
            without.join(", ")
        ));
    }
    describe_calibration(&calibration)
}

fn describe_calibration(calibration: &Calibration) -> Result<String> {
    Ok(format!(
        "id {:08x}, at most {} % of good parts rejected with {} % confidence",
        calibration.id()?.0,
        calibration.alpha * 100.0,
        calibration.confidence * 100.0
    ))
}

/// Pictures are matched to armed parts first in, first out. With a software trigger the station
/// itself keeps the next one waiting.
fn triggers(config: &ValidConfig) -> Option<Outcome> {
    let Trigger { mode, arm_wait_ms_max: wait_ms, .. } = config.trigger;
    if mode != TriggerMode::Single {
        return None;
    }
    let wait = format!("an armed part waits {wait_ms} ms for its picture");
    Some(if config.cameras.iter().any(|camera| camera.software_trigger) {
        Outcome::Ok(wait)
    } else if wait_ms > ARM_WAIT_WARN_MS {
        Outcome::Warn(format!(
            "{wait}: if two triggers are closer together than that, one that is lost gives every \
             later part the answer of another; set trigger.arm_wait_ms_max to less than the time \
             between two triggers"
        ))
    } else {
        Outcome::Ok(format!("{wait}; two triggers must be further apart"))
    })
}

/// Each camera, then for each what reads its frames.
fn all_cameras(config: &ValidConfig, inference: &Inference<'_>) -> Vec<Check> {
    let named = |name, one, outcome: Outcome| {
        let outcome = outcome.of(one, config.cameras.len());
        Check { name, outcome }
    };
    let mut seen = Vec::with_capacity(config.cameras.len());
    let mut checks: Vec<Check> = Vec::with_capacity(2 * config.cameras.len());
    for one in &config.cameras {
        let (outcome, came) = camera(one, &config.recipes);
        checks.push(named("camera", one, outcome));
        seen.push(came);
    }
    let frames = config.cameras.iter().zip(inference.frames(&seen));
    checks.extend(frames.map(|(one, outcome)| named("frames", one, outcome)));
    checks
}

/// What an engine would be asked to read.
fn seen(frame: &Frame, geometry: &Geometry) -> Seen {
    engine::kind_of(frame, geometry).map_or(Seen::Unreadable, Seen::Frame)
}

/// Lists the folder and reads the first picture as the station would.
fn camera(camera: &config::Camera, recipes: &[Recipe]) -> (Outcome, Seen) {
    let CameraSource::Replay(replay) = &camera.source else {
        return device(camera, recipes);
    };
    let mut options = cameras::replay_options(camera, replay, recipes);
    // The check waits for no trigger.
    options.rate_hz = 0.0;
    let replay = Replay::open(options, Arc::new(RealClock));
    told(first_picture(replay, &camera.geometry))
}

fn told(found: Result<(Outcome, Seen)>) -> (Outcome, Seen) {
    found.unwrap_or_else(|error| (Outcome::Fail(format!("{error:#}")), Seen::Nothing))
}

/// Opens the camera as the station would, and waits a moment for a picture.
fn device(camera: &config::Camera, recipes: &[Recipe]) -> (Outcome, Seen) {
    let opened = cameras::open(camera, CameraId(0), recipes, Arc::new(RealClock));
    let opened = opened.map_err(anyhow::Error::new);
    told(opened.and_then(|opened| one_picture(opened, &camera.geometry)))
}

fn one_picture(mut camera: Box<dyn Camera>, geometry: &Geometry) -> Result<(Outcome, Seen)> {
    const OPENED: &str = "opened, settings applied and read back";
    camera.start(Pool::new(DEVICE_BUFFERS, camera.frame_bytes_max()), 1)?;
    let event = camera.next(RealClock.now().plus_ms(DEVICE_WAIT_MS))?;
    let came = match &event {
        Event::Frame { frame, .. } => seen(frame, geometry),
        _ => Seen::Nothing,
    };
    let outcome = match &event {
        Event::Frame { frame, .. } => {
            let meta = &frame.meta;
            let (width, height, format) = (meta.width, meta.height, meta.format);
            Outcome::Ok(format!("{OPENED}; a picture of {width}x{height} {format} came"))
        }
        Event::Incomplete { why, .. } => Outcome::Warn(format!(
            "{OPENED}; the first picture is damaged ({why:?}): look at cable and bandwidth when \
             that goes on"
        )),
        Event::Idle => Outcome::Warn(format!(
            "{OPENED}; no picture within {} s, which is normal when it is triggered and no part \
             came",
            DEVICE_WAIT_MS / 1000
        )),
        Event::Gone { reason } => Outcome::Fail(format!("{OPENED}; then it was lost: {reason}")),
        Event::End => Outcome::Fail(format!("{OPENED}; it has no pictures")),
    };
    drop(event);
    camera.stop()?;
    Ok((outcome, came))
}

fn first_picture(
    replay: Result<Replay, crate::capture::CameraError>,
    geometry: &Geometry,
) -> Result<(Outcome, Seen)> {
    let mut replay = replay?;
    let files = replay.len();
    replay.start(Pool::new(1, replay.frame_bytes_max()), 1)?;
    let event = replay.next(RealClock.now().plus_ms(PICTURE_WAIT_MS))?;
    replay.stop()?;
    let came = match &event {
        Event::Frame { frame, .. } => seen(frame, geometry),
        _ => Seen::Nothing,
    };
    let outcome = match event {
        Event::Frame { trigger, .. } | Event::Incomplete { trigger, .. }
            if trigger.recipe.is_none() =>
        {
            Outcome::Warn(format!(
                "{files} files, but the first ({}) is in no folder named like a recipe's class: \
                 such parts are INVALID; name the folders like the classes",
                trigger.part
            ))
        }
        Event::Frame { frame, .. } => Outcome::Ok(format!(
            "{files} files, the first has {}x{} pixels",
            frame.meta.width, frame.meta.height
        )),
        Event::Incomplete { trigger, .. } => Outcome::Warn(format!(
            "{files} files, but the first ({}) cannot be read: such parts are INVALID; remove or \
             replace it",
            trigger.part
        )),
        other => Outcome::Fail(format!("no picture came ({other:?}); check the folder's drive")),
    };
    Ok((outcome, came))
}

/// Writes a trial file; a folder that is still missing is tried by its nearest parent.
fn state_dir(dir: &Path) -> Result<String> {
    if dir.exists() {
        fs::check_writable(dir)?;
        return Ok(format!("{} can be written", dir.display()));
    }
    let parent = dir.ancestors().skip(1).find(|p| p.exists());
    let parent = parent.filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::check_writable(parent)
        .with_context(|| format!("{} is missing and cannot be made", dir.display()))?;
    Ok(format!("{} will be made", dir.display()))
}

/// The certificates for the broker: that they can be used, and how long.
fn certificates(config: &ValidConfig, now_unix_s: i64) -> Option<Outcome> {
    let files = assets::tls(&config.mqtt)?;
    let found = files.load().and_then(|_| files.certificates());
    let all = match found {
        Ok(all) => all,
        Err(error) => return Some(Outcome::Fail(format!("{:#}", anyhow!(error)))),
    };
    // The one that ends first decides; certificates of authorities count as well as our own.
    let mut lines = all.iter().map(|c| (c.validity.days_left(now_unix_s), c));
    let early = all.iter().find(|c| c.validity.not_before > now_unix_s);
    let (days, first) = lines.by_ref().min_by_key(|(days, _)| *days)?;
    let (file, validity) = (first.file.display(), first.validity);
    Some(match (early, days) {
        (Some(early), _) => Outcome::Warn(format!(
            "{}: {}, so it is not valid yet: check this machine's clock",
            early.file.display(),
            early.validity
        )),
        (None, ..0) => Outcome::Warn(format!("{file}: {validity}, so it has expired: renew it")),
        (None, ..EXPIRY_WARN_DAYS) => {
            Outcome::Warn(format!("{file}: {validity}, {days} days are left: renew it"))
        }
        (None, _) => Outcome::Ok(format!("{} certificates, {days} days left", all.len())),
    })
}

/// Connects as the station would, under another client id so that a running station keeps its
/// connection. Never a failure but for a missing secret: the station waits for its broker.
fn broker(config: &ValidConfig) -> Outcome {
    let mqtt = &config.mqtt;
    let readable_by_all = secrets(mqtt)
        .into_iter()
        .find(|file| std::fs::metadata(file).is_ok_and(|m| m.permissions().mode() & OTHERS != 0));
    let client_id = format!("{}-check", mqtt.client_id);
    let subject = Subject { mqtt, station: &config.station, client_id };
    let finding = doctor::examine(&subject, Depth::Connect);
    match (finding.is_good(), readable_by_all) {
        (false, _) => Outcome::Warn(format!(
            "{finding}; the station starts and delivers when the broker takes it"
        )),
        (true, Some(file)) => Outcome::Warn(format!(
            "{finding}, but everybody may read {0}: chmod 640 {0}",
            file.display()
        )),
        (true, None) => Outcome::Ok(finding.to_string()),
    }
}

/// Files that hold something nobody else should read.
fn secrets(mqtt: &Mqtt) -> Vec<PathBuf> {
    let password = match &mqtt.password {
        Some(Password::File(file)) => Some(file.clone()),
        _ => None,
    };
    let key = mqtt.tls.iter().filter_map(|tls| tls.client.as_ref()).map(|(_, key)| key.clone());
    password.into_iter().chain(key).collect()
}

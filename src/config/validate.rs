//! The fields of the file, their ranges, defaults and relations. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use toml::de::DeTable;

use super::camera::{Camera, cameras};
use super::inference::inference;
use super::mqtt::mqtt;
use super::problem::ConfigError;
use super::reader::{Findings, Found, Report, Section};
use super::record::record;
use super::sparkplug::sparkplug;
use super::tiles::{check_shared, tiling};
use super::types::{
    CalibrationSource, EngineSource, Journal, Limits, Recipe, SyncMode, Trigger, TriggerMode,
    ValidConfig,
};
use crate::frame::{RecipeId, StationId};
use crate::sys::log::{Format, Level, LogSettings};

/// Where the journal lives unless told otherwise: systemd's `StateDirectory=crrd`.
const STATE_DIR_DEFAULT: &str = "/var/lib/crrd";
/// The word that names the engine and limits inside the program.
const DEMO: &str = "demo";
/// Longest class name, so that a record stays a line.
const CLASS_BYTES_MAX: usize = 64;

/// Pictures of cameras on one trigger line differ by their exposure and transmission.
const WINDOW_MS_DEFAULT: u32 = 50;

/// Lines of the fields that are there, for problems found later.
pub(super) type Lines = BTreeMap<String, usize>;

pub(super) fn validate(file: &Path, text: &str) -> Result<(ValidConfig, Lines), ConfigError> {
    let (config, findings) = examine(file, text);
    match config {
        Some(config) if findings.problems.is_empty() => Ok((config, findings.lines)),
        _ => Err(ConfigError::invalid(findings.problems)),
    }
}

/// The configuration as far as it can be read, and everything found on the way.
pub(super) fn examine(file: &Path, text: &str) -> (Option<ValidConfig>, Findings) {
    let report = Report::new(file, text);
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        for error in errors {
            report.add(error.span(), "", None, error.message(), "mend the TOML syntax");
        }
        // Fields around a syntax error would only bring up misleading problems.
        return (None, report.finish());
    }
    let config = root(Section::root(&report, table.get_ref()), file);
    (config, report.finish())
}

fn root(top: Section<'_>, file: &Path) -> Option<ValidConfig> {
    let station = station(&top);
    let state_dir = top.text("state_dir", &format!("\"{STATE_DIR_DEFAULT}\""));
    let state_dir = top.anchor(state_dir.map_or(STATE_DIR_DEFAULT, |found| found.value));
    let engine = engine(&top);
    let calibration = calibration(&top, engine.as_ref());
    let inference = inference(top.section("inference"));
    let mqtt = mqtt(top.section("mqtt"), station.as_ref());
    let mirrored = top.has("sparkplug");
    let sparkplug = sparkplug(top.section("sparkplug"), mirrored, station.as_ref(), &mqtt);
    let (recipes, views) = recipes(&top);
    let limits = limits(top.section("limits"));
    let trigger = trigger(top.section("trigger"), limits);
    let cameras = cameras(&top, &recipes, trigger.mode);
    check_views(&views, cameras.as_deref());
    let journal = journal(top.section("journal"));
    let recorded = top.has("record");
    let record = record(top.section("record"), recorded);
    let log = log(top.section("log"));
    top.finish();
    Some(ValidConfig {
        file: file.to_owned(),
        station: station?,
        state_dir,
        engine: engine?,
        calibration: calibration?,
        inference,
        mqtt,
        sparkplug,
        recipes,
        cameras: cameras?,
        limits,
        trigger,
        journal,
        record,
        log,
    })
}

fn station(top: &Section<'_>) -> Option<StationId> {
    let found =
        top.text_required("station", "name the station, for example station = \"line1\"")?;
    let station = StationId::new(found.value);
    if station.is_err() {
        let remedy =
            format!("use 1 to {} ASCII letters, digits, '-', '_' or '.'", StationId::BYTES_MAX);
        found.refuse("cannot be one level of an MQTT topic", remedy);
    }
    station.ok()
}

fn engine(top: &Section<'_>) -> Option<EngineSource> {
    let remedy = "name a bundle folder, or \"demo\" for the one inside the program";
    let found = top.text_required("engine", remedy)?;
    match found.value {
        DEMO => Some(EngineSource::Demo),
        "" => {
            found.refuse("empty", remedy);
            None
        }
        folder => Some(EngineSource::Folder(top.anchor(folder))),
    }
}

fn calibration(top: &Section<'_>, engine: Option<&EngineSource>) -> Option<CalibrationSource> {
    let remedy = "name the file that `crrd calibrate` wrote, or \"demo\" with the demo engine";
    let found = top.text_required("calibration", remedy)?;
    match found.value {
        DEMO => {
            if matches!(engine, Some(EngineSource::Folder(_))) {
                found.refuse(
                    "the demo limits belong to the demo engine",
                    "run `crrd calibrate` for your engine and name its file",
                );
            }
            Some(CalibrationSource::Demo)
        }
        "" => {
            found.refuse("empty", remedy);
            None
        }
        file => Some(CalibrationSource::File(top.anchor(file))),
    }
}

/// A view as a recipe names it.
struct NamedView<'a> {
    recipe: RecipeId,
    camera: &'a str,
    class: Found<'a, &'a str>,
}

/// A view must be a camera's; what a recipe says of others would be ignored in silence.
fn check_views(views: &[NamedView<'_>], cameras: Option<&[Camera]>) {
    let Some(cameras) = cameras else { return };
    let names: Vec<&str> = cameras.iter().map(|camera| camera.name.as_str()).collect();
    for NamedView { recipe, camera, class } in views {
        if !names.contains(camera) {
            class.refuse(
                format!("recipe {}: there is no camera {camera:?}", recipe.0),
                format!("use the name of a [[camera]]: {}", names.join(", ")),
            );
        }
    }
}

fn recipes<'a>(top: &Section<'a>) -> (Vec<Recipe>, Vec<NamedView<'a>>) {
    let sections = top.sections("recipe");
    if sections.is_empty() && !top.has("recipe") {
        top.missing("recipe", "add a [[recipe]] table with id and class");
    }
    let mut ids = BTreeSet::new();
    let (mut recipes, mut named) = (Vec::new(), Vec::new());
    let mut seen_in = BTreeMap::new();
    for section in sections {
        let id = section.integer_required("id", 0..=65535, "set the PLC's recipe number");
        let class = section.text_required("class", "name a product class of the engine");
        let views = section.texts("views");
        let tiling = tiling(&section);
        if let Some(id) = id.as_ref().filter(|id| !ids.insert(id.value)) {
            id.refuse("used by another recipe", "give every recipe a number of its own");
        }
        for class in class.iter().chain(views.iter().map(|(_, class)| class)) {
            check_class(class);
            check_shared(&mut seen_in, class, tiling);
        }
        if let (Some(id), Some(class)) = (id, class) {
            let id = RecipeId(id.value as u16);
            let of_view = |(name, class): &(&str, Found<'_, &str>)| {
                ((*name).to_owned(), class.value.to_owned())
            };
            let by_name = views.iter().map(of_view).collect();
            let class = class.value.to_owned();
            recipes.push(Recipe { id, class, views: by_name, tiling });
            let name = |(camera, class)| NamedView { recipe: id, camera, class };
            named.extend(views.into_iter().map(name));
        }
        section.finish();
    }
    (recipes, named)
}

fn check_class(class: &Found<'_, &str>) {
    let name = class.value;
    let length_ok = (1..=CLASS_BYTES_MAX).contains(&name.len());
    if !length_ok || name.chars().any(|c| c.is_control() || c == '/') {
        let remedy = format!("use 1 to {CLASS_BYTES_MAX} bytes without '/' or control characters");
        class.refuse("not a class name", remedy);
    }
}

fn limits(section: Section<'_>) -> Limits {
    let limits = Limits {
        latency_ms_max: section.integer("latency_ms_max", 1..=60_000, 1000) as u32,
        queue_frames: section.integer("queue_frames", 1..=64, 4) as usize,
    };
    section.finish();
    limits
}

fn trigger(section: Section<'_>, limits: Limits) -> Trigger {
    let words = [
        ("continuous", TriggerMode::Continuous),
        ("single", TriggerMode::Single),
        ("stop", TriggerMode::Stop),
    ];
    let trigger = Trigger {
        mode: section.word("mode", &words, 0),
        arm_wait_ms_max: section.integer("arm_wait_ms_max", 10..=600_000, 500) as u32,
        window_ms_max: window(&section, limits),
    };
    section.finish();
    trigger
}

/// The window of several cameras; a part whose last view may come when its answer is due is no use.
fn window(section: &Section<'_>, limits: Limits) -> u32 {
    let default = WINDOW_MS_DEFAULT.to_string();
    let Some(found) = section.integer_optional("window_ms_max", 1..=10_000, &default) else {
        return WINDOW_MS_DEFAULT;
    };
    let window = found.value as u32;
    if window >= limits.latency_ms_max {
        found.refuse(
            "as long as limits.latency_ms_max, so that no part could be answered in time",
            "make it shorter: it is the time between the first and the last picture of one part",
        );
    }
    window
}

fn journal(section: Section<'_>) -> Journal {
    const DAY_S: u64 = 86_400;
    let words = [("full", SyncMode::Full), ("normal", SyncMode::Normal)];
    let journal = Journal {
        sync: section.word("sync", &words, 0),
        bytes_max: section.integer("bytes_max_mb", 16..=1_000_000, 2000) as u64 * 1_000_000,
        age_max: Duration::from_secs(
            section.integer("age_max_days", 1..=36_500, 365) as u64 * DAY_S,
        ),
    };
    section.finish();
    journal
}

fn log(section: Section<'_>) -> LogSettings {
    let levels = [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace]
        .map(|level| (level.as_str(), level));
    let settings = LogSettings {
        level: section.word("level", &levels, 2),
        format: section.word("format", &[("text", Format::Text), ("json", Format::Json)], 0),
    };
    section.finish();
    settings
}

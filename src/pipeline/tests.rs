use std::sync::mpsc;
use std::time::Duration;

use super::*;
use crate::calibrate::{Calibration, ClassLimit, FORMAT, certify};
use crate::capture::Camera;
use crate::capture::replay::{RecipeChoice, Replay, ReplayOptions, Source};
use crate::capture::scripted::{Scripted, Step};
use crate::engine::{EngineError, EngineErrorKind, ModelSpec, ScriptedEngine};
use crate::frame::{AnomalyMap, CameraId, PixelFormat, Precision, RecipeId, StationId, Tiling};
use crate::journal::{self, Journal};
use crate::judge::{Outcome, Reason};
use crate::message::{FLAG_LATE, Mode, VerdictRecord};
use crate::publish;
use crate::sys::clock::RealClock;
use crate::sys::notify::Notify;
use crate::sys::shutdown::Shutdown;
use std::path::Path;
use std::sync::Arc;

pub(super) const SIDE: usize = 8;
pub(super) const GOOD: u8 = 64;
pub(super) const BAD: u8 = 200;
/// The scripted engine panics, fails or takes its time at these grey levels.
pub(super) const PANICS: u8 = 1;
const FAILS: u8 = 2;
pub(super) const SLOW: u8 = 3;
const SLOW_MS: u64 = 120;

pub(super) fn spec() -> ModelSpec {
    ModelSpec {
        input_width: SIDE,
        input_height: SIDE,
        map_width: SIDE,
        map_height: SIDE,
        classes: vec!["bolt".to_owned()],
        sha256: "ab".repeat(32),
        precision: Precision::Fp32,
    }
}

pub(super) fn answer(input: &[u8], map: &mut AnomalyMap) -> Result<(), EngineError> {
    match input[0] {
        PANICS => panic!("scripted panic in the engine"),
        FAILS => return Err(EngineError::new(EngineErrorKind::Backend, "scripted failure")),
        SLOW => std::thread::sleep(Duration::from_millis(SLOW_MS)),
        _ => {}
    }
    map.score = f32::from(input[0]) / 255.0;
    map.values.fill(map.score);
    Ok(())
}

pub(super) fn calibration(limit: f32, engine_sha256: &str) -> Calibration {
    let scores = vec![limit];
    let bound = certify(&scores, 0.5, 0.5).unwrap();
    let class = ClassLimit {
        image_threshold: bound.limit,
        pixel_threshold: limit,
        n: 1,
        k: bound.k,
        dataset_sha256: "cd".repeat(32),
        scores,
        geometry: crate::frame::Geometry::WHOLE,
        tiling: Tiling::WHOLE,
    };
    Calibration {
        format: FORMAT,
        engine_sha256: engine_sha256.to_owned(),
        precision: Precision::Fp32,
        created_utc: "2026-01-01T00:00:00Z".to_owned(),
        author: "test".to_owned(),
        reason: "test".to_owned(),
        previous: None,
        alpha: 0.5,
        confidence: 0.5,
        class: [("bolt".to_owned(), class)].into(),
    }
}

/// Parts with the given camera, no broker, and the decisions of the run.
pub(super) fn parts(dir: &Path, camera: Box<dyn Camera>) -> (Parts, mpsc::Receiver<VerdictRecord>) {
    let (seen_in, seen) = mpsc::channel();
    let broker = Broker {
        host: "127.0.0.1".to_owned(),
        // Nobody listens on the discard port: the line must not care.
        port: 9,
        version: crate::publish::Version::V3_1_1,
        tls: None,
        prefix: "crr".to_owned(),
        client_id: "test".to_owned(),
        credentials: None,
        keep_alive_s: 5,
        binary: None,
        health_s: 10,
        limits: publish::Limits::default(),
    };
    let parts = Parts {
        station: StationId::new("t1").unwrap(),
        cameras: StationCamera::only(camera),
        window_ms_max: 50,
        queue: Queue::Every,
        engine: Box::new(ScriptedEngine::new(spec(), answer)),
        core: None,
        calibration: calibration(0.5, &spec().sha256),
        recipes: vec![Recipe::new(RecipeId(1), "bolt")],
        latency_ms_max: 10_000,
        triggers: Triggers { mode: Mode::Continuous, arm_wait_ms_max: 0, recipe: None },
        queue_frames: 2,
        journal_dir: dir.to_owned(),
        journal_sync: journal::Sync::Normal,
        journal_bytes_max: 1 << 24,
        journal_age_days_max: 0,
        broker,
        recording: None,
        observer: Some(Box::new(move |d: &Decision| seen_in.send(d.record.clone()).unwrap())),
        clock: Arc::new(RealClock),
    };
    (parts, seen)
}

pub(super) fn scripted(steps: impl IntoIterator<Item = Step>) -> Box<dyn Camera> {
    Box::new(Scripted::new(Arc::new(RealClock), (SIDE, SIDE), Some(RecipeId(1)), steps))
}

pub(super) fn run(parts: Parts) -> Result<Summary, PipelineError> {
    Line::start(parts)?.run(&Shutdown::manual(), &Notify::silent())
}

/// Plays the steps; (outcome, reason) of every decision, whose seq must count from 1.
fn decisions(steps: impl IntoIterator<Item = Step>) -> Vec<(Outcome, Reason)> {
    let dir = tempfile::tempdir().unwrap();
    let (parts, seen) = parts(dir.path(), scripted(steps));
    run(parts).unwrap();
    let records: Vec<VerdictRecord> = seen.iter().collect();
    let seqs: Vec<u32> = records.iter().map(|r| r.seq).collect();
    assert_eq!(seqs, (1..=records.len() as u32).collect::<Vec<_>>());
    records.iter().map(|r| (r.verdict.outcome(), r.verdict.reason)).collect()
}

const PASS: (Outcome, Reason) = (Outcome::Pass, Reason::None);
const REJECT: (Outcome, Reason) = (Outcome::Reject, Reason::ScoreAboveLimit);

fn invalid(reason: Reason) -> (Outcome, Reason) {
    (Outcome::Invalid, reason)
}

#[test]
fn every_trigger_ends_in_one_decision_whatever_the_camera_does() {
    let steps = [
        Step::Grey(GOOD),
        Step::Idle,
        Step::Grey(BAD),
        Step::Damaged,
        Step::Skip(3),
        Step::Grey(GOOD),
        Step::Repeat(BAD),
        Step::Gone,
        Step::Grey(GOOD),
        Step::Fail,
        Step::Grey(BAD),
    ];
    let lost = invalid(Reason::FrameLost);
    let damaged = invalid(Reason::FrameDamaged);
    assert_eq!(decisions(steps), [PASS, REJECT, damaged, lost, lost, lost, PASS, PASS, REJECT]);
}

#[test]
fn a_panic_or_an_engine_error_costs_its_part_and_nothing_else() {
    let steps = [GOOD, PANICS, GOOD, FAILS, PANICS, PANICS, BAD].map(Step::Grey);
    let (internal, engine) = (invalid(Reason::Internal), invalid(Reason::Engine));
    assert_eq!(decisions(steps), [PASS, internal, PASS, engine, internal, internal, REJECT]);
}

#[test]
fn panics_in_a_row_end_the_station_with_their_parts_journaled() {
    let dir = tempfile::tempdir().unwrap();
    let (parts, seen) = parts(dir.path(), scripted([PANICS; 5].map(Step::Grey)));
    let error = run(parts).unwrap_err();
    assert_eq!(error.kind(), PipelineErrorKind::Stage);
    assert!(error.to_string().contains("crrd-inspect"), "{error}");
    // Parts that were accepted before the end are answered too, without a look at them.
    let reasons: Vec<Reason> = seen.iter().map(|record| record.verdict.reason).collect();
    assert!((3..=5).contains(&reasons.len()), "{reasons:?}");
    assert_eq!(reasons[..3], [Reason::Internal; 3]);
    assert!(!reasons[3..].contains(&Reason::None), "{reasons:?}");
}

#[test]
fn a_late_answer_is_invalid_and_the_parts_behind_it_are_not_inspected_in_vain() {
    let dir = tempfile::tempdir().unwrap();
    let (mut parts, seen) = parts(dir.path(), scripted([SLOW, GOOD, GOOD].map(Step::Grey)));
    parts.latency_ms_max = SLOW_MS / 2;
    run(parts).unwrap();
    let records: Vec<VerdictRecord> = seen.iter().collect();
    let (late, answers): (Vec<_>, Vec<_>) = records.iter().partition(|r| r.flags & FLAG_LATE != 0);
    let reasons: Vec<Reason> = answers.iter().map(|r| r.verdict.reason).collect();
    assert_eq!(reasons, [Reason::Deadline; 3]);
    assert!(late[0].verdict.score.is_finite(), "the late result is told, as late");
    assert!(late[1].verdict.score.is_nan(), "a part that is late already is not looked at");
    assert!(late.iter().all(|r| r.latency.as_ms() > (SLOW_MS / 2) as f64));
}

#[test]
fn decisions_are_journaled_under_a_new_epoch_at_each_start() {
    let dir = tempfile::tempdir().unwrap();
    for epoch in 1..=2 {
        let (parts, seen) = parts(dir.path(), scripted([GOOD, BAD].map(Step::Grey)));
        let summary = run(parts).unwrap();
        let c = summary.counters;
        assert_eq!((summary.epoch, c.pass, c.reject, c.invalid), (epoch, 1, 1, 0));
        assert!(!summary.delivered, "there is no broker");
        assert!(seen.iter().all(|r| r.epoch == epoch));
    }
    let options = journal::Options {
        sync: journal::Sync::Normal,
        bytes_max: 1 << 24,
        age_days_max: 0,
        notice: |_, _| vec![],
    };
    let (_writer, mut reader, _) = Journal::open(dir.path(), &options).unwrap();
    let rows: Vec<(u32, u32)> =
        reader.after(0, 100).unwrap().iter().map(|r| (r.epoch, r.seq)).collect();
    assert_eq!(rows, [(1, 1), (1, 2), (2, 1), (2, 2)]);
}

/// Points the table of rows at a page that does not exist.
fn damage_journal(dir: &Path) {
    let connection = rusqlite::Connection::open(dir.join("journal.db")).unwrap();
    connection
        .execute_batch(
            "PRAGMA writable_schema = ON;
             UPDATE sqlite_schema SET rootpage = 999999 WHERE name = 'row';
             PRAGMA schema_version = 4242;",
        )
        .unwrap();
}

#[test]
fn a_journal_damaged_in_service_ends_the_station_and_heals_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    // The first part is committed and the damage done before the second one comes.
    let pause = Step::Hang(Duration::from_millis(500));
    let steps = [Step::Grey(GOOD), pause, Step::Grey(GOOD), Step::Grey(GOOD)];
    let (mut broken, _) = parts(dir.path(), scripted(steps));
    let path = dir.path().to_owned();
    broken.observer = Some(Box::new(move |_: &Decision| damage_journal(&path)));
    let error = run(broken).unwrap_err();
    assert_eq!(error.kind(), PipelineErrorKind::Stage);
    assert!(error.to_string().contains("heals at the next start"), "{error}");

    let (healed, seen) = parts(dir.path(), scripted([GOOD].map(Step::Grey)));
    assert_eq!(run(healed).unwrap().epoch, 2, "no (epoch, seq) is used twice");
    assert_eq!(seen.iter().count(), 1);
}

#[test]
fn triggers_faster_than_the_inspection_become_overruns_in_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let frames = dir.path().join("frames");
    std::fs::create_dir(&frames).unwrap();
    for i in 0..12 {
        std::fs::write(frames.join(format!("{i:02}.raw")), [SLOW; SIDE * SIDE]).unwrap();
    }
    let options = ReplayOptions {
        folder: frames,
        source: Source::Raw { width: SIDE, height: SIDE, format: PixelFormat::Mono8 },
        recipe: RecipeChoice::Fixed(RecipeId(1)),
        // Eight times as fast as the scripted engine.
        rate_hz: 8.0 * 1000.0 / SLOW_MS as f64,
        triggered: false,
        repeat: false,
        faults: None,
        camera: CameraId(0),
    };
    let camera = Replay::open(options, Arc::new(RealClock)).unwrap();
    let (mut parts, seen) = parts(&dir.path().join("journal"), Box::new(camera));
    // The engine takes as long as it needs to be the slower one, whatever the machine does.
    let (go_on, waits) = mpsc::channel::<()>();
    parts.engine = Box::new(ScriptedEngine::new(spec(), move |input, map| {
        let _ = waits.recv();
        answer(input, map)
    }));
    parts.latency_ms_max = 600_000;
    let line = Line::start(parts).unwrap();
    let begun = std::time::Instant::now();
    while line.board.camera_health()[0].no_buffer < 4 {
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", line.board.camera_health());
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(go_on);
    line.run(&Shutdown::manual(), &Notify::silent()).unwrap();
    let records: Vec<VerdictRecord> = seen.iter().collect();
    let triggers: Vec<u32> = records.iter().map(|r| r.trigger.0).collect();
    assert_eq!(triggers, (1..=12).collect::<Vec<_>>());
    let overruns = records.iter().filter(|r| r.verdict.reason == Reason::Overrun).count();
    assert!((4..12).contains(&overruns), "{overruns}");
    assert_eq!(records[0].verdict.reason, Reason::None, "the first frame finds a buffer");
}

#[test]
fn a_part_without_a_known_recipe_cannot_pass() {
    let dir = tempfile::tempdir().unwrap();
    for recipe in [None, Some(RecipeId(7))] {
        let camera = Scripted::new(Arc::new(RealClock), (SIDE, SIDE), recipe, [Step::Grey(GOOD)]);
        let (parts, seen) = parts(dir.path(), Box::new(camera));
        run(parts).unwrap();
        assert_eq!(seen.recv().unwrap().verdict.reason, Reason::RecipeUnknown);
    }
}

#[test]
fn a_new_calibration_holds_from_the_next_frame_and_one_of_another_engine_or_arithmetic_never() {
    let dir = tempfile::tempdir().unwrap();
    let steps = (0..200).flat_map(|_| [Step::Grey(GOOD), Step::Idle]);
    let (parts, seen) = parts(dir.path(), scripted(steps));
    let line = Line::start(parts).unwrap();
    let first = seen.recv().unwrap();
    assert_eq!(first.verdict.outcome(), Outcome::Pass);
    let foreign = line.replace_calibration(calibration(0.1, &"00".repeat(32))).unwrap_err();
    assert_eq!(foreign.kind(), PipelineErrorKind::Calibration);
    let limits = calibration(0.1, &spec().sha256);
    let half = Calibration { precision: Precision::Fp16, ..limits.clone() };
    let other = line.replace_calibration(half).unwrap_err();
    assert_eq!(other.kind(), PipelineErrorKind::Calibration);
    let new = line.replace_calibration(limits).unwrap();
    let shutdown = Shutdown::manual();
    let after = seen.iter().find(|r| r.calibration == new).unwrap();
    assert_ne!(first.calibration, new);
    assert_eq!(after.verdict.outcome(), Outcome::Reject);
    shutdown.request();
    line.run(&shutdown, &Notify::silent()).unwrap();
    // Old id with the old limit, new id with the new one, never mixed.
    for r in seen.iter() {
        assert_eq!(r.calibration, new);
        assert_eq!(r.verdict.outcome(), Outcome::Reject);
    }
}

#[test]
fn limits_made_from_pictures_seen_otherwise_are_refused_at_the_start_and_while_it_runs() {
    let dir = tempfile::tempdir().unwrap();
    let limits = || calibration(0.5, &spec().sha256);
    let (mut tiled, _) = parts(dir.path(), scripted([]));
    tiled.calibration = in_these(TILES, limits());
    let error = run(tiled).unwrap_err();
    assert_eq!(error.kind(), PipelineErrorKind::Calibration);
    let (mut mirrored, _) = parts(dir.path(), scripted([]));
    mirrored.cameras[0].geometry.mirror = true;
    assert_eq!(run(mirrored).unwrap_err().kind(), PipelineErrorKind::Calibration);

    let (mut running, seen) = parts(dir.path(), scripted([Step::Grey(GOOD)]));
    running.recipes[0].tiling = TILES;
    running.calibration = in_these(TILES, limits());
    let line = Line::start(running).unwrap();
    let first = seen.recv().unwrap();
    let other = Tiling { columns: 4, ..TILES };
    for tiling in [Tiling::WHOLE, other] {
        let error = line.replace_calibration(in_these(tiling, limits())).unwrap_err();
        assert_eq!(error.kind(), PipelineErrorKind::Calibration);
        let said = error.to_string();
        assert!(said.contains("in 2x2 tiles with overlap 0.25"), "what the recipe wants: {said}");
        assert!(said.contains("recipe 1") && said.contains("crrd calibrate"), "{said}");
    }
    let mut mirrored = in_these(TILES, limits());
    mirrored.class.get_mut("bolt").unwrap().geometry.mirror = true;
    let said = line.replace_calibration(mirrored).unwrap_err().to_string();
    assert!(said.contains("mirror = true"), "{said}");
    assert_eq!(line.board.calibration(), first.calibration, "the old one stays in force");
    let new = in_these(TILES, calibration(0.4, &spec().sha256));
    assert_ne!(line.replace_calibration(new).unwrap(), first.calibration);
    line.run(&Shutdown::manual(), &Notify::silent()).unwrap();
}

#[test]
fn a_station_whose_engine_computes_otherwise_than_its_limits_were_made_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    for (made, computes) in [(Precision::Fp32, Precision::Fp16), (Precision::Fp16, Precision::Fp32)]
    {
        let (mut parts, _) = parts(dir.path(), scripted([]));
        let spec = ModelSpec { precision: computes, ..spec() };
        parts.engine = Box::new(ScriptedEngine::new(spec, answer));
        parts.calibration.precision = made;
        let error = run(parts).unwrap_err();
        assert_eq!(error.kind(), PipelineErrorKind::Calibration);
        let why = std::error::Error::source(&error).unwrap().to_string();
        assert!(why.contains(&format!("made in {made}")) && why.contains("calibrate"), "{why}");
    }
}

#[test]
fn a_station_does_not_start_on_a_foreign_calibration_or_an_unknown_class() {
    let dir = tempfile::tempdir().unwrap();
    let (mut foreign, _) = parts(dir.path(), scripted([]));
    foreign.calibration = calibration(0.5, &"00".repeat(32));
    assert_eq!(run(foreign).unwrap_err().kind(), PipelineErrorKind::Calibration);
    let (mut unknown, _) = parts(dir.path(), scripted([]));
    unknown.recipes[0].class = "nut".to_owned();
    let error = run(unknown).unwrap_err();
    assert_eq!(error.kind(), PipelineErrorKind::Recipe);
    assert!(error.to_string().contains("bolt"), "names what there is: {error}");
}

#[test]
fn a_stop_decides_every_accepted_part() {
    let dir = tempfile::tempdir().unwrap();
    let steps = std::iter::repeat_n(Step::Grey(SLOW), 100);
    let (parts, seen) = parts(dir.path(), scripted(steps));
    let line = Line::start(parts).unwrap();
    seen.recv().unwrap();
    let shutdown = Shutdown::manual();
    shutdown.request();
    let summary = line.run(&shutdown, &Notify::silent()).unwrap();
    let after = seen.iter().count() as u64;
    assert_eq!(summary.counters.parts, after + 1);
    // What waited when the stop came was inspected: buffers of the pool, and no more.
    assert!((1..=5).contains(&after), "{after}");
}

#[test]
fn a_camera_that_hangs_or_panics_does_not_take_decisions_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let hang = Step::Hang(Duration::from_secs(30));
    let (hanging, seen) = parts(dir.path(), scripted([Step::Grey(GOOD), hang]));
    let line = Line::start(hanging).unwrap();
    seen.recv().unwrap();
    let shutdown = Shutdown::manual();
    shutdown.request();
    let error = line.run(&shutdown, &Notify::silent()).unwrap_err();
    assert_eq!(error.kind(), PipelineErrorKind::Shutdown);
    assert!(error.to_string().contains("crrd-capture"), "{error}");

    let (panicking, seen) = parts(dir.path(), scripted([Step::Grey(GOOD), Step::Panic]));
    let error = run(panicking).unwrap_err();
    assert_eq!(error.kind(), PipelineErrorKind::Stage);
    assert!(error.to_string().contains("scripted panic in the camera"), "{error}");
    assert_eq!(seen.iter().count(), 1);
}

/// A camera triggered by nothing but time: pictures of these levels, some milliseconds apart.
fn paced(levels: &[u8], every_ms: u64) -> Box<dyn Camera> {
    let pause = Step::Hang(Duration::from_millis(every_ms));
    scripted(levels.iter().flat_map(|&level| [Step::Grey(level), pause.clone()]))
}

#[test]
fn a_preview_looks_at_the_newest_picture_and_answers_the_ones_it_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let mut levels = vec![SLOW; 9];
    levels.push(GOOD);
    let (mut parts, seen) = parts(dir.path(), paced(&levels, SLOW_MS / 8));
    parts.queue = Queue::Latest;
    let line = Line::start(parts).unwrap();
    let board = Arc::clone(&line.board);
    line.run(&Shutdown::manual(), &Notify::silent()).unwrap();
    let records: Vec<VerdictRecord> = seen.iter().collect();
    let triggers: Vec<u32> = records.iter().map(|r| r.trigger.0).collect();
    assert_eq!(triggers, (1..=10).collect::<Vec<_>>(), "each part has its answer, in order");
    let reasons: Vec<Reason> = records.iter().map(|r| r.verdict.reason).collect();
    assert_eq!((reasons[0], reasons[9]), (Reason::None, Reason::None), "{reasons:?}");
    assert!(reasons[1..9].iter().all(|r| matches!(r, Reason::None | Reason::Overrun)));
    let replaced = reasons.iter().filter(|r| **r == Reason::Overrun).count();
    assert!(replaced >= 4, "the engine takes as long as eight pictures: {reasons:?}");
    assert_eq!(board.camera_health()[0].replaced, replaced as u64);
}

/// The events in the journal of an ended station.
pub(super) fn events(dir: &Path) -> Vec<String> {
    let options = journal::Options {
        sync: journal::Sync::Normal,
        bytes_max: 1 << 24,
        age_days_max: 0,
        notice: |_, _| vec![],
    };
    let (_writer, mut reader, _) = Journal::open(dir, &options).unwrap();
    let rows = reader.after(0, 1_000).unwrap();
    let events = rows.into_iter().filter(|row| row.kind == journal::RowKind::Event);
    events.map(|row| String::from_utf8(row.payload).unwrap()).collect()
}

const TILES: Tiling = Tiling { columns: 2, rows: 2, overlap: 0.25 };

/// The same limits, made from pictures in these tiles.
fn in_these(tiling: Tiling, mut calibration: Calibration) -> Calibration {
    calibration.class.values_mut().for_each(|limit| limit.tiling = tiling);
    calibration
}

/// A part of one grey level in four tiles, judged with this much time.
fn in_tiles(grey: u8, latency_ms_max: u64) -> (Outcome, Reason, f32) {
    let dir = tempfile::tempdir().unwrap();
    let (mut parts, seen) = parts(dir.path(), scripted([Step::Grey(grey)]));
    parts.latency_ms_max = latency_ms_max;
    parts.recipes[0].tiling = TILES;
    parts.calibration = in_these(TILES, parts.calibration);
    run(parts).unwrap();
    let record = seen.iter().next().unwrap();
    (record.verdict.outcome(), record.verdict.reason, record.verdict.score)
}

#[test]
fn a_part_in_tiles_is_judged_by_its_limit_and_cut_short_when_its_time_is_over() {
    let found = in_tiles(GOOD, 10_000);
    assert_eq!((found.0, found.1), PASS);
    assert_eq!(found.2, f32::from(GOOD) / 255.0);
    let found = in_tiles(BAD, 10_000);
    assert_eq!((found.0, found.1), REJECT);
    // Four inferences of 120 ms do not fit; the second or third is not begun.
    let started = std::time::Instant::now();
    let found = in_tiles(SLOW, 150);
    assert_eq!((found.0, found.1), invalid(Reason::Deadline));
    assert!(found.2.is_nan(), "nothing is said of a part that was not looked at whole");
    assert!(started.elapsed() >= Duration::from_millis(SLOW_MS));
}

//! Engines that fail while the line runs, and engines that are not there yet: every part has one
//! answer, and none but a proved engine judges.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::tests::{GOOD, answer, events, parts, scripted, spec};
use super::*;
use crate::capture::scripted::Step;
use crate::engine::{
    Engine, EngineError, EngineErrorKind, KeptEngine, Retries, ScriptedEngine, Workshop,
};
use crate::judge::{Outcome, Reason};
use crate::message::VerdictRecord;
use crate::sys::notify::Notify;
use crate::sys::shutdown::Shutdown;

/// Parts of each run, a millisecond apart.
const PARTS: usize = 400;
/// Pictures that the engine answers before it fails.
const GOOD_PICTURES: usize = 5;
/// Pictures after which the loss of the GPU is not due to the start.
const STEADY_PICTURES: usize = 100;
const RETRIES: Retries =
    Retries { attempts_max: 3, first: Duration::from_millis(1), longest: Duration::from_millis(4) };

fn failing() -> Box<dyn Engine> {
    failing_as(EngineErrorKind::Backend, GOOD_PICTURES, ())
}

fn failing_as(kind: EngineErrorKind, good: usize, held: impl Send + 'static) -> Box<dyn Engine> {
    let mut left = good;
    Box::new(ScriptedEngine::new(spec(), move |input, map| {
        let _held = &held;
        if left == 0 {
            return Err(EngineError::new(kind, "the GPU is lost"));
        }
        left -= 1;
        answer(input, map)
    }))
}

fn good() -> Box<dyn Engine> {
    Box::new(ScriptedEngine::new(spec(), answer))
}

/// Makes good engines once it may.
struct Shop {
    open: Arc<AtomicBool>,
    substitute: bool,
    never: bool,
}

impl Shop {
    fn wait(&self) -> Result<Box<dyn Engine>, EngineError> {
        while !self.open.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_micros(100));
        }
        if self.never {
            return Err(EngineError::new(EngineErrorKind::Backend, "there is no GPU any more"));
        }
        Ok(good())
    }
}

impl Workshop for Shop {
    fn build(&mut self) -> Result<Box<dyn Engine>, EngineError> {
        self.wait()
    }

    fn reopen(&mut self) -> Result<Box<dyn Engine>, EngineError> {
        self.wait()
    }

    fn substitute(&mut self) -> Result<Option<Box<dyn Engine>>, EngineError> {
        Ok(self.substitute.then(good))
    }
}

/// A running line with this engine; its decisions, and what lets the workshop open.
fn line(
    dir: &Path,
    substitute: bool,
    never: bool,
    engine: impl FnOnce(Shop) -> KeptEngine,
) -> (Line, mpsc::Receiver<VerdictRecord>, Arc<AtomicBool>) {
    let steps = (0..PARTS).flat_map(|_| [Step::Grey(GOOD), Step::Hang(Duration::from_millis(1))]);
    let (mut parts, seen) = parts(dir, scripted(steps));
    let open = Arc::new(AtomicBool::new(false));
    parts.engine = Box::new(engine(Shop { open: Arc::clone(&open), substitute, never }));
    (Line::start(parts).unwrap(), seen, open)
}

fn fails_at_once(shop: Shop) -> KeptEngine {
    KeptEngine::serving(failing(), shop, RETRIES).unwrap()
}

/// Decisions until one is as wanted, that one included.
fn until(
    seen: &mpsc::Receiver<VerdictRecord>,
    wanted: impl Fn(&VerdictRecord) -> bool,
) -> Vec<VerdictRecord> {
    let mut read = Vec::new();
    loop {
        read.push(seen.recv_timeout(Duration::from_secs(20)).unwrap());
        if wanted(&read[read.len() - 1]) {
            return read;
        }
    }
}

fn passed(record: &VerdictRecord) -> bool {
    record.verdict.outcome() == Outcome::Pass
}

/// Each part once, in order; without an engine INVALID, else PASS.
fn check(records: &[VerdictRecord]) {
    check_reasons(records, &[Reason::Engine, Reason::NotReady]);
}

fn check_reasons(records: &[VerdictRecord], reasons: &[Reason]) {
    let seqs: Vec<u32> = records.iter().map(|r| r.seq).collect();
    assert_eq!(seqs, (1..=records.len() as u32).collect::<Vec<_>>());
    for record in records.iter().filter(|record| !passed(record)) {
        let reason = record.verdict.reason;
        assert_eq!(record.verdict.outcome(), Outcome::Invalid);
        assert!(reasons.contains(&reason), "{reason:?}");
    }
}

/// What the journal has of the engine, each as (kind, count, text).
fn told(dir: &Path) -> Vec<(String, u64, String)> {
    let read = |event: String| -> (String, u64, String) {
        let event: serde_json::Value = serde_json::from_str(&event).unwrap();
        let text = |key: &str| event[key].as_str().unwrap().to_owned();
        (text("ev"), event["n"].as_u64().unwrap(), text("msg"))
    };
    events(dir).into_iter().map(read).filter(|(kind, ..)| kind.starts_with("engine_")).collect()
}

#[track_caller]
fn check_told(dir: &Path, wanted: &[(&str, u64, &str)]) {
    let told = told(dir);
    let same = told.len() == wanted.len()
        && told.iter().zip(wanted).all(|((kind, count, text), (of_kind, times, says))| {
            kind == of_kind && count == times && text.contains(says)
        });
    assert!(same, "{told:?} instead of {wanted:?}");
}

#[test]
fn an_engine_that_fails_costs_the_parts_until_it_is_opened_again_and_loses_none() {
    let dir = tempfile::tempdir().unwrap();
    let (line, seen, open) = line(dir.path(), false, false, fails_at_once);
    let mut records = until(&seen, |r| r.verdict.reason == Reason::NotReady);
    assert_eq!(records.iter().position(|r| !passed(r)), Some(GOOD_PICTURES));
    assert_eq!(records[GOOD_PICTURES].verdict.reason, Reason::Engine);
    let state = String::from_utf8(line.board.state()).unwrap();
    assert!(state.contains("\"ready\":0") && state.contains("\"err\":1"), "{state}");
    assert!(state.contains("no engine that passed its self-check serves"), "{state}");
    open.store(true, Ordering::SeqCst);
    let back = until(&seen, passed);
    assert!(line.is_ready());
    records.extend(back);
    line.run(&Shutdown::manual(), &Notify::silent()).unwrap();
    let rest: Vec<_> = seen.iter().collect();
    assert!(rest.iter().all(passed), "it judges again to the end");
    records.extend(rest);
    check(&records);
    assert_eq!(records.len(), PARTS);
    let back = "opened again, proved itself";
    let wanted = [("engine_failed", 1, "the GPU is lost"), ("engine_back", 1, back)];
    check_told(dir.path(), &wanted);
}

/// Numbers for a while, then none, and never an error.
fn senseless() -> Box<dyn Engine> {
    let mut left = GOOD_PICTURES;
    Box::new(ScriptedEngine::new(spec(), move |input, map| {
        if left == 0 {
            return Ok(());
        }
        left -= 1;
        answer(input, map)
    }))
}

#[test]
fn an_engine_that_answers_no_numbers_costs_three_parts_and_is_then_replaced_like_any_other() {
    let dir = tempfile::tempdir().unwrap();
    let (line, seen, opens) = line(dir.path(), true, false, |shop| {
        KeptEngine::serving(senseless(), shop, RETRIES).unwrap()
    });
    let mut records = until(&seen, |r| r.verdict.reason == Reason::Engine);
    let lost = records.split_off(GOOD_PICTURES);
    assert!(records.iter().all(passed));
    let reasons: Vec<Reason> = lost.iter().map(|record| record.verdict.reason).collect();
    assert_eq!(reasons, [Reason::MapIncomplete, Reason::MapIncomplete, Reason::Engine]);
    assert!(lost.iter().all(|record| record.verdict.outcome() == Outcome::Invalid));
    until(&seen, passed);
    let health = line.board.engine_health();
    assert_eq!((health.state, health.failures), ("substitute", 1));
    // The workshop ends with the line.
    opens.store(true, Ordering::SeqCst);
    line.run(&Shutdown::manual(), &Notify::silent()).unwrap();
}

#[test]
fn a_substitute_judges_until_the_engine_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let (line, seen, open) = line(dir.path(), true, false, fails_at_once);
    let mut records = until(&seen, |r| !passed(r));
    assert_eq!(records[GOOD_PICTURES].verdict.reason, Reason::Engine);
    records.extend(until(&seen, passed));
    let health = line.board.engine_health();
    assert_eq!((health.state, health.failures), ("substitute", 1));
    assert!(line.is_ready());
    open.store(true, Ordering::SeqCst);
    let board = Arc::clone(&line.board);
    line.run(&Shutdown::manual(), &Notify::silent()).unwrap();
    records.extend(seen.iter());
    check(&records);
    assert_eq!(records.len(), PARTS);
    assert_eq!(board.engine_health().state, "serving");
    check_told(dir.path(), &[("engine_failed", 1, "the GPU is lost"), ("engine_back", 1, "")]);
}

#[test]
fn a_station_whose_engine_is_replaced_for_good_says_so_in_its_record_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (line, seen, open) = line(dir.path(), true, true, fails_at_once);
    open.store(true, Ordering::SeqCst);
    let board = Arc::clone(&line.board);
    line.run(&Shutdown::manual(), &Notify::silent()).unwrap();
    let records: Vec<_> = seen.iter().collect();
    check(&records);
    assert!(records.last().is_some_and(passed), "the CPU judges to the end");
    assert_eq!(board.engine_health().state, "substitute");
    let gone = "the CPU judges until the service is restarted: there is no GPU any more";
    let wanted = [("engine_failed", 1, "the GPU is lost"), ("engine_given_up", 1, gone)];
    check_told(dir.path(), &wanted);
}

#[test]
fn a_station_whose_engine_is_given_up_ends_with_every_part_answered() {
    let dir = tempfile::tempdir().unwrap();
    let (line, seen, open) = line(dir.path(), false, true, fails_at_once);
    open.store(true, Ordering::SeqCst);
    let error = line.run(&Shutdown::manual(), &Notify::silent()).unwrap_err();
    assert_eq!(error.kind(), PipelineErrorKind::Stage);
    assert!(error.to_string().contains("no engine serves any more"), "{error}");
    let records: Vec<_> = seen.iter().collect();
    // Those that still waited for the engine when the station ended are answered at their deadline.
    check_reasons(&records, &[Reason::Engine, Reason::NotReady, Reason::Deadline]);
    assert!(records.iter().skip(GOOD_PICTURES).all(|record| !passed(record)));
    let gone = "nobody judges any more, and the station ends: there is no GPU any more";
    let wanted = [("engine_failed", 1, "the GPU is lost"), ("engine_given_up", 1, gone)];
    check_told(dir.path(), &wanted);
}

/// Tells when it is freed.
struct Tells(Arc<AtomicBool>);

impl Drop for Tells {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_station_whose_gpu_is_lost_to_the_process_ends_at_once_with_every_part_answered() {
    let dir = tempfile::tempdir().unwrap();
    let freed = Arc::new(AtomicBool::new(false));
    let tells = Tells(Arc::clone(&freed));
    // There would be a substitute, and an engine to open again.
    let (line, seen, open) = line(dir.path(), true, false, |shop| {
        let engine = failing_as(EngineErrorKind::Lost, STEADY_PICTURES, tells);
        KeptEngine::serving(engine, shop, RETRIES).unwrap()
    });
    open.store(true, Ordering::SeqCst);
    let error = line.run(&Shutdown::manual(), &Notify::silent()).unwrap_err();
    assert_eq!(error.kind(), PipelineErrorKind::Stage);
    let records: Vec<_> = seen.iter().collect();
    check_reasons(&records, &[Reason::Engine, Reason::NotReady, Reason::Deadline]);
    assert!(records[..STEADY_PICTURES].iter().all(passed));
    assert_eq!(records[STEADY_PICTURES].verdict.reason, Reason::Engine);
    assert!(!records[STEADY_PICTURES..].iter().any(passed), "nobody judges any more");
    let why = "lost to this process, which ends and is started again: the GPU is lost";
    check_told(dir.path(), &[("engine_failed", 1, why)]);
    assert!(!freed.load(Ordering::SeqCst), "what lies in a broken context is left alone");
}

#[test]
fn a_station_that_loses_its_gpu_after_each_start_goes_on_with_the_cpu() {
    let dir = tempfile::tempdir().unwrap();
    let freed = Arc::new(AtomicBool::new(false));
    let tells = Tells(Arc::clone(&freed));
    let (line, seen, open) = line(dir.path(), true, false, |shop| {
        let engine = failing_as(EngineErrorKind::Lost, GOOD_PICTURES, tells);
        KeptEngine::serving(engine, shop, RETRIES).unwrap()
    });
    open.store(true, Ordering::SeqCst);
    let board = Arc::clone(&line.board);
    line.run(&Shutdown::manual(), &Notify::silent()).unwrap();
    let records: Vec<_> = seen.iter().collect();
    check(&records);
    assert_eq!((records.len(), records[GOOD_PICTURES].verdict.reason), (PARTS, Reason::Engine));
    assert!(records.last().is_some_and(passed), "the CPU judges to the end");
    let health = board.engine_health();
    assert_eq!((health.state, health.failures), ("substitute", 1));
    let lost = "the GPU is lost to this process: the GPU is lost";
    let gone = "the CPU judges until the service is restarted: the GPU is lost";
    check_told(dir.path(), &[("engine_failed", 1, lost), ("engine_given_up", 1, gone)]);
    assert!(!freed.load(Ordering::SeqCst), "what lies in a broken context is left alone");
}

#[test]
fn a_station_that_starts_without_an_engine_judges_when_it_is_built() {
    let dir = tempfile::tempdir().unwrap();
    let (line, seen, open) = line(dir.path(), false, false, |shop| {
        KeptEngine::building(spec(), None, shop, RETRIES).unwrap()
    });
    assert!(line.board.awaits_engine() && !line.is_ready());
    let mut records = until(&seen, |_| true);
    assert_eq!(records[0].verdict.reason, Reason::NotReady);
    open.store(true, Ordering::SeqCst);
    records.extend(until(&seen, passed));
    let health = line.board.engine_health();
    assert_eq!((health.state, health.failures), ("serving", 0), "nothing failed");
    line.run(&Shutdown::manual(), &Notify::silent()).unwrap();
    records.extend(seen.iter());
    check(&records);
    assert_eq!(records.len(), PARTS);
    check_told(dir.path(), &[]);
}

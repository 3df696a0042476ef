//! A scripted device: which calls come in which order, and what a failure of each leaves.

use std::sync::{Arc, Mutex};

use super::*;
use crate::engine::EngineErrorKind;

/// What was called, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Call {
    Enter,
    Bind(u64),
    Enqueue,
    Record,
    Launch(u64),
    Wait,
    /// A recording was freed.
    Freed(u64),
    /// Stream and execution context were freed.
    Closed,
}

use Call::{Bind, Closed, Enqueue, Enter, Freed, Launch, Record, Wait};

#[derive(Default)]
struct Told {
    calls: Vec<Call>,
    /// The call that fails.
    fails: Option<Call>,
    /// From that call on the driver says that the context is lost.
    lost: bool,
}

#[derive(Clone, Default)]
struct Script(Arc<Mutex<Told>>);

impl Script {
    fn call(&self, call: Call) -> Result<(), EngineError> {
        let mut told = self.0.lock().unwrap();
        let fails = told.fails.as_ref() == Some(&call);
        let lost = told.lost && call == Wait;
        told.calls.push(call);
        if lost {
            return Err(EngineError::new(EngineErrorKind::Lost, "scripted: illegal address"));
        }
        if fails {
            return Err(EngineError::new(EngineErrorKind::Backend, "scripted failure"));
        }
        Ok(())
    }

    fn take(&self) -> Vec<Call> {
        std::mem::take(&mut self.0.lock().unwrap().calls)
    }

    fn fail(&self, call: Option<Call>) {
        self.0.lock().unwrap().fails = call;
    }
}

struct Device {
    script: Script,
    bound: u64,
}

impl Drop for Device {
    fn drop(&mut self) {
        // A scripted failure may be of any call but this one.
        self.script.call(Closed).unwrap();
    }
}

/// Knows the address that it was recorded with.
struct Recording(u64, Script);

impl Drop for Recording {
    fn drop(&mut self) {
        self.1.call(Freed(self.0)).unwrap();
    }
}

impl Driver for Device {
    type Recording = Recording;

    fn enter(&mut self) -> Result<(), EngineError> {
        self.script.call(Enter)
    }

    fn bind(&mut self, address: u64) -> Result<(), EngineError> {
        self.bound = address;
        self.script.call(Bind(address))
    }

    fn enqueue(&mut self) -> Result<(), EngineError> {
        self.script.call(Enqueue)
    }

    fn record(&mut self) -> Result<Recording, EngineError> {
        self.script.call(Record)?;
        Ok(Recording(self.bound, self.script.clone()))
    }

    fn launch(&mut self, recording: &Recording) -> Result<(), EngineError> {
        self.script.call(Launch(recording.0))
    }

    fn wait(&mut self) -> Result<(), EngineError> {
        self.script.call(Wait)
    }
}

fn runs() -> (Runs<Device>, Script) {
    let script = Script::default();
    (Runs::new(Device { script: script.clone(), bound: 0 }), script)
}

#[test]
fn the_second_run_at_an_address_is_recorded_and_later_ones_launch_that() {
    let (mut runs, script) = runs();
    runs.run(7).unwrap();
    assert_eq!(script.take(), [Enter, Bind(7), Enqueue, Wait]);
    runs.run(7).unwrap();
    assert_eq!(script.take(), [Enter, Record, Launch(7), Wait]);
    for _ in 0..3 {
        runs.run(7).unwrap();
        assert_eq!(script.take(), [Enter, Launch(7), Wait]);
    }
}

#[test]
fn each_address_has_a_recording_of_its_own() {
    let (mut runs, script) = runs();
    for address in [1, 2, 1, 2] {
        runs.run(address).unwrap();
    }
    let first = [Enter, Bind(1), Enqueue, Wait, Enter, Bind(2), Enqueue, Wait];
    let second = [Enter, Bind(1), Record, Launch(1), Wait, Enter, Bind(2), Record, Launch(2), Wait];
    assert_eq!(script.take(), [&first[..], &second[..]].concat());
    for address in [2, 1, 1, 2] {
        runs.run(address).unwrap();
        assert_eq!(script.take(), [Enter, Launch(address), Wait], "nothing is bound any more");
    }
    drop(runs);
    assert_eq!(script.take(), [Freed(1), Freed(2), Closed]);
}

#[test]
fn of_an_engine_that_failed_nothing_is_left_on_its_device() {
    for fails in [Enter, Launch(7), Wait] {
        let (mut runs, script) = runs();
        (0..2).for_each(|_| runs.run(7).unwrap());
        script.fail(Some(fails.clone()));
        runs.run(7).unwrap_err();
        script.take();
        drop(runs);
        assert_eq!(script.take(), [Freed(7), Closed], "after {fails:?}");
    }
}

#[test]
fn recordings_are_bounded_and_what_is_beyond_runs_without() {
    let (mut runs, script) = runs();
    let all = 1..=RECORDINGS_MAX as u64 + 1;
    for address in all.clone().chain(all) {
        runs.run(address).unwrap();
    }
    let recorded = script.take().into_iter().filter(|call| *call == Record).count();
    assert_eq!(recorded, RECORDINGS_MAX);
    let beyond = RECORDINGS_MAX as u64 + 1;
    runs.run(beyond).unwrap();
    assert_eq!(script.take(), [Enter, Enqueue, Wait], "bound there last");
    runs.run(1).unwrap();
    assert_eq!(script.take(), [Enter, Launch(1), Wait]);
    runs.run(beyond).unwrap();
    assert_eq!(script.take(), [Enter, Enqueue, Wait], "a recording binds nothing");
}

#[test]
fn what_cannot_be_recorded_runs_call_by_call_and_is_not_tried_again() {
    let (mut runs, script) = runs();
    script.fail(Some(Record));
    runs.run(7).unwrap();
    script.take();
    runs.run(7).unwrap();
    assert_eq!(script.take(), [Enter, Record, Enqueue, Wait]);
    runs.run(7).unwrap();
    assert_eq!(script.take(), [Enter, Enqueue, Wait]);
}

#[test]
fn a_step_that_fails_is_an_error_after_which_nothing_reads_the_input() {
    for (before, fails, calls) in [
        (0, Enter, vec![Enter]),
        (0, Bind(7), vec![Enter, Bind(7), Wait]),
        (0, Enqueue, vec![Enter, Bind(7), Enqueue, Wait]),
        (0, Wait, vec![Enter, Bind(7), Enqueue, Wait]),
        (1, Launch(7), vec![Enter, Record, Launch(7), Wait]),
        (2, Launch(7), vec![Enter, Launch(7), Wait]),
        (2, Wait, vec![Enter, Launch(7), Wait]),
    ] {
        let (mut runs, script) = runs();
        (0..before).for_each(|_| runs.run(7).unwrap());
        script.take();
        script.fail(Some(fails.clone()));
        assert_eq!(runs.run(7).unwrap_err().kind(), EngineErrorKind::Backend, "{fails:?}");
        assert_eq!(script.take(), calls, "{fails:?} after {before} runs");
        // The fault over, it runs again.
        script.fail(None);
        runs.run(7).unwrap();
        assert_eq!(script.take().last(), Some(&Wait));
    }
}

#[test]
fn a_context_that_is_lost_is_told_by_the_driver_whatever_the_library_says() {
    for (before, fails) in [(0, None), (0, Some(Enqueue)), (2, Some(Launch(7)))] {
        let (mut runs, script) = runs();
        (0..before).for_each(|_| runs.run(7).unwrap());
        script.fail(fails.clone());
        script.0.lock().unwrap().lost = true;
        assert_eq!(runs.run(7).unwrap_err().kind(), EngineErrorKind::Lost, "{fails:?}");
    }
}

#[test]
fn an_address_that_was_refused_is_said_again() {
    let (mut runs, script) = runs();
    runs.run(1).unwrap();
    script.fail(Some(Bind(2)));
    runs.run(2).unwrap_err();
    script.fail(None);
    script.take();
    // The library may have kept either.
    runs.run(1).unwrap();
    assert_eq!(script.take(), [Enter, Bind(1), Record, Launch(1), Wait]);
}

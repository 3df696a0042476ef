//! What goes on while the engine is busy. An engine that waits for the camera and would wait for
//! ever if it did not go on: order is tested, never time.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::tests::{answer, parts, run, scripted, spec};
use super::*;
use crate::capture::scripted::Step;
use crate::capture::{Camera, CameraError, CameraStats, Event};
use crate::engine::ScriptedEngine;
use crate::frame::{Nanos, Pool, RecipeId};
use crate::judge::Outcome;
use crate::sys::clock::{Clock, RealClock};

/// Pictures of each camera.
const PICTURES: u8 = 12;
/// Grey level of the first picture of each camera, above those of scripted failures.
const FIRST: u8 = 10;
const SECOND: u8 = 60;
/// Longest wait of the engine for a picture; only a failure takes so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Time between two triggers, by their stamps; nobody waits for it. More than twice the window in
/// which views of one part come.
const EVERY_MS: u64 = 2_000;
const WINDOW_MS: u64 = 900;

/// Tells of each picture as it is handed over, and stamps it: cameras of one trigger line.
struct Telling {
    inner: Box<dyn Camera>,
    handed: Sender<()>,
    /// When the next trigger comes.
    next: Nanos,
}

impl Camera for Telling {
    fn frame_bytes_max(&self) -> usize {
        self.inner.frame_bytes_max()
    }

    fn start(&mut self, pool: Pool, epoch: u32) -> Result<(), CameraError> {
        self.inner.start(pool, epoch)
    }

    fn next(&mut self, deadline: Nanos) -> Result<Event, CameraError> {
        let mut event = self.inner.next(deadline)?;
        if let Event::Frame { trigger, .. } = &mut event {
            trigger.arrived = self.next;
            self.next = self.next.plus_ms(EVERY_MS);
            let _ = self.handed.send(());
        }
        Ok(event)
    }

    fn stats(&self) -> CameraStats {
        self.inner.stats()
    }

    fn stop(&mut self) -> Result<(), CameraError> {
        self.inner.stop()
    }
}

/// A camera of grey levels from `first` on, whose triggers begin at `start`, and what it tells.
fn telling(first: u8, start: Nanos) -> (Box<dyn Camera>, Receiver<()>) {
    let (handed, told) = channel();
    let inner = scripted((first..first + PICTURES).map(Step::Grey));
    (Box::new(Telling { inner, handed, next: start }), told)
}

/// A line of these cameras whose engine does `before` each answer; its parts pass.
fn passes(dir: &Path, cameras: Vec<Box<dyn Camera>>, mut before: impl FnMut(u8) + Send + 'static) {
    let mut cameras = cameras.into_iter();
    let (mut parts, seen) = parts(dir, cameras.next().unwrap());
    parts.engine = Box::new(ScriptedEngine::new(spec(), move |input, map| {
        before(input[0]);
        answer(input, map)
    }));
    for (i, camera) in (1..).zip(cameras) {
        parts.cameras.push(StationCamera::new(format!("camera-{i}"), camera));
    }
    // The engine holds up whom it likes for as long as it likes.
    (parts.window_ms_max, parts.latency_ms_max) = (WINDOW_MS, 60_000);
    parts.triggers.recipe = Some(RecipeId(1));
    run(parts).unwrap();
    let outcomes: Vec<Outcome> = seen.iter().map(|record| record.verdict.outcome()).collect();
    assert_eq!(outcomes, [Outcome::Pass; PICTURES as usize]);
}

#[test]
fn the_next_picture_is_taken_while_the_engine_looks_at_this_one() {
    let dir = tempfile::tempdir().unwrap();
    let (camera, handed) = telling(FIRST, RealClock.now());
    let mut looked_at = 0;
    passes(dir.path(), vec![camera], move |_| {
        looked_at += 1;
        // This one and, but for the last, the next one.
        let wanted = if looked_at == 1 { 2 } else { usize::from(looked_at < PICTURES) };
        for _ in 0..wanted {
            handed.recv_timeout(PATIENCE).expect("the camera goes on while the engine is busy");
        }
    });
}

#[test]
fn two_cameras_take_turns_at_the_engine_however_much_of_both_waits() {
    let dir = tempfile::tempdir().unwrap();
    let start = RealClock.now();
    let (first, of_first) = telling(FIRST, start);
    let (second, of_second) = telling(SECOND, start);
    let (looked, looks) = channel();
    passes(dir.path(), vec![first, second], move |level| {
        if level == FIRST {
            // Two parts more of each wait behind the first.
            for handed in [&of_first, &of_second] {
                for _ in 0..3 {
                    handed.recv_timeout(PATIENCE).expect("cameras go on while the engine is busy");
                }
            }
        }
        looked.send(level).unwrap();
    });
    let levels: Vec<u8> = looks.iter().collect();
    let in_turn: Vec<u8> = (0..PICTURES).flat_map(|i| [FIRST + i, SECOND + i]).collect();
    assert_eq!(levels, in_turn, "no view waits longer than for the other view of its part");
}

//! Several cameras on one trigger line: what becomes of parts whose views come, fail or are lost.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::tests::{BAD, GOOD, PANICS, SIDE, SLOW, calibration, events, parts, spec};
use super::*;
use crate::capture::{
    Camera, CameraError, CameraErrorKind, CameraStats, Damage, Event, Trigger, part_id_of,
};
use crate::engine::ScriptedEngine;
use crate::frame::{CameraId, Frame, FrameMeta, Nanos, PixelFormat, Pool, RecipeId, TriggerId};
use crate::judge::{Outcome, Reason};
use crate::message::{ViewResults, deciding_view};
use crate::sys::clock::{Clock, RealClock};
use crate::sys::notify::Notify;
use crate::sys::shutdown::Shutdown;

/// Time between two triggers, by their stamps: more than twice the window. Nobody waits for it.
pub(super) const EVERY_MS: u64 = 20_000;
/// No machine is so busy that a view comes after it. Nobody waits for its end either.
pub(super) const WINDOW_MS: u64 = 9_000;
/// Class whose limit is above that of `bolt`: a level that `bolt` rejects passes here.
const TOLERANT: &str = "bolt-side";
const TOLERANT_LIMIT: f32 = 0.9;

/// What a camera does when it is triggered.
#[derive(Clone, Copy, Debug, PartialEq)]
enum On {
    /// A grey picture of this level.
    Sees(u8),
    /// A picture that cannot be used.
    Damages,
    /// The frame gets a number and does not come.
    Loses,
    /// It does not take the trigger.
    Sleeps,
    /// It is gone until it is started again.
    Dies,
}

/// The machine's clock, which can be made to skip time.
#[derive(Default)]
pub(super) struct Skipping(AtomicU64);

impl Skipping {
    pub(super) fn skip_ms(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for Skipping {
    fn now(&self) -> Nanos {
        RealClock.now().plus_ms(self.0.load(Ordering::SeqCst))
    }

    fn wall_unix_s(&self) -> u64 {
        RealClock.wall_unix_s()
    }
}

/// One camera on the line.
struct OnLine {
    clock: Arc<Skipping>,
    pulses: Receiver<Option<Nanos>>,
    script: VecDeque<On>,
    /// Frames of this camera come this much after the trigger.
    delay_ms: u64,
    first_seq: u64,
    seq: u64,
    /// Once it has died it starts again when it is repaired.
    dead: bool,
    repaired: Arc<AtomicBool>,
    stream: Option<(Pool, u32)>,
    stats: CameraStats,
}

impl OnLine {
    fn next_of(&mut self, pulse: Option<Nanos>) -> Result<Event, CameraError> {
        let (Some(at), Some(does)) = (pulse, self.script.pop_front()) else {
            return Ok(Event::End);
        };
        if does == On::Sleeps {
            return Ok(Event::Idle);
        }
        self.seq += 1;
        let part = part_id_of(&format!("C{:04}", self.seq));
        let arrived = at.plus_ms(self.delay_ms);
        let id = TriggerId(self.seq as u32);
        let trigger = Trigger { seq: self.seq, id, part, recipe: None, arrived };
        match does {
            On::Sleeps | On::Loses => Ok(Event::Idle),
            On::Damages => Ok(Event::Incomplete { trigger, why: Damage::Unreadable }),
            On::Dies => {
                (self.dead, self.stream) = (true, None);
                Ok(Event::Gone { reason: "cable cut".to_owned() })
            }
            On::Sees(level) => {
                let broken = || CameraError::new(CameraErrorKind::Stream, "no stream");
                let (pool, epoch) = self.stream.clone().ok_or_else(broken)?;
                let Some(mut lease) = pool.lease() else {
                    return Ok(Event::Incomplete { trigger, why: Damage::NoBuffer });
                };
                lease[..SIDE * SIDE].fill(level);
                let (number, size) = ((epoch, self.seq), (SIDE, SIDE));
                let format = PixelFormat::Mono8;
                let meta = FrameMeta::packed(CameraId(0), number, arrived, format, size);
                self.stats.delivered += 1;
                Ok(Event::Frame { trigger, frame: Frame { meta, lease } })
            }
        }
    }
}

impl Camera for OnLine {
    fn frame_bytes_max(&self) -> usize {
        SIDE * SIDE
    }

    fn start(&mut self, pool: Pool, epoch: u32) -> Result<(), CameraError> {
        if self.dead && !self.repaired.load(Ordering::SeqCst) {
            return Err(CameraError::new(CameraErrorKind::Open, "no such device"));
        }
        if std::mem::take(&mut self.dead) {
            // Pulses that came meanwhile passed unseen, and its numbers start again.
            while let Ok(Some(_)) = self.pulses.try_recv() {
                self.script.pop_front();
            }
            self.seq = self.first_seq;
        }
        self.stream = Some((pool, epoch));
        Ok(())
    }

    fn next(&mut self, deadline: Nanos) -> Result<Event, CameraError> {
        let wait = Duration::from_nanos(deadline.since(self.clock.now()).0);
        match self.pulses.recv_timeout(wait) {
            Ok(pulse) => self.next_of(pulse),
            Err(RecvTimeoutError::Timeout) => Ok(Event::Idle),
            Err(RecvTimeoutError::Disconnected) => Ok(Event::End),
        }
    }

    fn stats(&self) -> CameraStats {
        self.stats
    }

    fn stop(&mut self) -> Result<(), CameraError> {
        self.stream = None;
        Ok(())
    }
}

/// What is told of a part.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Told {
    outcome: Outcome,
    reason: Reason,
    /// The view that decided.
    view: Option<usize>,
    views: ViewResults,
    trigger: u32,
}

/// A running station whose trigger line the test holds.
struct Bench {
    line: Option<Line>,
    pulses: Vec<Sender<Option<Nanos>>>,
    /// What died may start again.
    repaired: Arc<AtomicBool>,
    at: Nanos,
    told: mpsc::Receiver<Told>,
    dir: tempfile::TempDir,
    scripts: Vec<Vec<On>>,
    pulsed: usize,
    clock: Arc<Skipping>,
}

impl Bench {
    /// Cameras named `a`, `b`, ... with these scripts.
    fn start(scripts: &[&[On]], change: impl FnOnce(&mut Parts)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let repaired = Arc::new(AtomicBool::new(false));
        let clock = Arc::new(Skipping::default());
        let (mut cameras, mut pulses) = (vec![], vec![]);
        for (i, script) in scripts.iter().enumerate() {
            let (pulse, waits) = bounded(64);
            pulses.push(pulse);
            let first_seq = 1_000 * i as u64;
            let camera = OnLine {
                clock: Arc::clone(&clock),
                pulses: waits,
                script: script.iter().copied().collect(),
                delay_ms: 7 * i as u64,
                first_seq,
                seq: first_seq,
                dead: false,
                repaired: Arc::clone(&repaired),
                stream: None,
                stats: CameraStats::default(),
            };
            let name = char::from(b'a' + i as u8).to_string();
            cameras.push(StationCamera::new(name, Box::new(camera)));
        }
        let (told_in, told) = mpsc::channel();
        let (mut parts, _) = parts(dir.path(), cameras.remove(0).camera);
        parts.cameras.extend(cameras);
        parts.cameras[0].name = "a".to_owned();
        parts.clock = clock.clone();
        parts.window_ms_max = WINDOW_MS;
        parts.triggers.recipe = Some(RecipeId(1));
        // Stamps of triggers run ahead of the clock.
        parts.latency_ms_max = 60_000;
        parts.observer = Some(Box::new(move |d: &Decision| {
            let verdict = &d.record.verdict;
            let told = Told {
                outcome: verdict.outcome(),
                reason: verdict.reason,
                view: deciding_view(d.record.flags),
                views: d.views,
                trigger: d.record.trigger.0,
            };
            told_in.send(told).unwrap();
        }));
        change(&mut parts);
        let line = Line::start(parts).unwrap();
        let scripts = scripts.iter().map(|script| script.to_vec()).collect();
        let (line, at) = (Some(line), RealClock.now());
        let bench = Self { line, pulses, repaired, at, told, dir, scripts, pulsed: 0, clock };
        bench.wait("all cameras", |bench| bench.board().all_stream());
        bench
    }

    fn board(&self) -> Arc<super::board::Board> {
        Arc::clone(&self.line.as_ref().unwrap().board)
    }

    fn wait(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let until = RealClock.now().plus_ms(60_000);
        while !done(self) {
            assert!(RealClock.now() < until, "waited for {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// One pulse on the line of all cameras.
    fn pulse(&mut self) {
        self.at = self.at.plus_ms(EVERY_MS);
        self.pulsed += 1;
        self.pulses.iter().for_each(|pulse| pulse.send(Some(self.at)).unwrap());
    }

    /// One pulse, and what is told of its part.
    fn part(&mut self) -> Told {
        self.pulse();
        self.told.recv_timeout(Duration::from_secs(60)).unwrap()
    }

    /// The same of a part that waits for a view until its window is over.
    fn overdue_part(&mut self) -> Told {
        self.pulse();
        let seen = |script: &Vec<On>| {
            script[..self.pulsed].iter().filter(|on| matches!(on, On::Sees(_))).count() as u64
        };
        let seen: Vec<u64> = self.scripts.iter().map(seen).collect();
        self.wait("the views that come", |bench| {
            let delivered = bench.board().camera_health().into_iter().map(|c| c.delivered);
            delivered.eq(seen.iter().copied())
        });
        self.clock.skip_ms(WINDOW_MS + 1);
        self.told.recv_timeout(Duration::from_secs(60)).unwrap()
    }

    /// All the parts of the scripts.
    fn all(&mut self) -> Vec<Told> {
        (0..self.scripts[0].len()).map(|_| self.part()).collect()
    }

    /// The end of the source; nothing may be told any more.
    fn end(&mut self) {
        self.pulses.iter().for_each(|pulse| pulse.send(None).unwrap());
        self.line.take().unwrap().run(&Shutdown::manual(), &Notify::silent()).unwrap();
        assert_eq!(self.told.try_iter().count(), 0);
    }
}

fn short(told: &[Told]) -> Vec<(Outcome, Reason, Option<usize>)> {
    told.iter().map(|t| (t.outcome, t.reason, t.view)).collect()
}

const PASS: (Outcome, Reason) = (Outcome::Pass, Reason::None);
const REJECT: (Outcome, Reason) = (Outcome::Reject, Reason::ScoreAboveLimit);

fn by(verdict: (Outcome, Reason), view: usize) -> (Outcome, Reason, Option<usize>) {
    (verdict.0, verdict.1, Some(view))
}

fn invalid(reason: Reason, view: usize) -> (Outcome, Reason, Option<usize>) {
    (Outcome::Invalid, reason, Some(view))
}

#[test]
fn a_part_passes_only_if_every_view_does_and_the_worst_decides() {
    use On::{Damages, Sees};
    let mut bench = Bench::start(
        &[
            &[Sees(GOOD), Sees(GOOD), Sees(BAD), Sees(BAD), Sees(GOOD), Sees(GOOD)],
            &[Sees(GOOD + 1), Sees(BAD), Sees(GOOD), Sees(BAD + 1), Damages, Sees(PANICS)],
        ],
        |_| {},
    );
    let told = bench.all();
    let expected = [
        by(PASS, 1),
        by(REJECT, 1),
        by(REJECT, 0),
        by(REJECT, 1),
        invalid(Reason::FrameDamaged, 1),
        invalid(Reason::Internal, 1),
    ];
    assert_eq!(short(&told), expected);
    let first = told[0].views;
    assert!(first[..2].iter().all(|v| v.is_some_and(|v| v.outcome == Outcome::Pass)));
    assert!(first[2..].iter().all(Option::is_none), "there are two cameras");
    assert_eq!(first[0].unwrap().score, f32::from(GOOD) / 255.0);
    let triggers: Vec<u32> = told.iter().map(|t| t.trigger).collect();
    assert_eq!(triggers, (1..=6).collect::<Vec<_>>(), "triggers are counted");
    bench.end();
}

#[test]
fn each_of_three_views_is_held_against_the_limit_of_its_class() {
    let views = [&[On::Sees(GOOD), On::Sees(BAD)][..], &[On::Sees(BAD); 2], &[On::Sees(GOOD); 2]];
    let mut bench = Bench::start(&views, |parts| {
        let mut spec = spec();
        spec.classes.push(TOLERANT.to_owned());
        let sha256 = spec.sha256.clone();
        parts.engine = Box::new(ScriptedEngine::new(spec, super::tests::answer));
        let mut limits = calibration(0.5, &sha256);
        let tolerant = calibration(TOLERANT_LIMIT, &sha256).class["bolt"].clone();
        limits.class.insert(TOLERANT.to_owned(), tolerant);
        parts.calibration = limits;
        parts.recipes[0].views.insert("b".to_owned(), TOLERANT.to_owned());
    });
    let told = bench.all();
    assert_eq!(short(&told), [by(PASS, 1), by(REJECT, 0)]);
    let classes: Vec<u16> = told[0].views.iter().flatten().map(|v| v.class).collect();
    assert_eq!(classes, [0, 1, 0]);
    bench.end();
}

#[test]
fn parts_of_a_camera_that_dies_are_lost_by_its_name_until_it_is_back() {
    use On::{Dies, Sees};
    let a = [Sees(GOOD); 8];
    let good = Sees(GOOD);
    let b = [good, Dies, good, good, good, good, Sees(BAD), good];
    let mut bench = Bench::start(&[&a, &b], |_| {});
    assert_eq!(short(&[bench.part()]), [by(PASS, 0)]);
    assert_eq!(short(&[bench.part()]), [invalid(Reason::FrameLost, 1)]);
    // The news of the camera follow the part that it cost.
    bench.wait("the news", |bench| !bench.line.as_ref().unwrap().is_ready());
    let begun = RealClock.now();
    assert_eq!(short(&[bench.part()]), [invalid(Reason::FrameLost, 1)]);
    assert!(RealClock.now() < begun.plus_ms(WINDOW_MS), "at once, not after the window");
    bench.wait("a start that fails", |bench| {
        bench.board().camera_health()[1].cause == "no such device"
    });
    let health = bench.board().camera_health();
    assert_eq!((health[0].state, health[0].cause.as_str()), ("running", ""));
    assert_ne!(health[1].state, "running");
    // Not before: however slow this thread is, the camera misses the third pulse.
    bench.repaired.store(true, Ordering::SeqCst);
    bench.wait("the camera to be back", |bench| bench.board().all_stream());
    assert!(bench.line.as_ref().unwrap().is_ready());
    let told: Vec<Told> = (0..5).map(|_| bench.part()).collect();
    let lost = invalid(Reason::FrameLost, 1);
    // Three pictures prove which trigger is which.
    assert_eq!(short(&told), [lost, lost, lost, by(REJECT, 1), by(PASS, 0)]);
    let health = bench.board().camera_health();
    assert_eq!((health[1].name.as_str(), health[1].reconnects), ("b", 1));
    assert_eq!(health[1].cause, "no such device");
    bench.end();
    let lost =
        |event: &String| event.contains("camera_lost") && event.contains("camera b: cable cut");
    let events = events(bench.dir.path());
    assert!(events.iter().any(lost), "{events:?}");
}

#[test]
fn a_view_that_is_lost_or_never_comes_costs_its_part_and_no_other() {
    use On::{Loses, Sees, Sleeps};
    let a = [Sees(GOOD), Sees(GOOD), Sees(GOOD), Sees(BAD), Sees(GOOD), Sees(GOOD), Sees(GOOD)];
    let b = [Sees(GOOD), Loses, Sees(GOOD), Sees(GOOD), Sleeps, Sees(GOOD), Sees(GOOD)];
    let mut bench = Bench::start(&[&a, &b], |_| {});
    let told: Vec<Told> = (0..7)
        .map(|part| if [1, 4, 5, 6].contains(&part) { bench.overdue_part() } else { bench.part() })
        .collect();
    let lost = invalid(Reason::FrameLost, 1);
    let expected = [by(PASS, 0), lost, by(PASS, 0), by(REJECT, 0), lost];
    assert_eq!(short(&told[..5]), expected, "{told:?}");
    // Its count slipped when it slept; views that contradict each other are not used.
    assert_eq!(short(&told[5..]), [lost, lost]);
    let health = bench.board().camera_health();
    assert!(health[1].lost >= 2 && health[1].stale >= 1, "{health:?}");
    bench.end();
}

#[test]
fn a_preview_of_several_cameras_replaces_whole_parts() {
    let slow = [On::Sees(SLOW); 8];
    let mut bench = Bench::start(&[&slow, &slow], |parts| {
        parts.queue = Queue::Latest;
        parts.queue_frames = 1;
    });
    (0..8).for_each(|_| {
        bench.pulse();
        // The engine takes far longer; the cameras find a buffer all the same.
        std::thread::sleep(Duration::from_millis(15));
    });
    let told: Vec<Told> =
        (0..8).map(|_| bench.told.recv_timeout(Duration::from_secs(60)).unwrap()).collect();
    let replaced = told.iter().filter(|t| t.reason == Reason::Overrun).count();
    assert!((3..8).contains(&replaced), "{:?}", short(&told));
    assert_eq!(told[7].reason, Reason::None, "the newest is looked at");
    assert!(bench.board().camera_health().iter().all(|c| c.replaced == replaced as u64));
    bench.end();
}

#[test]
fn a_stop_answers_the_parts_that_wait_for_their_views() {
    let mut bench = Bench::start(&[&[On::Sees(GOOD); 2], &[On::Sees(GOOD), On::Sleeps]], |parts| {
        parts.window_ms_max = 50_000;
    });
    assert_eq!(short(&[bench.part()]), [by(PASS, 0)]);
    bench.pulse();
    let delivered = |bench: &Bench| bench.board().camera_health()[0].delivered == 2;
    bench.wait("the first view", delivered);
    let shutdown = Shutdown::manual();
    shutdown.request();
    bench.line.take().unwrap().run(&shutdown, &Notify::silent()).unwrap();
    assert_eq!(short(&bench.told.try_iter().collect::<Vec<_>>()), [invalid(Reason::FrameLost, 1)]);
}

#[test]
fn cameras_need_names_of_their_own_and_a_recipe_names_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |change: &dyn Fn(&mut Parts)| {
        let camera = super::tests::scripted([]);
        let (mut parts, _) = parts(dir.path(), camera);
        change(&mut parts);
        Line::start(parts).map(|_| ()).unwrap_err()
    };
    let twice =
        refused(&|parts| parts.cameras.extend(StationCamera::only(super::tests::scripted([]))));
    assert_eq!(twice.kind(), PipelineErrorKind::Camera);
    assert_eq!(refused(&|parts| parts.cameras.clear()).kind(), PipelineErrorKind::Camera);
    let other = refused(&|parts| {
        parts.recipes[0].views.insert("left".to_owned(), "bolt".to_owned());
    });
    assert_eq!(other.kind(), PipelineErrorKind::Recipe);
    assert!(other.to_string().contains("there is no camera \"left\"; there are camera"), "{other}");
}

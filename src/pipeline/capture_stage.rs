//! Stage 1: from the camera to the gate; every accepted trigger becomes one piece of work. With
//! several cameras there is one such stage each, and which frames belong together is found out
//! between them and the gate. What is done with the camera, the supervisor says.

use std::sync::Arc;
use std::time::Duration;

use super::board::Board;
use super::cameras::Tally;
use super::exit::Exit;
use super::progress::{Progress, Stage};
use super::stage::{Outcome, Signals, TICK};
use crate::capture::supervisor::{Order, State};
use crate::capture::{Camera, Continuity, Damage, Event, Supervisor, Trigger};
use crate::frame::{Frame, Nanos, Pool};
use crate::sys::clock::Clock;

/// Length of the steps in which a pause is slept, so that a stop ends it.
const PAUSE_STEP_MS: u64 = 50;
/// How long the first frames wait for all cameras to start, in milliseconds: triggers are counted
/// from a common start. A camera that takes longer is aligned by time.
pub(super) const TOGETHER_MS_MAX: u64 = 3_000;

/// Longest start or stop of a camera that is not taken for a hang. A camera on a network is asked
/// several times before it is given up, setting by setting.
const SLOW_MAX: Duration = Duration::from_secs(30);

pub(super) struct CaptureStage {
    pub(super) camera: Box<dyn Camera>,
    /// Number of the camera at the station.
    pub(super) view: usize,
    pub(super) pool: Pool,
    pub(super) exit: Exit,
    pub(super) supervisor: Supervisor,
    pub(super) tally: Tally,
    /// What was told of the camera.
    pub(super) told: Option<(State, Option<Nanos>)>,
    /// Expected parts without a frame, as far as the supervisor knows of them.
    pub(super) unseen: u64,
    /// Until then the first frames wait for the other cameras; `None` once they do not any more.
    pub(super) together: Option<Nanos>,
    pub(super) board: Arc<Board>,
    pub(super) progress: Progress,
    pub(super) signals: Arc<Signals>,
    pub(super) clock: Arc<dyn Clock>,
}

/// Why the stage ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Stopped,
    Exhausted,
    NobodyListens,
}

impl CaptureStage {
    /// Runs until the source ends, a stop is asked for, or nobody takes the work.
    pub(super) fn run(mut self) -> Outcome {
        let end = loop {
            self.beat();
            if self.signals.stop_camera() {
                break End::Stopped;
            }
            let now = self.clock.now();
            match self.supervisor.order(now) {
                Order::Start { epoch } => self.start(epoch),
                Order::Pause { until } => pause(until.since(now)),
                Order::Read if self.waits(now) => pause(Nanos(0).plus_ms(1)),
                Order::Read => {
                    if let Some(end) = self.read(now) {
                        break end;
                    }
                }
            }
            self.tell_camera();
        };
        self.stop();
        self.exit.end(end != End::NobodyListens);
        // With several cameras the station ends when the last of them has.
        while end == End::Exhausted && !self.board.all_ended() && !self.signals.stop_camera() {
            self.beat();
            pause(Nanos(0).plus_ms(PAUSE_STEP_MS));
        }
        if end == End::Exhausted { Outcome::SourceEnded } else { Outcome::Done }
    }

    fn beat(&self) {
        self.progress.beat(Stage::Capture(self.view));
    }

    /// Whether the first frame waits for the other cameras. What this camera says reaches the
    /// matcher behind what the others said of their start.
    fn waits(&mut self, now: Nanos) -> bool {
        self.together = self.together.filter(|until| now < *until && !self.board.all_stream());
        self.together.is_some()
    }

    fn start(&mut self, epoch: u32) {
        let (camera, pool, stage) =
            (&mut self.camera, self.pool.clone(), Stage::Capture(self.view));
        let started = self.progress.through(stage, SLOW_MAX, || camera.start(pool, epoch));
        match started {
            Ok(()) => {
                tracing::info!(camera = self.view, epoch, "camera streaming");
                self.supervisor.started();
                self.unseen = self.board.unseen(self.view);
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "camera not started");
                self.lose(chain(&error));
            }
        }
    }

    fn stop(&mut self) {
        let (camera, stage) = (&mut self.camera, Stage::Capture(self.view));
        if let Err(error) = self.progress.through(stage, SLOW_MAX, || camera.stop()) {
            tracing::warn!(error = &error as &dyn std::error::Error, "camera not stopped");
        }
    }

    /// Takes one event of the camera.
    fn read(&mut self, now: Nanos) -> Option<End> {
        if self.is_silent(now) {
            return None;
        }
        let deadline = now.plus_ms(TICK.as_millis() as u64);
        let (trigger, picture) = match self.camera.next(deadline) {
            Ok(Event::Idle) => return None,
            Ok(Event::Frame { trigger, frame }) => (trigger, Ok(frame)),
            Ok(Event::Incomplete { trigger, why }) => (trigger, Err(why)),
            Ok(Event::End) => return Some(End::Exhausted),
            Ok(Event::Gone { reason }) => {
                tracing::error!(reason, "camera lost");
                self.lose(reason);
                return None;
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "camera failed");
                self.lose(chain(&error));
                return None;
            }
        };
        (!self.admit(&trigger, picture)).then_some(End::NobodyListens)
    }

    /// Whether so many expected parts brought no frame that the camera is given up.
    fn is_silent(&mut self, now: Nanos) -> bool {
        let unseen = self.board.unseen(self.view);
        let new = unseen.saturating_sub(self.unseen);
        self.unseen = unseen;
        let lost = self.supervisor.unseen(now, new);
        if lost {
            tracing::error!("expected parts brought no frame; the camera is started again");
            self.tell_camera();
            self.stop();
        }
        lost
    }

    fn lose(&mut self, cause: String) {
        self.supervisor.failed(self.clock.now(), cause);
        // First, because it takes its time to let go of a camera that does not answer.
        self.tell_camera();
        self.stop();
    }

    /// Hands over a trigger and the lost ones before it; false when nobody takes them.
    fn admit(&mut self, trigger: &Trigger, picture: Result<Frame, Damage>) -> bool {
        match self.supervisor.observe(trigger.seq) {
            Continuity::InOrder => {}
            Continuity::Gap(missing) => {
                tracing::error!(
                    first = missing.start,
                    frames = missing.end - missing.start,
                    "frames lost between camera and station"
                );
                self.note("frames lost between camera and station");
                for seq in missing {
                    if !self.exit.lost(&trigger.lost(seq), trigger.arrived) {
                        return false;
                    }
                }
            }
            Continuity::Stale => {
                // Its part has its verdict; a second one would contradict the first.
                tracing::warn!(frame = trigger.seq, "frame came twice or too late; ignored");
                return true;
            }
            Continuity::Jump => {
                tracing::error!(frame = trigger.seq, "frame numbers jumped: camera restarted?");
                self.note("frame numbers jumped: camera restarted?");
                if !self.exit.renumbered() {
                    return false;
                }
            }
        }
        match &picture {
            Ok(frame) => self.tally.copies = frame.meta.copies(),
            Err(Damage::Unreadable) => self.note("a frame came damaged"),
            Err(Damage::NoBuffer) => self.note("no free buffer: more parts than are inspected"),
            Err(Damage::Lost) => self.note("the camera did not deliver a frame"),
        }
        self.exit.trigger(trigger, picture)
    }

    fn note(&mut self, cause: &'static str) {
        self.supervisor.note(self.clock.now(), cause);
    }

    /// Tells how the camera is: its counts always, what else only when it is new.
    fn tell_camera(&mut self) {
        (self.tally.stats, self.tally.counts) = (self.camera.stats(), self.supervisor.counts());
        self.tally.replaced = self.exit.replaced();
        self.board.camera_counted(self.view, self.tally);
        let cause = self.supervisor.cause();
        let now = (self.supervisor.state(), cause.map(|cause| cause.at));
        if self.told != Some(now) {
            self.told = Some(now);
            let at_unix_s = self.clock.wall_unix_s();
            let cause = cause.map(|cause| (cause.text.clone(), at_unix_s));
            self.exit.changed(now.0, cause);
        }
    }
}

/// Sleeps, but no longer than a step.
fn pause(time: Nanos) {
    std::thread::sleep(Duration::from_nanos(time.min(Nanos(0).plus_ms(PAUSE_STEP_MS)).0));
}

/// An error with what is behind it, as one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(behind) = source {
        text.push_str(": ");
        text.push_str(&behind.to_string());
        source = behind.source();
    }
    text
}

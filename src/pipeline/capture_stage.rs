//! Stage 1: from the camera to the work queue; every accepted trigger becomes one piece of work.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{SendTimeoutError, Sender};

use super::board::Board;
use super::progress::{Progress, Stage};
use super::stage::{Outcome, Signals, TICK};
use super::work::{Input, Work};
use crate::capture::{Backoff, Camera, Continuity, Damage, Event, Supervisor, Trigger};
use crate::frame::{Frame, Pool};
use crate::judge::Reason;
use crate::station::{self, Action, Captured, Need, Step};
use crate::sys::clock::Clock;

/// Length of the steps in which a pause is slept, so that a stop ends it.
const PAUSE_STEP_MS: u64 = 50;

pub(super) struct CaptureStage {
    pub(super) camera: Box<dyn Camera>,
    pub(super) pool: Pool,
    pub(super) work: Sender<Work>,
    /// Scratch of one step.
    pub(super) scratch: Step,
    pub(super) board: Arc<Board>,
    pub(super) progress: Progress,
    pub(super) signals: Arc<Signals>,
    pub(super) clock: Arc<dyn Clock>,
}

/// Why one stream of the camera ended.
enum StreamEnd {
    Stopped,
    Exhausted,
    Lost,
    NobodyListens,
}

impl CaptureStage {
    /// Runs until the source ends, a stop is asked for, or nobody takes the work.
    pub(super) fn run(mut self) -> Outcome {
        let mut backoff = Backoff::default();
        let mut epoch = 0u32;
        loop {
            epoch = epoch.wrapping_add(1);
            let end = match self.camera.start(self.pool.clone(), epoch) {
                Ok(()) => {
                    tracing::info!(epoch, "camera streaming");
                    self.tell(station::Event::Need(Need::Camera, true));
                    self.stream(&mut backoff)
                }
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "camera not started");
                    StreamEnd::Lost
                }
            };
            if let Err(error) = self.camera.stop() {
                tracing::warn!(error = &error as &dyn std::error::Error, "camera not stopped");
            }
            if matches!(end, StreamEnd::Stopped | StreamEnd::Exhausted) {
                self.tell(station::Event::Ending);
            }
            self.tell(station::Event::Need(Need::Camera, false));
            match end {
                StreamEnd::Stopped => return Outcome::Done,
                StreamEnd::Exhausted => return Outcome::SourceEnded,
                StreamEnd::NobodyListens => return Outcome::Done,
                StreamEnd::Lost if self.pause(backoff.next_ms()) => {}
                StreamEnd::Lost => return Outcome::Done,
            }
        }
    }

    fn stream(&mut self, backoff: &mut Backoff) -> StreamEnd {
        let mut supervisor = Supervisor::default();
        loop {
            self.progress.beat(Stage::Capture);
            if self.signals.stop_camera() {
                return StreamEnd::Stopped;
            }
            let deadline = self.clock.now().plus_ms(TICK.as_millis() as u64);
            let (trigger, picture) = match self.camera.next(deadline) {
                Ok(Event::Idle) => continue,
                Ok(Event::Frame { trigger, frame }) => (trigger, Ok(frame)),
                Ok(Event::Incomplete { trigger, why }) => (trigger, Err(why)),
                Ok(Event::End) => return StreamEnd::Exhausted,
                Ok(Event::Gone { reason }) => {
                    tracing::error!(reason, "camera lost");
                    return StreamEnd::Lost;
                }
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "camera failed");
                    return StreamEnd::Lost;
                }
            };
            backoff.reset();
            if !self.admit(&mut supervisor, trigger, picture) {
                return StreamEnd::NobodyListens;
            }
        }
    }

    /// Hands over a trigger and the lost ones before it; false when nobody takes them.
    fn admit(
        &mut self,
        supervisor: &mut Supervisor,
        trigger: Trigger,
        picture: Result<Frame, Damage>,
    ) -> bool {
        match supervisor.observe(trigger.seq) {
            Continuity::InOrder => {}
            Continuity::Gap(missing) => {
                tracing::error!(
                    first = missing.start,
                    frames = missing.end - missing.start,
                    "frames lost between camera and station"
                );
                for seq in missing {
                    if !self.accept(&trigger.lost(seq), Err(Damage::Lost)) {
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
            }
        }
        self.accept(&trigger, picture)
    }

    /// The station accepts the trigger; the part goes to the inspection with what there is.
    fn accept(&mut self, trigger: &Trigger, picture: Result<Frame, Damage>) -> bool {
        let captured = Captured {
            trigger: trigger.id,
            part: trigger.part,
            recipe: trigger.recipe,
            arrived: trigger.arrived,
            damage: picture.as_ref().err().map(|why| reason(*why)),
        };
        self.board.step(self.clock.now(), station::Event::Captured(captured), &mut self.scratch);
        let work = self.scratch.drain(..).find_map(|action| match action {
            Action::Inspect(ticket) => Some((ticket, None)),
            Action::Skip(ticket, reason) => Some((ticket, Some(reason))),
            _ => None,
        });
        let input = |skipped: Option<Reason>| match (skipped, picture) {
            (None, Ok(frame)) => Input::Frame(frame),
            (Some(reason), _) => Input::Missing(reason),
            (None, Err(why)) => Input::Missing(reason(why)),
        };
        // Every captured trigger becomes exactly one part.
        work.is_none_or(|(ticket, skipped)| self.send(Work { ticket, input: input(skipped) }))
    }

    fn tell(&mut self, event: station::Event) {
        self.board.step(self.clock.now(), event, &mut self.scratch);
        self.scratch.clear();
    }

    /// Waits for room: an accepted trigger is never dropped here.
    fn send(&self, mut work: Work) -> bool {
        loop {
            match self.work.send_timeout(work, TICK) {
                Ok(()) => return true,
                Err(SendTimeoutError::Timeout(back)) => work = back,
                Err(SendTimeoutError::Disconnected(_)) => return false,
            }
            self.progress.beat(Stage::Capture);
        }
    }

    /// Sleeps; false when a stop was asked for.
    fn pause(&self, ms: u64) -> bool {
        let until = self.clock.now().plus_ms(ms);
        while self.clock.now() < until {
            self.progress.beat(Stage::Capture);
            if self.signals.stop_camera() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(PAUSE_STEP_MS));
        }
        !self.signals.stop_camera()
    }
}

fn reason(why: Damage) -> Reason {
    match why {
        Damage::Unreadable => Reason::FrameDamaged,
        Damage::NoBuffer => Reason::Overrun,
        Damage::Lost => Reason::FrameLost,
    }
}

//! Stage 1: from the camera to the work queue; every accepted trigger becomes one piece of work.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{SendTimeoutError, Sender};

use super::board::Board;
use super::progress::{Progress, Stage};
use super::stage::{Outcome, Signals, TICK};
use super::work::{Input, Work};
use crate::capture::{Backoff, Camera, Continuity, Damage, Event, Supervisor, Trigger};
use crate::frame::Pool;
use crate::judge::Reason;
use crate::station::{self, Need};
use crate::sys::clock::Clock;

/// Length of the steps in which a pause is slept, so that a stop ends it.
const PAUSE_STEP_MS: u64 = 50;

pub(super) struct CaptureStage {
    pub(super) camera: Box<dyn Camera>,
    pub(super) pool: Pool,
    pub(super) work: Sender<Work>,
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
                    self.board.apply(station::Event::Need(Need::Camera, true));
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
                self.board.apply(station::Event::Ending);
            }
            self.board.apply(station::Event::Need(Need::Camera, false));
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
            let (trigger, input) = match self.camera.next(deadline) {
                Ok(Event::Idle) => continue,
                Ok(Event::Frame { trigger, frame }) => (trigger, Input::Frame(frame)),
                Ok(Event::Incomplete { trigger, why }) => (trigger, Input::Missing(reason(why))),
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
            if !self.admit(&mut supervisor, trigger, input) {
                return StreamEnd::NobodyListens;
            }
        }
    }

    /// Hands over a trigger and the lost ones before it; false when nobody takes them.
    fn admit(&self, supervisor: &mut Supervisor, trigger: Trigger, input: Input) -> bool {
        match supervisor.observe(trigger.seq) {
            Continuity::InOrder => {}
            Continuity::Gap(missing) => {
                tracing::error!(
                    first = missing.start,
                    frames = missing.end - missing.start,
                    "frames lost between camera and station"
                );
                for seq in missing {
                    let lost = Work {
                        trigger: trigger.lost(seq),
                        input: Input::Missing(reason(Damage::Lost)),
                    };
                    if !self.send(lost) {
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
        self.send(Work { trigger, input })
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

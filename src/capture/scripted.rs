//! A camera that plays a list of steps: faults on demand, for tests of everything behind it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::{Camera, CameraError, CameraErrorKind, CameraStats, Damage, Event, Trigger};
use crate::frame::{
    CameraId, Frame, FrameMeta, Nanos, PartId, PixelFormat, Pool, RecipeId, TriggerId,
};
use crate::sys::clock::Clock;

/// What the camera does next.
#[derive(Clone, Debug)]
pub enum Step {
    /// A grey picture of this level, with the next frame number.
    Grey(u8),
    /// A trigger whose picture is damaged.
    Damaged,
    /// This many frame numbers are skipped: pictures the camera never delivered.
    Skip(u64),
    /// The last frame number comes again.
    Repeat(u8),
    /// Nothing until the deadline.
    Idle,
    /// Nothing for this long, whatever the deadline says: a driver that hangs.
    Hang(Duration),
    /// The camera is lost until it is started again.
    Gone,
    /// The next call fails.
    Fail,
    /// The camera code itself is wrong.
    Panic,
}

/// Plays [`Step`]s, then ends.
pub struct Scripted {
    clock: Arc<dyn Clock>,
    steps: VecDeque<Step>,
    size: (usize, usize),
    recipe: Option<RecipeId>,
    stream: Option<(Pool, u32)>,
    seq: u64,
    stats: CameraStats,
}

impl Scripted {
    /// Mono8 pictures of `size` (width, height) pixels for `recipe`.
    pub fn new(
        clock: Arc<dyn Clock>,
        size: (usize, usize),
        recipe: Option<RecipeId>,
        steps: impl IntoIterator<Item = Step>,
    ) -> Self {
        let steps = steps.into_iter().collect();
        Self { clock, steps, size, recipe, stream: None, seq: 0, stats: CameraStats::default() }
    }

    fn trigger(&self) -> Result<Trigger, CameraError> {
        let part = PartId::new(&format!("S{:06}", self.seq % 1_000_000)).map_err(|error| {
            CameraError::new(CameraErrorKind::Stream, format!("scripted part: {error}"))
        })?;
        Ok(Trigger {
            seq: self.seq,
            id: TriggerId(self.seq as u32),
            part,
            recipe: self.recipe,
            arrived: self.clock.now(),
        })
    }

    fn grey(&mut self, level: u8, deadline: Nanos) -> Result<Event, CameraError> {
        let Some((pool, epoch)) = self.stream.clone() else {
            return Err(not_started());
        };
        let (width, height) = self.size;
        let mut lease = loop {
            if let Some(lease) = pool.lease() {
                break lease;
            }
            if self.clock.now() >= deadline {
                self.steps.push_front(Step::Grey(level));
                return Ok(Event::Idle);
            }
            std::thread::sleep(Duration::from_micros(200));
        };
        lease[..width * height].fill(level);
        let trigger = self.trigger()?;
        let number = (epoch, trigger.seq);
        let (arrived, format) = (trigger.arrived, PixelFormat::Mono8);
        let meta = FrameMeta::packed(CameraId(0), number, arrived, format, self.size);
        self.stats.delivered += 1;
        Ok(Event::Frame { trigger, frame: Frame { meta, lease } })
    }
}

fn not_started() -> CameraError {
    CameraError::new(CameraErrorKind::Stream, "the scripted camera is not started")
}

impl Camera for Scripted {
    fn frame_bytes_max(&self) -> usize {
        self.size.0 * self.size.1
    }

    fn start(&mut self, pool: Pool, epoch: u32) -> Result<(), CameraError> {
        self.stream = Some((pool, epoch));
        Ok(())
    }

    fn next(&mut self, deadline: Nanos) -> Result<Event, CameraError> {
        if self.stream.is_none() {
            return Err(not_started());
        }
        let wait = |until: Nanos| {
            std::thread::sleep(Duration::from_nanos(until.since(self.clock.now()).0));
        };
        match self.steps.pop_front() {
            None => Ok(Event::End),
            Some(Step::Idle) => {
                wait(deadline);
                Ok(Event::Idle)
            }
            Some(Step::Hang(time)) => {
                std::thread::sleep(time);
                Ok(Event::Idle)
            }
            Some(Step::Skip(frames)) => {
                self.seq += frames;
                Ok(Event::Idle)
            }
            Some(Step::Gone) => {
                self.stream = None;
                self.seq = 0;
                Ok(Event::Gone { reason: "scripted".into() })
            }
            Some(Step::Fail) => {
                self.stream = None;
                self.seq = 0;
                Err(CameraError::new(CameraErrorKind::Stream, "scripted failure"))
            }
            Some(Step::Panic) => panic!("scripted panic in the camera"),
            Some(Step::Damaged) => {
                self.seq += 1;
                self.stats.incomplete += 1;
                Ok(Event::Incomplete { trigger: self.trigger()?, why: Damage::Unreadable })
            }
            Some(Step::Repeat(level)) => self.grey(level, deadline),
            Some(Step::Grey(level)) => {
                self.seq += 1;
                let event = self.grey(level, deadline)?;
                if matches!(event, Event::Idle) {
                    self.seq -= 1;
                }
                Ok(event)
            }
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

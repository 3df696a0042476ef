//! One stream of the replay: from a file to an event, with what the fault script does to it.

use std::time::Duration;

use super::Replay;
use super::faults::{Fault, FrameId, mix};
use super::load::{self, Shape};
use crate::capture::{CameraError, CameraErrorKind, Damage, Event, Trigger, Unwrap};
use crate::frame::{Frame, FrameMeta, Lease, Nanos, Pool, TriggerId};

/// Longest nap while waiting for a buffer, in milliseconds: short against any inference.
const BUFFER_NAP_MS: u64 = 1;
/// The bit of each byte that a flip turns round: the highest, so that it shows.
const FLIPPED_BIT: u8 = 0x80;

/// A file read ahead, waiting for its trigger.
enum Staged {
    Picture(Picture),
    Damaged(Damage),
}

struct Picture {
    lease: Lease,
    shape: Shape,
    /// Whether only the first half of it came.
    cut: bool,
}

/// A picture that comes late.
struct Held {
    number: u64,
    staged: Staged,
    /// When its trigger was.
    triggered: Nanos,
    /// When it comes.
    until: Nanos,
}

pub(super) struct Stream {
    pool: Pool,
    epoch: u32,
    /// Number of the trigger that is its first frame.
    first: u64,
    /// How the camera counts, when the script says how.
    counter: Option<(FrameId, Unwrap)>,
    staged: Option<Staged>,
    held: Option<Held>,
    /// This trigger's picture comes once more.
    again: Option<u64>,
    /// No frame number has been told that a later one could be missed by: what passes is told.
    catching_up: bool,
}

impl Stream {
    /// A stream whose first frame is trigger number `first`.
    pub(super) fn new(pool: Pool, epoch: u32, first: u64, frame_id: Option<FrameId>) -> Self {
        let counter = frame_id.map(|id| (id, Unwrap::new(id.counter)));
        let (staged, held, again) = (None, None, None);
        Self { pool, epoch, first, counter, staged, held, again, catching_up: true }
    }

    /// Whether no frame handed over before waits for its inspection. Without a rate the next
    /// trigger comes only then: its latency is not spent in a queue that the replay filled.
    fn others_are_back(&self) -> bool {
        let mine = usize::from(matches!(self.staged, Some(Staged::Picture(..))));
        self.pool.free() + mine == self.pool.slots()
    }

    /// The camera's own number of a trigger, as it came and without wrapping.
    fn number(&mut self, number: u64) -> Result<(Option<u64>, u64), CameraError> {
        let nth = number - self.first;
        let Some((id, unwrap)) = &mut self.counter else { return Ok((None, nth + 1)) };
        let raw = id.raw(nth);
        let seq = unwrap.number(raw).ok_or_else(|| {
            let message = format!("frame number {raw} is none of this counter's");
            CameraError::new(CameraErrorKind::Stream, message)
        })?;
        Ok((Some(raw), seq))
    }
}

impl Replay {
    /// The next event of the stream; [`Event::Idle`] at `deadline` at the latest.
    pub(super) fn step(
        &mut self,
        stream: &mut Stream,
        deadline: Nanos,
    ) -> Result<Event, CameraError> {
        let held = u64::from(stream.held.is_some());
        if stream.catching_up && self.told + held < self.triggers {
            return self.tell_lost(stream);
        }
        if let Some(number) = stream.again.take()
            && let Some(event) = self.repeat(stream, number, deadline)?
        {
            return Ok(event);
        }
        if stream.held.is_some() {
            return self.release(stream, deadline);
        }
        if self.is_exhausted() {
            return if self.told < self.triggers { self.tell_lost(stream) } else { Ok(Event::End) };
        }
        match self.wait(stream, deadline) {
            Some(staged) => self.trigger(stream, staged),
            None => Ok(Event::Idle),
        }
    }

    /// A trigger whose picture nobody will see, and which no later frame number tells of.
    fn tell_lost(&mut self, stream: &mut Stream) -> Result<Event, CameraError> {
        let number = self.told + 1;
        self.hand_over(stream, number, Staged::Damaged(Damage::Lost), self.clock.now())
    }

    /// Reads the next file ahead, when there is a buffer for it.
    fn stage(&self, stream: &mut Stream) {
        if stream.staged.is_none() {
            stream.staged = self.load(&stream.pool, self.triggers + 1);
        }
    }

    /// Reads the file of a trigger; `None` without a buffer for it.
    fn load(&self, pool: &Pool, number: u64) -> Option<Staged> {
        // Asked first: waiting for a buffer is no refusal that the pool should count.
        if pool.free() == 0 {
            return None;
        }
        let mut lease = pool.lease()?;
        let item = self.item(number);
        Some(match load::load(&item.path, self.options.source, &mut lease) {
            Ok(shape) => Staged::Picture(Picture { lease, shape, cut: false }),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(file = %item.path.display(), error, "no usable picture in this file");
                Staged::Damaged(Damage::Unreadable)
            }
        })
    }

    /// Waits until a staged file may be handed over; what is handed over, or `None` at
    /// `deadline`.
    fn wait(&self, stream: &mut Stream, deadline: Nanos) -> Option<Staged> {
        if self.options.triggered {
            return self.wait_fired(stream, deadline);
        }
        loop {
            self.stage(stream);
            let now = self.clock.now();
            if self.due.is_some_and(|due| now >= due) {
                return Some(stream.staged.take().unwrap_or(Staged::Damaged(Damage::NoBuffer)));
            }
            if self.due.is_none()
                && stream.others_are_back()
                && let Some(staged) = stream.staged.take()
            {
                return Some(staged);
            }
            if now >= deadline {
                return None;
            }
            let until = self.due.map_or(deadline, |due| due.min(deadline));
            // With a file staged only the time is waited for; otherwise a buffer, too.
            let nap = if self.due.is_some() && stream.staged.is_some() {
                until.since(now).0
            } else {
                BUFFER_NAP_MS * 1_000_000
            };
            std::thread::sleep(Duration::from_nanos(nap.min(until.since(now).0)));
        }
    }

    /// Waits for a software trigger.
    fn wait_fired(&self, stream: &mut Stream, deadline: Nanos) -> Option<Staged> {
        self.stage(stream);
        let wait = Duration::from_nanos(deadline.since(self.clock.now()).0);
        self.fired.1.recv_timeout(wait).ok()?;
        self.stage(stream);
        Some(stream.staged.take().unwrap_or(Staged::Damaged(Damage::NoBuffer)))
    }

    /// The trigger of the staged file has come.
    fn trigger(&mut self, stream: &mut Stream, staged: Staged) -> Result<Event, CameraError> {
        let now = self.clock.now();
        let number = self.count();
        let fault = self.faults.at(number);
        if let Some(fault) = fault {
            tracing::info!(picture = number, ?fault, "fault script");
        }
        let staged = match (fault, staged) {
            (Some(Fault::Drop), _) => return Ok(Event::Idle),
            (Some(Fault::Disconnect), _) => {
                let reason = "the fault script disconnects the camera".to_owned();
                return Ok(Event::Gone { reason });
            }
            (Some(Fault::Late(ms)), staged) => {
                let until = now.plus_ms(ms);
                stream.held = Some(Held { number, staged, triggered: now, until });
                return Ok(Event::Idle);
            }
            (Some(Fault::Cut), Staged::Picture(picture)) => {
                Staged::Picture(Picture { cut: true, ..picture })
            }
            (Some(Fault::Flip), Staged::Picture(mut picture)) => {
                flip(&mut picture, number);
                Staged::Picture(picture)
            }
            (Some(Fault::Duplicate), staged) => {
                stream.again = Some(number);
                staged
            }
            (_, staged) => staged,
        };
        self.hand_over(stream, number, staged, now)
    }

    /// Hands a late picture over when it is time.
    fn release(&mut self, stream: &mut Stream, deadline: Nanos) -> Result<Event, CameraError> {
        let Some(held) = stream.held.take() else { return Ok(Event::Idle) };
        let wait = held.until.min(deadline).since(self.clock.now());
        std::thread::sleep(Duration::from_nanos(wait.0));
        if held.until > deadline {
            stream.held = Some(held);
            return Ok(Event::Idle);
        }
        self.hand_over(stream, held.number, held.staged, held.triggered)
    }

    /// The picture of a trigger once more. Without a rate a buffer is waited for; with one, the
    /// camera has none for what it has sent already.
    fn repeat(
        &mut self,
        stream: &mut Stream,
        number: u64,
        deadline: Nanos,
    ) -> Result<Option<Event>, CameraError> {
        let waits = self.due.is_none() && !self.options.triggered;
        loop {
            match self.load(&stream.pool, number) {
                Some(Staged::Picture(picture)) => {
                    let (staged, now) = (Staged::Picture(picture), self.clock.now());
                    return self.hand_over(stream, number, staged, now).map(Some);
                }
                None if waits => {}
                Some(Staged::Damaged(_)) | None => return Ok(None),
            }
            if self.clock.now() >= deadline {
                stream.again = Some(number);
                return Ok(Some(Event::Idle));
            }
            std::thread::sleep(Duration::from_millis(BUFFER_NAP_MS));
        }
    }

    /// Tells the station of trigger `number`, which came at `triggered`.
    fn hand_over(
        &mut self,
        stream: &mut Stream,
        number: u64,
        staged: Staged,
        triggered: Nanos,
    ) -> Result<Event, CameraError> {
        let (raw, seq) = stream.number(number)?;
        let item = self.item(number);
        let trigger = Trigger {
            seq,
            // The PLC's number is 32 bits wide and wraps.
            id: TriggerId(number as u32),
            part: item.part,
            recipe: item.recipe,
            arrived: triggered,
        };
        self.told = number;
        stream.catching_up &= self.told < self.triggers;
        let picture = match staged {
            Staged::Picture(Picture { lease, shape, cut }) => {
                let size = (shape.width, shape.height);
                let (camera, arrived) = (self.options.camera, self.clock.now());
                let number = (stream.epoch, seq);
                let mut meta = FrameMeta::packed(camera, number, arrived, shape.format, size);
                meta.facts.raw_id = raw;
                if cut {
                    meta.bytes /= 2;
                }
                Ok(Frame { meta, lease })
            }
            Staged::Damaged(why) => Err(why),
        };
        Ok(self.stats.tell(trigger, picture))
    }
}

/// Turns a bit of every byte in a third of the picture; which third depends on the number.
fn flip(picture: &mut Picture, number: u64) {
    let bytes = picture.shape.bytes().unwrap_or(0).min(picture.lease.len());
    let third = bytes / 3;
    let start = (mix(number) % 3) as usize * third;
    picture.lease[start..start + third].iter_mut().for_each(|byte| *byte ^= FLIPPED_BIT);
}

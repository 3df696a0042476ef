//! The camera as the station sees it: opened, set up, streaming into the station's own buffers.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

use super::apply::apply;
use super::device::{Chunks, Counters, Delivery, Device, Stream, Transport};
use super::frames::{Ids, Shape, Taken, Unsent, WAITS_AT_START, meta, outcome, taken};
use super::plan::{Step, steps};
use crate::capture::{
    Camera, CameraError, CameraErrorKind, CameraStats, Damage, Event, GAP_PARTS_MAX, SoftTrigger,
    Trigger,
};
use crate::config::{FeatureValue, Gige as Settings};
use crate::frame::{CameraId, Frame, FrameMeta, Nanos, Pool, TriggerId};
use crate::sys::clock::Clock;

/// While buffers are out in the station, one that came home is given to the camera within this
/// time: far below the time between two parts.
const REFILL_NS: u64 = 1_000_000;
/// A frame counts as this old at most. One that says more was sent before the wall clock was set,
/// or nobody looked for as long: it is late for any usual deadline, which is the safe answer to both.
const AGE_NS_MAX: u64 = 10_000_000_000;

/// Settings of a GigE Vision or USB3 Vision camera.
#[derive(Clone, Debug, PartialEq)]
pub struct GigeOptions {
    /// The table `[camera.gige]`.
    pub settings: Settings,
    /// Pictures come only when [`Camera::soft_trigger`] asks for them.
    pub software_trigger: bool,
    /// Number of this camera.
    pub camera: CameraId,
}

/// The device while it is not being opened or set up; the software trigger waits for nothing.
type Shared = Arc<Mutex<Option<Box<dyn Device>>>>;

/// A GigE Vision or USB3 Vision camera.
pub struct Gige {
    options: GigeOptions,
    clock: Arc<dyn Clock>,
    transport: Box<dyn Transport>,
    device: Shared,
    steps: Vec<Step>,
    /// Set up by `open` and not streaming since.
    fresh: bool,
    frame: Shape,
    stream: Option<Streaming>,
    /// The newest frame number and its trigger number, over all streams.
    numbered: Numbers,
    stats: CameraStats,
    /// Of streams that are over.
    past: Counters,
}

struct Streaming {
    stream: Box<dyn Stream>,
    pool: Pool,
    epoch: u32,
    ids: Ids,
    /// Triggers without a frame, when the camera counts them.
    unsent: Unsent,
    /// The newest frame's own number, and its number among the triggers.
    newest: Option<(u64, u64)>,
    underruns: u64,
    /// Numbers that found no buffer, to be reported before the frame that showed it.
    owed: Range<u64>,
    held: Option<(Trigger, Result<Frame, Damage>)>,
    /// Once the camera is lost: buffers that may still be taken. One whose control was taken away
    /// may go on sending for ever, with whatever settings somebody else gives it.
    last_buffers: Option<usize>,
}

impl Gige {
    /// Opens the camera, takes control, applies all settings and reads them back.
    pub(super) fn open_with(
        options: GigeOptions,
        clock: Arc<dyn Clock>,
        mut transport: Box<dyn Transport>,
    ) -> Result<Self, CameraError> {
        let steps = steps(&options.settings, options.software_trigger);
        let device = take(transport.as_mut(), &options.settings.device, WAITS_AT_START)?;
        let frame = set_up(device.as_ref(), &steps)?;
        tracing::info!(
            camera = %device.identity(), frame_bytes = frame.bytes, "camera opened and set up"
        );
        Ok(Self {
            options,
            clock,
            transport,
            device: Arc::new(Mutex::new(Some(device))),
            steps,
            fresh: true,
            frame,
            stream: None,
            numbered: Numbers::default(),
            stats: CameraStats::default(),
            past: Counters::default(),
        })
    }

    fn take_device(&self) -> Option<Box<dyn Device>> {
        self.device.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put_device(&self, device: Box<dyn Device>) {
        *self.device.lock().unwrap_or_else(PoisonError::into_inner) = Some(device);
    }

    /// A device that is ours and set up: the one that is open, or a new one.
    fn ready_device(&mut self) -> Result<Box<dyn Device>, CameraError> {
        let open = self.take_device().filter(|device| device.is_ours() && !device.is_lost());
        if let Some(device) = open {
            if !std::mem::take(&mut self.fresh) {
                self.frame = set_up(device.as_ref(), &self.steps)?;
            }
            return Ok(device);
        }
        self.fresh = false;
        let device = take(self.transport.as_mut(), &self.options.settings.device, 0)?;
        // A camera that was without power has forgotten everything.
        self.frame = set_up(device.as_ref(), &self.steps)?;
        tracing::info!(camera = %device.identity(), "camera opened again and set up");
        Ok(device)
    }

    /// Ends the stream, if there is one; its buffers go home.
    fn end_stream(&mut self) {
        if let Some(streaming) = self.stream.take() {
            let now = streaming.stream.counters();
            self.past.underruns += now.underruns;
            self.past.missing += now.missing;
            self.past.resent += now.resent;
        }
    }

    /// What a buffer that came back says; `None` when it is no trigger.
    fn take_in(&mut self, delivery: Delivery) -> Option<(Trigger, Result<Frame, Damage>)> {
        let streaming = self.stream.as_mut()?;
        let shape = self.frame;
        let result = outcome(&delivery, shape.pitch)?;
        let id = delivery.raw_id.and_then(|raw| streaming.ids.number(raw))?;
        let trigger = self.options.settings.trigger.as_ref();
        let is_counted = trigger.is_some_and(|trigger| trigger.counter.is_some());
        let Chunks { counter, frame_id, .. } = delivery.chunks;
        let seq = streaming.unsent.number(id, if is_counted { counter } else { frame_id });
        let now = self.clock.now();
        let arrived = Nanos(now.0.saturating_sub(delivery.age_ns.min(AGE_NS_MAX)));
        let trigger = Trigger::counted(seq, self.numbered.id_of(seq), arrived);
        let picture = result.map(|()| {
            let number = (streaming.epoch, seq);
            let format = self.options.settings.pixel_format;
            let base = FrameMeta::packed(self.options.camera, number, now, format, (0, 0));
            Frame { meta: meta(base, &delivery, &shape), lease: delivery.lease }
        });
        streaming.blame(id, seq);
        Some((trigger, picture))
    }

    /// What is still to be reported before the next buffer.
    fn owed(&mut self) -> Option<Event> {
        let streaming = self.stream.as_mut()?;
        let (trigger, _) = streaming.held.as_ref()?;
        let (trigger, picture) = match streaming.owed.next() {
            Some(seq) => (trigger.lost(seq), Err(Damage::NoBuffer)),
            None => streaming.held.take()?,
        };
        Some(self.stats.tell(trigger, picture))
    }
}

impl Streaming {
    /// Whether the camera is lost and what it sent before is taken.
    fn is_over(&mut self) -> bool {
        if self.last_buffers.is_none() && self.stream.is_lost() {
            self.last_buffers = Some(self.stream.pushed());
        }
        self.last_buffers == Some(0)
    }

    /// Gives every free buffer to the camera.
    fn refill(&mut self) {
        // Asked first: finding none here is no refusal that the pool should count.
        while self.pool.free() > 0 {
            let Some(lease) = self.pool.lease() else { return };
            self.stream.push(lease);
        }
    }

    /// Finds out whether numbers missing before frame `id`, which is `seq` among the triggers, are
    /// missing for want of a buffer.
    fn blame(&mut self, id: u64, seq: u64) {
        let Some((newest_id, newest)) = self.newest.replace((id, seq)) else { return };
        if seq < newest {
            self.newest = Some((newest_id, newest));
        }
        let first = newest.saturating_add(1);
        let frames = id.saturating_sub(newest_id.saturating_add(1));
        // Frames that were never sent say nothing of buffers.
        if frames == 0 || seq <= first || seq - first > GAP_PARTS_MAX {
            return;
        }
        // Packets without a buffer are counted, so it says whether, not how many frames.
        let underruns = self.stream.counters().underruns;
        if underruns > self.underruns {
            self.underruns = underruns;
            self.owed = first..seq;
        }
    }
}

/// Opens a camera and makes sure that it is ours.
fn take(
    transport: &mut dyn Transport,
    name: &str,
    waits: u32,
) -> Result<Box<dyn Device>, CameraError> {
    let mut attempt = 0;
    loop {
        let device = transport.open(name).map_err(|error| {
            let remedy = "check its power, its cable and its name; `crrd camera list` shows the \
                          cameras that answer";
            failed(CameraErrorKind::Open, &format!("camera {name:?}: {error}; {remedy}"))
        })?;
        match taken(device.is_ours(), attempt, waits) {
            Taken::Use => {
                quiet(device.as_ref());
                return Ok(device);
            }
            Taken::Again(ms) => {
                tracing::warn!(
                    camera = %device.identity(),
                    "controlled by another process, or still by one that died; waiting {ms} ms"
                );
                drop(device);
                transport.pause(ms);
                attempt += 1;
            }
            Taken::GiveUp => {
                let what = format!(
                    "camera {}: owned by someone else: another process or machine controls it; \
                     stop that (a viewer, a second station), then start again",
                    device.identity()
                );
                return Err(failed(CameraErrorKind::Open, &what));
            }
        }
    }
}

/// Ends what a user that vanished left running. Such a camera goes on sending as soon as it is
/// controlled again: to the port of that user, whatever port it is given afterwards, and with
/// settings that are locked meanwhile.
fn quiet(device: &dyn Device) {
    if let Err(error) = device.stop() {
        // One that is at rest may say so by an error; one that is not refuses its settings.
        tracing::debug!(camera = %device.identity(), %error, "not stopped before it is set up");
    }
}

/// Applies all settings and learns what a frame looks like.
fn set_up(device: &dyn Device, steps: &[Step]) -> Result<Shape, CameraError> {
    apply(device, steps)?;
    let whole = |name: &str| match device.kind(name).map(|_| device.read(name)) {
        Some(Ok(FeatureValue::Integer(value))) => usize::try_from(value).ok(),
        _ => None,
    };
    let Some(bytes) = whole("PayloadSize").filter(|bytes| *bytes > 0) else {
        let what = format!("camera {}: it does not tell its PayloadSize", device.identity());
        return Err(failed(CameraErrorKind::Settings, &what));
    };
    let extended =
        device.kind("GevGVSPExtendedIDMode").map(|_| device.read("GevGVSPExtendedIDMode"));
    let wide = device.identity().address.is_empty()
        || extended == Some(Ok(FeatureValue::Text("On".into())));
    let tick_hz = whole("GevTimestampTickFrequency").map(|hz| hz as u64);
    Ok(Shape { bytes, pitch: whole("LinePitch"), wide, tick_hz })
}

fn failed(kind: CameraErrorKind, what: &str) -> CameraError {
    CameraError::new(kind, what)
}

impl Camera for Gige {
    fn frame_bytes_max(&self) -> usize {
        self.frame.bytes
    }

    fn start(&mut self, pool: Pool, epoch: u32) -> Result<(), CameraError> {
        self.end_stream();
        let mut device = self.ready_device()?;
        let camera = device.identity().to_string();
        if self.frame.bytes > pool.bytes_each() {
            let what = format!(
                "camera {camera}: a frame has {} bytes now, the buffers {}: its settings changed; \
                 start the station again",
                self.frame.bytes,
                pool.bytes_each()
            );
            return Err(failed(CameraErrorKind::Settings, &what));
        }
        let broken = |error: super::device::DeviceError| {
            failed(CameraErrorKind::Stream, &format!("camera {camera}: no stream: {error}"))
        };
        let stream = device.stream(&self.options.settings.link).map_err(broken)?;
        let mut streaming = Streaming {
            stream,
            pool,
            epoch,
            ids: Ids::new(self.frame.wide),
            unsent: Unsent::default(),
            newest: None,
            underruns: 0,
            owed: 0..0,
            held: None,
            last_buffers: None,
        };
        streaming.refill();
        device.start().map_err(broken)?;
        self.numbered.restart();
        self.stream = Some(streaming);
        self.put_device(device);
        Ok(())
    }

    fn next(&mut self, deadline: Nanos) -> Result<Event, CameraError> {
        loop {
            if let Some(event) = self.owed() {
                return Ok(event);
            }
            let Some(streaming) = self.stream.as_mut() else {
                let what = "the camera is not started: start it before asking for frames";
                return Err(failed(CameraErrorKind::Stream, what));
            };
            if streaming.is_over() {
                let reason = format!("camera {:?}: control lost", self.options.settings.device);
                return Ok(Event::Gone { reason });
            }
            streaming.refill();
            let left = deadline.since(self.clock.now()).0;
            let all = streaming.stream.pushed() == streaming.pool.slots();
            let wait = match (streaming.last_buffers, all) {
                (Some(_), _) => 0,
                (None, true) => left,
                (None, false) => left.min(REFILL_NS),
            };
            let came = streaming.stream.pop(wait);
            if let Some(last) = streaming.last_buffers.as_mut() {
                *last = if came.is_some() { last.saturating_sub(1) } else { 0 };
            }
            match came {
                Some(delivery) => {
                    let taken = self.take_in(delivery);
                    if let Some(streaming) = self.stream.as_mut() {
                        streaming.held = taken;
                    }
                }
                None if streaming.last_buffers.is_some() || streaming.stream.is_lost() => {}
                None if left == 0 => return Ok(Event::Idle),
                None => {}
            }
        }
    }

    fn stats(&self) -> CameraStats {
        let now = self.stream.as_ref().map(|s| s.stream.counters()).unwrap_or_default();
        CameraStats {
            packets_missing: self.past.missing + now.missing,
            packets_resent: self.past.resent + now.resent,
            ..self.stats
        }
    }

    fn soft_trigger(&self) -> Option<SoftTrigger> {
        let device = Arc::clone(&self.device);
        let fire = move || {
            let device = match device.try_lock() {
                Ok(device) => device,
                Err(TryLockError::Poisoned(device)) => device.into_inner(),
                Err(TryLockError::WouldBlock) => return false,
            };
            let Some(device) = device.as_ref().filter(|device| !device.is_lost()) else {
                return false;
            };
            let fired = device.run("TriggerSoftware");
            if let Err(error) = &fired {
                tracing::warn!(camera = %device.identity(), %error, "software trigger refused");
            }
            fired.is_ok()
        };
        self.options.software_trigger.then(|| Box::new(fire) as SoftTrigger)
    }

    fn stop(&mut self) -> Result<(), CameraError> {
        let streamed = self.stream.is_some();
        let device = self.take_device().filter(|device| !device.is_lost());
        let stopped = device.as_ref().filter(|_| streamed).map_or(Ok(()), |device| device.stop());
        self.end_stream();
        let Some(device) = device else { return Ok(()) };
        let who = device.identity().to_string();
        match stopped {
            Ok(()) => {
                self.put_device(device);
                Ok(())
            }
            // One that does not answer is opened anew.
            Err(error) => Err(failed(
                CameraErrorKind::Stream,
                &format!("camera {who}: does not stop: {error}"),
            )),
        }
    }
}

impl Drop for Gige {
    fn drop(&mut self) {
        // The camera must not go on sending, and its memory must be taken back before it is freed.
        if let Err(error) = self.stop() {
            tracing::warn!(error = &error as &dyn std::error::Error, "camera not stopped");
        }
    }
}

/// Trigger numbers: counted on over all streams, and in step with the frame numbers of each.
#[derive(Clone, Copy, Debug, Default)]
struct Numbers {
    /// The newest trigger number.
    newest: u64,
    /// The frame number it belongs to, in this stream.
    seq: Option<u64>,
}

impl Numbers {
    fn restart(&mut self) {
        self.seq = None;
    }

    fn id_of(&mut self, seq: u64) -> TriggerId {
        let number = match self.seq {
            // Late: it keeps the number that it was passed over with.
            Some(newest) if seq <= newest => self.newest.saturating_sub(newest - seq),
            Some(newest) if seq - newest <= GAP_PARTS_MAX + 1 => self.newest + (seq - newest),
            // The first, or after a jump that is no loss.
            _ => self.newest + 1,
        };
        if self.seq.is_none_or(|newest| seq > newest) {
            self.newest = number;
            self.seq = Some(seq);
        }
        // The PLC's number is 32 bits wide and wraps.
        TriggerId(number as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trigger_numbers_count_on_over_streams_gaps_and_jumps_and_never_twice() {
        let mut numbers = Numbers::default();
        let mut ids = |seqs: &[u64]| seqs.iter().map(|s| numbers.id_of(*s).0).collect::<Vec<_>>();
        assert_eq!(ids(&[100, 101, 104, 103]), [1, 2, 5, 4]);
        assert_eq!(ids(&[1 << 33, (1 << 33) + 1]), [6, 7]);
        numbers.restart();
        assert_eq!([1, 2].map(|seq| numbers.id_of(seq).0), [8, 9]);
    }
}

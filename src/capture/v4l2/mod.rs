//! Cameras of the kernel (Video4Linux2): USB cameras of the video class, and CSI or GMSL sensors
//! whose driver is a video node. Written on the kernel's own requests.
//!
//! The driver writes each picture into one of a ring of buffers, and that very buffer travels to
//! the engine as a lease; dropped, from any thread in any order, it is queued again. Nothing is
//! copied. Buffers are the driver's, exported as DMA buffers where it can
//! ([`Way::Mmap`]), or the station's own ([`Way::UserPtr`]).
//!
//! Settings are applied and read back at every start. The driver's frame number finds lost
//! pictures; those that were lost because every buffer was in use are named so. Silence is normal,
//! because a triggered camera has nothing to say between two parts.

mod abi;
mod describe;
pub mod device;
mod fourcc;
mod kernel;
mod lists;
#[cfg(test)]
pub(crate) mod model;
mod settings;
mod stream;

pub use describe::{ControlState, Description, FormatState, describe};
pub use device::{Device, Interval, Way};
pub use fourcc::FourCc;
pub use kernel::Kernel;

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::{
    Camera, CameraError, CameraErrorKind, CameraStats, Counter, Damage, Event, GAP_PARTS_MAX,
    Trigger, Unwrap,
};
use crate::frame::{CameraId, Facts, Frame, FrameMeta, Nanos, PixelFormat, Pool, TriggerId};
use crate::sys::clock::Clock;
use device::{Filled, Layout, Ready};
use stream::{Queue, Taken};

/// Most buffers that the kernel gives a stream (`VIDEO_MAX_FRAME`).
pub const BUFFERS_MAX: u32 = 32;
/// Fewer cannot stream: one is filled while another is looked at.
pub const BUFFERS_MIN: u32 = 2;
/// Buffers that stay with the driver while all others are with the station.
const BUFFERS_SPARE: u32 = 3;

/// Settings of a V4L2 camera.
#[derive(Clone, Debug, PartialEq)]
pub struct V4l2Options {
    /// The video node, best by a name that stays (`/dev/v4l/by-id/...`).
    pub device: PathBuf,
    /// Layout of a pixel.
    pub format: PixelFormat,
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Time between two pictures; as the camera has it when `None`.
    pub interval: Option<Interval>,
    /// Whose memory the pictures are written into.
    pub way: Way,
    /// Buffers; when `None`, as many as the station can hold and some for the driver.
    pub buffers: Option<u32>,
    /// Controls and their values.
    pub controls: Vec<Setting>,
    /// Number of this camera.
    pub camera: CameraId,
}

/// A control and the value it shall have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// As `v4l2-ctl --list-ctrls` shows it, or its number as `0x...`.
    pub name: String,
    /// The value.
    pub value: Value,
}

/// A value of a control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number.
    Number(i64),
    /// On or off.
    Flag(bool),
    /// A choice of a menu.
    Word(String),
}

/// Opens the device; again after it was lost.
pub type Opener = Box<dyn FnMut() -> io::Result<Arc<dyn Device>> + Send>;

/// A V4L2 camera.
pub struct V4l2 {
    options: V4l2Options,
    opener: Opener,
    clock: Arc<dyn Clock>,
    device: Option<Arc<dyn Device>>,
    layout: Layout,
    stream: Option<Stream>,
    /// Triggers so far, over all streams.
    triggers: u32,
    stats: CameraStats,
}

struct Stream {
    device: Arc<dyn Device>,
    queue: Arc<Queue>,
    epoch: u32,
    started: Nanos,
    unwrap: Unwrap,
    /// The last frame number, and whether the driver was found not to count.
    last: Option<u64>,
    uncounted: bool,
    /// Parts that found no buffer, told before the picture that came after them.
    missing: Range<u64>,
    held: Option<(Trigger, Result<Frame, Damage>)>,
}

impl V4l2 {
    /// Opens the device and applies the settings; it does not stream yet.
    ///
    /// # Errors
    /// When it cannot be opened or does not take the settings; the message says what to do.
    pub fn open(options: V4l2Options, clock: Arc<dyn Clock>) -> Result<Self, CameraError> {
        let path = options.device.clone();
        let opener = move || Kernel::open(&path).map(|kernel| Arc::new(kernel) as Arc<dyn Device>);
        Self::open_by(options, Box::new(opener), clock)
    }

    /// The same on whatever `opener` opens.
    ///
    /// # Errors
    /// As [`V4l2::open`].
    pub fn open_by(
        options: V4l2Options,
        mut opener: Opener,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, CameraError> {
        let device = open(&options, &mut opener)?;
        let layout = settings::apply(&*device, &options)?;
        let stats = CameraStats::default();
        let device = Some(device);
        Ok(Self { options, opener, clock, device, layout, stream: None, triggers: 0, stats })
    }

    /// Rows, strides and sizes as the driver states them.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    fn failed(&self, what: &str, error: io::Error) -> CameraError {
        let message = format!("{} {what}", self.options.device.display());
        CameraError::with_source(CameraErrorKind::Stream, message, error)
    }

    fn buffers(&self, pool: &Pool) -> u32 {
        let station = u32::try_from(pool.slots()).unwrap_or(u32::MAX);
        let wanted = self.options.buffers.unwrap_or(station.saturating_add(BUFFERS_SPARE));
        wanted.clamp(BUFFERS_MIN, BUFFERS_MAX)
    }

    fn stream_into(
        &mut self,
        device: Arc<dyn Device>,
        pool: &Pool,
        epoch: u32,
    ) -> Result<Stream, CameraError> {
        let way = self.options.way;
        if way == Way::UserPtr && pool.bytes_each() < self.layout.bytes as usize {
            let message = format!(
                "{} wants buffers of {} bytes and the station has {}: restart the station",
                self.options.device.display(),
                self.layout.bytes,
                pool.bytes_each()
            );
            return Err(CameraError::new(CameraErrorKind::Settings, message));
        }
        let slabs = stream::memory(&*device, way, self.buffers(pool), pool);
        let slabs = slabs.map_err(|error| self.failed(no_buffers(way, &error), error))?;
        if slabs.len() < BUFFERS_MIN as usize {
            let message = format!(
                "{} gives {} buffers and {BUFFERS_MIN} are needed: wait until pictures of the \
                 last stream are judged",
                self.options.device.display(),
                slabs.len()
            );
            return Err(CameraError::new(CameraErrorKind::Stream, message));
        }
        let queue = Queue::start(Arc::clone(&device), way, epoch, slabs);
        let queue = queue.map_err(|error| self.failed("does not start to stream", error))?;
        Ok(Stream {
            device,
            queue,
            epoch,
            started: self.clock.now(),
            unwrap: Unwrap::new(Counter::Wrap32),
            last: None,
            uncounted: false,
            missing: 0..0,
            held: None,
        })
    }

    /// The trigger and the picture of a filled buffer.
    fn receive(&mut self, stream: &mut Stream, taken: Taken) -> Event {
        let Taken { filled, starved } = taken;
        let now = self.clock.now();
        let seq = stream.number(filled.sequence);
        let missing = stream.last.map_or(seq, |last| last + 1)..seq;
        stream.last = Some(seq);
        let lost = missing.end - missing.start;
        // Trigger numbers go on by what the camera counted, so that those of lost parts fit.
        self.triggers = self.triggers.wrapping_add(lost as u32).wrapping_add(1);
        let trigger = Trigger::counted(seq, TriggerId(self.triggers), stream.arrived(now, &filled));
        let picture = self.picture(stream, filled, trigger);
        if starved && (1..=GAP_PARTS_MAX).contains(&lost) {
            tracing::warn!(frames = lost, "no free buffer: the line is faster than the inspection");
            stream.missing = missing;
            stream.held = Some((trigger, picture));
            return self.next_missing(stream).unwrap_or(Event::Idle);
        }
        self.stats.tell(trigger, picture)
    }

    fn picture(&self, stream: &Stream, filled: Filled, trigger: Trigger) -> Result<Frame, Damage> {
        let Filled { slot, slab, bytes, offset, damaged, sequence, stamp_ns, .. } = filled;
        let lease = stream.queue.lend(slab, slot);
        let facts =
            Facts { raw_id: Some(u64::from(sequence)), device_ns: stamp_ns, ..Facts::default() };
        let meta = FrameMeta {
            camera: self.options.camera,
            epoch: stream.epoch,
            seq: trigger.seq,
            arrived: trigger.arrived,
            format: self.options.format,
            width: self.layout.width as usize,
            height: self.layout.height as usize,
            stride: self.layout.stride as usize,
            bytes: bytes.min(lease.len()),
            facts,
        };
        let frame = Frame { meta, lease };
        // A picture that begins later in the buffer cannot be told to those behind.
        match damaged || offset != 0 || bytes == 0 || frame.view().is_err() {
            true => Err(Damage::Unreadable),
            false => Ok(frame),
        }
    }

    /// What is still to be told before the device is asked again.
    fn next_missing(&mut self, stream: &mut Stream) -> Option<Event> {
        let (after, _) = stream.held.as_ref()?;
        if let Some(seq) = stream.missing.next() {
            let trigger = after.lost(seq);
            return Some(self.stats.tell(trigger, Err(Damage::NoBuffer)));
        }
        let (trigger, picture) = stream.held.take()?;
        Some(self.stats.tell(trigger, picture))
    }

    fn next_of(&mut self, stream: &mut Stream, deadline: Nanos) -> io::Result<Event> {
        if let Some(event) = self.next_missing(stream) {
            return Ok(event);
        }
        loop {
            if let Some(taken) = stream.queue.take()? {
                return Ok(self.receive(stream, taken));
            }
            let left = deadline.since(self.clock.now()).0;
            if left == 0 {
                return Ok(Event::Idle);
            }
            match stream.device.wait(left)? {
                Ready::Filled | Ready::Nothing => {}
                Ready::Broken => {
                    // What it has to say about it comes with the next request.
                    return match stream.queue.take()? {
                        Some(taken) => Ok(self.receive(stream, taken)),
                        None => Err(io::Error::from_raw_os_error(libc::EIO)),
                    };
                }
            }
        }
    }
}

impl Stream {
    /// The frame number without end.
    fn number(&mut self, sequence: u32) -> u64 {
        let raw = u64::from(sequence);
        let number = self.unwrap.number(raw).unwrap_or(raw);
        match self.last {
            Some(last) if number <= last => {
                if !std::mem::replace(&mut self.uncounted, true) {
                    tracing::warn!("this driver does not count frames: lost ones cannot be seen");
                }
                last + 1
            }
            _ => number,
        }
    }

    /// When the picture was complete. It may have waited in the driver for the station, and that
    /// is part of its latency. A stamp from before the stream is none.
    fn arrived(&self, now: Nanos, filled: &Filled) -> Nanos {
        let waited = Nanos(filled.age_ns.unwrap_or(0));
        if waited > now.since(self.started) { now } else { Nanos(now.0 - waited.0) }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // Its leases must not go on with a stream that nobody reads. What a lost device answers
        // is known already.
        let _ = self.queue.end();
    }
}

fn open(options: &V4l2Options, opener: &mut Opener) -> Result<Arc<dyn Device>, CameraError> {
    opener().map_err(|error| {
        let (path, remedy) = (options.device.display(), remedy(&error));
        let message = format!("cannot open the camera {path}: {remedy}");
        CameraError::with_source(CameraErrorKind::Open, message, error)
    })
}

/// What the video node `path` has to set, and how it is set now. Reads only: another program may
/// stream from it meanwhile.
///
/// # Errors
/// When it cannot be opened or asked.
pub fn show(path: &std::path::Path) -> Result<Description, CameraError> {
    let failed = |error: io::Error| {
        let message = format!("cannot open the camera {}: {}", path.display(), remedy(&error));
        CameraError::with_source(CameraErrorKind::Open, message, error)
    };
    let kernel = Kernel::open(path).map_err(failed)?;
    describe(&kernel).map_err(|error| {
        let message = format!("{} cannot be asked what it has", path.display());
        CameraError::with_source(CameraErrorKind::Open, message, error)
    })
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "is it plugged in, and is its driver loaded?",
        io::ErrorKind::PermissionDenied => {
            "the user needs the group video, and the service the drop-in systemd/camera.conf"
        }
        _ => "is it a camera, and does no other program use it?",
    }
}

/// Why no buffers came.
fn no_buffers(way: Way, error: &io::Error) -> &'static str {
    match (error.raw_os_error(), way) {
        (Some(libc::EBUSY), _) => {
            "is in use: by another program, or pictures of the last stream are not judged yet"
        }
        (Some(libc::EINVAL), Way::UserPtr) => {
            "cannot write into the station's memory: set buffers = \"mmap\""
        }
        _ => "gives no buffers",
    }
}

impl Camera for V4l2 {
    fn frame_bytes_max(&self) -> usize {
        self.layout.bytes as usize
    }

    fn start(&mut self, pool: Pool, epoch: u32) -> Result<(), CameraError> {
        let device = match self.device.take() {
            Some(device) => device,
            None => open(&self.options, &mut self.opener)?,
        };
        // Also on a device that is open: another program may have changed it meanwhile.
        self.layout = settings::apply(&*device, &self.options)?;
        let stream = self.stream_into(Arc::clone(&device), &pool, epoch)?;
        (self.device, self.stream) = (Some(device), Some(stream));
        Ok(())
    }

    fn next(&mut self, deadline: Nanos) -> Result<Event, CameraError> {
        let Some(mut stream) = self.stream.take() else {
            return Err(CameraError::new(
                CameraErrorKind::Stream,
                "the camera is not started: start it before asking for frames",
            ));
        };
        match self.next_of(&mut stream, deadline) {
            Ok(event) => {
                self.stream = Some(stream);
                Ok(event)
            }
            Err(error) => {
                // Opened anew at the next start: a camera that was plugged in again is another.
                self.device = None;
                Ok(Event::Gone { reason: gone(&self.options, &error) })
            }
        }
    }

    fn stats(&self) -> CameraStats {
        self.stats
    }

    fn stop(&mut self) -> Result<(), CameraError> {
        let Some(stream) = self.stream.take() else { return Ok(()) };
        stream.queue.end().map_err(|error| {
            self.device = None;
            self.failed("does not stop", error)
        })
    }
}

fn gone(options: &V4l2Options, error: &io::Error) -> String {
    let path = options.device.display();
    match error.raw_os_error() {
        Some(libc::ENODEV) => format!("{path} was unplugged, or its driver gave it up"),
        _ => format!("{path} stopped streaming: {error}"),
    }
}

#[cfg(test)]
mod tests;

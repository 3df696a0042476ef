//! Reading on a thread of its own, because a read may block for ever. A thread that does not come
//! back is left behind, and the camera cannot be started again until it does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::WebcamOptions;
use crate::capture::{
    Camera, CameraError, CameraErrorKind, CameraStats, Damage, Event, Trigger, part_id_of,
};
use crate::frame::{Frame, FrameMeta, Lease, Nanos, Pool, TriggerId};
use crate::sys::clock::Clock;

/// Longest wait for the driver to open the camera, in milliseconds.
const OPEN_MS_MAX: u64 = 10_000;
/// Longest wait for the thread when the camera is stopped, in milliseconds: some frames.
const STOP_MS_MAX: u64 = 1_000;
/// How often the ending thread is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Messages that may wait besides the pictures; what finds no room is a lost frame.
const NOTICES_MAX: usize = 64;
/// A compressed picture is never larger than this many bytes a pixel.
const COMPRESSED_BYTES_PER_PIXEL: usize = 2;

/// An open, streaming camera; used by the reading thread only.
pub(super) trait Device {
    /// Waits for the next picture, for ever if need be, and shows its bytes.
    fn read(&mut self, show: &mut dyn FnMut(&[u8])) -> Result<(), String>;
}

/// Opens the camera, on the reading thread.
pub(super) type OpenDevice =
    Arc<dyn Fn(&WebcamOptions) -> Result<Box<dyn Device>, CameraError> + Send + Sync>;

/// The webcam as the station sees it.
pub(super) struct Webcam {
    options: WebcamOptions,
    device: OpenDevice,
    clock: Arc<dyn Clock>,
    stream: Option<Stream>,
    /// The newest reading thread, until it has ended.
    thread: Option<JoinHandle<()>>,
    /// Pictures so far, over all streams: the trigger ids.
    triggers: u64,
    stats: CameraStats,
}

struct Stream {
    epoch: u32,
    told: Receiver<Told>,
    stop: Arc<AtomicBool>,
    /// Newest number that was told, and the trigger id of it.
    last: u64,
}

/// What the thread tells.
enum Told {
    /// Number of the picture in this stream, when it was there, and its bytes.
    Picture(u64, Nanos, Result<(Lease, usize), Damage>),
    Gone(String),
}

impl Webcam {
    pub(super) fn new(options: WebcamOptions, device: OpenDevice, clock: Arc<dyn Clock>) -> Self {
        let stats = CameraStats::default();
        Self { options, device, clock, stream: None, thread: None, triggers: 0, stats }
    }

    fn event(&mut self, stream: &mut Stream, told: Told) -> Event {
        let (seq, arrived, picture) = match told {
            Told::Picture(seq, arrived, picture) => (seq, arrived, picture),
            Told::Gone(reason) => return Event::Gone { reason },
        };
        // Numbers that the queue had no room for count, too.
        self.triggers += seq - stream.last;
        stream.last = seq;
        let id = TriggerId(self.triggers as u32);
        let part = part_id_of(&format!("T{}", id.0));
        let trigger = Trigger { seq, id, part, recipe: None, arrived };
        match picture {
            Ok((lease, bytes)) => {
                self.stats.delivered += 1;
                let WebcamOptions { camera, format, width, height, .. } = self.options;
                let number = (stream.epoch, seq);
                let mut meta = FrameMeta::packed(camera, number, arrived, format, (width, height));
                meta.bytes = bytes;
                meta.facts.copies = 1;
                Event::Frame { trigger, frame: Frame { meta, lease } }
            }
            Err(why) => {
                self.stats.incomplete += 1;
                self.stats.no_buffer += u64::from(why == Damage::NoBuffer);
                Event::Incomplete { trigger, why }
            }
        }
    }
}

impl Camera for Webcam {
    fn frame_bytes_max(&self) -> usize {
        let WebcamOptions { width, height, format, .. } = self.options;
        match format.is_compressed() {
            true => width * height * COMPRESSED_BYTES_PER_PIXEL,
            false => format.row_bytes(width) * format.rows(height),
        }
    }

    fn start(&mut self, pool: Pool, epoch: u32) -> Result<(), CameraError> {
        if self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return Err(CameraError::new(
                CameraErrorKind::Stream,
                "the driver still waits for a picture of the last start: unplug the webcam",
            ));
        }
        let (tell, told) = bounded(pool.slots() + NOTICES_MAX);
        let (opened_in, opened) = bounded(1);
        let stop = Arc::new(AtomicBool::new(false));
        let task = Task {
            options: self.options.clone(),
            pool,
            tell,
            stop: Arc::clone(&stop),
            clock: Arc::clone(&self.clock),
            need: self.frame_bytes_max(),
            number: 0,
        };
        let device = Arc::clone(&self.device);
        let thread = std::thread::Builder::new().name("crrd-webcam".to_owned());
        let thread = thread.spawn(move || match device(&task.options) {
            Ok(device) => {
                // The starter waits for one answer, and only for so long.
                let _ = opened_in.try_send(Ok(()));
                task.run(device);
            }
            Err(error) => drop(opened_in.try_send(Err(error))),
        });
        let thread = thread.map_err(|error| {
            let message = "cannot start thread crrd-webcam: raise the limit on tasks";
            CameraError::with_source(CameraErrorKind::Stream, message, error)
        })?;
        self.thread = Some(thread);
        match opened.recv_timeout(Duration::from_millis(OPEN_MS_MAX)) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                stop.store(true, Ordering::Release);
                return Err(CameraError::new(
                    CameraErrorKind::Open,
                    format!("the webcam was not opened in {OPEN_MS_MAX} ms: unplug it"),
                ));
            }
        }
        self.stream = Some(Stream { epoch, told, stop, last: 0 });
        Ok(())
    }

    fn next(&mut self, deadline: Nanos) -> Result<Event, CameraError> {
        let Some(mut stream) = self.stream.take() else {
            return Err(CameraError::new(
                CameraErrorKind::Stream,
                "the webcam is not started: start it before asking for frames",
            ));
        };
        let wait = Duration::from_nanos(deadline.since(self.clock.now()).0);
        let event = match stream.told.recv_timeout(wait) {
            Ok(told) => self.event(&mut stream, told),
            Err(RecvTimeoutError::Timeout) => Event::Idle,
            Err(RecvTimeoutError::Disconnected) => {
                Event::Gone { reason: "the thread that reads the webcam has ended".to_owned() }
            }
        };
        if !matches!(event, Event::Gone { .. }) {
            self.stream = Some(stream);
        }
        Ok(event)
    }

    fn stats(&self) -> CameraStats {
        self.stats
    }

    fn stop(&mut self) -> Result<(), CameraError> {
        if let Some(stream) = self.stream.take() {
            stream.stop.store(true, Ordering::Release);
        }
        let begun = self.clock.now();
        while let Some(thread) = self.thread.take_if(|thread| !thread.is_finished()) {
            if self.clock.now() > begun.plus_ms(STOP_MS_MAX) {
                self.thread = Some(thread);
                return Err(CameraError::new(
                    CameraErrorKind::Stream,
                    "the driver waits for a picture that does not come; its thread is left behind",
                ));
            }
            std::thread::sleep(LOOK_EVERY);
            self.thread = Some(thread);
        }
        Ok(())
    }
}

/// The reading thread.
struct Task {
    options: WebcamOptions,
    pool: Pool,
    tell: Sender<Told>,
    stop: Arc<AtomicBool>,
    clock: Arc<dyn Clock>,
    /// Bytes of a picture, or the bound of a compressed one.
    need: usize,
    number: u64,
}

impl Task {
    fn run(mut self, mut device: Box<dyn Device>) {
        while !self.stop.load(Ordering::Acquire) {
            let mut picture = None;
            let read = device.read(&mut |bytes| picture = Some(self.copy(bytes)));
            if let Err(reason) = read {
                // Whoever does not listen any more has stopped the camera.
                let _ = self.tell.try_send(Told::Gone(reason));
                return;
            }
            let Some(picture) = picture else { continue };
            self.number += 1;
            // Without room the number is used up: a lost frame, as the next number shows.
            let _ = self.tell.try_send(Told::Picture(self.number, self.clock.now(), picture));
        }
    }

    /// The one copy.
    fn copy(&self, bytes: &[u8]) -> Result<(Lease, usize), Damage> {
        let compressed = self.options.format.is_compressed();
        // The driver's buffer may be longer than the picture, never shorter.
        let bytes = match compressed {
            true => bytes,
            false => bytes.get(..self.need).ok_or(Damage::Unreadable)?,
        };
        let mut lease = self.pool.lease().ok_or(Damage::NoBuffer)?;
        lease.get_mut(..bytes.len()).ok_or(Damage::Unreadable)?.copy_from_slice(bytes);
        Ok((lease, bytes.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{CameraId, PixelFormat};
    use crate::sys::clock::RealClock;

    /// Plays pictures of these lengths, filled with their number; then fails, or hangs.
    struct Desk {
        lengths: Vec<usize>,
        shown: usize,
        hangs: Option<Receiver<()>>,
    }

    impl Device for Desk {
        fn read(&mut self, show: &mut dyn FnMut(&[u8])) -> Result<(), String> {
            let Some(length) = self.lengths.get(self.shown) else {
                if let Some(hangs) = &self.hangs {
                    let _ = hangs.recv();
                }
                return Err("pulled out".to_owned());
            };
            self.shown += 1;
            show(&vec![self.shown as u8; *length]);
            Ok(())
        }
    }

    const BYTES: usize = 4 * 2 * 2;

    fn webcam(lengths: &[usize], hangs: Option<Receiver<()>>) -> Webcam {
        let options = WebcamOptions {
            index: 0,
            width: 4,
            height: 2,
            format: PixelFormat::Yuyv,
            rate_hz: 30,
            camera: CameraId(3),
        };
        let lengths = lengths.to_vec();
        let device: OpenDevice = Arc::new(move |_| {
            let (lengths, hangs) = (lengths.clone(), hangs.clone());
            Ok(Box::new(Desk { lengths, shown: 0, hangs }))
        });
        Webcam::new(options, device, Arc::new(RealClock))
    }

    fn next(camera: &mut Webcam) -> Event {
        camera.next(RealClock.now().plus_ms(5_000)).unwrap()
    }

    #[test]
    fn pictures_are_copied_once_and_what_is_short_is_damaged() {
        let mut camera = webcam(&[BYTES, BYTES - 1, BYTES + 9], None);
        let pool = Pool::new(4, camera.frame_bytes_max());
        assert_eq!(pool.bytes_each(), BYTES);
        for epoch in [1, 2] {
            camera.start(pool.clone(), epoch).unwrap();
            let Event::Frame { trigger, frame } = next(&mut camera) else { panic!() };
            assert_eq!((frame.meta.epoch, frame.meta.seq, trigger.seq), (epoch, 1, 1));
            assert_eq!((frame.meta.facts.copies, frame.meta.camera), (1, CameraId(3)));
            assert_eq!(frame.view().unwrap().row(1), [1; 8]);
            assert_eq!(trigger.id.0, 1 + 3 * (epoch - 1), "triggers count on");
            let event = next(&mut camera);
            assert!(
                matches!(event, Event::Incomplete { why: Damage::Unreadable, .. }),
                "{event:?}"
            );
            let Event::Frame { frame, .. } = next(&mut camera) else { panic!() };
            assert_eq!(frame.meta.bytes, BYTES, "the driver's padding is left out");
            let event = next(&mut camera);
            assert!(
                matches!(&event, Event::Gone { reason } if reason == "pulled out"),
                "{event:?}"
            );
            camera.stop().unwrap();
        }
        assert_eq!(camera.stats().delivered, 4);
    }

    #[test]
    fn a_pool_without_a_buffer_is_told_and_not_waited_for() {
        let mut camera = webcam(&[BYTES; 3], None);
        camera.start(Pool::new(1, BYTES), 1).unwrap();
        let Event::Frame { frame, .. } = next(&mut camera) else { panic!() };
        for _ in 0..2 {
            let event = next(&mut camera);
            assert!(matches!(event, Event::Incomplete { why: Damage::NoBuffer, .. }), "{event:?}");
        }
        drop(frame);
        assert_eq!(camera.stats().no_buffer, 2);
    }

    #[test]
    fn a_driver_that_hangs_blocks_neither_a_wait_nor_a_stop() {
        let (release, hangs) = bounded::<()>(0);
        let mut camera = webcam(&[BYTES], Some(hangs));
        camera.start(Pool::new(2, BYTES), 1).unwrap();
        assert!(matches!(next(&mut camera), Event::Frame { .. }));
        let begun = RealClock.now();
        assert!(matches!(camera.next(begun.plus_ms(30)).unwrap(), Event::Idle));
        assert!(camera.stop().unwrap_err().to_string().contains("left behind"));
        assert!(RealClock.now().since(begun).as_ms() < 30_000.0, "it hangs for ever");
        let again = camera.start(Pool::new(2, BYTES), 2).unwrap_err();
        assert!(again.to_string().contains("unplug"), "{again}");
        drop(release);
        camera.stop().unwrap();
        camera.start(Pool::new(2, BYTES), 3).unwrap();
    }

    #[test]
    fn a_camera_that_cannot_be_opened_says_why() {
        let refuse: OpenDevice =
            Arc::new(|_| Err(CameraError::new(CameraErrorKind::Open, "no such device")));
        let mut camera = Webcam { device: refuse, ..webcam(&[], None) };
        let error = camera.start(Pool::new(1, BYTES), 1).unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (CameraErrorKind::Open, "no such device")
        );
    }
}

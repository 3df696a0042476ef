//! No copy on the way: the engine reads the very bytes that the camera wrote.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::tests::{parts, run, spec};
use super::*;
use crate::capture::replay::{RecipeChoice, Replay, ReplayOptions, Source};
use crate::capture::v4l2::model::Model;
use crate::capture::v4l2::{V4l2, V4l2Options, Way};
use crate::capture::{Camera, CameraError, CameraStats, Event};
use crate::engine::graph::CameraFrames;
use crate::engine::{
    Background, Engine, EngineError, FrameReader, FramesEngine, KINDS_MAX, ModelSpec, ReaderSource,
};
use crate::frame::{
    AnomalyMap, Buffers, CameraId, Geometry, Memory, Nanos, NoBuffer, PixelFormat, Pool, RecipeId,
    Slab,
};
use crate::judge::Outcome;
use crate::sys::clock::RealClock;
use crate::sys::notify::Notify;
use crate::sys::shutdown::Shutdown;

const FRAMES: u8 = 40;

/// Address and first byte of what was handed over, in order.
type Places = Vec<(usize, u8)>;
type Seen = Arc<Mutex<Places>>;

fn note(seen: &Seen, bytes: &[u8]) {
    seen.lock().unwrap().push((bytes.as_ptr() as usize, bytes[0]));
}

/// Notes where the pictures lie that the camera hands over.
struct Watched {
    inner: Box<dyn Camera>,
    seen: Seen,
}

impl Camera for Watched {
    fn frame_bytes_max(&self) -> usize {
        self.inner.frame_bytes_max()
    }

    fn start(&mut self, pool: Pool, epoch: u32) -> Result<(), CameraError> {
        self.inner.start(pool, epoch)
    }

    fn next(&mut self, deadline: Nanos) -> Result<Event, CameraError> {
        let event = self.inner.next(deadline)?;
        if let Event::Frame { frame, .. } = &event {
            assert_eq!(frame.meta.facts.copies, 0);
            note(&self.seen, &frame.lease);
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

/// Notes where the inputs lie that it is given.
struct Reader {
    spec: ModelSpec,
    seen: Seen,
}

impl Engine for Reader {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn infer(&mut self, input: &[u8], out: &mut AnomalyMap) -> Result<(), EngineError> {
        assert_eq!(input.len(), self.spec.input_bytes());
        note(&self.seen, input);
        // Nobody may write into the buffer while the engine reads it.
        let before = input.to_vec();
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert_eq!(input, before);
        out.values.fill(0.1);
        out.score = 0.1;
        Ok(())
    }
}

/// Runs raw frames of this size through a line; where the camera put them.
fn run_raw(dir: &Path, (width, height): (usize, usize), engine: Box<dyn Engine>) -> Places {
    let folder = dir.join("frames");
    std::fs::create_dir(&folder).unwrap();
    for i in 0..FRAMES {
        std::fs::write(folder.join(format!("{i:03}.raw")), vec![i; width * height * 3]).unwrap();
    }
    let options = ReplayOptions {
        folder,
        source: Source::Raw { width, height, format: PixelFormat::Rgb8 },
        recipe: RecipeChoice::Fixed(RecipeId(1)),
        rate_hz: 400.0,
        triggered: false,
        repeat: false,
        camera: CameraId(0),
        faults: None,
    };
    let given = Seen::default();
    let inner = Box::new(Replay::open(options, Arc::new(RealClock)).unwrap());
    let camera = Watched { inner, seen: Arc::clone(&given) };
    let (mut parts, seen) = parts(&dir.join("state"), Box::new(camera));
    parts.engine = engine;
    // A frame for each, so that none is refused for want of a buffer.
    parts.queue_frames = usize::from(FRAMES);
    run(parts).unwrap();
    assert!(seen.iter().all(|record| record.verdict.outcome() == Outcome::Pass));
    given.lock().unwrap().clone()
}

/// The same, looked at by the processor; where (camera, engine) saw them.
fn addresses(dir: &Path, width: usize, height: usize) -> (Places, Places) {
    let read = Seen::default();
    let engine = Box::new(Reader { spec: spec(), seen: Arc::clone(&read) });
    let given = run_raw(dir, (width, height), engine);
    (given, read.lock().unwrap().clone())
}

#[test]
fn a_raw_frame_of_the_model_size_is_read_by_the_engine_where_the_camera_put_it() {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec();
    let (given, read) = addresses(dir.path(), spec.input_width, spec.input_height);
    assert_eq!(given.len(), usize::from(FRAMES));
    assert_eq!(given, read, "the same places with the same bytes, in order");
    let places: BTreeSet<usize> = given.iter().map(|(at, _)| *at).collect();
    assert!(places.len() > 1, "frames waited while the engine read another");
}

#[test]
fn a_frame_of_another_size_is_made_into_the_one_input_buffer() {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec();
    let (given, read) = addresses(dir.path(), spec.input_width * 2, spec.input_height);
    let places: BTreeSet<usize> = read.iter().map(|(at, _)| *at).collect();
    assert_eq!((given.len(), places.len()), (usize::from(FRAMES), 1));
    assert!(given.iter().all(|(at, _)| !places.contains(at)));
}

/// Memory of which a device is said to see the very addresses of the processor.
struct Shared(Box<[u8]>);

impl Slab for Shared {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    fn memory(&self) -> Memory {
        let host = self.0.as_ptr() as usize;
        Memory::MappedPinned { host, device: host as u64 }
    }
}

/// So many buffers of it.
struct Device(AtomicUsize);

impl Buffers for Device {
    fn make(&self, bytes: usize) -> Result<Box<dyn Slab>, NoBuffer> {
        let left = self.0.load(Ordering::SeqCst).checked_sub(1).ok_or("the device is full")?;
        self.0.store(left, Ordering::SeqCst);
        Ok(Box::new(Shared(vec![0; bytes].into())))
    }
}

/// Reads frames where they lie; notes where that was.
struct InPlace {
    spec: ModelSpec,
    frames: CameraFrames,
    seen: Arc<Mutex<Vec<usize>>>,
}

impl FrameReader for InPlace {
    fn frames(&self) -> &CameraFrames {
        &self.frames
    }

    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn read(&mut self, address: u64, out: &mut AnomalyMap) -> Result<(), EngineError> {
        self.seen.lock().unwrap().push(address as usize);
        out.values.fill(0.1);
        out.score = 0.1;
        Ok(())
    }
}

/// Runs frames of twice the model's width through a line whose engine reads them where they lie, its
/// device with memory for so many; where (camera, processor, device) saw them.
fn by_a_device(dir: &Path, memory: usize) -> (Places, Places, Vec<usize>) {
    let spec = spec();
    let frames = CameraFrames {
        format: PixelFormat::Rgb8,
        width: spec.input_width * 2,
        height: spec.input_height,
        row_bytes: Some(spec.input_width * 6),
        geometry: Geometry::WHOLE,
    };
    let (read, seen) = (Seen::default(), Arc::default());
    let reader = InPlace { spec: spec.clone(), frames, seen: Arc::clone(&seen) };
    let (made, readers) = crossbeam_channel::bounded::<Box<dyn FrameReader>>(1);
    made.send(Box::new(reader)).unwrap();
    let (ask, _asked) = crossbeam_channel::bounded(KINDS_MAX);
    let pictures = Box::new(Reader { spec: spec.clone(), seen: Arc::clone(&read) });
    let device = Arc::new(Device(memory.into()));
    let maker = Background::start("maker", Box::new(|| {}), || {}).unwrap();
    let source = ReaderSource { ask, made: readers, maker };
    let engine = Box::new(FramesEngine::new(pictures, source, device));
    let given = run_raw(dir, (frames.width, frames.height), engine);
    let read = read.lock().unwrap().clone();
    let seen = seen.lock().unwrap().clone();
    (given, read, seen)
}

#[test]
fn a_frame_in_memory_that_the_device_sees_is_read_by_it_where_the_camera_put_it() {
    let dir = tempfile::tempdir().unwrap();
    let (given, by_processor, by_device) = by_a_device(dir.path(), 1_000);
    assert_eq!(by_processor, [], "nothing is prepared on the processor");
    let given: Vec<usize> = given.iter().map(|(at, _)| *at).collect();
    assert_eq!(given.len(), usize::from(FRAMES));
    assert_eq!(given, by_device, "the same places, in order");
}

#[test]
fn a_device_without_memory_for_all_buffers_leaves_the_frames_to_the_processor() {
    let dir = tempfile::tempdir().unwrap();
    let (given, by_processor, by_device) = by_a_device(dir.path(), 2);
    assert_eq!((given.len(), by_processor.len()), (usize::from(FRAMES), usize::from(FRAMES)));
    assert!(by_device.is_empty());
}

/// Runs a camera of the kernel through a line; its places, where (camera, engine) saw pictures, and
/// copies of each on the health topic.
fn of_the_kernel(way: Way) -> (Model, Places, Places, u8) {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec();
    let model = Model::with(|m| m.sequence = 0);
    let options = V4l2Options {
        device: "/dev/video-model".into(),
        format: PixelFormat::Rgb8,
        width: spec.input_width as u32,
        height: spec.input_height as u32,
        interval: None,
        way,
        buffers: Some(6),
        controls: vec![],
        camera: CameraId(0),
    };
    let inner = V4l2::open_by(options, model.opener(), Arc::new(RealClock)).unwrap();
    let (given, read) = (Seen::default(), Seen::default());
    let camera = Watched { inner: Box::new(inner), seen: Arc::clone(&given) };
    let (mut parts, seen) = parts(&dir.path().join("state"), Box::new(camera));
    parts.engine = Box::new(Reader { spec, seen: Arc::clone(&read) });
    parts.triggers.recipe = Some(RecipeId(1));
    let line = Line::start(parts).unwrap();
    let board = Arc::clone(&line.board);
    let mut places = BTreeSet::new();
    for _ in 0..FRAMES {
        // One after the other, so that no picture is without a buffer.
        while !model.shoot() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let record = seen.recv().unwrap();
        assert_eq!(record.verdict.outcome(), Outcome::Pass, "{record:?}");
        places.extend(model.places());
    }
    let health = board.camera_health().remove(0);
    assert_eq!((health.delivered, health.incomplete, health.lost), (u64::from(FRAMES), 0, 0));
    let shutdown = Shutdown::manual();
    shutdown.request();
    line.run(&shutdown, &Notify::silent()).unwrap();
    model.assert_well_treated();
    let given = given.lock().unwrap().clone();
    if way == Way::Mmap {
        assert!(given.iter().all(|(at, _)| places.contains(at)), "the driver's own buffers");
    }
    let read = read.lock().unwrap().clone();
    (model, given, read, health.copies)
}

#[test]
fn a_picture_of_the_kernel_is_read_by_the_engine_in_the_drivers_own_buffer() {
    for way in [Way::Mmap, Way::UserPtr] {
        let (model, given, read, copies) = of_the_kernel(way);
        assert_eq!(copies, 0, "as the health topic tells it");
        assert_eq!(given, read, "the same places with the same bytes, in order");
        let bytes: Vec<u8> = read.iter().map(|(_, byte)| *byte).collect();
        assert_eq!(bytes, (0..FRAMES).collect::<Vec<_>>(), "each picture once");
        assert_eq!(model.mapped(), 0, "every buffer came home");
    }
}

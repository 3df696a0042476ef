//! No copy on the way: the engine reads the very bytes that the camera wrote.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::tests::{parts, run, spec};
use crate::capture::replay::{RecipeChoice, Replay, ReplayOptions, Source};
use crate::capture::{Camera, CameraError, CameraStats, Event};
use crate::engine::{Engine, EngineError, ModelSpec};
use crate::frame::{AnomalyMap, CameraId, Nanos, PixelFormat, Pool, RecipeId};
use crate::judge::Outcome;
use crate::sys::clock::RealClock;

const FRAMES: u8 = 40;

/// Address and first byte of what was handed over, in order.
type Places = Vec<(usize, u8)>;
type Seen = Arc<Mutex<Places>>;

fn note(seen: &Seen, bytes: &[u8]) {
    seen.lock().unwrap().push((bytes.as_ptr() as usize, bytes[0]));
}

/// Notes where the pictures lie that the camera hands over.
struct Watched {
    inner: Replay,
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
            assert_eq!(frame.meta.facts.copies, 0, "the file was read into the buffer");
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

/// Runs raw frames of this size through a line; where (camera, engine) saw them.
fn addresses(dir: &Path, width: usize, height: usize) -> (Places, Places) {
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
    let (given, read) = (Seen::default(), Seen::default());
    let inner = Replay::open(options, Arc::new(RealClock)).unwrap();
    let camera = Watched { inner, seen: Arc::clone(&given) };
    let (mut parts, seen) = parts(&dir.join("state"), Box::new(camera));
    parts.engine = Box::new(Reader { spec: spec(), seen: Arc::clone(&read) });
    // A frame for each, so that none is refused for want of a buffer.
    parts.queue_frames = usize::from(FRAMES);
    run(parts).unwrap();
    assert!(seen.iter().all(|record| record.verdict.outcome() == Outcome::Pass));
    (given.lock().unwrap().clone(), read.lock().unwrap().clone())
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

//! A whole station on the driver: what the engine reads is what the driver wrote, where it wrote it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, mpsc};

use crrd::capture::v4l2::V4l2;
use crrd::capture::{Camera, CameraError, CameraStats, Event};
use crrd::engine::{ModelSpec, ScriptedEngine};
use crrd::frame::{Nanos, PixelFormat, Pool, RecipeId, StationId, Tiling};
use crrd::journal;
use crrd::judge::Outcome;
use crrd::message::Mode;
use crrd::pipeline::{Decision, Line, Parts, Queue, Recipe, StationCamera, Triggers};
use crrd::sys::clock::RealClock;
use crrd::sys::notify::Notify;
use crrd::sys::shutdown::Shutdown;

use crate::parts::{calibration, nobody};
use crate::{SINGLE, SIZE, open, options};

/// Where pictures lay, and their first bytes.
type Places = Arc<Mutex<Vec<(usize, [u8; 4])>>>;

fn note(places: &Places, bytes: &[u8]) {
    let place = (bytes.as_ptr() as usize, bytes[..4].try_into().unwrap());
    places.lock().unwrap().push(place);
}

/// Notes the pictures that the camera hands over.
struct Watched(V4l2, Places);

impl Camera for Watched {
    fn frame_bytes_max(&self) -> usize {
        self.0.frame_bytes_max()
    }

    fn start(&mut self, pool: Pool, epoch: u32) -> Result<(), CameraError> {
        self.0.start(pool, epoch)
    }

    fn next(&mut self, deadline: Nanos) -> Result<Event, CameraError> {
        let event = self.0.next(deadline)?;
        if let Event::Frame { frame, .. } = &event {
            assert_eq!(frame.meta.copies(), 0);
            note(&self.1, &frame.lease);
        }
        Ok(event)
    }

    fn stats(&self) -> CameraStats {
        self.0.stats()
    }

    fn stop(&mut self) -> Result<(), CameraError> {
        self.0.stop()
    }
}

/// A station of one camera and an engine that notes where its inputs lie.
pub(crate) fn line() -> String {
    const PARTS: usize = 20;
    let spec = ModelSpec {
        input_width: SIZE.0 as usize,
        input_height: SIZE.1 as usize,
        map_width: 8,
        map_height: 8,
        classes: vec!["part".to_owned()],
        sha256: "ab".repeat(32),
    };
    let (given, read) = (Places::default(), Places::default());
    let seen = Arc::clone(&read);
    let engine = ScriptedEngine::new(spec.clone(), move |input, map| {
        note(&seen, input);
        map.values.fill(0.1);
        map.score = 0.1;
        Ok(())
    });
    let camera = Watched(open(options(SINGLE, PixelFormat::Rgb8)), Arc::clone(&given));
    let (told_in, told) = mpsc::channel();
    let state = std::env::temp_dir().join("crrd-vivid-state");
    let parts = Parts {
        station: StationId::new("vivid").unwrap(),
        cameras: StationCamera::only(Box::new(camera)),
        window_ms_max: 50,
        queue: Queue::Every,
        calibration: calibration(&spec.sha256, "part", 0.5, Tiling::WHOLE),
        engine: Box::new(engine),
        recipes: vec![Recipe::new(RecipeId(1), "part")],
        latency_ms_max: 60_000,
        triggers: Triggers {
            mode: Mode::Continuous,
            arm_wait_ms_max: 0,
            recipe: Some(RecipeId(1)),
        },
        queue_frames: 2,
        journal_dir: state.clone(),
        journal_sync: journal::Sync::Normal,
        journal_bytes_max: 1 << 24,
        journal_age_days_max: 0,
        broker: nobody(),
        recording: None,
        observer: Some(Box::new(move |d: &Decision| {
            let _ = told_in.send(d.record.verdict);
        })),
        clock: Arc::new(RealClock),
    };
    let line = Line::start(parts).unwrap();
    let judged: Vec<_> = told.iter().take(PARTS).collect();
    let shutdown = Shutdown::manual();
    shutdown.request();
    line.run(&shutdown, &Notify::silent()).unwrap();
    let _ = std::fs::remove_dir_all(state);
    let passed = judged.iter().filter(|v| v.outcome() == Outcome::Pass).count();
    let (given, read) = (given.lock().unwrap().clone(), read.lock().unwrap().clone());
    // A busy machine may refuse a part; what was looked at lay where the driver had put it.
    let mut from = given.iter();
    assert!(read.iter().all(|place| from.any(|other| other == place)), "{given:?}\n{read:?}");
    assert!(passed >= PARTS / 2, "{judged:?}");
    let buffers: BTreeSet<usize> = read.iter().map(|(at, _)| *at).collect();
    format!("{} pictures judged in {} buffers of the driver", read.len(), buffers.len())
}

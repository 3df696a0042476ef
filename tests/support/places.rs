//! A station of one camera that notes where its pictures lie when the camera hands them over, and
//! where the inputs of its engine: the same places when nothing is copied between.
// Not every binary that includes the helpers uses this one.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};

use crrd::capture::{Camera, CameraError, CameraStats, Event};
use crrd::engine::{ModelSpec, ScriptedEngine};
use crrd::frame::{Nanos, Pool, Precision, RecipeId, StationId, Tiling};
use crrd::journal;
use crrd::judge::Outcome;
use crrd::message::Mode;
use crrd::pipeline::{Decision, Line, Parts, Queue, Recipe, StationCamera, Triggers};
use crrd::sys::clock::RealClock;
use crrd::sys::notify::Notify;
use crrd::sys::shutdown::Shutdown;

use super::parts::{calibration, nobody};

/// Address and first bytes of a picture.
pub type Place = (usize, [u8; 4]);

/// What a station did with its pictures.
pub struct Seen {
    /// Where they lay when the camera handed them over.
    pub given: Vec<Place>,
    /// Where the engine read.
    pub read: Vec<Place>,
    /// Parts that passed, of those asked for.
    pub passed: usize,
}

type Places = Arc<Mutex<Vec<Place>>>;

fn note(places: &Places, bytes: &[u8]) {
    let place = (bytes.as_ptr() as usize, bytes[..4].try_into().unwrap());
    places.lock().unwrap().push(place);
}

/// Notes the pictures that a camera hands over.
struct Watched(Box<dyn Camera>, Places);

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

/// Judges `parts` pictures of a camera that sends RGB of the size (width, height) of the model's
/// input, with the journal at `state`.
pub fn judge(camera: Box<dyn Camera>, size: (u32, u32), parts: usize, state: &Path) -> Seen {
    let spec = ModelSpec {
        input_width: size.0 as usize,
        input_height: size.1 as usize,
        map_width: 8,
        map_height: 8,
        classes: vec!["part".to_owned()],
        sha256: "ab".repeat(32),
        precision: Precision::Fp32,
    };
    let (given, read) = (Places::default(), Places::default());
    let seen = Arc::clone(&read);
    let engine = ScriptedEngine::new(spec.clone(), move |input, map| {
        note(&seen, input);
        map.values.fill(0.1);
        map.score = 0.1;
        Ok(())
    });
    let (told_in, told) = mpsc::channel();
    let recipe = RecipeId(1);
    let station = Parts {
        station: StationId::new("places").unwrap(),
        cameras: StationCamera::only(Box::new(Watched(camera, Arc::clone(&given)))),
        window_ms_max: 50,
        queue: Queue::Every,
        calibration: calibration(&spec.sha256, "part", 0.5, Tiling::WHOLE),
        engine: Box::new(engine),
        core: None,
        recipes: vec![Recipe::new(recipe, "part")],
        latency_ms_max: 60_000,
        triggers: Triggers { mode: Mode::Continuous, arm_wait_ms_max: 0, recipe: Some(recipe) },
        queue_frames: 2,
        journal_dir: state.to_owned(),
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
    let line = Line::start(station).unwrap();
    let judged: Vec<_> = told.iter().take(parts).collect();
    let shutdown = Shutdown::manual();
    shutdown.request();
    line.run(&shutdown, &Notify::silent()).unwrap();
    let passed = judged.iter().filter(|v| v.outcome() == Outcome::Pass).count();
    let (given, read) = (given.lock().unwrap().clone(), read.lock().unwrap().clone());
    Seen { given, read, passed }
}

impl Seen {
    /// Whether the engine read pictures where the camera had put them, each once and in order. A
    /// busy machine may have refused some.
    pub fn is_uncopied(&self) -> bool {
        let mut from = self.given.iter();
        self.read.iter().all(|place| from.any(|other| other == place))
    }
}

//! A station as the benches run it: pictures replayed as raw frames, a real engine, a real
//! journal; and nothing but the engine, to hold it against.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crrd::capture::replay::{RecipeChoice, Replay, ReplayOptions, Source};
use crrd::engine::Engine;
use crrd::frame::{
    AnomalyMap, CameraId, ImageView, PixelFormat, RecipeId, StationId, Tiling, VIEWS_MAX,
};
use crrd::image::Preprocessor;
use crrd::journal;
use crrd::message::Mode;
use crrd::pipeline::{Broker, Observer, Parts, Queue, Recipe, StationCamera, Triggers};
use crrd::sys::clock::RealClock;
use crrd::sys::cores::keep_to;

use super::common::{calibration, nobody};
use super::noise;

/// Pictures in the folder of a camera; they come again and again.
const FILES: usize = 4;
/// So many parts may wait: what is measured is how long they do, not how many are dropped.
const QUEUE_FRAMES: usize = 32;

/// What a station of a bench is like.
pub struct Station {
    /// Folder for its pictures and its journal.
    pub dir: PathBuf,
    /// Size (width, height) of the RGB8 pictures in pixels.
    pub picture: (usize, usize),
    pub cameras: usize,
    /// Parts per second; 0 = the next one comes when the last one is judged.
    pub rate_hz: f64,
    pub tiling: Tiling,
    pub broker: Broker,
}

/// The processor for the inference, in the station and alone: `CRRD_CORE`; else any.
pub fn core() -> Option<usize> {
    std::env::var("CRRD_CORE").ok().map(|core| core.parse().expect("CRRD_CORE is a number"))
}

impl Station {
    /// One camera of 640x480, as fast as parts are judged, nobody to publish to.
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            picture: (640, 480),
            cameras: 1,
            rate_hz: 0.0,
            tiling: Tiling::WHOLE,
            broker: nobody(),
        }
    }

    /// What the line is made of; every class of the engine has its recipe, the last one is seen.
    pub fn parts(&self, engine: Box<dyn Engine>, observer: Box<dyn Observer>) -> Parts {
        let spec = engine.spec().clone();
        let mut limits = calibration(&spec.sha256, &spec.classes[0], 0.5, self.tiling);
        let limit = limits.class[&spec.classes[0]].clone();
        limits.class = spec.classes.iter().map(|class| (class.clone(), limit.clone())).collect();
        let tiling = self.tiling;
        let recipes = (1..)
            .zip(&spec.classes)
            .map(|(id, class)| Recipe { tiling, ..Recipe::new(RecipeId(id), class) });
        Parts {
            station: StationId::new("bench").unwrap(),
            cameras: self.cameras(RecipeId(spec.classes.len() as u16)),
            window_ms_max: 1_000,
            queue: Queue::Every,
            engine,
            core: core(),
            calibration: limits,
            recipes: recipes.collect(),
            latency_ms_max: 60_000,
            triggers: Triggers { mode: Mode::Continuous, arm_wait_ms_max: 0, recipe: None },
            queue_frames: QUEUE_FRAMES,
            journal_dir: self.dir.join("state"),
            journal_sync: journal::Sync::Full,
            journal_bytes_max: 1 << 30,
            journal_age_days_max: 0,
            broker: self.broker.clone(),
            recording: None,
            observer: Some(observer),
            clock: Arc::new(RealClock),
        }
    }

    fn cameras(&self, recipe: RecipeId) -> Vec<StationCamera> {
        assert!((1..=VIEWS_MAX).contains(&self.cameras));
        let folder = self.pictures();
        let camera = |number: usize| {
            let options = ReplayOptions {
                folder: folder.clone(),
                source: Source::Raw {
                    width: self.picture.0,
                    height: self.picture.1,
                    format: PixelFormat::Rgb8,
                },
                recipe: RecipeChoice::Fixed(recipe),
                rate_hz: self.rate_hz,
                triggered: false,
                repeat: true,
                faults: None,
                camera: CameraId(number as u16),
            };
            let camera = Box::new(Replay::open(options, Arc::new(RealClock)).unwrap());
            StationCamera::new(format!("camera-{number}"), camera)
        };
        (0..self.cameras).map(camera).collect()
    }

    /// The folder of the pictures, which are written once for each size.
    fn pictures(&self) -> PathBuf {
        let (width, height) = self.picture;
        let folder = self.dir.join(format!("{width}x{height}"));
        if !folder.exists() {
            std::fs::create_dir(&folder).unwrap();
            let picture = noise(width * height * 3);
            for i in 0..FILES {
                std::fs::write(folder.join(format!("{i}.raw")), &picture).unwrap();
            }
        }
        folder
    }

    /// One of the pictures as the engine takes it.
    pub fn input(&self, engine: &dyn Engine) -> Vec<u8> {
        let mut input = vec![];
        self.preparing(engine)(&mut input);
        input
    }

    /// What makes that of the picture, into memory that is kept.
    pub fn preparing(&self, engine: &dyn Engine) -> impl FnMut(&mut Vec<u8>) + Send + use<> {
        let (width, height) = self.picture;
        let picture = noise(width * height * 3);
        let spec = engine.spec();
        let mut preprocessor = Preprocessor::new(spec.input_width, spec.input_height);
        move |input| {
            let row = width * 3;
            let view = ImageView::new(&picture, width, height, row, PixelFormat::Rgb8).unwrap();
            input.resize(preprocessor.output_bytes(), 0);
            preprocessor.run(view, input).unwrap();
        }
    }
}

/// When the pictures come of what is timed alone.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// The next one when the last one is done: caches stay warm and the processor awake.
    Unbroken,
    /// At fixed times, as a line does it: between them the thread sleeps.
    Every(Duration),
}

/// Times of the inference alone, as [`timed`].
pub fn alone(
    engine: &mut dyn Engine,
    input: &[u8],
    pace: Pace,
    warm_up: usize,
    pictures: usize,
) -> Vec<Duration> {
    let mut map = AnomalyMap::default();
    let infer = || engine.infer(std::hint::black_box(input), &mut map).unwrap();
    timed(pace, warm_up, pictures, infer)
}

/// Times of `work`, one a picture, after `warm_up` that are not counted; in a thread of its own,
/// as in the station, and on the same processor.
pub fn timed(
    pace: Pace,
    warm_up: usize,
    pictures: usize,
    mut work: impl FnMut() + Send,
) -> Vec<Duration> {
    let run = || {
        core().into_iter().for_each(|core| keep_to(core).unwrap());
        let first = Instant::now();
        let mut once = |i: usize| {
            if let Pace::Every(time) = pace {
                let due = first + time * i as u32;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            let begin = Instant::now();
            work();
            begin.elapsed()
        };
        (0..warm_up + pictures).map(&mut once).skip(warm_up).collect()
    };
    std::thread::scope(|scope| scope.spawn(run).join().unwrap())
}

//! The whole line against its named reference: nothing but inference, on the same engine and
//! pictures, in the same run. Camera (raw frames of 640x480), preprocessing, judgement, journal
//! (full sync) and publishing to nobody are what the line adds; they run beside the inference or
//! are small against it.
//!
//! Target: the line takes at most 5 % longer per part than the inference alone.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

#[path = "../tests/support/parts.rs"]
mod common;
mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use common::{calibration, nobody};
use crrd::capture::replay::{RecipeChoice, Replay, ReplayOptions, Source};
use crrd::engine::bundle::BundleSource;
use crrd::engine::{Backend, Engine, open_many};
use crrd::frame::{AnomalyMap, CameraId, PixelFormat, RecipeId, StationId, Tiling};
use crrd::image::Preprocessor;
use crrd::journal;
use crrd::message::Mode;
use crrd::pipeline::{Decision, Line, Parts, Queue, Recipe, StationCamera, Triggers};
use crrd::sys::clock::RealClock;
use crrd::sys::notify::Notify;
use crrd::sys::shutdown::Shutdown;
use support::{bundle, median, noise};

const WIDTH: usize = 640;
const HEIGHT: usize = 480;
/// Parts before the clock starts: caches and buffers are warm then.
const WARM_UP: usize = 10;
/// Parts timed in each round.
const PARTS: usize = 60;
/// Rounds of (inference alone, line), in turn.
const ROUNDS: usize = 5;
/// What the line may add, as a fraction of the inference.
const OVERHEAD_MAX: f64 = 0.05;

fn parts(dir: &Path, engine: Box<dyn Engine>) -> (Parts, Receiver<Instant>) {
    let options = ReplayOptions {
        folder: dir.join("frames"),
        source: Source::Raw { width: WIDTH, height: HEIGHT, format: PixelFormat::Rgb8 },
        recipe: RecipeChoice::Fixed(RecipeId(1)),
        rate_hz: 0.0,
        triggered: false,
        repeat: false,
        faults: None,
        camera: CameraId(0),
    };
    let clock = Arc::new(RealClock);
    let spec = engine.spec().clone();
    let (decided_in, decided) = channel();
    let parts = Parts {
        station: StationId::new("bench").unwrap(),
        cameras: StationCamera::only(Box::new(Replay::open(options, clock.clone()).unwrap())),
        window_ms_max: 50,
        queue: Queue::Every,
        calibration: calibration(&spec.sha256, &spec.classes[0], 0.5, Tiling::WHOLE),
        recipes: vec![Recipe::new(RecipeId(1), &spec.classes[0])],
        engine,
        latency_ms_max: 60_000,
        triggers: Triggers { mode: Mode::Continuous, arm_wait_ms_max: 0, recipe: None },
        queue_frames: 4,
        journal_dir: dir.join("state"),
        journal_sync: journal::Sync::Full,
        journal_bytes_max: 1 << 30,
        journal_age_days_max: 0,
        broker: nobody(),
        recording: None,
        observer: Some(Box::new(move |_: &Decision| {
            let _ = decided_in.send(Instant::now());
        })),
        clock,
    };
    (parts, decided)
}

/// Time per part of the line; its end (the flush to nobody) is not counted.
fn line(dir: &Path, engine: Box<dyn Engine>) -> Duration {
    let (parts, decided) = parts(dir, engine);
    let line = Line::start(parts).unwrap();
    let times: Vec<Instant> = decided.iter().take(WARM_UP + PARTS).collect();
    let shutdown = Shutdown::manual();
    shutdown.request();
    let summary = line.run(&shutdown, &Notify::silent()).unwrap();
    assert_eq!(summary.counters.invalid, 0, "every part was judged");
    (times[WARM_UP + PARTS - 1] - times[WARM_UP - 1]) / PARTS as u32
}

/// Time per part of the inference alone, on one of the pictures.
fn alone(engine: &mut dyn Engine, input: &[u8]) -> Duration {
    let mut map = AnomalyMap::default();
    let mut begin = Instant::now();
    for part in 0..WARM_UP + PARTS {
        if part == WARM_UP {
            begin = Instant::now();
        }
        engine.infer(std::hint::black_box(input), &mut map).unwrap();
    }
    begin.elapsed() / PARTS as u32
}

fn main() {
    // `cargo test --benches` only asks whether it starts.
    let rounds = if std::env::args().any(|a| a == "--bench") { ROUNDS } else { 1 };
    let scratch = tempfile::tempdir().unwrap();
    let bundle = BundleSource::Dir(bundle(scratch.path()));
    std::fs::create_dir(scratch.path().join("frames")).unwrap();
    let picture = noise(WIDTH * HEIGHT * 3);
    for i in 0..WARM_UP + PARTS {
        std::fs::write(scratch.path().join(format!("frames/{i:03}.raw")), &picture).unwrap();
    }
    let mut engines = open_many(&bundle, Backend::Cpu, rounds + 1).unwrap();
    let mut bare = engines.pop().unwrap();
    let mut preprocessor = Preprocessor::new(bare.spec().input_width, bare.spec().input_height);
    let mut input = vec![0; preprocessor.output_bytes()];
    let view =
        crrd::frame::ImageView::new(&picture, WIDTH, HEIGHT, WIDTH * 3, PixelFormat::Rgb8).unwrap();
    preprocessor.run(view, &mut input).unwrap();

    let (mut lines, mut alones) = (vec![], vec![]);
    for engine in engines {
        alones.push(alone(&mut *bare, &input));
        lines.push(line(scratch.path(), engine));
        let (a, l) = (alones.last().unwrap(), lines.last().unwrap());
        println!("round: inference alone {a:.3?}, line {l:.3?}");
    }
    let (alone, line) = (median(alones), median(lines));
    let overhead = line.as_secs_f64() / alone.as_secs_f64() - 1.0;
    println!(
        "RATIO pipeline: {:.3} ms a part against {:.3} ms of bare inference = {:.1} parts/s, \
         overhead {:.2} % (target at most {:.0} %: {})",
        line.as_secs_f64() * 1e3,
        alone.as_secs_f64() * 1e3,
        1.0 / line.as_secs_f64(),
        overhead * 100.0,
        OVERHEAD_MAX * 100.0,
        if overhead <= OVERHEAD_MAX { "met" } else { "MISSED" }
    );
}

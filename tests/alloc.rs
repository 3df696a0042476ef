//! Once warm, capture and inspection allocate nothing per frame: a station that runs for years
//! must not fragment its memory, and an allocator must never sit in a deadline.
//!
//! The allocator of this test binary counts on the two threads concerned only. The scripted
//! engine stands for the inference library, whose own memory is not ours to count.

#![allow(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]
#![allow(unsafe_code, reason = "a global allocator can only be written with it")]

#[path = "support/parts.rs"]
mod parts;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crrd::capture::replay::{RecipeChoice, Replay, ReplayOptions, Source};
use crrd::capture::{Camera, CameraError, CameraStats, Event};
use crrd::engine::{Engine, EngineError, ModelSpec};
use crrd::frame::{
    AnomalyMap, CameraId, Nanos, PixelFormat, Pool, Precision, RecipeId, StationId, Tiling,
};
use crrd::journal;
use crrd::message::Mode;
use crrd::pipeline::{Line, Parts, Queue, Recipe, StationCamera, Triggers};
use crrd::sys::clock::{Clock, RealClock};
use crrd::sys::notify::Notify;
use crrd::sys::shutdown::Shutdown;
use parts::{calibration, nobody};

struct Counting;

thread_local! {
    /// Whether this thread's allocations count. `const`: reading it allocates nothing.
    static COUNTS: Cell<bool> = const { Cell::new(false) };
}
static CAPTURE: AtomicU64 = AtomicU64::new(0);
static INSPECT: AtomicU64 = AtomicU64::new(0);

/// Frames that the first camera delivered.
static DELIVERED: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static IS_CAPTURE: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    // A thread that is ending has no locals any more, and nothing to count.
    if COUNTS.try_with(Cell::get).unwrap_or(false) {
        let capture = IS_CAPTURE.try_with(Cell::get).unwrap_or(false);
        let counter = if capture { &CAPTURE } else { &INSPECT };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call is passed on unchanged to the system's allocator, which keeps the contract;
// counting touches neither the memory nor the layout and does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise about `at` and `layout` is passed on.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise about `at`, `layout` and `size` is passed on.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SIDE: usize = 32;
/// Frames until every buffer, slot and channel was used at least once.
const WARM_UP: u64 = 200;
const FRAMES: u64 = 2_000;

/// Counts on the capture thread from the warm-up on; ends after [`FRAMES`].
struct Counted {
    inner: Replay,
    frames: u64,
    leak: bool,
    first: bool,
}

/// Counts on the thread that matches views, too: no test code runs there but this clock.
struct Marking;

impl Clock for Marking {
    fn now(&self) -> Nanos {
        if std::thread::current().name() == Some("crrd-views") {
            IS_CAPTURE.set(true);
            COUNTS.set((WARM_UP..FRAMES).contains(&DELIVERED.load(Ordering::Relaxed)));
        }
        RealClock.now()
    }

    fn wall_unix_s(&self) -> u64 {
        RealClock.wall_unix_s()
    }
}

impl Camera for Counted {
    fn frame_bytes_max(&self) -> usize {
        self.inner.frame_bytes_max()
    }

    fn start(&mut self, pool: Pool, epoch: u32) -> Result<(), CameraError> {
        self.inner.start(pool, epoch)
    }

    fn next(&mut self, deadline: Nanos) -> Result<Event, CameraError> {
        if self.frames == FRAMES {
            COUNTS.set(false);
            return Ok(Event::End);
        }
        IS_CAPTURE.set(true);
        COUNTS.set(self.frames > WARM_UP);
        let event = self.inner.next(deadline)?;
        if self.leak && matches!(event, Event::Frame { .. }) {
            drop(std::hint::black_box(vec![1u8]));
        }
        self.frames += u64::from(matches!(event, Event::Frame { .. }));
        if self.first {
            DELIVERED.store(self.frames, Ordering::Relaxed);
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

/// Good and bad parts in turn: verdict, regions and mask are all exercised.
struct Alternating {
    spec: ModelSpec,
    frames: u64,
    /// Inferences of a part.
    looks: u64,
}

impl Engine for Alternating {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn infer(&mut self, input: &[u8], out: &mut AnomalyMap) -> Result<(), EngineError> {
        COUNTS.set(false);
        assert_eq!(input.len(), SIDE * SIDE * 3);
        self.frames += 1;
        out.values.fill(0.1);
        if self.frames.div_ceil(self.looks).is_multiple_of(2) {
            out.values[5 * SIDE + 5..5 * SIDE + 20].fill(0.9);
        }
        out.score = out.values[5 * SIDE + 5];
        COUNTS.set((WARM_UP + 1..FRAMES).contains(&(self.frames / self.looks)));
        Ok(())
    }
}

fn camera(folder: &Path, first: bool, leak: bool, (format, width, height): Shape) -> Counted {
    std::fs::create_dir_all(folder).unwrap();
    for i in 0..4u8 {
        let bytes = format.row_bytes(width) * format.rows(height);
        std::fs::write(folder.join(format!("{i}.raw")), vec![i * 60; bytes]).unwrap();
    }
    let options = ReplayOptions {
        folder: folder.to_owned(),
        source: Source::Raw { width, height, format },
        recipe: RecipeChoice::Fixed(RecipeId(1)),
        rate_hz: 0.0,
        triggered: false,
        repeat: true,
        faults: None,
        camera: CameraId(0),
    };
    let inner = Replay::open(options, Arc::new(RealClock)).unwrap();
    Counted { inner, frames: 0, leak, first }
}

/// The channels allocate when a thread has to wait at one for the first time: the thread's own
/// context once, and room in the list of those who wait at each channel. Whether that happens
/// during the warm-up is up to the machine's load; it never happens per frame.
const FIRST_WAITS_MAX: u64 = 4;

/// Layout, width and height of the pictures.
type Shape = (PixelFormat, usize, usize);

/// Every way from a picture to the model's input: resized from each family of layouts, and the
/// picture itself, which the engine reads where it lies.
const SHAPES: [Shape; 6] = [
    (PixelFormat::Mono8, 48, 40),
    (PixelFormat::BayerRG8, 80, 70),
    (PixelFormat::BayerGB12, 48, 40),
    (PixelFormat::Yuyv, 48, 40),
    (PixelFormat::Nv12, 48, 40),
    (PixelFormat::Rgb8, SIDE, SIDE),
];

/// Runs a station; allocations on (capture, inspection) after the warm-up.
fn run(views: u64, tiling: Tiling, leak: bool, shape: Shape) -> (u64, u64) {
    DELIVERED.store(0, Ordering::SeqCst);
    let dir = tempfile::tempdir().unwrap();
    let spec = ModelSpec {
        input_width: SIDE,
        input_height: SIDE,
        map_width: SIDE,
        map_height: SIDE,
        classes: vec!["bolt".to_owned()],
        sha256: "ab".repeat(32),
        precision: Precision::Fp32,
    };
    let before = (CAPTURE.load(Ordering::SeqCst), INSPECT.load(Ordering::SeqCst));
    let view = |i: u64| {
        let folder = dir.path().join(format!("frames-{i}"));
        StationCamera::new(format!("c{i}"), Box::new(camera(&folder, i == 0, leak, shape)))
    };
    let parts = Parts {
        station: StationId::new("s1").unwrap(),
        cameras: (0..views).map(view).collect(),
        window_ms_max: 30_000,
        queue: Queue::Every,
        core: None,
        calibration: calibration(&spec.sha256, "bolt", 0.5, tiling),
        engine: Box::new(Alternating { spec, frames: 0, looks: views * tiling.count() as u64 }),
        recipes: vec![Recipe { tiling, ..Recipe::new(RecipeId(1), "bolt") }],
        latency_ms_max: 60_000,
        triggers: Triggers { mode: Mode::Continuous, arm_wait_ms_max: 0, recipe: None },
        queue_frames: 4,
        journal_dir: dir.path().join("state"),
        journal_sync: journal::Sync::Normal,
        journal_bytes_max: 1 << 30,
        journal_age_days_max: 0,
        broker: nobody(),
        recording: None,
        observer: None,
        clock: Arc::new(Marking),
    };
    let line = Line::start(parts).unwrap();
    let summary = line.run(&Shutdown::manual(), &Notify::silent()).unwrap();
    assert_eq!(summary.counters.parts, FRAMES);
    assert_eq!((summary.counters.pass, summary.counters.reject), (FRAMES / 2, FRAMES / 2));
    let after = (CAPTURE.load(Ordering::SeqCst), INSPECT.load(Ordering::SeqCst));
    (after.0 - before.0, after.1 - before.1)
}

#[test]
fn capture_and_inspection_allocate_nothing_per_frame_once_warm() {
    let (capture, _) = run(1, Tiling::WHOLE, true, SHAPES[0]);
    assert!(capture >= FRAMES - WARM_UP - 2, "the counter counts: {capture}");
    let tiles = Tiling { columns: 3, rows: 2, overlap: 0.2 };
    let at_once = SHAPES.map(|shape| (1, Tiling::WHOLE, shape));
    let others = [(2, Tiling::WHOLE, SHAPES[0]), (1, tiles, SHAPES[1]), (2, tiles, SHAPES[3])];
    for (views, tiling, shape) in at_once.into_iter().chain(others) {
        let found = run(views, tiling, false, shape);
        let what = "allocations on (capture, inspection)";
        let (capture, inspection) = found;
        let fine = capture <= FIRST_WAITS_MAX && inspection <= FIRST_WAITS_MAX;
        assert!(fine, "{shape:?} {tiling}, {views} cameras: {what} {found:?}");
    }
}

//! What a station tells of its camera: counts, causes, and a loss at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::tests::{GOOD, events, parts, scripted};
use super::*;
use crate::capture::scripted::Step;
use crate::capture::{Camera, CameraError, CameraStats, Event};
use crate::frame::{Nanos, Pool};
use crate::sys::notify::Notify;
use crate::sys::shutdown::Shutdown;

#[test]
fn the_state_of_the_camera_its_counts_and_its_last_cause_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let steps = [
        Step::Grey(GOOD),
        Step::Skip(2),
        Step::Grey(GOOD),
        Step::Damaged,
        Step::Repeat(GOOD),
        Step::Gone,
        Step::Grey(GOOD),
    ];
    let (parts, seen) = parts(dir.path(), scripted(steps));
    let line = Line::start(parts).unwrap();
    let board = Arc::clone(&line.board);
    line.run(&Shutdown::manual(), &Notify::silent()).unwrap();
    assert_eq!(seen.iter().count(), 6);
    let health = board.camera_health().remove(0);
    assert_eq!((health.delivered, health.incomplete, health.lost), (4, 1, 2));
    assert_eq!((health.stale, health.reconnects, health.copies), (1, 1, 0));
    assert_eq!((health.cause.as_str(), health.packets_missing), ("scripted", 0));
    assert!(health.cause_unix_s > 0);
    let events = events(dir.path());
    assert!(
        events.iter().any(|event| event.contains("camera_lost") && event.contains("scripted")),
        "{events:?}"
    );
}

/// A camera that takes its time, as one does that does not answer any more.
struct Slow {
    inner: Box<dyn Camera>,
    /// For every start but the first.
    start: Duration,
    /// It does not stop before this says so.
    may_stop: Arc<AtomicBool>,
    restarts: Arc<AtomicBool>,
    stopped: Arc<AtomicBool>,
}

impl Slow {
    fn new(start: Duration, may_stop: bool) -> Self {
        let inner = scripted([Step::Grey(GOOD), Step::Gone, Step::Grey(GOOD)]);
        let may_stop = Arc::new(AtomicBool::new(may_stop));
        Self { inner, start, may_stop, restarts: Arc::default(), stopped: Arc::default() }
    }
}

impl Camera for Slow {
    fn frame_bytes_max(&self) -> usize {
        self.inner.frame_bytes_max()
    }

    fn start(&mut self, pool: Pool, epoch: u32) -> Result<(), CameraError> {
        if epoch > 1 {
            self.restarts.store(true, Ordering::SeqCst);
            std::thread::sleep(self.start);
        }
        self.inner.start(pool, epoch)
    }

    fn next(&mut self, deadline: Nanos) -> Result<Event, CameraError> {
        self.inner.next(deadline)
    }

    fn stats(&self) -> CameraStats {
        self.inner.stats()
    }

    fn stop(&mut self) -> Result<(), CameraError> {
        let begun = Instant::now();
        while !self.may_stop.load(Ordering::SeqCst) && begun.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.stopped.store(true, Ordering::SeqCst);
        self.inner.stop()
    }
}

#[test]
fn a_lost_camera_is_told_before_it_is_let_go_of_and_that_is_no_hang() {
    let dir = tempfile::tempdir().unwrap();
    let camera = Slow::new(Duration::ZERO, false);
    let (may_stop, stopped) = (Arc::clone(&camera.may_stop), Arc::clone(&camera.stopped));
    let (parts, seen) = parts(dir.path(), Box::new(camera));
    let line = Line::start(parts).unwrap();
    let (board, mut watch) = (Arc::clone(&line.board), line.progress.watch());
    seen.recv().unwrap();
    while board.camera_health()[0].state != "lost" {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(!stopped.load(Ordering::SeqCst), "the PLC is told at once");
    assert!(!board.is_ready());
    let (mut pings, begun) = (0, Instant::now());
    while pings < 3 && begun.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(250));
        pings += u32::from(watch.stalled().count() == 0);
    }
    assert!(!stopped.load(Ordering::SeqCst));
    may_stop.store(true, Ordering::SeqCst);
    assert_eq!(pings, 3, "while the camera was let go of");
    line.run(&Shutdown::manual(), &Notify::silent()).unwrap();
    assert_eq!(seen.iter().count(), 1);
}

#[test]
fn a_stop_while_a_camera_is_being_opened_again_is_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    let camera = Slow::new(Duration::from_secs(20), true);
    let restarts = Arc::clone(&camera.restarts);
    let (parts, seen) = parts(dir.path(), Box::new(camera));
    let line = Line::start(parts).unwrap();
    seen.recv().unwrap();
    while !restarts.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let shutdown = Shutdown::manual();
    shutdown.request();
    line.run(&shutdown, &Notify::silent()).unwrap();
}

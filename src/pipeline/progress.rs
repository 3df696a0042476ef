//! Proof of progress: what the service watchdog is fed from.
//!
//! Each stage beats on every pass of its loop, and an idle stage passes several times a second.
//! A ping is due only when EVERY stage has moved since the last one, so a stage that hangs
//! starves the watchdog, however busy the others are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};

use crate::frame::VIEWS_MAX;

/// The stages that must move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The camera with this number.
    Capture(usize),
    /// With several cameras: which frames belong together.
    Views,
    Inspect,
    Journal,
    Command,
}

/// Time between beats during something slow: the watchdog is looked after every 250 ms.
const BEAT_EVERY: Duration = Duration::from_millis(100);

/// Names of the capture threads.
const CAPTURE_NAMES: [&str; VIEWS_MAX] = [
    "crrd-capture",
    "crrd-capture-2",
    "crrd-capture-3",
    "crrd-capture-4",
    "crrd-capture-5",
    "crrd-capture-6",
    "crrd-capture-7",
    "crrd-capture-8",
];

/// Stages there can be.
const STAGES_MAX: usize = 4 + VIEWS_MAX;

impl Stage {
    /// The stages of a station with this many cameras, in the order of the data path.
    pub(super) fn all(cameras: usize) -> Vec<Stage> {
        let capture = (0..cameras).map(Stage::Capture);
        let views = (cameras > 1).then_some(Stage::Views);
        let rest = [Stage::Inspect, Stage::Journal, Stage::Command];
        capture.chain(views).chain(rest).collect()
    }

    /// Name of its thread; at most 15 bytes, what Linux shows.
    pub(super) fn thread_name(self) -> &'static str {
        match self {
            Stage::Capture(camera) => CAPTURE_NAMES.get(camera).copied().unwrap_or("crrd-capture"),
            Stage::Views => "crrd-views",
            Stage::Inspect => "crrd-inspect",
            Stage::Journal => "crrd-journal",
            Stage::Command => "crrd-command",
        }
    }

    fn index(self) -> usize {
        match self {
            Stage::Views => 0,
            Stage::Inspect => 1,
            Stage::Journal => 2,
            Stage::Command => 3,
            Stage::Capture(camera) => 4 + camera.min(VIEWS_MAX - 1),
        }
    }
}

/// Passes of every stage; shared.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    stages: Arc<[Stage]>,
    passes: Arc<[AtomicU64; STAGES_MAX]>,
}

impl Progress {
    /// Of these stages, none of which has moved.
    pub(super) fn new(stages: Vec<Stage>) -> Self {
        Self { stages: stages.into(), passes: Arc::default() }
    }

    pub(super) fn beat(&self, stage: Stage) {
        self.passes[stage.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// Does something that is slow without being stuck, such as opening a camera that does not
    /// answer, and beats meanwhile; after `limit` no more, because then it hangs.
    pub(super) fn through<T>(&self, stage: Stage, limit: Duration, slow: impl FnOnce() -> T) -> T {
        // Dropped when it is done, by a panic as well.
        let (done, ended) = bounded::<()>(0);
        std::thread::scope(|scope| {
            let beats = (limit.as_millis() / BEAT_EVERY.as_millis()) as u64;
            let beat = move || {
                for _ in 0..beats {
                    self.beat(stage);
                    if ended.recv_timeout(BEAT_EVERY) != Err(RecvTimeoutError::Timeout) {
                        return;
                    }
                }
            };
            let thread = std::thread::Builder::new().name("crrd-patience".to_owned());
            if let Err(error) = thread.spawn_scoped(scope, beat) {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "no thread to feed the watchdog meanwhile");
            }
            let result = slow();
            drop(done);
            result
        })
    }

    /// Follows the beats.
    pub(super) fn watch(&self) -> Watch {
        Watch { progress: self.clone(), seen: [0; STAGES_MAX] }
    }
}

/// Decides when a ping is proven.
#[derive(Debug)]
pub(super) struct Watch {
    progress: Progress,
    seen: [u64; STAGES_MAX],
}

impl Watch {
    /// Stages that have not moved since the last time this was empty.
    pub(super) fn stalled(&mut self) -> impl Iterator<Item = Stage> + use<> {
        let now: [u64; STAGES_MAX] =
            std::array::from_fn(|i| self.progress.passes[i].load(Ordering::Relaxed));
        let seen = self.seen;
        let still = move |stage: &Stage| now[stage.index()] == seen[stage.index()];
        let stages = Arc::clone(&self.progress.stages);
        if !stages.iter().any(still) {
            self.seen = now;
        }
        (0..stages.len()).map(move |i| stages[i]).filter(still)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ping_needs_every_stage_to_move_since_the_last_one() {
        let all = Stage::all(1);
        let progress = Progress::new(all.clone());
        let mut watch = progress.watch();
        let stalled = |w: &mut Watch| w.stalled().collect::<Vec<_>>();
        assert_eq!(stalled(&mut watch), all);
        progress.beat(Stage::Capture(0));
        progress.beat(Stage::Journal);
        progress.beat(Stage::Command);
        assert_eq!(stalled(&mut watch), [Stage::Inspect]);
        // The others need not beat again: they moved since the last ping.
        progress.beat(Stage::Inspect);
        assert_eq!(stalled(&mut watch), []);
        progress.beat(Stage::Inspect);
        progress.beat(Stage::Inspect);
        assert_eq!(stalled(&mut watch), [Stage::Capture(0), Stage::Journal, Stage::Command]);
    }

    /// Waits until it is so; only a failure takes long.
    fn wait(what: &str, mut done: impl FnMut() -> bool) {
        let begun = std::time::Instant::now();
        while !done() {
            assert!(begun.elapsed() < Duration::from_secs(60), "waited for {what}");
            std::thread::sleep(BEAT_EVERY / 20);
        }
    }

    #[test]
    fn what_is_slow_is_no_stall_until_it_takes_too_long() {
        const BEATS: u64 = 4;
        let progress = Progress::new(Stage::all(1));
        let (mut watch, camera) = (progress.watch(), Stage::Capture(0));
        let others = [Stage::Inspect, Stage::Journal, Stage::Command];
        let mut ping = || {
            others.iter().for_each(|stage| progress.beat(*stage));
            watch.stalled().count() == 0
        };
        progress.through(camera, Duration::from_secs(60), || {
            (0..3).for_each(|_| wait("a ping within something slow", &mut ping));
        });
        let beats = || progress.passes[camera.index()].load(Ordering::Relaxed);
        let before = beats();
        progress.through(camera, BEAT_EVERY * BEATS as u32, || {
            wait("the last beat", || beats() == before + BEATS);
            // Time for two more, if there were any.
            std::thread::sleep(3 * BEAT_EVERY);
        });
        assert_eq!(beats(), before + BEATS, "it hangs");
        ping();
        assert!(!ping(), "nobody beats any more");
        let wrong = || -> () { panic!("in something slow") };
        let (begun, limit) = (std::time::Instant::now(), Duration::from_secs(120));
        let broken = std::panic::catch_unwind(|| progress.through(camera, limit, wrong));
        assert!(broken.is_err() && begun.elapsed() < limit / 2, "a panic ends it, too");
    }

    #[test]
    fn each_camera_must_move_for_itself() {
        let all = Stage::all(2);
        assert_eq!(all.len(), 6);
        let progress = Progress::new(all.clone());
        let mut watch = progress.watch();
        all.iter().for_each(|stage| progress.beat(*stage));
        assert_eq!(watch.stalled().count(), 0);
        all.iter().filter(|s| **s != Stage::Capture(1)).for_each(|stage| progress.beat(*stage));
        assert_eq!(watch.stalled().collect::<Vec<_>>(), [Stage::Capture(1)]);
    }

    #[test]
    fn thread_names_fit_what_linux_shows() {
        let all = Stage::all(VIEWS_MAX);
        assert!(all.iter().all(|s| s.thread_name().len() <= 15));
        let names: std::collections::BTreeSet<_> = all.iter().map(|s| s.thread_name()).collect();
        assert_eq!(names.len(), all.len());
    }
}

//! Proof of progress: what the service watchdog is fed from.
//!
//! Each stage beats on every pass of its loop, and an idle stage passes several times a second.
//! A ping is due only when EVERY stage has moved since the last one, so a stage that hangs
//! starves the watchdog, however busy the others are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The stages that must move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Capture,
    Inspect,
    Journal,
    Command,
}

impl Stage {
    pub(super) const ALL: [Stage; 4] =
        [Stage::Capture, Stage::Inspect, Stage::Journal, Stage::Command];

    /// Name of its thread; at most 15 bytes, what Linux shows.
    pub(super) fn thread_name(self) -> &'static str {
        match self {
            Stage::Capture => "crrd-capture",
            Stage::Inspect => "crrd-inspect",
            Stage::Journal => "crrd-journal",
            Stage::Command => "crrd-command",
        }
    }
}

/// Passes of every stage; shared.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    passes: Arc<[AtomicU64; Stage::ALL.len()]>,
}

impl Progress {
    pub(super) fn beat(&self, stage: Stage) {
        self.passes[stage as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Follows the beats.
    pub(super) fn watch(&self) -> Watch {
        Watch { progress: self.clone(), seen: [0; Stage::ALL.len()] }
    }
}

/// Decides when a ping is proven.
#[derive(Debug)]
pub(super) struct Watch {
    progress: Progress,
    seen: [u64; Stage::ALL.len()],
}

impl Watch {
    /// Stages that have not moved since the last time this was empty.
    pub(super) fn stalled(&mut self) -> impl Iterator<Item = Stage> + use<> {
        let now: [u64; Stage::ALL.len()] =
            std::array::from_fn(|i| self.progress.passes[i].load(Ordering::Relaxed));
        let seen = self.seen;
        if now.iter().zip(&seen).all(|(now, seen)| now != seen) {
            self.seen = now;
        }
        Stage::ALL.into_iter().filter(move |s| now[*s as usize] == seen[*s as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ping_needs_every_stage_to_move_since_the_last_one() {
        let progress = Progress::default();
        let mut watch = progress.watch();
        let stalled = |w: &mut Watch| w.stalled().collect::<Vec<_>>();
        assert_eq!(stalled(&mut watch), Stage::ALL);
        progress.beat(Stage::Capture);
        progress.beat(Stage::Journal);
        progress.beat(Stage::Command);
        assert_eq!(stalled(&mut watch), [Stage::Inspect]);
        // The others need not beat again: they moved since the last ping.
        progress.beat(Stage::Inspect);
        assert_eq!(stalled(&mut watch), []);
        progress.beat(Stage::Inspect);
        progress.beat(Stage::Inspect);
        assert_eq!(stalled(&mut watch), [Stage::Capture, Stage::Journal, Stage::Command]);
    }

    #[test]
    fn thread_names_fit_what_linux_shows() {
        assert!(Stage::ALL.iter().all(|s| s.thread_name().len() <= 15));
    }
}

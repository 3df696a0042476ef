//! The running line: waiting for its end, feeding the watchdog, changing the calibration.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, select};

use super::board::Board;
use super::encode;
use super::error::{PipelineError, PipelineErrorKind};
use super::limits::{Armed, InForce, Recipes};
use super::progress::{Progress, Stage, Watch};
use super::stage::{Outcome, Signals};
use super::tally::Latencies;
use crate::calibrate::{Calibration, CalibrationId};
use crate::frame::{Nanos, Precision};
use crate::message::Counters;
use crate::sys::clock::Clock;
use crate::sys::notify::Notify;
use crate::sys::shutdown::Shutdown;

/// How often the running line is looked at: a fraction of the shortest sensible watchdog period.
const WATCH_EVERY: Duration = Duration::from_millis(250);
/// How often a silent stage is named in the log.
const STALL_LOG_EVERY: Nanos = Nanos(5_000_000_000);
/// How often the service manager's status line is renewed.
const STATUS_EVERY: Nanos = Nanos(10_000_000_000);

/// A start is extended by so much while something is missing: several times [`STATUS_EVERY`].
const START_EXTENDED_BY: Duration = Duration::from_secs(60);
/// Longest time for an engine to be built: the search for layers that need 32 bits builds up to 24 engines, each of which
/// takes minutes on a Jetson.
const BUILDING_MAX: Nanos = Nanos(4 * 3_600 * 1_000_000_000);

/// A running line.
pub struct Line {
    pub(super) threads: Vec<(Stage, JoinHandle<()>)>,
    pub(super) ended: Receiver<(Stage, Outcome)>,
    pub(super) board: Arc<Board>,
    pub(super) progress: Progress,
    pub(super) signals: Arc<Signals>,
    pub(super) in_force: InForce,
    pub(super) engine_sha256: String,
    pub(super) precision: Precision,
    pub(super) recipes: Recipes,
    pub(super) latency_ms_max: u64,
    pub(super) clock: Arc<dyn Clock>,
}

/// What a run achieved.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Boot epoch of this run.
    pub epoch: u32,
    /// Parts answered, by outcome.
    pub counters: Counters,
    /// Latencies from trigger to verdict.
    pub latencies: Latencies,
    /// Every journaled row reached the broker.
    pub delivered: bool,
}

impl Line {
    /// Puts another calibration in force, from the next frame on.
    ///
    /// # Errors
    /// When it is damaged, belongs to another engine or arithmetic, or was made from pictures seen in another way
    /// (other tiles, another part of them) than the recipes want. The old one then stays in force.
    pub fn replace_calibration(
        &self,
        calibration: Calibration,
    ) -> Result<CalibrationId, PipelineError> {
        self.recipes.check(&calibration)?;
        let armed = Armed::new(calibration, (&self.engine_sha256, self.precision))?;
        let id = armed.id;
        let old = self.in_force.get().id;
        let change = encode::calibration(self.board.epoch(), &armed, Some(old));
        self.in_force.replace(armed);
        tracing::info!(%old, new = %id, "calibration replaced");
        self.board.calibration_replaced(id, change);
        Ok(id)
    }

    /// Whether the station would judge a part now.
    pub fn is_ready(&self) -> bool {
        self.board.is_ready()
    }

    /// Parts whose answers are journaled so far.
    pub fn counters(&self) -> Counters {
        self.board.counters()
    }

    /// Waits until the source ends, a stop is asked for, or a stage fails; then ends the stages
    /// in order. Feeds the watchdog from the progress of all stages meanwhile.
    ///
    /// # Errors
    /// When a stage failed or did not end in its time. What was journaled is safe either way.
    pub fn run(self, shutdown: &Shutdown, notify: &Notify) -> Result<Summary, PipelineError> {
        let failure = self.watch(shutdown, notify);
        let stopped = self.stop(notify);
        match failure {
            Some(failure) => Err(failure),
            None => stopped,
        }
    }

    fn watch(&self, shutdown: &Shutdown, notify: &Notify) -> Option<PipelineError> {
        let mut service = Service::new(self.progress.watch(), self.clock.now());
        let stop = shutdown.channel();
        loop {
            select! {
                recv(stop) -> _ => return None,
                recv(self.ended) -> message => match message {
                    Ok((stage, Outcome::Failed(why))) => return Some(failed(stage, &why)),
                    // A stage that is done leaves the rest to the staged end.
                    Ok(_) | Err(_) => return None,
                },
                default(WATCH_EVERY) => {}
            }
            if !self.board.publisher_alive() {
                let message = "the publisher's thread has died; undelivered rows stay journaled";
                return Some(PipelineError::new(PipelineErrorKind::Stage, message));
            }
            service.look(self, notify);
        }
    }
}

/// Names the stage and what it said.
pub(super) fn failed(stage: Stage, why: &str) -> PipelineError {
    let message = format!("stage {} failed: {why}", stage.thread_name());
    PipelineError::new(PipelineErrorKind::Stage, message)
}

/// What the service manager is told while the line runs.
struct Service {
    watch: Watch,
    /// Whether the service manager knows that the station is up. It is when it has all it needs,
    /// whatever its mode. Until then it is given time as long as every stage moves: a restart
    /// makes no camera send, and the watchdog begins to watch only afterwards.
    up: bool,
    /// Whether the station was ready when that was told last; `None` until it is for the first time.
    told: Option<bool>,
    told_at: Nanos,
    started: Nanos,
    moved: Nanos,
    complained: Nanos,
}

impl Service {
    fn new(watch: Watch, now: Nanos) -> Self {
        Self {
            watch,
            up: false,
            told: None,
            told_at: now,
            started: now,
            moved: now,
            complained: now,
        }
    }

    fn look(&mut self, line: &Line, notify: &Notify) {
        let now = line.clock.now();
        self.feed(now, notify);
        let ready = line.board.is_ready();
        let changed = self.told != Some(ready) && (ready || self.told.is_some());
        let news = changed || !self.up && line.board.has_all_it_needs();
        if !news && now.since(self.told_at) < STATUS_EVERY {
            return;
        }
        let status = line.board.status();
        self.told_at = now;
        if changed {
            tracing::info!(ready, "{status}");
        }
        if !self.up && line.board.has_all_it_needs() {
            self.up = true;
            notify.ready(&status);
        } else {
            notify.status(&status);
        }
        let building = line.board.awaits_engine().then(|| now.since(self.started));
        if !self.up && may_take_longer(now.since(self.moved), building) {
            notify.extend(START_EXTENDED_BY);
        }
        if changed {
            self.told = Some(ready);
        }
    }

    /// Pings when every stage moved; names those that did not.
    fn feed(&mut self, now: Nanos, notify: &Notify) {
        let stalled: Vec<&str> = self.watch.stalled().map(Stage::thread_name).collect();
        if stalled.is_empty() {
            self.moved = now;
            notify.ping();
        } else if now.since(self.moved.max(self.complained)) > STALL_LOG_EVERY {
            self.complained = now;
            tracing::warn!(stages = stalled.join(", "), "no progress; the watchdog is not fed");
        }
    }
}

/// Whether a start that is not over yet is given more time, when every stage moved so long ago and an
/// engine has been `building` for so long.
fn may_take_longer(since_moved: Nanos, building: Option<Nanos>) -> bool {
    since_moved < STATUS_EVERY && building.is_none_or(|since_start| since_start < BUILDING_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_may_take_as_long_as_the_stages_move_and_no_engine_is_built_for_ever() {
        let now = Nanos(0);
        assert!(may_take_longer(now, None), "a camera that sends nothing yet, for days");
        assert!(may_take_longer(now, Some(Nanos(BUILDING_MAX.0 - 1))));
        assert!(!may_take_longer(now, Some(BUILDING_MAX)));
        assert!(!may_take_longer(STATUS_EVERY, None), "a stage hangs");
    }
}

//! The staged end of the line. Each stage has a name, a time limit and a log line:
//! take no more commands -> stop the cameras -> match what waits for its views -> drain the
//! inspection -> commit the journal -> flush the publisher.
//!
//! A stage that does not end in time is left behind and the next one is told to end on its own,
//! so that a hanging camera cannot keep journaled verdicts from the broker. That is a failure, but
//! for a camera that does not stream: one that is being looked for may take longer than a stop may,
//! and there is nothing of it to lose.

use std::thread::JoinHandle;
use std::time::Duration;

use super::error::{PipelineError, PipelineErrorKind};
use super::line::{Line, Summary, failed};
use super::progress::Stage;
use super::stage::Outcome;
use crate::frame::Nanos;
use crate::sys::notify::Notify;

/// Time for the command being carried out, in milliseconds: it waits for nobody.
const COMMAND_MS_MAX: u64 = 1_000;
/// Time for the camera to stop, in milliseconds: some ticks and a driver's stop.
const CAMERA_MS_MAX: u64 = 3_000;
/// Time for the views that wait, in milliseconds: nobody waits for more of them.
const VIEWS_MS_MAX: u64 = 1_000;
/// Time beyond the deadline of the last part for the inference that began just before it, in
/// milliseconds: the slowest engine. Parts behind it are answered without a look.
const INFERENCE_MS_MAX: u64 = 10_000;
/// Time for the last commits, in milliseconds: several fsyncs of a bad disk.
const JOURNAL_MS_MAX: u64 = 5_000;
/// Time for the publisher, in milliseconds; what is not delivered then stays in the journal.
const PUBLISH_MS_MAX: u64 = 3_000;
/// How often a stage is looked at while it ends.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// How long a stage may take to end, when its parts have so long from trigger to verdict: as long as
/// a part that was accepted last may still be judged in time, it is judged.
fn limit_ms(stage: Stage, latency_ms_max: u64) -> u64 {
    match stage {
        Stage::Command => COMMAND_MS_MAX,
        Stage::Capture(_) => CAMERA_MS_MAX,
        Stage::Views => VIEWS_MS_MAX,
        Stage::Inspect => latency_ms_max.saturating_add(INFERENCE_MS_MAX),
        Stage::Journal => JOURNAL_MS_MAX,
    }
}

impl Line {
    /// Ends all stages in order.
    pub(super) fn stop(self, notify: &Notify) -> Result<Summary, PipelineError> {
        notify.stopping("stopping in order");
        let mut late = vec![];
        for (stage, thread) in &self.threads {
            let stage = *stage;
            let limit_ms = limit_ms(stage, self.latency_ms_max);
            // The service manager's own limit knows nothing of the deadline that was configured.
            notify.extend(Duration::from_millis(limit_ms.saturating_add(PUBLISH_MS_MAX)));
            self.signals.order(stage);
            if !self.wait_for(stage, thread, limit_ms) && !self.may_stay(stage) {
                late.push(stage.thread_name());
            }
            notify.ping();
        }
        let flushed = self.board.flush(Duration::from_millis(PUBLISH_MS_MAX));
        let delivered = flushed.as_ref().is_some_and(|f| f.drained);
        tracing::info!(delivered, "stage crrd-publish ended");
        let summary = self.summary(delivered);
        for (stage, outcome) in self.ended.try_iter() {
            if let Outcome::Failed(why) = outcome {
                return Err(failed(stage, &why));
            }
        }
        if late.is_empty() {
            return Ok(summary);
        }
        let message = format!("did not end in time and was left behind: {}", late.join(", "));
        Err(PipelineError::new(PipelineErrorKind::Shutdown, message))
    }

    /// Whether nothing is missing when this stage is left behind.
    fn may_stay(&self, stage: Stage) -> bool {
        matches!(stage, Stage::Capture(camera) if !self.board.streams(camera))
    }

    fn wait_for(&self, stage: Stage, thread: &JoinHandle<()>, limit_ms: u64) -> bool {
        let begin = self.clock.now();
        while !thread.is_finished() {
            if self.clock.now() > begin.plus_ms(limit_ms) {
                let name = stage.thread_name();
                tracing::warn!(limit_ms, "stage {name} did not end; it is left behind");
                return false;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        let took: Nanos = self.clock.now().since(begin);
        tracing::info!(took_ms = took.as_ms() as u64, "stage {} ended", stage.thread_name());
        true
    }

    fn summary(&self, delivered: bool) -> Summary {
        let epoch = self.board.epoch();
        let (counters, latencies) = (self.board.counters(), self.board.latencies());
        Summary { epoch, counters, latencies, delivered }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inspection_may_take_as_long_as_its_last_part_may_be_judged_in_time() {
        for latency_ms in [1, 1_000, 60_000] {
            assert!(limit_ms(Stage::Inspect, latency_ms) >= latency_ms + INFERENCE_MS_MAX);
            assert_eq!(limit_ms(Stage::Journal, latency_ms), JOURNAL_MS_MAX);
        }
        assert_eq!(limit_ms(Stage::Inspect, u64::MAX), u64::MAX);
    }
}

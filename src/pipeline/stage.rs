//! What all stages have in common: names, stop signals, how they end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::Sender;

use super::error::{PipelineError, PipelineErrorKind};
use super::progress::Stage;

/// Longest wait inside a stage before it looks at its signals and beats again.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// Orders to end, one for each stage, given in the order of the data path.
#[derive(Debug, Default)]
pub(super) struct Signals {
    stop_commands: AtomicBool,
    stop_camera: AtomicBool,
    drain_views: AtomicBool,
    drain_inspect: AtomicBool,
    drain_journal: AtomicBool,
}

impl Signals {
    pub(super) fn stop_commands(&self) -> bool {
        self.stop_commands.load(Ordering::Acquire)
    }

    pub(super) fn stop_camera(&self) -> bool {
        self.stop_camera.load(Ordering::Acquire)
    }

    /// Matching ends when nothing waits, even if a camera hangs and still holds its queue open.
    pub(super) fn drain_views(&self) -> bool {
        self.drain_views.load(Ordering::Acquire)
    }

    /// Inspection ends when its queue is empty, even if capture hangs and still holds it open.
    pub(super) fn drain_inspect(&self) -> bool {
        self.drain_inspect.load(Ordering::Acquire)
    }

    /// The journal ends when its queue is empty, even if inspection hangs.
    pub(super) fn drain_journal(&self) -> bool {
        self.drain_journal.load(Ordering::Acquire)
    }

    pub(super) fn order(&self, stage: Stage) {
        match stage {
            Stage::Capture(_) => &self.stop_camera,
            Stage::Views => &self.drain_views,
            Stage::Inspect => &self.drain_inspect,
            Stage::Journal => &self.drain_journal,
            Stage::Command => &self.stop_commands,
        }
        .store(true, Ordering::Release);
    }
}

/// How a stage ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// As told, or because the stage before it ended.
    Done,
    /// The camera has nothing more to show.
    SourceEnded,
    /// It cannot go on; the station must end.
    Failed(String),
}

/// Starts a stage in its named thread. Its outcome is sent to `ended` and is what `join` gives.
/// A panic is a failure, told like any other.
pub(super) fn spawn(
    stage: Stage,
    ended: Sender<(Stage, Outcome)>,
    run: impl FnOnce() -> Outcome + Send + 'static,
) -> Result<JoinHandle<()>, PipelineError> {
    let body = move || {
        // Nothing of a failed stage is used afterwards.
        let outcome = catch_unwind(AssertUnwindSafe(run))
            .unwrap_or_else(|panic| Outcome::Failed(panic_message(panic.as_ref())));
        // Room for every stage's one message; a station that is gone needs none.
        let _ = ended.try_send((stage, outcome));
    };
    std::thread::Builder::new().name(stage.thread_name().to_owned()).spawn(body).map_err(|error| {
        PipelineError::with_source(
            PipelineErrorKind::Thread,
            format!("cannot start thread {}: raise the limit on tasks", stage.thread_name()),
            error,
        )
    })
}

/// The text of a panic.
pub(super) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .map_or_else(|| "panic".to_owned(), |text| format!("panic: {text}"))
}

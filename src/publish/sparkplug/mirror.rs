//! The mirror as the rest of the station sees it: a feed that never waits, and an end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel as channel;
use tokio::sync::{mpsc, watch};

use super::client::{self, Inbox, Stop};
use super::types::{Part, Settings, Status};
use crate::sys::clock::Clock;

/// Parts on their way to the mirror; beyond it they are dropped and counted. It empties in
/// microseconds a part, so only a stuck thread fills it.
const PARTS_MAX: usize = 1_024;
/// Time for the farewell when the mirror is dropped or stopped.
const STOP_WAIT: Duration = Duration::from_millis(1_500);
/// Added before the thread is given up as stuck.
const STUCK_AFTER: Duration = Duration::from_millis(500);

/// A mirror that could not be started.
#[derive(Debug, thiserror::Error)]
#[error("the Sparkplug mirror's thread cannot be started; check the limits on threads and files")]
pub struct MirrorError(#[from] std::io::Error);

/// What the station tells the mirror. Never waits, whatever the mirror does.
#[derive(Debug)]
pub struct Feed {
    parts: mpsc::Sender<Part>,
    status: watch::Sender<Option<Status>>,
    dropped: Arc<AtomicU64>,
}

impl Feed {
    /// A part was answered and journaled.
    pub fn part(&self, part: Part) {
        if self.parts.try_send(part).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The station's state; only the newest of several is sure to be told.
    pub fn status(&self, status: Status) {
        self.status.send_replace(Some(status));
    }
}

/// The running mirror. Dropping it stops it.
#[derive(Debug)]
pub struct Mirror {
    stop: mpsc::Sender<Stop>,
    thread: Option<JoinHandle<()>>,
}

impl Mirror {
    /// Starts the thread `crrd-sparkplug`, which connects at once and for ever.
    ///
    /// # Errors
    /// When the thread cannot be started. A broker that is not there is no error.
    pub fn start(settings: Settings, clock: Arc<dyn Clock>) -> Result<(Self, Feed), MirrorError> {
        let (parts, parts_in) = mpsc::channel(PARTS_MAX);
        let (status, status_in) = watch::channel(None);
        let (stop, stop_in) = mpsc::channel(1);
        let dropped = Arc::new(AtomicU64::new(0));
        let inbox = Inbox {
            parts: parts_in,
            status: status_in,
            dropped: Arc::clone(&dropped),
            stop: stop_in,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(2)
            .thread_name("crrd-resolve")
            .build()?;
        let body = move || {
            // Nothing of a failed mirror is used afterwards; the broker publishes its last will.
            let run = AssertUnwindSafe(|| runtime.block_on(client::run(settings, clock, inbox)));
            if catch_unwind(run).is_err() {
                tracing::error!(
                    "the Sparkplug mirror has failed and is gone until the next start; verdicts \
                     are judged, journaled and published all the same"
                );
            }
            // Do not wait for a name resolution that hangs.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("crrd-sparkplug".to_owned()).spawn(body)?;
        Ok((Self { stop, thread: Some(thread) }, Feed { parts, status, dropped }))
    }

    /// Tells the hosts that the station leaves, within a bounded time, and ends the thread.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        let (done, answer) = channel::bounded(1);
        let asked = self.stop.try_send(Stop { wait: STOP_WAIT, done }).is_ok();
        let stopped = !asked || answer.recv_timeout(STOP_WAIT + STUCK_AFTER).is_ok();
        if !stopped {
            // Left behind: waiting for a stuck thread would hold up the whole shutdown.
            tracing::error!("the Sparkplug mirror did not end in time; it is left behind");
        } else if thread.join().is_err() {
            tracing::error!("the Sparkplug mirror's thread panicked");
        }
    }
}

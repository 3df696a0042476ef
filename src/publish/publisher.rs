//! The publisher as the rest of the station sees it: a named thread behind a few handles.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel as channel;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::client::{self, Inbox};
use super::limits::WINDOW_MAX;
use super::types::{Health, Inbound, Outbox, ReplayRange, Report, Row, Settings};

/// Announced rows on their way to the publisher; beyond it an announcement is dropped and the
/// row goes out as a late one.
const ROWS_MAX: usize = 1_024;
/// Answers and metrics on their way to the publisher; beyond it they are dropped, and whoever
/// hands them over is told.
const SAYINGS_MAX: usize = 128;
/// Replays that wait for the one under way; more are refused.
const REPLAYS_MAX: usize = 4;
/// Commands and receipts nobody has taken yet; beyond it they are dropped, and a PLC that has no
/// answer asks again. Far more than the station takes in a second.
const INBOUND_MAX: usize = 256;
/// Reports nobody has taken yet; beyond it a report is only logged.
const REPORTS_MAX: usize = 64;
/// Added to the flush time before the thread is given up as stuck.
const STUCK_AFTER: Duration = Duration::from_secs(2);

/// A publisher that could not be started.
#[derive(Debug, thiserror::Error)]
#[error("publisher: {what}; {remedy}")]
pub struct PublishError {
    what: &'static str,
    remedy: &'static str,
    #[source]
    source: Option<std::io::Error>,
}

/// What a flush achieved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flushed {
    /// Every committed row was delivered.
    pub drained: bool,
    /// The offline state was acknowledged and the connection ended cleanly.
    pub clean: bool,
    /// The final counters.
    pub health: Health,
}

/// A committed row, and when its time is over.
pub(super) struct Announced {
    pub(super) row: Row,
    pub(super) until: Option<Instant>,
}

/// What is not a row and not the state.
pub(super) enum Saying {
    Reply(Vec<u8>),
    Health(Vec<u8>),
}

/// Order to end.
pub(super) struct Flush {
    pub(super) wait: Duration,
    pub(super) offline: Vec<u8>,
    pub(super) done: channel::Sender<Flushed>,
}

/// Counters shared with the thread.
#[derive(Debug, Default)]
pub(super) struct Shared {
    health: Mutex<Health>,
    dropped: AtomicU64,
}

impl Shared {
    pub(super) fn health(&self) -> MutexGuard<'_, Health> {
        // Counters stay usable whatever panicked while they were held.
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Announces committed rows; cheap to clone, never blocks.
#[derive(Clone, Debug)]
pub struct Notifier {
    rows: mpsc::Sender<Announced>,
    shared: Arc<Shared>,
}

impl Notifier {
    /// Announces a row right after its commit, in order of the numbers. When the queue is full
    /// the announcement is dropped and counted; the row then goes out as a late one. So it does
    /// when it was not sent within `lasts`; `None` = its time is never over.
    pub fn notify(&self, row: Row, lasts: Option<Duration>) {
        let until = lasts.and_then(|lasts| Instant::now().checked_add(lasts));
        if self.rows.try_send(Announced { row, until }).is_err() {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The running publisher. Dropping it ends the thread at once, without a farewell to the broker.
#[derive(Debug)]
pub struct Publisher {
    notifier: Notifier,
    state: watch::Sender<Vec<u8>>,
    calibration: watch::Sender<Vec<u8>>,
    sayings: mpsc::Sender<Saying>,
    replays: mpsc::Sender<ReplayRange>,
    inbound: channel::Receiver<Inbound>,
    /// Taken when the end has come; without it the thread ends.
    flush: Option<mpsc::Sender<Flush>>,
    reports: channel::Receiver<Report>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.flush = None;
        // The outbox is released before the drop is over: the journal may be opened again.
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the publisher's thread panicked; undelivered rows stay journaled");
        }
    }
}

impl Publisher {
    /// Starts the thread `crrd-publish`, which connects at once and for ever.
    ///
    /// # Errors
    /// When a setting is unusable or the thread cannot be started. A broker that is not there is
    /// no error.
    pub fn start(settings: Settings, outbox: Box<dyn Outbox>) -> Result<Self, PublishError> {
        check(&settings)?;
        let (rows, rows_in) = mpsc::channel(ROWS_MAX);
        let (flush, flush_in) = mpsc::channel(1);
        let (state, state_in) = watch::channel(settings.state.clone());
        let (calibration, calibration_in) = watch::channel(settings.calibration.clone());
        let (sayings, sayings_in) = mpsc::channel(SAYINGS_MAX);
        let (replays, replays_in) = mpsc::channel(REPLAYS_MAX);
        let (inbound_out, inbound) = channel::bounded(INBOUND_MAX);
        let (reports_out, reports) = channel::bounded(REPORTS_MAX);
        let shared = Arc::new(Shared::default());
        let inbox = Inbox {
            rows: rows_in,
            flush: flush_in,
            state: state_in,
            calibration: calibration_in,
            sayings: sayings_in,
            replays: replays_in,
            inbound: inbound_out,
            reports: reports_out,
            shared: shared.clone(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(2)
            .thread_name("crrd-resolve")
            .build()
            .map_err(start_error)?;
        let thread = std::thread::Builder::new()
            .name("crrd-publish".to_owned())
            .spawn(move || {
                runtime.block_on(client::run(settings, outbox, inbox));
                // Do not wait for a name resolution that hangs.
                runtime.shutdown_background();
            })
            .map_err(start_error)?;
        let notifier = Notifier { rows, shared: shared.clone() };
        Ok(Self {
            notifier,
            state,
            calibration,
            sayings,
            replays,
            inbound,
            flush: Some(flush),
            reports,
            shared,
            thread: Some(thread),
        })
    }

    /// A handle for the journal thread.
    pub fn notifier(&self) -> Notifier {
        self.notifier.clone()
    }

    /// Publishes a new retained state; only the newest of several is sure to go out.
    pub fn set_state(&self, payload: Vec<u8>) {
        self.state.send_replace(payload);
    }

    /// Publishes what the calibration topic says from now on.
    pub fn set_calibration(&self, payload: Vec<u8>) {
        self.calibration.send_replace(payload);
    }

    /// Publishes the answer to a command, before anything else; false when there was no room.
    #[must_use]
    pub fn reply(&self, payload: Vec<u8>) -> bool {
        self.sayings.try_send(Saying::Reply(payload)).is_ok()
    }

    /// Publishes metrics; false when there was no room.
    #[must_use]
    pub fn tell_health(&self, payload: Vec<u8>) -> bool {
        self.sayings.try_send(Saying::Health(payload)).is_ok()
    }

    /// Sends verdicts again, behind everything else, one range after the other;
    /// [`Report::Replayed`] tells when it is done. False when too many ranges wait.
    #[must_use]
    pub fn replay(&self, range: ReplayRange) -> bool {
        self.replays.try_send(range).is_ok()
    }

    /// What consumers say; to be taken as it comes.
    pub fn inbound(&self) -> &channel::Receiver<Inbound> {
        &self.inbound
    }

    /// Counters for the health message.
    pub fn health(&self) -> Health {
        let mut health = self.shared.health().clone();
        health.notifications_dropped += self.shared.dropped.load(Ordering::Relaxed);
        health
    }

    /// What the station should know; to be taken regularly and journaled as events.
    pub fn reports(&self) -> &channel::Receiver<Report> {
        &self.reports
    }

    /// False when the thread has died: a defect; the station should end and be restarted.
    pub fn is_alive(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Delivers what can be delivered within `wait`, publishes `offline` as the state, ends the
    /// connection and the thread. What is not delivered stays in the journal.
    pub fn flush(mut self, wait: Duration, offline: Vec<u8>) -> Flushed {
        let (done, answer) = channel::bounded(1);
        let order = Flush { wait, offline, done };
        let asked = self.flush.as_ref().is_some_and(|flush| flush.try_send(order).is_ok());
        let flushed = if asked { answer.recv_timeout(wait + STUCK_AFTER).ok() } else { None };
        match flushed {
            Some(flushed) => flushed,
            None => {
                // Left behind: waiting for a stuck thread would hold up the whole shutdown.
                self.thread = None;
                let health = self.shared.health().clone();
                tracing::error!("the publisher did not answer; undelivered rows stay journaled");
                Flushed { drained: false, clean: false, health }
            }
        }
    }
}

fn start_error(source: std::io::Error) -> PublishError {
    PublishError {
        what: "the thread cannot be started",
        remedy: "check the limits on threads and open files of this service",
        source: Some(source),
    }
}

fn check(settings: &Settings) -> Result<(), PublishError> {
    let fail = |what, remedy| Err(PublishError { what, remedy, source: None });
    let limits = &settings.limits;
    if settings.client_id.is_empty() {
        return fail("the client id is empty", "give each station a client id of its own");
    }
    if limits.bulk_window == 0 || limits.bulk_window >= limits.window || limits.window > WINDOW_MAX
    {
        return fail(
            "the window limits do not fit each other",
            "window at most 1000, bulk_window at least 1 and smaller than window",
        );
    }
    let filter = |topic: &String| topic.is_empty() || topic.contains(['#', '+']);
    if settings.subscriptions.iter().any(filter) {
        return fail("a subscription is empty or has a wildcard", "name one topic each");
    }
    let largest = settings.will.len().max(settings.state.len());
    if largest > limits.payload_bytes_max {
        return fail("the state is larger than the payload limit", "raise payload_bytes_max");
    }
    Ok(())
}

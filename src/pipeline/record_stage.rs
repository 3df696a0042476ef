//! Stage 3: decisions into the journal, and only then to the publisher and the observer.
//!
//! This stage keeps the deadlines: a part whose result is not here in time is answered without
//! it, even while the inspection hangs, and a result that comes after that is kept for the record.
//!
//! Takes everything that waits and commits it at once. When the journal fails (full disk, bad
//! disk) the batch is kept and tried again for ever, the station is not ready meanwhile, and
//! whatever misses its deadline that way becomes INVALID before it is written. A damaged database
//! is not tried again: only a new start heals it, so the stage ends and the service manager
//! starts the station anew.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::board::Board;
use super::cameras::Loss;
use super::encode::{self, Encoder};
use super::engine_news::News;
use super::observer::{Observer, Snapshot};
use super::progress::{Progress, Stage};
use super::stage::{Outcome, Signals, TICK};
use super::work::{DECISIONS_MAX, Decision};
use crate::journal::{Entry, JournalErrorKind, RowKind, Writer};
use crate::message::FLAG_LATE;
use crate::publish::{Notifier, Report};
use crate::station::{Action, Event, Need, Step};
use crate::sys::clock::Clock;

/// Pauses between attempts of a failed commit, in milliseconds: first, and longest.
const RETRY_MS: (u64, u64) = (100, 2_000);
/// Attempts once the station ends: what still fails then stays unpublished, and is told in the
/// log and by the exit code.
const LAST_TRIES: u32 = 5;
/// Length of the steps in which a pause is slept, so that beats go on.
const PAUSE_STEP: Duration = Duration::from_millis(50);

/// Why the stage ends when only a new start helps.
const DAMAGED: &str = "the journal is damaged and heals at the next start";

pub(super) struct RecordStage {
    pub(super) to_journal: Receiver<Box<Decision>>,
    pub(super) give_back: Sender<Box<Decision>>,
    pub(super) reports: Receiver<Report>,
    pub(super) writer: Writer,
    pub(super) notifier: Notifier,
    pub(super) encoder: Encoder,
    pub(super) observer: Option<Box<dyn Observer>>,
    /// What the observer was told of the station.
    pub(super) shown: Option<Snapshot>,
    pub(super) board: Arc<Board>,
    pub(super) progress: Progress,
    pub(super) signals: Arc<Signals>,
    pub(super) clock: Arc<dyn Clock>,
    /// What an answer without a result is made from.
    pub(super) blank: Decision,
    /// Scratch of one step.
    pub(super) scratch: Step,
    /// Missed triggers to be told with the next commit.
    pub(super) missed: u64,
    /// Cameras that were lost, to be told with the next commit.
    pub(super) losses: Vec<Loss>,
    /// What happened to the engine, to be told with the next commit.
    pub(super) engine_news: Vec<News>,
    /// From trigger to answer in milliseconds.
    pub(super) latency_ms_max: u64,
    /// A slow commit, to be told with the next one.
    pub(super) slow_ms: u64,
    /// The database could not be written, and that was told.
    pub(super) unsettled: bool,
}

impl RecordStage {
    /// Runs until the decisions end, then closes the journal.
    pub(super) fn run(mut self) -> Outcome {
        let mut batch = Vec::with_capacity(DECISIONS_MAX);
        loop {
            self.progress.beat(Stage::Journal);
            let last = match self.to_journal.recv_timeout(self.wait_max()) {
                Ok(first) => {
                    batch.push(self.finished(first));
                    false
                }
                Err(RecvTimeoutError::Timeout) => self.signals.drain_journal(),
                Err(RecvTimeoutError::Disconnected) => true,
            };
            if last {
                // Whoever still waits for an answer gets it now: nobody comes after this stage.
                self.step(Event::Closing);
            }
            while batch.len() < DECISIONS_MAX {
                let Ok(next) = self.to_journal.try_recv() else { break };
                batch.push(self.finished(next));
            }
            self.answer_due(&mut batch);
            if let Err(why) = self.commit(&mut batch) {
                return Outcome::Failed(format!(
                    "{why}: {} decisions could not be journaled; they were never published",
                    batch.len() + self.to_journal.len()
                ));
            }
            self.show();
            if last {
                break;
            }
            // After what waits is told: housekeeping must delay no verdict that could go out.
            if !self.settle() {
                return Outcome::Failed(DAMAGED.to_owned());
            }
        }
        match self.writer.close() {
            Ok(()) => Outcome::Done,
            Err(error) if error.kind() == JournalErrorKind::Damaged => {
                Outcome::Failed(DAMAGED.to_owned())
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "the journal was not closed cleanly; no row is lost");
                Outcome::Done
            }
        }
    }

    /// Until the next deadline, or the next look at the signals.
    fn wait_max(&self) -> Duration {
        Duration::from_nanos(self.board.wait_max(self.clock.now()).0).min(TICK)
    }

    /// The inspection of a part ended: its result is the answer, or comes after it.
    fn finished(&mut self, mut decision: Box<Decision>) -> Box<Decision> {
        let event = Event::Finished(decision.record.seq);
        self.board.step(self.clock.now(), event, &mut self.scratch);
        if self.scratch.drain(..).any(|action| matches!(action, Action::Late(_))) {
            decision.mark_late();
        }
        decision
    }

    /// Answers the parts whose time is over.
    #[expect(clippy::vec_box, reason = "a batch is boxes: slots that travel round")]
    fn answer_due(&mut self, batch: &mut Vec<Box<Decision>>) {
        let now = self.clock.now();
        self.board.step(now, Event::Tick, &mut self.scratch);
        let mut actions = std::mem::take(&mut self.scratch);
        for action in actions.drain(..) {
            match action {
                Action::Answer(ticket, reason) => {
                    let mut decision = Box::new(self.blank.clone());
                    decision.unanswered(&ticket, reason, now);
                    decision.record.calibration = self.board.calibration();
                    tracing::warn!(part = %ticket.part, q = ticket.seq, ?reason,
                        "answered without a result");
                    batch.push(decision);
                }
                Action::TellMissed { count } => self.missed += count,
                _ => {}
            }
        }
        self.scratch = actions;
        self.losses.extend(self.board.take_losses());
        self.engine_news.extend(self.board.take_engine_news());
    }

    /// False when the database is damaged.
    fn settle(&mut self) -> bool {
        // No row and no verdict hangs on it: rows stay in the journal's tail until that is full.
        let result = self.writer.settle();
        if let (Err(error), false) = (&result, self.unsettled) {
            tracing::error!(
                error = error as &dyn std::error::Error,
                "the journal's database cannot be written; verdicts are safe in its tail, for now"
            );
        }
        self.unsettled = result.is_err() || (self.unsettled && self.writer.is_behind());
        !result.is_err_and(|error| error.kind() == JournalErrorKind::Damaged)
    }

    /// Journals and announces the batch; says why when it had to be given up.
    #[expect(
        clippy::vec_box,
        reason = "the boxes are slots that travel round; moving them is the point"
    )]
    fn commit(&mut self, batch: &mut Vec<Box<Decision>>) -> Result<(), &'static str> {
        let events = self.events();
        if batch.is_empty() && events.is_empty() {
            return Ok(());
        }
        let (mut pause_ms, mut tries_left) = (RETRY_MS.0, LAST_TRIES);
        let (entries, rows, begun) = loop {
            let now = self.clock.now();
            batch.iter_mut().for_each(|decision| decision.expire(now));
            let entries = self.entries(batch, &events);
            match self.writer.append(&entries) {
                Ok(rows) => break (entries, rows, now),
                Err(error) => {
                    let damaged = error.kind() == JournalErrorKind::Damaged;
                    let error: &dyn std::error::Error = &error;
                    tracing::error!(error, waiting = batch.len(), "journal not written");
                    self.step(Event::Need(Need::Journal, false));
                    if damaged {
                        return Err(DAMAGED);
                    }
                }
            }
            tries_left -= u32::from(self.signals.drain_journal());
            if tries_left == 0 {
                return Err("the station ended before the journal could be written");
            }
            self.pause(pause_ms);
            pause_ms = (pause_ms * 2).min(RETRY_MS.1);
        };
        self.step(Event::Need(Need::Journal, true));
        (self.missed, self.slow_ms) = (0, 0);
        self.losses.clear();
        self.engine_news.clear();
        let now = self.clock.now();
        self.note_time(now.since(begun).as_ms());
        for (at, (row, entry)) in rows.zip(entries).enumerate() {
            let decision = batch.get(at);
            // A commit that took too long: unannounced, the row goes out late, for the record.
            if decision.is_none_or(|decision| decision.is_live(now)) {
                let until = decision.and_then(|decision| decision.counts_until());
                let lasts = until.map(|until| Duration::from_nanos(until.since(now).0));
                self.notifier.notify(super::outbox::live_row(row, entry), lasts);
            }
        }
        for decision in batch.drain(..) {
            if decision.record.flags & FLAG_LATE == 0 {
                self.board.recorded(now, &decision.record);
            }
            if let Some(observer) = &mut self.observer {
                observer.decided(&decision);
            }
            // The ring holds every slot there is.
            let _ = self.give_back.try_send(decision);
        }
        Ok(())
    }

    /// Tells the observer how the station is, when that has changed.
    fn show(&mut self) {
        let Some(observer) = &mut self.observer else { return };
        let now = Some(self.board.snapshot());
        if self.shown != now {
            self.shown = now;
            now.iter().for_each(|station| observer.changed(station));
        }
    }

    /// Tells of a commit so slow that parts may have missed their deadlines by it.
    fn note_time(&mut self, took_ms: f64) {
        if took_ms * 2.0 > self.latency_ms_max as f64 {
            tracing::warn!(took_ms, "the journal is slow: check the storage device");
            self.slow_ms = self.slow_ms.max(took_ms as u64);
        }
    }

    /// A step that asks nothing of this stage.
    fn step(&mut self, event: Event) {
        self.board.step(self.clock.now(), event, &mut self.scratch);
        self.scratch.clear();
    }

    fn entries(&self, batch: &[Box<Decision>], events: &[Vec<u8>]) -> Vec<Entry> {
        let at_unix_s = self.clock.wall_unix_s();
        let verdicts = batch.iter().map(|decision| self.encoder.verdict(decision, at_unix_s));
        let mut entries: Vec<Entry> = verdicts.collect();
        entries.extend(events.iter().map(|payload| Entry {
            epoch: self.board.epoch(),
            seq: 0,
            kind: RowKind::Event,
            at_unix_s,
            payload: payload.clone(),
            detail: vec![],
            mask: None,
        }));
        entries
    }

    /// What the publisher and the station found worth telling.
    fn events(&self) -> Vec<Vec<u8>> {
        let epoch = self.board.epoch();
        let mut events: Vec<Vec<u8>> =
            self.reports.try_iter().map(|report| encode::report(epoch, &report)).collect();
        if self.missed > 0 {
            events.push(encode::missed(epoch, self.missed));
        }
        events.extend(self.losses.iter().map(|loss| encode::camera_lost(epoch, loss)));
        events.extend(self.engine_news.iter().map(|news| encode::engine(epoch, news)));
        if self.slow_ms > 0 {
            events.push(encode::slow(epoch, self.slow_ms));
        }
        events
    }

    /// Sleeps for `ms`, or for one step when the station ends.
    fn pause(&mut self, ms: u64) {
        let until = self.clock.now().plus_ms(ms);
        loop {
            self.progress.beat(Stage::Journal);
            self.show();
            std::thread::sleep(PAUSE_STEP);
            if self.signals.drain_journal() || self.clock.now() >= until {
                return;
            }
        }
    }
}

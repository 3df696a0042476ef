//! Stage 3: decisions into the journal, and only then to the publisher and the observer.
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
use super::encode::{self, Encoder};
use super::observer::Observer;
use super::progress::{Progress, Stage};
use super::stage::{Outcome, Signals, TICK};
use super::work::{DECISIONS_MAX, Decision};
use crate::journal::{Entry, JournalErrorKind, RowKind, Writer};
use crate::publish::{Notifier, Report};
use crate::station::{Event, Need};
use crate::sys::clock::Clock;

/// Pauses between attempts of a failed commit, in milliseconds: first, and longest.
const RETRY_MS: (u64, u64) = (100, 2_000);
/// Attempts once the station ends: what still fails then stays unpublished, and is told in the
/// log and by the exit code.
const LAST_TRIES: u32 = 5;
/// Length of the steps in which a pause is slept, so that beats go on.
const PAUSE_STEP: Duration = Duration::from_millis(50);

pub(super) struct RecordStage {
    pub(super) to_journal: Receiver<Box<Decision>>,
    pub(super) give_back: Sender<Box<Decision>>,
    pub(super) reports: Receiver<Report>,
    pub(super) writer: Writer,
    pub(super) notifier: Notifier,
    pub(super) encoder: Encoder,
    pub(super) observer: Option<Box<dyn Observer>>,
    pub(super) board: Arc<Board>,
    pub(super) progress: Progress,
    pub(super) signals: Arc<Signals>,
    pub(super) clock: Arc<dyn Clock>,
}

impl RecordStage {
    /// Runs until the decisions end, then closes the journal.
    pub(super) fn run(mut self) -> Outcome {
        let mut batch = Vec::with_capacity(DECISIONS_MAX);
        loop {
            self.progress.beat(Stage::Journal);
            match self.to_journal.recv_timeout(TICK) {
                Ok(first) => batch.push(first),
                Err(RecvTimeoutError::Timeout) if self.signals.drain_journal() => break,
                Err(RecvTimeoutError::Timeout) => self.settle(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            batch.extend(self.to_journal.try_iter().take(DECISIONS_MAX - batch.len()));
            if let Err(why) = self.commit(&mut batch) {
                return Outcome::Failed(format!(
                    "{why}: {} decisions could not be journaled; they were never published",
                    batch.len() + self.to_journal.len()
                ));
            }
        }
        match self.writer.close() {
            Ok(()) => Outcome::Done,
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "the journal was not closed cleanly; no row is lost");
                Outcome::Done
            }
        }
    }

    fn settle(&mut self) {
        // Only the delivery cursor rides on it; a failure costs duplicates, and the next commit
        // meets the same disk.
        if let Err(error) = self.writer.settle() {
            tracing::warn!(error = &error as &dyn std::error::Error, "delivery cursor not stored");
        }
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
        let (entries, rows) = loop {
            let now = self.clock.now();
            batch.iter_mut().for_each(|decision| decision.expire(now));
            let entries = self.entries(batch, &events);
            match self.writer.append(&entries) {
                Ok(rows) => break (entries, rows),
                Err(error) => {
                    let damaged = error.kind() == JournalErrorKind::Damaged;
                    let error: &dyn std::error::Error = &error;
                    tracing::error!(error, waiting = batch.len(), "journal not written");
                    self.board.apply(Event::Need(Need::Journal, false));
                    if damaged {
                        return Err("the journal is damaged and heals at the next start");
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
        self.board.apply(Event::Need(Need::Journal, true));
        for (row, entry) in rows.zip(entries) {
            self.notifier.notify(super::outbox::live_row(row, entry));
        }
        for decision in batch.drain(..) {
            self.board.decided(&decision.record);
            if let Some(observer) = &mut self.observer {
                observer.decided(&decision);
            }
            // The ring holds every slot there is.
            let _ = self.give_back.try_send(decision);
        }
        Ok(())
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

    /// What the publisher found worth telling.
    fn events(&self) -> Vec<Vec<u8>> {
        let reports: Vec<Report> = self.reports.try_iter().collect();
        reports.iter().map(|report| encode::report(self.board.epoch(), report)).collect()
    }

    /// Sleeps for `ms`, or for one step when the station ends.
    fn pause(&self, ms: u64) {
        let until = self.clock.now().plus_ms(ms);
        loop {
            self.progress.beat(Stage::Journal);
            std::thread::sleep(PAUSE_STEP);
            if self.signals.drain_journal() || self.clock.now() >= until {
                return;
            }
        }
    }
}

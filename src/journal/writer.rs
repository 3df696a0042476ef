//! The append side: group commits into the tail, from there into the database.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::error::{JournalError, JournalErrorKind};
use super::receipts::Receipts;
use super::shared::Shared;
use super::store::{Numbered, Store, Stored};
use super::tail::Tail;
use super::types::{Entry, RowId, Stats};

/// Rows the cursor may run ahead of its stored copy while nothing is appended. A crash repeats
/// at most so many.
const CURSOR_STEP_ROWS: u64 = 64;
/// Rows that wait in the tail before they go to the database together: the cost of a transaction
/// is spread over them, and it stays short.
const STORE_ROWS: usize = 256;
/// Calls of [`Writer::settle`] that a receipt waits for rows to ride along with: some twenty
/// seconds on a usual line, where as many rows have gathered by then.
const RECEIPT_CALLS: u32 = 256;
/// Calls of [`Writer::settle`] between attempts while the database cannot be written: some
/// seconds on an idle line.
const PAUSE_CALLS: u32 = 32;

/// Appends rows; one per journal, owned by the journal thread.
#[derive(Debug)]
pub struct Writer {
    store: Store,
    tail: Tail,
    tail_path: PathBuf,
    next: RowId,
    shared: Arc<Shared>,
    stats: Stats,
    /// Calls of [`Writer::settle`] to let pass, after one that failed.
    pause: u32,
    /// Calls of [`Writer::settle`] with a receipt that is not stored.
    receipt_calls: u32,
}

impl Writer {
    pub(super) fn new(
        store: Store,
        tail: Tail,
        tail_path: PathBuf,
        shared: Arc<Shared>,
    ) -> Result<Self, JournalError> {
        let stats = Stats { bytes: store.bytes_used()?, ..Stats::default() };
        let next = shared.newest() + 1;
        Ok(Self { store, tail, tail_path, next, shared, stats, pause: 0, receipt_calls: 0 })
    }

    /// Commits the entries as one group; when this returns they are as safe as
    /// [`super::Sync`] says, and get the numbers returned.
    ///
    /// # Errors
    /// When nothing could be written; then none of the entries is in the journal, and the call
    /// may be repeated, also with more or other entries.
    pub fn append(&mut self, entries: &[Entry]) -> Result<Range<RowId>, JournalError> {
        let first = self.next;
        let end = first + entries.len() as u64;
        if entries.is_empty() {
            return Ok(first..first);
        }
        if self.tail.has_room_for(entries) {
            let cursor = self.shared.acknowledged();
            self.tail
                .append(cursor, first, entries)
                .map_err(|e| JournalError::io("write", &self.tail_path, e))?;
            self.shared.wait((first..).zip(entries.iter().cloned().map(Arc::new)));
            self.shared.note_stored(cursor);
            self.next = end;
            self.shared.note_newest(end - 1);
        } else {
            // The tail is full, or the group larger than it.
            self.store(entries)?;
        }
        self.stats.appended += entries.len() as u64;
        self.stats.commits += 1;
        Ok(first..end)
    }

    /// Housekeeping, to be called after every announced group and when there is nothing to do:
    /// moves rows to the database once enough wait, and stores the cursor when it has run far
    /// ahead of its stored copy (a backlog may be draining). Does nothing most of the time.
    ///
    /// # Errors
    /// When the transaction failed. No row is lost by that; it is tried again, unless the database
    /// is damaged, also where only the reader came.
    pub fn settle(&mut self) -> Result<(), JournalError> {
        if self.shared.is_damaged() {
            let text = "journal: rows that wait for delivery cannot be read; open it again: that \
                        moves the damaged database aside";
            return Err(JournalError::new(JournalErrorKind::Damaged, text));
        }
        let ahead = self.shared.acknowledged() >= self.shared.stored() + CURSOR_STEP_ROWS;
        let waiting = self.shared.waiting_len();
        let due = waiting >= STORE_ROWS || ahead || self.receipts_due() || self.pause == 1;
        // After a failure not at every call: the rows are safe, and a full disk stays full.
        match self.pause {
            0 | 1 if due => self.store(&[]),
            _ => {
                self.pause = self.pause.saturating_sub(1);
                Ok(())
            }
        }
    }

    /// Receipts ride along with rows; on a line that stands still they do not wait for ever.
    fn receipts_due(&mut self) -> bool {
        let waits = self.store.receipts().is_changed();
        self.receipt_calls = if waits { self.receipt_calls + 1 } else { 0 };
        self.receipt_calls >= RECEIPT_CALLS
    }

    /// What consumers have confirmed: to be told of new receipts, and asked.
    pub fn receipts(&self) -> Receipts {
        self.store.receipts().clone()
    }

    /// Whether the last attempt to write the database failed.
    pub fn is_behind(&self) -> bool {
        self.pause > 0
    }

    /// Moves everything to the database with the cursor and closes it. Rows are safe without it;
    /// the cursor may be behind. Acknowledgements that come after it are stored when the reader
    /// is dropped.
    ///
    /// # Errors
    /// When the last transaction failed.
    pub fn close(mut self) -> Result<(), JournalError> {
        let behind =
            self.shared.acknowledged() > self.shared.stored() || self.store.receipts().is_changed();
        if behind || self.shared.waiting_len() > 0 { self.store(&[]) } else { Ok(()) }
    }

    /// Boot epoch of this run.
    pub fn epoch(&self) -> u32 {
        self.store.epoch()
    }

    /// Counters since open.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Everything that waits, and `entries` behind it, into the database; the tail is free then.
    pub(super) fn store(&mut self, entries: &[Entry]) -> Result<(), JournalError> {
        let cursor = self.shared.acknowledged();
        let mut rows: Vec<Numbered> = self.shared.waiting();
        rows.extend((self.next..).zip(entries.iter().cloned().map(Arc::new)));
        let stored = self
            .store
            .put(&rows, cursor, self.tail.next_write())
            .inspect_err(|_| self.pause = PAUSE_CALLS)?;
        (self.pause, self.receipt_calls) = (0, 0);
        // In this order: a reader that misses a row here finds it in the database.
        self.shared.all_stored();
        self.tail.rewind();
        self.shared.note_stored(cursor);
        self.next = stored.newest + 1;
        self.shared.note_newest(stored.newest);
        self.count(&stored);
        Ok(())
    }

    fn count(&mut self, stored: &Stored) {
        self.stats.moves += 1;
        self.stats.trimmed += stored.trimmed.delivered_rows;
        self.stats.lost_rows += stored.trimmed.lost_rows;
        self.stats.lost_masks += stored.trimmed.lost_masks;
        self.stats.bytes = stored.bytes;
    }

    #[cfg(test)]
    pub(super) fn connection(&self) -> &rusqlite::Connection {
        self.store.connection()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.writer_goes();
    }
}

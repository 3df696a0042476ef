//! The append side: group commits, the cursor, the bounds.

use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::database;
use super::error::JournalError;
use super::trim::{self, Trimmed};
use super::types::{Entry, Notice, Options, RowId, RowKind, Stats, Sync};

/// Rows the cursor may run ahead of its stored copy. Storing it costs a page of its own, as much
/// as a verdict; not storing it costs at most so many repeated rows after a crash.
const CURSOR_STEP_ROWS: u64 = 64;

/// What writer and reader tell each other without touching the disk.
#[derive(Debug)]
pub(super) struct Shared {
    acknowledged: AtomicU64,
    stored: AtomicU64,
    newest: AtomicU64,
    writer_gone: AtomicBool,
    /// Kept until both are gone: only then may another process open the folder.
    _lock: File,
}

impl Shared {
    pub(super) fn new(cursor: RowId, newest: RowId, lock: File) -> Self {
        Self {
            acknowledged: AtomicU64::new(cursor),
            stored: AtomicU64::new(cursor),
            newest: AtomicU64::new(newest),
            writer_gone: AtomicBool::new(false),
            _lock: lock,
        }
    }

    pub(super) fn stored(&self) -> RowId {
        self.stored.load(Ordering::Acquire)
    }

    pub(super) fn is_writer_gone(&self) -> bool {
        self.writer_gone.load(Ordering::Acquire)
    }

    pub(super) fn acknowledged(&self) -> RowId {
        self.acknowledged.load(Ordering::Acquire)
    }

    pub(super) fn acknowledge(&self, cursor: RowId) {
        self.acknowledged.fetch_max(cursor, Ordering::AcqRel);
    }

    pub(super) fn newest(&self) -> RowId {
        self.newest.load(Ordering::Acquire)
    }
}

/// Appends rows; one per journal, owned by the journal thread.
#[derive(Debug)]
pub struct Writer {
    connection: Connection,
    path: PathBuf,
    options: Options,
    epoch: u32,
    next: RowId,
    closing: bool,
    shared: Arc<Shared>,
    stats: Stats,
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        path: PathBuf,
        options: Options,
        epoch: u32,
        shared: Arc<Shared>,
    ) -> Result<Self, JournalError> {
        let bytes = database::bytes_used(&connection)
            .map_err(|e| JournalError::sqlite("measure", &path, e))?;
        let next = shared.newest() + 1;
        let stats = Stats { bytes, ..Stats::default() };
        Ok(Self { connection, path, options, epoch, next, closing: false, shared, stats })
    }

    /// Commits `entries` in one transaction and returns their row numbers, in order.
    ///
    /// The same transaction stores the newest acknowledgement and makes room when the bounds are
    /// reached (the numbers of the notices this may add follow those returned).
    ///
    /// # Errors
    /// When the transaction failed; then none of the entries is in the journal, and the call may
    /// be repeated.
    pub fn append(&mut self, entries: &[Entry]) -> Result<Range<RowId>, JournalError> {
        let first = self.next;
        if entries.is_empty() {
            return Ok(first..first);
        }
        let full = entries.iter().any(|entry| entry.kind == RowKind::Event);
        self.commit(entries, full)?;
        Ok(first..first + entries.len() as u64)
    }

    /// Stores the cursor when it has run far ahead of its stored copy; to be called when there is
    /// nothing to append (a backlog may be draining). Does nothing most of the time.
    ///
    /// # Errors
    /// When the transaction failed; it may be repeated.
    pub fn settle(&mut self) -> Result<(), JournalError> {
        match self.cursor_due() {
            Some(_) => self.commit(&[], false),
            None => Ok(()),
        }
    }

    fn cursor_due(&self) -> Option<RowId> {
        let cursor = self.shared.acknowledged();
        let step = if self.closing { 1 } else { CURSOR_STEP_ROWS };
        (cursor >= self.shared.stored() + step).then_some(cursor)
    }

    /// Stores the cursor and closes the database. Rows are safe without it; the cursor may be
    /// behind. Acknowledgements that come after it are stored when the reader is dropped.
    ///
    /// # Errors
    /// When the last transaction failed.
    pub fn close(mut self) -> Result<(), JournalError> {
        self.closing = true;
        self.settle()
    }

    /// Boot epoch of this run.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Counters since open.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    pub(super) fn append_notice(
        &mut self,
        epoch: u32,
        notice: &Notice,
    ) -> Result<(), JournalError> {
        let entry = notice.entry(epoch, self.options.notice);
        self.append(std::slice::from_ref(&entry)).map(drop)
    }

    fn commit(&mut self, entries: &[Entry], full: bool) -> Result<(), JournalError> {
        // The level cannot change inside a transaction; events are rare, so is the switch.
        let raised = full && self.options.sync == Sync::Normal;
        if raised {
            self.with(|w| database::set_sync(&w.connection, Sync::Full))?;
        }
        let done = self.with(|w| w.transact(entries));
        if raised {
            self.with(|w| database::set_sync(&w.connection, Sync::Normal))?;
        }
        let done = done?;
        self.next = done.next;
        if let Some(cursor) = done.cursor {
            self.shared.stored.store(cursor, Ordering::Release);
        }
        self.shared.newest.store(done.next - 1, Ordering::Release);
        self.stats.appended += entries.len() as u64;
        self.stats.commits += 1;
        self.stats.trimmed += done.trimmed.delivered_rows;
        self.stats.lost_rows += done.trimmed.lost_rows;
        self.stats.lost_masks += done.trimmed.lost_masks;
        self.stats.bytes = done.bytes;
        Ok(())
    }

    fn with<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> rusqlite::Result<T>,
    ) -> Result<T, JournalError> {
        work(self).map_err(|e| JournalError::sqlite("write", &self.path, e))
    }

    fn transact(&mut self, entries: &[Entry]) -> rusqlite::Result<Committed> {
        let (cursor, due) = (self.shared.acknowledged(), self.cursor_due());
        let behavior = TransactionBehavior::Immediate;
        let transaction = Transaction::new(&mut self.connection, behavior)?;
        let mut next = self.next;
        for entry in entries {
            insert(&transaction, next, entry)?;
            next += 1;
        }
        if let Some(cursor) = due {
            database::write_meta(&transaction, "cursor", cursor)?;
        }
        let now_s = entries.iter().map(|entry| entry.at_unix_s).max().unwrap_or(0);
        // What was just appended is not for trimming: its caller is about to publish it.
        let newest_trimmable = self.next - 1;
        let trimmed = trim::trim(&transaction, &self.options, cursor, newest_trimmable, now_s)?;
        for notice in trimmed.notices() {
            insert(&transaction, next, &notice.entry(self.epoch, self.options.notice))?;
            next += 1;
        }
        let bytes = database::bytes_used(&transaction)?;
        transaction.commit()?;
        Ok(Committed { next, cursor: due, trimmed, bytes })
    }

    #[cfg(test)]
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.writer_gone.store(true, Ordering::Release);
    }
}

/// What a transaction changed; taken over only after it was committed.
struct Committed {
    next: RowId,
    cursor: Option<RowId>,
    trimmed: Trimmed,
    bytes: u64,
}

fn insert(connection: &Connection, id: RowId, entry: &Entry) -> rusqlite::Result<()> {
    let mut statement =
        connection.prepare_cached("INSERT INTO row VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    let at = i64::try_from(entry.at_unix_s).unwrap_or(i64::MAX);
    let Entry { epoch, seq, kind, payload, detail, mask, .. } = entry;
    statement.execute(rusqlite::params![id, epoch, seq, *kind as i64, at, payload, detail])?;
    if let Some(body) = mask {
        let mut statement = connection.prepare_cached("INSERT INTO mask VALUES (?1, ?2)")?;
        statement.execute(rusqlite::params![id, body])?;
    }
    Ok(())
}

//! A database that cannot be read is moved aside, and a new one is built from what can be read.
//!
//! Nothing may be lost by a kill or a full disk on the way. So a note is left first (where the old
//! one goes, and why), then the old one is moved, then the new one is built under another name,
//! and only when it is whole it gets the journal's name; then the note goes. A start that finds a
//! note goes on where the last one ended: it is the only one who knows of the old database.

use std::path::Path;
use std::sync::Arc;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::database;
use super::error::JournalError;
use super::folder::{Folder, RecoveryNote};
use super::receipts::Receipts;
use super::store::{Numbered, Store};
use super::tail::{Found, Stored};
use super::types::{Entry, Notice, Options, Restarted, RowId};

/// Undelivered rows carried over from a damaged database at most, the newest: bounds the time of
/// a start.
const CARRY_ROWS_MAX: u64 = 100_000;
/// No journal has ever had so many rows: a number beyond it is damage.
const ROW_MAX: RowId = 1 << 48;
/// Rows carried over in one transaction.
const CARRY_BATCH_ROWS: usize = 1_000;

/// What a recovery needs to know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recovery<'a> {
    pub(super) folder: &'a Folder,
    pub(super) options: &'a Options,
    /// What the tail holds.
    pub(super) found: &'a Found,
    /// The highest boot epoch ever seen; this start's is one more.
    pub(super) seen: u32,
}

impl Recovery<'_> {
    /// Puts a new database in the place of one that cannot be read.
    pub(super) fn begin(self, damage: &JournalError) -> Result<Restarted, JournalError> {
        let note =
            RecoveryNote { moved_to: self.folder.free_name(self.seen), cause: chain(damage) };
        self.folder.store_note(&note)?;
        tracing::error!(file = %note.moved_to.display(), cause = %note.cause,
            "the journal cannot be read; it is moved aside and a new one started");
        let carried_over = self.finish(&note)?.unwrap_or(0);
        let RecoveryNote { moved_to, cause } = note;
        Ok(Restarted { moved_to, cause, carried_over })
    }

    /// Goes on with what an earlier start began, if any did.
    pub(super) fn resume(self) -> Result<Option<Restarted>, JournalError> {
        let Some(note) = self.folder.note()? else { return Ok(None) };
        tracing::warn!(file = %note.moved_to.display(),
            "a start was cut short while it replaced a damaged journal; going on with that");
        let carried_over = self.finish(&note)?;
        let RecoveryNote { moved_to, cause } = note;
        Ok(carried_over.map(|carried_over| Restarted { moved_to, cause, carried_over }))
    }

    /// Rows carried over; `None` when the new database was there already.
    fn finish(self, note: &RecoveryNote) -> Result<Option<u64>, JournalError> {
        let folder = self.folder;
        if !note.moved_to.exists() {
            folder.move_aside(&note.moved_to)?;
        }
        let mut carried_over = None;
        if !folder.database().exists() {
            folder.discard_unfinished()?;
            carried_over = Some(self.build(note)?);
            folder.install()?;
        }
        folder.forget_note()?;
        Ok(carried_over)
    }

    /// A whole database under another name; returns the rows carried over.
    fn build(self, note: &RecoveryNote) -> Result<u64, JournalError> {
        let path = self.folder.unfinished();
        let connection = database::open_writer(&path, self.options.bytes_max, false)?;
        // The start that follows advances it to this one's.
        database::write_meta(&connection, "epoch", self.seen.into())
            .map_err(|e| JournalError::sqlite("write", &path, e))?;
        let old = open_damaged(&note.moved_to);
        let epoch = self.seen.saturating_add(1);
        let receipts = saved_receipts(old.as_ref());
        let mut store = Store::new(connection, &path, self.options, epoch, 0, receipts);
        let carried_over = carry_over(&mut store, self.found, old.as_ref(), note)?;
        store.close()?;
        Ok(carried_over)
    }
}

/// The damaged database for reading; `None` when not even that works.
fn open_damaged(path: &Path) -> Option<Connection> {
    // Not read only: its log has to be read along, and that needs an index beside it.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).ok()?;
    // It stays as it was found, for a technician and for a start that has to read it again.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).ok()?;
    Some(connection)
}

/// What can still be read of the receipts in a damaged database.
fn saved_receipts(old: Option<&Connection>) -> Receipts {
    let receipts = Receipts::default();
    for receipt in old.and_then(|old| database::receipts(old).ok()).unwrap_or_default() {
        receipts.note(receipt);
    }
    receipts
}

/// Copies what can still be read and was not delivered, from the old database and from the tail,
/// then records the notice. Rows keep their numbers. Returns how many.
fn carry_over(
    store: &mut Store,
    found: &Found,
    old: Option<&Connection>,
    note: &RecoveryNote,
) -> Result<u64, JournalError> {
    let write = found.next_write(Stored { newest: 0, write: 0, fresh: true });
    let in_old = old.and_then(|old| database::newest(old).ok()).unwrap_or(0);
    let newest = in_old.max(found.newest());
    // A cursor beyond every row would hide them all: it is as damaged as one that is not there.
    let most = if newest == 0 { ROW_MAX } else { newest };
    let cursor = old.and_then(|old| database::read_meta(old, "cursor").ok());
    let cursor = cursor.filter(|cursor| *cursor <= most).unwrap_or(0);
    // Without any cursor all of them are delivered again: duplicates, which are harmless.
    let cursor = cursor.max(found.cursor()).max(newest.saturating_sub(CARRY_ROWS_MAX));
    let (mut last, mut carried_over) = (cursor, 0);
    while let Some(old) = old {
        let readable = readable_rows(old, last, last + CARRY_ROWS_MAX);
        let Some(to) = readable.last().map(|(id, _)| *id) else { break };
        let rows = filled(readable, found, last, to);
        last = rows.last().map_or(last, |(id, _)| *id);
        store.put_part(&rows, cursor, write)?;
        carried_over += rows.len() as u64;
        if carried_over >= CARRY_ROWS_MAX {
            break;
        }
    }
    let mut rows = filled(vec![], found, last, RowId::MAX);
    carried_over += rows.len() as u64;
    let restarted =
        Restarted { moved_to: note.moved_to.clone(), cause: note.cause.clone(), carried_over };
    let notice = Notice::Restarted(restarted).entry(store.epoch(), store.notice());
    rows.push((newest.max(last) + 1, Arc::new(notice)));
    store.put(&rows, cursor, write)?;
    Ok(carried_over)
}

/// `rows` after `after`, and what the tail has of those that are missing among them, up to `to`.
fn filled(rows: Vec<(RowId, Entry)>, found: &Found, after: RowId, to: RowId) -> Vec<Numbered> {
    let tail = found.after(after).take_while(|(id, _)| *id <= to);
    let mut all: std::collections::BTreeMap<RowId, Entry> =
        tail.map(|(id, row)| (id, row.entry.clone())).collect();
    all.extend(rows);
    all.into_iter().map(|(id, entry)| (id, Arc::new(entry))).collect()
}

/// A batch of rows after `after`; with damage on the way, what can be read up to `to`.
fn readable_rows(old: &Connection, after: RowId, to: RowId) -> Vec<(RowId, Entry)> {
    if let Ok(rows) = database::entries_after(old, after, CARRY_BATCH_ROWS) {
        return rows;
    }
    let mut rows: Vec<(RowId, Entry)> = Vec::new();
    while rows.len() < CARRY_BATCH_ROWS {
        let from = rows.last().map_or(after, |(id, _)| *id);
        let Some(row) = next_readable(old, from, to) else { break };
        rows.push(row);
    }
    rows
}

/// The first row after `after` that can be read. A sector that a device cannot read costs it
/// seconds at each attempt, so the end of the damage is sought in growing steps, then halving.
fn next_readable(old: &Connection, after: RowId, to: RowId) -> Option<(RowId, Entry)> {
    if let Ok(row) = next_row(old, after) {
        return row;
    }
    let (mut bad, mut step) = (after, 1);
    let (mut good, mut row) = loop {
        let at = bad + step;
        match next_row(old, at) {
            Ok(row) => break (at, row),
            Err(_) if at >= to => return None,
            Err(_) => (bad, step) = (at, step * 2),
        }
    };
    while good - bad > 1 {
        let middle = bad + (good - bad) / 2;
        match next_row(old, middle) {
            Ok(found) => (good, row) = (middle, found),
            Err(_) => bad = middle,
        }
    }
    row
}

/// The row that follows `after`, without its mask when that cannot be read.
fn next_row(old: &Connection, after: RowId) -> rusqlite::Result<Option<(RowId, Entry)>> {
    let rows = database::entries_after(old, after, 1)
        .or_else(|_| database::bare_entries_after(old, after, 1))?;
    Ok(rows.into_iter().next())
}

/// The error and its causes on one line, for the notice.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

//! Opening the journal: lock, check, heal, advance the boot epoch.

use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;

use super::database::{self, PAGE_BYTES};
use super::error::{JournalError, JournalErrorKind};
use super::folder::Folder;
use super::loss;
use super::reader::Reader;
use super::receipts::Receipts;
use super::shared::Shared;
use super::store::{Numbered, Store};
use super::tail::{self, Found, Stored, Tail};
use super::types::{Entry, Notice, Opened, Options, Restarted, Row, RowId, RowKind};
use super::writer::Writer;

/// Undelivered rows carried over from a damaged database at most: bounds the time of a start.
const CARRY_ROWS_MAX: u64 = 100_000;
/// Rows carried over in one transaction.
const CARRY_BATCH_ROWS: usize = 1_000;
/// Room above the byte bound before SQLite itself refuses to grow the file, in bytes: more than
/// any group commit needs.
const HARD_ROOM_BYTES: u64 = 16 << 20;

/// A journal in a folder; see [`Journal::open`].
#[derive(Debug)]
pub struct Journal;

impl Journal {
    /// Opens the journal in `dir`, creating it when there is none, and advances the boot epoch.
    ///
    /// A database that cannot be read is moved aside and replaced ([`Opened::restarted`]).
    ///
    /// # Errors
    /// When the folder is in use by another process, cannot be written, the disk is full, the
    /// database belongs to a newer version, or an option is out of range.
    pub fn open(dir: &Path, options: &Options) -> Result<(Writer, Reader, Opened), JournalError> {
        check_options(options)?;
        let folder = Folder::create(dir)?;
        let lock = folder.lock()?;
        let tail_path = folder.tail();
        let found = tail::read(&tail_path).map_err(|e| JournalError::io("read", &tail_path, e))?;
        let seen = folder.epoch_seen()?.max(found.epoch());
        let path = folder.database();
        let (connection, damage) = match database::open_writer(&path) {
            Ok(connection) => (connection, None),
            Err(e) if e.kind() == JournalErrorKind::Damaged => {
                let moved_to = folder.move_aside(seen)?;
                tracing::error!(file = %moved_to.display(), cause = %chain(&e),
                    "the journal could not be read; it was moved aside and a new one started");
                (database::open_writer(&path)?, Some((moved_to, chain(&e))))
            }
            Err(e) => return Err(e),
        };
        let fail = |e| JournalError::sqlite("start", &path, e);
        bound_file(&connection, options.bytes_max).map_err(fail)?;
        let stored = database::read_meta(&connection, "epoch").map_err(fail)?;
        let epoch = seen.max(u32::try_from(stored).unwrap_or(u32::MAX)).saturating_add(1);
        folder.store_epoch(epoch)?;
        database::write_meta(&connection, "epoch", epoch.into()).map_err(fail)?;

        let cursor = database::read_meta(&connection, "cursor").map_err(fail)?;
        let newest = database::newest(&connection).map_err(fail)?;
        let write = database::read_meta(&connection, "write").map_err(fail)?;
        let before = Stored { newest, write, fresh: stored == 0 };
        let write = found.next_write(before);
        let receipts = match &damage {
            None => Receipts::new(database::receipts(&connection).map_err(fail)?),
            // To be stored anew with what is carried over.
            Some((moved_to, _)) => saved_receipts(moved_to),
        };
        let mut store = Store::new(connection, &path, options, epoch, newest, receipts);
        let (cursor, restarted) = match damage {
            None => (adopt(&mut store, &found, before, cursor)?, None),
            Some((moved_to, cause)) => {
                let (cursor, restarted) = carry_over(&mut store, &found, moved_to, cause)?;
                (cursor, Some(restarted))
            }
        };
        // Numbers are never used twice: rows up to the cursor may be gone, and a dropped
        // undelivered row always leaves a younger notice behind.
        let newest = store.newest().max(cursor);
        let tail = Tail::open(&tail_path, options.sync, write)
            .map_err(|e| JournalError::io("open", &tail_path, e))?;
        let shared = Arc::new(Shared::new(cursor, newest, lock));
        let writer = Writer::new(store, tail, tail_path, shared.clone())?;
        let reader = Reader::new(&path, shared)?;
        let undelivered = newest - cursor;
        Ok((writer, reader, Opened { epoch, cursor, newest, undelivered, restarted }))
    }
}

/// Moves what the last run left in the tail to the database; returns the cursor.
fn adopt(
    store: &mut Store,
    found: &Found,
    before: Stored,
    cursor: RowId,
) -> Result<RowId, JournalError> {
    let rows: Vec<Numbered> =
        found.following(before).map(|(id, row)| (id, Arc::new(row.entry.clone()))).collect();
    let noted = found.following(before).map(|(_, row)| row.cursor).max().unwrap_or(0);
    let cursor = cursor.max(noted);
    if !rows.is_empty() {
        store.put(&rows, cursor, found.next_write(before))?;
    }
    Ok(cursor)
}

/// What can still be read of the receipts in a damaged database.
fn saved_receipts(moved_to: &Path) -> Receipts {
    let receipts = Receipts::default();
    let old = Connection::open(moved_to).and_then(|old| database::receipts(&old));
    for receipt in old.unwrap_or_default() {
        receipts.note(receipt);
    }
    receipts
}

fn check_options(options: &Options) -> Result<(), JournalError> {
    if options.bytes_max < Options::BYTES_MIN {
        let text = format!(
            "journal: a byte bound of {} leaves no room for a history; give at least {}",
            options.bytes_max,
            Options::BYTES_MIN
        );
        return Err(JournalError::new(JournalErrorKind::Option, text));
    }
    Ok(())
}

/// The trimmer keeps the file below the bound; this holds even if the trimmer is wrong.
fn bound_file(connection: &Connection, bytes_max: u64) -> rusqlite::Result<()> {
    let pages = (bytes_max.saturating_add(HARD_ROOM_BYTES.max(bytes_max / 4))) / PAGE_BYTES;
    let pages = i64::try_from(pages).unwrap_or(i64::MAX).min(0xFFFF_FFFE);
    connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))
}

/// Copies what can still be read and was not delivered, from the old database and from the tail,
/// then records the notice. Rows keep their numbers, so the tail stays valid whenever this is
/// interrupted. Returns the cursor.
fn carry_over(
    store: &mut Store,
    found: &Found,
    moved_to: std::path::PathBuf,
    cause: String,
) -> Result<(RowId, Restarted), JournalError> {
    let write = found.next_write(Stored { newest: 0, write: 0, fresh: true });
    let mut restarted = Restarted { moved_to, cause, carried_over: 0 };
    let (mut cursor, mut after) = (0, 0);
    if let Ok(old) = Connection::open(&restarted.moved_to) {
        // Without a readable cursor everything readable is delivered again: duplicates, no loss.
        cursor = database::read_meta(&old, "cursor").unwrap_or(0);
        after = cursor;
        while restarted.carried_over < CARRY_ROWS_MAX {
            let rows: Vec<Numbered> =
                readable_rows(&old, after).into_iter().map(|r| (r.id, entry_of(r))).collect();
            let Some((last, _)) = rows.last() else { break };
            after = *last;
            store.put(&rows, cursor, write)?;
            restarted.carried_over += rows.len() as u64;
        }
    }
    let mut rows: Vec<Numbered> =
        found.after(after).map(|(id, row)| (id, Arc::new(row.entry.clone()))).collect();
    restarted.carried_over += rows.len() as u64;
    let newest = found.newest().max(after);
    let notice = Notice::Restarted(restarted.clone()).entry(store.epoch(), store.notice());
    rows.push((newest + 1, Arc::new(notice)));
    store.put(&rows, cursor, write)?;
    Ok((cursor, restarted))
}

/// A batch of rows, or as much of it as can be read.
fn readable_rows(old: &Connection, after: u64) -> Vec<Row> {
    if let Ok(rows) = database::rows_after(old, after, CARRY_BATCH_ROWS) {
        return rows;
    }
    let mut rows: Vec<Row> = Vec::new();
    while rows.len() < CARRY_BATCH_ROWS {
        let from = rows.last().map_or(after, |row| row.id);
        match database::rows_after(old, from, 1) {
            Ok(mut one) if !one.is_empty() => rows.append(&mut one),
            _ => break,
        }
    }
    rows
}

fn entry_of(row: Row) -> Arc<Entry> {
    let Row { epoch, seq, kind, payload, mask, .. } = row;
    Arc::new(Entry { epoch, seq, kind, at_unix_s: 0, payload, detail: Vec::new(), mask })
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

impl Notice {
    pub(super) fn entry(&self, epoch: u32, encode: fn(u32, &Notice) -> Vec<u8>) -> Entry {
        Entry {
            epoch,
            seq: 0,
            kind: RowKind::Event,
            at_unix_s: 0,
            payload: encode(epoch, self),
            detail: loss::detail(self),
            mask: None,
        }
    }
}

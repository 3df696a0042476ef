//! The SQLite file: schema, check, and what is kept in `meta`.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, Row as SqlRow};

use super::error::{JournalError, JournalErrorKind};
use super::types::{Entry, Row, RowId, RowKind};
use crate::frame::ConsumerId;
use crate::message::Receipt;

/// Marks the file as a crrd journal ("crrd" in ASCII).
const APPLICATION_ID: i64 = 0x6372_7264;
/// Version of the schema; a higher one was written by a newer program.
const FORMAT: i64 = 2;
/// The version before: no tail beside the database, everything else the same.
const FORMAT_WITHOUT_TAIL: i64 = 1;
/// Bytes of a page; SQLite's default, stated because the hard bound is counted in pages.
pub(super) const PAGE_BYTES: u64 = 4096;
/// Wait for the other connection's lock; it is never held longer than one commit.
const BUSY_MAX: Duration = Duration::from_secs(5);
/// Largest file that is checked page by page at open, in bytes: about a second of reading.
/// A larger one is probed at its ends; damage in between shows when it is read, and then the next
/// start checks all of it.
const FULL_CHECK_BYTES_MAX: u64 = 256 << 20;
/// Rows probed at each end of a large file.
const PROBE_ROWS: usize = 256;
/// Room above the byte bound before SQLite itself refuses to grow the file, in bytes: more than
/// any group commit needs.
const HARD_ROOM_BYTES: u64 = 16 << 20;
/// Size the write-ahead log is cut back to after a checkpoint, in bytes.
const WAL_BYTES: u64 = 8 << 20;

const SCHEMA: &str = "
CREATE TABLE row (
  id INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, seq INTEGER NOT NULL, kind INTEGER NOT NULL,
  at INTEGER NOT NULL, payload BLOB NOT NULL, detail BLOB NOT NULL) STRICT;
CREATE TABLE mask (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('epoch', 0), ('cursor', 0), ('write', 0);
";

/// Came later; a program that does not know it is not harmed by it.
const CONSUMERS: &str = "
CREATE TABLE IF NOT EXISTS consumer (
  rank INTEGER PRIMARY KEY, name TEXT NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL) STRICT;
";

/// Opens the writer's connection, creating the schema in a new file. `bytes_max` is the byte
/// bound of the journal; `thorough`: every page and every undelivered row is looked at, whatever
/// that takes.
pub(super) fn open_writer(
    path: &Path,
    bytes_max: u64,
    thorough: bool,
) -> Result<Connection, JournalError> {
    let fail = |e| JournalError::sqlite("open", path, e);
    let connection = Connection::open(path).map_err(fail)?;
    connection.busy_timeout(BUSY_MAX).map_err(fail)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(fail)?;
    connection.pragma_update(None, "journal_size_limit", WAL_BYTES).map_err(fail)?;
    // Whatever the durability of a single verdict: the tail is written over once its rows are
    // here, so here they must be safe. One flush serves some hundred of them.
    connection.pragma_update(None, "synchronous", "FULL").map_err(fail)?;
    let version: i64 =
        connection.pragma_query_value(None, "user_version", |r| r.get(0)).map_err(fail)?;
    match version {
        0 => create(&connection).map_err(fail)?,
        FORMAT => {}
        // An older program must not open it any more: it would not see the tail.
        FORMAT_WITHOUT_TAIL => {
            connection
                .execute_batch(&format!(
                    "BEGIN IMMEDIATE; INSERT INTO meta VALUES ('write', 0);
                     PRAGMA user_version = {FORMAT}; COMMIT;"
                ))
                .map_err(fail)?;
        }
        newer => {
            let text = format!(
                "journal: {} has format {newer}, this program knows {FORMAT}; use the newer \
                 program, or move the file away to start a new journal",
                path.display()
            );
            return Err(JournalError::new(JournalErrorKind::Foreign, text));
        }
    }
    check(&connection, path, thorough)?;
    connection.execute_batch(CONSUMERS).map_err(fail)?;
    bound_file(&connection, bytes_max).map_err(fail)?;
    Ok(connection)
}

/// The trimmer keeps the file below the bound; this holds even if the trimmer is wrong.
fn bound_file(connection: &Connection, bytes_max: u64) -> rusqlite::Result<()> {
    let pages = (bytes_max.saturating_add(HARD_ROOM_BYTES.max(bytes_max / 4))) / PAGE_BYTES;
    let pages = i64::try_from(pages).unwrap_or(i64::MAX).min(0xFFFF_FFFE);
    connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))
}

/// Opens a connection that only reads; the writer's must exist.
pub(super) fn open_reader(path: &Path) -> Result<Connection, JournalError> {
    let fail = |e| JournalError::sqlite("open", path, e);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(fail)?;
    connection.busy_timeout(BUSY_MAX).map_err(fail)?;
    Ok(connection)
}

/// Stores the cursor on a connection of its own, when there is no writer.
pub(super) fn store_cursor(path: &Path, cursor: RowId) -> Result<(), JournalError> {
    let write = || {
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_MAX)?;
        write_meta(&connection, "cursor", cursor)
    };
    write().map_err(|e| JournalError::sqlite("write", path, e))
}

fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(&format!(
        "BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION_ID};
         PRAGMA user_version = {FORMAT}; {SCHEMA} COMMIT;"
    ))
}

/// Fails with [`JournalErrorKind::Damaged`] when the file cannot be trusted.
fn check(connection: &Connection, path: &Path, thorough: bool) -> Result<(), JournalError> {
    let fail = |e| JournalError::sqlite("check", path, e);
    let pages: u64 =
        connection.pragma_query_value(None, "page_count", |r| r.get(0)).map_err(fail)?;
    if thorough || pages * PAGE_BYTES <= FULL_CHECK_BYTES_MAX {
        let answer: String =
            connection.query_row("PRAGMA quick_check(1)", [], |r| r.get(0)).map_err(fail)?;
        if answer != "ok" {
            let text = format!("journal: {} is damaged ({answer})", path.display());
            return Err(JournalError::new(JournalErrorKind::Damaged, text));
        }
    }
    read_meta(connection, "epoch").map_err(fail)?;
    let cursor = read_meta(connection, "cursor").map_err(fail)?;
    let mut undelivered = rows_after(connection, cursor, PROBE_ROWS).map_err(fail)?;
    while let (true, Some(last)) = (thorough, undelivered.last()) {
        undelivered = rows_after(connection, last.id, PROBE_ROWS).map_err(fail)?;
    }
    let newest = newest(connection).map_err(fail)?;
    rows_after(connection, newest.saturating_sub(PROBE_ROWS as u64), PROBE_ROWS).map_err(fail)?;
    Ok(())
}

pub(super) fn read_meta(connection: &Connection, key: &str) -> rusqlite::Result<u64> {
    let mut statement = connection.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
    statement.query_row([key], |row| row.get(0))
}

pub(super) fn write_meta(connection: &Connection, key: &str, value: u64) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("UPDATE meta SET value = ?2 WHERE key = ?1")?;
    match statement.execute(rusqlite::params![key, value])? {
        1 => Ok(()),
        _ => Err(rusqlite::Error::QueryReturnedNoRows),
    }
}

/// What consumers have confirmed, in the order they were heard of last. One that makes no sense is
/// left out: the consumer's next one says it all again.
pub(super) fn receipts(connection: &Connection) -> rusqlite::Result<Vec<Receipt>> {
    let sql = "SELECT count(*) FROM sqlite_schema WHERE name = 'consumer'";
    let there: u64 = connection.query_row(sql, [], |row| row.get(0))?;
    if there == 0 {
        return Ok(Vec::new());
    }
    let mut statement =
        connection.prepare("SELECT name, epoch, seq FROM consumer ORDER BY rank")?;
    let read = |row: &SqlRow<'_>| {
        let name: String = row.get(0).ok()?;
        let consumer = ConsumerId::new(&name).ok()?;
        Some(Receipt { consumer, epoch: row.get(1).ok()?, seq: row.get(2).ok()? })
    };
    let rows = statement.query_map([], |row| Ok(read(row)))?;
    rows.filter_map(Result::transpose).collect()
}

pub(super) fn write_receipts(
    connection: &Connection,
    receipts: &[Receipt],
) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM consumer", [])?;
    let mut statement =
        connection.prepare_cached("INSERT INTO consumer VALUES (?1, ?2, ?3, ?4)")?;
    for (rank, Receipt { consumer, epoch, seq }) in receipts.iter().enumerate() {
        statement.execute(rusqlite::params![rank as u64, consumer.as_str(), epoch, seq])?;
    }
    Ok(())
}

/// Number of the newest row; 0 when there is none.
pub(super) fn newest(connection: &Connection) -> rusqlite::Result<RowId> {
    let found: Option<Option<u64>> =
        connection.query_row("SELECT max(id) FROM row", [], |r| r.get(0)).optional()?;
    Ok(found.flatten().unwrap_or(0))
}

/// Bytes of the file that hold something (pages on the free list will be used again).
pub(super) fn bytes_used(connection: &Connection) -> rusqlite::Result<u64> {
    let pages: u64 = connection.pragma_query_value(None, "page_count", |r| r.get(0))?;
    let free: u64 = connection.pragma_query_value(None, "freelist_count", |r| r.get(0))?;
    Ok((pages - free.min(pages)) * PAGE_BYTES)
}

/// Bytes that still find room: unused pages of the file, and what it may grow.
pub(super) fn bytes_free(connection: &Connection) -> rusqlite::Result<u64> {
    let pages: u64 = connection.pragma_query_value(None, "page_count", |r| r.get(0))?;
    let free: u64 = connection.pragma_query_value(None, "freelist_count", |r| r.get(0))?;
    let most: u64 = connection.pragma_query_value(None, "max_page_count", |r| r.get(0))?;
    Ok((most.saturating_sub(pages) + free) * PAGE_BYTES)
}

/// At most `limit` rows after `after`, in order.
pub(super) fn rows_after(
    connection: &Connection,
    after: RowId,
    limit: usize,
) -> rusqlite::Result<Vec<Row>> {
    let mut statement = connection.prepare_cached(
        "SELECT r.id, r.epoch, r.seq, r.kind, r.payload, m.body
         FROM row r LEFT JOIN mask m ON m.id = r.id WHERE r.id > ?1 ORDER BY r.id LIMIT ?2",
    )?;
    let rows = statement.query_map(rusqlite::params![after, limit as u64], |row| {
        let kind: i64 = row.get(3)?;
        Ok(Row {
            id: row.get(0)?,
            epoch: row.get(1)?,
            seq: row.get(2)?,
            kind: RowKind::from_i64(kind)
                .ok_or(rusqlite::Error::IntegralValueOutOfRange(3, kind))?,
            payload: row.get(4)?,
            mask: row.get(5)?,
        })
    })?;
    rows.collect()
}

/// At most `limit` rows after `after` with everything there is of them, in order.
pub(super) fn entries_after(
    connection: &Connection,
    after: RowId,
    limit: usize,
) -> rusqlite::Result<Vec<(RowId, Entry)>> {
    let sql = "SELECT r.id, r.epoch, r.seq, r.kind, r.at, r.payload, r.detail, m.body
         FROM row r LEFT JOIN mask m ON m.id = r.id WHERE r.id > ?1 ORDER BY r.id LIMIT ?2";
    entries(connection, sql, after, limit)
}

/// The same without masks.
pub(super) fn bare_entries_after(
    connection: &Connection,
    after: RowId,
    limit: usize,
) -> rusqlite::Result<Vec<(RowId, Entry)>> {
    let sql = "SELECT id, epoch, seq, kind, at, payload, detail, NULL
         FROM row WHERE id > ?1 ORDER BY id LIMIT ?2";
    entries(connection, sql, after, limit)
}

fn entries(
    connection: &Connection,
    sql: &str,
    after: RowId,
    limit: usize,
) -> rusqlite::Result<Vec<(RowId, Entry)>> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(rusqlite::params![after, limit as u64], |row| {
        let kind: i64 = row.get(3)?;
        let entry = Entry {
            epoch: row.get(1)?,
            seq: row.get(2)?,
            kind: RowKind::from_i64(kind)
                .ok_or(rusqlite::Error::IntegralValueOutOfRange(3, kind))?,
            at_unix_s: row.get(4)?,
            payload: row.get(5)?,
            detail: row.get(6)?,
            mask: row.get(7)?,
        };
        Ok((row.get(0)?, entry))
    })?;
    rows.collect()
}

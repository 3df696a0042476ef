//! A look at a journal from outside: read only, without the lock, also while a station writes it.
//!
//! The tail is read once, when the view is opened; the database is read in pages, each a short
//! transaction, so that the writer's log is never held back. What the station moves from the tail
//! to the database meanwhile is found there.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::database;
use super::error::{JournalError, JournalErrorKind};
use super::folder::Folder;
use super::tail::{self, Found, Stored};
use super::types::{Entry, RowId};
use crate::message::Receipt;

/// A row with everything the journal knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number.
    pub id: RowId,
    /// The row.
    pub entry: Entry,
}

/// What a journal says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Boot epoch in the database.
    pub epoch_database: u32,
    /// Boot epoch in its second copy; `None` when that is missing or not a number.
    pub epoch_file: Option<u32>,
    /// Everything up to this row was delivered.
    pub cursor: RowId,
    /// Newest row.
    pub newest: RowId,
    /// Rows that are in the tail only.
    pub in_tail: u64,
    /// Bytes of all its files.
    pub bytes: u64,
    /// Damaged databases that were put aside.
    pub put_aside: usize,
    /// What consumers have confirmed, by name.
    pub receipts: Vec<Receipt>,
}

/// A journal opened for reading.
#[derive(Debug)]
pub struct View {
    connection: Connection,
    folder: Folder,
    path: PathBuf,
    tail: Found,
}

impl View {
    /// Rows read at once at most.
    pub const ROWS_MAX: usize = 1_000;

    /// Opens the journal in `dir`; writes nothing there.
    ///
    /// # Errors
    /// When there is no journal, or it cannot be read.
    pub fn open(dir: &Path) -> Result<Self, JournalError> {
        let folder = Folder::at(dir);
        let (path, tail_path) = (folder.database(), folder.tail());
        if !path.is_file() {
            let text = format!(
                "journal: there is none in {}; name the station's state_dir",
                dir.display()
            );
            return Err(JournalError::new(JournalErrorKind::Missing, text));
        }
        // Before the database: what leaves the tail meanwhile is found there.
        let tail = tail::read(&tail_path).map_err(|e| JournalError::io("read", &tail_path, e))?;
        let connection = open_read_only(&path)?;
        Ok(Self { connection, folder, path, tail })
    }

    /// Epochs, cursor, sizes.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn facts(&self) -> Result<Facts, JournalError> {
        let stored = self.stored()?;
        let fail = |e| JournalError::sqlite("read", &self.path, e);
        let epoch = database::read_meta(&self.connection, "epoch").map_err(fail)?;
        let cursor = database::read_meta(&self.connection, "cursor").map_err(fail)?;
        let mut receipts = database::receipts(&self.connection).map_err(fail)?;
        receipts.sort_by_key(|receipt| receipt.consumer);
        let (mut in_tail, mut newest, mut noted) = (0, stored.newest, 0);
        for (id, row) in self.tail.following(stored) {
            (in_tail, newest, noted) = (in_tail + 1, id, row.cursor.max(noted));
        }
        Ok(Facts {
            epoch_database: u32::try_from(epoch).unwrap_or(u32::MAX),
            epoch_file: self.folder.epoch_in_file()?,
            cursor: cursor.max(noted),
            newest,
            in_tail,
            bytes: self.folder.bytes(),
            put_aside: self.folder.aside()?.len(),
            receipts,
        })
    }

    /// At most `limit` (and [`View::ROWS_MAX`]) rows after `after`, in order.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn after(&self, after: RowId, limit: usize) -> Result<Vec<Record>, JournalError> {
        let limit = limit.min(Self::ROWS_MAX);
        let rows = database::entries_after(&self.connection, after, limit)
            .map_err(|e| JournalError::sqlite("read", &self.path, e))?;
        let mut rows: Vec<_> = rows.into_iter().map(|(id, entry)| Record { id, entry }).collect();
        let last = rows.last().map_or(after, |row| row.id);
        let stored = self.stored()?;
        let newer = self.tail.following(stored).filter(|(id, _)| *id > last);
        let newer = newer.map(|(id, row)| Record { id, entry: row.entry.clone() });
        rows.extend(newer.take(limit - rows.len()));
        Ok(rows)
    }

    /// What the database's own page check finds wrong; empty when it is sound.
    ///
    /// # Errors
    /// When the check itself cannot run.
    pub fn damage(&self) -> Result<Vec<String>, JournalError> {
        let fail = |e| JournalError::sqlite("check", &self.path, e);
        let mut statement = self.connection.prepare("PRAGMA quick_check(10)").map_err(fail)?;
        let found = statement.query_map([], |row| row.get::<_, String>(0)).map_err(fail)?;
        let lines: Vec<String> = found.collect::<rusqlite::Result<_>>().map_err(fail)?;
        Ok(lines.into_iter().filter(|line| line != "ok").collect())
    }

    /// Masks whose row is not there.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn masks_without_row(&self) -> Result<u64, JournalError> {
        let sql = "SELECT count(*) FROM mask WHERE id NOT IN (SELECT id FROM row)";
        self.connection
            .query_row(sql, [], |row| row.get(0))
            .map_err(|e| JournalError::sqlite("read", &self.path, e))
    }

    fn stored(&self) -> Result<Stored, JournalError> {
        let fail = |e| JournalError::sqlite("read", &self.path, e);
        let newest = database::newest(&self.connection).map_err(fail)?;
        // A database of the format before has no tail beside it and knows no writes.
        let write = database::read_meta(&self.connection, "write").unwrap_or(0);
        Ok(Stored { newest, write, fresh: false })
    }
}

/// While a station runs, or after it was killed, there is a log beside the database, which is
/// read along. After a clean end there is none: then the file is the whole database and nobody
/// changes it, so that it can be read without the index that SQLite would leave in the folder.
fn open_read_only(path: &Path) -> Result<Connection, JournalError> {
    if path.with_extension("db-wal").exists() {
        return database::open_reader(path);
    }
    let text = path.to_string_lossy();
    let escaped = text.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(format!("file:{escaped}?immutable=1"), flags)
        .map_err(|e| JournalError::sqlite("open", path, e))
}

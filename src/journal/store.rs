//! The database side of the writer: rows with their numbers, the cursor and the bounds, in one
//! transaction.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::database;
use super::error::{JournalError, JournalErrorKind};
use super::folder::Folder;
use super::loss::Losses;
use super::receipts::Receipts;
use super::trim::{self, Incoming, Trimmed};
use super::types::{Entry, Notice, Options, RowId};
use crate::message::Receipt;

/// A row with its number.
pub(super) type Numbered = (RowId, Arc<Entry>);

/// What a transaction changed; taken over only after it was committed.
#[derive(Debug)]
pub(super) struct Stored {
    /// Number of the newest row, notices included.
    pub(super) newest: RowId,
    pub(super) trimmed: Trimmed,
    /// Bytes of the database in use.
    pub(super) bytes: u64,
}

/// What a transaction writes.
#[derive(Clone, Copy)]
struct Batch<'a> {
    rows: &'a [Numbered],
    cursor: RowId,
    write: u64,
    /// Notices may follow its rows.
    last: bool,
}

#[derive(Debug)]
pub(super) struct Store {
    connection: Connection,
    path: PathBuf,
    options: Options,
    epoch: u32,
    /// Newest row in the database.
    newest: RowId,
    receipts: Receipts,
    /// What was lost and is to be told.
    untold: Losses,
}

impl Store {
    pub(super) fn new(
        connection: Connection,
        path: &Path,
        options: &Options,
        epoch: u32,
        newest: RowId,
        receipts: Receipts,
    ) -> Self {
        let (path, options) = (path.to_owned(), options.clone());
        let untold = Losses::default();
        Self { connection, path, options, epoch, newest, receipts, untold }
    }

    pub(super) fn receipts(&self) -> &Receipts {
        &self.receipts
    }

    pub(super) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Newest row in the database.
    pub(super) fn newest(&self) -> RowId {
        self.newest
    }

    /// What writes the payload of a notice.
    pub(super) fn notice(&self) -> fn(u32, &Notice) -> Vec<u8> {
        self.options.notice
    }

    pub(super) fn bytes_used(&self) -> Result<u64, JournalError> {
        database::bytes_used(&self.connection)
            .map_err(|e| JournalError::sqlite("measure", &self.path, e))
    }

    /// Rows in ascending order, all newer than any before, the delivery cursor, and the number
    /// of the tail's next write. Trims.
    ///
    /// # Errors
    /// When the transaction failed; then nothing of it is in the database.
    pub(super) fn put(
        &mut self,
        rows: &[Numbered],
        cursor: RowId,
        write: u64,
    ) -> Result<Stored, JournalError> {
        self.commit(Batch { rows, cursor, write, last: true })
    }

    /// The same with rows that others with given numbers follow: what is lost by it is told with
    /// the next [`Store::put`].
    pub(super) fn put_part(
        &mut self,
        rows: &[Numbered],
        cursor: RowId,
        write: u64,
    ) -> Result<Stored, JournalError> {
        self.commit(Batch { rows, cursor, write, last: false })
    }

    fn commit(&mut self, batch: Batch<'_>) -> Result<Stored, JournalError> {
        let receipts = self.receipts.unstored();
        let confirmed = receipts.as_ref().map(|(receipts, _)| receipts.as_slice());
        let done = self.transact(batch, confirmed).map_err(|e| {
            let error = JournalError::sqlite("write", &self.path, e);
            if error.kind() == JournalErrorKind::Damaged {
                Folder::of(&self.path).suspect();
            }
            error
        })?;
        if let Some((_, changes)) = receipts {
            self.receipts.note_stored(changes);
        }
        self.newest = done.newest;
        self.untold = if batch.last { Losses::default() } else { done.trimmed.losses.clone() };
        Ok(done)
    }

    fn transact(
        &mut self,
        batch: Batch<'_>,
        receipts: Option<&[Receipt]>,
    ) -> rusqlite::Result<Stored> {
        let Batch { rows, cursor, write, last } = batch;
        let behavior = TransactionBehavior::Immediate;
        let transaction = Transaction::new(&mut self.connection, behavior)?;
        // First, so that the rows find room. What is appended is not for trimming: its caller is
        // about to publish it.
        let incoming = Incoming::of(rows.iter().map(|(_, entry)| &**entry));
        let untold = self.untold.clone();
        let trimmed = trim::trim(&transaction, &self.options, cursor, incoming, untold)?;
        for (id, entry) in rows {
            insert(&transaction, *id, entry)?;
        }
        database::write_meta(&transaction, "cursor", cursor)?;
        database::write_meta(&transaction, "write", write)?;
        if let Some(receipts) = receipts {
            database::write_receipts(&transaction, receipts)?;
        }
        let mut newest = rows.last().map_or(self.newest, |(id, _)| *id);
        for notice in trimmed.losses.notices().filter(|_| last) {
            newest += 1;
            insert(&transaction, newest, &notice.entry(self.epoch, self.options.notice))?;
        }
        let bytes = database::bytes_used(&transaction)?;
        transaction.commit()?;
        Ok(Stored { newest, trimmed, bytes })
    }

    /// Closes a database that nobody else has open: all of it is in its file then.
    pub(super) fn close(self) -> Result<(), JournalError> {
        let Self { connection, path, .. } = self;
        let fail = |e| JournalError::sqlite("finish", &path, e);
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(fail)?;
        connection.close().map_err(|(_, e)| fail(e))
    }

    #[cfg(test)]
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }
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

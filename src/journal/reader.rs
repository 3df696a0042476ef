//! The delivery side: rows after a cursor, acknowledgements.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;

use super::database;
use super::error::{JournalError, JournalErrorKind};
use super::folder::Folder;
use super::shared::Shared;
use super::store::Numbered;
use super::types::{Row, RowId};

/// Reads committed rows on a connection of its own, while the [`super::Writer`] writes.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    path: PathBuf,
    shared: Arc<Shared>,
}

impl Reader {
    /// Rows read at once at most: bounds memory to some MB when each has a large mask.
    pub const ROWS_MAX: usize = 256;

    pub(super) fn new(path: &Path, shared: Arc<Shared>) -> Result<Self, JournalError> {
        let connection = database::open_reader(path)?;
        Ok(Self { connection, path: path.to_owned(), shared })
    }

    /// At most `limit` (and [`Reader::ROWS_MAX`]) committed rows after `after`, in order.
    ///
    /// # Errors
    /// When the database cannot be read. When it is damaged, [`super::Writer::settle`] says so as
    /// well: the publisher can only try again, the station can start anew.
    pub fn after(&mut self, after: RowId, limit: usize) -> Result<Vec<Row>, JournalError> {
        let limit = limit.min(Self::ROWS_MAX);
        // In this order: what moves to the database between the two steps is found there.
        let waiting = self.shared.waiting_after(after, limit);
        let mut rows = match waiting.first() {
            Some((first, _)) if *first == after + 1 => Vec::new(),
            _ => database::rows_after(&self.connection, after, limit)
                .map_err(|e| self.failed(JournalError::sqlite("read", &self.path, e)))?,
        };
        let last = rows.last().map_or(after, |row| row.id);
        let room = limit - rows.len();
        rows.extend(waiting.iter().filter(|(id, _)| *id > last).take(room).map(row_of));
        Ok(rows)
    }

    fn failed(&self, error: JournalError) -> JournalError {
        if error.kind() == JournalErrorKind::Damaged && self.shared.note_damaged() {
            Folder::of(&self.path).suspect();
        }
        error
    }

    /// Everything up to this row was delivered.
    pub fn cursor(&self) -> RowId {
        self.shared.acknowledged()
    }

    /// Newest committed row.
    pub fn newest(&self) -> RowId {
        self.shared.newest()
    }

    /// Notes that everything up to `cursor` was delivered; a smaller one than before is ignored.
    /// Stored with the writer's next transaction.
    ///
    /// # Errors
    /// When `cursor` lies beyond the newest row: acknowledging what was never written would hide
    /// rows to come.
    pub fn acknowledge(&mut self, cursor: RowId) -> Result<(), JournalError> {
        if cursor > self.newest() {
            let text = format!(
                "journal: row {cursor} was acknowledged, but the newest is {}; this is a defect \
                 in the publisher, please report it",
                self.newest()
            );
            return Err(JournalError::new(JournalErrorKind::Option, text));
        }
        self.shared.acknowledge(cursor);
        Ok(())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // At shutdown the publisher outlives the writer, to deliver what was written last. What
        // was acknowledged meanwhile would be sent again at the next start.
        if self.shared.is_writer_gone()
            && self.cursor() > self.shared.stored()
            && let Err(error) = database::store_cursor(&self.path, self.cursor())
        {
            tracing::warn!(%error, "the last acknowledgements were not stored; the next start \
                repeats their rows");
        }
    }
}

fn row_of((id, entry): &Numbered) -> Row {
    Row {
        id: *id,
        epoch: entry.epoch,
        seq: entry.seq,
        kind: entry.kind,
        payload: entry.payload.clone(),
        mask: entry.mask.clone(),
    }
}

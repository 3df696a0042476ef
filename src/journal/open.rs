//! Opening the journal: lock, check, heal, advance the boot epoch.

use std::path::Path;
use std::sync::Arc;

use super::database;
use super::error::{JournalError, JournalErrorKind};
use super::folder::Folder;
use super::loss;
use super::reader::Reader;
use super::receipts::Receipts;
use super::recovery::Recovery;
use super::shared::Shared;
use super::store::{Numbered, Store};
use super::tail::{self, Found, Stored, Tail};
use super::types::{Entry, Notice, Opened, Options, RowId, RowKind};
use super::writer::Writer;

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
        let recovery = || -> Result<Recovery<'_>, JournalError> {
            let seen = folder.epoch_seen()?.max(found.epoch());
            Ok(Recovery { folder: &folder, options, found: &found, seen })
        };
        let mut restarted = recovery()?.resume()?;
        let started = match start(recovery()?) {
            // Wherever it shows: also in a part that is read only when there is to be room.
            Err(e) if e.kind() == JournalErrorKind::Damaged => {
                restarted = Some(recovery()?.begin(&e)?);
                start(recovery()?)?
            }
            other => other?,
        };
        folder.trust()?;
        let Started { store, cursor, write } = started;
        // Numbers are never used twice: rows up to the cursor may be gone, and a dropped
        // undelivered row always leaves a younger notice behind.
        let newest = store.newest().max(cursor);
        let tail = Tail::open(&tail_path, options.sync, write)
            .map_err(|e| JournalError::io("open", &tail_path, e))?;
        let epoch = store.epoch();
        let shared = Arc::new(Shared::new(cursor, newest, lock));
        let writer = Writer::new(store, tail, tail_path, shared.clone())?;
        let reader = Reader::new(&folder.database(), shared)?;
        let undelivered = newest - cursor;
        Ok((writer, reader, Opened { epoch, cursor, newest, undelivered, restarted }))
    }
}

/// A database that has everything the last run left, and the number of the tail's next write.
struct Started {
    store: Store,
    cursor: RowId,
    write: u64,
}

fn start(recovery: Recovery<'_>) -> Result<Started, JournalError> {
    let Recovery { folder, options, found, seen } = recovery;
    let path = folder.database();
    let fail = |e| JournalError::sqlite("start", &path, e);
    let connection = database::open_writer(&path, options.bytes_max, folder.is_suspect())?;
    let stored = database::read_meta(&connection, "epoch").map_err(fail)?;
    let epoch = seen.max(u32::try_from(stored).unwrap_or(u32::MAX)).saturating_add(1);
    folder.store_epoch(epoch)?;
    database::write_meta(&connection, "epoch", epoch.into()).map_err(fail)?;

    let cursor = database::read_meta(&connection, "cursor").map_err(fail)?;
    let newest = database::newest(&connection).map_err(fail)?;
    let write = database::read_meta(&connection, "write").map_err(fail)?;
    let before = Stored { newest, write, fresh: stored == 0 };
    let write = found.next_write(before);
    let receipts = Receipts::new(database::receipts(&connection).map_err(fail)?);
    let mut store = Store::new(connection, &path, options, epoch, newest, receipts);
    let cursor = adopt(&mut store, found, before, cursor)?;
    Ok(Started { store, cursor, write })
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

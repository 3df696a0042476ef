//! Keeping the database within its bounds: what goes first, and what must be told.
//!
//! Runs inside the transaction of an append and before its rows are inserted: what is freed is
//! room for them, also in a file that cannot grow any more. A bounded number of rows goes at a
//! time, so that an append never waits for a long clean-up.

use rusqlite::{Connection, params};

use super::database::{self, PAGE_BYTES};
use super::loss::{Loss, Losses, What};
use super::types::{Entry, Options, RowId, RowKind};

/// Rows or masks dropped by one statement. Also the granularity of a loss.
const CHUNK_ROWS: u64 = 256;
/// Statements per append at most, unless its rows would find no room: more is freed than one
/// group commit adds.
const CHUNKS_MAX: usize = 8;
/// Undelivered events that are kept although every verdict around them had to go.
const EVENTS_KEPT: u64 = 4_096;
/// Bytes of a row beside its contents: numbers, lengths, its place in the page.
const ROW_BYTES: u64 = 64;
/// Bytes a transaction takes beside its rows: cursor, receipts, notices, inner pages.
const SPARE_BYTES: u64 = 64 * PAGE_BYTES;
/// Seconds of a day.
const DAY_S: u64 = 86_400;

/// What is about to be inserted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Incoming {
    /// Bytes it will take, rather too many than too few.
    bytes: u64,
    /// Newest wall time in it.
    now_s: u64,
}

impl Incoming {
    pub(super) fn of<'a>(entries: impl Iterator<Item = &'a Entry>) -> Self {
        let mut all = Self::default();
        for entry in entries {
            let mask = entry.mask.as_ref().map_or(0, Vec::len);
            let body = (entry.payload.len() + entry.detail.len() + mask) as u64;
            // What is large leaves its pages half empty.
            let lost = if body > PAGE_BYTES / 4 { 2 * PAGE_BYTES } else { 0 };
            all.bytes += ROW_BYTES + body + body / 4 + lost;
            all.now_s = all.now_s.max(entry.at_unix_s);
        }
        all
    }
}

/// What a trim dropped.
#[derive(Debug, Default)]
pub(super) struct Trimmed {
    pub(super) delivered_rows: u64,
    pub(super) delivered_masks: u64,
    pub(super) lost_rows: u64,
    pub(super) lost_masks: u64,
    /// What must be told: what notices told that went themselves is among it.
    pub(super) losses: Losses,
}

/// Drops what the bounds demand, so that what comes finds room. `untold` is told along with it.
pub(super) fn trim(
    connection: &Connection,
    options: &Options,
    cursor: RowId,
    incoming: Incoming,
    untold: Losses,
) -> rusqlite::Result<Trimmed> {
    let mut trimmed = Trimmed { losses: untold, ..Trimmed::default() };
    trim_by_age(connection, options, cursor, incoming.now_s, &mut trimmed)?;
    let mut chunks = 0;
    loop {
        let within = database::bytes_used(connection)? <= options.bytes_max;
        let roomy = database::bytes_free(connection)? >= incoming.bytes + SPARE_BYTES;
        let done = (within || chunks >= CHUNKS_MAX) && roomy;
        if done || !drop_next(connection, cursor, &mut trimmed)? {
            return Ok(trimmed);
        }
        chunks += 1;
    }
}

/// Drops a chunk of what can be missed most; false when there is nothing left.
fn drop_next(
    connection: &Connection,
    cursor: RowId,
    trimmed: &mut Trimmed,
) -> rusqlite::Result<bool> {
    Ok(drop_delivered_masks(connection, cursor, trimmed)?
        || drop_delivered_rows(connection, cursor, trimmed)?
        || drop_lost_masks(connection, trimmed)?
        // Else they would push out every verdict one day.
        || drop_lost_events(connection, cursor, EVENTS_KEPT, trimmed)?
        || drop_lost_rows(connection, cursor, trimmed)?
        || drop_lost_events(connection, cursor, 0, trimmed)?)
}

fn trim_by_age(
    connection: &Connection,
    options: &Options,
    cursor: RowId,
    now_s: u64,
    trimmed: &mut Trimmed,
) -> rusqlite::Result<()> {
    let age_s = u64::from(options.age_days_max) * DAY_S;
    if age_s == 0 || now_s <= age_s {
        return Ok(());
    }
    let mut statement = connection.prepare_cached(
        "SELECT max(id) FROM (SELECT id, at FROM row WHERE id <= ?1 ORDER BY id LIMIT ?2)
         WHERE at > 0 AND at < ?3",
    )?;
    let cut: Option<u64> =
        statement.query_row(params![cursor, CHUNK_ROWS, now_s - age_s], |row| row.get(0))?;
    match cut {
        Some(cut) => drop_rows_up_to(connection, cut, trimmed),
        None => Ok(()),
    }
}

fn drop_rows_up_to(
    connection: &Connection,
    cut: RowId,
    trimmed: &mut Trimmed,
) -> rusqlite::Result<()> {
    let masks = connection.prepare_cached("DELETE FROM mask WHERE id <= ?1")?.execute([cut])?;
    let rows = connection.prepare_cached("DELETE FROM row WHERE id <= ?1")?.execute([cut])?;
    trimmed.delivered_masks += masks as u64;
    trimmed.delivered_rows += rows as u64;
    Ok(())
}

fn drop_delivered_masks(
    connection: &Connection,
    cursor: RowId,
    trimmed: &mut Trimmed,
) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare_cached(
        "DELETE FROM mask WHERE id IN
         (SELECT id FROM mask WHERE id <= ?1 ORDER BY id LIMIT ?2)",
    )?;
    let dropped = statement.execute(params![cursor, CHUNK_ROWS])? as u64;
    trimmed.delivered_masks += dropped;
    Ok(dropped > 0)
}

fn drop_delivered_rows(
    connection: &Connection,
    cursor: RowId,
    trimmed: &mut Trimmed,
) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare_cached(
        "SELECT max(id) FROM (SELECT id FROM row WHERE id <= ?1 ORDER BY id LIMIT ?2)",
    )?;
    let cut: Option<u64> = statement.query_row(params![cursor, CHUNK_ROWS], |row| row.get(0))?;
    let Some(cut) = cut else { return Ok(false) };
    drop_rows_up_to(connection, cut, trimmed)?;
    Ok(true)
}

/// All masks up to the cursor are gone when this is reached.
fn drop_lost_masks(connection: &Connection, trimmed: &mut Trimmed) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare_cached(
        "SELECT r.epoch, r.seq, m.id FROM mask m JOIN row r ON r.id = m.id
         ORDER BY m.id LIMIT ?1",
    )?;
    let mut rows = statement.query([CHUNK_ROWS])?;
    let mut cut = None;
    while let Some(row) = rows.next()? {
        trimmed.losses.add(Loss::one(What::Masks, (row.get(0)?, row.get(1)?)));
        trimmed.lost_masks += 1;
        cut = Some(row.get::<_, RowId>(2)?);
    }
    let Some(cut) = cut else { return Ok(false) };
    connection.prepare_cached("DELETE FROM mask WHERE id <= ?1")?.execute([cut])?;
    Ok(true)
}

/// The oldest undelivered verdicts and late results.
fn drop_lost_rows(
    connection: &Connection,
    cursor: RowId,
    trimmed: &mut Trimmed,
) -> rusqlite::Result<bool> {
    let event = RowKind::Event as i64;
    let mut statement = connection.prepare_cached(
        "SELECT epoch, seq, id, kind FROM row WHERE id > ?1 AND kind <> ?2 ORDER BY id LIMIT ?3",
    )?;
    let mut rows = statement.query(params![cursor, event, CHUNK_ROWS])?;
    let mut cut = None;
    while let Some(row) = rows.next()? {
        let late = row.get::<_, i64>(3)? == RowKind::LateResult as i64;
        let what = if late { What::LateResults } else { What::Verdicts };
        trimmed.losses.add(Loss::one(what, (row.get(0)?, row.get(1)?)));
        trimmed.lost_rows += 1;
        cut = Some(row.get::<_, RowId>(2)?);
    }
    let Some(cut) = cut else { return Ok(false) };
    connection
        .prepare_cached("DELETE FROM row WHERE id > ?1 AND id <= ?2 AND kind <> ?3")?
        .execute(params![cursor, cut, event])?;
    Ok(true)
}

/// Undelivered events older than everything else undelivered, but for the newest `kept`.
fn drop_lost_events(
    connection: &Connection,
    cursor: RowId,
    kept: u64,
    trimmed: &mut Trimmed,
) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare_cached(
        "SELECT max(id) FROM (
           SELECT id FROM row WHERE id > ?1 AND id <= (
             SELECT id FROM row WHERE id > ?1 AND id < coalesce(
               (SELECT id FROM row WHERE id > ?1 AND kind <> ?2 ORDER BY id LIMIT 1),
               (SELECT max(id) + 1 FROM row))
             ORDER BY id DESC LIMIT 1 OFFSET ?3)
           ORDER BY id LIMIT ?4)",
    )?;
    let event = RowKind::Event as i64;
    let cut: Option<u64> =
        statement.query_row(params![cursor, event, kept, CHUNK_ROWS], |row| row.get(0))?;
    let Some(cut) = cut else { return Ok(false) };
    let mut details = connection
        .prepare_cached("SELECT detail FROM row WHERE id > ?1 AND id <= ?2 ORDER BY id")?;
    let mut rows = details.query([cursor, cut])?;
    while let Some(row) = rows.next()? {
        let counts = trimmed.losses.add_event(row.get_ref(0)?.as_blob()?);
        trimmed.lost_rows += u64::from(counts);
    }
    connection
        .prepare_cached("DELETE FROM row WHERE id > ?1 AND id <= ?2")?
        .execute([cursor, cut])?;
    Ok(true)
}

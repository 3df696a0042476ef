//! Keeping the database within its bounds: what goes first, and what must be told.
//!
//! Runs inside the transaction of an append, a bounded number of rows at a time, so that an
//! append never waits for a long clean-up.

use rusqlite::{Connection, Row as SqlRow, params};

use super::database;
use super::types::{Notice, Options, RowId};

/// Rows or masks dropped by one statement. Also the granularity of a loss.
const CHUNK_ROWS: u64 = 256;
/// Statements per append at most: more is freed than one group commit adds.
const CHUNKS_MAX: usize = 8;
/// Seconds of a day.
const DAY_S: u64 = 86_400;

/// What a trim dropped.
#[derive(Debug, Default)]
pub(super) struct Trimmed {
    pub(super) delivered_rows: u64,
    pub(super) delivered_masks: u64,
    pub(super) lost_rows: u64,
    pub(super) lost_masks: u64,
    rows: Option<Span>,
    masks: Option<Span>,
}

/// First and last (epoch, seq) of a loss.
#[derive(Clone, Copy, Debug)]
struct Span {
    first: (u32, u32),
    last: (u32, u32),
}

impl Span {
    fn join(earlier: Option<Span>, later: Span) -> Option<Span> {
        Some(Span { first: earlier.map_or(later.first, |span| span.first), last: later.last })
    }
}

impl Trimmed {
    pub(super) fn notices(&self) -> Vec<Notice> {
        let rows = self.rows.map(|Span { first, last }| Notice::RowsDropped {
            rows: self.lost_rows,
            first,
            last,
        });
        let masks = self.masks.map(|Span { first, last }| Notice::MasksDropped {
            rows: self.lost_masks,
            first,
            last,
        });
        masks.into_iter().chain(rows).collect()
    }
}

/// Drops what the bounds demand among the rows up to `newest`.
pub(super) fn trim(
    connection: &Connection,
    options: &Options,
    cursor: RowId,
    newest: RowId,
    now_s: u64,
) -> rusqlite::Result<Trimmed> {
    let mut trimmed = Trimmed::default();
    trim_by_age(connection, options, cursor, now_s, &mut trimmed)?;
    for _ in 0..CHUNKS_MAX {
        if database::bytes_used(connection)? <= options.bytes_max {
            break;
        }
        let dropped = drop_delivered_masks(connection, cursor, &mut trimmed)?
            || drop_delivered_rows(connection, cursor, &mut trimmed)?
            || drop_lost_masks(connection, newest, &mut trimmed)?
            || drop_lost_rows(connection, cursor, newest, &mut trimmed)?;
        if !dropped {
            break;
        }
    }
    Ok(trimmed)
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
fn drop_lost_masks(
    connection: &Connection,
    newest: RowId,
    trimmed: &mut Trimmed,
) -> rusqlite::Result<bool> {
    let found = span(
        connection,
        "SELECT r.epoch, r.seq, m.id FROM mask m JOIN row r ON r.id = m.id
         WHERE m.id <= ?1 ORDER BY m.id LIMIT ?2",
        params![newest, CHUNK_ROWS],
    )?;
    let Some((lost, cut, count)) = found else { return Ok(false) };
    connection.prepare_cached("DELETE FROM mask WHERE id <= ?1")?.execute([cut])?;
    trimmed.masks = Span::join(trimmed.masks, lost);
    trimmed.lost_masks += count;
    Ok(true)
}

/// Undelivered verdicts. Undelivered events stay: they are few, and some tell of a loss.
fn drop_lost_rows(
    connection: &Connection,
    cursor: RowId,
    newest: RowId,
    trimmed: &mut Trimmed,
) -> rusqlite::Result<bool> {
    let found = span(
        connection,
        "SELECT epoch, seq, id FROM row WHERE id > ?1 AND id <= ?2 AND kind = 0
         ORDER BY id LIMIT ?3",
        params![cursor, newest, CHUNK_ROWS],
    )?;
    let Some((lost, cut, count)) = found else { return Ok(false) };
    connection
        .prepare_cached("DELETE FROM row WHERE id > ?1 AND id <= ?2 AND kind = 0")?
        .execute([cursor, cut])?;
    trimmed.rows = Span::join(trimmed.rows, lost);
    trimmed.lost_rows += count;
    Ok(true)
}

/// Span, last id and number of the rows of a query that gives (epoch, seq, id) in order.
fn span(
    connection: &Connection,
    sql: &str,
    parameters: &[&dyn rusqlite::ToSql],
) -> rusqlite::Result<Option<(Span, RowId, u64)>> {
    let read = |row: &SqlRow<'_>| Ok(((row.get(0)?, row.get(1)?), row.get(2)?));
    let mut statement = connection.prepare_cached(sql)?;
    let rows: Vec<((u32, u32), RowId)> =
        statement.query_map(parameters, read)?.collect::<rusqlite::Result<_>>()?;
    Ok(match (rows.first(), rows.last()) {
        (Some((first, _)), Some((last, cut))) => {
            Some((Span { first: *first, last: *last }, *cut, rows.len() as u64))
        }
        _ => None,
    })
}

//! The journal as the publisher's outbox. The two know nothing of each other; this is the wire.

use crate::journal::{self, Entry, JournalError, Reader, RowId};
use crate::publish::{self, Outbox, OutboxError, RangePage, ReplayRange};

/// How far result numbers may be out of order in the journal. An armed part has its number long
/// before its answer; this is more parts than can wait at once.
const DISORDER_MAX: u32 = 1_024;
/// Rows looked at for a verdict, where events lie between them.
const PROBE_ROWS: usize = 16;

/// Committed rows in order, as the journal's reader has them; public so that the simulation looks
/// for ranges with the station's own code.
pub trait Rows {
    /// Why they cannot be read.
    type Error;

    /// Number of the newest row.
    fn newest(&self) -> RowId;

    /// At most `limit` rows after `after`.
    ///
    /// # Errors
    /// When they cannot be read.
    fn after(&mut self, after: RowId, limit: usize) -> Result<Vec<journal::Row>, Self::Error>;
}

impl Rows for Reader {
    type Error = JournalError;

    fn newest(&self) -> RowId {
        Reader::newest(self)
    }

    fn after(&mut self, after: RowId, limit: usize) -> Result<Vec<journal::Row>, JournalError> {
        Reader::after(self, after, limit)
    }
}

/// The verdicts of `range` among the next `limit` rows after `after`, or from the beginning of the
/// range on. Masks are not part of the record: they are not sent again.
///
/// # Errors
/// When the rows cannot be read.
pub fn range_page<R: Rows>(
    rows: &mut R,
    range: &ReplayRange,
    after: Option<RowId>,
    limit: usize,
) -> Result<RangePage, R::Error> {
    let first = range.first.saturating_sub(DISORDER_MAX);
    let after = match after {
        Some(after) => after,
        None => before(rows, (range.epoch, first))?,
    };
    let page = rows.after(after, limit)?;
    let last = (range.epoch, range.last.saturating_add(DISORDER_MAX));
    let beyond = |r: &journal::Row| answer(r).is_some_and(|key| key > last);
    let more = page.len() == limit && !page.iter().any(beyond);
    let next = page.last().filter(|_| more).map(|row| row.id);
    let wanted = |r: &journal::Row| {
        let numbers = range.first..=range.last;
        answer(r).is_some_and(|(epoch, seq)| epoch == range.epoch && numbers.contains(&seq))
    };
    let bare = |r: journal::Row| publish::Row { mask: None, ..row(r) };
    Ok(RangePage { rows: page.into_iter().filter(wanted).map(bare).collect(), next })
}

/// A journal reader behind the publisher's trait.
pub(super) struct JournalOutbox(pub(super) Reader);

impl Outbox for JournalOutbox {
    fn cursor(&self) -> publish::RowId {
        self.0.cursor()
    }

    fn newest(&self) -> publish::RowId {
        self.0.newest()
    }

    fn backlog(
        &mut self,
        after: publish::RowId,
        limit: usize,
    ) -> Result<Vec<publish::Row>, OutboxError> {
        let rows = self.0.after(after, limit)?;
        Ok(rows.into_iter().map(row).collect())
    }

    fn range(
        &mut self,
        range: &ReplayRange,
        after: Option<publish::RowId>,
        limit: usize,
    ) -> Result<RangePage, OutboxError> {
        Ok(range_page(&mut self.0, range, after, limit)?)
    }

    fn commit_cursor(&mut self, cursor: publish::RowId) -> Result<(), OutboxError> {
        Ok(self.0.acknowledge(cursor)?)
    }
}

/// What is announced to the publisher once `entry` is committed as row `id`.
pub(super) fn live_row(id: journal::RowId, entry: Entry) -> publish::Row {
    publish::Row { id, kind: kind(entry.kind), payload: entry.payload, mask: entry.mask }
}

/// (epoch, seq) of a part's answer; results that came later are not what was answered.
fn answer(row: &journal::Row) -> Option<(u32, u32)> {
    (row.kind == journal::RowKind::Verdict).then_some((row.epoch, row.seq))
}

/// A row before all those with a verdict of `key` or more, but for the disorder among them. The
/// journal has no index by result number, because writing one would cost every verdict; numbers
/// grow with the rows, so some twenty looks find the place.
fn before<R: Rows>(rows: &mut R, key: (u32, u32)) -> Result<RowId, R::Error> {
    let (mut low, mut high) = (0, rows.newest());
    while low < high {
        let middle = low + (high - low) / 2;
        let probe = rows.after(middle, PROBE_ROWS)?;
        match probe.iter().find_map(|row| answer(row).map(|found| (row.id, found))) {
            Some((id, found)) if found < key => low = id,
            // Nothing proves that the place is behind this one.
            _ => high = middle,
        }
    }
    Ok(low)
}

fn row(row: journal::Row) -> publish::Row {
    publish::Row { id: row.id, kind: kind(row.kind), payload: row.payload, mask: row.mask }
}

fn kind(kind: journal::RowKind) -> publish::RowKind {
    match kind {
        journal::RowKind::Verdict => publish::RowKind::Verdict,
        journal::RowKind::Event => publish::RowKind::Event,
        journal::RowKind::LateResult => publish::RowKind::LateResult,
    }
}

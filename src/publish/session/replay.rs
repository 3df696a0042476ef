//! A range of verdicts that a consumer asked for again: one at a time, page by page, in the room
//! that everything else leaves.
//!
//! The delivery cursor knows nothing of it. After a lost connection it goes on behind the last
//! row that was acknowledged together with all before it. A restart of the station forgets it.

use std::collections::{BTreeMap, VecDeque};

use crate::frame::Nanos;
use crate::publish::limits::{OUTBOX_RETRY_MS, PAGE_ROWS, RANGE_PAUSE_MS};
use crate::publish::types::{ReplayRange, Report, Row, RowId};

#[derive(Debug, Default)]
pub(super) struct Replay {
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    range: ReplayRange,
    /// Everything of the range up to this row was acknowledged; `None` = nothing yet.
    done: Option<RowId>,
    /// The next page begins behind this row; `None` = the outbox finds the beginning.
    next: Option<RowId>,
    /// The last page was read.
    read_out: bool,
    reading: bool,
    read_not_before: Nanos,
    queue: VecDeque<Row>,
    /// Handed out, by row; true = acknowledged, but one before it is not.
    flying: BTreeMap<RowId, bool>,
    rows: u64,
}

impl Replay {
    /// False while another one is under way.
    pub(super) fn begin(&mut self, range: ReplayRange) -> bool {
        if self.running.is_some() {
            return false;
        }
        self.running = Some(Running {
            range,
            done: None,
            next: None,
            read_out: false,
            reading: false,
            read_not_before: Nanos(0),
            queue: VecDeque::new(),
            flying: BTreeMap::new(),
            rows: 0,
        });
        true
    }

    pub(super) fn is_idle(&self) -> bool {
        self.running.is_none()
    }

    /// The station ends.
    pub(super) fn cancel(&mut self) {
        self.running = None;
    }

    /// The connection is lost, and with it whatever was in flight.
    pub(super) fn rewind(&mut self) {
        let Some(run) = &mut self.running else { return };
        run.queue.clear();
        run.flying.clear();
        (run.next, run.read_out, run.reading) = (run.done, false, false);
    }

    /// The page to read now: the range, and the row it begins behind.
    pub(super) fn page_due(&mut self, now: Nanos) -> Option<(ReplayRange, Option<RowId>)> {
        let run = self.running.as_mut()?;
        let hungry = run.queue.len() < PAGE_ROWS / 2;
        if run.read_out || run.reading || !hungry || now < run.read_not_before {
            return None;
        }
        run.reading = true;
        Some((run.range, run.next))
    }

    /// A page came; `next` is where the one after it begins, `None` behind the last.
    pub(super) fn page(&mut self, now: Nanos, rows: Vec<Row>, next: Option<RowId>) {
        let Some(run) = self.running.as_mut().filter(|run| run.reading) else { return };
        run.reading = false;
        run.read_not_before = now.plus_ms(RANGE_PAUSE_MS);
        run.queue.extend(rows);
        run.read_out = next.is_none();
        run.next = next.or(run.next);
    }

    pub(super) fn page_failed(&mut self, now: Nanos) {
        let Some(run) = &mut self.running else { return };
        run.reading = false;
        run.read_not_before = now.plus_ms(OUTBOX_RETRY_MS);
    }

    /// The next row to hand out.
    pub(super) fn pop(&mut self) -> Option<Row> {
        let run = self.running.as_mut()?;
        let row = run.queue.pop_front()?;
        run.flying.insert(row.id, false);
        Some(row)
    }

    pub(super) fn acknowledged(&mut self, row: RowId) {
        let Some(run) = &mut self.running else { return };
        if let Some(acked) = run.flying.get_mut(&row) {
            *acked = true;
        }
        while let Some(first) = run.flying.first_entry().filter(|first| *first.get()) {
            run.done = Some(first.remove_entry().0);
            run.rows += 1;
        }
    }

    /// The news of a replay that is over; told once.
    pub(super) fn over(&mut self) -> Option<Report> {
        let over = |run: &&Running| run.read_out && run.queue.is_empty() && run.flying.is_empty();
        let Running { range, rows, .. } = *self.running.as_ref().filter(over)?;
        self.running = None;
        Some(Report::Replayed { range, rows })
    }
}

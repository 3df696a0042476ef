//! The journal as the simulation sees it: one interface, a fast model behind it, and the real
//! journal in lockstep with the model (`disk`).

use std::collections::BTreeMap;
use std::ops::Range;

use crrd::journal::{Entry, Notice, Row, RowId, RowKind, Sync};

use super::rng::Rng;

/// Rows the cursor may run ahead of its stored copy; the journal's own figure, checked against
/// it in lockstep.
const CURSOR_STEP_ROWS: u64 = 64;
/// Rows the model drops at once for room.
const CHUNK_ROWS: usize = 4;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    /// kill -9: what was handed to the operating system stays.
    Kill,
    /// The power goes: what was not synced may be gone.
    Power,
}

/// What is found at a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) epoch: u32,
    pub(crate) cursor: RowId,
    pub(crate) newest: RowId,
}

/// A journal that outlives the station's process.
pub(crate) trait Store {
    fn open(&mut self) -> Found;
    /// Commits; the caller decides when that succeeds.
    fn append(&mut self, entries: &[Entry]) -> Range<RowId>;
    fn after(&mut self, after: RowId, limit: usize) -> Vec<Row>;
    fn acknowledge(&mut self, cursor: RowId);
    fn newest(&self) -> RowId;
    fn settle(&mut self);
    /// The process ends in order.
    fn close(&mut self);
    /// The process dies; with `caught` it dies within the commit of these entries.
    fn crash(&mut self, how: Crash, caught: Option<&[Entry]>, rng: &mut Rng);
}

/// The journal's semantics in memory: an append is all or nothing, the cursor is stored late, a
/// power cut takes unsynced commits from the end, the bounds drop the oldest first.
#[derive(Debug)]
pub(crate) struct Model {
    sync: Sync,
    bytes_max: usize,
    notice: fn(u32, &Notice) -> Vec<u8>,
    rows: BTreeMap<RowId, Entry>,
    bytes: usize,
    next: RowId,
    epoch: u32,
    acknowledged: RowId,
    stored: RowId,
    /// (next, stored) before each commit that is not synced yet.
    unsynced: Vec<(RowId, RowId)>,
    /// The newest row of each death is lost: a defect.
    pub(crate) forgetful: bool,
    /// The epoch is not advanced: a defect.
    pub(crate) epoch_stays: bool,
}

impl Model {
    pub(crate) fn new(sync: Sync, bytes_max: usize, notice: fn(u32, &Notice) -> Vec<u8>) -> Self {
        Self {
            sync,
            bytes_max,
            notice,
            rows: BTreeMap::new(),
            bytes: 0,
            next: 1,
            epoch: 0,
            acknowledged: 0,
            stored: 0,
            unsynced: vec![],
            forgetful: false,
            epoch_stays: false,
        }
    }

    fn commit(&mut self, entries: &[Entry]) -> Range<RowId> {
        self.unsynced.push((self.next, self.stored));
        let (first, cursor) = (self.next, self.acknowledged);
        for entry in entries {
            self.insert(entry.clone());
        }
        let end = self.next;
        self.stored = cursor;
        self.trim(cursor, first);
        let event = entries.iter().any(|entry| entry.kind == RowKind::Event);
        if self.sync == Sync::Full || event {
            self.unsynced.clear();
        }
        first..end
    }

    fn insert(&mut self, entry: Entry) {
        self.bytes += size(&entry);
        self.rows.insert(self.next, entry);
        self.next += 1;
    }

    /// Drops rows older than `first`: delivered ones without a word, others with a notice.
    fn trim(&mut self, cursor: RowId, first: RowId) {
        let mut dropped: Vec<(RowKind, (u32, u32))> = vec![];
        while self.bytes > self.bytes_max {
            let delivered = self.oldest(|id, _| id <= cursor);
            let chunk = if delivered.is_empty() {
                let lost = self.oldest(|id, e| id < first && e.kind != RowKind::Event);
                let name = |entry: &Entry| (entry.kind, (entry.epoch, entry.seq));
                dropped.extend(lost.iter().map(|id| name(&self.rows[id])));
                lost
            } else {
                delivered
            };
            if chunk.is_empty() {
                break;
            }
            for id in chunk {
                self.bytes -= self.rows.remove(&id).map_or(0, |entry| size(&entry));
            }
        }
        for kind in [RowKind::LateResult, RowKind::Verdict] {
            let keys = || dropped.iter().filter(|(of, _)| *of == kind).map(|(_, key)| *key);
            let (Some(first), Some(last)) = (keys().min(), keys().max()) else { continue };
            let rows = keys().count() as u64;
            let notice = match kind {
                RowKind::LateResult => Notice::LateResultsDropped { rows, first, last },
                _ => Notice::RowsDropped { rows, first, last },
            };
            let payload = (self.notice)(self.epoch, &notice);
            self.insert(event(self.epoch, payload));
        }
    }

    fn oldest(&self, fits: impl Fn(RowId, &Entry) -> bool) -> Vec<RowId> {
        let rows = self.rows.iter().filter(|(id, entry)| fits(**id, entry));
        rows.map(|(id, _)| *id).take(CHUNK_ROWS).collect()
    }

    /// The last unsynced commits are gone, down to a random one.
    fn lose_tail(&mut self, rng: &mut Rng) {
        let keep = rng.below(self.unsynced.len() as u64 + 1) as usize;
        if let Some(&(next, stored)) = self.unsynced.get(keep) {
            for entry in self.rows.split_off(&next).into_values() {
                self.bytes -= size(&entry);
            }
            self.stored = stored;
            self.next = next.max(self.stored + 1);
        }
    }

    /// Rows moved to the database, with the cursor: nothing can be lost any more.
    pub(crate) fn moved(&mut self) {
        self.stored = self.acknowledged;
        self.unsynced.clear();
    }

    /// Dead within such a move: the cursor that was found is the old or the new one.
    pub(crate) fn may_have_moved(&mut self, cursor: RowId) {
        if cursor == self.acknowledged {
            self.stored = cursor;
        }
    }

    /// After a power cut the real journal kept some of its unsynced commits: those before the
    /// state that `fits` (next row number, stored cursor).
    pub(crate) fn keep_where(&mut self, fits: impl Fn(RowId, RowId) -> bool) {
        if fits(self.next, self.stored) {
            return;
        }
        let kept = self.unsynced.iter().rev().find(|(next, stored)| fits(*next, *stored));
        let Some(&(next, stored)) = kept else {
            panic!("no state between two commits fits what is there")
        };
        self.rows.split_off(&next);
        (self.next, self.stored) = (next, stored);
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows.len()
    }
}

/// A row that is no verdict.
pub(crate) fn event(epoch: u32, payload: Vec<u8>) -> Entry {
    Entry { epoch, seq: 0, kind: RowKind::Event, at_unix_s: 0, payload, detail: vec![], mask: None }
}

fn size(entry: &Entry) -> usize {
    entry.payload.len() + entry.mask.as_ref().map_or(0, Vec::len)
}

impl Store for Model {
    fn open(&mut self) -> Found {
        self.epoch += u32::from(!self.epoch_stays || self.epoch == 0);
        self.acknowledged = self.stored;
        self.unsynced.clear();
        Found { epoch: self.epoch, cursor: self.stored, newest: self.next - 1 }
    }

    fn append(&mut self, entries: &[Entry]) -> Range<RowId> {
        self.commit(entries)
    }

    fn after(&mut self, after: RowId, limit: usize) -> Vec<Row> {
        let row = |(id, e): (&RowId, &Entry)| Row {
            id: *id,
            epoch: e.epoch,
            seq: e.seq,
            kind: e.kind,
            payload: e.payload.clone(),
            mask: e.mask.clone(),
        };
        self.rows.range(after + 1..).take(limit).map(row).collect()
    }

    fn acknowledge(&mut self, cursor: RowId) {
        assert!(cursor < self.next, "what was never written was acknowledged");
        self.acknowledged = self.acknowledged.max(cursor);
    }

    fn newest(&self) -> RowId {
        self.next - 1
    }

    fn settle(&mut self) {
        if self.acknowledged >= self.stored + CURSOR_STEP_ROWS {
            self.moved();
        }
    }

    fn close(&mut self) {
        self.stored = self.acknowledged;
        self.unsynced.clear();
    }

    fn crash(&mut self, how: Crash, caught: Option<&[Entry]>, rng: &mut Rng) {
        // Whether the last commit became whole is a matter of the moment.
        if let Some(entries) = caught.filter(|_| rng.chance(50)) {
            self.commit(entries);
        }
        if how == Crash::Power && self.sync == Sync::Normal {
            self.lose_tail(rng);
        }
        if self.forgetful {
            self.rows.pop_last();
        }
    }
}

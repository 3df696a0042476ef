//! Taking rows: announced ones as live, those of the outbox as late.

use super::window::Owner;
use super::{Action, Bulk, Link, Live, Session, Topic};
use crate::frame::Nanos;
use crate::publish::limits::{GRACE_MS, PAGE_ROWS};
use crate::publish::types::{Report, Row, RowId, RowKind};

impl Session {
    pub(super) fn announced(
        &mut self,
        now: Nanos,
        row: Row,
        until: Option<Nanos>,
        out: &mut Vec<Action>,
    ) {
        let Link::Up { newest_then, .. } = self.link else { return };
        self.horizon = self.horizon.max(row.id);
        self.newest = self.newest.max(row.id);
        if row.id <= newest_then || self.position.is_taken(row.id) {
            return;
        }
        let bulk_room = self.bulk.len() < self.limits.bulk_queue_max;
        let room = match row.kind {
            RowKind::Verdict => self.live.len() + self.overdue.len() < self.limits.live_rows_max,
            RowKind::Event | RowKind::LateResult => bulk_room,
        };
        if row.kind == RowKind::Verdict {
            self.share.verdict(now);
        }
        // A verdict whose mask finds no room goes out now all the same; being left to the late
        // lane as well, it is repeated there together with its mask.
        let whole = room && (row.mask.is_none() || bulk_room);
        if whole {
            self.more |= !self.position.take_live(row.id, self.live_parts(&row));
        } else {
            self.more = true;
            self.counters.crowded_out += 1;
        }
        if room {
            let row = if whole { row } else { Row { mask: None, ..row } };
            self.enqueue_live(row, until, whole, out);
        }
    }

    fn enqueue_live(&mut self, row: Row, until: Option<Nanos>, whole: bool, out: &mut Vec<Action>) {
        let owner = row.id;
        match row.kind {
            RowKind::Verdict => {
                self.remember_last(&row);
                let mut row = row;
                if let Some(payload) = row.mask.take() {
                    self.queue_bulk(Topic::Mask, owner, payload, out);
                }
                if self.fits(owner, &row.payload, false, whole, out) {
                    let owner = if whole { Owner::Row(owner) } else { Owner::Nobody };
                    self.live.push_back(Live { owner, row, until });
                } else if whole && self.binary_wanted {
                    self.position.part_done(owner);
                }
            }
            RowKind::Event => self.queue_bulk(Topic::Event, owner, row.payload, out),
            RowKind::LateResult => self.queue_bulk(Topic::Hist, owner, row.payload, out),
        }
    }

    pub(super) fn queue_bulk(
        &mut self,
        topic: Topic,
        row: RowId,
        payload: Vec<u8>,
        out: &mut Vec<Action>,
    ) {
        if self.fits(row, &payload, topic == Topic::Mask, true, out) {
            self.bulk.push_back(Bulk { topic, row, payload });
        }
    }

    /// An oversize payload would block the connection for ever: it is reported and its part of
    /// the row counts as done.
    fn fits(
        &mut self,
        row: RowId,
        payload: &[u8],
        mask: bool,
        owned: bool,
        out: &mut Vec<Action>,
    ) -> bool {
        let (bytes, bytes_max) = (payload.len(), self.limits.payload_bytes_max);
        if bytes <= bytes_max {
            return true;
        }
        if owned {
            self.counters.undeliverable += 1;
            self.position.part_done(row);
            out.push(Action::Report(Report::Undeliverable { row, mask, bytes, bytes_max }));
        }
        false
    }

    pub(super) fn backlog(&mut self, now: Nanos, rows: Vec<Row>, out: &mut Vec<Action>) {
        if !self.reading || !self.is_up() {
            return;
        }
        self.reading = false;
        let whole_rest = rows.len() < PAGE_ROWS;
        self.more |= !whole_rest;
        for row in rows {
            if row.id > self.horizon.max(self.graced) {
                // Not announced yet: it is young, so wait for that, but not for long.
                self.graced = row.id;
                self.read_not_before = now.plus_ms(GRACE_MS);
                self.more = true;
                return;
            }
            if !self.position.take_late(row.id, late_parts(&row)) {
                continue;
            }
            if row.kind == RowKind::Verdict {
                self.remember_last(&row);
            }
            if self.fits(row.id, &row.payload, false, true, out) {
                self.late.push_back(row);
            } else if let Some(payload) = row.mask {
                self.queue_bulk(Topic::Mask, row.id, payload, out);
            }
        }
        if whole_rest {
            // What was there before and is not in the answer was dropped by retention since.
            self.position.skip_to(self.newest_when_asked);
        }
    }

    fn remember_last(&mut self, row: &Row) {
        let newer = self.last.as_ref().is_none_or(|(id, _)| *id < row.id);
        if self.last_wanted && newer && row.payload.len() <= self.limits.payload_bytes_max {
            self.last = Some((row.id, row.payload.clone()));
            self.last_due = true;
        }
    }

    /// Publishes that must be acknowledged before the row is done, when it goes out live.
    fn live_parts(&self, row: &Row) -> u8 {
        let binary = self.binary_wanted && row.kind == RowKind::Verdict;
        late_parts(row) + u8::from(binary)
    }
}

/// The same when it goes out late.
fn late_parts(row: &Row) -> u8 {
    1 + u8::from(row.mask.is_some())
}

//! The delivery protocol as a state machine: events in, actions out; no I/O, no clock, no client
//! library.
//!
//! It is public so that the simulation (`tests/sim`) drives the very machine that the publisher's
//! thread drives, with every fault a network and a broker can have. A station needs only
//! [`super::Publisher`].
//!
//! # Position in the journal
//! Row numbers grow by one. `scan` splits the journal: every row up to it was *taken* (queued, in
//! flight or done), so the cursor is the last row before the first open one, at most `scan`. Live
//! rows are taken ahead of `scan` while a backlog is still being read; they are remembered as
//! ranges, and `scan` jumps over them when it arrives. Nothing depends on the numbers being
//! without holes (retention makes some): a hole costs one more read. The answer to a read shows
//! every row there is after the asked one, up to its limit, as of that moment or later.
//!
//! # Live or late
//! A row is live when it was committed after the connection stood, was announced, and found room
//! in the queue. Everything else is read from the outbox and sent late, in order. An unannounced
//! row younger than the connection is given [`super::limits::GRACE_MS`] for its announcement.
//!
//! # After a lost connection
//! Everything in memory is dropped and delivery starts again behind the cursor. So whatever the
//! client library lost, repeated or never sent does not matter.
//!
//! # Which acknowledgement is whose
//! The client gives packet ids in the order publishes are handed to it and says so
//! ([`Event::Sent`]); an acknowledgement that fits no publish in flight breaks the protocol, and
//! the connection with it.
//!
//! # Refused publishes
//! An acknowledgement may carry a reason why the broker did not pass the message on. A mask or
//! `last` is then done without having been delivered: it is no record, and a broker that does not
//! allow its topic must not hold up the verdicts. Everything else stays undelivered: the
//! connection is given up, and delivery is tried again after the usual growing wait.

mod backoff;
mod events;
mod position;
mod window;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use super::limits::{
    CURSOR_STEP_ROWS, GRACE_MS, Limits, OUTBOX_RETRY_MS, Offer, PAGE_ROWS, SHORT_LIVED_MS,
    TAKEOVER_TIMES,
};
use super::types::{Report, Row, RowId, RowKind};
use crate::frame::Nanos;
pub(super) use backoff::Backoff;
pub use events::{Action, Counters, Event, Publish, Topic};
use position::Position;
use window::{Tag, Window};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// Not connected; a connection has been ordered.
    Down,
    /// Connected since.
    Up { since: Nanos, newest_then: RowId },
    /// Given up; waiting for the shell to say so.
    Closing,
}

/// A queued mask or event.
#[derive(Debug)]
struct Bulk {
    topic: Topic,
    row: RowId,
    payload: Vec<u8>,
}

/// The protocol's state.
#[derive(Debug)]
pub struct Session {
    configured: Limits,
    /// The configured ones as far as the broker goes along.
    limits: Limits,
    link: Link,
    backoff: Backoff,
    short_lived: u32,
    position: Position,
    cursor_told: RowId,
    window: Window,
    live: VecDeque<Row>,
    late: VecDeque<Row>,
    bulk: VecDeque<Bulk>,
    state: Vec<u8>,
    state_due: bool,
    last: Option<(RowId, Vec<u8>)>,
    last_due: bool,
    last_wanted: bool,
    reading: bool,
    more: bool,
    /// Newest row known to be in the outbox.
    newest: RowId,
    /// The same when the outbox was last asked.
    newest_when_asked: RowId,
    /// No more rows are handed out: only the last state.
    stopped: bool,
    /// Newest announced row: up to it every unannounced row is known to be late.
    horizon: RowId,
    read_not_before: Nanos,
    /// Unannounced rows up to this one have had their grace.
    graced: RowId,
    heartbeat_at: Nanos,
    heartbeats: u64,
    counters: Counters,
}

impl Session {
    /// A session that starts behind `cursor` with the first `state` payload. `seed` spreads the
    /// reconnects of many stations.
    pub fn new(
        limits: Limits,
        cursor: RowId,
        state: Vec<u8>,
        last_wanted: bool,
        seed: u64,
    ) -> Self {
        Self {
            configured: limits,
            limits,
            link: Link::Down,
            backoff: Backoff::new(limits.backoff_ms_min, limits.backoff_ms_max, seed),
            short_lived: 0,
            position: Position::new(cursor),
            cursor_told: cursor,
            window: Window::default(),
            live: VecDeque::new(),
            late: VecDeque::new(),
            bulk: VecDeque::new(),
            state,
            state_due: true,
            last: None,
            last_due: false,
            last_wanted,
            reading: false,
            more: true,
            newest: cursor,
            newest_when_asked: cursor,
            stopped: false,
            horizon: cursor,
            read_not_before: Nanos(0),
            graced: 0,
            heartbeat_at: Nanos(0),
            heartbeats: 0,
            counters: Counters::default(),
        }
    }

    /// Takes one event; what is to be done about it is appended to `out`.
    pub fn handle(&mut self, now: Nanos, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Start => out.push(Action::Connect { after_ms: 0 }),
            Event::Connected { newest } => self.connected(now, newest),
            Event::Disconnected => self.disconnected(now, out),
            Event::Sent(id) => self.sent(now, id, out),
            Event::Acked(id) => self.acked(now, id, out),
            Event::Refused { id, reason } => self.refused(now, id, reason, out),
            Event::Live(row) => self.announced(row, out),
            Event::Backlog(rows) => self.backlog(now, rows, out),
            Event::BacklogFailed => {
                self.reading = false;
                self.more = true;
                self.read_not_before = now.plus_ms(OUTBOX_RETRY_MS);
            }
            Event::State(payload) => {
                self.state = payload;
                self.state_due = true;
            }
            Event::Tick { newest } => self.tick(now, newest, out),
        }
        self.pump(now, out);
        self.tell_cursor(CURSOR_STEP_ROWS, out);
    }

    /// What the broker of the next connection takes; before [`Event::Connected`].
    pub fn narrow(&mut self, offer: Offer) {
        self.limits = self.configured.narrowed(offer);
    }

    /// True while a connection stands.
    pub fn is_up(&self) -> bool {
        matches!(self.link, Link::Up { .. })
    }

    /// True when everything up to `newest`, the newest verdict and the state were acknowledged.
    pub fn is_drained(&self, newest: RowId) -> bool {
        self.position.cursor() >= newest && !self.last_due && self.is_quiet()
    }

    /// Hands out no more rows; what is in flight may still be acknowledged.
    pub fn stop_rows(&mut self) {
        self.stopped = true;
    }

    /// True when nothing waits for an acknowledgement and the state is out.
    pub fn is_quiet(&self) -> bool {
        !self.state_due && self.window.len() == 0
    }

    /// Everything up to this row was delivered.
    pub fn cursor(&self) -> RowId {
        self.position.cursor()
    }

    /// Publishes waiting for their acknowledgement.
    pub fn in_flight(&self) -> usize {
        self.window.len()
    }

    /// Counters since the start.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn connected(&mut self, now: Nanos, newest: RowId) {
        self.forget();
        self.link = Link::Up { since: now, newest_then: newest };
        self.horizon = newest;
        self.newest = self.newest.max(newest);
        self.more = newest > self.position.scan();
        self.state_due = true;
        self.last_due = self.last.is_some();
        self.heartbeat_at = now;
        self.counters.connections += 1;
    }

    fn disconnected(&mut self, now: Nanos, out: &mut Vec<Action>) {
        if let Some(times) = self.note_end(now) {
            out.push(Action::Report(Report::TakeoverSuspected { times }));
        }
        self.link = Link::Down;
        self.tell_cursor(1, out);
        self.forget();
        out.push(Action::Connect { after_ms: self.backoff.next_ms() });
    }

    /// A connection that held resets the waits; one that was cut off early is counted, and the
    /// count is returned when it looks like a takeover.
    fn note_end(&mut self, now: Nanos) -> Option<u32> {
        let Link::Up { since, .. } = self.link else { return None };
        if now.since(since) >= Nanos(0).plus_ms(SHORT_LIVED_MS) {
            self.short_lived = 0;
            self.backoff.reset();
            return None;
        }
        self.short_lived += 1;
        self.short_lived.is_multiple_of(TAKEOVER_TIMES).then_some(self.short_lived)
    }

    /// Back to the cursor: what was queued or in flight is read from the outbox again.
    fn forget(&mut self) {
        self.position.rewind();
        self.window = Window::default();
        self.live.clear();
        self.late.clear();
        self.bulk.clear();
        self.reading = false;
        self.read_not_before = Nanos(0);
        self.graced = 0;
    }

    fn give_up(&mut self, now: Nanos, why: &'static str, out: &mut Vec<Action>) {
        if let Link::Up { since, .. } = self.link {
            // This end is ours, so it is no sign of another client.
            if now.since(since) >= Nanos(0).plus_ms(SHORT_LIVED_MS) {
                self.short_lived = 0;
                self.backoff.reset();
            }
            self.link = Link::Closing;
            out.push(Action::Disconnect(why));
        }
    }

    fn sent(&mut self, now: Nanos, id: u16, out: &mut Vec<Action>) {
        if self.is_up() && !self.window.bind(id, now) {
            self.give_up(now, "the client sent a publish that was not handed to it", out);
        }
    }

    fn acked(&mut self, now: Nanos, id: u16, out: &mut Vec<Action>) {
        if !self.is_up() {
            return;
        }
        match self.window.acknowledge(id) {
            Some(tag) => {
                self.counters.acked += 1;
                if let Some(row) = tag.row {
                    self.position.part_done(row);
                }
            }
            None => self.give_up(now, "the broker acknowledged what was not in flight", out),
        }
    }

    fn refused(&mut self, now: Nanos, id: u16, reason: &'static str, out: &mut Vec<Action>) {
        if !self.is_up() {
            return;
        }
        let Some(tag) = self.window.acknowledge(id) else {
            self.give_up(now, "the broker refused what was not in flight", out);
            return;
        };
        out.push(Action::Report(Report::PublishRefused { topic: tag.topic.name(), reason }));
        match (tag.topic, tag.row) {
            (Topic::Last, _) => {}
            (Topic::Mask, Some(row)) => {
                self.counters.undeliverable += 1;
                self.position.part_done(row);
            }
            _ => self.give_up(now, "the broker refused a publish", out),
        }
    }

    fn announced(&mut self, row: Row, out: &mut Vec<Action>) {
        let Link::Up { newest_then, .. } = self.link else { return };
        self.horizon = self.horizon.max(row.id);
        self.newest = self.newest.max(row.id);
        if row.id <= newest_then || self.position.is_taken(row.id) {
            return;
        }
        let bulk_room = self.bulk.len() < self.limits.bulk_queue_max;
        let room = match row.kind {
            RowKind::Verdict => self.live.len() < self.limits.live_rows_max,
            RowKind::Event | RowKind::LateResult => bulk_room,
        };
        // A verdict whose mask finds no room goes out now all the same; being left to the late
        // lane as well, it is repeated there together with its mask.
        let whole = room && (row.mask.is_none() || bulk_room);
        if whole {
            self.more |= !self.position.take_live(row.id, parts(&row));
        } else {
            self.more = true;
            self.counters.crowded_out += 1;
        }
        if room {
            let row = if whole { row } else { Row { mask: None, ..row } };
            self.enqueue_live(row, whole, out);
        }
    }

    fn enqueue_live(&mut self, row: Row, whole: bool, out: &mut Vec<Action>) {
        let owner = row.id;
        match row.kind {
            RowKind::Verdict => {
                self.remember_last(&row);
                let mut row = row;
                if let Some(payload) = row.mask.take() {
                    self.queue_bulk(Topic::Mask, owner, payload, out);
                }
                if self.fits(owner, &row.payload, false, whole, out) {
                    self.live.push_back(row);
                }
            }
            RowKind::Event => self.queue_bulk(Topic::Event, owner, row.payload, out),
            RowKind::LateResult => self.queue_bulk(Topic::Hist, owner, row.payload, out),
        }
    }

    fn queue_bulk(&mut self, topic: Topic, row: RowId, payload: Vec<u8>, out: &mut Vec<Action>) {
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

    fn backlog(&mut self, now: Nanos, rows: Vec<Row>, out: &mut Vec<Action>) {
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
            if !self.position.take_late(row.id, parts(&row)) {
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

    fn tick(&mut self, now: Nanos, newest: RowId, out: &mut Vec<Action>) {
        if !self.is_up() {
            return;
        }
        self.newest = self.newest.max(newest);
        // Catches rows whose announcement was dropped.
        self.more |= newest > self.position.taken_max();
        let wait_max = Nanos(0).plus_ms(self.limits.ack_wait_ms_max);
        if self.window.oldest().is_some_and(|oldest| now.since(oldest) > wait_max) {
            self.give_up(now, "the broker did not acknowledge in time", out);
        }
        self.tell_cursor(1, out);
    }

    fn tell_cursor(&mut self, step: u64, out: &mut Vec<Action>) {
        let cursor = self.position.cursor();
        if cursor >= self.cursor_told + step {
            self.cursor_told = cursor;
            out.push(Action::CommitCursor(cursor));
        }
    }

    /// Hands out as much as the window allows, most urgent first.
    fn pump(&mut self, now: Nanos, out: &mut Vec<Action>) {
        if !self.is_up() {
            return;
        }
        if now >= self.heartbeat_at {
            self.heartbeat_at = now.plus_ms(self.limits.heartbeat_ms);
            let topic = Topic::Heartbeat(self.heartbeats);
            self.heartbeats += 1;
            out.push(Action::Publish(Publish { topic, payload: Vec::new() }));
        }
        if self.stopped {
            if self.state_due {
                self.pump_urgent(now, out);
            }
            return;
        }
        while self.window.len() < usize::from(self.limits.window) {
            if !(self.pump_urgent(now, out) || self.pump_bulk(now, out)) {
                break;
            }
        }
        let hungry = self.late.len() + self.bulk.len() < usize::from(self.limits.bulk_window);
        if self.more && hungry && !self.reading && now >= self.read_not_before {
            self.reading = true;
            self.more = false;
            self.newest_when_asked = self.newest;
            out.push(Action::ReadBacklog { after: self.position.scan(), limit: PAGE_ROWS });
        }
    }

    fn pump_urgent(&mut self, now: Nanos, out: &mut Vec<Action>) -> bool {
        if self.state_due {
            self.state_due = false;
            let payload = self.state.clone();
            self.hand(now, Topic::State, None, payload, out);
        } else if let Some(row) = self.live.pop_front() {
            let owner = self.position.is_open(row.id).then_some(row.id);
            self.hand(now, Topic::Verdict, owner, row.payload, out);
        } else if self.last_due && self.late.is_empty() && !self.more {
            self.last_due = false;
            let payload = self.last.as_ref().map(|(_, payload)| payload.clone());
            self.hand(now, Topic::Last, None, payload.unwrap_or_default(), out);
        } else {
            return false;
        }
        true
    }

    fn pump_bulk(&mut self, now: Nanos, out: &mut Vec<Action>) -> bool {
        if self.window.bulk_len() >= usize::from(self.limits.bulk_window) {
            return false;
        }
        if let Some(Bulk { topic, row, payload }) = self.bulk.pop_front() {
            self.hand(now, topic, Some(row), payload, out);
        } else if let Some(row) = self.late.pop_front() {
            let topic = match row.kind {
                RowKind::Verdict | RowKind::LateResult => Topic::Hist,
                RowKind::Event => Topic::Event,
            };
            self.counters.late += u64::from(topic == Topic::Hist);
            self.hand(now, topic, Some(row.id), row.payload, out);
            if let Some(payload) = row.mask {
                self.queue_bulk(Topic::Mask, row.id, payload, out);
            }
        } else {
            return false;
        }
        true
    }

    fn hand(
        &mut self,
        now: Nanos,
        topic: Topic,
        row: Option<RowId>,
        payload: Vec<u8>,
        out: &mut Vec<Action>,
    ) {
        let bulk = matches!(topic, Topic::Hist | Topic::Mask | Topic::Event);
        self.window.hand(Tag { row, topic, bulk }, now);
        self.counters.published += 1;
        out.push(Action::Publish(Publish { topic, payload }));
    }
}

/// Publishes that must be acknowledged before the row is done.
fn parts(row: &Row) -> u8 {
    1 + u8::from(row.mask.is_some())
}

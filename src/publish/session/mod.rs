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
//! row younger than the connection is given [`super::limits::GRACE_MS`] for its announcement. A
//! live row whose time is over before the window has room for it is laid aside and takes its place
//! among the late ones: sent live, it would look as if it were in time.
//!
//! Late rows go out in the time that live verdicts leave ([`share`]).
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
//! # Beside the rows
//! Answers to commands go out before everything but the state, and are not kept: what was not
//! acknowledged when the connection breaks is gone, counted ([`Counters::replies_dropped`]), and the
//! PLC repeats its command. The binary form of a live verdict belongs to its row like a mask.
//! Metrics and the calibration are told in the bulk share; what of them the broker cannot take is
//! left out. A range that a consumer asked for again
//! ([`replay`]) comes last of all.
//!
//! # Refused publishes
//! An acknowledgement may carry a reason why the broker did not pass the message on. What is no
//! record (a mask, `last`, the binary form, answers, metrics) is then done without having been
//! delivered: a broker that does not allow its topic must not hold up the verdicts. Everything else
//! stays undelivered: the connection is given up, and delivery is tried again after the usual
//! growing wait.

mod backoff;
mod events;
mod intake;
mod position;
mod pump;
mod replay;
mod share;
mod window;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use super::limits::{
    CURSOR_STEP_ROWS, Limits, OUTBOX_RETRY_MS, Offer, REPLIES_MAX, SHORT_LIVED_MS, TAKEOVER_TIMES,
};
use super::types::{Report, Row, RowId};
use crate::frame::Nanos;
pub(super) use backoff::Backoff;
pub use events::{Action, Counters, Event, Publish, Topic};
use position::Position;
use replay::Replay;
use share::Share;
use window::{Owner, Window};

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

/// A live row that waits for the window.
#[derive(Debug)]
struct Live {
    /// With whom it belongs to: a row that is read as a late one, too, waits for that.
    owner: Owner,
    row: Row,
    until: Option<Nanos>,
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
    share: Share,
    cursor_told: RowId,
    window: Window,
    live: VecDeque<Live>,
    /// Live rows whose time was over while they waited.
    overdue: BTreeMap<RowId, Row>,
    late: VecDeque<Row>,
    bulk: VecDeque<Bulk>,
    replies: VecDeque<Vec<u8>>,
    /// The verdict just handed out, whose binary form follows.
    binary: Option<Live>,
    binary_wanted: bool,
    health: Option<Vec<u8>>,
    calibration: Vec<u8>,
    calibration_due: bool,
    /// The limit by which metrics or the calibration were told to be too large, by topic.
    too_large_told: BTreeMap<&'static str, usize>,
    replay: Replay,
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
            share: Share::default(),
            cursor_told: cursor,
            window: Window::default(),
            live: VecDeque::new(),
            overdue: BTreeMap::new(),
            late: VecDeque::new(),
            bulk: VecDeque::new(),
            replies: VecDeque::new(),
            binary: None,
            binary_wanted: false,
            health: None,
            calibration: Vec::new(),
            calibration_due: false,
            too_large_told: BTreeMap::new(),
            replay: Replay::default(),
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

    /// The same; `wanted` says whether live verdicts go out in binary form, too.
    #[must_use]
    pub fn with_binary(mut self, wanted: bool) -> Self {
        self.binary_wanted = wanted;
        self
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
            Event::Live { row, until } => self.announced(now, row, until, out),
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
            Event::Reply(payload) => self.reply(payload),
            Event::Health(payload) => self.health = Some(payload),
            Event::Calibration(payload) => {
                self.calibration_due = !payload.is_empty();
                self.calibration = payload;
            }
            Event::Replay(range) => {
                let begun = self.replay.begin(range);
                debug_assert!(begun, "asked for only when there is none");
            }
            Event::Range { mut rows, next } => {
                // Told as undeliverable when they went out first.
                rows.retain(|row| row.payload.len() <= self.limits.payload_bytes_max);
                self.replay.page(now, rows, next);
            }
            Event::RangeFailed => self.replay.page_failed(now),
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

    /// Whether a replay may begin: one at a time.
    pub fn can_replay(&self) -> bool {
        self.replay.is_idle()
    }

    /// Gives up the replay under way; the station ends.
    pub fn cancel_replay(&mut self) {
        self.replay.cancel();
    }

    /// True when everything up to `newest`, the newest verdict, the answers and the state were
    /// acknowledged.
    pub fn is_drained(&self, newest: RowId) -> bool {
        let rows = self.position.cursor() >= newest && !self.last_due;
        rows && self.replies.is_empty() && self.is_quiet()
    }

    /// Hands out no more rows; what is in flight may still be acknowledged.
    pub fn stop_rows(&mut self) {
        self.stopped = true;
        self.counters.replies_dropped += self.replies.drain(..).len() as u64;
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
        self.calibration_due = !self.calibration.is_empty();
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
        // An answer in flight may have arrived; what is not acknowledged counts as lost.
        let unanswered = self.replies.len() + self.window.replies_len();
        self.counters.replies_dropped += unanswered as u64;
        self.position.rewind();
        self.window = Window::default();
        self.live.clear();
        self.overdue.clear();
        self.late.clear();
        self.bulk.clear();
        self.replies.clear();
        self.binary = None;
        self.replay.rewind();
        self.share = Share::default();
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
                if self.window.urgent_len() == 0 {
                    self.share.settled(now);
                }
                match tag.owner {
                    Owner::Nobody => {}
                    Owner::Row(row) => self.position.part_done(row),
                    Owner::Replayed(row) => self.replay.acknowledged(row),
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
        match (tag.topic, tag.owner) {
            (Topic::Reply, _) => self.counters.replies_dropped += 1,
            (Topic::Last | Topic::Health | Topic::Calibration, _) => {}
            (Topic::Mask | Topic::Binary, owner) => {
                self.counters.undeliverable += 1;
                if let Owner::Row(row) = owner {
                    self.position.part_done(row);
                }
            }
            _ => self.give_up(now, "the broker refused a publish", out),
        }
    }

    /// Room there is for a burst of commands; what is beyond it is asked for again.
    fn reply(&mut self, payload: Vec<u8>) {
        if self.is_up() && !self.stopped && self.replies.len() < REPLIES_MAX {
            self.replies.push_back(payload);
        } else {
            self.counters.replies_dropped += 1;
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
}

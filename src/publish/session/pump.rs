//! Handing out what waits, as far as the window allows, most urgent first.

use super::window::{Owner, Tag};
use super::{Action, Bulk, Live, Publish, Session, Topic};
use crate::frame::Nanos;
use crate::publish::limits::{PAGE_ROWS, RANGE_ROWS};
use crate::publish::types::{Report, Row, RowKind};

impl Session {
    /// Hands out as much as the window allows, most urgent first; then asks for more.
    pub(super) fn pump(&mut self, now: Nanos, out: &mut Vec<Action>) {
        if !self.is_up() {
            return;
        }
        if now >= self.heartbeat_at {
            self.heartbeat_at = now.plus_ms(self.limits.heartbeat_ms);
            let topic = Topic::Heartbeat(self.heartbeats);
            self.heartbeats += 1;
            out.push(Action::Publish(Publish::new(topic, Vec::new())));
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
        self.ask(now, out);
    }

    /// Reads on, the backlog first: a replay waits until there is none. Reading takes the very
    /// thread that writes to the connection, so it never comes between a live verdict and the wire.
    fn ask(&mut self, now: Nanos, out: &mut Vec<Action>) {
        if let Some(report) = self.replay.over() {
            out.push(Action::Report(report));
        }
        if self.window.is_urgent_unsent() || !self.share.is_open(now) {
            return;
        }
        let hungry = self.late.len() + self.bulk.len() < usize::from(self.limits.bulk_window);
        if self.more && hungry && !self.reading && now >= self.read_not_before {
            self.reading = true;
            self.more = false;
            self.newest_when_asked = self.newest;
            out.push(Action::ReadBacklog { after: self.position.scan(), limit: PAGE_ROWS });
        }
        if self.late.is_empty()
            && self.overdue.is_empty()
            && let Some((range, after)) = self.replay.page_due(now)
        {
            out.push(Action::ReadRange { range, after, limit: RANGE_ROWS });
        }
    }

    fn pump_urgent(&mut self, now: Nanos, out: &mut Vec<Action>) -> bool {
        if self.state_due {
            self.state_due = false;
            let payload = self.state.clone();
            self.hand(now, Topic::State, Owner::Nobody, payload, out);
        } else if let Some(payload) = self.next_reply() {
            self.hand(now, Topic::Reply, Owner::Nobody, payload, out);
        } else if let Some(binary) = self.binary.take() {
            self.pump_binary(now, binary, out);
        } else if let Some(live) = self.live.pop_front() {
            self.pump_live(now, live, out);
        } else if self.last_due && self.late.is_empty() && self.overdue.is_empty() && !self.more {
            self.last_due = false;
            let payload = self.last.as_ref().map(|(_, payload)| payload.clone());
            self.hand(now, Topic::Last, Owner::Nobody, payload.unwrap_or_default(), out);
        } else {
            return false;
        }
        true
    }

    /// Sends a live verdict, or lays it aside when its time is over.
    fn pump_live(&mut self, now: Nanos, live: Live, out: &mut Vec<Action>) {
        let Live { owner, row, until } = live;
        if until.is_some_and(|until| now > until) {
            self.counters.crowded_out += 1;
            // Who belongs to nobody is read as a late one anyway.
            if let Owner::Row(id) = owner {
                if self.binary_wanted {
                    // Late verdicts have no binary form.
                    self.position.part_done(id);
                }
                self.overdue.insert(id, row);
            }
            return;
        }
        self.binary = self.binary_wanted.then(|| Live { owner, row: row.clone(), until });
        let lasts = until.map(|until| until.since(now));
        let publish = Publish { topic: Topic::Verdict, payload: row.payload, lasts };
        self.hand_publish(now, owner, publish, out);
    }

    /// The binary form of the verdict just sent; without it when its time is over meanwhile.
    fn pump_binary(&mut self, now: Nanos, binary: Live, out: &mut Vec<Action>) {
        let Live { owner, row, until } = binary;
        match (until, owner) {
            (Some(until), Owner::Row(id)) if now > until => self.position.part_done(id),
            (Some(until), _) if now > until => {}
            _ => {
                let lasts = until.map(|until| until.since(now));
                let publish = Publish { topic: Topic::Binary, payload: row.payload, lasts };
                self.hand_publish(now, owner, publish, out);
            }
        }
    }

    /// The oldest row that goes out late. One that was laid aside waits for older ones that were
    /// not read yet.
    fn next_late(&mut self) -> Option<Row> {
        let scan = self.position.scan();
        let overdue = self.overdue.first_key_value().map(|(id, _)| *id).filter(|id| *id <= scan);
        match (overdue, self.late.front()) {
            (Some(id), Some(late)) if late.id < id => self.late.pop_front(),
            (Some(_), _) => self.overdue.pop_first().map(|(_, row)| row),
            (None, _) => self.late.pop_front(),
        }
    }

    /// Answers fill a quarter of the window at most: a flood of commands, each answered that it
    /// is one, must leave room for live verdicts.
    fn next_reply(&mut self) -> Option<Vec<u8>> {
        let room = usize::from(self.limits.window / 4).max(1);
        if self.window.replies_len() < room { self.replies.pop_front() } else { None }
    }

    fn pump_bulk(&mut self, now: Nanos, out: &mut Vec<Action>) -> bool {
        if self.window.bulk_len() >= usize::from(self.limits.bulk_window) {
            return false;
        }
        if self.calibration_due {
            self.calibration_due = false;
            let payload = self.calibration.clone();
            self.hand_beside(now, Topic::Calibration, payload, out);
        } else if let Some(payload) = self.health.take() {
            self.hand_beside(now, Topic::Health, payload, out);
        } else if let Some(Bulk { topic, row, payload }) = self.bulk.pop_front() {
            self.hand(now, topic, Owner::Row(row), payload, out);
        } else if !self.share.is_open(now) {
            return false;
        } else if let Some(row) = self.next_late() {
            let topic = match row.kind {
                RowKind::Verdict | RowKind::LateResult => Topic::Hist,
                RowKind::Event => Topic::Event,
            };
            self.counters.late += u64::from(topic == Topic::Hist);
            self.hand(now, topic, Owner::Row(row.id), row.payload, out);
            if let Some(payload) = row.mask {
                self.queue_bulk(Topic::Mask, row.id, payload, out);
            }
        } else if let Some(row) = self.replay.pop() {
            self.hand(now, Topic::Hist, Owner::Replayed(row.id), row.payload, out);
        } else {
            return false;
        }
        true
    }

    /// What belongs to no row, unless it is so large that it would block the connection for ever:
    /// then it is left out, which is told once.
    fn hand_beside(&mut self, now: Nanos, topic: Topic, payload: Vec<u8>, out: &mut Vec<Action>) {
        let (bytes, bytes_max) = (payload.len(), self.limits.payload_bytes_max);
        if bytes <= bytes_max {
            self.hand(now, topic, Owner::Nobody, payload, out);
        } else if self.too_large_told.insert(topic.name(), bytes_max) != Some(bytes_max) {
            let topic = topic.name();
            out.push(Action::Report(Report::TooLarge { topic, bytes, bytes_max }));
        }
    }

    fn hand(
        &mut self,
        now: Nanos,
        topic: Topic,
        owner: Owner,
        payload: Vec<u8>,
        out: &mut Vec<Action>,
    ) {
        self.hand_publish(now, owner, Publish::new(topic, payload), out);
    }

    fn hand_publish(&mut self, now: Nanos, owner: Owner, publish: Publish, out: &mut Vec<Action>) {
        let topic = publish.topic;
        let urgent = match topic {
            Topic::Verdict | Topic::Binary | Topic::Last | Topic::State | Topic::Reply => true,
            Topic::Hist | Topic::Mask | Topic::Event | Topic::Health | Topic::Calibration => false,
            // Never acknowledged, so never here.
            Topic::Heartbeat(_) => true,
        };
        self.window.hand(Tag { owner, topic, bulk: !urgent }, now);
        self.counters.published += 1;
        out.push(Action::Publish(publish));
    }
}

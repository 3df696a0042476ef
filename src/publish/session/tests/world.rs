//! Session, journal, client and broker in one, each as simple as it can be.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::*;
use crate::publish::ReplayRange;
use crate::publish::limits::RANGE_ROWS;

/// Rows on a page of a replay: fewer than asked for, so that there are many pages.
const PAGE_ROWS_HERE: usize = 3;

/// The whole of it.
pub(super) struct World {
    pub(super) session: Session,
    pub(super) now: Nanos,
    pub(super) journal: BTreeMap<RowId, Row>,
    pub(super) newest: RowId,
    pub(super) up: bool,
    pub(super) next_packet: u16,
    /// Handed to the client, not yet on the wire.
    pub(super) queue: VecDeque<Publish>,
    /// At the broker, not acknowledged.
    pub(super) unacked: VecDeque<(u16, Publish)>,
    pub(super) seen: BTreeSet<(bool, RowId)>,
    pub(super) oversize: BTreeSet<(bool, RowId)>,
    pub(super) cursor: RowId,
    pub(super) live_last: RowId,
    pub(super) hist_last: RowId,
    pub(super) retained_state: Vec<u8>,
    pub(super) retained_last: RowId,
    pub(super) reports: Vec<Report>,
    pub(super) heartbeats: Vec<u64>,
    pub(super) live_count: usize,
    pub(super) hang_ups: usize,
    pub(super) read_fails: bool,
    /// Rows up to here were found received; that does not change.
    pub(super) checked: RowId,
    pub(super) replies: Vec<RowId>,
    /// Number of the newest calibration, and of the newest answer and metrics.
    pub(super) said: RowId,
    pub(super) sayings: RowId,
    pub(super) health: Vec<RowId>,
    pub(super) calibration: RowId,
    pub(super) binaries: BTreeSet<RowId>,
    /// The replay under way, and the newest row when it was asked for.
    pub(super) replay: Option<(ReplayRange, RowId)>,
    pub(super) again: BTreeSet<RowId>,
    pub(super) again_last: RowId,
    /// When the rows' times are over.
    pub(super) until: BTreeMap<RowId, Nanos>,
}

impl World {
    pub(super) fn new() -> Self {
        Self::of(Session::new(LIMITS, 0, b"state 0".to_vec(), true, 1))
    }

    pub(super) fn of(session: Session) -> Self {
        let mut world = Self {
            session,
            now: Nanos(1),
            journal: BTreeMap::new(),
            newest: 0,
            up: false,
            next_packet: 0,
            queue: VecDeque::new(),
            unacked: VecDeque::new(),
            seen: BTreeSet::new(),
            oversize: BTreeSet::new(),
            cursor: 0,
            live_last: 0,
            hist_last: 0,
            retained_state: Vec::new(),
            retained_last: 0,
            reports: Vec::new(),
            heartbeats: Vec::new(),
            live_count: 0,
            hang_ups: 0,
            read_fails: false,
            checked: 0,
            replies: Vec::new(),
            said: 0,
            sayings: 0,
            health: Vec::new(),
            calibration: 0,
            binaries: BTreeSet::new(),
            replay: None,
            again: BTreeSet::new(),
            again_last: 0,
            until: BTreeMap::new(),
        };
        world.feed(Event::Start);
        world
    }

    pub(super) fn feed(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let mut out = Vec::new();
            self.session.handle(self.now, event, &mut out);
            for action in out {
                self.perform(action, &mut events);
            }
        }
        self.check();
    }

    pub(super) fn perform(&mut self, action: Action, events: &mut VecDeque<Event>) {
        match action {
            Action::Connect { .. } => assert!(!self.up),
            Action::Disconnect(_) => {
                self.hang_ups += 1;
                self.cut();
                events.push_back(Event::Disconnected);
            }
            Action::Publish(publish) => {
                if let Topic::Heartbeat(count) = publish.topic {
                    return self.heartbeats.push(count);
                }
                assert!(publish.payload.len() <= LIMITS.payload_bytes_max);
                if matches!(publish.topic, Topic::Verdict | Topic::Binary) {
                    let id = number(&publish.payload);
                    let left = self.until.get(&id).map(|until| until.0.checked_sub(self.now.0));
                    let left = left.map(|left| Nanos(left.expect("live after its time")));
                    assert_eq!(publish.lasts, left, "row {id} says how long it is of use");
                }
                if self.up {
                    self.queue.push_back(publish);
                }
            }
            Action::ReadBacklog { .. } if std::mem::take(&mut self.read_fails) => {
                events.push_back(Event::BacklogFailed);
            }
            Action::ReadBacklog { after, limit } => {
                let rows = self.journal.range(after + 1..).take(limit).map(|(_, r)| r.clone());
                events.push_back(Event::Backlog(rows.collect()));
            }
            Action::ReadRange { .. } if std::mem::take(&mut self.read_fails) => {
                events.push_back(Event::RangeFailed);
            }
            Action::ReadRange { range, after, limit } => {
                assert_eq!(limit, RANGE_ROWS);
                events.push_back(self.page(&range, after));
            }
            Action::CommitCursor(cursor) => {
                assert!(cursor > self.cursor, "the cursor goes forward");
                self.cursor = cursor;
            }
            Action::Report(report) => {
                if let Report::Undeliverable { row, mask, .. } = report {
                    self.oversize.insert((mask, row));
                }
                if let Report::Replayed { range, rows } = report {
                    self.replayed(&range, rows);
                }
                self.reports.push(report);
            }
        }
    }

    /// The journal's answer: numbers of rows and of results are the same here, and what is sent
    /// again says so.
    fn page(&self, range: &ReplayRange, after: Option<RowId>) -> Event {
        let after = after.unwrap_or(RowId::from(range.first) - 1);
        let last = RowId::from(range.last);
        let mut page: Vec<Row> = self
            .journal
            .range(after + 1..)
            .take(PAGE_ROWS_HERE)
            .map(|(_, row)| row.clone())
            .collect();
        let whole = page.len() == PAGE_ROWS_HERE && page.iter().all(|row| row.id <= last);
        let next = page.last().filter(|_| whole).map(|row| row.id);
        page.retain(|row| row.id <= last && row.kind == RowKind::Verdict);
        for row in &mut page {
            if row.payload.len() <= LIMITS.payload_bytes_max {
                row.payload = format!("again {}", row.id).into_bytes();
            }
        }
        Event::Range { rows: page, next }
    }

    /// A replay that is over has brought everything of it that was and is in the journal.
    fn replayed(&mut self, range: &ReplayRange, rows: u64) {
        let (asked, newest) = self.replay.take().expect("asked for");
        assert_eq!(asked, *range);
        let numbers = RowId::from(range.first)..=RowId::from(range.last).min(newest);
        if !numbers.is_empty() {
            let sendable = |row: &Row| {
                row.kind == RowKind::Verdict && row.payload.len() <= LIMITS.payload_bytes_max
            };
            for (id, _) in self.journal.range(numbers).filter(|(_, row)| sendable(row)) {
                assert!(self.again.contains(id), "row {id} was not sent again");
            }
        }
        assert!(rows <= self.again.len() as u64, "{rows} counted, {} came", self.again.len());
        self.again.clear();
    }

    pub(super) fn reply(&mut self) {
        self.sayings += 1;
        self.feed(Event::Reply(format!("reply {}", self.sayings).into_bytes()));
    }

    pub(super) fn tell_health(&mut self) {
        self.sayings += 1;
        self.feed(Event::Health(format!("health {}", self.sayings).into_bytes()));
    }

    pub(super) fn calibrate(&mut self) {
        self.said += 1;
        self.feed(Event::Calibration(format!("calibration {}", self.said).into_bytes()));
    }

    pub(super) fn ask_again(&mut self, first: u32, last: u32) {
        if self.session.can_replay() {
            let range = ReplayRange { id: 1, epoch: 1, first, last };
            self.replay = Some((range, self.newest));
            self.again_last = 0;
            self.feed(Event::Replay(range));
        }
    }

    /// What must hold at every moment.
    pub(super) fn check(&mut self) {
        let in_flight: Vec<_> =
            self.queue.iter().chain(self.unacked.iter().map(|(_, publish)| publish)).collect();
        assert!(in_flight.len() <= usize::from(LIMITS.window), "window");
        let bulk = |p: &&&Publish| {
            use Topic::{Calibration, Event, Health, Hist, Mask};
            matches!(p.topic, Hist | Mask | Event | Health | Calibration)
        };
        let replies = in_flight.iter().filter(|p| p.topic == Topic::Reply).count();
        assert!(replies <= usize::from(LIMITS.window) / 4, "replies leave room");
        assert!(in_flight.iter().filter(bulk).count() <= usize::from(LIMITS.bulk_window), "share");
        assert!(self.session.live.len() + self.session.overdue.len() <= LIMITS.live_rows_max);
        let told = self.cursor.max(self.session.cursor());
        for (id, row) in self.journal.range(self.checked + 1..).take_while(|(id, _)| **id <= told) {
            for mask in [false, true].into_iter().take(1 + usize::from(row.mask.is_some())) {
                let key = (mask, *id);
                assert!(
                    self.seen.contains(&key) || self.oversize.contains(&key),
                    "row {id} (mask: {mask}) was never received, yet the cursor is {told}"
                );
            }
        }
        self.checked = self.checked.max(told);
    }

    pub(super) fn commit(&mut self, mask: bool, announce: bool) {
        self.commit_row(row(self.newest + 1, mask), announce);
    }

    pub(super) fn commit_row(&mut self, row: Row, announce: bool) {
        self.newest = row.id;
        self.journal.insert(row.id, row.clone());
        if announce {
            let until = self.until.get(&row.id).copied();
            self.feed(Event::Live { row, until });
        }
    }

    /// An announced row whose time is over after `ms`.
    pub(super) fn commit_for(&mut self, ms: u64, mask: bool) {
        self.until.insert(self.newest + 1, self.now.plus_ms(ms));
        self.commit(mask, true);
    }

    pub(super) fn connect(&mut self) {
        if !self.up {
            self.up = true;
            self.next_packet = 0;
            (self.live_last, self.hist_last, self.again_last) = (0, 0, 0);
            self.feed(Event::Connected { newest: self.newest });
        }
    }

    pub(super) fn cut(&mut self) {
        self.up = false;
        self.queue.clear();
        self.unacked.clear();
    }

    pub(super) fn disconnect(&mut self) {
        if self.up {
            self.cut();
            self.feed(Event::Disconnected);
        }
    }

    /// The client writes its oldest publish to the wire; `arrives` says whether the broker got it.
    pub(super) fn send(&mut self, arrives: bool) {
        let Some(publish) = self.queue.pop_front() else { return };
        self.next_packet = self.next_packet % PACKET_IDS + 1;
        let id = self.next_packet;
        if arrives {
            self.receive(&publish);
        }
        self.unacked.push_back((id, publish));
        self.feed(Event::Sent(id));
        if !arrives {
            // On a stream nothing after a lost byte arrives: the connection is as good as gone.
            self.disconnect();
        }
    }

    pub(super) fn receive(&mut self, publish: &Publish) {
        match publish.topic {
            Topic::Verdict => {
                let id = number(&publish.payload);
                assert!(id > self.live_last, "live rows come in order: {id}");
                self.live_last = id;
                self.live_count += 1;
                self.seen.insert((false, id));
            }
            Topic::Hist if publish.payload.starts_with(b"again") => {
                let id = number(&publish.payload);
                assert!(id > self.again_last, "what is sent again comes in order: {id}");
                self.again_last = id;
                self.again.insert(id);
            }
            Topic::Hist => {
                let id = number(&publish.payload);
                assert!(id > self.hist_last, "late rows come in order: {id}");
                self.hist_last = id;
                self.seen.insert((false, id));
            }
            Topic::Event => {
                self.seen.insert((false, number(&publish.payload)));
            }
            Topic::Mask => {
                self.seen.insert((true, number(&publish.payload)));
            }
            Topic::State => self.retained_state = publish.payload.clone(),
            Topic::Last => {
                let id = number(&publish.payload);
                assert!(id >= self.retained_last, "the newest verdict never goes back");
                self.retained_last = id;
            }
            Topic::Binary => {
                let id = number(&publish.payload);
                assert_eq!(id, self.live_last, "the binary form follows its verdict");
                self.binaries.insert(id);
            }
            Topic::Reply => {
                let id = number(&publish.payload);
                assert!(self.replies.last() < Some(&id), "answers come once and in order: {id}");
                self.replies.push(id);
            }
            Topic::Health => self.health.push(number(&publish.payload)),
            Topic::Calibration => self.calibration = number(&publish.payload),
            Topic::Heartbeat(_) => {}
        }
    }

    pub(super) fn acknowledge(&mut self, at: usize, twice: bool) {
        if self.unacked.is_empty() {
            return;
        }
        let (id, _) = self.unacked.remove(at % self.unacked.len()).unwrap();
        self.feed(Event::Acked(id));
        if twice && self.up {
            self.feed(Event::Acked(id));
            assert!(!self.up, "a doubled acknowledgement ends the connection");
        }
    }

    pub(super) fn wait(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        self.feed(Event::Tick { newest: self.newest });
    }

    /// A broker and a network without faults.
    pub(super) fn heal(&mut self) {
        for _ in 0..10_000 {
            if self.session.is_drained(self.newest) && self.session.can_replay() && self.up {
                return;
            }
            self.connect();
            while !self.queue.is_empty() {
                self.send(true);
            }
            while !self.unacked.is_empty() {
                self.acknowledge(0, false);
            }
            self.wait(50);
        }
        panic!("never drained, cursor {} of {}", self.session.cursor(), self.newest);
    }
}

//! The publisher's thread and its client library around the real session
//! (`src/publish/client.rs`, `src/publish/link.rs`).

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use crrd::frame::Nanos;
use crrd::journal::{self, Entry};
use crrd::message::{decode_command, encode_heartbeat, encode_offline, encode_reply};
use crrd::publish::session::{self, Action, Event, Publish, Session};
use crrd::publish::{Report, Row, RowId, RowKind};
use crrd::station;

use super::net::{ConnId, Down, Topic, Up, Who};
use super::plan::{Defect, Plan};
use super::process::Ending;
use super::store::Store;
use super::world::{Ev, World};

/// Time between ticks of the session.
const TICK_MS: u64 = 50;
/// Announced rows on their way to the publisher.
const ROWS_MAX: usize = 1_024;
/// Packet ids in rotation.
const PACKET_IDS: u16 = 1_000;
/// Requests besides the window.
const SPARE_REQUESTS: usize = 64;
/// Events of the outside taken in one go.
const BURST_MAX: usize = 128;
/// Longest goodbye.
const FLUSH_MS: u64 = 1_500;

/// What the connection's task reports.
#[derive(Clone, Debug)]
enum LinkEvent {
    Connected,
    Sent(u16),
    Acked(u16),
    Lost(&'static str),
}

/// The client library's side of one connection.
#[derive(Debug)]
struct Link {
    conn: ConnId,
    connected: bool,
    queue: VecDeque<Publish>,
    writing: bool,
    next_id: u16,
    unacked: BTreeSet<u16>,
    /// The library has given up; nothing follows.
    ended: bool,
}

#[derive(Debug)]
enum Line {
    Waiting(Nanos),
    Open(Link),
}

pub(crate) struct Publisher {
    pub(crate) session: Session,
    line: Line,
    events: VecDeque<Event>,
    link_events: VecDeque<LinkEvent>,
    rows: VecDeque<Row>,
    /// A new state that the session has not seen.
    pub(crate) state: Option<Vec<u8>>,
    woken: bool,
    reconnects: u32,
    skip_next: bool,
    flush_until: Option<Nanos>,
}

impl Publisher {
    pub(crate) fn new(plan: &Plan, cursor: RowId, now: Nanos) -> Self {
        let session = Session::new(plan.limits, cursor, vec![], true, plan.seed);
        Self {
            session,
            line: Line::Waiting(now),
            events: VecDeque::new(),
            link_events: VecDeque::new(),
            rows: VecDeque::new(),
            state: None,
            woken: false,
            reconnects: 0,
            skip_next: false,
            flush_until: None,
        }
    }

    pub(crate) fn conn(&self) -> Option<ConnId> {
        match &self.line {
            Line::Open(link) => Some(link.conn),
            Line::Waiting(_) => None,
        }
    }

    pub(crate) fn is_at_rest(&self) -> bool {
        self.rows.is_empty() && self.state.is_none() && self.session.is_up()
    }

    /// The journal's thread tells of committed rows; what finds no room is found by the session.
    pub(crate) fn announce(&mut self, first: RowId, entries: &[Entry]) {
        for (id, entry) in (first..).zip(entries) {
            if self.rows.len() < ROWS_MAX {
                let (payload, mask) = (entry.payload.clone(), entry.mask.clone());
                self.rows.push_back(Row { id, kind: kind(entry.kind), payload, mask });
            }
        }
    }
}

fn kind(kind: journal::RowKind) -> RowKind {
    match kind {
        journal::RowKind::Verdict => RowKind::Verdict,
        journal::RowKind::Event => RowKind::Event,
        journal::RowKind::LateResult => RowKind::LateResult,
    }
}

fn topic_of(topic: session::Topic) -> Topic {
    match topic {
        session::Topic::Verdict => Topic::Verdict,
        session::Topic::Last => Topic::Last,
        session::Topic::State => Topic::State,
        session::Topic::Heartbeat(_) => Topic::Heartbeat,
        session::Topic::Hist => Topic::Hist,
        session::Topic::Mask => Topic::Mask,
        session::Topic::Event => Topic::Event,
    }
}

impl<S: Store> World<S> {
    fn publisher(&mut self) -> Option<&mut Publisher> {
        self.process.as_mut().map(|process| &mut process.publisher)
    }

    pub(crate) fn publisher_starts(&mut self) {
        let boot = self.boot;
        self.handle(Event::Start);
        self.wake_publisher();
        self.after_ms(TICK_MS, Ev::PublisherTick(boot));
    }

    /// The thread has something to do; it gets to it soon.
    pub(crate) fn wake_publisher(&mut self) {
        let us = self.rng.between((5, 400));
        let (boot, at) = (self.boot, Nanos(self.now.0 + us * 1_000));
        let Some(publisher) = self.publisher() else { return };
        if !std::mem::replace(&mut publisher.woken, true) {
            self.at(at, Ev::Publisher(boot));
        }
    }

    /// One round over everything that waits, in an order that nobody promises.
    pub(crate) fn publish_round(&mut self) {
        if let Some(publisher) = self.publisher() {
            publisher.woken = false;
        }
        let first = self.rng.below(3);
        for source in 0..3 {
            match (first + source) % 3 {
                0 => self.take_link_events(),
                1 => self.take_rows(),
                _ => self.take_state(),
            }
        }
        self.flush_goes_on();
    }

    fn take_link_events(&mut self) {
        for _ in 0..BURST_MAX {
            let Some(event) = self.publisher().and_then(|p| p.link_events.pop_front()) else {
                return;
            };
            match event {
                LinkEvent::Connected => {
                    if let Some(publisher) = self.publisher() {
                        publisher.reconnects += 1;
                        publisher.skip_next = true;
                    }
                    let newest = self.store.newest();
                    if self.plan.is(Defect::CursorRunsAhead) {
                        self.store.acknowledge(newest);
                    }
                    self.handle(Event::Connected { newest });
                }
                LinkEvent::Sent(id) => self.handle(Event::Sent(id)),
                LinkEvent::Acked(id) => self.handle(Event::Acked(id)),
                LinkEvent::Lost(why) => {
                    self.lose_line(why);
                    self.handle_queued();
                }
            }
        }
        self.wake_publisher();
    }

    fn take_rows(&mut self) {
        for _ in 0..BURST_MAX {
            let Some(row) = self.publisher().and_then(|p| p.rows.pop_front()) else { return };
            self.handle(Event::Live(row));
        }
        self.wake_publisher();
    }

    fn take_state(&mut self) {
        if let Some(state) = self.publisher().and_then(|p| p.state.take()) {
            self.handle(Event::State(state));
        }
    }

    pub(crate) fn publisher_tick(&mut self) {
        let (boot, newest) = (self.boot, self.store.newest());
        self.handle(Event::Tick { newest });
        self.take_reports();
        self.flush_goes_on();
        self.after_ms(TICK_MS, Ev::PublisherTick(boot));
    }

    fn take_reports(&mut self) {
        let late = self.process.as_ref().is_some_and(|p| p.ending != Ending::No);
        if late {
            self.reports.clear();
        }
        for report in std::mem::take(&mut self.reports) {
            self.told += 1;
            let text = format!("{report:?} {}", self.told);
            if let Some(process) = &mut self.process {
                let kind = "takeover";
                let epoch = process.epoch;
                let event =
                    crrd::message::Event { epoch, kind, range: None, count: 1, text: &text };
                process.notices.push_back(crrd::message::encode_event(&event).into_bytes());
            }
        }
    }

    fn handle(&mut self, event: Event) {
        if let Some(publisher) = self.publisher() {
            publisher.events.push_back(event);
        }
        self.handle_queued();
    }

    fn handle_queued(&mut self) {
        let now = self.now;
        while let Some(publisher) = self.publisher() {
            let Some(event) = publisher.events.pop_front() else { return };
            let mut actions = vec![];
            publisher.session.handle(now, event, &mut actions);
            for action in actions {
                self.perform(action);
            }
        }
    }

    fn perform(&mut self, action: Action) {
        let boot = self.boot;
        match action {
            Action::Connect { after_ms } => {
                let at = self.now.plus_ms(after_ms);
                let Some(publisher) = self.publisher() else { return };
                publisher.line = Line::Waiting(at);
                if publisher.reconnects == 0 || !self.plan.is(Defect::NeverReconnects) {
                    self.at(at, Ev::Dial(boot));
                }
            }
            Action::Disconnect(why) => self.lose_line(why),
            Action::Publish(publish) => self.queue(publish),
            Action::ReadBacklog { after, limit } => self.read_backlog(after, limit),
            Action::CommitCursor(cursor) => self.store.acknowledge(cursor),
            Action::Report(report) => self.report(report),
        }
    }

    fn report(&mut self, report: Report) {
        if let Report::Undeliverable { row, .. } = report {
            self.oracle.fail(|| format!("row {row} was called undeliverable"));
        }
        self.reports.push(report);
    }

    fn read_backlog(&mut self, after: RowId, limit: usize) {
        let fails = self.now < self.reads_fail_until;
        let mut rows = if fails { vec![] } else { self.store.after(after, limit) };
        let skips = self.plan.is(Defect::BacklogSkips);
        let Some(publisher) = self.publisher() else { return };
        if skips && std::mem::take(&mut publisher.skip_next) && !rows.is_empty() {
            rows.remove(0);
        }
        publisher.events.push_back(if fails {
            Event::BacklogFailed
        } else {
            let row = |r: journal::Row| Row {
                id: r.id,
                kind: kind(r.kind),
                payload: r.payload,
                mask: r.mask,
            };
            Event::Backlog(rows.into_iter().map(row).collect())
        });
    }

    fn lose_line(&mut self, why: &'static str) {
        let now = self.now;
        let Some(publisher) = self.publisher() else { return };
        let conn = publisher.conn();
        publisher.line = Line::Waiting(now);
        publisher.link_events.clear();
        publisher.events.push_back(Event::Disconnected);
        self.say(|| format!("station: connection {conn:?} ends: {why}"));
        if let Some(conn) = conn {
            self.hang_up(conn, false);
        }
    }

    // --- the client library ---

    pub(crate) fn dial_out(&mut self) {
        let now = self.now;
        let due = match self.publisher().map(|publisher| &publisher.line) {
            Some(Line::Waiting(at)) => *at <= now,
            _ => false,
        };
        if !due {
            return;
        }
        let epoch = self.process.as_ref().map_or(0, |process| process.epoch);
        let will = Some(Rc::new(encode_offline(epoch).into_bytes()));
        let conn = self.dial(Who::Station, Up::Connect { clean: true, will });
        if let Some(publisher) = self.publisher() {
            publisher.line = Line::Open(Link {
                conn,
                connected: false,
                queue: VecDeque::new(),
                writing: false,
                next_id: 0,
                unacked: BTreeSet::new(),
                ended: false,
            });
        }
    }

    fn queue(&mut self, publish: Publish) {
        let us = self.rng.between((1, 100));
        let (boot, at) = (self.boot, Nanos(self.now.0 + us * 1_000));
        let room = usize::from(self.plan.limits.window) + SPARE_REQUESTS;
        let full = std::mem::take(&mut self.queue_full);
        let Some(publisher) = self.publisher() else { return };
        let Line::Open(link) = &mut publisher.line else { return };
        if link.queue.len() >= room || full {
            return self.lose_line("the client's queue is full");
        }
        link.queue.push_back(publish);
        let conn = link.conn;
        if !std::mem::replace(&mut link.writing, true) {
            self.at(at, Ev::Write(boot, conn));
        }
    }

    /// The library writes what is queued to its socket.
    pub(crate) fn write_out(&mut self, conn: ConnId) {
        let Some(publisher) = self.publisher() else { return };
        let Line::Open(link) = &mut publisher.line else { return };
        if link.conn != conn || link.ended {
            return;
        }
        link.writing = false;
        let mut packets = vec![];
        for publish in link.queue.drain(..) {
            let Publish { topic, payload } = publish;
            let mut id = 0;
            let payload = match topic {
                session::Topic::Heartbeat(count) => encode_heartbeat(count).into_bytes(),
                _ => payload,
            };
            if !matches!(topic, session::Topic::Heartbeat(_)) {
                link.next_id = link.next_id % PACKET_IDS + 1;
                id = link.next_id;
                link.unacked.insert(id);
                publisher.link_events.push_back(LinkEvent::Sent(id));
            }
            packets.push(Up::Publish { id, topic: topic_of(topic), payload: Rc::new(payload) });
        }
        for packet in packets {
            self.send_up(conn, packet);
        }
        self.wake_publisher();
    }

    /// A packet from the broker.
    pub(crate) fn link_takes(&mut self, conn: ConnId, packet: Down) {
        // Some libraries pass on what they cannot place, some give up themselves.
        let strict = self.plan.seed.is_multiple_of(2);
        let Some(publisher) = self.publisher() else { return };
        let Line::Open(link) = &mut publisher.line else { return };
        if link.conn != conn || link.ended {
            return;
        }
        match packet {
            Down::Connected => {
                link.connected = true;
                publisher.link_events.push_back(LinkEvent::Connected);
                self.send_up(conn, Up::Subscribe);
            }
            Down::Subscribed => {}
            Down::Ack(id) => {
                if link.unacked.remove(&id) || !strict {
                    publisher.link_events.push_back(LinkEvent::Acked(id));
                } else {
                    link.ended = true;
                    publisher.link_events.push_back(LinkEvent::Lost("unsolicited"));
                }
            }
            Down::Message { id, payload, .. } => {
                if id != 0 {
                    self.send_up(conn, Up::Ack(id));
                }
                self.command(conn, &payload);
            }
        }
        self.wake_publisher();
    }

    /// A command reaches the station; its answer goes out on the same connection.
    fn command(&mut self, conn: ConnId, payload: &[u8]) {
        let event = match decode_command(payload) {
            Ok(request) => station::Event::Command(request),
            Err(refusal) => station::Event::Refused(refusal),
        };
        let out = self.step(event);
        for action in out {
            match action {
                station::Action::Reply(reply) | station::Action::Replay { reply, .. } => {
                    let payload = Rc::new(encode_reply(&reply).into_bytes());
                    self.send_up(conn, Up::Publish { id: 0, topic: Topic::Reply, payload });
                }
                station::Action::Fire => {
                    let us = self.rng.between((100, 3_000));
                    self.at(Nanos(self.now.0 + us * 1_000), Ev::Fire);
                }
                _ => {}
            }
        }
    }

    pub(crate) fn link_lost(&mut self, conn: ConnId, why: &'static str) {
        let Some(publisher) = self.publisher() else { return };
        let Line::Open(link) = &mut publisher.line else { return };
        if link.conn == conn && !std::mem::replace(&mut link.ended, true) {
            publisher.link_events.push_back(LinkEvent::Lost(why));
            self.wake_publisher();
        }
    }

    /// Nothing came back after the connect.
    pub(crate) fn link_no_answer(&mut self, conn: ConnId) {
        let Some(publisher) = self.publisher() else { return };
        let Line::Open(link) = &publisher.line else { return };
        if link.conn == conn && !link.connected {
            self.link_lost(conn, "no answer to the connect");
        }
    }

    // --- goodbye ---

    /// Delivers what can be delivered, says offline, disconnects.
    pub(crate) fn flush(&mut self) {
        let until = self.now.plus_ms(FLUSH_MS);
        if let Some(publisher) = self.publisher() {
            publisher.flush_until = Some(until);
        }
        self.wake_publisher();
    }

    fn flush_goes_on(&mut self) {
        let (now, newest) = (self.now, self.store.newest());
        let Some(process) = &mut self.process else { return };
        let epoch = process.epoch;
        let publisher = &mut process.publisher;
        let Some(until) = publisher.flush_until else { return };
        let half = Nanos(until.0.saturating_sub(FLUSH_MS * 500_000));
        let saying_goodbye = process.ending == Ending::Leaving;
        if !saying_goodbye && (publisher.session.is_drained(newest) || now >= half) {
            process.ending = Ending::Leaving;
            publisher.session.stop_rows();
            self.handle(Event::State(encode_offline(epoch).into_bytes()));
            return self.wake_publisher();
        }
        let quiet = publisher.session.is_quiet() || !publisher.session.is_up();
        if saying_goodbye && (quiet || now >= until) {
            self.leaves();
        }
    }

    /// The process ends in order; a new one follows.
    fn leaves(&mut self) {
        let Some(process) = &self.process else { return };
        let conn = process.publisher.conn();
        self.store.close();
        self.say(|| "station left in order".to_owned());
        self.process = None;
        if let Some(conn) = conn {
            self.hang_up(conn, true);
        }
        self.starts_again();
    }
}

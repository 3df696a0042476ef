//! The publisher's thread around the real session (`src/publish/client/mod.rs`).

use std::collections::VecDeque;

use crrd::frame::Nanos;
use crrd::journal::{self, Entry};
use crrd::message::encode_offline;
use crrd::publish::session::{Action, Event, Session};
use crrd::publish::{ReplayRange, Report, Row, RowId, RowKind};

use super::link::{Line, LinkEvent};
use super::net::ConnId;
use super::plan::{Defect, Plan};
use super::process::Ending;
use super::store::Store;
use super::world::{Ev, World};

/// Time between ticks of the session.
const TICK_MS: u64 = 50;
/// Announced rows on their way to the publisher.
const ROWS_MAX: usize = 1_024;
/// Events of the outside taken in one go.
const BURST_MAX: usize = 128;
/// Longest goodbye.
const FLUSH_MS: u64 = 1_500;

pub(crate) struct Publisher {
    pub(crate) session: Session,
    pub(crate) line: Line,
    pub(crate) events: VecDeque<Event>,
    pub(crate) link_events: VecDeque<LinkEvent>,
    /// Announced rows, and when their time is over.
    pub(crate) rows: VecDeque<(Row, Option<Nanos>)>,
    /// A new state that the session has not seen.
    pub(crate) state: Option<Vec<u8>>,
    /// Answers to commands that the session has not seen.
    pub(crate) replies: VecDeque<Vec<u8>>,
    /// The newest of them; only a defect looks at it.
    pub(crate) last_reply: Option<Vec<u8>>,
    /// Ranges that wait for the one under way.
    pub(crate) replays: VecDeque<ReplayRange>,
    pub(crate) woken: bool,
    pub(crate) reconnects: u32,
    pub(crate) skip_next: bool,
    pub(crate) flush_until: Option<Nanos>,
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
            replies: VecDeque::new(),
            last_reply: None,
            replays: VecDeque::new(),
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
        let nothing_waits = self.rows.is_empty()
            && self.state.is_none()
            && self.replies.is_empty()
            && self.replays.is_empty();
        nothing_waits && self.session.is_up()
    }

    /// The journal's thread tells of committed rows; what finds no room is found by the session.
    pub(crate) fn announce(&mut self, id: RowId, entry: &Entry, until: Option<Nanos>) {
        if self.rows.len() < ROWS_MAX {
            let (payload, mask) = (entry.payload.clone(), entry.mask.clone());
            self.rows.push_back((Row { id, kind: kind(entry.kind), payload, mask }, until));
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

impl<S: Store> World<S> {
    pub(crate) fn publisher(&mut self) -> Option<&mut Publisher> {
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
        let first = self.rng.below(5);
        for source in 0..5 {
            match (first + source) % 5 {
                0 => self.take_link_events(),
                1 => self.take_rows(),
                2 => self.take_replies(),
                3 => self.take_replay(),
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
                    let last = self.publisher().and_then(|p| p.last_reply.clone());
                    if let (true, Some(last)) = (self.plan.is(Defect::AnswerRepeated), last) {
                        self.handle(Event::Reply(last));
                    }
                }
                LinkEvent::Sent(id) => self.handle(Event::Sent(id)),
                LinkEvent::Acked(id) => self.handle(Event::Acked(id)),
                LinkEvent::Message(payload) => self.command_comes(payload),
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
            let next = self.publisher().and_then(|p| p.rows.pop_front());
            let Some((row, until)) = next else { return };
            let until = until.filter(|_| !self.plan.is(Defect::NothingIsOverdue));
            self.handle(Event::Live { row, until });
        }
        self.wake_publisher();
    }

    pub(crate) fn take_state(&mut self) {
        if let Some(state) = self.publisher().and_then(|p| p.state.take()) {
            self.handle(Event::State(state));
        }
    }

    pub(crate) fn publisher_tick(&mut self) {
        let (boot, newest) = (self.boot, self.store.newest());
        self.handle(Event::Tick { newest });
        self.count_answers();
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

    pub(crate) fn handle(&mut self, event: Event) {
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
            Action::ReadRange { range, after, limit } => self.read_range(&range, after, limit),
            Action::CommitCursor(cursor) => self.store.acknowledge(cursor),
            Action::Report(report) => self.report(report),
        }
    }

    fn report(&mut self, report: Report) {
        if let Report::Undeliverable { row, .. } = report {
            self.oracle.fail(|| format!("row {row} was called undeliverable"));
        }
        if let Report::Replayed { range, rows } = report {
            self.replay_is_over(&range, rows);
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

    pub(crate) fn lose_line(&mut self, why: &'static str) {
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

    /// Delivers what can be delivered, says offline, disconnects.
    pub(crate) fn flush(&mut self) {
        let until = self.now.plus_ms(FLUSH_MS);
        self.take_replies();
        if let Some(publisher) = self.publisher() {
            publisher.flush_until = Some(until);
            publisher.session.cancel_replay();
            publisher.replays.clear();
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

//! The publisher's thread: joins session, connection, outbox and clock. No decisions here.

mod tell;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel as channel;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::link::{Link, LinkEvent, Message};
use super::publisher::{Announced, Flush, Flushed, Saying, Shared};
use super::session::{Action, Event, Session};
use super::types::{Inbound, Outbox, RangePage, ReplayRange, Report, RowId, Settings};
use crate::frame::Nanos;

/// Time between ticks of the session, in milliseconds; finer than every wait it keeps.
const TICK_MS: u64 = 50;
/// Events taken in one go before the other sources get their turn.
const BURST_MAX: usize = 128;
/// Longest wait for the farewell to the broker, within the flush time.
const FAREWELL_MAX: Duration = Duration::from_millis(1_000);

/// Time without subscriptions after a message that broke the connection by its size: a minute of
/// verdicts for a moment of trouble.
const DEAF_AFTER_OVERRUN: Duration = Duration::from_secs(60);

/// What reaches the thread from outside.
pub(super) struct Inbox {
    pub(super) rows: mpsc::Receiver<Announced>,
    pub(super) flush: mpsc::Receiver<Flush>,
    pub(super) state: watch::Receiver<Vec<u8>>,
    pub(super) calibration: watch::Receiver<Vec<u8>>,
    pub(super) sayings: mpsc::Receiver<Saying>,
    pub(super) replays: mpsc::Receiver<ReplayRange>,
    pub(super) inbound: channel::Sender<Inbound>,
    pub(super) reports: channel::Sender<Report>,
    pub(super) shared: Arc<Shared>,
}

/// Runs until it is flushed or the publisher is dropped.
pub(super) async fn run(settings: Settings, outbox: Box<dyn Outbox>, inbox: Inbox) {
    let mut shell = Shell::new(settings, outbox, &inbox);
    let Inbox { mut rows, mut flush, mut state, mut calibration, .. } = inbox;
    let Inbox { mut sayings, mut replays, .. } = inbox;
    let mut tick = interval(Duration::from_millis(TICK_MS));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    shell.handle(Event::Calibration(calibration.borrow_and_update().clone()));
    shell.handle(Event::Start);
    let order = loop {
        tokio::select! {
            event = shell.link_event() => shell.link_burst(event),
            row = rows.recv() => match row {
                Some(row) => shell.row_burst(row, &mut rows),
                None => return,
            },
            order = flush.recv() => match order {
                Some(order) => break order,
                None => return,
            },
            changed = state.changed() => match changed {
                Ok(()) => {
                    let payload = state.borrow_and_update().clone();
                    shell.handle(Event::State(payload));
                }
                Err(_) => return,
            },
            changed = calibration.changed() => match changed {
                Ok(()) => {
                    let payload = calibration.borrow_and_update().clone();
                    shell.handle(Event::Calibration(payload));
                }
                Err(_) => return,
            },
            saying = sayings.recv() => match saying {
                Some(Saying::Reply(payload)) => shell.reply(payload, &mut state),
                Some(Saying::Health(payload)) => shell.handle(Event::Health(payload)),
                None => return,
            },
            range = replays.recv(), if shell.session.can_replay() => match range {
                Some(range) => shell.handle(Event::Replay(range)),
                None => return,
            },
            _ = tick.tick() => shell.tick(),
        }
        shell.tell_health();
    };
    // Answers and rows handed over before the order still count.
    while let Ok(saying) = sayings.try_recv() {
        if let Saying::Reply(payload) = saying {
            shell.reply(payload, &mut state);
        }
    }
    shell.session.cancel_replay();
    if let Ok(row) = rows.try_recv() {
        shell.row_burst(row, &mut rows);
    }
    let flushed = shell.flush(order.wait, order.offline).await;
    let _ = order.done.send(flushed);
}

/// Where the connection is.
enum Line {
    /// To be made at this time.
    Waiting(Instant),
    Open(Box<Link>),
}

struct Shell {
    settings: Settings,
    outbox: Box<dyn Outbox>,
    session: Session,
    line: Line,
    started: Instant,
    events: VecDeque<Event>,
    actions: Vec<Action>,
    reports: channel::Sender<Report>,
    inbound: channel::Sender<Inbound>,
    /// Messages that nobody took.
    unheard: u64,
    shared: Arc<Shared>,
    outbox_failed: bool,
    /// The broker has the DISCONNECT packet.
    closed: bool,
    /// Topics that were refused at the last connection: told when they change.
    refused: Vec<String>,
    /// Refused publishes that were told, by topic.
    refusals: BTreeMap<&'static str, &'static str>,
    /// No subscription before this time: what came there broke the connection.
    deaf_until: Option<Instant>,
}

impl Shell {
    fn new(settings: Settings, outbox: Box<dyn Outbox>, inbox: &Inbox) -> Self {
        let session = Session::new(
            settings.limits,
            outbox.cursor(),
            settings.state.clone(),
            settings.topics.last.is_some(),
            seed(&settings.client_id),
        )
        .with_binary(settings.binary.is_some());
        let started = Instant::now();
        Self {
            settings,
            outbox,
            session,
            line: Line::Waiting(started),
            started,
            events: VecDeque::new(),
            actions: Vec::new(),
            reports: inbox.reports.clone(),
            inbound: inbox.inbound.clone(),
            unheard: 0,
            shared: inbox.shared.clone(),
            outbox_failed: false,
            closed: false,
            refused: Vec::new(),
            refusals: BTreeMap::new(),
            deaf_until: None,
        }
    }

    /// The next event of the connection, making it first when its time has come. May be
    /// cancelled at any point: everything that takes time happens in the connection's own task.
    async fn link_event(&mut self) -> LinkEvent {
        if let Line::Waiting(at) = self.line {
            sleep_until(at).await;
            self.line = Line::Open(Box::new(Link::open(&self.settings, self.deaf_until.is_none())));
        }
        match &mut self.line {
            Line::Open(link) => link.event().await,
            Line::Waiting(_) => std::future::pending().await,
        }
    }

    fn link_burst(&mut self, first: LinkEvent) {
        let mut next = Some(first);
        for _ in 0..BURST_MAX {
            let Some(event) = next else { break };
            self.link_handle(event);
            next = match &mut self.line {
                Line::Open(link) => link.try_event(),
                Line::Waiting(_) => None,
            };
        }
    }

    fn link_handle(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Connected(offer) => {
                tracing::info!(broker = %self.broker(), "connected to the broker");
                self.session.narrow(offer);
                let newest = self.outbox.newest();
                self.handle(Event::Connected { newest });
            }
            LinkEvent::Sent(id) => self.handle(Event::Sent(id)),
            LinkEvent::Acked(id) => self.handle(Event::Acked(id)),
            LinkEvent::Refused { id, reason } => self.handle(Event::Refused { id, reason }),
            LinkEvent::Subscribed { refused } => self.subscribed(refused),
            LinkEvent::Message(Message { topic, payload, retained }) => {
                self.heard(topic, payload, retained);
            }
            LinkEvent::MessageTooLarge { topic, bytes } => {
                tracing::warn!(topic, bytes, "a message too large to be a command");
                self.heard(topic, Vec::new(), false);
            }
            LinkEvent::Overrun { bytes } => self.overrun(bytes),
            LinkEvent::Closed => self.closed = true,
            LinkEvent::Lost(cause) => {
                self.lost(cause);
                self.handle_queued();
            }
        }
    }

    /// Hands a message on; one that finds no room is told of in the log only.
    fn heard(&mut self, topic: String, payload: Vec<u8>, retained: bool) {
        let names = &self.settings.topics;
        let inbound = if topic == names.command {
            Inbound::Command { payload, retained }
        } else if topic == names.receipt {
            Inbound::Receipt(payload)
        } else {
            tracing::debug!(topic, "a message on a topic nobody listens to");
            return;
        };
        if self.inbound.try_send(inbound).is_err() {
            self.unheard += 1;
            if self.unheard.is_power_of_two() {
                tracing::warn!(topic, messages = self.unheard, "nobody took a message in time");
            }
        }
    }

    /// A refusal is told, and delivery goes on: verdicts need no subscription.
    fn subscribed(&mut self, refused: Vec<String>) {
        for topic in refused.iter().filter(|topic| !self.refused.contains(topic)) {
            self.report(Report::SubscriptionRefused { topic: topic.clone() });
        }
        self.refused = refused;
    }

    /// Verdicts come first: whoever sends us such a message must not be able to hold them up.
    fn overrun(&mut self, bytes: usize) {
        self.deaf_until = Some(Instant::now() + DEAF_AFTER_OVERRUN);
        self.report(Report::CommandOverrun { bytes });
    }

    /// Listens again when the time has come; a message that is still there ends the connection
    /// once more.
    fn listen_again(&mut self) {
        let due = self.deaf_until.is_some_and(|until| until <= Instant::now());
        if let (true, true, Line::Open(link)) = (due, self.session.is_up(), &self.line) {
            link.listen(&self.settings);
            self.deaf_until = None;
        }
    }

    fn lost(&mut self, cause: String) {
        {
            let mut health = self.shared.health();
            // Told once when it changes, not at every try of a long outage.
            if health.connected || health.last_error != cause {
                tracing::warn!(broker = %self.broker(), %cause,
                    "no connection to the broker; verdicts stay in the journal, trying on");
            }
            health.connected = false;
            health.last_error = cause;
        }
        // Dropping the link drops whatever the library still holds.
        self.line = Line::Waiting(Instant::now());
        self.events.push_back(Event::Disconnected);
    }

    fn row_burst(&mut self, first: Announced, rows: &mut mpsc::Receiver<Announced>) {
        self.announced(first);
        for _ in 1..BURST_MAX {
            let Ok(next) = rows.try_recv() else { break };
            self.announced(next);
        }
    }

    fn announced(&mut self, Announced { row, until }: Announced) {
        let until = until.map(|until| self.since_start(until));
        self.handle(Event::Live { row, until });
    }

    /// A time as the session counts it.
    fn since_start(&self, at: Instant) -> Nanos {
        let since = at.saturating_duration_since(self.started).as_nanos();
        Nanos(u64::try_from(since).unwrap_or(u64::MAX))
    }

    /// What the command changed is told before its answer.
    fn reply(&mut self, payload: Vec<u8>, state: &mut watch::Receiver<Vec<u8>>) {
        if state.has_changed().unwrap_or(false) {
            let state = state.borrow_and_update().clone();
            self.handle(Event::State(state));
        }
        self.handle(Event::Reply(payload));
    }

    fn tick(&mut self) {
        self.listen_again();
        let newest = self.outbox.newest();
        self.handle(Event::Tick { newest });
    }

    /// Takes the event and all that follow from it. They are queued, not nested, so that the
    /// actions of one event are done in their order before the next event.
    fn handle(&mut self, event: Event) {
        self.events.push_back(event);
        self.handle_queued();
    }

    fn handle_queued(&mut self) {
        while let Some(event) = self.events.pop_front() {
            let now = self.since_start(Instant::now());
            let mut actions = std::mem::take(&mut self.actions);
            self.session.handle(now, event, &mut actions);
            for action in actions.drain(..) {
                self.perform(action);
            }
            self.actions = actions;
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Connect { after_ms } => {
                self.line = Line::Waiting(Instant::now() + Duration::from_millis(after_ms));
            }
            Action::Disconnect(why) => self.lost(why.to_owned()),
            Action::Publish(publish) => {
                let queued = match &self.line {
                    Line::Open(link) => link.publish(&self.settings, publish),
                    Line::Waiting(_) => true,
                };
                if !queued {
                    self.lost("the client's queue is full".to_owned());
                }
            }
            Action::ReadBacklog { after, limit } => self.read_backlog(after, limit),
            Action::ReadRange { range, after, limit } => self.read_range(&range, after, limit),
            Action::CommitCursor(cursor) => {
                let done = self.outbox.commit_cursor(cursor);
                self.note_outbox(done.err());
            }
            Action::Report(report) => self.report_once(report),
        }
    }

    fn read_backlog(&mut self, after: u64, limit: usize) {
        match self.outbox.backlog(after, limit) {
            Ok(rows) => {
                self.note_outbox(None);
                self.events.push_back(Event::Backlog(rows));
            }
            Err(error) => {
                self.note_outbox(Some(error));
                self.events.push_back(Event::BacklogFailed);
            }
        }
    }

    fn read_range(&mut self, range: &ReplayRange, after: Option<RowId>, limit: usize) {
        match self.outbox.range(range, after, limit) {
            Ok(RangePage { rows, next }) => {
                self.note_outbox(None);
                self.events.push_back(Event::Range { rows, next });
            }
            Err(error) => {
                self.note_outbox(Some(error));
                self.events.push_back(Event::RangeFailed);
            }
        }
    }

    /// Drains, says offline, disconnects; each within what is left of `wait`.
    async fn flush(&mut self, wait: Duration, offline: Vec<u8>) -> Flushed {
        let end = Instant::now() + wait;
        let drain_end = end - FAREWELL_MAX.min(wait / 2);
        self.until(drain_end, |shell| shell.session.is_drained(shell.outbox.newest())).await;
        let newest = self.outbox.newest();
        let drained = self.session.cursor() >= newest;
        let mut clean = false;
        if self.session.is_up() {
            self.session.stop_rows();
            self.handle(Event::State(offline));
            self.until(end, |shell| !shell.session.is_up() || shell.session.is_quiet()).await;
            clean = self.session.is_up() && self.session.is_quiet();
            if let Line::Open(link) = &self.line {
                link.close();
            }
            self.until(end, |shell| shell.closed || !shell.session.is_up()).await;
        }
        self.tick();
        self.tell_health();
        Flushed { drained, clean, health: self.shared.health().clone() }
    }

    /// Keeps the session going until `done` or the end.
    async fn until(&mut self, end: Instant, done: fn(&Self) -> bool) {
        let mut tick = interval(Duration::from_millis(TICK_MS));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !done(self) {
            tokio::select! {
                event = self.link_event() => self.link_burst(event),
                _ = tick.tick() => self.tick(),
                () = sleep_until(end) => return,
            }
        }
    }

    fn broker(&self) -> String {
        format!("{}:{}", self.settings.host, self.settings.port)
    }
}

/// Differs between stations (client id) and between starts (address space layout).
fn seed(client_id: &str) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(client_id)
}

//! The mirror's thread: joins edge node, connection, feed and clocks. No decisions here.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel as channel;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::bd_seq;
use super::events::{Action, Event, Note, Now};
use super::link::{Link, LinkEvent};
use super::node::EdgeNode;
use super::types::{Part, Settings, Status};
use crate::sys::clock::Clock;

/// Time between ticks, in milliseconds; finer than every wait of the edge node.
const TICK_MS: u64 = 50;

/// What reaches the thread from outside.
pub(super) struct Inbox {
    pub(super) parts: mpsc::Receiver<Part>,
    pub(super) status: watch::Receiver<Option<Status>>,
    /// Parts that found no room in `parts`.
    pub(super) dropped: Arc<AtomicU64>,
    pub(super) stop: mpsc::Receiver<Stop>,
}

/// Order to end.
pub(super) struct Stop {
    pub(super) wait: Duration,
    pub(super) done: channel::Sender<()>,
}

/// Runs until it is stopped or every sender is gone.
pub(super) async fn run(settings: Settings, clock: Arc<dyn Clock>, inbox: Inbox) {
    let mut shell = Shell::new(settings, clock);
    let Inbox { mut parts, mut status, dropped, mut stop } = inbox;
    let mut tick = interval(Duration::from_millis(TICK_MS));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let order = loop {
        tokio::select! {
            event = link_event(&mut shell.link) => shell.link_handle(event),
            // The feed may end before the order to stop comes.
            Some(part) = parts.recv() => shell.handle(Event::Part(part)),
            Ok(()) = status.changed() => {
                let newest = status.borrow_and_update().clone();
                if let Some(status) = newest {
                    shell.handle(Event::Status(status));
                }
            }
            order = stop.recv() => match order {
                Some(order) => break order,
                None => return,
            },
            _ = tick.tick() => {
                shell.handle(Event::Dropped(dropped.load(Ordering::Relaxed)));
                shell.handle(Event::Tick);
            }
        }
    };
    while let Ok(part) = parts.try_recv() {
        shell.handle(Event::Part(part));
    }
    shell.stop(order.wait).await;
    // Whoever ordered it may have stopped waiting.
    let _ = order.done.send(());
}

/// The next event of the connection; never, without one. May be cancelled at any point.
async fn link_event(link: &mut Option<Link>) -> LinkEvent {
    match link {
        Some(link) => link.event().await,
        None => std::future::pending().await,
    }
}

struct Shell {
    settings: Settings,
    node: EdgeNode,
    clock: Arc<dyn Clock>,
    link: Option<Link>,
    events: VecDeque<Event>,
    /// Last connection error; each is told once.
    complaint: String,
}

impl Shell {
    fn new(settings: Settings, clock: Arc<dyn Clock>) -> Self {
        let last = bd_seq::load(&settings.bd_seq_file).unwrap_or_else(|error| {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the number of the last Sparkplug session cannot be read; starting at 0"
            );
            None
        });
        let node = EdgeNode::new(settings.clone(), last, seed(&settings.client_id));
        let complaint = String::new();
        Self { settings, node, clock, link: None, events: VecDeque::new(), complaint }
    }

    fn link_handle(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Connected => {
                self.complaint.clear();
                self.handle(Event::Connected);
            }
            LinkEvent::Subscribed { refused } => {
                if refused {
                    tracing::warn!(topics = ?self.node.topics().subscriptions(),
                        "the broker does not let the Sparkplug mirror subscribe; mend its ACL");
                }
                self.handle(Event::Subscribed);
            }
            LinkEvent::Message { topic, payload } => self.handle(Event::Message { topic, payload }),
            LinkEvent::Closed => self.lost(true),
            LinkEvent::Lost { cause, connect_sent } => {
                if self.complaint != cause {
                    tracing::warn!(broker = %format!("{}:{}", self.settings.host, self.settings.port),
                        %cause, "no connection for the Sparkplug mirror, trying on");
                    self.complaint = cause;
                }
                self.lost(connect_sent);
            }
        }
    }

    fn lost(&mut self, connect_sent: bool) {
        self.link = None;
        self.handle(Event::Lost { connect_sent });
    }

    /// Takes the event and all that follow from it, one after the other.
    fn handle(&mut self, event: Event) {
        self.events.push_back(event);
        let mut actions = Vec::new();
        while let Some(event) = self.events.pop_front() {
            let now = Now { mono: self.clock.now(), unix_ms: self.clock.wall_unix_ms() };
            self.node.handle(now, event, &mut actions);
            for action in actions.drain(..) {
                self.perform(action);
            }
        }
    }

    fn perform(&mut self, action: Action) {
        let topics = self.node.topics();
        let queued = match (action, &self.link) {
            (Action::StoreBdSeq(number), _) => {
                self.store(number);
                true
            }
            (Action::Open { will }, _) => {
                self.link = Some(Link::open(&self.settings, topics, will));
                true
            }
            (Action::Subscribe(topics), Some(link)) => link.subscribe(topics),
            (Action::Publish(publish), Some(link)) => link.publish(topics, publish),
            (Action::Close, Some(link)) => link.close(),
            (Action::Abandon, Some(_)) => false,
            (Action::Tell(note), _) => {
                self.tell(note);
                true
            }
            // The connection went down over an action before this one.
            (_, None) => true,
        };
        if !queued {
            self.link = None;
            self.events.push_back(Event::Lost { connect_sent: true });
        }
    }

    fn store(&self, number: u8) {
        if let Err(error) = bd_seq::store(&self.settings.bd_seq_file, number) {
            // Going on is right for a mirror: at worst a host takes an old death for a new one,
            // and asks for a rebirth.
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the number of the Sparkplug session cannot be kept"
            );
        }
    }

    fn tell(&self, note: Note) {
        let names = &self.settings.names;
        match note {
            Note::Born { bd_seq } => tracing::info!(group = %names.group, edge = %names.edge,
                bd_seq, "the Sparkplug mirror is born"),
            Note::HostOffline => tracing::warn!(host = ?names.primary_host,
                "the primary host is offline; the Sparkplug mirror waits for it"),
            Note::AwaitingHost => tracing::info!(host = ?names.primary_host,
                "the Sparkplug mirror waits for its primary host"),
            Note::Refused(total) if total.is_power_of_two() => tracing::warn!(
                total,
                "a Sparkplug command was refused: only {:?} is taken",
                super::metrics::REBIRTH
            ),
            Note::Dropped(total) if total.is_power_of_two() => tracing::warn!(
                total,
                "the Sparkplug mirror dropped parts; the journal and the record have them"
            ),
            Note::Refused(_) | Note::Dropped(_) => {}
        }
    }

    /// Says farewell within `wait`.
    async fn stop(&mut self, wait: Duration) {
        let end = Instant::now() + wait;
        let mut tick = interval(Duration::from_millis(TICK_MS));
        self.handle(Event::Stop);
        while !self.node.has_ended() {
            tokio::select! {
                event = link_event(&mut self.link) => self.link_handle(event),
                _ = tick.tick() => self.handle(Event::Tick),
                () = sleep_until(end) => return,
            }
        }
    }
}

/// Differs between stations (client id) and between starts (address space layout).
fn seed(client_id: &str) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(client_id)
}

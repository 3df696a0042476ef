//! The MQTT client library on the station's side of a connection (`src/publish/link.rs`): packet
//! ids in the order of the queue, everything forgotten with the connection.

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use crrd::frame::Nanos;
use crrd::message::{encode_heartbeat, encode_offline};
use crrd::publish::session::{self, Publish};

use super::net::{ConnId, Down, Topic, Up, Who};
use super::replay::unmarked;
use super::store::Store;
use super::world::{Ev, World};

/// Packet ids in rotation.
const PACKET_IDS: u16 = 1_000;
/// Requests besides the window.
const SPARE_REQUESTS: usize = 64;

/// What the connection's task reports.
#[derive(Clone, Debug)]
pub(crate) enum LinkEvent {
    Connected,
    Sent(u16),
    Acked(u16),
    /// A command.
    Message(Vec<u8>),
    Lost(&'static str),
}

/// The client library's side of one connection.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) conn: ConnId,
    pub(crate) connected: bool,
    pub(crate) queue: VecDeque<Publish>,
    pub(crate) writing: bool,
    pub(crate) next_id: u16,
    pub(crate) unacked: BTreeSet<u16>,
    /// The library has given up; nothing follows.
    pub(crate) ended: bool,
}

#[derive(Debug)]
pub(crate) enum Line {
    Waiting(Nanos),
    Open(Link),
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
        session::Topic::Reply => Topic::Reply,
        session::Topic::Binary | session::Topic::Health | session::Topic::Calibration => {
            unreachable!("the simulated station does not tell it")
        }
    }
}

impl<S: Store> World<S> {
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

    pub(crate) fn queue(&mut self, publish: Publish) {
        if publish.topic == session::Topic::Verdict {
            self.oracle.sent_live(&publish.payload, self.now);
        }
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
            let Publish { topic, payload, .. } = publish;
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
            let (topic, payload) = unmarked(topic_of(topic), payload);
            packets.push(Up::Publish { id, topic, payload: Rc::new(payload) });
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
                publisher.link_events.push_back(LinkEvent::Message(payload.to_vec()));
                if id != 0 {
                    self.send_up(conn, Up::Ack(id));
                }
            }
        }
        self.wake_publisher();
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
}

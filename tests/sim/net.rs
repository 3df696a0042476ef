//! The network: connections as pairs of pipes that keep the order and add a delay, until one of
//! them is cut or everything in it silently vanishes.

use std::collections::VecDeque;
use std::rc::Rc;

use crrd::frame::Nanos;

use super::store::Store;
use super::world::{Ev, World};

/// Number of a connection, in the order they are made.
pub(crate) type ConnId = usize;

pub(crate) type Payload = Rc<Vec<u8>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Topic {
    Verdict,
    Last,
    State,
    Heartbeat,
    Hist,
    /// `hist`, too: what was asked for again. Only the simulation can tell them apart.
    Again,
    Mask,
    Event,
    Command,
    Reply,
}

/// Who made a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Station,
    Plc,
}

/// Packets to the broker.
#[derive(Clone, Debug)]
pub(crate) enum Up {
    Connect {
        clean: bool,
        will: Option<Payload>,
    },
    Subscribe,
    /// Packet id 0: without acknowledgement.
    Publish {
        id: u16,
        topic: Topic,
        payload: Payload,
    },
    Ack(u16),
    Disconnect,
}

/// Packets from the broker.
#[derive(Clone, Debug)]
pub(crate) enum Down {
    Connected,
    Subscribed,
    Ack(u16),
    Message { id: u16, topic: Topic, payload: Payload },
}

#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) who: Who,
    pub(crate) will: Option<Payload>,
    /// Packets vanish.
    pub(crate) dead: bool,
    pub(crate) open_at_broker: bool,
    pub(crate) open_at_client: bool,
    up: VecDeque<Up>,
    down: VecDeque<Down>,
    up_at: Nanos,
    down_at: Nanos,
}

impl<S: Store> World<S> {
    pub(crate) fn dial(&mut self, who: Who, connect: Up) -> ConnId {
        let id = self.conns.len();
        self.conns.push(Conn {
            who,
            will: None,
            dead: self.net_dead(who),
            open_at_broker: false,
            open_at_client: true,
            up: VecDeque::new(),
            down: VecDeque::new(),
            up_at: self.now,
            down_at: self.now,
        });
        self.say(|| format!("{who:?} dials, connection {id}"));
        self.send_up(id, connect);
        // No answer at all within this: the client gives up.
        self.after_ms(2 * self.plan.keep_alive_ms, Ev::NoAnswer(id));
        id
    }

    pub(crate) fn delay(&mut self) -> Nanos {
        let us = self.rng.between(self.plan.net_us);
        Nanos(self.now.0 + us * 1_000)
    }

    pub(crate) fn send_up(&mut self, id: ConnId, packet: Up) {
        let at = self.delay();
        let conn = &mut self.conns[id];
        conn.up_at = conn.up_at.max(at);
        conn.up.push_back(packet);
        let at = conn.up_at;
        self.at(at, Ev::Up(id));
    }

    pub(crate) fn send_down(&mut self, id: ConnId, packet: Down) {
        let at = self.delay();
        let conn = &mut self.conns[id];
        conn.down_at = conn.down_at.max(at);
        conn.down.push_back(packet);
        let at = conn.down_at;
        self.at(at, Ev::Down(id));
    }

    /// A packet reaches the broker.
    pub(crate) fn up(&mut self, id: ConnId) {
        let Some(packet) = self.conns[id].up.pop_front() else { return };
        if self.conns[id].dead {
            return;
        }
        self.broker_takes(id, packet);
    }

    /// A packet reaches a client.
    pub(crate) fn down(&mut self, id: ConnId) {
        let conn = &mut self.conns[id];
        let Some(packet) = conn.down.pop_front() else { return };
        if conn.dead || !conn.open_at_client {
            return;
        }
        match conn.who {
            Who::Station => self.link_takes(id, packet),
            Who::Plc => self.plc_takes(id, packet),
        }
    }

    /// The client drops its connection, with or without a word.
    pub(crate) fn hang_up(&mut self, id: ConnId, politely: bool) {
        if !std::mem::take(&mut self.conns[id].open_at_client) {
            return;
        }
        if politely {
            self.send_up(id, Up::Disconnect);
        }
        // The end of the stream comes behind what was sent.
        let at = self.conns[id].up_at.max(self.delay());
        self.conns[id].up_at = at;
        if !self.conns[id].dead {
            self.at(at, Ev::ClientGone(id));
        }
        self.after_ms(self.plan.keep_alive_ms * 3 / 2, Ev::ClientGone(id));
    }

    /// The broker drops a connection; packets on the way may still arrive.
    pub(crate) fn throw_out(&mut self, id: ConnId) {
        if !std::mem::take(&mut self.conns[id].open_at_broker) {
            return;
        }
        self.will(id);
        let dead = self.conns[id].dead;
        if self.rng.chance(50) {
            self.conns[id].down.clear();
        }
        let at = self.conns[id].down_at.max(self.delay());
        self.conns[id].down_at = at;
        if !dead {
            self.at(at, Ev::BrokerGone(id));
        }
        self.after_ms(self.plan.keep_alive_ms * 2, Ev::BrokerGone(id));
    }

    /// The connection breaks in the middle: both ends notice, what was on the way is gone.
    pub(crate) fn cut(&mut self, id: ConnId) {
        self.conns[id].dead = true;
        let (up, down) = (self.delay(), self.delay());
        self.at(up, Ev::ClientGone(id));
        self.at(down, Ev::BrokerGone(id));
    }

    /// From now on everything vanishes; both ends notice by their keep-alive.
    pub(crate) fn silence(&mut self, id: ConnId) {
        self.conns[id].dead = true;
        self.after_ms(self.plan.keep_alive_ms * 3 / 2, Ev::ClientGone(id));
        self.after_ms(self.plan.keep_alive_ms * 2, Ev::BrokerGone(id));
    }

    /// The broker notices that the client is gone.
    pub(crate) fn client_gone(&mut self, id: ConnId) {
        if std::mem::take(&mut self.conns[id].open_at_broker) {
            self.will(id);
            self.session_ends(id);
        }
    }

    /// The client notices that the broker is gone.
    pub(crate) fn broker_gone(&mut self, id: ConnId) {
        if std::mem::take(&mut self.conns[id].open_at_client) {
            match self.conns[id].who {
                Who::Station => self.link_lost(id, "the connection is gone"),
                Who::Plc => self.plc_lost(id),
            }
        }
    }

    fn will(&mut self, id: ConnId) {
        if let Some(will) = self.conns[id].will.take() {
            self.route(id, Topic::State, &will);
        }
    }
}

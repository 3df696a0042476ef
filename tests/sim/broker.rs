//! The scripted broker: QoS 1, retained messages, sessions, last wills, and every way to get the
//! acknowledgement wrong.

use std::collections::{BTreeMap, VecDeque};

use super::net::{ConnId, Down, Payload, Topic, Up, Who};
use super::plan::{Defect, Fault};
use super::store::Store;
use super::world::{Ev, World};

/// What the broker keeps for the PLC: the station asks for a clean session each time.
#[derive(Debug, Default)]
struct Session {
    clean: bool,
    subscribed: bool,
    conn: Option<ConnId>,
    /// Sent or to be sent, not acknowledged.
    kept: VecDeque<(u16, Topic, Payload)>,
    next_id: u16,
}

/// Messages kept for a client; beyond it the newest are dropped, as brokers do. The state comes
/// back with every subscription, so it is never the one that is missing.
const KEPT_MAX: usize = 20;

#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) up: bool,
    pub(crate) refuses: bool,
    station: Option<ConnId>,
    /// The station's subscription to commands.
    commands_to: Option<ConnId>,
    plc: Option<Session>,
    retained: BTreeMap<Topic, Payload>,
    /// The next acknowledgements are treated so.
    pub(crate) acks: Option<(Fault, u32)>,
    held: Vec<(ConnId, u16)>,
    dropped: u32,
}

impl Default for Broker {
    fn default() -> Self {
        Self {
            up: true,
            refuses: false,
            station: None,
            commands_to: None,
            plc: None,
            retained: BTreeMap::new(),
            acks: None,
            held: vec![],
            dropped: 0,
        }
    }
}

impl Broker {
    /// The connection that it takes for the client's.
    pub(crate) fn conn_of(&self, who: Who) -> Option<ConnId> {
        match who {
            Who::Station => self.station,
            Who::Plc => self.plc.as_ref().and_then(|session| session.conn),
        }
    }
}

impl<S: Store> World<S> {
    pub(crate) fn broker_takes(&mut self, id: ConnId, packet: Up) {
        if !self.broker.up {
            return;
        }
        if let Up::Connect { clean, will } = packet {
            return self.broker_connects(id, clean, will);
        }
        if !self.conns[id].open_at_broker {
            return;
        }
        match packet {
            Up::Connect { .. } => {}
            Up::Subscribe => self.broker_subscribes(id),
            Up::Publish { id: packet_id, topic, payload } => {
                self.broker_published(id, packet_id, topic, &payload);
            }
            Up::Ack(packet_id) => {
                if let Some(session) = &mut self.broker.plc {
                    session.kept.retain(|(kept, ..)| *kept != packet_id);
                }
            }
            Up::Disconnect => self.conns[id].will = None,
        }
    }

    fn broker_connects(&mut self, id: ConnId, clean: bool, will: Option<Payload>) {
        if self.broker.refuses || !self.conns[id].open_at_client && self.rng.chance(50) {
            let at = self.delay();
            return self.at(at, Ev::BrokerGone(id));
        }
        let who = self.conns[id].who;
        if let Some(old) = self.broker.conn_of(who).filter(|old| *old != id) {
            self.throw_out(old);
            self.session_ends(old);
        }
        self.conns[id].open_at_broker = true;
        self.conns[id].will = will;
        let mut session_present = false;
        match who {
            Who::Station => {
                self.broker.station = Some(id);
                self.oracle.station_connects();
            }
            Who::Plc => {
                let old = self.broker.plc.take().filter(|_| !clean);
                session_present = old.is_some();
                let session = old.unwrap_or_default();
                self.broker.plc = Some(Session { clean, conn: Some(id), ..session });
            }
        }
        self.send_down(id, Down::Connected);
        if session_present {
            let kept: Vec<_> = self.broker.plc.iter().flat_map(|s| s.kept.clone()).collect();
            for (packet_id, topic, payload) in kept {
                self.send_down(id, Down::Message { id: packet_id, topic, payload });
            }
        }
    }

    fn broker_subscribes(&mut self, id: ConnId) {
        self.send_down(id, Down::Subscribed);
        if self.conns[id].who == Who::Station {
            self.broker.commands_to = Some(id);
            return;
        }
        if let Some(session) = &mut self.broker.plc {
            session.subscribed = true;
        }
        if let Some(state) = self.broker.retained.get(&Topic::State).cloned() {
            self.give_plc(Topic::State, &state, true);
        }
    }

    fn broker_published(&mut self, id: ConnId, packet_id: u16, topic: Topic, payload: &Payload) {
        let who = self.conns[id].who;
        if who == Who::Station && self.plan.is(Defect::BrokerDrops) && topic == Topic::Verdict {
            self.broker.dropped += 1;
            if self.broker.dropped.is_multiple_of(5) {
                return self.send_down(id, Down::Ack(packet_id));
            }
        }
        self.route(id, topic, payload);
        if packet_id == 0 {
            return;
        }
        let fault = match &mut self.broker.acks {
            Some((fault, left)) if *left > 0 && who == Who::Station => {
                *left -= 1;
                Some(*fault)
            }
            _ => None,
        };
        match fault {
            Some(Fault::AckLost) => {}
            Some(Fault::AckTwice) => {
                self.send_down(id, Down::Ack(packet_id));
                self.send_down(id, Down::Ack(packet_id));
            }
            Some(Fault::AckLate | Fault::AckShuffled) => {
                self.broker.held.push((id, packet_id));
                let late = fault == Some(Fault::AckLate);
                let ms = self.rng.between(if late { (50, 1_500) } else { (0, 40) });
                self.after_ms(ms, Ev::HeldAck);
            }
            Some(Fault::AckForeign) => {
                self.send_down(id, Down::Ack(packet_id.wrapping_add(500)));
                self.send_down(id, Down::Ack(packet_id));
            }
            _ => self.send_down(id, Down::Ack(packet_id)),
        }
    }

    /// An acknowledgement that was kept back goes out, any of them.
    pub(crate) fn held_ack(&mut self) {
        let any = self.rng.below(self.broker.held.len() as u64) as usize;
        if any < self.broker.held.len() {
            let (id, packet_id) = self.broker.held.swap_remove(any);
            if self.conns[id].open_at_broker {
                self.send_down(id, Down::Ack(packet_id));
            }
        }
    }

    /// Everyone who subscribed gets the message, the observer at once.
    pub(crate) fn route(&mut self, from: ConnId, topic: Topic, payload: &Payload) {
        if matches!(topic, Topic::State | Topic::Last) {
            self.broker.retained.insert(topic, payload.clone());
        }
        match topic {
            Topic::Command => {
                let to = self.broker.commands_to.filter(|to| self.conns[*to].open_at_broker);
                if let Some(to) = to {
                    self.command_on_its_way(to, payload);
                }
            }
            Topic::Verdict | Topic::Hist | Topic::Event => {
                self.oracle.arrived(from, topic, payload);
                self.give_plc(topic, payload, topic != Topic::Event);
            }
            Topic::Again => {
                self.oracle.again(from, payload);
                self.give_plc(Topic::Hist, payload, true);
            }
            Topic::State => {
                self.oracle.state_arrived(payload);
                self.give_plc(topic, payload, true);
            }
            Topic::Reply => {
                self.oracle.answer_arrived(payload);
                self.give_plc(topic, payload, true);
            }
            Topic::Heartbeat => self.give_plc(topic, payload, false),
            Topic::Last | Topic::Mask => {}
        }
    }

    fn give_plc(&mut self, topic: Topic, payload: &Payload, acknowledged: bool) {
        let Some(session) = &mut self.broker.plc else { return };
        let conn = session.conn.filter(|conn| self.conns[*conn].open_at_broker);
        if !session.subscribed || topic == Topic::Event || (conn.is_none() && !acknowledged) {
            return;
        }
        let mut id = 0;
        if acknowledged {
            session.next_id = session.next_id % 60_000 + 1;
            id = session.next_id;
            if session.kept.len() >= KEPT_MAX && topic != Topic::State {
                return;
            }
            session.kept.push_back((id, topic, payload.clone()));
        }
        if let Some(conn) = conn {
            self.send_down(conn, Down::Message { id, topic, payload: payload.clone() });
        }
    }

    /// Commands travel with faults of their own.
    fn command_on_its_way(&mut self, to: ConnId, payload: &Payload) {
        let message = |payload: &Payload| Down::Message {
            id: 1,
            topic: Topic::Command,
            payload: payload.clone(),
        };
        let fault = self.commands.take();
        if fault == Some(Fault::CommandLate) {
            let ms = self.rng.between((5, 2_000));
            return self.after_ms(ms, Ev::LateCommand(payload.clone()));
        }
        self.send_down(to, message(payload));
        if fault == Some(Fault::CommandTwice) {
            let ms = self.rng.pick(&[0, 10, 300, 6_000]);
            self.after_ms(ms, Ev::LateCommand(payload.clone()));
        }
    }

    pub(crate) fn late_command(&mut self, payload: &Payload) {
        let to = self.broker.commands_to.filter(|to| self.conns[*to].open_at_broker);
        if let Some(to) = to {
            let payload = payload.clone();
            self.send_down(to, Down::Message { id: 1, topic: Topic::Command, payload });
        }
    }

    /// A connection of a client with a session ended.
    pub(crate) fn session_ends(&mut self, id: ConnId) {
        if let Some(session) = &mut self.broker.plc
            && session.conn == Some(id)
        {
            session.conn = None;
            if session.clean {
                self.broker.plc = None;
            }
        }
    }

    /// The broker's process ends; with `forgets` its memory as well.
    pub(crate) fn broker_ends(&mut self, forgets: bool) {
        self.broker.up = false;
        for id in 0..self.conns.len() {
            if self.conns[id].open_at_broker {
                // No last wills: nobody is there to publish them.
                self.conns[id].will = None;
                self.throw_out(id);
                self.session_ends(id);
            }
        }
        self.broker.station = None;
        self.broker.commands_to = None;
        if forgets {
            self.broker.plc = None;
            self.broker.retained.clear();
        }
    }
}

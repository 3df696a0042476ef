//! The edge node as a state machine: (state, event) -> (state, actions). No I/O, no clock.
//!
//! A session: CONNECT with an NDEATH as the last will -> subscribe -> (the primary host is online)
//! -> NBIRTH, DBIRTH -> data -> NDEATH, DISCONNECT. Whatever goes wrong leads back to CONNECT.

use std::collections::VecDeque;

use prost::Message as _;

use super::events::{Action, Event, Note, Now, Publish, Topics, Verb};
use super::host::{Host, Word};
use super::metrics::{
    BD_SEQ, DEVICE, Definition, NODE, REBIRTH, Tally, Values, born, device_values, named,
    node_values, told,
};
use super::payload::{DataType, Metric, Payload, Value};
use super::types::{Part, Settings, Status};
use crate::frame::Nanos;
use crate::message::FLAG_LATE;
use crate::publish::session::Backoff;

/// Parts kept to be told as history: a quarter of an hour at 10 parts a second, 3 MB. Beyond it
/// the oldest is dropped and counted; the journal has it.
pub(super) const HISTORY_MAX: usize = 10_000;
/// Parts of the history told in one tick, so that they never crowd out live ones.
pub(super) const HISTORY_PER_TICK: usize = 10;
/// Counters change with every part and are told at most this often, in milliseconds.
pub(super) const COUNTERS_EVERY_MS: u64 = 1_000;
/// First and longest wait before connecting again, in milliseconds.
const RECONNECT_MS: (u64, u64) = (500, 10_000);
/// Longest wait for a DISCONNECT to be sent, in milliseconds.
pub(super) const CLOSE_MS_MAX: u64 = 1_000;

/// Where the session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The next CONNECT is made at this time.
    Waiting(Nanos),
    /// CONNECT is on its way.
    Opening,
    /// Connected, not born.
    Up { subscribed: bool },
    /// NBIRTH is sent; the device is born with its camera.
    Born { device: bool },
    /// NDEATH and DISCONNECT are on their way since this time.
    Closing(Nanos),
    /// The station ends; no further session.
    Ended,
}

pub(super) struct EdgeNode {
    settings: Settings,
    topics: Topics,
    phase: Phase,
    backoff: Backoff,
    /// Number of the session that is or comes next.
    bd_seq: u8,
    /// The number that is on disk.
    stored: Option<u8>,
    /// Sequence number of the next message.
    seq: u8,
    host: Host,
    status: Option<Status>,
    /// The camera delivers, as far as is known.
    camera: bool,
    /// What the host was told of the station, and when.
    told: Values<{ NODE.len() }>,
    told_at: Nanos,
    tally: Tally,
    /// Parts lost before they reached this machine, and those that the history had no room for.
    dropped: (u64, u64),
    last: Option<Part>,
    history: VecDeque<Part>,
    stopping: bool,
}

impl EdgeNode {
    /// `last_bd_seq` is the number of the last session, when one was stored.
    pub(super) fn new(settings: Settings, last_bd_seq: Option<u8>, seed: u64) -> Self {
        Self {
            topics: Topics::new(&settings.names),
            settings,
            phase: Phase::Waiting(Nanos(0)),
            backoff: Backoff::new(RECONNECT_MS.0, RECONNECT_MS.1, seed),
            bd_seq: last_bd_seq.map_or(0, |last| last.wrapping_add(1)),
            stored: last_bd_seq,
            seq: 0,
            host: Host::default(),
            status: None,
            camera: false,
            told: [const { None }; NODE.len()],
            told_at: Nanos(0),
            tally: Tally::default(),
            dropped: (0, 0),
            last: None,
            history: VecDeque::new(),
            stopping: false,
        }
    }

    pub(super) fn topics(&self) -> &Topics {
        &self.topics
    }

    /// No session is there and none will come.
    pub(super) fn has_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    pub(super) fn handle(&mut self, now: Now, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Tick => self.tick(now, out),
            Event::Connected if self.phase == Phase::Opening => {
                self.phase = Phase::Up { subscribed: false };
                out.push(Action::Subscribe(self.topics.subscriptions()));
            }
            Event::Connected => {}
            Event::Subscribed => {
                if let Phase::Up { subscribed } = &mut self.phase {
                    *subscribed = true;
                    if self.awaits_host() && !self.host.is_online() {
                        out.push(Action::Tell(Note::AwaitingHost));
                    }
                    self.try_birth(now, out);
                }
            }
            Event::Message { topic, payload } => self.message(now, &topic, &payload, out),
            Event::Lost { connect_sent } => self.lost(now, connect_sent),
            Event::Part(part) => self.part(now, part, out),
            Event::Status(status) => self.status(now, status, out),
            Event::Dropped(total) => self.dropped.0 = total,
            Event::Stop => {
                self.stopping = true;
                self.leave(now, out);
            }
        }
        self.tally.dropped = self.dropped.0 + self.dropped.1;
    }

    fn tick(&mut self, now: Now, out: &mut Vec<Action>) {
        match self.phase {
            Phase::Waiting(at) if now.mono >= at => self.open(now, out),
            Phase::Closing(since) if now.mono >= since.plus_ms(CLOSE_MS_MAX) => {
                out.push(Action::Abandon);
            }
            Phase::Born { device } => {
                if now.mono >= self.told_at.plus_ms(COUNTERS_EVERY_MS) {
                    self.tell_station(now, out);
                }
                let due = if device { HISTORY_PER_TICK.min(self.history.len()) } else { 0 };
                for part in self.history.drain(..due).collect::<Vec<_>>() {
                    self.tell_part(now, &part, true, out);
                }
            }
            _ => {}
        }
    }

    fn open(&mut self, now: Now, out: &mut Vec<Action>) {
        self.phase = Phase::Opening;
        if self.stored != Some(self.bd_seq) {
            self.stored = Some(self.bd_seq);
            out.push(Action::StoreBdSeq(self.bd_seq));
        }
        out.push(Action::Open { will: self.death(now) });
    }

    fn lost(&mut self, now: Now, connect_sent: bool) {
        if matches!(self.phase, Phase::Waiting(_) | Phase::Ended) {
            return;
        }
        if connect_sent {
            self.bd_seq = self.bd_seq.wrapping_add(1);
        }
        self.host.forget();
        self.phase = match self.stopping {
            true => Phase::Ended,
            false => Phase::Waiting(now.mono.plus_ms(self.backoff.next_ms())),
        };
    }

    /// Ends the session in order.
    fn leave(&mut self, now: Now, out: &mut Vec<Action>) {
        self.phase = match self.phase {
            Phase::Born { .. } => {
                let payload = self.death(now);
                out.push(Action::Publish(Publish { verb: Verb::NDeath, payload }));
                out.push(Action::Close);
                Phase::Closing(now.mono)
            }
            // Nothing may be published before a birth: the last will is the NDEATH.
            Phase::Opening | Phase::Up { .. } => {
                out.push(Action::Abandon);
                Phase::Closing(now.mono)
            }
            Phase::Closing(since) => Phase::Closing(since),
            Phase::Waiting(_) | Phase::Ended => Phase::Ended,
        };
    }

    fn awaits_host(&self) -> bool {
        self.topics.host_state.is_some()
    }

    fn message(&mut self, now: Now, topic: &str, payload: &[u8], out: &mut Vec<Action>) {
        if topic == self.topics.node_command {
            self.command(now, payload, true, out);
        } else if topic == self.topics.device_command {
            self.command(now, payload, false, out);
        } else if self.topics.host_state.as_deref() == Some(topic) {
            match self.host.told(payload) {
                Word::Online => self.try_birth(now, out),
                Word::Offline if matches!(self.phase, Phase::Born { .. }) => {
                    out.push(Action::Tell(Note::HostOffline));
                    self.leave(now, out);
                }
                Word::Offline | Word::Ignored => {}
            }
        }
    }

    /// A rebirth is done, anything else is refused: SCADA watches this station, it does not
    /// steer it.
    fn command(&mut self, now: Now, payload: &[u8], node: bool, out: &mut Vec<Action>) {
        let mut rebirth = false;
        let refused = match Payload::decode(payload) {
            Err(_) => 1,
            Ok(payload) => {
                let mut metrics = payload.metrics;
                let is_rebirth = |m: &Metric| node && m.name.as_deref() == Some(REBIRTH);
                rebirth =
                    metrics.iter().any(|m| is_rebirth(m) && m.value == Some(Value::Boolean(true)));
                metrics.retain(|m| !is_rebirth(m));
                metrics.len() as u64
            }
        };
        if refused > 0 {
            self.tally.refused += refused;
            out.push(Action::Tell(Note::Refused(self.tally.refused)));
        }
        if rebirth && matches!(self.phase, Phase::Born { .. }) {
            self.birth(now, out);
        }
    }

    fn try_birth(&mut self, now: Now, out: &mut Vec<Action>) {
        let allowed = !self.awaits_host() || self.host.is_online();
        if self.phase == (Phase::Up { subscribed: true }) && allowed && self.status.is_some() {
            self.backoff.reset();
            out.push(Action::Tell(Note::Born { bd_seq: self.bd_seq }));
            self.birth(now, out);
        }
    }

    /// NBIRTH, and DBIRTH when the camera is there.
    fn birth(&mut self, now: Now, out: &mut Vec<Action>) {
        self.seq = 0;
        self.told = self.station_values();
        self.told_at = now.mono;
        let mut metrics = vec![
            self.session_number(now),
            named(REBIRTH, DataType::Boolean, Value::Boolean(false), now.unix_ms),
        ];
        metrics.extend(all(&NODE, self.told.clone(), now.unix_ms));
        self.publish(now, Verb::NBirth, metrics, out);
        self.phase = Phase::Born { device: false };
        self.device_follows_camera(now, out);
    }

    fn device_follows_camera(&mut self, now: Now, out: &mut Vec<Action>) {
        let Phase::Born { device } = &mut self.phase else { return };
        if *device == self.camera {
            return;
        }
        *device = self.camera;
        if !self.camera {
            self.publish(now, Verb::DDeath, vec![], out);
            return;
        }
        let at = self.last.as_ref().map_or(now.unix_ms, |part| part.at_unix_ms);
        let values = device_values(&self.settings, self.last.as_ref());
        self.publish(now, Verb::DBirth, all(&DEVICE, values, at).collect(), out);
    }

    fn part(&mut self, now: Now, part: Part, out: &mut Vec<Action>) {
        if part.record.flags & FLAG_LATE != 0 {
            // Its part was answered, and told, without it.
            return;
        }
        if self.phase == (Phase::Born { device: true }) {
            self.tell_part(now, &part, false, out);
        } else {
            if self.history.len() == HISTORY_MAX {
                self.history.pop_front();
                self.dropped.1 += 1;
                out.push(Action::Tell(Note::Dropped(self.dropped.1)));
            }
            self.history.push_back(part.clone());
        }
        self.last = Some(part);
    }

    /// All tags of a part travel together, so that a host never shows those of two parts mixed.
    fn tell_part(&mut self, now: Now, part: &Part, historical: bool, out: &mut Vec<Action>) {
        let values = device_values(&self.settings, Some(part));
        let metrics = DEVICE.iter().zip(values).map(|(definition, value)| Metric {
            is_historical: historical.then_some(true),
            ..told(definition, value, part.at_unix_ms)
        });
        self.publish(now, Verb::DData, metrics.collect(), out);
    }

    fn status(&mut self, now: Now, status: Status, out: &mut Vec<Action>) {
        self.camera = status.camera.unwrap_or(self.camera);
        self.status = Some(status);
        self.try_birth(now, out);
        let Phase::Born { .. } = self.phase else { return };
        let values = self.station_values();
        let urgent = NODE.iter().zip(values.iter().zip(&self.told));
        if urgent.into_iter().any(|(definition, (is, was))| !definition.slow && is != was) {
            self.tell_station(now, out);
        }
        self.device_follows_camera(now, out);
    }

    fn station_values(&self) -> Values<{ NODE.len() }> {
        match &self.status {
            Some(status) => node_values(&self.settings, status, self.tally),
            None => [const { None }; NODE.len()],
        }
    }

    /// What changed since the host was told last.
    fn tell_station(&mut self, now: Now, out: &mut Vec<Action>) {
        let values = self.station_values();
        let changed = NODE.iter().zip(values.iter().zip(&self.told));
        let metrics: Vec<Metric> = changed
            .filter(|(_, (is, was))| is != was)
            .map(|(definition, (is, _))| told(definition, is.clone(), now.unix_ms))
            .collect();
        if !metrics.is_empty() {
            self.told = values;
            self.told_at = now.mono;
            self.publish(now, Verb::NData, metrics, out);
        }
    }

    fn session_number(&self, now: Now) -> Metric {
        named(BD_SEQ, DataType::Int64, Value::Long(self.bd_seq.into()), now.unix_ms)
    }

    /// An NDEATH of this session: the only message without a sequence number.
    fn death(&self, now: Now) -> Vec<u8> {
        let metrics = vec![self.session_number(now)];
        Payload { timestamp: Some(now.unix_ms), metrics, seq: None }.encode_to_vec()
    }

    fn publish(&mut self, now: Now, verb: Verb, metrics: Vec<Metric>, out: &mut Vec<Action>) {
        let seq = Some(self.seq.into());
        self.seq = self.seq.wrapping_add(1);
        let payload = Payload { timestamp: Some(now.unix_ms), metrics, seq }.encode_to_vec();
        out.push(Action::Publish(Publish { verb, payload }));
    }

    /// What must hold between any two events.
    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        assert!(self.history.len() <= HISTORY_MAX, "the history is bounded");
        let born = matches!(self.phase, Phase::Born { .. });
        assert!(!born || !self.awaits_host() || self.host.is_online(), "no host, no session");
        assert!(!born || self.stored == Some(self.bd_seq), "a session's number is on disk");
        assert_eq!(self.phase == (Phase::Born { device: true }), born && self.camera);
    }
}

/// Every metric of a birth.
fn all<const N: usize>(
    definitions: &[Definition; N],
    values: Values<N>,
    at_unix_ms: u64,
) -> impl Iterator<Item = Metric> {
    definitions.iter().zip(values).map(move |(d, value)| born(d, value, at_unix_ms))
}

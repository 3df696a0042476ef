//! The PLC with the rules of `docs/plc.md`: timeout = reject, stale heartbeat = reject, default
//! output = reject, match by trigger and part, ignore what came before.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crrd::frame::Nanos;
use crrd::message::{ReplyCode, decode_verdict};
use serde::Deserialize;

use super::line::{identity, part_of};
use super::net::{ConnId, Down, Topic, Up, Who};
use super::plan::{Defect, Fault, Regime};
use super::store::Store;
use super::world::{Ev, World};

/// A heartbeat older than this is stale.
const HEARTBEAT_MS_MAX: u64 = 2_000;
/// Wait before connecting again.
const RETRY_MS: u64 = 150;
/// Wait for an answer before a command is repeated.
const ANSWER_MS: u64 = 300;
/// Codes of answers that say "later".
const LATER: [u8; 2] = [ReplyCode::Busy as u8, ReplyCode::TooFast as u8];

/// A part the PLC waits for.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// Epoch of the station that accepted it; any when the camera accepts.
    epoch: Option<u32>,
    /// The camera was pulsed: an answer may count.
    triggered: bool,
    /// Number of the command that arms it.
    command: u32,
    passed: bool,
    deadline: Nanos,
}

#[derive(Debug, Default)]
pub(crate) struct Plc {
    conn: Option<ConnId>,
    connected: bool,
    dialling: bool,
    /// Survives a restart: retentive memory.
    next_command: u32,
    off: bool,
    waiting: BTreeMap<u32, Waiting>,
    seen: BTreeSet<(u32, u32)>,
    /// Commands that are repeated until they are answered, by number.
    questions: BTreeMap<u32, String>,
    heartbeat_at: Option<Nanos>,
    /// Epoch and readiness by the state topic; `None` = offline or unknown.
    state: Option<(u32, bool)>,
}

#[derive(Deserialize)]
struct State {
    online: u8,
    ready: u8,
    e: u32,
}

#[derive(Deserialize)]
struct Reply {
    id: u32,
    ok: u8,
    k: u8,
    e: u32,
}

impl Plc {
    /// Waits for the answer to a command that it repeats.
    pub(crate) fn asks(&self) -> bool {
        !self.questions.is_empty()
    }

    fn heartbeat_is_fresh(&self, now: Nanos) -> bool {
        let max = Nanos(0).plus_ms(HEARTBEAT_MS_MAX);
        self.heartbeat_at.is_some_and(|at| now.since(at) <= max)
    }

    /// Sees this very start of the station, by state and by a heartbeat after `since`.
    pub(crate) fn sees(&self, epoch: u32, since: Nanos) -> bool {
        let beat = self.heartbeat_at.is_some_and(|at| at > since);
        beat && self.state == Some((epoch, true))
    }

    /// Sees a station that is ready.
    pub(crate) fn sees_ready(&self, now: Nanos) -> bool {
        self.connected && self.heartbeat_is_fresh(now) && self.state.is_some_and(|(_, ready)| ready)
    }
}

impl<S: Store> World<S> {
    pub(crate) fn plc_dials(&mut self) {
        self.plc.dialling = false;
        if self.plc.off || self.plc.conn.is_some() {
            return;
        }
        let connect = Up::Connect { clean: self.plan.plc_clean, will: None };
        self.plc.conn = Some(self.dial(Who::Plc, connect));
    }

    fn plc_dials_later(&mut self) {
        if !std::mem::replace(&mut self.plc.dialling, true) {
            self.after_ms(RETRY_MS, Ev::PlcDials);
        }
    }

    pub(crate) fn plc_lost(&mut self, conn: ConnId) {
        if self.plc.conn == Some(conn) {
            self.plc.conn = None;
            self.plc.connected = false;
            self.plc_dials_later();
        }
    }

    pub(crate) fn plc_no_answer(&mut self, conn: ConnId) {
        if self.plc.conn == Some(conn) && !self.plc.connected {
            self.hang_up(conn, false);
            self.plc_lost(conn);
        }
    }

    pub(crate) fn plc_takes(&mut self, conn: ConnId, packet: Down) {
        if self.plc.conn != Some(conn) {
            return;
        }
        match packet {
            Down::Connected => {
                self.plc.connected = true;
                // Whatever the broker remembers: only a new subscription brings the retained
                // state to a PLC that has forgotten it.
                self.send_up(conn, Up::Subscribe);
                if self.plan.regime != Regime::Continuous {
                    self.plc_insists("\"cmd\":\"mode\",\"m\":\"single\"".to_owned());
                }
            }
            Down::Subscribed | Down::Ack(_) => {}
            Down::Message { id, topic, payload } => {
                if id != 0 {
                    self.send_up(conn, Up::Ack(id));
                }
                match topic {
                    Topic::Heartbeat => self.plc.heartbeat_at = Some(self.now),
                    Topic::State => self.plc_hears_state(&payload),
                    Topic::Verdict => self.plc_hears_verdict(&payload),
                    Topic::Reply => self.plc_hears_reply(&payload),
                    _ => {}
                }
            }
        }
    }

    fn plc_hears_state(&mut self, payload: &[u8]) {
        let state = serde_json::from_slice::<State>(payload).ok();
        self.plc.state = state.filter(|s| s.online == 1).map(|s| (s.e, s.ready == 1));
    }

    fn plc_hears_verdict(&mut self, payload: &[u8]) {
        let patient = self.plan.is(Defect::PlcPatient);
        let Ok(verdict) = decode_verdict(payload) else { return };
        if !self.plc.seen.insert((verdict.e, verdict.q)) {
            return;
        }
        let Some(part) = part_of(verdict.t) else { return };
        let Some(waiting) = self.plc.waiting.get_mut(&part) else { return };
        let ours = identity(part).1.as_str() == verdict.p
            && waiting.triggered
            && waiting.epoch.is_none_or(|epoch| epoch == verdict.e);
        let in_time = self.now <= waiting.deadline || patient;
        if ours && in_time && verdict.o == 1 {
            waiting.passed = true;
            self.parts[part as usize].taken = self.now;
        }
    }

    /// Sends a command; `body` is what follows version and number.
    fn plc_sends(&mut self, body: &str) -> u32 {
        self.plc.next_command += 1;
        let id = self.plc.next_command;
        self.plc_says(id, body);
        id
    }

    fn plc_says(&mut self, id: u32, body: &str) {
        if let Some(conn) = self.plc.conn {
            let payload = Rc::new(format!("{{\"v\":1,\"id\":{id},{body}}}").into_bytes());
            self.send_up(conn, Up::Publish { id: 1, topic: Topic::Command, payload });
        }
    }

    /// Sends a command, and again with the same number until it is answered.
    fn plc_insists(&mut self, body: String) {
        let id = self.plc_sends(&body);
        self.plc.questions.insert(id, body);
        self.after_ms(ANSWER_MS, Ev::PlcAsks(id));
    }

    pub(crate) fn plc_asks(&mut self, id: u32) {
        if let Some(body) = self.plc.questions.get(&id).cloned() {
            self.plc_says(id, &body);
            self.after_ms(ANSWER_MS, Ev::PlcAsks(id));
        }
    }

    /// A consumer has found a hole, or lost what it had.
    pub(crate) fn plc_wants_again(&mut self) {
        let epoch = self.rng.pick(&self.epochs);
        let first = self.rng.between((1, 20));
        let last = first + self.rng.below(40);
        if !self.plc.off {
            let (word, range) = ("replay", format!("\"q0\":{first},\"q1\":{last}"));
            self.plc_insists(format!("\"cmd\":\"{word}\",\"e\":{epoch},{range}"));
        }
    }

    /// A part reaches the sensor.
    pub(crate) fn plc_sees(&mut self, part: u32) {
        if self.plc.off {
            return;
        }
        let blind = self.plan.is(Defect::PlcBlind);
        let continuous = self.plan.regime == Regime::Continuous;
        let mut waiting = Waiting {
            epoch: None,
            triggered: continuous || blind,
            command: 0,
            passed: false,
            deadline: self.now.plus_ms(self.plan.gate_ms),
        };
        if !continuous && (self.plc.sees_ready(self.now) || blind) {
            let word = if self.plan.regime == Regime::Armed { "arm" } else { "trigger" };
            let (trigger, name) = identity(part);
            let body = format!("\"cmd\":\"{word}\",\"t\":{},\"p\":\"{name}\"", trigger.0);
            waiting.command = self.plc_sends(&body);
            // What is triggered by command is triggered from here on.
            waiting.triggered |= self.plan.regime == Regime::Software;
        }
        self.plc.waiting.insert(part, waiting);
        if blind && self.plan.regime == Regime::Armed {
            let us = self.plan.net_us.1;
            self.at(Nanos(self.now.0 + us * 1_000), Ev::Pulse(part));
        }
    }

    fn plc_hears_reply(&mut self, payload: &[u8]) {
        let Ok(reply) = serde_json::from_slice::<Reply>(payload) else { return };
        if !LATER.contains(&reply.k) {
            self.plc.questions.remove(&reply.id);
        }
        let patience = Nanos(0).plus_ms(self.plan.gate_ms.saturating_sub(self.plan.patience_ms));
        let blind = self.plan.is(Defect::PlcBlind);
        let mut pulse = None;
        for (part, waiting) in &mut self.plc.waiting {
            if waiting.command != reply.id || reply.ok != 1 || waiting.epoch.is_some() {
                continue;
            }
            waiting.epoch = Some(reply.e);
            // Too late: the part has left its place before the camera.
            let there = waiting.deadline.since(self.now) >= patience;
            if self.plan.regime == Regime::Armed && there && !blind {
                waiting.triggered = true;
                waiting.deadline = self.now.plus_ms(self.plan.gate_ms);
                pulse = Some(*part);
            }
        }
        if let Some(part) = pulse {
            self.pulse(part);
        }
    }

    /// The part is at the gate.
    pub(crate) fn plc_decides(&mut self, part: u32) -> bool {
        let Some(waiting) = self.plc.waiting.remove(&part) else { return false };
        let same = match (waiting.epoch, self.plc.state) {
            (Some(ours), Some((epoch, _))) => ours == epoch,
            (None, Some(_)) => true,
            (_, None) => false,
        };
        waiting.passed && same && self.plc.sees_ready(self.now)
    }

    /// The PLC restarts: only its counters survive.
    pub(crate) fn plc_restarts(&mut self) {
        if let Some(conn) = self.plc.conn {
            self.hang_up(conn, false);
        }
        let next_command = self.plc.next_command;
        self.plc = Plc { next_command, off: true, ..Plc::default() };
        let ms = self.rng.between((100, 1_500));
        self.after_ms(ms, Ev::PlcStarts);
    }

    pub(crate) fn plc_starts(&mut self) {
        self.plc.off = false;
        self.plc_dials_later();
    }

    /// What a PLC should not send, and sometimes does.
    pub(crate) fn plc_sends_odd(&mut self) {
        let body = self.rng.pick(&[
            "\"cmd\":\"recipe\",\"r\":9",
            "\"cmd\":\"recipe\",\"r\":2",
            "\"cmd\":\"acknowledge\"",
            "\"cmd\":\"mode\",\"m\":\"stop\"",
            "\"cmd\":\"mode\",\"m\":\"continuous\"",
            "\"cmd\":\"mode\",\"m\":\"single\"",
            "\"cmd\":\"test\",\"n\":1",
            "\"cmd\":\"arm\",\"t\":1",
            "\"cmd\":\"nonsense\"",
            "nonsense",
        ]);
        let times = self.rng.pick(&[1, 1, 1, 120]);
        for _ in 0..times {
            self.plc_sends(body);
        }
    }

    /// After odd commands: the mode this line runs in.
    pub(crate) fn plc_sets_mode(&mut self) {
        let continuous = self.plan.regime == Regime::Continuous;
        let mode = if continuous { "continuous" } else { "single" };
        self.plc_sends(&format!("\"cmd\":\"mode\",\"m\":\"{mode}\""));
    }

    /// A fault of the commands on their way.
    pub(crate) fn command_fault(&mut self, fault: Fault) {
        self.commands = Some(fault);
    }
}

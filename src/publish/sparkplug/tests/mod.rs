//! The edge node against the assertions of the Sparkplug 3.0 specification (`tck-id-...`).
//!
//! The [`Monitor`] holds every message of every test to the assertions that apply to all messages;
//! the tests hold single situations to theirs.

mod births;
mod data;
mod monitor;
mod random;
mod session;

use super::events::{Action, Event, Now, Publish, Verb};
use super::node::EdgeNode;
use super::payload::{DataType, Metric, Payload, Value};
use super::types::{Names, Part, Settings, Status};
use crate::calibrate::CalibrationId;
use crate::frame::{Nanos, PartId, RecipeId, TriggerId};
use crate::judge::{Reason, Verdict};
use crate::message::{Counters, VerdictRecord};
use monitor::Monitor;
use prost::Message as _;

const HOST: &str = "scada";
const NCMD: &str = "spBv1.0/hall2/NCMD/line1";
const DCMD: &str = "spBv1.0/hall2/DCMD/line1/camera";
const STATE: &str = "spBv1.0/STATE/scada";
/// Wall time of the first event.
const UNIX_MS: u64 = 1_700_000_000_000;

fn settings(primary_host: Option<&str>) -> Settings {
    Settings {
        host: "127.0.0.1".into(),
        port: 1883,
        tls: None,
        client_id: "crrd-line1-sparkplug".into(),
        credentials: None,
        keep_alive_s: 5,
        names: Names {
            group: "hall2".into(),
            edge: "line1".into(),
            device: "camera".into(),
            primary_host: primary_host.map(str::to_owned),
        },
        version: "1.2.3".into(),
        engine_sha256: "c0ffee".into(),
        classes: vec!["bolt".into(), "washer".into()],
        bd_seq_file: "unused".into(),
    }
}

/// A station that judges.
fn ready() -> Status {
    Status {
        epoch: 3,
        ready: true,
        state: "ContinuousExecution",
        missing: "",
        mode: "Continuous",
        recipe: Some(7),
        missed: 0,
        calibration: 0xab,
        camera: Some(true),
        counters: Counters::default(),
    }
}

/// A station whose camera was pulled out.
fn blind() -> Status {
    Status { ready: false, state: "Initialized", missing: "camera", camera: Some(false), ..ready() }
}

fn record(seq: u32) -> VerdictRecord {
    let mut verdict = Verdict::invalid(Reason::Deadline);
    (verdict.score, verdict.limit, verdict.p_value) = (0.25, 0.5, 0.75);
    VerdictRecord {
        seq,
        epoch: 3,
        trigger: TriggerId(seq + 1000),
        part: PartId::new(&format!("P-{seq}")).unwrap(),
        recipe: RecipeId(7),
        class: 1,
        calibration: CalibrationId(0xab),
        verdict,
        latency: Nanos(12_500_000),
        flags: 0,
    }
}

/// An edge node, its clock, and a monitor that sees all it does.
struct Rig {
    node: EdgeNode,
    now: Now,
    monitor: Monitor,
    parts: u32,
}

impl Rig {
    fn with(primary_host: Option<&str>, last_bd_seq: Option<u8>) -> Self {
        Self {
            node: EdgeNode::new(settings(primary_host), last_bd_seq, 1),
            now: Now { mono: Nanos(1), unix_ms: UNIX_MS },
            monitor: Monitor::new(last_bd_seq, primary_host.is_some()),
            parts: 0,
        }
    }

    /// A station that is ready and has a session.
    fn born() -> Self {
        let mut rig = Self::with(None, None);
        rig.event(Event::Status(ready()));
        rig.connect();
        rig.event(Event::Subscribed);
        rig
    }

    /// The same with a primary host that is online since `UNIX_MS`.
    fn born_with_host() -> Self {
        let mut rig = Self::with(Some(HOST), None);
        rig.event(Event::Status(ready()));
        rig.connect();
        rig.event(Event::Subscribed);
        rig.state(true, UNIX_MS);
        rig
    }

    fn event(&mut self, event: Event) -> Vec<Action> {
        self.monitor.sees(&event);
        let mut actions = Vec::new();
        self.node.handle(self.now, event, &mut actions);
        self.node.check_invariants();
        for action in &actions {
            self.monitor.checks(self.now, action);
        }
        actions
    }

    fn after(&mut self, ms: u64, event: Event) -> Vec<Action> {
        self.now.mono = self.now.mono.plus_ms(ms);
        self.now.unix_ms += ms;
        self.event(event)
    }

    /// CONNECT and CONNACK, whatever wait there is before.
    fn connect(&mut self) -> Vec<Action> {
        let mut actions = self.after(20_000, Event::Tick);
        actions.extend(self.event(Event::Connected));
        actions
    }

    fn lose(&mut self) {
        self.event(Event::Lost { connect_sent: true });
    }

    fn part(&mut self) -> Vec<Action> {
        self.parts += 1;
        let part = Part { record: record(self.parts), at_unix_ms: self.now.unix_ms };
        self.event(Event::Part(part))
    }

    fn message(&mut self, topic: &str, payload: Vec<u8>) -> Vec<Action> {
        self.event(Event::Message { topic: topic.to_owned(), payload })
    }

    fn state(&mut self, online: bool, timestamp: u64) -> Vec<Action> {
        let payload = format!("{{\"online\":{online},\"timestamp\":{timestamp}}}");
        self.message(STATE, payload.into_bytes())
    }

    fn command(&mut self, topic: &str, name: &str, value: Value) -> Vec<Action> {
        let metric = Metric { name: Some(name.to_owned()), value: Some(value), ..blank() };
        let payload = Payload { timestamp: Some(1), metrics: vec![metric], seq: None };
        self.message(topic, payload.encode_to_vec())
    }

    fn rebirth(&mut self) -> Vec<Action> {
        self.command(NCMD, "Node Control/Rebirth", Value::Boolean(true))
    }
}

fn blank() -> Metric {
    Metric::default()
}

/// What was published, decoded.
fn published(actions: &[Action]) -> Vec<(Verb, Payload)> {
    let publishes = actions.iter().filter_map(|action| match action {
        Action::Publish(Publish { verb, payload }) => Some((*verb, payload)),
        _ => None,
    });
    publishes.map(|(verb, bytes)| (verb, Payload::decode(&bytes[..]).unwrap())).collect()
}

fn verbs(actions: &[Action]) -> Vec<Verb> {
    published(actions).into_iter().map(|(verb, _)| verb).collect()
}

/// The payload of the only message of this kind.
fn only(actions: &[Action], verb: Verb) -> Payload {
    let mut found = published(actions).into_iter().filter(|(v, _)| *v == verb);
    let (_, payload) = found.next().unwrap_or_else(|| panic!("no {verb:?} in {actions:?}"));
    assert!(found.next().is_none(), "two of {verb:?}");
    payload
}

fn metric<'a>(payload: &'a Payload, name: &str) -> &'a Metric {
    let found = payload.metrics.iter().find(|m| m.name.as_deref() == Some(name));
    found.unwrap_or_else(|| panic!("no {name} in {payload:?}"))
}

fn bd_seq(payload: &Payload) -> u64 {
    let metric = metric(payload, "bdSeq");
    assert_eq!(metric.datatype, Some(DataType::Int64 as u32));
    match metric.value {
        Some(Value::Long(number)) => number,
        ref other => panic!("bdSeq is {other:?}"),
    }
}

fn will(actions: &[Action]) -> Payload {
    let found = actions.iter().find_map(|action| match action {
        Action::Open { will } => Some(will),
        _ => None,
    });
    Payload::decode(&found.expect("a CONNECT")[..]).unwrap()
}

//! Watches everything an edge node does and panics at the first breach of what the specification
//! asks of every message.

use std::collections::{BTreeMap, BTreeSet};

use super::super::events::{Action, Event, Now, Publish, Verb};
use super::super::payload::{Metric, Payload, Value};
use super::{bd_seq, metric};
use prost::Message as _;

/// Datatypes of the specification's basic table.
const DATATYPES: std::ops::RangeInclusive<u32> = 1..=14;

#[derive(Debug)]
pub(super) struct Monitor {
    awaits_host: bool,
    host_online: bool,
    /// On disk.
    stored: Option<u64>,
    /// Number of the last CONNECT, and whether the next must have the same.
    connect: Option<(u64, bool)>,
    open: bool,
    connected: bool,
    subscribed: bool,
    /// Births of this session.
    node_born: bool,
    device_born: bool,
    /// NDEATH was published.
    dead: bool,
    seq: Option<u64>,
    /// Aliases that the births announced, with their datatypes.
    node_aliases: BTreeMap<u64, u32>,
    device_aliases: BTreeMap<u64, u32>,
}

impl Monitor {
    pub(super) fn new(last_bd_seq: Option<u8>, awaits_host: bool) -> Self {
        Self {
            awaits_host,
            host_online: false,
            stored: last_bd_seq.map(u64::from),
            connect: last_bd_seq.map(|last| (last.into(), false)),
            open: false,
            connected: false,
            subscribed: false,
            node_born: false,
            device_born: false,
            dead: false,
            seq: None,
            node_aliases: BTreeMap::new(),
            device_aliases: BTreeMap::new(),
        }
    }

    pub(super) fn is_born(&self) -> bool {
        self.node_born && !self.dead
    }

    pub(super) fn sees(&mut self, event: &Event) {
        match event {
            Event::Connected => self.connected = self.open,
            Event::Subscribed => self.subscribed = self.connected,
            Event::Lost { connect_sent } if self.open => {
                if let Some((_, repeat)) = &mut self.connect {
                    *repeat = !connect_sent;
                }
                *self = Self { stored: self.stored, connect: self.connect, ..self.fresh() };
            }
            Event::Message { topic, payload } if topic == super::STATE => {
                let text = String::from_utf8_lossy(payload);
                self.host_online |= text.contains("true");
            }
            _ => {}
        }
    }

    fn fresh(&self) -> Self {
        Self::new(None, self.awaits_host)
    }

    pub(super) fn checks(&mut self, now: Now, action: &Action) {
        match action {
            Action::StoreBdSeq(number) => self.stored = Some((*number).into()),
            Action::Open { will } => self.open(now, will),
            Action::Subscribe(_) => assert!(self.connected, "subscribed without a connection"),
            Action::Publish(publish) => self.publish(now, publish),
            // tck-id-payloads-ndeath-will-message-publisher-disconnect-mqtt311
            // tck-id-operational-behavior-edge-node-intentional-disconnect-ndeath
            Action::Close => assert!(self.dead, "DISCONNECT without NDEATH"),
            Action::Abandon | Action::Tell(_) => {}
        }
    }

    fn open(&mut self, now: Now, will: &[u8]) {
        // tck-id-payloads-ndeath-will-message, tck-id-message-flow-edge-node-birth-publish-will-message
        // tck-id-message-flow-edge-node-birth-publish-will-message-payload
        let payload = Payload::decode(will).unwrap();
        self.death(now, &payload);
        // tck-id-topics-nbirth-bdseq-increment
        // tck-id-message-flow-edge-node-birth-publish-will-message-payload-bdSeq
        let number = bd_seq(&payload);
        let expected = match self.connect {
            None => 0,
            Some((last, true)) => last,
            Some((last, false)) => (last + 1) % 256,
        };
        assert_eq!(number, expected, "bdSeq");
        assert_eq!(self.stored, Some(number), "bdSeq is on disk before the CONNECT");
        self.connect = Some((number, false));
        self.open = true;
    }

    fn death(&self, now: Now, payload: &Payload) {
        // tck-id-topics-ndeath-payload, tck-id-topics-ndeath-seq, tck-id-payloads-ndeath-seq
        assert_eq!(payload.metrics.len(), 1, "NDEATH has bdSeq and nothing else");
        assert_eq!(payload.seq, None, "NDEATH has no sequence number");
        assert_eq!(payload.timestamp, Some(now.unix_ms));
    }

    fn publish(&mut self, now: Now, publish: &Publish) {
        let verb = publish.verb;
        let payload = Payload::decode(&publish.payload[..]).unwrap();
        // tck-id-topics-nbirth-timestamp and its like for each verb, tck-id-payloads-timestamp-in-UTC
        assert_eq!(payload.timestamp, Some(now.unix_ms), "{verb:?}");
        // tck-id-message-flow-edge-node-birth-publish-connect
        assert!(self.connected && self.subscribed && !self.dead, "{verb:?} outside a session");
        // tck-id-message-flow-edge-node-birth-publish-phid-wait
        assert!(!self.awaits_host || self.host_online, "{verb:?} without the primary host");
        // tck-id-principles-birth-certificates-order
        assert!(self.node_born || verb == Verb::NBirth, "{verb:?} before NBIRTH");
        if verb == Verb::NDeath {
            self.death(now, &payload);
            self.same_session(&payload);
            self.dead = true;
            return;
        }
        self.sequence(verb, payload.seq);
        match verb {
            Verb::NBirth => self.node_birth(&payload),
            Verb::DBirth => self.device_birth(&payload),
            Verb::NData => data(&payload, &self.node_aliases),
            Verb::DData => {
                // tck-id-payloads-ddata-order
                assert!(self.device_born, "DDATA before DBIRTH");
                data(&payload, &self.device_aliases);
            }
            Verb::DDeath => {
                assert!(self.device_born, "DDEATH without a DBIRTH");
                self.device_born = false;
            }
            Verb::NDeath => {}
        }
    }

    fn sequence(&mut self, verb: Verb, seq: Option<u64>) {
        // tck-id-payloads-sequence-num-always-included, tck-id-payloads-sequence-num-incrementing,
        // tck-id-topics-nbirth-seq-num, tck-id-payloads-dbirth-seq-inc and its like for each verb
        let expected = match (verb, self.seq) {
            (Verb::NBirth, _) | (_, None) => 0,
            (_, Some(last)) => (last + 1) % 256,
        };
        assert_eq!(seq, Some(expected), "{verb:?}");
        self.seq = seq;
    }

    /// tck-id-payloads-nbirth-bdseq-repeat, tck-id-payloads-ndeath-bdseq,
    /// tck-id-topics-nbirth-bdseq-matching
    fn same_session(&self, payload: &Payload) {
        assert_eq!(Some(bd_seq(payload)), self.connect.map(|(number, _)| number));
    }

    fn node_birth(&mut self, payload: &Payload) {
        // tck-id-payloads-nbirth-bdseq, tck-id-topics-nbirth-bdseq-included
        self.same_session(payload);
        // tck-id-payloads-nbirth-rebirth-req, tck-id-topics-nbirth-rebirth-metric,
        // tck-id-operational-behavior-data-commands-rebirth-datatype
        let rebirth = metric(payload, "Node Control/Rebirth");
        assert_eq!((rebirth.datatype, &rebirth.value), (Some(11), &Some(Value::Boolean(false))));
        // tck-id-operational-behavior-data-commands-rebirth-name-aliases
        assert_eq!(rebirth.alias, None);
        self.node_aliases = birth(payload);
        (self.node_born, self.device_born) = (true, false);
        self.unique_aliases();
    }

    fn device_birth(&mut self, payload: &Payload) {
        // tck-id-message-flow-device-birth-publish-nbirth-wait
        assert!(self.node_born && !self.device_born);
        self.device_aliases = birth(payload);
        self.device_born = true;
        self.unique_aliases();
    }

    /// tck-id-payloads-alias-uniqueness
    fn unique_aliases(&self) {
        let shared = self.node_aliases.keys().find(|alias| self.device_aliases.contains_key(alias));
        assert_eq!(shared, None, "an alias of node and device");
    }
}

/// Aliases and datatypes of a birth.
fn birth(payload: &Payload) -> BTreeMap<u64, u32> {
    let mut aliases = BTreeMap::new();
    let mut names = BTreeSet::new();
    for metric in &payload.metrics {
        // tck-id-topics-nbirth-metrics, tck-id-topics-dbirth-metrics,
        // tck-id-payloads-metric-datatype-req, tck-id-payloads-name-birth-data-requirement
        let name = metric.name.as_deref().expect("births carry names");
        let datatype = metric.datatype.expect("births carry datatypes");
        assert!(metric.timestamp.is_some(), "{name} has no timestamp");
        // tck-id-payloads-metric-datatype-value
        assert!(DATATYPES.contains(&datatype), "{name}");
        // tck-id-case-sensitivity-metric-names
        assert!(names.insert(name.to_lowercase()), "{name} twice");
        value(metric, datatype);
        properties(metric);
        // tck-id-payloads-alias-birth-requirement
        if let Some(alias) = metric.alias {
            assert!(aliases.insert(alias, datatype).is_none(), "alias of {name} twice");
        } else {
            assert!(["bdSeq", "Node Control/Rebirth"].contains(&name), "{name} has no alias");
        }
    }
    aliases
}

fn data(payload: &Payload, aliases: &BTreeMap<u64, u32>) {
    assert!(!payload.metrics.is_empty(), "data without a metric");
    for metric in &payload.metrics {
        // tck-id-payloads-alias-data-cmd-requirement
        assert_eq!(metric.name, None, "data carries no names");
        // tck-id-payloads-metric-datatype-not-req
        assert_eq!(metric.datatype, None, "data carries no datatypes");
        assert_eq!(metric.properties, None);
        // tck-id-payloads-name-birth-data-requirement
        assert!(metric.timestamp.is_some());
        // tck-id-topics-nbirth-metric-reqs, tck-id-topics-dbirth-metric-reqs,
        // tck-id-operational-behavior-data-publish-nbirth: nothing that the birth did not announce
        let alias = metric.alias.expect("data carries aliases");
        value(metric, *aliases.get(&alias).unwrap_or_else(|| panic!("alias {alias} is new")));
    }
    // tck-id-operational-behavior-data-publish-dbirth-order
    let live = payload.metrics.iter().filter(|m| m.is_historical != Some(true));
    assert!(live.map(|m| m.timestamp).is_sorted(), "live values are in order of time");
}

/// tck-id-operational-behavior-data-publish-nbirth-values and -dbirth-values, and the field that
/// the datatype prescribes.
fn value(metric: &Metric, datatype: u32) {
    let fits = match &metric.value {
        None => metric.is_null == Some(true),
        Some(_) if metric.is_null == Some(true) => false,
        Some(Value::Int(_)) => datatype == 3,
        Some(Value::Long(_)) => datatype == 4,
        Some(Value::Float(f)) => datatype == 9 && f.is_finite(),
        Some(Value::Double(_)) => datatype == 10,
        Some(Value::Boolean(_)) => datatype == 11,
        Some(Value::Text(_)) => datatype == 12,
    };
    assert!(fits, "{metric:?} is not of datatype {datatype}");
}

/// tck-id-payloads-propertyset-keys-array-size, tck-id-payloads-propertyset-values-array-size,
/// tck-id-payloads-metric-propertyvalue-type-req
fn properties(metric: &Metric) {
    let Some(set) = &metric.properties else { return };
    assert_eq!(set.keys.len(), set.values.len());
    for value in &set.values {
        assert!(value.datatype.is_some_and(|d| DATATYPES.contains(&d)) && value.text.is_some());
    }
}

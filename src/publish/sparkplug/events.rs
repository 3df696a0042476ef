//! The edge node's alphabet: events in, actions out.

use super::types::{Names, Part, Status};
use crate::frame::Nanos;

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Now {
    pub(super) mono: Nanos,
    pub(super) unix_ms: u64,
}

/// What happened.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// Time has passed.
    Tick,
    /// The broker accepted the connection.
    Connected,
    /// The broker answered the subscriptions.
    Subscribed,
    /// A message on a subscribed topic.
    Message { topic: String, payload: Vec<u8> },
    /// There is no connection (any more), or it could not be made. `connect_sent` is false only
    /// when it is certain that the broker never saw our CONNECT.
    Lost { connect_sent: bool },
    /// A part was answered and journaled.
    Part(Part),
    /// The station's state.
    Status(Status),
    /// So many parts found no room on their way to this machine, in all.
    Dropped(u64),
    /// The station ends.
    Stop,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// Keep the number of the session that begins, durably, before it begins.
    StoreBdSeq(u8),
    /// Connect with a clean session and this NDEATH as the last will.
    Open {
        will: Vec<u8>,
    },
    /// Subscribe to these topics with QoS 1.
    Subscribe(Vec<String>),
    Publish(Publish),
    /// Send a DISCONNECT after what was published, then report [`Event::Lost`].
    Close,
    /// Give the connection up at once, then report [`Event::Lost`].
    Abandon,
    Tell(Note),
}

/// Something for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Note {
    Born {
        bd_seq: u8,
    },
    HostOffline,
    AwaitingHost,
    /// Commands that were not taken, in all.
    Refused(u64),
    /// Parts that found no room among those to be told later, in all.
    Dropped(u64),
}

/// A message for the broker.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Publish {
    pub(super) verb: Verb,
    pub(super) payload: Vec<u8>,
}

/// What a message of an edge node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Verb {
    NBirth,
    NData,
    NDeath,
    DBirth,
    DData,
    DDeath,
}

impl Verb {
    /// MQTT quality of service: the specification allows births and data no acknowledgement.
    pub(super) fn qos(self) -> u8 {
        u8::from(self == Verb::NDeath)
    }

    /// Nothing of an edge node is ever retained.
    pub(super) const RETAIN: bool = false;
}

/// Topic names of one edge node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Topics {
    group: String,
    edge: String,
    device: String,
    pub(super) node_command: String,
    pub(super) device_command: String,
    pub(super) host_state: Option<String>,
}

/// First topic level of Sparkplug B.
const NAMESPACE: &str = "spBv1.0";

impl Topics {
    pub(super) fn new(names: &Names) -> Self {
        let Names { group, edge, device, primary_host } = names;
        Self {
            group: group.clone(),
            edge: edge.clone(),
            device: device.clone(),
            node_command: format!("{NAMESPACE}/{group}/NCMD/{edge}"),
            device_command: format!("{NAMESPACE}/{group}/DCMD/{edge}/{device}"),
            host_state: primary_host.as_ref().map(|host| format!("{NAMESPACE}/STATE/{host}")),
        }
    }

    pub(super) fn of(&self, verb: Verb) -> String {
        let Self { group, edge, device, .. } = self;
        let node = |verb| format!("{NAMESPACE}/{group}/{verb}/{edge}");
        match verb {
            Verb::NBirth => node("NBIRTH"),
            Verb::NData => node("NDATA"),
            Verb::NDeath => node("NDEATH"),
            Verb::DBirth => format!("{}/{device}", node("DBIRTH")),
            Verb::DData => format!("{}/{device}", node("DDATA")),
            Verb::DDeath => format!("{}/{device}", node("DDEATH")),
        }
    }

    /// What an edge node listens to.
    pub(super) fn subscriptions(&self) -> Vec<String> {
        let own = [self.node_command.clone(), self.device_command.clone()];
        own.into_iter().chain(self.host_state.clone()).collect()
    }
}

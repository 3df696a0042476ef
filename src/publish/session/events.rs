//! The session's alphabet: events in, actions out.

use crate::publish::types::{Report, Row, RowId};

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// Begin.
    Start,
    /// The broker accepted the connection; `newest` is the newest row in the outbox.
    Connected {
        /// Newest row in the outbox.
        newest: RowId,
    },
    /// There is no connection (any more), or it could not be made.
    Disconnected,
    /// The next handed publish got this packet id.
    Sent(u16),
    /// The broker acknowledged this packet id.
    Acked(u16),
    /// The broker answered this packet id with a reason why it does not pass the publish on.
    Refused {
        /// Packet id.
        id: u16,
        /// The broker's words.
        reason: &'static str,
    },
    /// A row was committed.
    Live(Row),
    /// Answer to [`Action::ReadBacklog`].
    Backlog(Vec<Row>),
    /// The outbox could not be read.
    BacklogFailed,
    /// New payload of the state topic.
    State(Vec<u8>),
    /// Time has passed; `newest` is the newest row in the outbox.
    Tick {
        /// Newest row in the outbox.
        newest: RowId,
    },
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make a new connection after this many milliseconds.
    Connect {
        /// Wait before it.
        after_ms: u64,
    },
    /// Give the connection up, then report [`Event::Disconnected`].
    Disconnect(&'static str),
    /// Hand a publish to the client.
    Publish(Publish),
    /// Read rows, then report [`Event::Backlog`].
    ReadBacklog {
        /// Rows after this one.
        after: RowId,
        /// At most so many.
        limit: usize,
    },
    /// Everything up to this row was delivered.
    CommitCursor(RowId),
    /// Tell the station.
    Report(Report),
}

/// A message for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Where to.
    pub topic: Topic,
    /// What; empty for a heartbeat, whose payload is made of the counter.
    pub payload: Vec<u8>,
}

/// Topics; their names, quality of service and retention are the shell's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Live verdicts.
    Verdict,
    /// Newest verdict, retained.
    Last,
    /// State of the station, retained.
    State,
    /// Number of the heartbeat; the only one without acknowledgement.
    Heartbeat(u64),
    /// Late verdicts.
    Hist,
    /// Masks.
    Mask,
    /// Events.
    Event,
}

impl Topic {
    /// Its last level.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Verdict => "verdict",
            Self::Last => "last",
            Self::State => "state",
            Self::Heartbeat(_) => "hb",
            Self::Hist => "hist",
            Self::Mask => "mask",
            Self::Event => "event",
        }
    }
}

/// Counters of the session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Publishes handed to the connection, duplicates included.
    pub published: u64,
    /// Publishes acknowledged by the broker.
    pub acked: u64,
    /// Connections that stood.
    pub connections: u64,
    /// Verdicts handed out late.
    pub late: u64,
    /// Payloads skipped because they are too large.
    pub undeliverable: u64,
    /// Announced rows that found no room and go out late.
    pub crowded_out: u64,
}

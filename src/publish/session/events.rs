//! The session's alphabet: events in, actions out.

use crate::publish::types::{Report, Row, RowId};

/// What happened.
#[derive(Clone, Debug)]
pub(crate) enum Event {
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
pub(crate) enum Action {
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
pub(crate) struct Publish {
    /// Where to.
    pub(crate) topic: Topic,
    /// What; empty for a heartbeat, whose payload is made of the counter.
    pub(crate) payload: Vec<u8>,
}

/// Topics; their names, quality of service and retention are the shell's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Topic {
    Verdict,
    Last,
    State,
    /// Number of the heartbeat; the only one without acknowledgement.
    Heartbeat(u64),
    Hist,
    Mask,
    Event,
}

/// Counters of the session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) published: u64,
    pub(crate) acked: u64,
    pub(crate) connections: u64,
    pub(crate) late: u64,
    pub(crate) undeliverable: u64,
    pub(crate) crowded_out: u64,
}

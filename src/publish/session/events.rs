//! The session's alphabet: events in, actions out.

use crate::frame::Nanos;
use crate::publish::types::{ReplayRange, Report, Row, RowId};

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
    Live {
        /// The row.
        row: Row,
        /// After this it moves nothing any more and goes out late; `None` = it has no such time.
        until: Option<Nanos>,
    },
    /// Answer to [`Action::ReadBacklog`].
    Backlog(Vec<Row>),
    /// The outbox could not be read.
    BacklogFailed,
    /// New payload of the state topic.
    State(Vec<u8>),
    /// The answer to a command. It goes out before anything else, or not at all: without a
    /// connection, when it breaks, or when [`super::limits::REPLIES_MAX`] wait, it is dropped and
    /// counted. Whoever asked asks again.
    Reply(Vec<u8>),
    /// New metrics; older ones that still wait are replaced.
    Health(Vec<u8>),
    /// The calibration in force; told after every connect, too.
    Calibration(Vec<u8>),
    /// Verdicts to be sent again, when [`super::Session::can_replay`].
    Replay(ReplayRange),
    /// Answer to [`Action::ReadRange`].
    Range {
        /// The verdicts of the range that were found, in order.
        rows: Vec<Row>,
        /// Where the next page begins; `None` when this was the last.
        next: Option<RowId>,
    },
    /// The outbox could not be read for it.
    RangeFailed,
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
    /// Read verdicts of a range, then report [`Event::Range`].
    ReadRange {
        /// Which.
        range: ReplayRange,
        /// Rows after this one; `None` = from the beginning of the range.
        after: Option<RowId>,
        /// Look at no more rows than these.
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
    /// What; empty for a heartbeat, whose payload is made of the counter. For
    /// [`Topic::Binary`] the JSON that the shell makes the binary form of.
    pub payload: Vec<u8>,
    /// How long a live verdict is still of use; `None` = as long as any.
    pub lasts: Option<Nanos>,
}

impl Publish {
    /// One without a time of its own.
    pub fn new(topic: Topic, payload: Vec<u8>) -> Self {
        Self { topic, payload, lasts: None }
    }
}

/// Topics; their names, quality of service and retention are the shell's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Live verdicts.
    Verdict,
    /// The same as 64 bytes.
    Binary,
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
    /// Answers to commands.
    Reply,
    /// Metrics.
    Health,
    /// The calibration in force.
    Calibration,
}

impl Topic {
    /// Its last level.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Verdict => "verdict",
            Self::Binary => "vbin",
            Self::Last => "last",
            Self::State => "state",
            Self::Heartbeat(_) => "hb",
            Self::Hist => "hist",
            Self::Mask => "mask",
            Self::Event => "event",
            Self::Reply => "cmdack",
            Self::Health => "health",
            Self::Calibration => "calib",
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
    /// Announced rows that found no room, or none in their time, and go out late.
    pub crowded_out: u64,
    /// Answers to commands that were dropped: there was no connection, it broke before their
    /// acknowledgement, or there was no room. All others were acknowledged.
    pub replies_dropped: u64,
}

//! What the publisher is told, and what it needs from the rest of the station.

use std::fmt;

use super::session::Topic;

/// Number of a journal row: grows with time, never used twice, 0 = before the first.
pub type RowId = u64;

/// What a row is; decides its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowKind {
    /// Goes to `verdict` when live, to `hist` when late.
    Verdict,
    /// Goes to `event`.
    Event,
    /// Goes to `hist`, whenever it comes.
    LateResult,
}

/// A journaled row to deliver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its number in the journal.
    pub id: RowId,
    /// What it is.
    pub kind: RowKind,
    /// Bytes to publish.
    pub payload: Vec<u8>,
    /// Bytes for the mask topic.
    pub mask: Option<Vec<u8>>,
}

/// The durable truth that the publisher delivers from; the pipeline puts the journal behind it.
///
/// Called from the publisher's thread only. Calls may take a disk read; nothing else.
pub trait Outbox: Send {
    /// The cursor as it was stored: everything up to it was delivered.
    fn cursor(&self) -> RowId;

    /// Number of the newest committed row. Asked often: must not touch the disk.
    fn newest(&self) -> RowId;

    /// At most `limit` rows after `after`, in order of their numbers; empty when there is none.
    ///
    /// # Errors
    /// When they cannot be read now; the publisher tries again later.
    fn backlog(&mut self, after: RowId, limit: usize) -> Result<Vec<Row>, OutboxError>;

    /// The verdicts of `range` among the next `limit` rows after `after`, or from the beginning of
    /// the range on.
    ///
    /// # Errors
    /// When they cannot be read now; the publisher tries again later.
    fn range(
        &mut self,
        range: &ReplayRange,
        after: Option<RowId>,
        limit: usize,
    ) -> Result<RangePage, OutboxError>;

    /// Everything up to `cursor` was delivered; never called with a smaller one than before.
    /// May be stored lazily: losing it costs duplicates only.
    ///
    /// # Errors
    /// When it cannot be stored; the publisher goes on.
    fn commit_cursor(&mut self, cursor: RowId) -> Result<(), OutboxError>;
}

/// Makes the binary form of a verdict from its payload.
pub type BinaryForm = fn(&[u8]) -> Vec<u8>;

/// Verdicts of one boot epoch that are to be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayRange {
    /// Number of the command that asked for them.
    pub id: u32,
    /// Boot epoch.
    pub epoch: u32,
    /// First result number.
    pub first: u32,
    /// Last result number.
    pub last: u32,
}

/// A page of a [`ReplayRange`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangePage {
    /// The verdicts found, in order of their numbers in the journal.
    pub rows: Vec<Row>,
    /// Where the next page begins; `None` behind the last.
    pub next: Option<RowId>,
}

/// What came on a subscribed topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inbound {
    /// On the command topic.
    Command {
        /// What; empty when it was too large to be a command.
        payload: Vec<u8>,
        /// The broker kept it from another time.
        retained: bool,
    },
    /// On the receipt topic.
    Receipt(Vec<u8>),
}

/// An outbox that failed.
pub type OutboxError = Box<dyn std::error::Error + Send + Sync>;

/// Full topic names; from `message::Topics`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicNames {
    /// Live verdicts.
    pub verdict: String,
    /// The same in binary form; published when [`Settings::binary`] says how.
    pub binary: String,
    /// Newest verdict, retained; `None` = not published.
    pub last: Option<String>,
    /// State of the station, retained; also the last will.
    pub state: String,
    /// Heartbeat.
    pub heartbeat: String,
    /// Late verdicts.
    pub hist: String,
    /// Masks.
    pub mask: String,
    /// Events.
    pub event: String,
    /// Commands to the station: listened to when it is among [`Settings::subscriptions`].
    pub command: String,
    /// Answers to commands.
    pub reply: String,
    /// Receipts of consumers: listened to like commands.
    pub receipt: String,
    /// Metrics.
    pub health: String,
    /// The calibration in force.
    pub calibration: String,
}

impl TopicNames {
    /// The name of a topic.
    pub(super) fn of(&self, topic: Topic) -> &str {
        match topic {
            Topic::Verdict => &self.verdict,
            Topic::Binary => &self.binary,
            Topic::Last => self.last.as_ref().unwrap_or(&self.verdict),
            Topic::State => &self.state,
            Topic::Heartbeat(_) => &self.heartbeat,
            Topic::Hist => &self.hist,
            Topic::Mask => &self.mask,
            Topic::Event => &self.event,
            Topic::Reply => &self.reply,
            Topic::Health => &self.health,
            Topic::Calibration => &self.calibration,
        }
    }
}

/// User name and password for the broker; the password is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub user: String,
    /// Password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({}, password hidden)", self.user)
    }
}

/// Version of the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1.
    #[default]
    V3_1_1,
    /// MQTT 5: verdicts expire, and a refused publish is told.
    V5,
}

/// Where and how to publish.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Broker's host name or address.
    pub host: String,
    /// Broker's port.
    pub port: u16,
    /// Version of MQTT.
    pub version: Version,
    /// TLS; `None` = plain TCP.
    pub tls: Option<super::TlsFiles>,
    /// MQTT client id; must be unique at the broker.
    pub client_id: String,
    /// User name and password.
    pub credentials: Option<Credentials>,
    /// Keep-alive in seconds, at least 1; a dead connection is noticed within twice this.
    pub keep_alive_s: u16,
    /// Topic names.
    pub topics: TopicNames,
    /// Topics to listen on after every connect, QoS 1, without wildcards.
    pub subscriptions: Vec<String>,
    /// Retained `state` payload that the broker publishes when the connection breaks.
    pub will: Vec<u8>,
    /// After so many seconds the broker forgets a live verdict that has no time of its own, at
    /// least 1; MQTT 5 only.
    pub live_expiry_s: u32,
    /// First `state` payload; later ones by [`super::Publisher::set_state`].
    pub state: Vec<u8>,
    /// First payload of the calibration topic; empty = nothing to tell. Later ones by
    /// [`super::Publisher::set_calibration`].
    pub calibration: Vec<u8>,
    /// Heartbeat payload of a counter.
    pub heartbeat: fn(u64) -> Vec<u8>,
    /// Makes the binary form of a verdict from its payload; `None` = it is not published.
    pub binary: Option<BinaryForm>,
    /// Tuning of the delivery protocol.
    pub limits: super::Limits,
}

/// Something the station should know (journal it as an event, log it).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// A payload is larger than the packet limit allows and was skipped; its row counts as done.
    Undeliverable {
        /// Journal row.
        row: RowId,
        /// True when only its mask was skipped.
        mask: bool,
        /// Payload size.
        bytes: usize,
        /// Limit.
        bytes_max: usize,
    },
    /// What belongs to no row (metrics, the calibration) is larger than the packet limit allows and
    /// was left out; told once for each topic and limit.
    TooLarge {
        /// Last level of the topic.
        topic: &'static str,
        /// Payload size.
        bytes: usize,
        /// Limit.
        bytes_max: usize,
    },
    /// The broker cuts us off right after connecting, again and again: most likely another client
    /// uses our client id.
    TakeoverSuspected {
        /// Short connections in a row.
        times: u32,
    },
    /// The broker did not pass a publish on. A mask or the newest verdict for displays is then
    /// left out; anything else is tried again for ever.
    PublishRefused {
        /// Last level of the topic.
        topic: &'static str,
        /// The broker's reason.
        reason: &'static str,
    },
    /// A message to us was so large that it broke the connection; for a while nothing is heard.
    CommandOverrun {
        /// Its size.
        bytes: usize,
    },
    /// A replay is over: what of its range is in the journal was sent again.
    Replayed {
        /// The range.
        range: ReplayRange,
        /// Verdicts sent.
        rows: u64,
    },
    /// The broker does not let us listen on a topic: what is sent there is not heard.
    SubscriptionRefused {
        /// The topic.
        topic: String,
    },
}

/// Counters for the health message; a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Connected to the broker now.
    pub connected: bool,
    /// Publishes handed to the connection, duplicates included.
    pub published: u64,
    /// Publishes acknowledged by the broker.
    pub acked: u64,
    /// Publishes waiting for their acknowledgement.
    pub in_flight: u32,
    /// Connections made after the first.
    pub reconnects: u64,
    /// Verdicts sent on `hist` that missed their moment.
    pub late: u64,
    /// Rows known to be undelivered (an upper bound).
    pub backlog_rows: u64,
    /// Rows skipped as undeliverable.
    pub undeliverable: u64,
    /// Live notifications dropped because a queue was full, or their time was over before there
    /// was room; their rows go out as late ones.
    pub notifications_dropped: u64,
    /// Answers to commands that were dropped: no connection, it broke before they were
    /// acknowledged, or no room.
    pub replies_dropped: u64,
    /// Everything up to this row was delivered.
    pub cursor: RowId,
    /// Last connection error; empty when there was none.
    pub last_error: String,
}

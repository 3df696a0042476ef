//! What goes into the journal and comes out of it.

use std::path::PathBuf;

/// Number of a journal row: grows by one per row, never used twice, 0 = before the first.
pub type RowId = u64;

/// What a row is; decides the topic it is published on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RowKind {
    /// A verdict.
    Verdict = 0,
    /// An event (gap, missed trigger, calibration change). Always committed with a full sync.
    Event = 1,
    /// The result of a part whose answer was given at its deadline, without it: for the record
    /// only, never live.
    LateResult = 2,
}

impl RowKind {
    pub(super) fn from_i64(value: i64) -> Option<Self> {
        match value {
            0 => Some(Self::Verdict),
            1 => Some(Self::Event),
            2 => Some(Self::LateResult),
            _ => None,
        }
    }
}

/// A row to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Boot epoch the payload carries ([`Opened::epoch`]).
    pub epoch: u32,
    /// Sequence number within the epoch; 0 for events, which have none.
    pub seq: u32,
    /// What it is.
    pub kind: RowKind,
    /// Wall time in seconds since 1970 from `sys::clock`; used for the age bound only, never for
    /// order. 0 = unknown (such a row is never too old).
    pub at_unix_s: u64,
    /// What goes over the wire, byte for byte.
    pub payload: Vec<u8>,
    /// Full record for audit; may be empty.
    pub detail: Vec<u8>,
    /// Message for the mask topic, when the verdict has one.
    pub mask: Option<Vec<u8>>,
}

/// A row as it is read for delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its number.
    pub id: RowId,
    /// Boot epoch.
    pub epoch: u32,
    /// Sequence number within the epoch; 0 for events.
    pub seq: u32,
    /// What it is.
    pub kind: RowKind,
    /// What goes over the wire.
    pub payload: Vec<u8>,
    /// Message for the mask topic; `None` also when it had to be dropped for room.
    pub mask: Option<Vec<u8>>,
}

/// When a commit counts as done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sync {
    /// On the device: survives a power cut. One fsync per group commit.
    #[default]
    Full,
    /// In the operating system: survives a kill of the process; a power cut may take the last
    /// commits, back to the last move to the database (never the database). Events are synced
    /// fully all the same.
    Normal,
}

/// How the journal is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// When a commit counts as done.
    pub sync: Sync,
    /// Bound of what the database holds, in bytes: a transaction that finds more there makes room
    /// before it adds its rows. A file that was larger keeps its size and uses its pages again.
    pub bytes_max: u64,
    /// Delivered rows older than this many days (by [`Entry::at_unix_s`] against the newest row)
    /// are dropped; 0 = never. Undelivered rows never age: a wrong clock must not lose a verdict.
    pub age_days_max: u32,
    /// Writes the event payload of a notice; gets the boot epoch. The journal appends the result
    /// as a [`RowKind::Event`] row in the transaction that caused it.
    pub notice: fn(u32, &Notice) -> Vec<u8>,
}

impl Options {
    /// Smallest bound that leaves room for a useful history, in bytes.
    pub const BYTES_MIN: u64 = 1 << 20;
    /// Default bound in bytes: some millions of verdicts.
    pub const BYTES_DEFAULT: u64 = 2 << 30;
}

/// Something was lost and must be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Undelivered verdicts were dropped for room.
    RowsDropped {
        /// Verdicts dropped.
        rows: u64,
        /// (epoch, seq) of the first verdict dropped.
        first: (u32, u32),
        /// (epoch, seq) of the last verdict dropped.
        last: (u32, u32),
    },
    /// Undelivered late results were dropped for room; their parts' answers are still there.
    LateResultsDropped {
        /// Results dropped.
        rows: u64,
        /// (epoch, seq) of the first.
        first: (u32, u32),
        /// (epoch, seq) of the last.
        last: (u32, u32),
    },
    /// Undelivered events were dropped for room.
    EventsDropped {
        /// Events dropped.
        rows: u64,
    },
    /// Masks of undelivered rows were dropped for room; the verdicts are still there.
    MasksDropped {
        /// Masks dropped.
        rows: u64,
        /// (epoch, seq) of the first.
        first: (u32, u32),
        /// (epoch, seq) of the last.
        last: (u32, u32),
    },
    /// The database could not be read and was started afresh.
    Restarted(Restarted),
}

/// A database that could not be read was moved aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restarted {
    /// Where it lies now.
    pub moved_to: PathBuf,
    /// What was wrong with it.
    pub cause: String,
    /// Undelivered rows that could still be read and were carried over.
    pub carried_over: u64,
}

/// What [`super::Journal::open`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Boot epoch of this run: one more than ever before in this folder.
    pub epoch: u32,
    /// Everything up to this row was delivered.
    pub cursor: RowId,
    /// Newest row.
    pub newest: RowId,
    /// Rows still to deliver (at most `newest - cursor`).
    pub undelivered: u64,
    /// Set when the database had to be started afresh.
    pub restarted: Option<Restarted>,
}

/// Counters since open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Rows appended.
    pub appended: u64,
    /// Groups committed.
    pub commits: u64,
    /// Transactions by which rows moved on to the database.
    pub moves: u64,
    /// Delivered rows dropped by the bounds.
    pub trimmed: u64,
    /// Undelivered rows dropped: lost.
    pub lost_rows: u64,
    /// Masks of undelivered rows dropped: lost.
    pub lost_masks: u64,
    /// Bytes of the database in use.
    pub bytes: u64,
}

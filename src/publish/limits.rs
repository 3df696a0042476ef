//! Tuning of the delivery protocol: every bound by name, with its unit and reason.

/// Bounds of the delivery protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Acknowledged publishes in flight at most, all lanes together.
    pub window: u16,
    /// Share of the window that late rows, masks and events may fill. The rest is kept free for
    /// live verdicts and the state, so that a backlog never delays them.
    pub bulk_window: u16,
    /// Live rows waiting for the window; beyond it a row goes out as a late one.
    pub live_rows_max: usize,
    /// Masks and events waiting for the window; beyond it their row goes out as a late one.
    pub bulk_queue_max: usize,
    /// Largest payload that is handed to the connection, in bytes. The MQTT packet limit is
    /// derived from it; a larger packet would block the connection for ever.
    pub payload_bytes_max: usize,
    /// Longest wait for an acknowledgement before the connection is given up, in milliseconds.
    pub ack_wait_ms_max: u64,
    /// First wait before connecting again, in milliseconds; doubles with each failure.
    pub backoff_ms_min: u64,
    /// Longest wait before connecting again, in milliseconds. There is no last try.
    pub backoff_ms_max: u64,
    /// Time between heartbeats, in milliseconds.
    pub heartbeat_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            window: 64,
            bulk_window: 32,
            live_rows_max: 256,
            bulk_queue_max: 256,
            // The mask message is at most 8 kB of mask and some text; Beckhoff takes 100 kB.
            payload_bytes_max: 16 << 10,
            ack_wait_ms_max: 10_000,
            backoff_ms_min: 100,
            backoff_ms_max: 10_000,
            heartbeat_ms: 500,
        }
    }
}

/// Rows asked from the outbox at once: one read serves two bulk windows, and memory stays small
/// when each carries a mask.
pub(super) const PAGE_ROWS: usize = 64;
/// A row the journal shows but nobody announced is waited for this long, in milliseconds: its
/// announcement is usually on its way, and then it goes out live.
pub(super) const GRACE_MS: u64 = 100;
/// Wait before the outbox is read again after it failed, in milliseconds.
pub(super) const OUTBOX_RETRY_MS: u64 = 1_000;
/// Rows the cursor may move before it is handed to the outbox at once rather than at the tick.
pub(super) const CURSOR_STEP_ROWS: u64 = 64;
/// A connection that lived shorter than this was cut off right after connecting, in milliseconds.
pub(super) const SHORT_LIVED_MS: u64 = 5_000;
/// Short connections in a row that look like a second client with our id.
pub(super) const TAKEOVER_TIMES: u32 = 3;

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
            // Measured: 32 messages ahead of a live verdict cost it five times its median latency,
            // 8 twice, and a backlog drains about as fast. On a steady line there are none.
            bulk_window: 8,
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

/// What a broker takes, as it said when it took the connection. MQTT 3.1.1 has no words for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Publishes it takes without having acknowledged them (receive maximum).
    pub receive_max: u16,
    /// Largest packet, in bytes.
    pub packet_bytes_max: usize,
}

impl Offer {
    /// Nothing was said.
    pub const UNBOUNDED: Self = Self { receive_max: u16::MAX, packet_bytes_max: usize::MAX };
}

impl Limits {
    /// These limits, narrowed to what the broker takes. One packet id is left to the
    /// subscription, and live verdicts keep half of a narrowed window.
    pub(crate) fn narrowed(self, offer: Offer) -> Self {
        let window = self.window.min(offer.receive_max.saturating_sub(1)).max(1);
        let payload_bytes_max = offer.packet_bytes_max.saturating_sub(PACKET_ROOM_BYTES);
        Self {
            window,
            bulk_window: self.bulk_window.min((window / 2).max(1)),
            payload_bytes_max: self.payload_bytes_max.min(payload_bytes_max),
            ..self
        }
    }
}

/// Largest [`Limits::window`] that the publisher starts with.
pub const WINDOW_MAX: u16 = 1_000;
/// Room for topic name, header and properties above the payload limit, in bytes.
pub(crate) const PACKET_ROOM_BYTES: usize = 512;
/// A broker must take packets of this size, in bytes: a verdict, a state, an event. Larger ones
/// are masks, which may be left out.
pub const PACKET_BYTES_NEEDED: usize = 2 << 10;

/// Answers to commands that wait for the window; beyond it an answer is dropped. More than a burst
/// of commands that the station takes at once.
pub(super) const REPLIES_MAX: usize = 128;
/// Rows asked from the outbox at once: one read serves two bulk windows, and memory stays small
/// when each carries a mask.
pub(super) const PAGE_ROWS: usize = 64;
/// Longest time between two live verdicts that late rows heed, in milliseconds: twice as long
/// they wait for the next one at most.
pub(super) const LIVE_GAP_MS_MAX: u64 = 2_000;
/// Rows looked at for one page of a replay: most are wanted, and a page is read in a few
/// milliseconds.
pub(super) const RANGE_ROWS: usize = 256;
/// Pause between two pages of a replay, in milliseconds: live verdicts get their turn.
pub(super) const RANGE_PAUSE_MS: u64 = 5;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_narrows_the_window_and_live_verdicts_keep_half_of_it() {
        let limits = Limits::default();
        assert_eq!(limits.narrowed(Offer::UNBOUNDED), limits);
        let offer = |receive_max| Offer { receive_max, packet_bytes_max: 4_608 };
        // Mosquitto's default.
        let narrowed = limits.narrowed(offer(20));
        assert_eq!((narrowed.window, narrowed.bulk_window), (19, 8));
        assert_eq!(narrowed.payload_bytes_max, 4_096);
        for receive_max in 0..=3 {
            let narrowed = limits.narrowed(offer(receive_max));
            assert_eq!((narrowed.window, narrowed.bulk_window), (receive_max.max(2) - 1, 1));
        }
    }
}

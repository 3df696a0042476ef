//! Verdicts, states and masks <-> MQTT payloads and topics. Encode and decode only: no client.
//!
//! Payloads are for small parsers: flat minified ASCII JSON, fixed key order, integers only
//! (scores x 10 000, latency in 0.1 ms). `docs/plc.md` is the reader's side of this module.

mod binary;
mod command;
mod detail;
mod event;
mod health;
mod mask;
mod rle;
mod state;
mod topics;
mod verdict;
mod views;

pub use binary::{
    BINARY_BYTES, BinaryError, ByteOrder, binary_of_payload, decode_binary, encode_binary,
};
pub use command::{
    Armament, COMMAND_BYTES_MAX, Command, Mode, Receipt, Refusal, Reply, ReplyCode, Request,
    decode_command, decode_receipt, encode_reply,
};
pub use detail::{Detail, encode_detail};
pub use event::{Event, encode_event};
pub use health::{
    CalibrationChange, CameraHealth, Counters, EngineHealth, HealthRecord, RecordingHealth,
    encode_calibration_change, encode_health,
};
pub use mask::{DecodedMask, MASK_BYTES_MAX, MaskError, MaskMessage, decode_mask, encode_mask};
pub use state::{StateRecord, encode_heartbeat, encode_offline, encode_state};
pub use topics::{TopicError, Topics};
pub use verdict::{
    CLASS_NONE, DecodeError, FLAG_LATE, FLAG_VIEW_SHIFT, VERDICT_BYTES_MAX, VerdictRecord,
    WireVerdict, decode_verdict, encode_verdict,
};
pub use views::{ViewResult, ViewResults, deciding_view, view_flags};

/// Version of all payloads, their first key.
pub const PAYLOAD_VERSION: u8 = 1;

/// `value` x 10 000 as the payloads carry it: rounded, saturating; -1 when it is not a number.
fn scaled(value: f32) -> i32 {
    if !value.is_finite() {
        return -1;
    }
    // A float-to-int cast saturates; negative scores do not exist, so -1 stays unambiguous.
    ((f64::from(value) * 10_000.0).round() as i32).max(0)
}

/// Appends `text` as a JSON string; anything but printable ASCII becomes a `\u` escape.
fn push_json_text(out: &mut String, text: &str) {
    use std::fmt::Write as _;
    out.push('"');
    for unit in text.encode_utf16() {
        match char::from_u32(u32::from(unit)) {
            Some(c @ ('"' | '\\')) => {
                out.push('\\');
                out.push(c);
            }
            Some(c @ ' '..='~') => out.push(c),
            // Writing to a String cannot fail.
            _ => drop(write!(out, "\\u{unit:04x}")),
        }
    }
    out.push('"');
}

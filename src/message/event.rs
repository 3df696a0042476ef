//! Events: things that happened and must be told, beside the verdicts.

use std::fmt::Write as _;

use super::{PAYLOAD_VERSION, push_json_text};

/// Something that must be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Boot epoch in which it was noticed.
    pub epoch: u32,
    /// Short name: `gap`, `late_dropped`, `masks_dropped`, `events_dropped`,
    /// `journal_restarted`, `undeliverable`, `takeover`, `missed_trigger`,
    /// `subscription_refused`, `replayed`, `publish_refused`, `command_overrun`,
    /// `journal_slow`, `camera_lost`, `engine_failed`, `engine_back`, `engine_given_up`.
    pub kind: &'a str,
    /// (epoch, seq) of the first and the last verdict concerned.
    pub range: Option<((u32, u32), (u32, u32))>,
    /// How many.
    pub count: u64,
    /// For people.
    pub text: &'a str,
}

/// The event as JSON: `v, e, ev, n, [e0, q0, e1, q1,] msg`.
pub fn encode_event(event: &Event<'_>) -> String {
    let mut out = String::with_capacity(160);
    // Writing to a String cannot fail.
    let _ = write!(out, "{{\"v\":{PAYLOAD_VERSION},\"e\":{},\"ev\":", event.epoch);
    push_json_text(&mut out, event.kind);
    let _ = write!(out, ",\"n\":{}", event.count);
    if let Some((first, last)) = event.range {
        let _ = write!(
            out,
            ",\"e0\":{},\"q0\":{},\"e1\":{},\"q1\":{}",
            first.0, first.1, last.0, last.1
        );
    }
    out.push_str(",\"msg\":");
    push_json_text(&mut out, event.text);
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_says_what_is_missing_and_stays_ascii() {
        let gap = Event {
            epoch: 2,
            kind: "gap",
            range: Some(((1, 5), (1, 9))),
            count: 5,
            text: "voll: 5 µs\n",
        };
        assert_eq!(
            encode_event(&gap),
            r#"{"v":1,"e":2,"ev":"gap","n":5,"e0":1,"q0":5,"e1":1,"q1":9,"msg":"voll: 5 \u00b5s\u000a"}"#
        );
    }
}

//! State (retained, also the last will) and heartbeat.

use std::fmt::Write as _;

use super::{Mode, PAYLOAD_VERSION, push_json_text};
use crate::calibrate::CalibrationId;
use crate::frame::RecipeId;

/// What the state topic says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateRecord<'a> {
    /// Triggers are answered by verdicts; false = treat every part as reject.
    pub ready: bool,
    /// A part is being judged.
    pub busy: bool,
    /// State name of OPC 40100-1.
    pub name: &'a str,
    /// How triggers are taken.
    pub mode: Mode,
    /// The current recipe.
    pub recipe: Option<RecipeId>,
    /// Triggers that could not be taken since they were acknowledged.
    pub missed: u64,
    /// Boot epoch.
    pub epoch: u32,
    /// Result number of the newest verdict, 0 before the first.
    pub seq: u32,
    /// What is missing for `ready`, as a code; 0 = nothing.
    pub error: u8,
    /// Calibration in force.
    pub calibration: CalibrationId,
    /// SHA-256 (hex) of the model file.
    pub engine_sha256: &'a str,
    /// What is missing for `ready`, in words; empty = nothing.
    pub text: &'a str,
}

/// The state as JSON: `v, online, ready, busy, st, m, r, miss, e, q, err, a, eng, msg`. `r` is -1
/// when no recipe is current.
pub fn encode_state(state: &StateRecord<'_>) -> String {
    let mut out = String::with_capacity(256);
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "{{\"v\":{PAYLOAD_VERSION},\"online\":1,\"ready\":{},\"busy\":{},\"st\":\"{}\",\"m\":{},\
         \"r\":{},\"miss\":{},\"e\":{},\"q\":{},\"err\":{},\"a\":{},\"eng\":",
        u8::from(state.ready),
        u8::from(state.busy),
        state.name,
        state.mode as u8,
        state.recipe.map_or(-1, |recipe| i32::from(recipe.0)),
        state.missed,
        state.epoch,
        state.seq,
        state.error,
        state.calibration.0,
    );
    push_json_text(&mut out, state.engine_sha256);
    out.push_str(",\"msg\":");
    push_json_text(&mut out, state.text);
    out.push('}');
    out
}

/// The last will, and what a station says when it leaves in order.
pub fn encode_offline(epoch: u32) -> String {
    format!("{{\"v\":{PAYLOAD_VERSION},\"online\":0,\"ready\":0,\"busy\":0,\"e\":{epoch}}}")
}

/// The heartbeat: a decimal counter.
pub fn encode_heartbeat(count: u64) -> String {
    count.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_and_last_will_are_byte_for_byte_the_documented_ones() {
        let state = StateRecord {
            ready: false,
            busy: false,
            name: "Initialized",
            mode: Mode::Single,
            recipe: Some(RecipeId(7)),
            missed: 2,
            epoch: 4,
            seq: 0,
            error: 2,
            calibration: CalibrationId(255),
            engine_sha256: "ab12",
            text: "no picture from the \"camera\"",
        };
        assert_eq!(
            encode_state(&state),
            r#"{"v":1,"online":1,"ready":0,"busy":0,"st":"Initialized","m":2,"r":7,"miss":2,"e":4,"q":0,"err":2,"a":255,"eng":"ab12","msg":"no picture from the \"camera\""}"#
        );
        assert_eq!(encode_offline(4), r#"{"v":1,"online":0,"ready":0,"busy":0,"e":4}"#);
    }
}

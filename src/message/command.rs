//! Commands of the PLC, the station's answers to them, and the consumer's receipts.
//!
//! Flat JSON like everything else. A command names itself by `id`, and its answer echoes it.
//! `docs/spec/commands.md` is the reader's side of this file.

use std::fmt::Write as _;

use serde::Deserialize;

use super::{PAYLOAD_VERSION, push_json_text};
use crate::frame::{ConsumerId, PartId, RecipeId, TriggerId};

/// Longest command and receipt in bytes: three times the longest legal one.
pub const COMMAND_BYTES_MAX: usize = 512;

/// A command with the number its answer echoes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Correlation number of the sender's choice.
    pub id: u32,
    /// What is wanted.
    pub command: Command,
}

/// The part that a picture will show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Armament {
    /// The PLC's trigger number.
    pub trigger: TriggerId,
    /// The part.
    pub part: PartId,
    /// Its recipe; `None` = the current one.
    pub recipe: Option<RecipeId>,
}

/// How triggers are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// No part is judged; each one is answered without a verdict.
    Stopped = 0,
    /// Each picture is one part.
    #[default]
    Continuous = 1,
    /// Each part is armed by the PLC before its picture comes.
    Single = 2,
}

/// What a PLC can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// The next picture shows this part; the hardware trigger follows.
    Arm(Armament),
    /// Take a picture of this part now.
    Trigger(Armament),
    /// Make this recipe the current one.
    Recipe(RecipeId),
    /// Change the mode.
    Mode(Mode),
    /// Answer the next parts as test runs.
    Test {
        /// How many.
        parts: u32,
    },
    /// The missed triggers were seen.
    Acknowledge,
    /// Send these verdicts again, on `hist`.
    Replay {
        /// Boot epoch.
        epoch: u32,
        /// First result number.
        first: u32,
        /// Last result number.
        last: u32,
    },
}

impl Command {
    /// The word on the wire.
    pub fn word(&self) -> &'static str {
        match self {
            Command::Arm(_) => "arm",
            Command::Trigger(_) => "trigger",
            Command::Recipe(_) => "recipe",
            Command::Mode(_) => "mode",
            Command::Test { .. } => "test",
            Command::Acknowledge => "acknowledge",
            Command::Replay { .. } => "replay",
        }
    }
}

/// The `k` of an answer to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ReplyCode {
    /// Done.
    Done = 0,
    /// Not a command of this version.
    Malformed = 1,
    /// The word is unknown.
    Unknown = 2,
    /// The station is not ready.
    NotReady = 3,
    /// Too many parts are open, or one waits for its picture; wait for an answer.
    Busy = 4,
    /// The recipe is not in the configuration, or none is current.
    RecipeUnknown = 5,
    /// Too many commands a second.
    TooFast = 6,
    /// Not in this mode, or not with this camera.
    NotPossible = 7,
    /// A number is out of range.
    OutOfRange = 8,
    /// The broker kept it from another time.
    Retained = 9,
}

impl ReplyCode {
    /// All of them.
    pub const ALL: [ReplyCode; 10] = [
        ReplyCode::Done,
        ReplyCode::Malformed,
        ReplyCode::Unknown,
        ReplyCode::NotReady,
        ReplyCode::Busy,
        ReplyCode::RecipeUnknown,
        ReplyCode::TooFast,
        ReplyCode::NotPossible,
        ReplyCode::OutOfRange,
        ReplyCode::Retained,
    ];

    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            ReplyCode::Done => "",
            ReplyCode::Malformed => "not a command of version 1: see docs/spec/commands.md",
            ReplyCode::Unknown => "unknown command",
            ReplyCode::NotReady => "the station is not ready: see the state topic",
            ReplyCode::Busy => "what was asked before is not done: wait for an answer",
            ReplyCode::RecipeUnknown => "this recipe is not configured",
            ReplyCode::TooFast => "too many commands a second",
            ReplyCode::NotPossible => "not in this mode, or not with this camera",
            ReplyCode::OutOfRange => "a number is out of range",
            ReplyCode::Retained => "retained, so of unknown age: send commands without retain",
        }
    }
}

/// An answer to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The command's number; 0 when it could not be read.
    pub id: u32,
    /// The command's word; empty when it could not be read.
    pub word: &'static str,
    /// How it went.
    pub code: ReplyCode,
    /// Boot epoch.
    pub epoch: u32,
    /// Result number that the answer to the part will carry; 0 when the command opens no part.
    pub seq: u32,
}

/// The answer as JSON: `v, id, cmd, ok, k, e, q, msg`.
pub fn encode_reply(reply: &Reply) -> String {
    let mut out = String::with_capacity(160);
    let Reply { id, word, code, epoch, seq } = reply;
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "{{\"v\":{PAYLOAD_VERSION},\"id\":{id},\"cmd\":\"{word}\",\"ok\":{},\"k\":{},\"e\":{epoch},\
         \"q\":{seq},\"msg\":",
        u8::from(*code == ReplyCode::Done),
        *code as u8,
    );
    push_json_text(&mut out, code.text());
    out.push('}');
    out
}

/// Why a payload is no command: what its answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The command's number, when that much could be read; else 0.
    pub id: u32,
    /// Why.
    pub code: ReplyCode,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire<'a> {
    v: u8,
    id: u32,
    #[serde(borrow)]
    cmd: &'a str,
    t: Option<u32>,
    #[serde(borrow)]
    p: Option<&'a str>,
    r: Option<u16>,
    #[serde(borrow)]
    m: Option<&'a str>,
    n: Option<u32>,
    e: Option<u32>,
    q0: Option<u32>,
    q1: Option<u32>,
}

/// Reads a command.
///
/// # Errors
/// When it is not JSON of this version, too long, has a key its word does not know or lacks one
/// it needs, or the word is unknown.
pub fn decode_command(payload: &[u8]) -> Result<Request, Refusal> {
    let malformed = |id| Refusal { id, code: ReplyCode::Malformed };
    if payload.len() > COMMAND_BYTES_MAX {
        return Err(malformed(0));
    }
    let wire: Wire<'_> = serde_json::from_slice(payload).map_err(|_| malformed(id_in(payload)))?;
    if wire.v != PAYLOAD_VERSION {
        return Err(malformed(wire.id));
    }
    let id = wire.id;
    let command = match command_of(&wire) {
        Ok(Some(command)) => command,
        Ok(None) => return Err(malformed(id)),
        Err(code) => return Err(Refusal { id, code }),
    };
    Ok(Request { id, command })
}

/// `None` when the keys are not those of the word.
fn command_of(wire: &Wire<'_>) -> Result<Option<Command>, ReplyCode> {
    let Wire { t, p, r, m, n, e, q0, q1, .. } = *wire;
    let part = || {
        let part = p.and_then(|p| PartId::new(p).ok())?;
        Some(Armament { trigger: TriggerId(t?), part, recipe: r.map(RecipeId) })
    };
    Ok(match (wire.cmd, t, p, r, m, n, (e, q0, q1)) {
        ("arm", Some(_), Some(_), _, None, None, (None, None, None)) => part().map(Command::Arm),
        ("trigger", Some(_), Some(_), _, None, None, (None, None, None)) => {
            part().map(Command::Trigger)
        }
        ("recipe", None, None, Some(r), None, None, (None, None, None)) => {
            Some(Command::Recipe(RecipeId(r)))
        }
        ("mode", None, None, None, Some(m), None, (None, None, None)) => mode(m).map(Command::Mode),
        ("test", None, None, None, None, Some(parts), (None, None, None)) => {
            Some(Command::Test { parts })
        }
        ("acknowledge", None, None, None, None, None, (None, None, None)) => {
            Some(Command::Acknowledge)
        }
        ("replay", None, None, None, None, None, (Some(epoch), Some(first), Some(last))) => {
            Some(Command::Replay { epoch, first, last })
        }
        ("arm" | "trigger" | "recipe" | "mode" | "test" | "acknowledge" | "replay", ..) => None,
        _ => return Err(ReplyCode::Unknown),
    })
}

fn mode(word: &str) -> Option<Mode> {
    match word {
        "stop" => Some(Mode::Stopped),
        "continuous" => Some(Mode::Continuous),
        "single" => Some(Mode::Single),
        _ => None,
    }
}

/// The number in a payload that is otherwise wrong, so that its sender recognises the answer.
fn id_in(payload: &[u8]) -> u32 {
    #[derive(Deserialize)]
    struct OnlyId {
        id: u32,
    }
    serde_json::from_slice::<OnlyId>(payload).map_or(0, |only| only.id)
}

/// What a consumer says it has: everything of `epoch` up to and including `seq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Who says so.
    pub consumer: ConsumerId,
    /// Boot epoch.
    pub epoch: u32,
    /// Result number.
    pub seq: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireReceipt<'a> {
    v: u8,
    e: u32,
    q: u32,
    #[serde(borrow)]
    c: Option<&'a str>,
}

/// Name of a consumer that gives none.
const CONSUMER_UNNAMED: &str = "-";

/// Reads a consumer's receipt; `None` when it is none.
pub fn decode_receipt(payload: &[u8]) -> Option<Receipt> {
    let WireReceipt { v, e: epoch, q: seq, c } = serde_json::from_slice(payload).ok()?;
    let consumer = ConsumerId::new(c.unwrap_or(CONSUMER_UNNAMED)).ok()?;
    (v == PAYLOAD_VERSION).then_some(Receipt { consumer, epoch, seq })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn armament(recipe: Option<u16>) -> Armament {
        let part = PartId::new("S000123").unwrap();
        Armament { trigger: TriggerId(4711), part, recipe: recipe.map(RecipeId) }
    }

    #[test]
    fn the_documented_commands_are_read() {
        let table = [
            (
                r#"{"v":1,"id":7,"cmd":"arm","t":4711,"p":"S000123","r":2}"#,
                Command::Arm(armament(Some(2))),
            ),
            (r#"{"v":1,"id":7,"cmd":"arm","t":4711,"p":"S000123"}"#, Command::Arm(armament(None))),
            (
                r#"{"v":1,"id":7,"cmd":"trigger","t":4711,"p":"S000123"}"#,
                Command::Trigger(armament(None)),
            ),
            (r#"{"v":1,"id":7,"cmd":"recipe","r":2}"#, Command::Recipe(RecipeId(2))),
            (r#"{"v":1,"id":7,"cmd":"mode","m":"single"}"#, Command::Mode(Mode::Single)),
            (r#"{"v":1,"id":7,"cmd":"mode","m":"continuous"}"#, Command::Mode(Mode::Continuous)),
            (r#"{"v":1,"id":7,"cmd":"mode","m":"stop"}"#, Command::Mode(Mode::Stopped)),
            (r#"{"v":1,"id":7,"cmd":"test","n":5}"#, Command::Test { parts: 5 }),
            (r#"{"v":1,"id":7,"cmd":"acknowledge"}"#, Command::Acknowledge),
            (
                r#"{"v":1,"id":7,"cmd":"replay","e":3,"q0":10,"q1":20}"#,
                Command::Replay { epoch: 3, first: 10, last: 20 },
            ),
        ];
        for (text, command) in table {
            assert_eq!(decode_command(text.as_bytes()), Ok(Request { id: 7, command }), "{text}");
            assert!(text.contains(&format!("\"cmd\":\"{}\"", command.word())));
        }
    }

    #[test]
    fn what_is_no_command_is_refused_with_its_number_when_it_has_one() {
        use ReplyCode::{Malformed, Unknown};
        let long = format!(r#"{{"v":1,"id":7,"cmd":"{}"}}"#, "x".repeat(COMMAND_BYTES_MAX));
        let table = [
            ("", 0, Malformed),
            ("{}", 0, Malformed),
            (r#"{"v":1,"id":7,"cmd":"dance"}"#, 7, Unknown),
            (r#"{"v":2,"id":7,"cmd":"acknowledge"}"#, 7, Malformed),
            (r#"{"v":1,"id":7,"cmd":"arm","t":1}"#, 7, Malformed),
            (r#"{"v":1,"id":7,"cmd":"arm","t":1,"p":"a/b"}"#, 7, Malformed),
            (r#"{"v":1,"id":7,"cmd":"arm","t":1,"p":"a","n":1}"#, 7, Malformed),
            (r#"{"v":1,"id":7,"cmd":"arm","t":-1,"p":"a"}"#, 7, Malformed),
            (r#"{"v":1,"id":7,"cmd":"mode","m":"fast"}"#, 7, Malformed),
            (r#"{"v":1,"id":7,"cmd":"acknowledge","x":1}"#, 7, Malformed),
            (&long, 0, Malformed),
        ];
        for (text, id, code) in table {
            assert_eq!(decode_command(text.as_bytes()), Err(Refusal { id, code }), "{text}");
        }
    }

    #[test]
    fn an_answer_is_byte_for_byte_the_documented_one() {
        let mut reply = Reply { id: 42, word: "arm", code: ReplyCode::Done, epoch: 3, seq: 17 };
        assert_eq!(
            encode_reply(&reply),
            r#"{"v":1,"id":42,"cmd":"arm","ok":1,"k":0,"e":3,"q":17,"msg":""}"#
        );
        for code in ReplyCode::ALL {
            reply.code = code;
            let text = encode_reply(&reply);
            assert!(text.len() <= 200 && text.is_ascii(), "{text}");
        }
    }

    #[test]
    fn a_receipt_names_consumer_epoch_and_number() {
        let receipt = |name: &str| {
            Some(Receipt { consumer: ConsumerId::new(name).unwrap(), epoch: 3, seq: 17 })
        };
        assert_eq!(decode_receipt(br#"{"v":1,"e":3,"q":17}"#), receipt("-"));
        assert_eq!(decode_receipt(br#"{"v":1,"c":"mes","e":3,"q":17}"#), receipt("mes"));
        for bad in [
            "",
            "{}",
            r#"{"v":2,"e":3,"q":17}"#,
            r#"{"v":1,"e":3,"q":17,"x":0}"#,
            r#"{"v":1,"e":3,"q":17,"c":""}"#,
            r#"{"v":1,"e":3,"q":17,"c":"a/b"}"#,
        ] {
            assert_eq!(decode_receipt(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_payload_is_too_strange(payload in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = decode_command(&payload);
            let _ = decode_receipt(&payload);
        }
    }
}

//! The readers of the Structured Text and SCL sources, executed over golden and corrupted bytes.

use crrd::message::{ByteOrder, WireVerdict, decode_binary, decode_verdict};

use crate::golden::{folder, verdicts};
use crate::machine::{Instance, Machine};
use crate::on_each_platform;
use crate::value::{Value, fit, whole};

/// Room for a message on the PLC, and what an older, longer message left behind in it.
const ROOM: usize = 512;
const LEFTOVER: u8 = b'7';

pub(crate) fn bytes(payload: &[u8], room: usize, filler: u8) -> Value {
    let all = payload.iter().copied().chain(std::iter::repeat(filler)).take(room);
    Value::Array(0, all.map(|b| fit(whole("byte").unwrap(), i64::from(b))).collect())
}

/// Calls a new instance of `block` with a message.
fn given(machine: &mut Machine, block: &str, payload: &[u8]) -> Instance {
    given_with(machine, block, payload, &[LEFTOVER; ROOM])
}

/// The same, with what the PLC's buffer holds behind the message.
fn given_with(machine: &mut Machine, block: &str, payload: &[u8], behind: &[u8]) -> Instance {
    let mut reader = machine.instance(block);
    let length = Value::Literal(payload.len() as i64);
    let buffer = bytes(&[payload, behind].concat(), ROOM, LEFTOVER);
    machine.call(&mut reader, &[("payload", buffer), ("length", length)]);
    reader
}

/// What a reader makes of a message: `None` = not valid, and then never a pass.
fn read(machine: &mut Machine, block: &str, payload: &[u8]) -> Option<WireVerdict> {
    let reader = given(machine, block, payload);
    let verdict = reader.get("verdict");
    let n = |name: &str| verdict.member(name).number();
    if !reader.get("valid").bool() {
        assert_eq!(n("outcome"), 2, "not valid, so no verdict");
        return None;
    }
    let part = verdict.member("partId").elements().iter().map(|b| b.number() as u8);
    let part: Vec<u8> = part.take_while(|b| *b != 0).collect();
    Some(WireVerdict {
        v: 1,
        q: n("seqNo") as u32,
        e: n("epoch") as u32,
        t: n("triggerNo") as u32,
        p: String::from_utf8(part).unwrap(),
        r: n("recipeNo") as u16,
        c: n("classNo") as u16,
        o: n("outcome") as u8,
        k: n("reason") as u8,
        s: n("score") as i32,
        h: n("scoreLimit") as i32,
        pv: n("pValue") as u16,
        n: n("regions") as u8,
        l: n("latency") as u32,
        a: n("calibration") as u32,
        f: n("flags") as u16,
    })
}

fn golden(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap()
}

/// Both readers read every golden file as the program itself does.
pub(crate) fn golden_files(machine: &mut Machine) {
    for (name, record) in verdicts() {
        let said = Some(WireVerdict::from(&record));
        assert_eq!(
            read(machine, "Crrd_ReadText", &golden(&format!("{name}.json"))),
            said,
            "{name}"
        );
        for form in ["big", "little"] {
            let payload = golden(&format!("{name}.{form}"));
            assert_eq!(read(machine, "Crrd_ReadRecord", &payload), said, "{name}.{form}");
        }
    }
    for (name, said) in [
        ("ready", (true, true, 3)),
        ("not-ready", (true, false, 3)),
        ("offline", (false, false, 3)),
    ] {
        assert_eq!(state(machine, &golden(&format!("state-{name}.json"))), said, "{name}");
    }
}

fn state(machine: &mut Machine, payload: &[u8]) -> (bool, bool, i64) {
    let reader = given(machine, "Crrd_ReadState", payload);
    (reader.get("online").bool(), reader.get("ready").bool(), reader.get("epoch").number())
}

/// What is damaged is refused: every text cut short, every wrong field, a broken CRC.
pub(crate) fn refusals(machine: &mut Machine) {
    let text = golden("pass.json");
    (0..text.len()).for_each(|n| assert_eq!(read(machine, "Crrd_ReadText", &text[..n]), None));
    // A message cut short whose end is still there from an equal one before it.
    let leftover = |n: usize| [&text[..], &[LEFTOVER; ROOM][text.len()..]].concat()[n..].to_vec();
    for n in 0..text.len() {
        let reader = given_with(machine, "Crrd_ReadText", &text[..n], &leftover(n));
        assert!(!reader.get("valid").bool(), "{n} bytes");
    }
    let text = String::from_utf8(text).unwrap();
    for (from, to) in [
        ("{\"v\":1", "{\"v\":2"),
        ("\"v\":1", "\"v\":"),
        ("\"q\":17", "\"q\":017"),
        ("\"q\":17", "\"q\":4294967296"),
        ("\"q\":17", "\"q\":99999999999"),
        ("\"q\":17", "\"q\":-1"),
        ("\"q\":17", "\"q\": 17"),
        ("\"q\":17", "\"q\":1.7"),
        ("\"t\":", "\"x\":"),
        ("\"p\":\"P-000017\"", "\"p\":\"\""),
        ("\"p\":\"P-000017\"", "\"p\":\"P-0000170P-000017\""),
        ("\"p\":\"P-000017\"", "\"p\":\"P/000017\""),
        ("\"p\":\"P-000017\"", "\"p\":17"),
        ("\"r\":7", "\"r\":65536"),
        ("\"o\":1", "\"o\":4"),
        ("\"s\":1235", "\"s\":-2"),
        ("\"s\":1235", "\"s\":2147483648"),
        ("\"h\":2000", "\"h\":-0"),
        ("\"pv\":", "\"pw\":"),
        ("\"pv\":", "\"p\":"),
        ("\"f\":0}", "\"f\":0,\"g\":0}"),
        ("\"f\":0}", "\"f\":0]"),
        ("\"f\":0}", "\"f\":0}}"),
    ] {
        assert!(text.contains(from), "{from}");
        let bad = text.replace(from, to);
        assert_eq!(read(machine, "Crrd_ReadText", bad.as_bytes()), None, "{bad}");
    }
    let long = format!("{text}{}", " ".repeat(ROOM - text.len()));
    assert_eq!(read(machine, "Crrd_ReadText", long.as_bytes()), None);

    for form in ["pass.big", "pass.little"] {
        let record = golden(form);
        for n in [0, 1, 32, 63] {
            assert_eq!(read(machine, "Crrd_ReadRecord", &record[..n]), None, "{n} bytes");
        }
        let longer = [&record[..], &[0]].concat();
        assert_eq!(read(machine, "Crrd_ReadRecord", &longer), None);
        for at in 0..record.len() {
            let mut bad = record.clone();
            bad[at] ^= 1 << (at % 8);
            assert_eq!(read(machine, "Crrd_ReadRecord", &bad), None, "byte {at}");
        }
        for (at, value) in [
            (2, 2),     // another version
            (3, 63),    // another size
            (16, 0),    // no part
            (16, b'/'), // no character of a part id
            (31, b'x'), // a character after the end
            (36, 4),    // unknown outcome
            (60, 1),    // reserved
        ] {
            let bad = forged(&record, &[(at, value)]);
            assert_eq!(read(machine, "Crrd_ReadRecord", &bad), None, "byte {at} = {value}");
        }
        // Numbers below -1 exist nowhere.
        for at in [40, 44] {
            let bad = forged(&record, &[0, 1, 2, 3].map(|i| (at + i, 0xfd)));
            assert_eq!(read(machine, "Crrd_ReadRecord", &bad), None, "byte {at}");
        }
        // What has the right CRC and is allowed is read: the forgery itself is not the reason.
        assert_eq!(read(machine, "Crrd_ReadRecord", &forged(&record, &[(36, 0)])).unwrap().o, 0);
    }
    states_refused(machine);
}

fn states_refused(machine: &mut Machine) {
    let ready = String::from_utf8(golden("state-ready.json")).unwrap();
    let offline = (false, false, 0);
    (0..ready.len()).for_each(|n| {
        assert_eq!(state(machine, &ready.as_bytes()[..n]), offline, "{n} bytes");
    });
    for (from, to) in [
        ("\"v\":1", "\"v\":2"),
        ("\"ready\"", "\"really\""),
        ("\"e\":3", "\"e\":4294967296"),
        ("\"e\":3", "\"e\":\"3\""),
        ("\"e\":3", "\"E\":3"),
        ("\"e\":3", "\"e\":3.5"),
    ] {
        assert!(ready.contains(from), "{from}");
        let bad = ready.replace(from, to);
        assert_eq!(state(machine, bad.as_bytes()), offline, "{bad}");
    }
    let long = ready.replace("\"msg\":\"\"", &format!("\"msg\":\"{}\"", "x".repeat(ROOM)));
    assert_eq!(state(machine, long.as_bytes()), offline);
    let odd = ready.replace("\"online\":1", "\"online\":2");
    assert_eq!(state(machine, odd.as_bytes()), (false, false, 3));
}

/// `record` with bytes changed and a CRC that fits again.
fn forged(record: &[u8], changes: &[(usize, u8)]) -> Vec<u8> {
    let mut bad = record.to_vec();
    changes.iter().for_each(|(at, value)| bad[*at] = *value);
    let crc = bad[..62].iter().fold(0xffffu16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0xa001 } else { 0 }
        })
    });
    let big = record.starts_with(b"CR");
    bad[62..].copy_from_slice(&if big { crc.to_be_bytes() } else { crc.to_le_bytes() });
    bad
}

#[test]
fn golden_files_are_read_as_the_program_reads_them() {
    on_each_platform(golden_files);
}

#[test]
fn what_is_damaged_is_refused() {
    on_each_platform(refusals);
}

#[test]
fn no_change_makes_the_readers_believe_what_the_program_refuses() {
    // A fixed generator: the same changes on every run and platform.
    let mut state = 1u64;
    let mut dice = |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut changed = Vec::new();
    for (name, _) in verdicts() {
        for _ in 0..60 {
            let mut text = golden(&format!("{name}.json"));
            for _ in 0..=dice(2) {
                let at = dice(text.len());
                match dice(3) {
                    0 => text[at] = b"0123456789-,:\"{}vqetprcokshnlaf. "[dice(33)],
                    1 => drop(text.remove(at)),
                    _ => text.insert(at, b"0123456789-,:\"{}"[dice(16)]),
                }
            }
            changed.push(text);
        }
    }
    on_each_platform(|machine| {
        let mut believed = 0;
        for text in &changed {
            if let Some(said) = read(machine, "Crrd_ReadText", text) {
                let shown = String::from_utf8_lossy(text);
                assert_eq!(decode_verdict(text).unwrap(), said, "{shown}");
                believed += 1;
            }
        }
        // Most changed digits make another verdict; a reader that refuses all would prove nothing.
        assert!(believed > changed.len() / 20, "{believed} of {}", changed.len());
        for form in ["big", "little"] {
            let order = if form == "big" { ByteOrder::Big } else { ByteOrder::Little };
            let record = golden(&format!("reject.{form}"));
            for at in 0..62 {
                let bad = forged(&record, &[(at, record[at].wrapping_add(1))]);
                if let Some(said) = read(machine, "Crrd_ReadRecord", &bad) {
                    assert_eq!(decode_binary(&bad, order).unwrap(), said, "byte {at}");
                }
            }
        }
    });
}

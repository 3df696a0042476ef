//! The shipped Python module reads what the real station publishes, and its masks are what
//! `crrd inspect` marks.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use crrd::message::{DecodedMask, WireVerdict, decode_mask, decode_verdict};
use serde_json::Value;

use crate::broker::{Broker, Received, Subscriber, wait_for};
use crate::station::{Bench, verdicts};

/// Feeds messages to `crrd_plc.py` as `mosquitto_sub -F '%t %x'` would; `None` without Python.
fn decoded(bench: &Bench, messages: &[Received]) -> Option<Vec<Value>> {
    let mut lines = String::new();
    for message in messages {
        let hex: String = message.payload.iter().map(|b| format!("{b:02x}")).collect();
        lines += &format!("{} {hex}\n", message.topic);
    }
    let file = bench.path("messages");
    std::fs::write(&file, lines).unwrap();
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("plc/python/crrd_plc.py");
    let ran =
        Command::new("python3").arg("-B").arg(module).stdin(File::open(file).unwrap()).output();
    let Ok(output) = ran else {
        println!("skipped: python3 is not installed");
        return None;
    };
    let text = String::from_utf8(output.stdout).unwrap();
    let problems = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}{problems}");
    Some(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn assert_same_verdict(said: &Value, wire: &WireVerdict) {
    let number = |key: &str| said[key].as_i64().unwrap_or_else(|| panic!("{key} in {said}"));
    let WireVerdict { v, q, e, t, p, r, c, o, k, s, h, pv, n, l, a, f } = wire;
    assert_eq!(said["p"], p.as_str());
    for (key, value) in [
        ("v", i64::from(*v)),
        ("q", i64::from(*q)),
        ("e", i64::from(*e)),
        ("t", i64::from(*t)),
        ("r", i64::from(*r)),
        ("c", i64::from(*c)),
        ("o", i64::from(*o)),
        ("k", i64::from(*k)),
        ("s", i64::from(*s)),
        ("h", i64::from(*h)),
        ("pv", i64::from(*pv)),
        ("n", i64::from(*n)),
        ("l", i64::from(*l)),
        ("a", i64::from(*a)),
        ("f", i64::from(*f)),
    ] {
        assert_eq!(number(key), value, "{key} of part {p}");
    }
}

fn assert_same_mask(said: &Value, mask: &DecodedMask) {
    let (width, height, pixels) = mask.mask.as_ref().unwrap();
    assert_eq!(said["size"], serde_json::json!([width, height]));
    let hex: String = pixels.iter().map(|p| format!("{p:02x}")).collect();
    assert_eq!(said["pixels"], hex);
    assert_eq!(said["affine"], serde_json::json!(mask.affine_milli));
    let boxes: Vec<[i64; 5]> = said["boxes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|b| ["x", "y", "width", "height", "score"].map(|key| b[key].as_i64().unwrap()))
        .collect();
    assert_eq!(boxes, mask.boxes);
}

/// Side of a picture, of the stand-in's map and of a panel of the overlay.
const SIDE: usize = crate::support::standin::SIDE;

/// Pixels that `crrd inspect` marks in the overlay of a picture, 1 or 0: where the third panel
/// differs from the first, which is the picture itself.
fn marked_by_inspect(bench: &Bench, picture: &str) -> Vec<u8> {
    let folder = bench.path(&format!("overlay-{picture}"));
    let output = Command::new(env!("CARGO_BIN_EXE_crrd"))
        .arg("inspect")
        .arg("--engine")
        .arg(bench.path("engine"))
        .arg("--calibration")
        .arg(bench.path("calibration.toml"))
        .arg("--overlays")
        .arg(&folder)
        .arg(bench.path("frames").join(picture))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let file = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let overlay = image::open(file).unwrap().to_rgb8();
    let gap = (overlay.width() as usize - 3 * SIDE) / 2;
    let panel = |number: usize, x: usize, y: usize| {
        *overlay.get_pixel((number * (SIDE + gap) + x) as u32, y as u32)
    };
    let differs = |x, y| u8::from(panel(0, x, y) != panel(2, x, y));
    (0..SIDE).flat_map(|y| (0..SIDE).map(move |x| differs(x, y))).collect()
}

#[test]
fn the_python_module_reads_all_that_the_station_publishes() {
    let Some(broker) = Broker::start() else { return };
    let watcher = Subscriber::start(broker.port);
    let bench = Bench::new(broker.port);
    bench.pictures(12);
    let (status, log) = bench.run().end();
    assert_eq!(status.code(), Some(0), "{log}");
    wait_for("verdicts and masks", || {
        verdicts(&watcher).len() == 12 && watcher.count("crr/s1/mask") == 4
    });
    let kinds = ["verdict", "hist", "last", "state", "hb", "mask"];
    let messages: Vec<_> =
        kinds.iter().flat_map(|kind| watcher.on(&format!("crr/s1/{kind}"))).collect();
    let Some(said) = decoded(&bench, &messages) else { return };
    assert_eq!(said.len(), messages.len());
    let (mut parts, mut masks) = (0, 0);
    for (said, message) in said.iter().zip(&messages) {
        assert_eq!(said["topic"], message.topic);
        match message.topic.as_str() {
            "crr/s1/verdict" | "crr/s1/hist" | "crr/s1/last" => {
                parts += 1;
                assert_same_verdict(said, &decode_verdict(&message.payload).unwrap());
            }
            "crr/s1/mask" => {
                masks += 1;
                let mask = decode_mask(&message.payload).unwrap();
                assert_same_mask(said, &mask);
                let picture = format!("{:03}-bad.png", mask.seq - 1);
                let marked = marked_by_inspect(&bench, &picture);
                assert!(marked.contains(&1));
                let hex: String = marked.iter().map(|p| format!("{p:02x}")).collect();
                assert_eq!(said["pixels"], hex, "{picture} as crrd inspect marks it");
            }
            _ => {}
        }
    }
    assert!(parts >= 12 && masks == 4, "{parts} verdicts, {masks} masks");
    let last = said.iter().rfind(|one| one["topic"] == "crr/s1/state").unwrap();
    assert_eq!((&last["online"], &last["ready"]), (&Value::Bool(false), &Value::Bool(false)));
}

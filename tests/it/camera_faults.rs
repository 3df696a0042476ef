//! A camera that fails in every way that a fault script knows: each part has exactly one record,
//! with the right reason, and none of them passes unseen.

use std::collections::BTreeMap;

use crate::broker::{Broker, Subscriber, wait_for};
use crate::station::{Bench, is_bad, verdicts};

/// Outcome and reason on the wire.
type End = (i64, i64);

const PASS: End = (1, 0);
const REJECT: End = (0, 1);
const LATE: End = (2, 6);
const LOST: End = (2, 7);
const DAMAGED: End = (2, 8);

const LATENCY_MS_MAX: u64 = 2_500;

/// Runs the pictures through the script; how each trigger ended. Each must have ended once.
fn ends(count: usize, camera: &str, script: &str) -> Option<BTreeMap<i64, End>> {
    let broker = Broker::start()?;
    let watcher = Subscriber::start(broker.port);
    let mut bench = Bench::new(broker.port);
    bench.pictures(count);
    std::fs::write(bench.path("faults.toml"), script).unwrap();
    bench.camera(&format!("{camera}\nfaults = \"faults.toml\""));
    bench.limits(&format!("latency_ms_max = {LATENCY_MS_MAX}\nqueue_frames = 16"));
    let (status, log) = bench.run().end();
    assert_eq!(status.code(), Some(0), "{log}");
    wait_for("all verdicts", || verdicts(&watcher).len() >= count);
    let all = verdicts(&watcher);
    let numbers: Vec<(i64, i64)> = all.keys().copied().collect();
    assert_eq!(numbers, (1..=count as i64).map(|q| (1, q)).collect::<Vec<_>>(), "{log}");
    let mut ends = BTreeMap::new();
    for seen in all.values() {
        let end = (seen.number("o"), seen.number("k"));
        let before = ends.insert(seen.number("t"), end);
        assert_eq!(before, None, "trigger {} has two records", seen.number("t"));
    }
    assert_eq!(ends.keys().copied().collect::<Vec<_>>(), (1..=count as i64).collect::<Vec<_>>());
    Some(ends)
}

#[test]
fn each_fault_ends_in_one_record_with_its_reason() {
    let script = format!(
        r#"
[frame_id]
counter = "skip_zero_16"
first = 65530
[[fault]]
kind = "drop"
at = [4, 16, 20]
[[fault]]
kind = "duplicate"
at = [5, 6]
[[fault]]
kind = "late"
at = [8]
ms = 50
[[fault]]
kind = "late"
at = [10]
ms = {}
[[fault]]
kind = "cut"
at = [11]
[[fault]]
kind = "flip"
at = [13]
[[fault]]
kind = "disconnect"
at = [14, 17]
"#,
        LATENCY_MS_MAX + 100
    );
    let Some(found) = ends(20, "rate_hz = 0", &script) else { return };
    let expected: BTreeMap<i64, End> = (1..=20)
        .map(|number: i64| {
            let end = match number {
                // 16 is lost before a connection ends, 20 before the replay does.
                4 | 14 | 16 | 17 | 20 => LOST,
                10 => LATE,
                11 => DAMAGED,
                // A good part whose picture is wrong.
                13 => REJECT,
                _ if is_bad(number as usize - 1) => REJECT,
                _ => PASS,
            };
            (number, end)
        })
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn a_line_at_full_speed_with_faults_at_random_leaves_no_part_without_a_record() {
    let mut script =
        "seed = 11\n[frame_id]\ncounter = \"wrap_32\"\nfirst = 4294967250\n".to_owned();
    for kind in ["drop", "duplicate", "cut", "late"] {
        script += &format!("[[fault]]\nkind = \"{kind}\"\nprobability = 0.05\n");
        script += if kind == "late" { "ms = 30\n" } else { "" };
    }
    script += "[[fault]]\nkind = \"disconnect\"\nat = [40, 110]\n";
    let Some(found) = ends(150, "rate_hz = 60", &script) else { return };
    let passed = found.iter().filter(|(_, end)| **end == PASS);
    let mut count = 0;
    for (number, _) in passed {
        assert!(!is_bad(*number as usize - 1), "part {number}");
        count += 1;
    }
    let lost = found.values().filter(|end| **end == LOST).count();
    let damaged = found.values().filter(|end| **end == DAMAGED).count();
    // Two outages of a quarter of a second or more: at least ten parts each.
    assert!(count >= 20 && lost >= 20 && damaged >= 1, "{count} passed, {lost} lost: {found:?}");
}

//! Two cameras that look at one part: the real program, two replay folders, a real broker.

use std::process::Command;

use crate::broker::{Broker, Subscriber, wait_for};
use crate::station::{Bench, Seen, bad_part, verdicts};
use crate::support::standin;

const PARTS: usize = 8;
/// The part that only the second camera sees the defect of, and the one it cannot see.
const BAD: usize = 3;
const DAMAGED: usize = 5;

#[test]
fn a_part_is_judged_from_both_folders_and_the_answer_names_the_view() {
    let Some(broker) = Broker::start() else { return };
    let watcher = Subscriber::start(broker.port);
    let bench = Bench::new(broker.port);
    for i in 0..PARTS {
        bench.picture(&format!("top/P{i:03}.png"), &standin::grey());
        let side = format!("side/S{i:03}.png");
        match i {
            BAD => bench.picture(&side, &bad_part()),
            DAMAGED => {
                let path = bench.path("frames").join(&side);
                std::fs::write(&path, "not a picture").unwrap();
                path
            }
            _ => bench.picture(&side, &standin::grey()),
        };
    }
    let cameras = "[[camera]]\nname = \"top\"\nfolder = \"frames/top\"\nrate_hz = 2\n\
                   [[camera]]\nname = \"side\"\nfolder = \"frames/side\"\nrate_hz = 2\n\
                   [trigger]\nwindow_ms_max = 240";
    let config = bench.config_with("health_s = 1");
    let config = config.replace("[camera]\nfolder = \"frames\"\nrate_hz = 0", cameras);
    assert!(config.contains("[[camera]]"), "{config}");
    let (status, log) = bench.run_text(&config).end();
    assert_eq!(status.code(), Some(0), "{log}");

    wait_for("all verdicts", || verdicts(&watcher).len() >= PARTS);
    let all: Vec<Seen> = verdicts(&watcher).into_values().collect();
    assert_eq!(all.len(), PARTS, "one answer a part, not one a view");
    for (i, seen) in all.iter().enumerate() {
        let expected = match i {
            BAD => (0, 1, 2),
            DAMAGED => (2, 8, 2),
            // Both pass by the same score: the first camera stands for them.
            _ => (1, 0, 1),
        };
        let view = seen.number("f") / 256;
        assert_eq!((seen.number("o"), seen.number("k"), view), expected, "part {i}: {seen:?}");
        assert_eq!((seen.text("p"), seen.number("t")), (&*format!("P{i:03}"), i as i64 + 1));
    }
    check_health(&watcher);
    check_journal(&bench);
}

/// Both cameras are on the health topic.
fn check_health(watcher: &Subscriber) {
    let health = watcher.on("crr/s1/health");
    let health = Seen::of(health.last().expect("metrics"));
    let cameras = health.fields["cam"].as_array().unwrap();
    let names: Vec<&str> = cameras.iter().map(|camera| camera["cn"].as_str().unwrap()).collect();
    assert_eq!(names, ["top", "side"]);
    assert!(cameras[0]["ok"].as_u64().unwrap() > 0, "{cameras:?}");
}

/// The journal tells of every view.
fn check_journal(bench: &Bench) {
    let out = Command::new(env!("CARGO_BIN_EXE_crrd"))
        .args(["journal", "dump", "--format", "json", "--state-dir"])
        .arg(bench.path("state"))
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).unwrap();
    let details: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["detail"].take())
        .filter(|detail| detail["station"] == "s1")
        .collect();
    assert_eq!(details.len(), PARTS, "{text}");
    let bad = &details[BAD];
    assert_eq!(bad["view"], "side");
    let views = bad["views"].as_array().unwrap();
    assert_eq!((views[0]["view"].as_str(), views[0]["o"].as_u64()), (Some("top"), Some(1)));
    assert_eq!((views[1]["view"].as_str(), views[1]["o"].as_u64()), (Some("side"), Some(0)));
    assert_eq!(
        views[1]["score"], bad["score"],
        "score and mask are those of the view that decided"
    );
    assert_eq!(details[DAMAGED]["view"], "side");
}

//! Two cameras that look at one part: the real program, two replay folders, a real broker.

use std::process::{Command, Output};

use crrd::calibrate::Calibration;
use crrd::frame::Geometry;

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

/// What the second camera sees of its pictures: the middle.
const REGION: &str = "[16, 16, 32, 32]";

/// A picture of the second camera: good, with a defect outside the region, or inside.
fn side_picture(part: usize) -> Vec<u8> {
    match part {
        BAD => standin::with_square(255, 28, 28, 8),
        _ => standin::with_square(255, 2, 50, 8),
    }
}

/// Limits for two classes, of which the second was made from the region.
fn two_classes(bench: &Bench) {
    standin::write_bundle(&bench.path("engine"), &["bolt", "bolt-side"]);
    let model = std::fs::read(bench.path("engine").join(crrd::engine::bundle::MODEL_FILE)).unwrap();
    bench.write_calibration(&crrd::sys::hash::sha256_hex(&model));
    let file = bench.path("calibration.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let mut calibration = Calibration::from_toml(&text).unwrap();
    let mut side = calibration.class["bolt"].clone();
    side.geometry = Geometry { roi: Some([16, 16, 32, 32]), ..Geometry::WHOLE };
    calibration.class.insert("bolt-side".to_owned(), side);
    std::fs::write(file, calibration.to_toml().unwrap()).unwrap();
}

fn replay(bench: &Bench) -> (Output, serde_json::Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_crrd"))
        .arg("replay")
        .arg("--recording")
        .arg(bench.path("recordings"))
        .arg("--config")
        .arg(bench.path("crrd.toml"))
        .arg("--json")
        .output()
        .unwrap();
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
    (output, report)
}

#[test]
fn views_with_a_region_of_their_own_are_recorded_and_judged_again_bit_for_bit() {
    let Some(broker) = Broker::start() else { return };
    let watcher = Subscriber::start(broker.port);
    let bench = Bench::new(broker.port);
    two_classes(&bench);
    for i in 0..PARTS {
        bench.picture(&format!("top/P{i:03}.png"), &standin::grey());
        let side = format!("side/S{i:03}.png");
        match i {
            DAMAGED => {
                std::fs::write(bench.path("frames").join(&side), "not a picture").unwrap();
            }
            _ => _ = bench.picture(&side, &side_picture(i)),
        }
    }
    let cameras = format!(
        "[[camera]]\nname = \"top\"\nfolder = \"frames/top\"\nrate_hz = 2\n\
         [[camera]]\nname = \"side\"\nfolder = \"frames/side\"\nrate_hz = 2\n\
         [camera.geometry]\nroi = {REGION}\n[trigger]\nwindow_ms_max = 240\n\
         [record]\nfolder = \"recordings\""
    );
    let config = bench.config_with("health_s = 1");
    let config = config.replace("[camera]\nfolder = \"frames\"\nrate_hz = 0", &cameras);
    let config =
        config.replace("class = \"bolt\"", "class = \"bolt\"\nviews = { side = \"bolt-side\" }");
    assert!(config.contains("[[camera]]") && config.contains("bolt-side"), "{config}");
    let (status, log) = bench.run_text(&config).end();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("recording ended"), "{log}");

    wait_for("all verdicts", || verdicts(&watcher).len() >= PARTS);
    for (i, seen) in verdicts(&watcher).into_values().enumerate() {
        let expected = match i {
            BAD => (0, 2, 1),
            DAMAGED => (2, 2, 1),
            // What lies outside the region is not seen: a tie, and the first stands for both.
            _ => (1, 1, 0),
        };
        let told = (seen.number("o"), seen.number("f") / 256, seen.number("c"));
        assert_eq!(told, expected, "part {i}: {seen:?}");
    }
    check_mask(&watcher);
    check_recording_health(&watcher);

    let (output, report) = replay(&bench);
    assert_eq!(output.status.code(), Some(0), "{report}");
    // The damaged view has no picture to judge again.
    assert_eq!((&report["parts"], &report["compared"]), (&PARTS.into(), &(PARTS - 1).into()));
    assert_eq!((&report["same"], &report["differ"]), (&(PARTS - 1).into(), &0.into()));
    assert_eq!(report["not_compared"]["a view not recorded"], 1, "{report}");
    assert_eq!(report["same_engine"], true);
    tamper(&bench);
}

/// The mask says whose picture it is, and where in it.
fn check_mask(watcher: &Subscriber) {
    wait_for("the mask", || watcher.count("crr/s1/mask") > 0);
    let mask = Seen::of(&watcher.on("crr/s1/mask")[0]);
    assert_eq!((mask.number("view"), mask.text("cn")), (2, "side"));
    let boxes = mask.fields["pbox"].as_array().unwrap();
    let numbers: Vec<i64> =
        boxes[0].as_array().unwrap().iter().map(|v| v.as_i64().unwrap()).collect();
    let [x, y, width, height] = numbers[..] else { panic!("{boxes:?}") };
    assert!((20..=28).contains(&x) && (20..=28).contains(&y), "{numbers:?}");
    assert!((36..=44).contains(&(x + width)) && (36..=44).contains(&(y + height)), "{numbers:?}");
}

/// The metrics tell how the recording is.
fn check_recording_health(watcher: &Subscriber) {
    let all = watcher.on("crr/s1/health");
    let newest = Seen::of(all.last().expect("metrics"));
    let recording = &newest.fields["rec"];
    assert_eq!((&recording["on"], &recording["drop"]), (&1.into(), &0.into()), "{recording}");
    let (parts, pictures) = (recording["n"].as_u64().unwrap(), recording["pic"].as_u64().unwrap());
    assert!(parts > 0 && pictures > parts, "{recording}");
}

/// One bit of the score of the view that does not decide is noticed, and a picture that was changed.
fn tamper(bench: &Bench) {
    let folder =
        std::fs::read_dir(bench.path("recordings")).unwrap().next().unwrap().unwrap().path();
    let (lines, frames) = (folder.join("00000001.jsonl"), folder.join("00000001.frames"));
    let whole = std::fs::read_to_string(&lines).unwrap();
    let (before, after) = whole.split_once("{\"camera\":1,\"verdict\":\"PASS\"").unwrap();
    let (between, after) = after.split_once("\"score_bits\":").unwrap();
    let (bits, after) = after.split_once(',').unwrap();
    let bits = bits.parse::<u32>().unwrap() ^ 1;
    let changed = format!(
        "{before}{{\"camera\":1,\"verdict\":\"PASS\"{between}\"score_bits\":{bits},{after}"
    );
    std::fs::write(&lines, changed).unwrap();
    let (output, report) = replay(bench);
    assert_eq!((output.status.code(), &report["differ"]), (Some(1), &1.into()), "{report}");
    assert!(report["differences"][0]["what"].as_str().unwrap().contains("view 1"), "{report}");
    std::fs::write(&lines, whole).unwrap();
    let mut bytes = std::fs::read(&frames).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&frames, bytes).unwrap();
    let (output, report) = replay(bench);
    assert_eq!((output.status.code(), &report["differ"]), (Some(1), &1.into()), "{report}");
}

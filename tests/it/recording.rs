//! A recorded run, judged again: bit for bit the same, until somebody changes something.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::broker::Broker;
use crate::station::{Bench, is_bad, journaled};

const PARTS: usize = 24;

/// Runs the station with a recording; the folder of it.
fn record(bench: &Bench, keep: &str) -> PathBuf {
    let record = format!("\n[record]\nfolder = \"recordings\"\nkeep = \"{keep}\"\n");
    let (status, log) = bench.run_text(&(bench.config() + &record)).end();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("recording ended"), "{log}");
    let mut found: Vec<PathBuf> = std::fs::read_dir(bench.path("recordings"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    found.sort();
    found.pop().unwrap()
}

fn replay(bench: &Bench, recording: &Path, calibration: &str, extra: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_crrd"))
        .arg("replay")
        .arg("--recording")
        .arg(recording)
        .arg("--engine")
        .arg(bench.path("engine"))
        .arg("--calibration")
        .arg(bench.path(calibration))
        .args(extra)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", said(output)))
}

/// Edits a file of the recording.
fn edit(file: PathBuf, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(&file).unwrap();
    change(&mut bytes);
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn a_recorded_run_is_judged_again_bit_for_bit_and_a_change_is_named() {
    let Some(broker) = Broker::start() else { return };
    let mut bench = Bench::new(broker.port);
    bench.pictures(PARTS);
    std::fs::write(
        bench.path("faults.toml"),
        "[[fault]]\nkind = \"drop\"\nat = [4]\n[[fault]]\nkind = \"cut\"\nat = [8]\n",
    )
    .unwrap();
    bench.camera("rate_hz = 0\nfaults = \"faults.toml\"");
    let recording = record(&bench, "all");

    let output = replay(&bench, &recording, "calibration.toml", &["--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report = json(&output);
    assert_eq!(report["parts"], PARTS);
    // The lost part has no picture; the damaged one has, and is damaged again.
    assert_eq!(report["compared"], PARTS - 1);
    assert_eq!((&report["same"], &report["differ"]), (&(PARTS - 1).into(), &0.into()));
    assert_eq!(report["not_compared"]["frame_lost"], 1);
    assert_eq!(report["same_engine"], true);
    let output = replay(&bench, &recording, "calibration.toml", &[]);
    assert!(
        said(&output).contains("24 parts: 23 compared, 23 the same, 0 differ"),
        "{}",
        said(&output)
    );

    compare_with_journal(&bench, &recording);
    tamper(&bench, &recording);
}

/// One line for each row of the journal, with the same verdict.
fn compare_with_journal(bench: &Bench, recording: &Path) {
    let text = std::fs::read_to_string(recording.join("00000001.jsonl")).unwrap();
    let mut lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.sort_by_key(|line| line["seq"].as_u64());
    let rows = journaled(&bench.path("state"));
    assert_eq!(lines.len(), rows.len());
    for (line, (epoch, seq, payload)) in lines.iter().zip(rows) {
        let told: serde_json::Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!((&line["epoch"], &line["seq"]), (&epoch.into(), &seq.into()));
        assert_eq!((&line["trigger"], &line["part"]), (&told["t"], &told["p"]));
        let outcome = ["REJECT", "PASS", "INVALID"][told["o"].as_u64().unwrap() as usize];
        assert_eq!(line["verdict"], outcome);
        let bits = u32::try_from(line["score_bits"].as_u64().unwrap()).unwrap();
        let scaled = (f64::from(f32::from_bits(bits)) * 10_000.0).round();
        let scaled = if scaled.is_finite() { scaled as i64 } else { -1 };
        assert_eq!(told["s"].as_i64().unwrap(), scaled);
    }
}

/// Every kind of change is noticed.
fn tamper(bench: &Bench, recording: &Path) {
    let lines = recording.join("00000001.jsonl");
    let frames = recording.join("00000001.frames");
    let (whole_lines, whole_frames) =
        (std::fs::read(&lines).unwrap(), std::fs::read(&frames).unwrap());
    let differs = |says: &str| {
        let output = replay(bench, recording, "calibration.toml", &[]);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains(says), "{says:?} in {}", said(&output));
        std::fs::write(&lines, &whole_lines).unwrap();
        std::fs::write(&frames, &whole_frames).unwrap();
    };
    edit(frames.clone(), |bytes| bytes[100] ^= 1);
    differs("not those that were recorded");
    edit(frames.clone(), |bytes| bytes.truncate(100));
    differs("are not all there");
    edit(lines.clone(), |bytes| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        *bytes = text.replacen("\"PASS\"", "\"REJECT\"", 1).into_bytes();
    });
    differs("was REJECT none");
    // The last bit of a score.
    edit(lines.clone(), |bytes| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        let (before, after) = text.split_once("\"score_bits\":").unwrap();
        let (bits, after) = after.split_once(',').unwrap();
        let bits = bits.parse::<u32>().unwrap() ^ 1;
        *bytes = format!("{before}\"score_bits\":{bits},{after}").into_bytes();
    });
    differs("1 differ");

    // Another limit: a comparison of two calibrations, which says so.
    let text = std::fs::read_to_string(bench.path("calibration.toml")).unwrap();
    let (old, new) = ("reason = \"test\"", "reason = \"another\"");
    assert!(text.contains(old));
    std::fs::write(bench.path("other.toml"), text.replace(old, new)).unwrap();
    let output = replay(bench, recording, "other.toml", &[]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("a comparison, not a regression test"), "{}", said(&output));
}

#[test]
fn rejects_alone_are_recorded_and_their_replay_rejects_again() {
    let Some(broker) = Broker::start() else { return };
    let bench = Bench::new(broker.port);
    bench.pictures(PARTS);
    let recording = record(&bench, "rejects");
    let output = replay(&bench, &bench.path("recordings"), "calibration.toml", &["--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let bad = (0..PARTS).filter(|i| is_bad(*i)).count();
    assert_eq!((&json(&output)["parts"], &json(&output)["same"]), (&bad.into(), &bad.into()));
    let text = std::fs::read_to_string(recording.join("00000001.jsonl")).unwrap();
    assert!(!text.contains("\"PASS\""), "{text}");
}

#[test]
fn a_recording_that_cannot_begin_or_go_on_leaves_the_station_running() {
    let Some(broker) = Broker::start() else { return };
    let bench = Bench::new(broker.port);
    bench.pictures(PARTS);
    std::fs::write(bench.path("taken"), "a file where the folder should be").unwrap();
    let config = bench.config() + "\n[record]\nfolder = \"taken\"\n";
    let (status, log) = bench.run_text(&config).end();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("nothing is recorded"), "{log}");
    assert_eq!(journaled(&bench.path("state")).len(), PARTS);
}

#[test]
fn the_demo_engine_judges_rendered_parts_the_same_way_twice() {
    let Some(broker) = Broker::start() else { return };
    let bench = Bench::new(broker.port);
    let parts = bench.path("parts");
    let crrd = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_crrd")).args(arguments).output().unwrap()
    };
    let out = parts.to_str().unwrap();
    let none = ["--train", "0", "--calibration", "0", "--good", "1", "--bad", "2", "--seed", "5"];
    let output = crrd(&[&["render-parts", "--out", out][..], &none].concat());
    assert!(output.status.success(), "{}", said(&output));
    let config = format!(
        "station = \"s1\"\nstate_dir = \"state\"\nengine = \"demo\"\ncalibration = \"demo\"\n\
         [mqtt]\nport = {}\n[[recipe]]\nid = 1\nclass = \"washer\"\n[[recipe]]\nid = 2\nclass = \
         \"cap\"\n[camera]\nfolder = \"parts\"\nrecipe_from = \"folder\"\n[limits]\n\
         latency_ms_max = 60000\n[record]\nfolder = \"recordings\"\n",
        broker.port
    );
    let (status, log) = bench.run_text(&config).end();
    assert_eq!(status.code(), Some(0), "{log}");
    let recordings = bench.path("recordings");
    let recordings = recordings.to_str().unwrap();
    let output = crrd(&[
        "replay",
        "--recording",
        recordings,
        "--engine",
        "demo",
        "--calibration",
        "demo",
        "--json",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report = json(&output);
    // Three parts each of the classes that have a recipe; the third class has none.
    assert_eq!((&report["parts"], &report["differ"]), (&9.into(), &0.into()), "{report}");
    assert_eq!(report["compared"], 9, "{report}");
}

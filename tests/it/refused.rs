//! What the station refuses to start on, and what it says then: the file, the field, the remedy.

use crate::station::{Bench, bad_part};
use crate::support::standin;
use crrd::engine::bundle::MODEL_FILE;

/// Exit code of a station that could not start.
const CANNOT_START: i32 = 2;

/// Runs the configuration, which must be refused with all of `words`.
fn check_refused(bench: &Bench, config: &str, words: &[&str]) {
    let (status, log) = bench.run_text(config).end();
    assert_eq!(status.code(), Some(CANNOT_START), "{log}");
    for word in words {
        assert!(log.contains(word), "no {word:?} in:\n{log}");
    }
    assert!(!log.contains("panicked"), "{log}");
}

/// A bench without a broker: nothing here gets that far.
fn bench() -> Bench {
    let bench = Bench::new(1);
    bench.pictures(3);
    bench
}

#[test]
fn a_wrong_configuration_is_refused_with_file_field_and_remedy() {
    let bench = bench();
    let good = bench.config();
    check_refused(
        &bench,
        &good.replace("latency_ms_max", "latency_max"),
        &["crrd.toml", "latency_max", "unknown", "latency_ms_max"],
    );
    check_refused(
        &bench,
        &good.replace("rate_hz = 0", "rate_hz = -5"),
        &["crrd.toml", "rate_hz", "-5"],
    );
    check_refused(
        &bench,
        &good.replace("\"frames\"", "\"no-such-folder\""),
        &["crrd.toml", "camera.folder", "no-such-folder"],
    );
    check_refused(&bench, "station = ", &["crrd.toml"]);
    let (status, log) = bench
        .spawn(
            std::process::Command::new(env!("CARGO_BIN_EXE_crrd"))
                .args(["run", "--config"])
                .arg(bench.path("absent.toml")),
        )
        .end();
    assert_eq!(status.code(), Some(CANNOT_START), "{log}");
    assert!(log.contains("absent.toml") && log.contains("exists"), "{log}");
}

#[test]
fn a_corrupt_bundle_is_refused_before_any_part_is_judged() {
    let bench = bench();
    let model = bench.path("engine").join(MODEL_FILE);
    let mut bytes = std::fs::read(&model).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&model, &bytes).unwrap();
    check_refused(&bench, &bench.config(), &[MODEL_FILE, "SHA-256"]);
    std::fs::write(&model, &bytes[..middle]).unwrap();
    check_refused(&bench, &bench.config(), &[MODEL_FILE]);
    std::fs::remove_file(&model).unwrap();
    check_refused(&bench, &bench.config(), &[MODEL_FILE]);
}

#[test]
fn a_foreign_or_damaged_calibration_is_refused() {
    let bench = bench();
    bench.write_calibration(&"ab".repeat(32));
    check_refused(&bench, &bench.config(), &["calibration", "abababababab", "calibrate"]);
    let file = bench.path("calibration.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("image_threshold = 0.05", "image_threshold = 0.5")).unwrap();
    check_refused(&bench, &bench.config(), &["calibration.toml", "image_threshold", "certify"]);
}

#[test]
fn a_recipe_for_a_class_the_engine_does_not_know_is_refused() {
    let bench = bench();
    let config = bench.config().replace("\"bolt\"", "\"nut\"");
    check_refused(&bench, &config, &["recipe 7", "nut", "bolt"]);
}

#[test]
fn an_unwritable_state_folder_is_refused_with_a_remedy() {
    let mut bench = bench();
    std::fs::write(bench.path("file"), b"in the way").unwrap();
    bench.head("state_dir = \"file/state\"");
    check_refused(&bench, &bench.config(), &["file/state", "journal"]);
}

#[test]
fn two_stations_cannot_share_a_state_folder() {
    let mut bench = bench();
    bench.camera("rate_hz = 10\nmode = \"loop\"");
    let mut first = bench.run();
    first.wait_log("camera streaming");
    check_refused(&bench, &bench.config(), &["journal", "state", "another"]);
}

#[test]
fn a_folder_without_a_usable_frame_is_refused() {
    let bench = Bench::new(1);
    check_refused(&bench, &bench.config(), &["frames"]);
    std::fs::write(bench.path("frames").join("a.png"), b"no picture").unwrap();
    check_refused(&bench, &bench.config(), &["frame"]);
    bench.picture("b.png", &bad_part());
    bench.picture("c.png", &standin::grey());
    let (status, log) = bench.run().end();
    assert_eq!(status.code(), Some(0), "one good file is enough: {log}");
}

//! `crrd calibrate`, `inspect`, `evaluate` and `engine check` as a user runs them: the real
//! program, the stand-in engine, a small test set.

#![allow(clippy::unwrap_used)] // A test fails by panicking.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use crrd::calibrate::Calibration;
use crrd::frame::Precision;
use serde_json::Value;
use support::done::{Done, done};
use support::{dataset, standin};

/// An engine, data of two classes (bolt has 70 calibration parts, nut 20 and no masks).
struct Shop {
    dir: tempfile::TempDir,
}

impl Shop {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        standin::write_bundle(&dir.path().join("engine"), &["bolt", "nut"]);
        let (bolt, nut) = (dir.path().join("data/bolt"), dir.path().join("data/nut"));
        dataset::good_parts(&bolt.join("calibration/good"), 70, 1000);
        dataset::good_parts(&bolt.join("train/good"), 3, 2000);
        dataset::good_parts(&bolt.join("test/good"), 6, 3000);
        dataset::bad_parts(&bolt, "spot", 4, 4000);
        dataset::good_parts(&nut.join("calibration/good"), 20, 5000);
        dataset::good_parts(&nut.join("test/good"), 2, 6000);
        dataset::bad_parts(&nut, "spot", 2, 7000);
        std::fs::remove_dir_all(nut.join("ground_truth")).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs `crrd` in the shop's folder with arguments split at spaces.
    fn crrd(&self, arguments: &str) -> Done {
        let mut command = Command::new(env!("CARGO_BIN_EXE_crrd"));
        done(command.args(arguments.split_whitespace()).current_dir(self.dir.path()))
    }

    fn calibrated(&self) -> Calibration {
        let done = self.crrd(
            "calibrate --engine engine --data data --alpha 0.05 --out bolt.toml --classes bolt",
        );
        assert_eq!(done.code, 0, "{}{}", done.out, done.err);
        read_calibration(&self.path("bolt.toml"))
    }
}

fn read_calibration(file: &Path) -> Calibration {
    Calibration::from_toml(&std::fs::read_to_string(file).unwrap()).unwrap()
}

fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[test]
fn calibrate_certifies_what_it_can_and_tells_how_many_parts_are_missing() {
    let shop = Shop::new();
    let done = shop.crrd(
        "calibrate --engine engine --data data --alpha 0.05 --confidence 0.95 --out c/a.toml",
    );
    assert_eq!(done.code, 1, "{}{}", done.out, done.err);
    // 59 parts are needed for 5 % at 95 %; nut has 20.
    says(&done.out, &["nut: 20 good parts: need 39 more good parts", "left out", "look at"]);
    assert!(!done.err.contains("warning"), "{}", done.err);
    let calibration = read_calibration(&shop.path("c/a.toml"));
    assert_eq!(calibration.class.keys().collect::<Vec<_>>(), ["bolt"]);
    let bolt = &calibration.class["bolt"];
    assert_eq!((bolt.n, bolt.scores.len()), (70, 70));
    assert!(bolt.image_threshold > 0.0 && bolt.pixel_threshold >= bolt.image_threshold);
    let manifest = std::fs::read_to_string(shop.path("engine/manifest.toml")).unwrap();
    says(&manifest, &[&calibration.engine_sha256]);
    assert_eq!(calibration.previous, None);
}

#[test]
fn the_demonstration_judges_parts_and_receives_every_verdict_it_published() {
    let shop = Shop::new();
    let done = shop.crrd("demo --parts 8 --rate 0 --seed 3");
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    says(&done.err, &["mosquitto_sub -h 127.0.0.1 -p", "limit", "score"]);
    assert_eq!(done.out.lines().count(), 1, "one line of JSON:\n{}", done.out);
    let summary: Value = serde_json::from_str(&done.out).unwrap();
    let number = |key: &str| summary[key].as_f64().unwrap_or_else(|| panic!("{key}: {summary}"));
    assert_eq!((number("parts"), number("received")), (8.0, 8.0));
    assert_eq!(number("pass") + number("reject") + number("invalid"), 8.0);
    assert_eq!(number("invalid"), 0.0, "{summary}");
    // The shipped engine is no coin: it is right on most of the parts it was made for.
    assert!(number("wrong") <= 3.0, "{summary}");
    assert_eq!(number("wrong"), number("good_rejected") + number("defects_passed"));
    assert!(number("latency_p50_ms") > 0.0);
    assert!(number("latency_p99_ms") >= number("latency_p50_ms"));
}

#[test]
fn a_calibration_names_the_one_it_replaces() {
    let shop = Shop::new();
    let first = shop.calibrated();
    let second = shop.calibrated();
    assert_eq!(second.previous, Some(first.id().unwrap().to_string()));
    assert_eq!(second.class, first.class, "the same parts give the same limits");
}

#[test]
fn calibrating_on_training_parts_warns_that_the_model_has_seen_them() {
    let shop = Shop::new();
    let done = shop.crrd(
        "calibrate --engine engine --data data --classes bolt --split all --alpha 0.05 --out x.toml",
    );
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    says(&done.err, &["warning", "trained on", "--split test"]);
    assert_eq!(read_calibration(&shop.path("x.toml")).class["bolt"].n, 79);
}

#[test]
fn nothing_is_written_when_no_class_can_be_certified() {
    let shop = Shop::new();
    let done = shop.crrd("calibrate --engine engine --data data --alpha 0.001 --out x.toml");
    assert_eq!(done.code, 2);
    says(&done.err, &["no class can be certified", "2995"]);
    assert!(!shop.path("x.toml").exists());
    let done = shop.crrd("calibrate --engine engine --data data --alpha 5 --out x.toml");
    assert_eq!(done.code, 2);
    says(&done.err, &["alpha", "5"]);
}

#[test]
fn inspect_passes_good_parts_and_rejects_bad_ones_with_the_defects_place() {
    let shop = Shop::new();
    let limits = shop.calibrated();
    let good = "data/bolt/test/good/000.png";
    let inspect = "inspect --engine engine --calibration bolt.toml";
    let done = shop.crrd(&format!("{inspect} {good}"));
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    says(&done.out, &["PASS", good, "bolt", "<= limit", "p "]);
    let bad = "data/bolt/test/spot/002.png";
    let done = shop.crrd(&format!("{inspect} --json --overlays looks {good} {bad}"));
    assert_eq!(done.code, 1, "{}", done.err);
    let lines: Vec<Value> = done.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines[0]["outcome"], "PASS");
    assert_eq!(lines[1]["outcome"], "REJECT");
    assert_eq!(lines[1]["reason"], "score_above_limit");
    assert_eq!(lines[1]["regions_found"], 1);
    let limit = lines[1]["limit"].as_f64().unwrap() as f32;
    assert_eq!(limit, limits.class["bolt"].image_threshold);
    assert!(lines[1]["p_value"].as_f64().unwrap() < 0.02);
    // The square of part 2 begins at (32, 34), 10 px wide; the model blurs by up to 6 px.
    let found = &lines[1]["regions"][0];
    let near = |name: &str, want: i64| {
        let have = found[name].as_i64().unwrap();
        assert!((have - want).abs() <= 7, "{name} is {have}, not about {want}: {found}");
    };
    near("x", 32);
    near("y", 34);
    let right = found["x"].as_i64().unwrap() + found["width"].as_i64().unwrap();
    assert!((right - 42).abs() <= 7, "{found}");
    let looks: Vec<_> = std::fs::read_dir(shop.path("looks")).unwrap().collect();
    assert_eq!(looks.len(), 2);
}

#[test]
fn a_picture_that_cannot_be_read_is_invalid_and_never_skipped() {
    let shop = Shop::new();
    shop.calibrated();
    let whole = std::fs::read(shop.path("data/bolt/test/good/001.png")).unwrap();
    std::fs::write(shop.path("data/bolt/test/good/cut.png"), &whole[..whole.len() / 2]).unwrap();
    let done = shop.crrd(
        "inspect --engine engine --calibration bolt.toml data/bolt/test/good/cut.png \
         data/bolt/nowhere.png data/bolt/test/good/000.png",
    );
    assert_eq!(done.code, 1, "{}", done.err);
    let lines: Vec<&str> = done.out.lines().collect();
    says(lines[0], &["INVALID", "cut.png", "cut off or damaged"]);
    says(lines[1], &["INVALID", "nowhere.png"]);
    says(lines[2], &["PASS"]);
}

#[test]
fn a_part_of_a_class_without_a_limit_is_invalid() {
    let shop = Shop::new();
    shop.calibrated();
    let inspect = "inspect --engine engine --calibration bolt.toml";
    let done = shop.crrd(&format!("{inspect} data/nut/test/good/000.png"));
    assert_eq!(done.code, 1);
    says(&done.out, &["INVALID", "nut", "crrd calibrate"]);
    let done = shop.crrd(&format!("{inspect} --class screw data/nut/test/good/000.png"));
    assert_eq!(done.code, 2);
    says(&done.err, &["screw", "bolt"]);
}

#[test]
fn limits_of_another_engine_are_refused() {
    let shop = Shop::new();
    shop.calibrated();
    let text = std::fs::read_to_string(shop.path("bolt.toml")).unwrap();
    let sha256 = read_calibration(&shop.path("bolt.toml")).engine_sha256;
    std::fs::write(shop.path("bolt.toml"), text.replace(&sha256, &"ab".repeat(32))).unwrap();
    let done =
        shop.crrd("inspect --engine engine --calibration bolt.toml data/bolt/test/good/000.png");
    assert_eq!(done.code, 2);
    assert_eq!(done.out, "");
    says(&done.err, &["bolt.toml", "abababab", &sha256[..8], "crrd calibrate"]);
}

#[test]
fn limits_of_another_arithmetic_are_refused() {
    let shop = Shop::new();
    let made = shop.calibrated();
    assert_eq!(made.precision, Precision::Fp32, "a CPU computes in 32 bits");
    let half = Calibration { precision: Precision::Fp16, ..made };
    std::fs::write(shop.path("bolt.toml"), half.to_toml().unwrap()).unwrap();
    let done =
        shop.crrd("inspect --engine engine --calibration bolt.toml data/bolt/test/good/000.png");
    assert_eq!((done.code, done.out.as_str()), (2, ""));
    says(&done.err, &["bolt.toml", "made in 16 bits", "a CPU cannot use them", "crrd calibrate"]);
}

#[test]
fn evaluate_writes_table_json_and_overlays() {
    let shop = Shop::new();
    let done = shop
        .crrd("evaluate --engine engine --data data --json r.json --overlays looks --threads 2");
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    says(&done.out, &["bolt", "nut", "mean", "img AUROC", "AUPRO.05"]);
    let report: Value =
        serde_json::from_slice(&std::fs::read(shop.path("r.json")).unwrap()).unwrap();
    let bolt = &report["classes"][0];
    assert_eq!(
        (&bolt["class"], &bolt["good"], &bolt["bad"]),
        (&"bolt".into(), &6.into(), &4.into())
    );
    assert_eq!(bolt["image_auroc"], 1.0);
    assert!(bolt["pixel_auroc"].as_f64().unwrap() > 0.99, "{bolt}");
    assert!(bolt["aupro_030"].as_f64().unwrap() > 0.95, "{bolt}");
    let nut = &report["classes"][1];
    assert_eq!((&nut["masks"], &nut["pixel_ap"]), (&0.into(), &Value::Null));
    assert_eq!(report["mean"]["pixel_auroc"], bolt["pixel_auroc"]);
    // Four panels of 128 px with three gaps for a bad part, three for a good one.
    let width = |file: &str| image::image_dimensions(shop.path(file)).unwrap();
    assert_eq!(width("looks/bolt/spot_000.png"), (4 * 128 + 3 * 4, 128));
    assert_eq!(width("looks/bolt/good_000.png"), (3 * 128 + 2 * 4, 128));
    let again = shop.crrd("evaluate --engine engine --data data --json again.json --threads 1");
    assert_eq!(again.code, 0);
    assert_eq!(
        std::fs::read(shop.path("again.json")).unwrap(),
        std::fs::read(shop.path("r.json")).unwrap(),
        "the numbers do not depend on the threads"
    );
}

#[test]
fn evaluate_names_the_picture_that_cannot_be_read() {
    let shop = Shop::new();
    std::fs::write(shop.path("data/bolt/test/good/002.png"), b"not a picture").unwrap();
    let done = shop.crrd("evaluate --engine engine --data data --threads 3");
    assert_eq!(done.code, 2);
    says(&done.err, &["002.png", "PNG, JPEG"]);
    let done = shop.crrd("evaluate --engine engine --data nowhere");
    assert_eq!(done.code, 2);
    says(&done.err, &["nowhere"]);
}

#[test]
fn the_engine_inside_the_program_proves_itself_and_its_limits_belong_to_it() {
    let shop = Shop::new();
    let done = shop.crrd("engine check --engine demo");
    assert_eq!(done.code, 0, "{}", done.err);
    says(
        &done.out,
        &["embedded engine `demo`", "on one thread in 32 bits", "reproduced", "ms a picture", "ok"],
    );
    let done = shop
        .crrd("inspect --engine demo --calibration demo --class washer data/nut/test/good/000.png");
    // Which verdict is the model's business; that it is one, by these limits, is ours.
    assert!([0, 1].contains(&done.code), "{}{}", done.out, done.err);
    says(&done.out, &["washer", "score", "limit", "p "]);
}

#[test]
fn engine_check_tells_what_it_proved_and_refuses_a_damaged_bundle() {
    let shop = Shop::new();
    let done = shop.crrd("engine check --engine engine");
    assert_eq!(done.code, 0, "{}", done.err);
    says(&done.out, &["3 pictures reproduced", "bolt, nut", "ok"]);
    std::fs::write(shop.path("engine/model.onnx"), b"half").unwrap();
    let done = shop.crrd("engine check --engine engine");
    assert_eq!(done.code, 2);
    says(&done.err, &["error:", "model.onnx", "SHA-256", "copy the whole bundle"]);
}

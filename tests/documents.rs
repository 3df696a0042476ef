//! The guides tell what the program does: payload keys, reasons and states of docs/plc.md are
//! those of the encoder.

// Helpers of tests may unwrap: a panic is how a test fails.
#![allow(missing_docs, clippy::unwrap_used)]

use crrd::calibrate::CalibrationId;
use crrd::frame::{Nanos, PartId, RecipeId, TriggerId};
use crrd::judge::{Reason, Verdict};
use crrd::message::{
    CalibrationChange, CameraHealth, HealthRecord, Mode, RecordingHealth, Reply, ReplyCode,
    StateRecord, VerdictRecord, decode_command, decode_receipt, encode_calibration_change,
    encode_health, encode_reply, encode_state, encode_verdict,
};
use crrd::station::Need;

const COMMANDS: &str = include_str!("../docs/spec/commands.md");
const PLC: &str = include_str!("../docs/plc.md");
const INTEGRATOR: &str = include_str!("../docs/integrator.md");
const CALIBRATION: &str = include_str!("../calibration/README.md");

/// First cells, without backticks, of the table that follows `heading` and begins with `title`.
fn column(document: &str, heading: &str, title: &str) -> Vec<String> {
    let section = document.split(&format!("## {heading}\n")).nth(1).expect(heading);
    let rows = section.lines().skip_while(|l| !l.starts_with(&format!("| {title} |"))).skip(2);
    rows.take_while(|l| l.starts_with('|'))
        .map(|l| l.trim_matches('|').split('|').next().unwrap().trim().replace('`', ""))
        .collect()
}

/// Top-level keys of a flat JSON object, in order.
fn keys(json: &str) -> Vec<String> {
    let inner = json.trim_matches(['{', '}']);
    inner.split(',').map(|pair| pair.split('"').nth(1).unwrap().to_owned()).collect()
}

#[test]
fn the_verdict_table_has_the_keys_of_the_payload_in_order() {
    let record = VerdictRecord {
        seq: 1,
        epoch: 1,
        trigger: TriggerId(1),
        part: PartId::new("P1").unwrap(),
        recipe: RecipeId(1),
        class: 0,
        calibration: CalibrationId(1),
        verdict: Verdict::invalid(Reason::Deadline),
        latency: Nanos(0),
        flags: 0,
    };
    let mut text = String::new();
    encode_verdict(&record, &mut text);
    assert_eq!(column(PLC, "Verdict", "key"), keys(&text));
}

#[test]
fn the_reason_table_has_every_reason() {
    let reasons = [
        Reason::None,
        Reason::ScoreAboveLimit,
        Reason::ScoreNotFinite,
        Reason::MapIncomplete,
        Reason::NotCalibrated,
        Reason::CalibrationForeign,
        Reason::Deadline,
        Reason::FrameLost,
        Reason::FrameDamaged,
        Reason::Engine,
        Reason::Overrun,
        Reason::RecipeUnknown,
        Reason::Internal,
        Reason::NotReady,
        Reason::Unmatched,
    ];
    // A new reason must be added here, and then to the document.
    for reason in reasons {
        match reason {
            Reason::None
            | Reason::ScoreAboveLimit
            | Reason::ScoreNotFinite
            | Reason::MapIncomplete
            | Reason::NotCalibrated
            | Reason::CalibrationForeign
            | Reason::Deadline
            | Reason::FrameLost
            | Reason::FrameDamaged
            | Reason::Engine
            | Reason::Overrun
            | Reason::RecipeUnknown
            | Reason::Internal
            | Reason::NotReady
            | Reason::Unmatched => {}
        }
    }
    let codes: Vec<_> = reasons.iter().map(|r| (*r as u8).to_string()).collect();
    assert_eq!(column(PLC, "Reasons", "`k`"), codes);
}

#[test]
fn the_state_table_has_the_keys_and_codes_of_the_payload() {
    let state = StateRecord {
        ready: true,
        busy: false,
        name: "ContinuousExecution",
        mode: Mode::Continuous,
        recipe: None,
        missed: 0,
        epoch: 1,
        seq: 0,
        error: 0,
        calibration: CalibrationId(1),
        engine_sha256: "ab",
        text: "",
    };
    assert_eq!(column(PLC, "State", "key"), keys(&encode_state(&state)));
    let documented = "0 nothing, 1 engine, 2 calibration, 3 journal, 4 camera";
    let coded: Vec<_> = Need::ALL
        .iter()
        .map(|n| format!("{} {}", *n as u8, format!("{n:?}").to_lowercase()))
        .collect();
    assert_eq!(documented, format!("0 nothing, {}", coded.join(", ")));
    assert!(PLC.contains(documented));
}

#[test]
fn the_tables_of_metrics_and_calibration_have_the_keys_of_the_payloads() {
    let recording = Some(RecordingHealth::default());
    let health = encode_health(&HealthRecord { recording, ..HealthRecord::default() });
    let section = "Metrics and calibration, for maintenance";
    let (top, recorded) = health.split_once("\"rec\":{").unwrap();
    assert_eq!(column(PLC, section, "key"), keys(&format!("{top}\"rec\":0}}")));
    assert_eq!(column(PLC, section, "key of `rec`"), keys(recorded));
    let cameras = vec![CameraHealth::default()];
    let health = encode_health(&HealthRecord { cameras, ..HealthRecord::default() });
    let camera = health.split(['[', ']']).nth(3).unwrap();
    assert_eq!(column(PLC, section, "key of `cam`"), keys(camera));
    let (author, reason) = ("a", "b");
    let change =
        CalibrationChange { epoch: 1, id: CalibrationId(1), old: None, classes: 1, author, reason };
    let calib = PLC.split("`calib`: the calibration").nth(1).unwrap();
    let calib = format!("## calib\n{calib}");
    assert_eq!(column(&calib, "calib", "key"), keys(&encode_calibration_change(&change)));
}

#[test]
fn every_command_answer_and_receipt_in_the_reference_is_one() {
    let words = column(COMMANDS, "Commands", "`cmd`");
    let examples: Vec<&str> = COMMANDS
        .split(['`', '\'', '\n'])
        .filter(|text| text.starts_with("{\"v\":1,\"id\"") && !text.contains("\"ok\""))
        .collect();
    let mut seen = std::collections::BTreeSet::new();
    for example in &examples {
        match decode_command(example.as_bytes()) {
            Ok(request) => drop(seen.insert(request.command.word().to_owned())),
            // The example session shows one that is refused.
            Err(refusal) => assert_eq!((refusal.id, refusal.code), (3, ReplyCode::Malformed)),
        }
    }
    assert_eq!(seen, words.into_iter().collect());
    let reply = Reply { id: 1, word: "arm", code: ReplyCode::Done, epoch: 3, seq: 17 };
    assert!(COMMANDS.contains(&encode_reply(&reply)));
    assert_eq!(column(COMMANDS, "Answers", "key"), keys(&encode_reply(&reply)));
    let malformed = Reply { id: 3, word: "", code: ReplyCode::Malformed, epoch: 3, seq: 0 };
    assert!(COMMANDS.contains(&encode_reply(&malformed)));
    let codes: Vec<_> = ReplyCode::ALL.iter().map(|code| (*code as u8).to_string()).collect();
    assert_eq!(column(COMMANDS, "Codes", "`k`"), codes);
    let receipt = COMMANDS.lines().find(|line| line.starts_with("{\"v\":1,\"e\"")).unwrap();
    let receipt = decode_receipt(receipt.as_bytes()).unwrap();
    assert_eq!((receipt.consumer.as_str(), receipt.epoch, receipt.seq), ("mes", 3, 17));
}

#[test]
fn the_table_of_sparkplug_tags_has_every_tag_with_datatype_and_unit() {
    let section = INTEGRATOR.split("## SCADA: Sparkplug B\n").nth(1).unwrap();
    let rows = section.lines().skip_while(|l| !l.starts_with("| tag |")).skip(2);
    let documented: Vec<_> = rows
        .take_while(|l| l.starts_with('|'))
        .map(|l| {
            let mut cells = l.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', ""));
            [(); 3].map(|()| cells.next().unwrap())
        })
        .collect();
    let tags: Vec<_> = crrd::publish::sparkplug::tags()
        .map(|(name, datatype, unit)| [name.to_owned(), datatype, unit.to_owned()])
        .collect();
    assert_eq!(documented, tags);
}

#[test]
fn the_calibration_table_has_every_field_of_the_file() {
    let documented: Vec<_> = CALIBRATION
        .lines()
        .filter_map(|l| l.strip_prefix("| "))
        .filter_map(|l| l.split('|').next())
        .flat_map(|cell| cell.split(',').map(|f| f.trim().trim_matches('`').to_owned()))
        .collect();
    let calibration = crrd::calibrate::Calibration {
        format: 1,
        engine_sha256: String::new(),
        precision: crrd::frame::Precision::Fp16,
        created_utc: String::new(),
        author: String::new(),
        reason: String::new(),
        previous: Some(String::new()),
        alpha: 0.01,
        confidence: 0.95,
        class: [(
            "NAME".to_owned(),
            crrd::calibrate::ClassLimit {
                image_threshold: 1.0,
                pixel_threshold: 1.0,
                n: 1,
                k: 0,
                dataset_sha256: String::new(),
                scores: vec![1.0],
                geometry: crrd::frame::Geometry::WHOLE,
                tiling: crrd::frame::Tiling::WHOLE,
            },
        )]
        .into(),
    };
    let text = toml::to_string(&calibration).unwrap();
    let fields = text.lines().filter(|l| !l.is_empty());
    for field in fields.map(|l| l.split(" = ").next().unwrap()) {
        assert!(documented.iter().any(|d| d == field), "{field} is not in calibration/README.md");
    }
}

#[test]
fn the_table_of_the_doctor_has_every_code() {
    let guide = include_str!("../docs/integrator.md");
    let codes: Vec<_> = crrd::cli::doctor::Code::ALL.iter().map(|c| c.as_str()).collect();
    let rows = guide.lines().skip_while(|l| !l.starts_with("| code |")).skip(2);
    let documented: Vec<_> =
        rows.take_while(|l| l.starts_with('|')).map(|l| l.split('`').nth(1).unwrap()).collect();
    assert_eq!(documented, codes);
}

#[test]
fn the_table_of_the_camera_test_has_every_code() {
    let guide = include_str!("../docs/cameras.md");
    let rows = guide.lines().skip_while(|l| !l.starts_with("| code |")).skip(2);
    let documented: Vec<_> =
        rows.take_while(|l| l.starts_with('|')).map(|l| l.split('`').nth(1).unwrap()).collect();
    assert_eq!(documented, crrd::capture::diagnose::CODES);
}

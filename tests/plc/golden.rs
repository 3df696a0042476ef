//! The golden files of `plc/golden`: written by the encoders, held byte for byte.
//!
//! `CRRD_WRITE_GOLDEN=1 cargo test --test plc golden` writes them anew; a change of one is a change
//! of the contract with every PLC out there.

use std::path::PathBuf;

use crrd::calibrate::{CalibrationId, ClassLimit};
use crrd::frame::{AnomalyMap, Nanos, PartId, RecipeId, TriggerId};
use crrd::judge::{Judge, Mask, Question, Reason, Region, Verdict};
use crrd::message::{
    ByteOrder, CLASS_NONE, FLAG_LATE, MaskMessage, Mode, StateRecord, VerdictRecord, decode_mask,
    encode_binary, encode_mask, encode_offline, encode_state, encode_verdict,
};

pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("plc/golden")
}

/// Compares a file with what the encoder writes now, or writes it when asked to.
fn hold(name: &str, bytes: &[u8]) {
    let path = folder().join(name);
    if std::env::var_os("CRRD_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, bytes).unwrap();
    }
    let held = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert!(held == bytes, "{name} is not what the encoder writes: the contract has changed");
}

/// The judge's answer to a part with this score under a limit of 0.2.
fn judged(score: f32, in_time: bool) -> Verdict {
    let map = AnomalyMap { width: 2, height: 1, values: vec![0.0, score], score };
    let limit = ClassLimit {
        image_threshold: 0.2,
        pixel_threshold: 0.2,
        n: 3,
        k: 0,
        dataset_sha256: "0".repeat(64),
        scores: vec![0.1, 0.15, 0.2],
        geometry: crrd::frame::Geometry::WHOLE,
        tiling: crrd::frame::Tiling::WHOLE,
    };
    let question = Question { map: &map, limit: Some(&limit), calibration_valid: true, in_time };
    Judge::new(2, 1).judge(&question, &mut Mask::empty(2, 1))
}

fn record(seq: u32, part: &str, verdict: Verdict) -> VerdictRecord {
    VerdictRecord {
        seq,
        epoch: 3,
        trigger: TriggerId(4711),
        part: PartId::new(part).unwrap(),
        recipe: RecipeId(7),
        class: 2,
        calibration: CalibrationId(0xdead_beef),
        verdict,
        latency: Nanos(12_345_678),
        flags: 0,
    }
}

/// Each verdict worth a file, with its name.
pub(crate) fn verdicts() -> Vec<(&'static str, VerdictRecord)> {
    let pass = judged(0.123_45, true);
    let mut reject = judged(0.75, true);
    (0..4).for_each(|i| {
        reject.regions.offer(Region { x: i, y: 2, width: 3, height: 4, score: 0.5 });
    });
    let mut largest = Verdict::invalid(Reason::Unmatched);
    (largest.score, largest.limit, largest.p_value) = (f32::MAX, f32::MAX, 1.0);
    (0..300).for_each(|_| largest.regions.offer(Region::default()));
    let mut smallest = Verdict::invalid(Reason::Deadline);
    (smallest.score, smallest.limit) = (0.0, 0.0);
    vec![
        ("pass", record(17, "P-000017", pass)),
        ("reject", record(18, "P-000018", reject)),
        ("test", record(19, "P-000019", pass.as_test())),
        ("score-not-finite", record(20, "P-000020", judged(f32::NAN, true))),
        ("deadline", record(21, "P-000021", Verdict::invalid(Reason::Deadline))),
        ("late", VerdictRecord { flags: FLAG_LATE, ..record(21, "P-000021", pass) }),
        ("judged-too-late", record(22, "P-000022", judged(0.1, false))),
        (
            "unmatched",
            VerdictRecord {
                trigger: TriggerId(0),
                class: CLASS_NONE,
                calibration: CalibrationId(0),
                ..record(23, "S000023", Verdict::invalid(Reason::Unmatched))
            },
        ),
        (
            "largest",
            VerdictRecord {
                seq: u32::MAX,
                epoch: u32::MAX,
                trigger: TriggerId(u32::MAX),
                recipe: RecipeId(u16::MAX),
                class: CLASS_NONE,
                calibration: CalibrationId(u32::MAX),
                latency: Nanos(u64::MAX),
                flags: u16::MAX,
                ..record(0, "Az09_.-Az09_.-zz", largest)
            },
        ),
        (
            "smallest",
            VerdictRecord {
                epoch: 0,
                trigger: TriggerId(0),
                recipe: RecipeId(0),
                class: 0,
                calibration: CalibrationId(0),
                latency: Nanos(0),
                ..record(0, "0", smallest)
            },
        ),
    ]
}

#[test]
fn golden_verdicts_are_what_the_encoders_write() {
    for (name, record) in verdicts() {
        let mut text = String::new();
        encode_verdict(&record, &mut text);
        hold(&format!("{name}.json"), text.as_bytes());
        hold(&format!("{name}.big"), &encode_binary(&record, ByteOrder::Big));
        hold(&format!("{name}.little"), &encode_binary(&record, ByteOrder::Little));
    }
}

#[test]
fn golden_states_are_what_the_encoder_writes() {
    let ready = StateRecord {
        ready: true,
        busy: false,
        name: "Ready",
        mode: Mode::Single,
        recipe: Some(RecipeId(7)),
        missed: 0,
        epoch: 3,
        seq: 23,
        error: 0,
        calibration: CalibrationId(0xdead_beef),
        engine_sha256: &"0123456789abcdef".repeat(4),
        text: "",
    };
    // The text holds what looks like the key that a simple reader searches.
    let waiting = StateRecord {
        ready: false,
        name: "Initialized",
        recipe: None,
        error: 4,
        text: "camera \"left,\"e\":9\" delivers nothing",
        ..ready.clone()
    };
    hold("state-ready.json", encode_state(&ready).as_bytes());
    hold("state-not-ready.json", encode_state(&waiting).as_bytes());
    hold("state-offline.json", encode_offline(3).as_bytes());
}

/// A mask of `side` x `side` whose blocks of `block` pixels are set at random: nothing compresses
/// them.
pub(crate) fn noise(side: usize, block: usize, of_256: u64) -> Mask {
    let set = |i: usize| {
        let (x, y) = ((i % side / block) as u64, (i / side / block) as u64);
        let mixed = ((x << 16 | y) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 56 < of_256
    };
    let flags: Vec<bool> = (0..side * side).map(set).collect();
    Mask::from_pixels(side, side, &flags).unwrap()
}

/// Each mask worth a file: name, mask, picture size, boxes.
pub(crate) fn masks() -> Vec<(&'static str, Mask, (usize, usize), usize)> {
    let spot: Vec<bool> = (0..256 * 256)
        .map(|i| (40..60).contains(&(i % 256)) && (90..95).contains(&(i / 256)))
        .collect();
    vec![
        ("mask-rle", Mask::from_pixels(256, 256, &spot).unwrap(), (2448, 2048), 1),
        ("mask-png", noise(90, 1, 128), (160, 96), 3),
        ("mask-coarser", noise(512, 1, 40), (1920, 1080), 8),
        // Still too large at a sixteenth of its resolution.
        ("mask-boxes", noise(3600, 16, 128), (3600, 3600), 9),
    ]
}

pub(crate) fn mask_message(mask: &Mask, picture: (usize, usize), boxes: usize) -> String {
    let mut record = record(18, "P-000018", Verdict::invalid(Reason::Internal));
    for i in 0..boxes as u16 {
        let score = 0.5 + f32::from(i) / 8.0;
        record.verdict.regions.offer(Region { x: i, y: 2 * i, width: 9, height: 7, score });
    }
    encode_mask(&MaskMessage {
        record: &record,
        mask,
        picture,
        geometry: crrd::frame::Geometry::WHOLE,
        cameras: &[],
    })
    .unwrap()
}

/// The mask of a part that several cameras look at.
fn mask_of_view(mask: &Mask, picture: (usize, usize)) -> String {
    let mut record = record(18, "P-000018", Verdict::invalid(Reason::Internal));
    record.flags = crrd::message::view_flags(1);
    encode_mask(&MaskMessage {
        record: &record,
        mask,
        picture,
        geometry: crrd::frame::Geometry::WHOLE,
        cameras: &["top", "side"].map(str::to_owned),
    })
    .unwrap()
}

/// A binary PBM, which any picture viewer shows.
fn pbm(width: usize, height: usize, pixels: &[u8]) -> Vec<u8> {
    let mut out = format!("P4\n{width} {height}\n").into_bytes();
    for row in pixels.chunks_exact(width) {
        out.extend(
            row.chunks(8).map(|eight| {
                eight.iter().enumerate().fold(0u8, |byte, (i, p)| byte | p << (7 - i))
            }),
        );
    }
    out
}

/// Compares a mask message with its file: byte for byte, but a PNG by what it shows, since equal
/// pixels may be packed in other bytes by another compressor.
fn hold_message(name: &str, text: &str) {
    if !text.contains("\"enc\":\"png\"") || std::env::var_os("CRRD_WRITE_GOLDEN").is_some() {
        return hold(name, text.as_bytes());
    }
    let held = std::fs::read_to_string(folder().join(name)).unwrap();
    let split = |text: &str| {
        let mut message: serde_json::Value = serde_json::from_str(text).unwrap();
        message.as_object_mut().unwrap().remove("data").unwrap();
        (message, decode_mask(text.as_bytes()).unwrap().mask)
    };
    assert_eq!(split(&held), split(text), "{name}: the contract has changed");
}

#[test]
fn golden_masks_are_what_the_encoder_writes() {
    for (name, mask, picture, boxes) in masks() {
        let text = mask_message(&mask, picture, boxes);
        hold_message(&format!("{name}.json"), &text);
        let read = decode_mask(text.as_bytes()).unwrap();
        assert_eq!(read.boxes.len(), boxes.min(8));
        let tag = ["\"enc\":\"rle\"", "\"enc\":\"png\"", "\"box\""];
        let form = ["mask-rle", "mask-png", "mask-coarser", "mask-boxes"];
        assert!(text.contains(match form.iter().position(|f| *f == name).unwrap() {
            at @ 0..=1 => tag[at],
            _ => tag[2],
        }));
        // The pixels are those of the mask itself, not of what was read back.
        let Some((width, height, pixels)) = read.mask else {
            assert_eq!(name, "mask-boxes");
            continue;
        };
        let step = mask.width().div_ceil(width);
        assert_eq!(step > 1, name == "mask-coarser");
        let covered = |i: usize| {
            let (x, y) = (i % width * step, i / width * step);
            (y..y + step).any(|y| (x..x + step).any(|x| mask.is_set(x, y)))
        };
        let expected: Vec<u8> = (0..width * height).map(|i| u8::from(covered(i))).collect();
        assert_eq!(pixels, expected, "{name}");
        hold(&format!("{name}.pbm"), &pbm(width, height, &expected));
    }
}

#[test]
fn the_golden_mask_of_one_of_several_cameras_says_whose_picture_it_is() {
    let masks = masks();
    let (_, mask, picture, _) = &masks[0];
    let text = mask_of_view(mask, *picture);
    hold_message("mask-view.json", &text);
    let read = decode_mask(text.as_bytes()).unwrap();
    assert_eq!(read.view, Some((2, "side".to_owned())));
    let (width, height, pixels) = read.mask.unwrap();
    hold("mask-view.pbm", &pbm(width, height, &pixels));
}

use std::path::Path;

use super::*;
use crate::frame::{CameraId, FrameMeta, Nanos, PartId, PixelFormat, Pool, TriggerId};
use crate::record::{FORMAT, HeadRecipe, Reading};
use proptest::prelude::*;

fn head(created_utc: &str) -> Head {
    Head {
        format: FORMAT,
        station: "s1".to_owned(),
        program: "0.0.0".to_owned(),
        created_utc: created_utc.to_owned(),
        engine_sha256: "ab".repeat(32),
        calibration: "00000001".to_owned(),
        keep: "all".to_owned(),
        camera: vec![],
        recipe: vec![HeadRecipe { id: 1, class: "bolt".to_owned(), views: Default::default() }],
    }
}

fn create(folder: &Path, bytes_max: u64, created_utc: &str) -> Store {
    let head = head(created_utc);
    Store::create(folder, bytes_max, &head, &toml::to_string(&head).unwrap()).unwrap()
}

fn line(seq: u32) -> PartLine {
    let verdict = crate::judge::Verdict::invalid(crate::judge::Reason::Engine);
    let record = crate::message::VerdictRecord {
        seq,
        epoch: 1,
        trigger: TriggerId(seq),
        part: PartId::new("P").unwrap(),
        recipe: crate::frame::RecipeId(1),
        class: 0,
        calibration: crate::calibrate::CalibrationId(1),
        verdict,
        latency: Nanos(1),
        flags: 0,
    };
    PartLine::of(&record, &Default::default(), 0, 0)
}

fn shot(seq: u32, bytes: usize) -> Shot {
    let (number, size) = ((1, u64::from(seq)), (bytes, 1));
    let meta = FrameMeta::packed(CameraId(0), number, Nanos(1), PixelFormat::Mono8, size);
    let mut copy = Pool::new(1, bytes).lease().unwrap();
    copy.fill(seq as u8);
    let part = PartId::new("P").unwrap();
    Shot { meta, trigger: TriggerId(seq), part, recipe: None, copy }
}

/// Bytes of all files below `folder` but the heads.
fn on_disk(folder: &Path) -> u64 {
    let mut bytes = 0;
    for recording in entries(folder).unwrap() {
        for file in entries(&recording).unwrap() {
            if !file.ends_with(HEAD_FILE) {
                bytes += std::fs::metadata(file).unwrap().len();
            }
        }
    }
    bytes
}

/// Result numbers of a recording whose pictures are whole.
fn numbers(recording: &Path) -> Vec<u32> {
    let mut found = vec![];
    Reading::open(recording)
        .unwrap()
        .parts(|part| {
            for frame in &part.line.frames {
                let bytes = part.bytes(frame)?;
                assert!(bytes.iter().all(|b| *b == part.line.seq as u8));
                assert!(frame.view(&bytes).unwrap().is_ok());
            }
            found.push(part.line.seq);
            Ok::<(), crate::record::ReadError>(())
        })
        .unwrap();
    found
}

#[test]
fn what_is_written_is_read_back_and_the_oldest_goes_first() {
    let dir = tempfile::tempdir().unwrap();
    let bytes_max = 400_000;
    let mut store = create(dir.path(), bytes_max, "2026-01-01T00:00:00Z");
    for seq in 1..=100 {
        assert!(store.append(line(seq), &[shot(seq, 10_000)]).unwrap());
        assert!(on_disk(dir.path()) <= bytes_max);
    }
    assert_eq!(store.bytes(), on_disk(dir.path()));
    let kept = numbers(store.dir());
    assert_eq!(kept.last(), Some(&100));
    assert!(kept.is_sorted() && kept.windows(2).all(|w| w[1] == w[0] + 1), "{kept:?}");
    // Most of the room is used: one segment and one picture less at worst.
    assert!(kept.len() > 30, "{}", kept.len());
}

#[test]
fn older_recordings_go_before_newer_ones_and_empty_ones_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let other = dir.path().join("precious");
    std::fs::create_dir(&other).unwrap();
    let mut first = create(dir.path(), 400_000, "2026-01-01T00:00:00Z");
    for seq in 1..=20 {
        first.append(line(seq), &[shot(seq, 10_000)]).unwrap();
    }
    let first_dir = first.dir().to_owned();
    drop(first);
    let empty = create(dir.path(), 400_000, "2026-01-01T00:00:01Z").dir().to_owned();
    assert!(empty.is_dir());
    let mut second = create(dir.path(), 400_000, "2026-01-01T00:00:01Z");
    assert!(!empty.is_dir() || empty == second.dir(), "nothing was in it");
    for seq in 1..=60 {
        second.append(line(seq), &[shot(seq, 10_000)]).unwrap();
        assert!(on_disk(dir.path()) <= 400_000);
    }
    assert!(!first_dir.exists(), "all of it was older");
    assert!(numbers(second.dir()).ends_with(&[58, 59, 60]));
    assert!(other.is_dir(), "folders of others are left alone");
}

#[test]
fn a_line_cut_by_a_power_failure_ends_its_segment_and_a_changed_picture_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = create(dir.path(), 1 << 20, "2026-01-01T00:00:00Z");
    for seq in 1..=3 {
        store.append(line(seq), &[shot(seq, 100)]).unwrap();
    }
    let (lines, frames) = (store.dir().join("00000001.jsonl"), store.dir().join("00000001.frames"));
    let text = std::fs::read(&lines).unwrap();
    std::fs::write(&lines, &text[..text.len() - 10]).unwrap();
    assert_eq!(numbers(store.dir()), [1, 2]);

    let mut bytes = std::fs::read(&frames).unwrap();
    bytes[150] ^= 1;
    std::fs::write(&frames, &bytes[..]).unwrap();
    let mut wrong = vec![];
    let reading = Reading::open(store.dir()).unwrap();
    let each = |part: crate::record::Part| {
        if let Err(error) = part.bytes(&part.line.frames[0]) {
            wrong.push((part.line.seq, error.to_string()));
        }
        Ok::<(), crate::record::ReadError>(())
    };
    reading.parts(each).unwrap();
    assert_eq!(wrong.len(), 1);
    assert!(wrong[0].0 == 2 && wrong[0].1.contains("not those that were recorded"), "{wrong:?}");
}

#[test]
fn a_recording_of_another_version_is_refused_with_the_program_that_made_it() {
    let dir = tempfile::tempdir().unwrap();
    let other = Head { format: FORMAT + 1, program: "9.9.9".to_owned(), ..head("x") };
    let file = dir.path().join(HEAD_FILE);
    std::fs::write(&file, toml::to_string(&other).unwrap()).unwrap();
    let error = Reading::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("9.9.9") && error.contains(file.to_str().unwrap()), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Whatever the sizes: never more than allowed, always the newest, never a hole.
    #[test]
    fn the_bound_holds_for_pictures_of_any_size(
        sizes in proptest::collection::vec(1usize..150_000, 1..40),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let bytes_max = 120_000;
        let mut store = create(dir.path(), bytes_max, "2026-01-01T00:00:00Z");
        let mut last = None;
        for (seq, size) in (1..).zip(&sizes) {
            let fits = store.append(line(seq), &[shot(seq, *size)]).unwrap();
            prop_assert_eq!(fits, *size as u64 + LINE_BYTES_MAX <= bytes_max);
            last = if fits { Some(seq) } else { last };
            prop_assert!(on_disk(dir.path()) <= bytes_max);
        }
        prop_assert_eq!(numbers(store.dir()).last().copied(), last);
    }
}

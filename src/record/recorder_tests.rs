use std::path::Path;

use super::*;
use crate::calibrate::CalibrationId;
use crate::frame::{
    CameraId, Frame, FrameKey, FrameKeys, FrameMeta, Nanos, PartId, PixelFormat, Pool, RecipeId,
    TriggerId,
};
use crate::judge::{Reason, Verdict};
use crate::record::{PartLine, ReadError, Reading};
use crate::sys::clock::ManualClock;

const BYTES: usize = 64;
const SHOTS: usize = 12;

fn start(folder: &Path, keep: Keep) -> Recorder {
    start_of(folder, keep, &["camera"])
}

fn start_of(folder: &Path, keep: Keep, cameras: &[&str]) -> Recorder {
    let settings = Settings {
        folder: folder.to_owned(),
        bytes_max: 1 << 20,
        keep,
        station: "s1".to_owned(),
        engine_sha256: "ab".repeat(32),
        calibration: "00000001".to_owned(),
        recipes: vec![HeadRecipe { id: 1, class: "bolt".to_owned(), views: Default::default() }],
        cameras: cameras
            .iter()
            .map(|name| View { name: (*name).to_owned(), frame_bytes_max: BYTES })
            .collect(),
        frames_waiting: 4,
    };
    Recorder::start(settings, Arc::new(ManualClock::new(1_767_225_600))).unwrap()
}

fn frame(camera: u16, seq: u64) -> Frame {
    let (number, size) = ((1, seq), (BYTES, 1));
    let mut meta = FrameMeta::packed(CameraId(camera), number, Nanos(5), PixelFormat::Mono8, size);
    meta.facts.exposure_us = Some(250.0);
    let mut lease = Pool::new(1, BYTES).lease().unwrap();
    lease.fill(seq as u8);
    Frame { meta, lease }
}

fn decision(seq: u32, reason: Reason) -> VerdictRecord {
    VerdictRecord {
        seq,
        epoch: 4,
        trigger: TriggerId(seq + 100),
        part: PartId::new("PLC-1").unwrap(),
        recipe: RecipeId(1),
        class: 0,
        calibration: CalibrationId(1),
        verdict: Verdict::invalid(reason),
        latency: Nanos(7),
        flags: 0,
    }
}

fn lines(recorder: &Path) -> Vec<PartLine> {
    let mut found = vec![];
    let keep = |part: crate::record::Part| {
        found.push(part.line);
        Ok::<(), ReadError>(())
    };
    Reading::open(recorder).unwrap().parts(keep).unwrap();
    found
}

/// Hands over a picture; it is the only one of its part.
fn shot(feed: &Feed, seq: u64) -> FrameKeys {
    only(shot_of(feed, 0, seq))
}

fn only(key: FrameKey) -> FrameKeys {
    let mut keys = FrameKeys::default();
    keys[0] = Some(key);
    keys
}

/// Hands over a decision with these pictures.
fn decided(feed: &Feed, record: &VerdictRecord, frames: &FrameKeys) {
    feed.decided(record, frames, &ViewResults::default());
}

fn shot_of(feed: &Feed, camera: u16, seq: u64) -> FrameKey {
    let frame = frame(camera, seq);
    feed.shot(&frame, TriggerId(9), PartId::new("CAM-1").unwrap(), Some(RecipeId(1)));
    frame.meta.key()
}

#[test]
fn a_decision_is_written_with_the_picture_it_was_made_from() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = start(dir.path(), Keep::All);
    let folder = recorder.folder().to_owned();
    let feed = recorder.feed();
    let first = shot(&feed, 1);
    let second = shot(&feed, 2);
    decided(&feed, &decision(1, Reason::FrameDamaged), &first);
    decided(&feed, &decision(2, Reason::FrameLost), &FrameKeys::default());
    decided(&feed, &decision(3, Reason::Engine), &second);
    let counters = recorder.stop();
    assert_eq!(counters, Counters { parts: 3, frames: 2, dropped: 0, failed: false });
    let lines = lines(&folder);
    let seqs: Vec<(u32, usize)> = lines.iter().map(|l| (l.seq, l.frames.len())).collect();
    assert_eq!(seqs, [(1, 1), (2, 0), (3, 1)]);
    assert_eq!((lines[0].trigger, lines[0].part.as_str()), (101, "PLC-1"));
    assert_eq!((lines[0].verdict.as_str(), lines[0].reason.as_str()), ("INVALID", "frame_damaged"));
    let frame = &lines[2].frames[0];
    assert_eq!((frame.seq, frame.trigger, frame.part.as_str()), (2, 9, "CAM-1"));
    assert_eq!((frame.exposure_us, frame.raw_id), (Some(250.0), None));
    assert!(folder.ends_with("rec-20260101T000000Z"), "{}", folder.display());
}

#[test]
fn rejects_alone_are_kept_when_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = start(dir.path(), Keep::Rejects);
    let folder = recorder.folder().to_owned();
    let feed = recorder.feed();
    let passed = {
        use crate::calibrate::{ClassLimit, certify};
        use crate::frame::AnomalyMap;
        use crate::judge::{Judge, Mask, Question};
        let bound = certify(&[0.5], 0.5, 0.5).unwrap();
        let limit = ClassLimit {
            image_threshold: bound.limit,
            pixel_threshold: 0.5,
            n: 1,
            k: bound.k,
            dataset_sha256: String::new(),
            scores: vec![0.5],
            geometry: crate::frame::Geometry::WHOLE,
            tiling: crate::frame::Tiling::WHOLE,
        };
        let map = AnomalyMap { width: 1, height: 1, values: vec![0.1], score: 0.1 };
        let question =
            Question { map: &map, limit: Some(&limit), calibration_valid: true, in_time: true };
        Judge::new(1, 1).judge(&question, &mut Mask::empty(1, 1))
    };
    for seq in 1..=4 {
        let key = shot(&feed, seq.into());
        let mut record = decision(seq, Reason::Engine);
        if seq % 2 == 0 {
            record.verdict = passed;
        }
        decided(&feed, &record, &key);
    }
    assert_eq!(recorder.stop().parts, 2);
    assert_eq!(lines(&folder).iter().map(|l| l.seq).collect::<Vec<_>>(), [1, 3]);
}

#[test]
fn a_disk_that_is_behind_costs_records_and_never_time() {
    let dir = tempfile::tempdir().unwrap();
    // Nobody takes the messages: a disk that stands still.
    let tally = Arc::new(Tally::default());
    let (feed, messages) = Feed::new(SHOTS, &[BYTES], Arc::clone(&tally));
    let mut took = vec![];
    let mut timed = |hand_over: &dyn Fn()| {
        let (begun, before) = (std::time::Instant::now(), tally.get().dropped);
        hand_over();
        if tally.get().dropped > before {
            took.push(begun.elapsed());
        }
    };
    for seq in 0..SHOTS as u64 + 5 {
        timed(&|| _ = shot(&feed, seq));
    }
    for seq in 0..300 {
        timed(&|| decided(&feed, &decision(seq, Reason::Engine), &FrameKeys::default()));
    }
    assert_eq!((took.len(), tally.get().dropped), (5 + 300 - 256, 5 + 300 - 256));
    // Most of them: a machine that stands still hits some.
    took.sort_unstable();
    assert!(took[took.len() / 2] < Duration::from_millis(2), "nobody waited for room: {took:?}");
    drop((messages, dir));
}

#[test]
fn a_disk_that_fails_ends_the_recording_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = start(dir.path(), Keep::All);
    // No second segment can be begun where the next file is a folder already.
    std::fs::create_dir(recorder.folder().join("00000002.frames")).unwrap();
    let feed = recorder.feed();
    let begun = std::time::Instant::now();
    for seq in 1.. {
        decided(&feed, &decision(seq, Reason::Engine), &FrameKeys::default());
        if recorder.counters().failed {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", recorder.counters());
        std::thread::sleep(Duration::from_micros(20));
    }
    let before = recorder.counters();
    shot(&feed, 1);
    decided(&feed, &decision(1, Reason::Engine), &FrameKeys::default());
    let after = recorder.stop();
    assert_eq!((after.parts, after.failed), (before.parts, true));
}

#[test]
fn the_views_of_a_part_are_written_together_with_what_each_said() {
    use crate::judge::Outcome;
    use crate::message::{ViewResult, view_flags};
    let dir = tempfile::tempdir().unwrap();
    let recorder = start_of(dir.path(), Keep::All, &["top", "side"]);
    let folder = recorder.folder().to_owned();
    let feed = recorder.feed();
    let said = |score| ViewResult {
        outcome: Outcome::Reject,
        reason: Reason::ScoreAboveLimit,
        class: 3,
        score,
        limit: 0.25,
    };
    for seq in 1..=20u32 {
        // The second camera counts otherwise; the order in which they come is by chance.
        let mut keys = FrameKeys::default();
        for camera in if seq % 2 == 0 { [0, 1] } else { [1, 0] } {
            let number = u64::from(seq) + 1000 * u64::from(camera);
            keys[usize::from(camera)] = Some(shot_of(&feed, camera, number));
        }
        let mut views = ViewResults::default();
        (views[0], views[1]) = (Some(said(0.5)), Some(said(0.75)));
        let record = VerdictRecord { flags: view_flags(1), ..decision(seq, Reason::Engine) };
        feed.decided(&record, &keys, &views);
        // At the pace of the disk.
        while feed.counters().parts < u64::from(seq) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    assert_eq!(feed.counters(), recorder.counters());
    assert_eq!(recorder.stop(), Counters { parts: 20, frames: 40, dropped: 0, failed: false });
    assert_eq!(Reading::open(&folder).unwrap().head().camera, ["top", "side"]);
    for line in lines(&folder) {
        let frames: Vec<(u16, u64)> = line.frames.iter().map(|f| (f.camera, f.seq)).collect();
        let seq = u64::from(line.seq);
        assert_eq!(frames, [(0, seq), (1, seq + 1000)]);
        assert_eq!(line.view, Some(1));
        let bits: Vec<_> = line.views.iter().map(|v| (v.camera, v.class, v.score_bits)).collect();
        assert_eq!(bits, [(0, 3, 0.5f32.to_bits()), (1, 3, 0.75f32.to_bits())]);
    }
}

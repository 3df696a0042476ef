//! The replay camera with a fault script, event by event.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::capture::replay::{RecipeChoice, Replay, ReplayOptions, Source};
use crate::capture::{Camera, CameraErrorKind, Continuity, Damage, Event, Supervisor};
use crate::frame::{CameraId, Nanos, PixelFormat, Pool};
use crate::sys::clock::{Clock, ManualClock, RealClock};

const BYTES: usize = 12;

/// A folder of `count` raw frames, each filled with its number from 1.
fn frames(count: u8) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for i in 1..=count {
        std::fs::write(dir.path().join(format!("{i:03}.raw")), [i; BYTES]).unwrap();
    }
    dir
}

fn open(folder: &Path, script: &str, rate_hz: f64) -> Replay {
    open_by(folder, script, rate_hz, Arc::new(RealClock))
}

fn open_by(folder: &Path, script: &str, rate_hz: f64, clock: Arc<dyn Clock>) -> Replay {
    let file = folder.join("faults.toml");
    std::fs::write(&file, script).unwrap();
    let options = ReplayOptions {
        folder: folder.to_owned(),
        source: Source::Raw { width: 4, height: 3, format: PixelFormat::Mono8 },
        recipe: RecipeChoice::Current,
        rate_hz,
        triggered: false,
        repeat: false,
        faults: Some(file),
        camera: CameraId(0),
    };
    Replay::open(options, clock).unwrap()
}

fn fault(kind: &str, at: &str) -> String {
    format!("[[fault]]\nkind = \"{kind}\"\nat = {at}\n")
}

/// What the station makes of the camera: how each trigger number ended, by the rules of the
/// supervisor, over as many streams as it takes.
fn records(camera: &mut Replay) -> BTreeMap<u32, Vec<String>> {
    records_until(camera, || RealClock.now().plus_ms(5_000))
}

/// The same, each event waited for until then.
fn records_until(
    camera: &mut Replay,
    mut deadline: impl FnMut() -> Nanos,
) -> BTreeMap<u32, Vec<String>> {
    let pool = Pool::new(2, camera.frame_bytes_max());
    let mut records: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    'streams: for epoch in 1.. {
        camera.start(pool.clone(), epoch).unwrap();
        let mut supervisor = Supervisor::default();
        loop {
            let (trigger, end) = match camera.next(deadline()).unwrap() {
                Event::Frame { trigger, frame } => {
                    assert_eq!((frame.meta.epoch, frame.meta.seq), (epoch, trigger.seq));
                    let end = match frame.view() {
                        Ok(view) => format!("{:?}", view.row(0)[0]),
                        Err(_) => "damaged".to_owned(),
                    };
                    (trigger, end)
                }
                Event::Incomplete { trigger, why: Damage::Lost } => (trigger, "lost".to_owned()),
                Event::Incomplete { trigger, why } => (trigger, format!("{why:?}")),
                Event::Idle => continue,
                Event::Gone { .. } => break,
                Event::End => break 'streams,
            };
            match supervisor.observe(trigger.seq) {
                Continuity::InOrder => {}
                Continuity::Gap(missing) => {
                    for seq in missing {
                        let lost = trigger.lost(seq);
                        records.entry(lost.id.0).or_default().push("gap".to_owned());
                    }
                }
                Continuity::Stale => continue,
                Continuity::Jump => panic!("no number jumps"),
            }
            records.entry(trigger.id.0).or_default().push(end);
        }
    }
    records
}

/// One record for each of `ends`, in order.
fn assert_ends(records: &BTreeMap<u32, Vec<String>>, ends: &[&str]) {
    let expected: BTreeMap<u32, Vec<String>> =
        (1..).zip(ends).map(|(n, end)| (n, vec![(*end).to_owned()])).collect();
    assert_eq!(records, &expected);
}

#[test]
fn every_fault_leaves_one_record_of_each_part() {
    let dir = frames(12);
    let script = [
        fault("drop", "[2, 3]"),
        fault("duplicate", "[5]"),
        fault("cut", "[6]"),
        fault("disconnect", "[9]"),
        // Lost before a connection ends, and before the replay ends: no gap shows them.
        fault("drop", "[8, 12]"),
    ]
    .concat();
    let ends = ["1", "gap", "gap", "4", "5", "damaged", "7", "lost", "lost", "10", "11", "lost"];
    for counter in ["", "skip_zero_16", "wrap_32", "whole_64"] {
        let mut script = script.clone();
        let first = match counter {
            "" => 1,
            "skip_zero_16" => 65_533,
            "wrap_32" => u64::from(u32::MAX) - 3,
            _ => 1 << 40,
        };
        if !counter.is_empty() {
            script += &format!("[frame_id]\ncounter = \"{counter}\"\nfirst = {first}\n");
        }
        assert_ends(&records(&mut open(dir.path(), &script, 0.0)), &ends);
    }
}

#[test]
fn pictures_lost_before_the_first_are_told_because_no_number_is_missed() {
    let dir = frames(4);
    let script = fault("drop", "[1, 2]") + &fault("late", "[3]") + "ms = 5\n";
    assert_ends(&records(&mut open(dir.path(), &script, 0.0)), &["lost", "gap", "3", "4"]);
    let script = fault("late", "[1]") + "ms = 5\n" + &fault("drop", "[2, 3, 4]");
    assert_ends(&records(&mut open(dir.path(), &script, 0.0)), &["1", "lost", "lost", "lost"]);
}

#[test]
fn a_wrapped_counter_is_told_as_it_came_and_counts_on() {
    let dir = frames(6);
    let script = "[frame_id]\ncounter = \"skip_zero_16\"\nfirst = 65534";
    let mut camera = open(dir.path(), script, 0.0);
    camera.start(Pool::new(2, BYTES), 1).unwrap();
    let mut seen = vec![];
    while let Event::Frame { frame, .. } = camera.next(RealClock.now().plus_ms(5_000)).unwrap() {
        seen.push((frame.meta.facts.raw_id.unwrap(), frame.meta.seq));
    }
    let raw = [65_534, 65_535, 1, 2, 3, 4];
    assert_eq!(seen, raw.into_iter().zip(65_534..).collect::<Vec<_>>());
}

#[test]
fn a_late_picture_counts_its_latency_from_its_trigger() {
    let dir = frames(2);
    let mut camera = open(dir.path(), &(fault("late", "[1]") + "ms = 60"), 0.0);
    camera.start(Pool::new(2, BYTES), 1).unwrap();
    let begun = RealClock.now();
    let deadline = begun.plus_ms(20);
    assert!(matches!(camera.next(deadline).unwrap(), Event::Idle), "it has been triggered");
    assert!(matches!(camera.next(deadline).unwrap(), Event::Idle), "and is not there yet");
    let event = loop {
        match camera.next(RealClock.now().plus_ms(5_000)).unwrap() {
            Event::Idle => {}
            event => break event,
        }
    };
    let Event::Frame { trigger, frame } = event else { panic!("{event:?}") };
    assert!(frame.meta.arrived.since(trigger.arrived).as_ms() >= 60.0);
    assert_eq!(trigger.id.0, 1, "those behind it wait");
}

#[test]
fn a_flipped_picture_is_whole_and_wrong() {
    let dir = frames(3);
    let mut camera = open(dir.path(), &fault("flip", "[1, 2, 3]"), 0.0);
    camera.start(Pool::new(2, BYTES), 1).unwrap();
    for number in 1..=3u8 {
        let event = camera.next(RealClock.now().plus_ms(5_000)).unwrap();
        let Event::Frame { frame, .. } = event else { panic!("{event:?}") };
        let pixels = frame.view().unwrap().contiguous().unwrap();
        let wrong = pixels.iter().filter(|p| **p == number | 0x80).count();
        let right = pixels.iter().filter(|p| **p == number).count();
        assert_eq!((wrong, right), (BYTES / 3, BYTES - BYTES / 3));
    }
}

#[test]
fn with_a_rate_the_parts_that_pass_while_the_camera_is_lost_are_told_as_lost() {
    let dir = frames(40);
    let clock = Arc::new(ManualClock::default());
    let its_clock = Arc::clone(&clock);
    let mut camera = open_by(dir.path(), &fault("disconnect", "[3]"), 200.0, its_clock);
    // One trigger each time: it never waits, for nothing moves its clock but this.
    let tick = || {
        clock.advance_ms(5);
        clock.now()
    };
    camera.start(Pool::new(4, BYTES), 1).unwrap();
    while !matches!(camera.next(tick()).unwrap(), Event::Gone { .. }) {}
    // Ten parts pass at 200 Hz.
    clock.advance_ms(50);
    let after = records_until(&mut camera, tick);
    let lost = after.values().filter(|ends| ends[0] == "lost").count();
    assert_eq!(lost, 11, "these and the one that was lost with the camera: {after:?}");
    let numbers: Vec<u32> = after.keys().copied().collect();
    assert_eq!(numbers, (3..=40).collect::<Vec<_>>());
    assert!(after.values().all(|ends| ends.len() == 1), "{after:?}");
}

#[test]
fn any_mixture_of_faults_leaves_exactly_one_record_of_each_part() {
    let dir = frames(200);
    for seed in 0..8 {
        let kinds = ["drop", "duplicate", "late", "cut", "flip", "disconnect"];
        let mut script = format!(
            "seed = {seed}\n[frame_id]\ncounter = \"skip_zero_16\"\nfirst = {}\n",
            65_400 + seed * 15
        );
        for kind in kinds {
            script += &format!("[[fault]]\nkind = \"{kind}\"\nprobability = 0.06\n");
            script += if kind == "late" { "ms = 1\n" } else { "" };
        }
        let records = records(&mut open(dir.path(), &script, 0.0));
        assert_eq!(records.len(), 200);
        for (number, ends) in &records {
            assert_eq!(ends.len(), 1, "seed {seed}, part {number}: {ends:?}");
        }
        let lost = records.values().filter(|ends| ["lost", "gap"].contains(&&*ends[0])).count();
        assert!((5..60).contains(&lost), "seed {seed}: the script was played: {lost}");
    }
}

#[test]
fn a_script_that_is_not_one_is_refused_when_the_camera_is_opened() {
    let dir = frames(1);
    let file = dir.path().join("faults.toml");
    std::fs::write(&file, "[[fault]]\nkind = \"drop\"\n").unwrap();
    let options = ReplayOptions {
        folder: dir.path().to_owned(),
        source: Source::Raw { width: 4, height: 3, format: PixelFormat::Mono8 },
        recipe: RecipeChoice::Current,
        rate_hz: 0.0,
        triggered: false,
        repeat: false,
        faults: Some(file.clone()),
        camera: CameraId(0),
    };
    let error = Replay::open(options, Arc::new(RealClock)).err().unwrap();
    assert_eq!(error.kind(), CameraErrorKind::Settings);
    let text = error.to_string();
    assert!(text.contains(file.to_str().unwrap()) && text.contains("at or probability"), "{text}");
}

//! Facts that the camera writes behind the picture of each frame (chunks), with a scripted device.

use super::device::Chunks;
use super::scripted::{Feed, Script, device_ns};
use super::tests::{frame, next, open, open_with, settings};
use crate::capture::{Camera as _, CameraErrorKind, Damage, Event};
use crate::config::{FeatureValue, Gige as Settings, LineTrigger};
use crate::frame::{Facts, Pool};

/// A frame of this number with such facts.
fn facts_of(script: &Script, settings: Settings, facts: Chunks) -> Facts {
    let mut camera = open_with(script, settings, false).unwrap();
    camera.start(Pool::new(2, 128), 1).unwrap();
    script.feed([Feed::Told(RAW, facts)]);
    match next(&mut camera) {
        Event::Frame { frame, .. } => frame.meta.facts,
        other => panic!("{other:?}"),
    }
}

/// Number in the packets.
const RAW: u64 = 5;
/// Everything that a camera can tell.
const ALL: Chunks = Chunks {
    frame_id: Some(70_001),
    ticks: Some(400),
    exposure_us: Some(250.0),
    gain: Some(1.5),
    line_status: Some(5),
    counter: Some(9),
};

#[test]
fn each_fact_that_the_camera_has_is_switched_on_and_travels_with_the_frame() {
    let script = Script::plain();
    script.tells(&["Image", "FrameID", "Timestamp", "ExposureTime", "Gain", "LineStatusAll"]);
    script.integer("GevTimestampTickFrequency", 125_000_000, None);
    let facts = facts_of(&script, settings(), ALL);
    assert_eq!((facts.raw_id, facts.device_ns), (Some(70_001), Some(3_200)), "ticks of 8 ns");
    assert_eq!(
        (facts.exposure_us, facts.gain, facts.line_status),
        (Some(250.0), Some(1.5), Some(5))
    );
    assert_eq!(facts.counter, None, "it does not have it");
    let log = script.world().log.clone();
    assert!(
        !log.contains(&"ChunkSelector = \"Image\"".to_owned()),
        "the picture is no fact: {log:?}"
    );
}

#[test]
fn a_camera_that_tells_nothing_or_is_not_asked_is_used_with_what_stands_in_the_packets() {
    let asked = Script::plain();
    asked.tells(&["Image", "FrameID", "Timestamp"]);
    let silent = Settings { chunks: false, ..settings() };
    for (script, settings) in [(Script::plain(), settings()), (asked.clone(), silent)] {
        let facts = facts_of(&script, settings, ALL);
        let expected =
            Facts { raw_id: Some(RAW), device_ns: Some(device_ns(RAW)), ..Facts::default() };
        assert_eq!(facts, expected);
    }
    assert_eq!(asked.value("ChunkModeActive"), FeatureValue::Boolean(false));
}

/// A frame with the number in its packets, and the one behind its picture.
fn numbered((raw, id): (u64, u64)) -> Feed {
    Feed::Told(raw, Chunks { frame_id: Some(id), ..Chunks::default() })
}

#[test]
fn a_frame_that_the_camera_took_and_never_sent_is_a_gap_when_it_numbers_them() {
    let script = Script::plain();
    script.tells(&["FrameID"]);
    let mut camera = open(&script);
    camera.start(Pool::new(3, 128), 1).unwrap();
    // Its numbers need not begin as those in the packets do.
    script.feed([(1, 0), (2, 1), (3, 3)].map(numbered));
    script.feed([Feed::Incomplete(4), numbered((5, 5))]);
    let whole: Vec<u64> = (0..3).map(|_| frame(&mut camera).0).collect();
    assert_eq!(whole, [1, 2, 4], "number 3 is missing, and so a lost part");
    match next(&mut camera) {
        Event::Incomplete { trigger, .. } => assert_eq!(trigger.seq, 5, "a damaged one tells none"),
        other => panic!("{other:?}"),
    }
    assert_eq!(frame(&mut camera).0, 6);
}

/// A frame with the camera's count of triggers.
fn counted((raw, counter): (u64, u64)) -> Feed {
    // What the camera itself numbers does not count when triggers are counted.
    Feed::Told(raw, Chunks { frame_id: Some(raw), counter: Some(counter), ..Chunks::default() })
}

/// A camera whose second counter can count the triggers of a line and tell that with each frame.
fn counting() -> (Script, Settings) {
    let script = Script::plain();
    script.word("TriggerActivation", "RisingEdge", &["RisingEdge"]);
    script.word("CounterSelector", "Counter0", &["Counter0", "Counter1"]);
    script.word("CounterEventSource", "Off", &["Off", "Line1"]);
    script.world().nodes.get_mut("CounterEventSource").unwrap().selector =
        Some("CounterSelector".into());
    script.tells(&["Image", "Gain", "FrameID", "CounterValue"]);
    let trigger = LineTrigger {
        source: "Line1".into(),
        activation: "RisingEdge".into(),
        delay_us: 0.0,
        debounce_us: None,
        counter: Some("Counter1".into()),
    };
    (script, Settings { trigger: Some(trigger), ..settings() })
}

#[test]
fn a_trigger_that_the_camera_ignored_is_a_gap_when_its_counter_counts_them() {
    let (script, settings) = counting();
    let mut camera = open_with(&script, settings, false).unwrap();
    let log = script.world().log.clone();
    let place =
        |line: &str| log.iter().position(|l| l == line).unwrap_or_else(|| panic!("{log:?}"));
    assert!(place("CounterSelector = \"Counter1\"") < place("CounterEventSource = \"Line1\""));
    assert!(place("CounterEventSource = \"Line1\"") < place("TriggerMode = \"On\""));
    assert!(place("ChunkSelector = \"CounterValue\"") < log.len() - 1);
    camera.start(Pool::new(3, 128), 1).unwrap();
    // The third trigger came during an exposure.
    script.feed([(1, 1), (2, 2), (3, 4), (4, 5)].map(counted));
    let numbers: Vec<(u64, u32)> = (0..4).map(|_| frame(&mut camera)).map(|f| (f.0, f.1)).collect();
    assert_eq!(
        numbers,
        [(1, 1), (2, 2), (4, 4), (5, 5)],
        "number 3 is missing, and so a lost part"
    );
    // Without a free buffer, too: the gap is blamed on that.
    script.feed([Feed::Underrun, counted((6, 8))]);
    let mut refused = vec![];
    loop {
        match next(&mut camera) {
            Event::Incomplete { trigger, why: Damage::NoBuffer } => refused.push(trigger.seq),
            Event::Frame { trigger, .. } => {
                assert_eq!(trigger.seq, 8);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(refused, [6, 7]);
}

#[test]
fn a_camera_that_cannot_tell_its_count_of_triggers_is_refused_when_it_is_asked_for() {
    let (script, settings) = counting();
    script.world().nodes.get_mut("ChunkSelector").unwrap().entries.pop();
    let error = open_with(&script, settings.clone(), false).err().unwrap();
    assert_eq!(error.kind(), CameraErrorKind::Settings);
    let said = error.to_string();
    assert!(said.contains("CounterValue") && said.contains("remove trigger_counter"), "{said}");
    script.world().nodes.remove("ChunkModeActive");
    let said = open_with(&script, settings.clone(), false).err().unwrap().to_string();
    assert!(said.contains("no ChunkModeActive"), "{said}");
    script.world().nodes.remove("CounterEventSource");
    let said = open_with(&script, settings, false).err().unwrap().to_string();
    assert!(said.contains("no feature CounterEventSource"), "{said}");
    // Without being asked for it is no fault.
    open(&script);
}

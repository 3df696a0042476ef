//! The camera with a scripted device: settings, control, numbers, damage, loss, restart.

use std::sync::Arc;

use super::camera::{Gige, GigeOptions};
use super::device::{Bounds, Kind};
use super::frames::HEARTBEAT_WAIT_MS;
use super::scripted::{Feed, Script};
use crate::capture::{Camera, CameraError, CameraErrorKind, Damage, Event};
use crate::config::{Feature, FeatureValue, Gige as Settings, LineTrigger};
use crate::frame::{CameraId, PixelFormat, Pool, TriggerId};
use crate::sys::clock::{Clock as _, RealClock};

pub(super) fn settings() -> Settings {
    Settings::new("10.0.0.7", PixelFormat::Mono8)
}

fn feature(name: &str, value: FeatureValue) -> Feature {
    Feature { name: name.into(), selector: None, value }
}

pub(super) fn open_with(
    script: &Script,
    settings: Settings,
    software: bool,
) -> Result<Gige, CameraError> {
    let options = GigeOptions { settings, software_trigger: software, camera: CameraId(3) };
    Gige::open_with(options, Arc::new(RealClock), script.transport())
}

pub(super) fn open(script: &Script) -> Gige {
    open_with(script, settings(), false).unwrap()
}

/// The error of opening with `features`.
fn refusal(script: &Script, features: Vec<Feature>) -> String {
    let error = open_with(script, Settings { features, ..settings() }, false).err().unwrap();
    assert_eq!(error.kind(), CameraErrorKind::Settings);
    error.to_string()
}

pub(super) fn next(camera: &mut Gige) -> Event {
    camera.next(RealClock.now().plus_ms(20)).unwrap()
}

/// Number, trigger and level of the next whole frame.
pub(super) fn frame(camera: &mut Gige) -> (u64, u32, u8) {
    match next(camera) {
        Event::Frame { trigger, frame } => {
            (trigger.seq, trigger.id.0, frame.view().unwrap().row(0)[0])
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn settings_are_applied_in_order_and_the_camera_adjusts_nothing_by_itself() {
    let script = Script::plain();
    let camera = open(&script);
    assert_eq!(camera.frame_bytes_max(), 128);
    assert_eq!(script.value("PixelFormat"), FeatureValue::Text("Mono8".into()));
    assert_eq!(script.value("ExposureAuto"), FeatureValue::Text("Off".into()));
    assert_eq!(script.value("OffsetX"), FeatureValue::Integer(0));
    let log = script.world().log.clone();
    let place = |line: &str| log.iter().position(|l| l == line).unwrap_or_else(|| panic!("{line}"));
    assert_eq!(place("AcquisitionStop"), 0, "what the last user left running ends first");
    assert!(place("OffsetX = 0") < place("Width = 16"));
    assert!(place("TriggerSelector = \"AcquisitionStart\"") < place("TriggerMode = \"Off\"") + 3);
    let off = log.iter().filter(|line| *line == "TriggerMode = \"Off\"").count();
    assert_eq!(off, 2, "every trigger is switched off: {log:?}");
}

#[test]
fn a_feature_of_an_older_convention_is_found_and_rounding_by_the_increment_is_taken() {
    let script = Script::plain();
    let exposure = vec![feature("ExposureTime", FeatureValue::Float(5003.0))];
    open_with(&script, Settings { features: exposure, ..settings() }, false).unwrap();
    assert_eq!(script.value("ExposureTimeAbs"), FeatureValue::Float(5005.0));
}

#[test]
fn a_value_that_the_camera_does_not_take_or_changes_is_refused_with_what_it_takes() {
    let script = Script::plain();
    let said = refusal(&script, vec![feature("ExposureTime", FeatureValue::Integer(5))]);
    assert!(said.contains("Maker Model 17 at 10.0.0.7"), "{said}");
    assert!(
        said.contains("ExposureTimeAbs = 5: out of range; it takes 10 to 1000000 in steps of 5")
    );
    let said = refusal(&script, vec![feature("Gamma", FeatureValue::Float(1.0))]);
    assert!(said.contains("no feature Gamma"), "{said}");
    let selector = Some(("LineSelector".to_owned(), "Line2".to_owned()));
    let mode = FeatureValue::Text("Output".into());
    let said = refusal(&script, vec![Feature { selector, ..feature("LineMode", mode) }]);
    assert!(said.contains("no feature LineSelector") && said.contains("camera show"), "{said}");
    let said = refusal(&script, vec![feature("ExposureTime", FeatureValue::Text("long".into()))]);
    assert!(said.contains("the feature is a number"), "{said}");
    // A camera that rounds without telling by how much.
    let bounds = Bounds { min: 0.0, max: 9e9, increment: None };
    script.float("Slow", 0.0, bounds);
    open_with(
        &script,
        Settings { features: vec![feature("Slow", FeatureValue::Float(7.5))], ..settings() },
        false,
    )
    .unwrap();
    // A later setting that changes an earlier one is found when all are set.
    let twice = vec![
        feature("ExposureTime", FeatureValue::Integer(500)),
        feature("ExposureTimeAbs", FeatureValue::Integer(900)),
    ];
    let said = refusal(&script, twice);
    assert!(said.contains("the camera made 900 of it"), "{said}");
    let wrong = Settings { pixel_format: PixelFormat::Rgb8, ..settings() };
    let said = open_with(&script, wrong, false).err().unwrap().to_string();
    assert!(said.contains("it takes Mono8, Mono12"), "{said}");
}

#[test]
fn a_line_trigger_leaves_only_its_own_trigger_on() {
    let script = Script::plain();
    script.word("TriggerActivation", "RisingEdge", &["RisingEdge"]);
    let trigger = LineTrigger {
        source: "Line1".into(),
        activation: "RisingEdge".into(),
        delay_us: 0.0,
        debounce_us: None,
        counter: None,
    };
    open_with(&script, Settings { trigger: Some(trigger), ..settings() }, false).unwrap();
    let log = script.world().log.clone();
    let on: Vec<_> = log.iter().filter(|line| *line == "TriggerMode = \"On\"").collect();
    assert_eq!(on.len(), 1, "{log:?}");
    assert_eq!(script.value("TriggerSelector"), FeatureValue::Text("FrameStart".into()));
}

#[test]
fn a_camera_of_somebody_else_is_waited_for_once_and_then_named() {
    let script = Script::plain();
    script.world().control.extend([false, true]);
    open(&script);
    assert_eq!(script.world().paused_ms, [HEARTBEAT_WAIT_MS], "our last run held it");
    script.world().control.extend([false; 3]);
    let error = open_with(&script, settings(), false).err().unwrap();
    assert_eq!(error.kind(), CameraErrorKind::Open);
    let said = error.to_string();
    assert!(said.contains("owned by someone else") && said.contains("10.0.0.7"), "{said}");
    let absent = Settings { device: "absent".into(), ..settings() };
    let said = open_with(&script, absent, false).err().unwrap().to_string();
    assert!(said.contains("not found") && said.contains("camera list"), "{said}");
}

#[test]
fn frames_come_in_pool_buffers_with_unwrapped_numbers() {
    let script = Script::plain();
    let mut camera = open(&script);
    let pool = Pool::new(3, camera.frame_bytes_max());
    camera.start(pool.clone(), 1).unwrap();
    assert_eq!(pool.free(), 0, "the camera has them all");
    script.feed([65_534, 65_535, 1, 2].map(Feed::Whole));
    let got: Vec<_> = (0..4).map(|_| frame(&mut camera)).collect();
    assert_eq!(got, [(65_534, 1, 254), (65_535, 2, 255), (65_536, 3, 1), (65_537, 4, 2)]);
    assert!(matches!(next(&mut camera), Event::Idle), "silence is no error and resets nothing");
    script.feed([Feed::Whole(3)]);
    assert_eq!(frame(&mut camera), (65_538, 5, 3));
    assert_eq!(script.world().opened, 1);
    camera.stop().unwrap();
    assert_eq!(pool.free(), 3, "all buffers came home");
    assert_eq!(camera.stats().delivered, 5);
}

#[test]
fn a_damaged_frame_is_reported_and_an_unused_buffer_is_not() {
    let script = Script::plain();
    let mut camera = open(&script);
    camera.start(Pool::new(2, 128), 1).unwrap();
    script.feed([Feed::Unused, Feed::Whole(5), Feed::Incomplete(6), Feed::Unused, Feed::Whole(7)]);
    assert_eq!(frame(&mut camera).0, 5);
    match next(&mut camera) {
        Event::Incomplete { trigger, why } => {
            assert_eq!((trigger.seq, trigger.id, why), (6, TriggerId(2), Damage::Unreadable));
            assert_eq!(trigger.part.as_str(), "T2");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(frame(&mut camera), (7, 3, 7));
    let stats = camera.stats();
    assert_eq!((stats.delivered, stats.incomplete, stats.no_buffer), (2, 1, 0));
}

#[test]
fn frames_that_found_no_buffer_are_told_from_frames_that_were_lost() {
    let script = Script::plain();
    let mut camera = open(&script);
    camera.start(Pool::new(2, 128), 1).unwrap();
    script.feed([Feed::Whole(1), Feed::Underrun, Feed::Underrun, Feed::Whole(4), Feed::Whole(6)]);
    assert_eq!(frame(&mut camera), (1, 1, 1));
    for (seq, id) in [(2, 2), (3, 3)] {
        match next(&mut camera) {
            Event::Incomplete { trigger, why: Damage::NoBuffer } => {
                assert_eq!((trigger.seq, trigger.id), (seq, TriggerId(id)));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(frame(&mut camera), (4, 4, 4));
    assert_eq!(frame(&mut camera), (6, 6, 6), "the gap before it is the supervisor's");
    assert_eq!(camera.stats().no_buffer, 2);
}

#[test]
fn a_lost_camera_is_opened_again_and_set_up_again() {
    let script = Script::plain();
    let mut camera = open(&script);
    let pool = Pool::new(2, 128);
    camera.start(pool.clone(), 1).unwrap();
    script.feed([Feed::Whole(9), Feed::Lost]);
    let kept = match next(&mut camera) {
        Event::Frame { frame, .. } => frame,
        other => panic!("{other:?}"),
    };
    match next(&mut camera) {
        Event::Gone { reason } => assert!(reason.contains("10.0.0.7"), "{reason}"),
        other => panic!("{other:?}"),
    }
    camera.stop().unwrap();
    assert_eq!(pool.free(), 1);
    // Without power it forgot its settings.
    script.word("PixelFormat", "Mono12", &["Mono8", "Mono12"]);
    script.world().control.push_back(false);
    let error = camera.start(pool.clone(), 2).err().unwrap();
    assert!(error.to_string().contains("owned by someone else"));
    assert!(script.world().paused_ms.is_empty(), "the supervisor waits, not the camera");
    camera.start(pool.clone(), 3).unwrap();
    assert_eq!(script.value("PixelFormat"), FeatureValue::Text("Mono8".into()));
    script.feed([Feed::Whole(1)]);
    match next(&mut camera) {
        Event::Frame { trigger, frame } => {
            assert_eq!((trigger.seq, trigger.id, frame.meta.epoch), (1, TriggerId(2), 3));
            assert_eq!(frame.meta.camera, CameraId(3));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(kept.view().unwrap().row(0)[0], 9, "an old frame stays as it was");
}

#[test]
fn a_camera_that_goes_on_sending_under_somebody_elses_control_is_lost_all_the_same() {
    let script = Script::plain();
    let mut camera = open(&script);
    camera.start(Pool::new(3, 128), 1).unwrap();
    script.feed((1..=100).map(Feed::Whole));
    assert_eq!(frame(&mut camera).0, 1);
    script.world().lost = true;
    let mut more = 0;
    while let Event::Frame { .. } = next(&mut camera) {
        more += 1;
    }
    assert_eq!(more, 2, "what was on its way; then it is gone");
    assert!(matches!(next(&mut camera), Event::Gone { .. }), "and stays so");
}

#[test]
fn a_frame_that_outgrew_the_buffers_is_refused_at_the_start() {
    let script = Script::plain();
    let mut camera = open(&script);
    let error = camera.start(Pool::new(2, 127), 1).err().unwrap();
    assert_eq!(error.kind(), CameraErrorKind::Settings);
    assert!(error.to_string().contains("128 bytes now"), "{error}");
}

#[test]
fn the_station_triggers_by_software_from_another_thread() {
    let script = Script::plain();
    script.node("TriggerSoftware", Kind::Command, FeatureValue::Boolean(false), None);
    assert!(open(&script).soft_trigger().is_none());
    let mut camera = open_with(&script, settings(), true).unwrap();
    let fire = camera.soft_trigger().unwrap();
    camera.start(Pool::new(1, 128), 1).unwrap();
    let thread = std::thread::Builder::new().name("plc".into());
    let (fired, fire) = thread.spawn(move || (fire(), fire)).unwrap().join().unwrap();
    assert!(fired);
    assert_eq!(script.world().log.iter().filter(|line| *line == "TriggerSoftware").count(), 1);
    script.feed([Feed::Lost]);
    assert!(matches!(next(&mut camera), Event::Gone { .. }));
    assert!(!fire(), "a lost camera takes no picture");
    camera.stop().unwrap();
    assert!(!fire());
}

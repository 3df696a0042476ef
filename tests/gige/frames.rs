//! Frames, settings and triggers with the fake camera of libaravis.

use std::collections::BTreeSet;
use std::sync::Arc;

use crrd::capture::gige::{self, Gige, GigeOptions, Kind};
use crrd::capture::{Camera as _, CameraErrorKind, Event};
use crrd::config::FeatureValue;
use crrd::frame::{CameraId, Frame, PixelFormat, Pool};
use crrd::sys::clock::RealClock;

use crate::fake::{Fake, stamp};
use crate::net::alone;
use crate::{BUFFERS, HOME, SIZE, feature, next, open, settings, sooner_or_later, try_open};

/// Pixels of a picture.
const PIXELS: usize = (SIZE.0 * SIZE.1) as usize;
/// The fake starts counting at 65 400, and after 65 535 comes 1.
const WRAP_AFTER: u64 = 136;

/// The next frame and its number.
fn frame(camera: &mut Gige) -> (u64, Frame) {
    match sooner_or_later(camera, 10) {
        Event::Frame { trigger, frame } => {
            assert_eq!(trigger.seq, frame.meta.seq);
            (trigger.seq, frame)
        }
        other => panic!("{other:?}"),
    }
}

/// Where the buffers of a pool lie.
fn places(pool: &Pool) -> BTreeSet<*const u8> {
    let all: Vec<_> =
        std::iter::from_fn(|| (pool.free() > 0).then(|| pool.lease().unwrap())).collect();
    all.iter().map(|lease| lease.as_ptr()).collect()
}

#[test]
fn every_frame_comes_in_order_in_our_own_memory_across_the_wrap_of_its_number() {
    alone(&[], || {
        let _fake = Fake::start(HOME, "GV01", PIXELS);
        let mut camera = open(settings(PixelFormat::Mono8));
        assert_eq!(camera.frame_bytes_max(), PIXELS);
        let pool = Pool::new(BUFFERS, camera.frame_bytes_max());
        let ours = places(&pool);
        camera.start(pool.clone(), 1).unwrap();
        let (first, first_frame) = frame(&mut camera);
        let begun = stamp(first_frame.view().unwrap().contiguous().unwrap()).count;
        drop(first_frame);
        let mut raw = Vec::new();
        for i in 1..WRAP_AFTER + 20 {
            let (seq, frame) = frame(&mut camera);
            assert_eq!(seq - first, i, "no number is missing and none comes twice");
            let view = frame.view().unwrap();
            assert_eq!((view.width(), view.height()), (SIZE.0 as usize, SIZE.1 as usize));
            assert_eq!(
                stamp(view.contiguous().unwrap()).count - begun,
                i,
                "part {i} has the pixels of part {i}"
            );
            assert!(
                ours.contains(&view.contiguous().unwrap().as_ptr()),
                "the camera wrote into our buffer"
            );
            assert_eq!(frame.meta.facts.copies, 0);
            assert!(frame.meta.facts.device_ns.is_some());
            raw.push(frame.meta.facts.raw_id.unwrap());
        }
        let wrap = raw.iter().position(|id| *id == 65_535).expect("the wrap was crossed");
        assert_eq!(raw[wrap + 1], 1, "0 is no number");
        let stats = camera.stats();
        assert_eq!((stats.delivered, stats.incomplete), (WRAP_AFTER + 20, 0));
        camera.stop().unwrap();
        assert_eq!(pool.free(), pool.slots(), "every buffer came home");
    });
}

#[test]
fn each_layout_arrives_as_it_was_sent() {
    alone(&[], || {
        for (format, bytes) in [
            (PixelFormat::Mono16, 2 * PIXELS),
            (PixelFormat::BayerRG8, PIXELS),
            (PixelFormat::BayerGB8, PIXELS),
            (PixelFormat::Rgb8, 3 * PIXELS),
        ] {
            let _fake = Fake::start(HOME, "GV01", bytes);
            let mut camera = open(settings(format));
            camera.start(Pool::new(BUFFERS, camera.frame_bytes_max()), 1).unwrap();
            for _ in 0..5 {
                let (_, frame) = frame(&mut camera);
                assert_eq!((frame.meta.format, frame.meta.bytes), (format, bytes));
                stamp(frame.view().unwrap().contiguous().unwrap());
            }
            camera.stop().unwrap();
        }
    });
}

#[test]
fn a_setting_is_in_the_picture_and_one_that_the_camera_cannot_take_is_refused() {
    alone(&[], || {
        let _fake = Fake::start(HOME, "GV01", PIXELS);
        for exposure_us in [5000, 7000] {
            let mut settings = settings(PixelFormat::Mono8);
            let exposure = FeatureValue::Float(f64::from(exposure_us));
            settings.features.push(feature("ExposureTime", exposure));
            let mut camera = open(settings);
            camera.start(Pool::new(BUFFERS, camera.frame_bytes_max()), 1).unwrap();
            let (_, frame) = frame(&mut camera);
            assert_eq!(stamp(frame.view().unwrap().contiguous().unwrap()).exposure_us, exposure_us);
            camera.stop().unwrap();
        }
        let refusal = |name: &str, value| {
            let mut settings = settings(PixelFormat::Mono8);
            settings.features.push(feature(name, value));
            let error = try_open(settings).err().unwrap();
            assert_eq!(error.kind(), CameraErrorKind::Settings);
            error.to_string()
        };
        let said = refusal("ExposureTime", FeatureValue::Float(1.0));
        assert!(said.contains("ExposureTimeAbs = 1") && said.contains("10 to 10000000"), "{said}");
        assert!(said.contains("GV01") && said.contains(HOME), "{said}");
        let said = refusal("Sharpness", FeatureValue::Integer(1));
        assert!(said.contains("no feature Sharpness"), "{said}");
        let said = refusal("GainAuto", FeatureValue::Text("Sometimes".into()));
        assert!(said.contains("it takes Off, Once, Continuous"), "{said}");
        let mut wide = settings(PixelFormat::Mono8);
        wide.region.width = Some(65_536);
        let said = try_open(wide).err().unwrap().to_string();
        assert!(said.contains("Width = 65536"), "{said}");
        let said = try_open(settings(PixelFormat::Mono12)).err().unwrap().to_string();
        assert!(said.contains("PixelFormat = \"Mono12\"") && said.contains("Mono8"), "{said}");
    });
}

#[test]
fn a_picture_comes_when_it_is_asked_for_and_silence_is_no_fault() {
    alone(&[], || {
        let fake = Fake::start(HOME, "GV01", PIXELS);
        let settings = settings(PixelFormat::Mono8);
        let options = GigeOptions { settings, software_trigger: true, camera: CameraId(0) };
        let mut camera = gige::open(options, Arc::new(RealClock)).unwrap();
        let mut fire = camera.soft_trigger().unwrap();
        camera.start(Pool::new(BUFFERS, camera.frame_bytes_max()), 1).unwrap();
        assert!(matches!(next(&mut camera, 300), Event::Idle));
        assert_eq!(fake.made(), 0);
        let mut last = None;
        for count in 0..3 {
            let thread = std::thread::Builder::new().name("plc".into());
            let (fired, back) = thread.spawn(move || (fire(), fire)).unwrap().join().unwrap();
            assert!(fired);
            fire = back;
            let (seq, frame) = frame(&mut camera);
            assert_eq!(stamp(frame.view().unwrap().contiguous().unwrap()).count, count);
            assert!(last.is_none_or(|last| seq == last + 1));
            last = Some(seq);
            assert!(matches!(next(&mut camera, 100), Event::Idle), "one trigger, one picture");
        }
        camera.stop().unwrap();
    });
}

#[test]
fn a_full_station_costs_the_frames_that_found_no_buffer_and_says_so() {
    alone(&[], || {
        let _fake = Fake::start(HOME, "GV01", PIXELS);
        let mut camera = open(settings(PixelFormat::Mono8));
        camera.start(Pool::new(3, camera.frame_bytes_max()), 1).unwrap();
        let held: Vec<_> = (0..3).map(|_| frame(&mut camera)).collect();
        assert!(matches!(next(&mut camera, 400), Event::Idle), "nowhere to put a frame");
        let last = held.last().unwrap().0;
        drop(held);
        let mut next_seq = last + 1;
        let mut refused = 0;
        loop {
            match sooner_or_later(&mut camera, 10) {
                Event::Incomplete { trigger, .. } => {
                    assert_eq!(trigger.seq, next_seq, "each number once");
                    refused += 1;
                }
                Event::Frame { trigger, .. } => {
                    assert_eq!(trigger.seq, next_seq);
                    break;
                }
                other => panic!("{other:?}"),
            }
            next_seq += 1;
        }
        assert!(refused >= 10, "{refused} of about 20 in 400 ms");
        assert!(camera.stats().no_buffer >= 10, "{:?}", camera.stats());
        camera.stop().unwrap();
    });
}

#[test]
fn cameras_are_listed_found_by_serial_number_and_described() {
    alone(&[], || {
        let _fake = Fake::start(HOME, "GV01", PIXELS);
        let found = gige::discover().unwrap();
        let fake = found.iter().find(|found| found.serial == "GV01").expect("{found:?}");
        assert_eq!((fake.vendor.as_str(), fake.model.as_str()), ("Aravis", "Fake"));
        assert_eq!(fake.address, HOME);
        for name in [&fake.id, &fake.serial] {
            let mut settings = settings(PixelFormat::Mono8);
            settings.device.clone_from(name);
            open(settings).stop().unwrap();
        }
        let (identity, features) = gige::features(HOME).unwrap();
        assert_eq!(identity.serial, "GV01");
        let of = |name: &str| features.iter().find(|f| f.name == name).unwrap();
        let width = of("Width");
        assert_eq!((width.kind, width.value.as_deref()), (Kind::Integer, Some("64")));
        assert_eq!(width.bounds.unwrap().max, 2048.0);
        assert!(of("PixelFormat").entries.contains(&"BayerRG8".to_owned()));
        let absent = gige::features("127.0.0.9").err().unwrap();
        assert_eq!(absent.kind(), CameraErrorKind::Open);
    });
}

//! The V4L2 back-end on a driver of the kernel: vivid, which makes up pictures and faults.
//!
//! Runs inside the virtual machine that `tests/vivid/run.sh` starts, as its only program, and is
//! skipped everywhere else. Node 0 is single-planar, node 1 multi-planar. Prints a line a check and
//! a last line that the script reads.

// Helpers of tests may unwrap: a panic is how a test fails.
#![allow(missing_docs, clippy::unwrap_used)]

mod line;
#[path = "../support/parts.rs"]
mod parts;
#[path = "../support/places.rs"]
mod places;

use std::collections::BTreeSet;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crrd::capture::v4l2::{
    self, Device, FourCc, Interval, Kernel, Setting, V4l2, V4l2Options, Value, Way,
};
use crrd::capture::{Camera, CameraErrorKind, Continuity, Damage, Event, FrameNumbers, Trigger};
use crrd::frame::{CameraId, Frame, Memory, Nanos, PixelFormat, Pool};
use crrd::sys::clock::{Clock, RealClock};

const SINGLE: &str = "/dev/video0";
const PLANES: &str = "/dev/video1";
/// An emulated machine is slow.
const WAIT_MS: u64 = 10_000;
const SIZE: (u32, u32) = (640, 360);
const RATE_HZ: f64 = 25.0;

type Check = fn() -> String;

const CHECKS: [(&str, Check); 18] = [
    ("every format of the node, exported buffers", every_format),
    ("the node described in the words of the configuration", described),
    ("a whole line: the engine reads the driver's own buffers", line::line),
    ("rate set and kept", rate),
    ("controls by name, seen in the picture", controls),
    ("refusals name what there is", refusals),
    ("leases dropped elsewhere in reverse order", leases),
    ("silence, then the stream goes on", silence),
    ("half of the buffers dropped by the driver", dropped),
    ("one damaged buffer", damaged),
    ("station too slow: no free buffer", starved),
    ("the station's own memory (USERPTR)", user_memory),
    ("restart with a picture still out", restart),
    ("two programs at one camera", busy),
    ("multi-planar node: formats", planes),
    ("multi-planar node: the station's own memory", planes_user_memory),
    ("no descriptor is left open", descriptors),
    ("unplugged while streaming, then plugged in again", unplugged),
];

#[test]
fn the_back_end_on_a_driver_of_the_kernel() {
    if std::env::var_os("CRRD_VIVID").is_none() {
        println!("skipped: needs the kernel's virtual cameras; run tests/vivid/run.sh");
        return;
    }
    // The last check takes the camera away: order matters.
    let failed = CHECKS.iter().filter(|(name, check)| !passes(name, *check)).count();
    println!("VIVID {} checks, {failed} failed", CHECKS.len());
    assert_eq!(failed, 0);
}

fn passes(name: &str, check: Check) -> bool {
    let began = Instant::now();
    let outcome = catch_unwind(check);
    let ms = began.elapsed().as_millis();
    match outcome {
        Ok(told) => println!("PASS {name}: {told} ({ms} ms)"),
        // What went wrong was printed when it did.
        Err(_) => {
            println!("FAIL {name} ({ms} ms)");
            return false;
        }
    }
    true
}

fn options(device: &str, format: PixelFormat) -> V4l2Options {
    V4l2Options {
        device: device.into(),
        format,
        width: SIZE.0,
        height: SIZE.1,
        interval: Some(Interval::of_hz(RATE_HZ)),
        way: Way::Mmap,
        buffers: Some(6),
        controls: vec![],
        camera: CameraId(0),
    }
}

fn open(options: V4l2Options) -> V4l2 {
    V4l2::open(options, Arc::new(RealClock)).unwrap_or_else(|error| {
        let source = std::error::Error::source(&error).map(ToString::to_string);
        panic!("{error}: {source:?}")
    })
}

fn started(options: V4l2Options) -> (V4l2, Pool) {
    let mut camera = open(options);
    let pool = Pool::new(4, camera.frame_bytes_max());
    camera.start(pool.clone(), 1).unwrap();
    (camera, pool)
}

fn soon() -> Nanos {
    RealClock.now().plus_ms(WAIT_MS)
}

#[track_caller]
fn frame(camera: &mut V4l2) -> (Trigger, Frame) {
    match camera.next(soon()).unwrap() {
        Event::Frame { trigger, frame } => (trigger, frame),
        other => panic!("{other:?}"),
    }
}

/// Sets a control from outside, as a technician with `v4l2-ctl` would.
fn set(device: &str, key: &str, value: i64) {
    let kernel = Kernel::open(device.as_ref()).unwrap();
    let mut after = 0;
    loop {
        let control = kernel.control_after(after).unwrap_or_else(|e| panic!("no {key}: {e}"));
        if control.key() == key {
            return kernel.set_value(&control, value).unwrap();
        }
        after = control.id;
    }
}

fn is_exported(frame: &Frame) -> bool {
    matches!(frame.lease.memory(), Memory::DmaBuf { fd, offset: 0, len } if fd >= 0 && len > 0)
}

/// Streams a few pictures of each format that the node offers and a station knows.
fn formats(device: &str) -> String {
    let offered = Kernel::open(device.as_ref()).unwrap().formats().unwrap();
    let known: Vec<PixelFormat> = offered.iter().filter_map(|code| code.format()).collect();
    let (mut pictures, mut names) = (0, vec![]);
    for format in &known {
        let (mut camera, _) = started(options(device, *format));
        let layout = camera.layout();
        assert_eq!(layout.format, FourCc::of(*format));
        for _ in 0..2 {
            let (_, frame) = frame(&mut camera);
            let view = frame.view().unwrap();
            assert_eq!(
                (view.width() as u32, view.height() as u32, view.format()),
                (640, 360, *format)
            );
            assert_eq!(frame.meta.stride, layout.stride as usize);
            let values: BTreeSet<u8> = view.row(10).iter().copied().collect();
            assert!(values.len() > 1, "{format}: an empty picture");
            assert!(is_exported(&frame), "{format}: {:?}", frame.lease.memory());
            assert_eq!(frame.meta.facts.copies, 0);
            pictures += 1;
        }
        camera.stop().unwrap();
        names.push(format.name());
    }
    format!("{pictures} pictures of {}", names.join(" "))
}

fn every_format() -> String {
    let told = formats(SINGLE);
    for needed in ["Mono8", "Mono16", "BayerRG8", "YUYV", "NV12", "RGB8"] {
        assert!(told.split(' ').any(|name| name == needed), "{needed} is not in {told}");
    }
    told
}

fn described() -> String {
    let node = v4l2::show(SINGLE.as_ref()).unwrap();
    assert_eq!((node.card.driver.as_str(), node.card.captures), ("vivid", true));
    let grey = node.formats.iter().find(|f| f.format == Some(PixelFormat::Mono8)).unwrap();
    let size = grey.sizes.iter().find(|size| size.starts_with("640x360 at ")).unwrap();
    assert!(size.contains("25") && size.ends_with(" Hz"), "{size}");
    let of = |key: &str| node.controls.iter().find(|c| c.key == key).unwrap();
    assert_eq!(of("brightness").limits, "0 to 255, step 1, default 128");
    assert!(of("test_pattern").choices.contains(&"100% White".to_owned()));
    let (formats, controls) = (node.formats.len(), node.controls.len());
    format!("{formats} formats, {controls} controls; {size}")
}

fn rate() -> String {
    let (mut camera, _) = started(options(SINGLE, PixelFormat::Mono8));
    drop(frame(&mut camera));
    let began = Instant::now();
    let (first, _) = frame(&mut camera);
    let mut last = first.seq;
    while began.elapsed() < Duration::from_secs(1) {
        last = frame(&mut camera).0.seq;
    }
    let hz = (last - first.seq) as f64 / began.elapsed().as_secs_f64();
    // The driver numbers pictures by its clock: its rate without S_PARM is 5.
    assert!((15.0..=35.0).contains(&hz), "{hz}");
    format!("{hz:.1} Hz of {RATE_HZ}")
}

fn controls() -> String {
    let mut means = vec![];
    for pattern in ["100% Black", "100% White"] {
        let setting = |name: &str, value| Setting { name: name.into(), value };
        let controls = vec![
            setting("test_pattern", Value::Word(pattern.into())),
            setting("osd_text_mode", Value::Word("None".into())),
            setting("horizontal_flip", Value::Flag(true)),
        ];
        let grey = options(SINGLE, PixelFormat::Mono8);
        let (mut camera, _) = started(V4l2Options { controls, ..grey });
        let (_, frame) = frame(&mut camera);
        let picture = &frame.lease[..frame.meta.bytes];
        assert!(picture.iter().all(|byte| *byte == picture[0]), "{pattern}: not of one colour");
        means.push(picture[0]);
    }
    for (name, value) in [("test_pattern", 0), ("osd_text_mode", 0), ("horizontal_flip", 0)] {
        set(SINGLE, name, value);
    }
    assert!(means[0] < 32 && means[1] > 200, "{means:?}");
    format!("black is {}, white is {}", means[0], means[1])
}

fn refusals() -> String {
    let refused = |options: V4l2Options, says: &str| {
        let error = V4l2::open(options, Arc::new(RealClock)).map(drop).unwrap_err();
        assert_eq!(error.kind(), CameraErrorKind::Settings);
        assert!(error.to_string().contains(says), "{error}");
    };
    let grey = || options(SINGLE, PixelFormat::Mono8);
    let control = |name: &str, value| vec![Setting { name: name.into(), value }];
    refused(options(SINGLE, PixelFormat::Mjpeg), "does not offer MJPEG (MJPG) but ");
    refused(V4l2Options { width: 642, height: 361, ..grey() }, "pixels of 642x361");
    refused(
        V4l2Options { controls: control("brihtness", Value::Number(1)), ..grey() },
        "brightness",
    );
    refused(
        V4l2Options { controls: control("brightness", Value::Number(256)), ..grey() },
        "0 to 255",
    );
    refused(
        V4l2Options { controls: control("disconnect", Value::Number(1)), ..grey() },
        "no value",
    );
    "format, size, misspelt control, range, button".into()
}

fn leases() -> String {
    let (mut camera, pool) = started(options(SINGLE, PixelFormat::BayerRG8));
    let (mut addresses, mut pictures) = (BTreeSet::new(), 0);
    for _ in 0..10 {
        let mut held: Vec<_> = (0..4).map(|_| frame(&mut camera).1).collect();
        addresses.extend(held.iter().map(|frame| frame.lease.as_ptr() as usize));
        pictures += held.len();
        held.reverse();
        std::thread::scope(|s| {
            s.spawn(move || drop(held));
        });
    }
    assert!(addresses.len() <= 6, "{} buffers of 6", addresses.len());
    assert_eq!(pool.free(), pool.slots());
    format!("{pictures} pictures in {} buffers, 4 held at once", addresses.len())
}

fn silence() -> String {
    let (mut camera, _) = started(options(SINGLE, PixelFormat::Mono8));
    drop(frame(&mut camera));
    let (mut idle, mut frames) = (0, 0);
    while frames < 5 {
        match camera.next(RealClock.now().plus_ms(1)).unwrap() {
            Event::Idle => idle += 1,
            Event::Frame { .. } => frames += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(idle > 5, "{idle}");
    format!("{idle} times nothing within 1 ms, {frames} pictures between")
}

/// Pictures delivered, and those that numbers show as lost.
fn account(camera: &mut V4l2, pictures: u64) -> (u64, u64) {
    let (mut supervisor, mut delivered, mut lost) = (FrameNumbers::default(), 0, 0);
    let (mut first, mut last) = (None, 0);
    while delivered < pictures {
        let (trigger, _) = frame(camera);
        delivered += 1;
        match supervisor.observe(trigger.seq) {
            Continuity::InOrder => {}
            Continuity::Gap(missing) => lost += missing.end - missing.start,
            other => panic!("{other:?}"),
        }
        last = trigger.seq;
        first.get_or_insert(last);
    }
    assert_eq!(last - first.unwrap() + 1, delivered + lost, "every number is accounted for");
    (delivered, lost)
}

fn dropped() -> String {
    let (mut camera, _) = started(options(SINGLE, PixelFormat::Mono8));
    set(SINGLE, "percentage_of_dropped_buffers", 50);
    let (delivered, lost) = account(&mut camera, 40);
    set(SINGLE, "percentage_of_dropped_buffers", 0);
    assert!(lost >= 10, "{lost}");
    assert_eq!(camera.stats().no_buffer, 0, "buffers were there");
    format!("{delivered} delivered, {lost} seen as lost by their numbers")
}

fn damaged() -> String {
    let (mut camera, _) = started(options(SINGLE, PixelFormat::Mono8));
    drop(frame(&mut camera));
    set(SINGLE, "inject_v4l2_buf_flag_error", 1);
    let mut damaged = vec![];
    for _ in 0..12 {
        match camera.next(soon()).unwrap() {
            Event::Frame { .. } => {}
            Event::Incomplete { trigger, why: Damage::Unreadable } => damaged.push(trigger.seq),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(damaged.len(), 1, "{damaged:?}");
    assert_eq!((camera.stats().incomplete, camera.stats().no_buffer), (1, 0));
    format!("exactly picture {} of 12 is told to be damaged", damaged[0])
}

fn starved() -> String {
    let grey = options(SINGLE, PixelFormat::Mono8);
    let (mut camera, _) = started(V4l2Options { buffers: Some(3), ..grey });
    let held: Vec<_> = (0..3).map(|_| frame(&mut camera)).collect();
    std::thread::sleep(Duration::from_millis(400));
    assert!(matches!(camera.next(RealClock.now()).unwrap(), Event::Idle));
    let mut expected = held[2].0.seq + 1;
    drop(held);
    let mut told = 0;
    loop {
        match camera.next(soon()).unwrap() {
            Event::Incomplete { trigger, why: Damage::NoBuffer } => {
                assert_eq!(trigger.seq, expected);
                (told, expected) = (told + 1, expected + 1);
            }
            Event::Frame { trigger, .. } => {
                assert_eq!(trigger.seq, expected);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(told >= 3, "{told}");
    assert_eq!(camera.stats().no_buffer, told);
    format!("{told} parts told one by one while all 3 buffers were held for 400 ms")
}

fn own_memory(device: &str) -> String {
    let rggb = options(device, PixelFormat::BayerRG8);
    let mut camera = open(V4l2Options { way: Way::UserPtr, ..rggb });
    let pool = Pool::new(4, camera.frame_bytes_max());
    let all: Vec<_> = (0..4).map(|_| pool.lease().unwrap()).collect();
    let ours: BTreeSet<_> = all.iter().map(|lease| lease.as_ptr()).collect();
    drop(all);
    camera.start(pool.clone(), 1).unwrap();
    let mut seen = BTreeSet::new();
    for _ in 0..12 {
        let (_, frame) = frame(&mut camera);
        assert!(frame.view().is_ok());
        assert!(ours.contains(&frame.lease.as_ptr()), "a buffer that is not ours");
        assert_eq!(frame.lease.memory(), Memory::Heap);
        assert!(frame.lease[..frame.meta.bytes].iter().any(|byte| *byte != 0));
        seen.insert(frame.lease.as_ptr());
    }
    let (_, last) = frame(&mut camera);
    camera.stop().unwrap();
    assert_eq!(pool.free(), 3);
    drop(last);
    assert_eq!(pool.free(), 4);
    format!("12 pictures in {} of our 4 buffers, all of them back in the end", seen.len())
}

fn user_memory() -> String {
    own_memory(SINGLE)
}

fn planes_user_memory() -> String {
    own_memory(PLANES)
}

fn restart() -> String {
    let (mut camera, pool) = started(options(SINGLE, PixelFormat::Mono8));
    let (_, old) = frame(&mut camera);
    let copy = old.lease.to_vec();
    let mut kept = vec![old];
    for epoch in 2..5 {
        camera.stop().unwrap();
        camera.start(pool.clone(), epoch).unwrap();
        for picture in 0..8 {
            let (trigger, frame) = frame(&mut camera);
            assert_eq!((frame.meta.epoch, frame.lease.origin().generation), (epoch, epoch));
            assert!(trigger.seq < 30, "numbers begin again: {}", trigger.seq);
            if picture == 4 && kept.len() > 1 {
                // Of a stream that is over: freed, and not queued into this one.
                drop(kept.pop());
            }
        }
        kept.push(frame(&mut camera).1);
        assert!(kept[0].lease[..] == copy[..], "the kept picture changed");
    }
    "3 restarts; a picture of the first stream is held over all of them, unchanged".into()
}

fn busy() -> String {
    let (mut camera, _) = started(options(SINGLE, PixelFormat::Mono8));
    let error = V4l2::open(options(SINGLE, PixelFormat::Yuyv), Arc::new(RealClock));
    let error = error.map(drop).unwrap_err().to_string();
    assert!(error.contains("is in use"), "{error}");
    drop(frame(&mut camera));
    "the second is told that the camera is in use, the first goes on".into()
}

fn planes() -> String {
    let told = formats(PLANES);
    for needed in ["Mono8", "Mono16", "BayerRG8", "YUYV", "NV12"] {
        assert!(told.split(' ').any(|name| name == needed), "{needed} is not in {told}");
    }
    told
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn descriptors() -> String {
    let before = open_descriptors();
    for _ in 0..20 {
        let (mut camera, _) = started(options(SINGLE, PixelFormat::Mono8));
        let (_, frame) = frame(&mut camera);
        drop(camera);
        drop(frame);
    }
    assert_eq!(open_descriptors(), before);
    format!("{before} before and after 20 cameras")
}

fn unplugged() -> String {
    let (mut camera, pool) = started(options(SINGLE, PixelFormat::Mono8));
    let (_, held) = frame(&mut camera);
    let copy = held.lease.to_vec();
    set(SINGLE, "disconnect", 1);
    let reason = loop {
        match camera.next(soon()).unwrap() {
            Event::Frame { .. } => {}
            Event::Gone { reason } => break reason,
            other => panic!("{other:?}"),
        }
    };
    assert!(reason.contains("unplugged"), "{reason}");
    assert!(held.lease[..] == copy[..], "its picture stays valid");
    drop(held);
    // This driver plugs itself in again when the last program let go of it.
    camera.start(pool, 2).unwrap();
    let (trigger, frame) = frame(&mut camera);
    assert_eq!((frame.meta.epoch, trigger.seq < 30), (2, true));
    format!("told as {reason:?}; opened again, epoch 2")
}

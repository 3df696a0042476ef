//! The back-end on a strict model of the kernel's queue.

mod queue;
mod settings;

use super::model::{Model, Shot};
use super::*;
use crate::capture::{Continuity, FrameNumbers};
use crate::frame::Memory;
use crate::sys::clock::{ManualClock, RealClock};

const WAIT_MS: u64 = 2_000;

fn options() -> V4l2Options {
    V4l2Options {
        device: "/dev/video-model".into(),
        format: PixelFormat::BayerRG8,
        width: 64,
        height: 48,
        interval: None,
        way: Way::Mmap,
        buffers: Some(4),
        controls: vec![],
        camera: CameraId(3),
    }
}

fn try_open(model: &Model, options: V4l2Options) -> Result<V4l2, CameraError> {
    V4l2::open_by(options, model.opener(), Arc::new(RealClock))
}

fn start(mut camera: V4l2) -> (V4l2, Pool) {
    let pool = Pool::new(3, camera.frame_bytes_max());
    camera.start(pool.clone(), 1).unwrap();
    (camera, pool)
}

fn refusal(model: &Model, options: V4l2Options) -> String {
    match try_open(model, options) {
        Ok(_) => panic!("opened"),
        Err(error) => {
            assert_eq!(error.kind(), CameraErrorKind::Settings);
            error.to_string()
        }
    }
}

fn started(model: &Model, options: V4l2Options) -> (V4l2, Pool) {
    start(try_open(model, options).unwrap())
}

fn next(camera: &mut V4l2) -> Event {
    camera.next(RealClock.now().plus_ms(WAIT_MS)).unwrap()
}

#[track_caller]
fn frame(camera: &mut V4l2) -> (Trigger, Frame) {
    match next(camera) {
        Event::Frame { trigger, frame } => (trigger, frame),
        other => panic!("{other:?}"),
    }
}

fn shoot(model: &Model, pictures: usize) {
    assert_eq!((0..pictures).filter(|_| model.shoot()).count(), pictures);
}

#[test]
fn a_picture_arrives_in_the_drivers_own_buffer_with_everything_the_driver_knew() {
    let model = Model::with(|m| m.padding = 16);
    let (mut camera, pool) = started(&model, options());
    model.skip(7);
    shoot(&model, 1);
    let (trigger, frame) = frame(&mut camera);
    assert_eq!((trigger.seq, trigger.id, trigger.part.as_str()), (7, TriggerId(1), "T1"));
    assert_eq!(trigger.recipe, None, "the current recipe");
    let meta = frame.meta;
    assert_eq!((meta.camera, meta.epoch, meta.seq), (CameraId(3), 1, 7));
    assert_eq!((meta.format, meta.width, meta.height), (PixelFormat::BayerRG8, 64, 48));
    assert_eq!((meta.stride, meta.bytes), (80, 80 * 48));
    assert_eq!((meta.facts.raw_id, meta.facts.device_ns), (Some(7), Some(1_007)));
    assert_eq!(meta.facts.copies, 0);
    assert!(frame.lease[..meta.bytes].iter().all(|byte| *byte == 7));
    let slot = frame.lease.origin().slot;
    let exported = Memory::DmaBuf { fd: 100 + slot as i32, offset: 0, len: 80 * 48 };
    assert_eq!(frame.lease.memory(), exported);
    assert_eq!(pool.free(), pool.slots(), "the driver's memory, not the pool's");
    assert_eq!(camera.stats().delivered, 1);
    model.assert_well_treated();
}

#[test]
fn a_driver_that_exports_nothing_still_streams() {
    let model = Model::with(|m| m.exports = false);
    let (mut camera, _) = started(&model, options());
    shoot(&model, 1);
    assert_eq!(frame(&mut camera).1.lease.memory(), Memory::Heap);
}

#[test]
fn leases_dropped_elsewhere_in_any_order_are_queued_again() {
    let model = Model::new();
    let (mut camera, _) = started(&model, options());
    for round in 0..50u64 {
        shoot(&model, 3);
        let mut held: Vec<_> = (0..3).map(|_| frame(&mut camera)).collect();
        let seqs: Vec<_> = held.iter().map(|(trigger, _)| trigger.seq).collect();
        assert_eq!(seqs, [3 * round, 3 * round + 1, 3 * round + 2]);
        assert!(held.iter().all(|(t, f)| f.lease.iter().all(|byte| *byte == t.seq as u8)));
        assert_eq!(model.with_driver(), (1, 0));
        if round % 2 == 0 {
            held.reverse();
        }
        std::thread::scope(|s| {
            s.spawn(move || drop(held));
        });
        assert_eq!(model.with_driver(), (4, 0));
    }
    assert_eq!(camera.stats().delivered, 150);
    model.assert_well_treated();
}

#[test]
fn the_drivers_buffers_are_as_many_as_the_station_can_hold_and_some() {
    let model = Model::new();
    let (mut camera, _) = started(&model, V4l2Options { buffers: None, ..options() });
    assert_eq!(model.mapped(), 3 + BUFFERS_SPARE as usize);
    camera.stop().unwrap();
    camera.start(Pool::new(64, 0), 2).unwrap();
    assert_eq!(model.mapped(), BUFFERS_MAX as usize);
    model.assert_well_treated();
}

#[test]
fn pictures_can_lie_in_the_stations_own_memory() {
    let model = Model::new();
    let (mut camera, pool) = started(&model, V4l2Options { way: Way::UserPtr, ..options() });
    assert_eq!((pool.free(), model.with_driver()), (0, (3, 0)), "all of the pool is lent");
    shoot(&model, 3);
    let first = frame(&mut camera);
    let address = first.1.lease.as_ptr();
    drop(first);
    drop((frame(&mut camera), frame(&mut camera)));
    shoot(&model, 1);
    let (trigger, last) = frame(&mut camera);
    assert_eq!((trigger.seq, last.lease.as_ptr()), (3, address), "the same memory comes round");
    camera.stop().unwrap();
    assert_eq!(pool.free(), 2, "all but the one that is out");
    assert!(last.lease.iter().all(|byte| *byte == 3));
    drop(last);
    assert_eq!(pool.free(), 3);
    camera.start(pool.clone(), 2).unwrap();
    shoot(&model, 1);
    drop(frame(&mut camera));
    model.assert_well_treated();
}

#[test]
fn a_driver_that_cannot_use_the_stations_memory_is_told_apart() {
    let model = Model::with(|m| m.user_memory = false);
    let mut camera = try_open(&model, V4l2Options { way: Way::UserPtr, ..options() }).unwrap();
    let error = camera.start(Pool::new(3, camera.frame_bytes_max()), 1).unwrap_err();
    assert!(error.to_string().contains("buffers = \"mmap\""), "{error}");
    let small = Pool::new(3, camera.frame_bytes_max() - 1);
    assert_eq!(camera.start(small, 1).unwrap_err().kind(), CameraErrorKind::Settings);
}

#[test]
fn silence_is_no_error_and_the_stream_goes_on() {
    let model = Model::new();
    let (mut camera, _) = started(&model, options());
    for _ in 0..3 {
        let deadline = RealClock.now().plus_ms(2);
        assert!(matches!(camera.next(deadline).unwrap(), Event::Idle));
        assert!(RealClock.now() >= deadline);
    }
    shoot(&model, 1);
    assert_eq!(frame(&mut camera).0.seq, 0);
    model.assert_well_treated();
}

#[test]
fn a_damaged_or_short_picture_is_a_part_without_a_picture_and_its_buffer_is_used_again() {
    let model = Model::new();
    let (mut camera, _) = started(&model, options());
    let shots = [
        Shot { damaged: true, ..Shot::default() },
        Shot { bytes_short: 1, ..Shot::default() },
        Shot { bytes_short: 64 * 48, ..Shot::default() },
        Shot { offset: 8, ..Shot::default() },
    ];
    for (seq, shot) in (0..).zip(shots) {
        model.state().next = shot;
        shoot(&model, 1);
        match next(&mut camera) {
            Event::Incomplete { trigger, why } => {
                assert_eq!((trigger.seq, why), (seq, Damage::Unreadable));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(model.with_driver(), (4, 0));
    }
    shoot(&model, 1);
    assert_eq!(frame(&mut camera).0.seq, 4);
    let stats = camera.stats();
    assert_eq!((stats.delivered, stats.incomplete, stats.no_buffer), (1, 4, 0));
}

#[test]
fn a_jpeg_may_be_as_short_as_it_likes() {
    let model = Model::new();
    let jpeg = V4l2Options { format: PixelFormat::Mjpeg, ..options() };
    let (mut camera, _) = started(&model, jpeg);
    model.state().next = Shot { bytes_short: 64 * 48 - 100, ..Shot::default() };
    shoot(&model, 1);
    assert_eq!(frame(&mut camera).1.meta.bytes, 100);
    model.state().next = Shot { bytes_short: 64 * 48, ..Shot::default() };
    shoot(&model, 1);
    assert!(matches!(next(&mut camera), Event::Incomplete { .. }), "an empty file is none");
}

#[test]
fn parts_that_found_no_buffer_are_named_before_the_next_picture() {
    let model = Model::new();
    let (mut camera, _) = started(&model, options());
    shoot(&model, 4);
    let held: Vec<_> = (0..4).map(|_| frame(&mut camera)).collect();
    assert!((0..2).all(|_| !model.shoot()), "the line is faster than the inspection");
    assert!(matches!(camera.next(RealClock.now()).unwrap(), Event::Idle));
    drop(held);
    // Looked for between: that buffers are back by now does not change what was lost.
    assert!(matches!(camera.next(RealClock.now()).unwrap(), Event::Idle));
    shoot(&model, 1);
    for (seq, id) in [(4, 5), (5, 6)] {
        match next(&mut camera) {
            Event::Incomplete { trigger, why } => {
                assert_eq!((trigger.seq, trigger.id, why), (seq, TriggerId(id), Damage::NoBuffer));
            }
            other => panic!("{other:?}"),
        }
    }
    let (trigger, _) = frame(&mut camera);
    assert_eq!((trigger.seq, trigger.id), (6, TriggerId(7)));
    let stats = camera.stats();
    assert_eq!((stats.delivered, stats.incomplete, stats.no_buffer), (5, 2, 2));
    model.assert_well_treated();
}

#[test]
fn a_station_that_did_not_look_for_long_is_no_fault_of_the_camera() {
    let model = Model::new();
    let (mut camera, _) = started(&model, options());
    assert!(matches!(camera.next(RealClock.now()).unwrap(), Event::Idle));
    shoot(&model, 4);
    assert!(!model.shoot(), "all buffers are full");
    (0..4).for_each(|seq| assert_eq!(frame(&mut camera).0.seq, seq));
    shoot(&model, 1);
    let missing = next(&mut camera);
    assert!(matches!(missing, Event::Incomplete { why: Damage::NoBuffer, .. }), "{missing:?}");
    assert_eq!(frame(&mut camera).0.seq, 5);
}

#[test]
fn pictures_lost_before_the_driver_are_left_as_a_gap_with_fitting_trigger_numbers() {
    let model = Model::new();
    let (mut camera, _) = started(&model, options());
    let mut supervisor = FrameNumbers::default();
    shoot(&model, 1);
    let (first, _) = frame(&mut camera);
    assert_eq!(supervisor.observe(first.seq), Continuity::InOrder);
    assert!(matches!(camera.next(RealClock.now()).unwrap(), Event::Idle));
    model.skip(3);
    shoot(&model, 1);
    let (second, _) = frame(&mut camera);
    assert_eq!(supervisor.observe(second.seq), Continuity::Gap(1..4));
    assert_eq!(second.id, TriggerId(first.id.0 + 4));
    assert_eq!(second.lost(1).id, TriggerId(first.id.0 + 1));
    assert_eq!(camera.stats().no_buffer, 0);
}

#[test]
fn frame_numbers_go_on_where_the_drivers_counter_wraps() {
    let model = Model::new();
    let (mut camera, _) = started(&model, options());
    model.skip(u32::MAX);
    shoot(&model, 3);
    let seqs: Vec<_> = (0..3).map(|_| frame(&mut camera).0.seq).collect();
    assert_eq!(seqs, [0, 1, 2].map(|n| u64::from(u32::MAX) + n));
}

#[test]
fn every_picture_of_a_driver_that_does_not_count_is_a_part_of_its_own() {
    let model = Model::with(|m| m.count_by = 0);
    let (mut camera, _) = started(&model, options());
    shoot(&model, 3);
    let seqs: Vec<_> = (0..3).map(|_| frame(&mut camera).0.seq).collect();
    assert_eq!(seqs, [0, 1, 2]);
}

#[test]
fn time_in_the_driver_counts_as_latency_unless_the_stamp_is_from_before_the_stream() {
    let (model, clock) = (Model::new(), Arc::new(ManualClock::default()));
    let its_clock = Arc::clone(&clock);
    let camera = V4l2::open_by(options(), model.opener(), its_clock).unwrap();
    clock.advance_ms(1_000);
    let (mut camera, _) = start(camera);
    clock.advance_ms(20);
    for (age_ms, counted_ms) in [(15, 15), (20, 20), (21, 0), (3_600_000, 0)] {
        model.state().next = Shot { age_ns: age_ms * 1_000_000, ..Shot::default() };
        shoot(&model, 1);
        let (trigger, frame) = frame(&mut camera);
        assert_eq!(trigger.arrived, Nanos(0).plus_ms(1_020 - counted_ms), "{age_ms} ms");
        assert_eq!(frame.meta.arrived, trigger.arrived);
    }
}

#[test]
fn a_camera_that_is_unplugged_is_gone_and_comes_back_with_its_settings() {
    let model = Model::new();
    let gain = Setting { name: "gain".into(), value: Value::Number(40) };
    let (mut camera, pool) = started(&model, V4l2Options { controls: vec![gain], ..options() });
    shoot(&model, 2);
    let (_, kept) = frame(&mut camera);
    drop(frame(&mut camera));
    model.unplug();
    match next(&mut camera) {
        Event::Gone { reason } => assert!(reason.contains("unplugged"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert!(camera.next(RealClock.now()).is_err(), "until it is started again");
    assert_eq!(camera.start(pool.clone(), 2).unwrap_err().kind(), CameraErrorKind::Open);
    camera.stop().unwrap();
    model.plug_in_again();
    camera.start(pool, 3).unwrap();
    assert_eq!(model.state().controls.iter().find(|(c, _)| c.key() == "gain").unwrap().1, 40);
    assert!(kept.lease.iter().all(|byte| *byte == 0), "its picture stays valid");
    drop(kept);
    assert_eq!((model.mapped(), model.with_driver()), (4, (4, 0)), "freed, not queued");
    shoot(&model, 1);
    let (trigger, frame) = frame(&mut camera);
    assert_eq!((trigger.seq, trigger.id, frame.meta.epoch), (0, TriggerId(3), 3));
    model.assert_well_treated();
}

#[test]
fn a_buffer_that_cannot_be_queued_again_ends_the_stream() {
    let model = Model::new();
    let (mut camera, _) = started(&model, options());
    shoot(&model, 2);
    let (_, held) = frame(&mut camera);
    model.unplug();
    drop(held);
    assert!(matches!(next(&mut camera), Event::Gone { .. }));
}

#[test]
fn an_old_kernel_frees_buffers_only_when_the_last_picture_is_judged() {
    let model = Model::with(|m| m.orphans = false);
    let (mut camera, pool) = started(&model, options());
    shoot(&model, 1);
    let (_, held) = frame(&mut camera);
    camera.stop().unwrap();
    let error = camera.start(pool.clone(), 2).unwrap_err();
    assert!(error.to_string().contains("in use"), "{error}");
    drop(held);
    camera.start(pool, 3).unwrap();
    shoot(&model, 1);
    drop(frame(&mut camera));
    model.assert_well_treated();
}

#[test]
fn too_few_buffers_are_refused() {
    let model = Model::with(|m| m.buffers_max = 1);
    let mut camera = try_open(&model, options()).unwrap();
    let error = camera.start(Pool::new(1, 1), 1).unwrap_err();
    assert!(error.to_string().contains("gives 1 buffers"), "{error}");
}

#[test]
fn a_node_without_pictures_and_a_missing_node_are_told_apart() {
    let unplugged = Model::new();
    unplugged.unplug();
    let error = try_open(&unplugged, options()).map(drop).unwrap_err();
    assert_eq!(error.kind(), CameraErrorKind::Open);
    let missing = V4l2Options { device: "/nonexistent/video0".into(), ..options() };
    let error = V4l2::open(missing, Arc::new(RealClock)).map(drop).unwrap_err();
    assert!(error.to_string().contains("is it plugged in"), "{error}");
    let dull = V4l2Options { device: "/dev/null".into(), ..options() };
    let error = V4l2::open(dull, Arc::new(RealClock)).map(drop).unwrap_err();
    assert!(error.to_string().contains("is it a camera"), "{error}");
}

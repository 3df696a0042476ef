//! Buffers in any order of events, and from two threads.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::*;

/// What a test of many steps does next.
#[derive(Clone, Copy, Debug)]
enum Act {
    Shoot,
    Skip(u32),
    Damage,
    Look,
    Drop(usize),
    DropElsewhere(usize),
    Restart,
    Replug,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => Just(Act::Shoot),
        1 => (1u32..4).prop_map(Act::Skip),
        1 => Just(Act::Damage),
        8 => Just(Act::Look),
        6 => (0usize..6).prop_map(Act::Drop),
        1 => (0usize..6).prop_map(Act::DropElsewhere),
        1 => Just(Act::Restart),
        1 => Just(Act::Replug),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Whatever the line, the station and the cable do: the kernel is never asked for what it
    /// refuses, no buffer is lost, a picture is that of its number, and every number between the
    /// first and the last of a stream is told once or seen as a gap.
    #[test]
    fn every_picture_is_accounted_for_and_every_buffer_comes_home(
        acts in proptest::collection::vec(act(), 1..120),
        user_memory in any::<bool>(),
    ) {
        let model = Model::new();
        let way = if user_memory { Way::UserPtr } else { Way::Mmap };
        let (mut camera, pool) = started(&model, V4l2Options { way, ..options() });
        let buffers = if user_memory { 3 } else { 4 };
        let mut epoch = 1;
        let mut out: Vec<Frame> = vec![];
        let mut supervisor = FrameNumbers::default();
        for act in acts {
            match act {
                Act::Shoot => drop(model.shoot()),
                Act::Skip(frames) => model.skip(frames),
                Act::Damage => model.state().next.damaged = true,
                Act::Look => match camera.next(RealClock.now()).unwrap() {
                    Event::Frame { trigger, frame } => {
                        prop_assert_eq!(frame.meta.facts.raw_id, Some(trigger.seq));
                        let continuity = supervisor.observe(trigger.seq);
                        prop_assert!(matches!(continuity, Continuity::InOrder | Continuity::Gap(_)));
                        out.push(frame);
                    }
                    Event::Incomplete { trigger, .. } => {
                        let continuity = supervisor.observe(trigger.seq);
                        prop_assert!(matches!(continuity, Continuity::InOrder | Continuity::Gap(_)));
                    }
                    Event::Idle => {}
                    other => prop_assert!(false, "{:?}", other),
                },
                Act::Drop(i) if i < out.len() => drop(out.swap_remove(i)),
                Act::DropElsewhere(i) if i < out.len() => {
                    let frame = out.swap_remove(i);
                    std::thread::scope(|s| { s.spawn(move || drop(frame)); });
                }
                Act::Drop(_) | Act::DropElsewhere(_) => {}
                Act::Restart | Act::Replug => {
                    if user_memory {
                        // The pool has as many buffers as the stream takes.
                        out.clear();
                    }
                    if matches!(act, Act::Replug) {
                        model.unplug();
                        let event = loop {
                            match camera.next(RealClock.now().plus_ms(1)).unwrap() {
                                Event::Incomplete { .. } => {}
                                Event::Frame { .. } => {}
                                other => break other,
                            }
                        };
                        prop_assert!(matches!(event, Event::Gone { .. }), "{:?}", event);
                        model.plug_in_again();
                    }
                    camera.stop().unwrap();
                    epoch += 1;
                    camera.start(pool.clone(), epoch).unwrap();
                    supervisor.restart();
                }
            }
            for frame in &out {
                let number = frame.meta.seq as u8;
                prop_assert!(frame.lease[..frame.meta.bytes].iter().all(|b| *b == number));
            }
            let (empty, filled) = model.with_driver();
            let of_today = out.iter().filter(|f| f.lease.origin().generation == epoch).count();
            // One more may be held back behind the parts that found no buffer.
            let held = usize::from(camera.stream.as_ref().is_some_and(|s| {
                matches!(s.held, Some((_, Ok(_))))
            }));
            prop_assert_eq!(empty + filled + of_today + held, buffers);
        }
        drop((camera, out));
        prop_assert_eq!(model.mapped(), 0, "all memory is freed in the end");
        prop_assert_eq!(pool.free(), pool.slots());
        model.assert_well_treated();
    }
}

/// Two threads, no order: leases come home while the camera is asked.
#[test]
fn returning_leases_and_reading_do_not_disturb_each_other() {
    const PICTURES: usize = 2_000;
    let model = Model::new();
    let (mut camera, _) = started(&model, options());
    let (send, receive) = crossbeam_channel::bounded::<Frame>(3);
    let returned = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&returned);
    let station = std::thread::Builder::new()
        .spawn(move || {
            let mut kept: Vec<Frame> = vec![];
            for frame in receive {
                kept.push(frame);
                if kept.len() == 2 {
                    drop(kept.remove(1));
                    count.fetch_add(1, Ordering::SeqCst);
                    kept.clear();
                }
            }
        })
        .unwrap();
    let sensor = model.clone();
    let stop = Arc::new(Mutex::new(false));
    let stopped = Arc::clone(&stop);
    let shooting = std::thread::Builder::new()
        .spawn(move || {
            while !*stopped.lock().unwrap() {
                sensor.shoot();
                std::thread::yield_now();
            }
        })
        .unwrap();
    let mut told = 0;
    let mut expected = None;
    while told < PICTURES {
        let (seq, frame) = match next(&mut camera) {
            Event::Frame { trigger, frame } => (trigger.seq, Some(frame)),
            Event::Incomplete { trigger, why: Damage::NoBuffer } => (trigger.seq, None),
            other => panic!("{other:?}"),
        };
        assert!(expected.is_none_or(|expected| seq >= expected), "{seq} after {expected:?}");
        expected = Some(seq + 1);
        if let Some(frame) = frame {
            assert!(frame.lease.iter().all(|byte| *byte == seq as u8));
            send.send(frame).unwrap();
        }
        told += 1;
    }
    *stop.lock().unwrap() = true;
    shooting.join().unwrap();
    drop(send);
    station.join().unwrap();
    assert!(returned.load(Ordering::SeqCst) > 0);
    camera.stop().unwrap();
    assert_eq!(model.mapped(), 0);
    model.assert_well_treated();
}

//! Answers, metrics, the calibration, the binary form, and what is sent again.

use super::*;
use crate::publish::ReplayRange;
use crate::publish::limits::REPLIES_MAX;

#[test]
fn an_answer_overtakes_everything_that_waits() {
    let mut world = connected();
    // A full window: rows wait behind it.
    (0..12).for_each(|_| world.commit(true, true));
    world.reply();
    while world.replies.is_empty() {
        world.send(true);
        world.acknowledge(0, false);
        assert!(world.live_count <= usize::from(LIMITS.window) + 1, "behind what was out already");
    }
    world.heal();
    assert_eq!(world.replies, [1]);
}

#[test]
fn a_flood_of_commands_leaves_room_for_live_verdicts() {
    let mut world = connected();
    (0..50).for_each(|_| world.reply());
    world.commit(false, true);
    let out: Vec<Topic> = world.queue.iter().map(|publish| publish.topic).collect();
    assert!(out.contains(&Topic::Verdict), "{out:?}");
    world.heal();
    assert_eq!(world.replies.len(), 50);
}

#[test]
fn answers_are_bounded_and_not_kept_across_connections() {
    let mut world = connected();
    let flying = usize::from(LIMITS.window) / 4;
    (0..REPLIES_MAX + flying + 5).for_each(|_| world.reply());
    assert_eq!(world.session.counters().replies_dropped, 5);
    world.disconnect();
    let lost = (REPLIES_MAX + flying + 5) as u64;
    assert_eq!(world.session.counters().replies_dropped, lost, "waiting and in flight");
    world.reply();
    assert_eq!(world.session.counters().replies_dropped, lost + 1, "nobody to tell");
    world.connect();
    world.heal();
    assert!(world.replies.is_empty(), "a command without an answer is repeated by the PLC");
}

#[test]
fn only_the_newest_metrics_go_out() {
    let mut world = World::new();
    (0..3).for_each(|_| world.tell_health());
    world.connect();
    world.heal();
    assert_eq!(world.health, [3]);
}

#[test]
fn metrics_and_calibration_too_large_for_the_broker_are_left_out_and_told_once() {
    let mut world = connected();
    // The world asserts that nothing larger is handed to the client.
    let large = || vec![b'x'; LIMITS.payload_bytes_max + 1];
    world.feed(Event::Calibration(large()));
    for _ in 0..3 {
        world.feed(Event::Health(large()));
        world.heal();
    }
    let report = |topic| Report::TooLarge { topic, bytes: 101, bytes_max: 100 };
    assert_eq!(world.reports, [report("calib"), report("health")]);
    assert_eq!(world.hang_ups, 0);
    world.disconnect();
    world.connect();
    world.feed(Event::Health(large()));
    world.heal();
    assert_eq!(world.reports.len(), 2, "not with each connection");
    world.tell_health();
    world.commit(true, true);
    world.heal();
    assert_eq!((world.health.len(), world.live_count), (1, 1), "what fits goes out");
    // Another broker takes even less: that is news.
    world.disconnect();
    world.session.narrow(Offer { receive_max: u16::MAX, packet_bytes_max: 512 + 90 });
    world.connect();
    world.feed(Event::Health(large()));
    world.heal();
    let news = [("calib", 101), ("health", 101)].map(|(topic, bytes)| Report::TooLarge {
        topic,
        bytes,
        bytes_max: 90,
    });
    assert_eq!(world.reports[2..], news);
}

#[test]
fn the_calibration_is_told_on_change_and_after_every_connect() {
    let mut world = World::new();
    world.calibrate();
    world.connect();
    world.heal();
    assert_eq!(world.calibration, 1);
    world.calibrate();
    world.heal();
    assert_eq!(world.calibration, 2);
    world.disconnect();
    world.calibration = 0;
    world.connect();
    world.heal();
    assert_eq!(world.calibration, 2);
}

#[test]
fn a_live_row_is_done_when_both_its_forms_are() {
    let session = Session::new(LIMITS, 0, b"state 0".to_vec(), true, 1).with_binary(true);
    let mut world = World::of(session);
    world.connect();
    world.heal();
    world.commit(false, true);
    world.send(true);
    world.acknowledge(0, false);
    assert_eq!((world.live_count, world.session.cursor()), (1, 0), "the binary form is out");
    world.heal();
    assert_eq!(world.session.cursor(), 1);
    assert!(world.binaries.contains(&1));
    world.disconnect();
    world.commit(false, true);
    world.connect();
    world.heal();
    assert_eq!((world.hist_last, world.binaries.len()), (2, 1), "late rows have none");
}

#[test]
fn a_range_is_sent_again_across_a_lost_connection_and_the_cursor_stays() {
    let mut world = connected();
    (0..40).for_each(|_| world.commit(false, true));
    world.heal();
    let before = (world.live_count, world.hist_last);
    world.ask_again(11, 30);
    for _ in 0..3 {
        (0..3).for_each(|_| world.send(true));
        world.acknowledge(0, false);
        world.disconnect();
        world.connect();
    }
    assert_eq!(world.session.cursor(), 40);
    world.heal();
    let range = ReplayRange { id: 1, epoch: 1, first: 11, last: 30 };
    assert_eq!(world.reports.last(), Some(&Report::Replayed { range, rows: 20 }));
    // The order on `hist` begins anew with each connection.
    let now = (world.live_count, world.hist_last);
    assert_eq!(now, (before.0, 0), "nothing else was sent twice");
}

#[test]
fn an_older_range_may_be_asked_for_after_a_newer_one() {
    let mut world = connected();
    (0..40).for_each(|_| world.commit(false, true));
    world.heal();
    for (first, last) in [(30, 40), (1, 3)] {
        world.ask_again(first, last);
        world.heal();
        let range = ReplayRange { id: 1, epoch: 1, first, last };
        let rows = u64::from(last - first + 1);
        assert_eq!(world.reports.pop(), Some(Report::Replayed { range, rows }));
    }
}

#[test]
fn a_range_that_is_gone_is_told_as_empty() {
    let mut world = connected();
    world.ask_again(5, 9);
    world.heal();
    let range = ReplayRange { id: 1, epoch: 1, first: 5, last: 9 };
    assert_eq!(world.reports, [Report::Replayed { range, rows: 0 }]);
}

#[test]
fn a_replay_never_delays_a_live_verdict_and_ends_with_the_station() {
    let mut world = connected();
    (0..200).for_each(|_| world.commit(false, true));
    world.heal();
    let live = world.live_count;
    world.ask_again(1, 200);
    for n in 0..20 {
        world.commit(false, true);
        let next: Vec<_> = world.queue.iter().map(|publish| publish.topic).collect();
        assert!(next.contains(&Topic::Verdict), "row {n} is handed over at once: {next:?}");
        while !world.queue.is_empty() {
            world.send(true);
        }
        // The replay is stuck, the rest is not.
        while let Some(at) = world.unacked.iter().position(|(_, p)| p.topic != Topic::Hist) {
            world.acknowledge(at, false);
        }
    }
    assert_eq!(world.live_count, live + 20);
    assert!(!world.session.can_replay());
    world.session.cancel_replay();
    world.heal();
    assert_eq!(world.session.cursor(), 220);
}

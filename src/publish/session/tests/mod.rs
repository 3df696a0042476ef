//! The session against a scripted broker that loses, delays, repeats and hangs up.

mod commands;
mod pace;
mod world;

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::publish::limits::PAGE_ROWS;
use crate::publish::types::RowKind;
use world::World;

const LIMITS: Limits = Limits {
    window: 8,
    bulk_window: 4,
    live_rows_max: 6,
    bulk_queue_max: 5,
    payload_bytes_max: 100,
    ack_wait_ms_max: 10_000,
    backoff_ms_min: 100,
    backoff_ms_max: 10_000,
    heartbeat_ms: 500,
};
/// Packet ids the fake client gives out in rotation.
const PACKET_IDS: u16 = 1_000;

fn row(id: RowId, mask: bool) -> Row {
    let mask = mask.then(|| format!("mask {id}").into_bytes());
    Row { id, kind: RowKind::Verdict, payload: format!("row {id}").into_bytes(), mask }
}

fn number(payload: &[u8]) -> RowId {
    let text = std::str::from_utf8(payload).unwrap();
    text.rsplit(' ').next().unwrap().parse().unwrap()
}

#[derive(Clone, Debug)]
enum Step {
    Commit { mask: bool, announce: bool, times: u8 },
    CommitFor { ms: u16, mask: bool, times: u8 },
    CommitOversize { mask: bool },
    CommitEvent,
    Hole,
    TrimOldest,
    Connect,
    Disconnect,
    Send { times: u8 },
    SendLost,
    Acknowledge { at: u8, times: u8 },
    AcknowledgeTwice,
    AcknowledgeForeign,
    State(u8),
    Wait(u16),
    ReadFails,
    Reply,
    Health,
    Calibration,
    Replay { first: u8, count: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (any::<bool>(), prop::bool::weighted(0.9), 1u8..12)
            .prop_map(|(mask, announce, times)| Step::Commit { mask, announce, times }),
        3 => (0u16..4_000, any::<bool>(), 1u8..8)
            .prop_map(|(ms, mask, times)| Step::CommitFor { ms, mask, times }),
        1 => any::<bool>().prop_map(|mask| Step::CommitOversize { mask }),
        1 => Just(Step::CommitEvent),
        1 => Just(Step::Hole),
        1 => Just(Step::TrimOldest),
        3 => Just(Step::Connect),
        1 => Just(Step::Disconnect),
        6 => (1u8..10).prop_map(|times| Step::Send { times }),
        1 => Just(Step::SendLost),
        6 => (any::<u8>(), 1u8..10).prop_map(|(at, times)| Step::Acknowledge { at, times }),
        1 => Just(Step::AcknowledgeTwice),
        1 => Just(Step::AcknowledgeForeign),
        1 => any::<u8>().prop_map(Step::State),
        2 => (1u16..12_000).prop_map(Step::Wait),
        1 => Just(Step::ReadFails),
        2 => Just(Step::Reply),
        1 => Just(Step::Health),
        1 => Just(Step::Calibration),
        1 => (1u8..200, 0u8..60).prop_map(|(first, count)| Step::Replay { first, count }),
    ]
}

fn play(world: &mut World, step: Step) {
    match step {
        Step::Commit { mask, announce, times } => {
            (0..times).for_each(|_| world.commit(mask, announce));
        }
        Step::CommitFor { ms, mask, times } => {
            (0..times).for_each(|_| world.commit_for(ms.into(), mask));
        }
        Step::CommitOversize { mask } => {
            let mut big = row(world.newest + 1, mask);
            let body = vec![b'x'; LIMITS.payload_bytes_max + 1];
            if mask {
                big.mask = Some(body)
            } else {
                big.payload = body
            }
            world.commit_row(big, true);
        }
        Step::CommitEvent => {
            let event = Row { kind: RowKind::Event, ..row(world.newest + 1, false) };
            world.commit_row(event, true);
        }
        Step::Hole => world.newest += 1,
        Step::TrimOldest => {
            // Retention drops a row; it counts as received, for nobody can receive it any more.
            if let Some((id, _)) = world.journal.pop_first() {
                world.seen.extend([(false, id), (true, id)]);
            }
        }
        Step::Connect => world.connect(),
        Step::Disconnect => world.disconnect(),
        Step::Send { times } => (0..times).for_each(|_| world.send(true)),
        Step::SendLost => world.send(false),
        Step::Acknowledge { at, times } => {
            (0..times).for_each(|_| world.acknowledge(at.into(), false));
        }
        Step::AcknowledgeTwice => world.acknowledge(0, true),
        Step::AcknowledgeForeign => {
            if world.up {
                world.feed(Event::Acked(PACKET_IDS + 1));
                assert!(!world.up, "a foreign acknowledgement ends the connection");
            }
        }
        Step::State(n) => world.feed(Event::State(format!("state {n}").into_bytes())),
        Step::Wait(ms) => world.wait(ms.into()),
        Step::ReadFails => world.read_fails = true,
        Step::Reply => world.reply(),
        Step::Health => world.tell_health(),
        Step::Calibration => world.calibrate(),
        Step::Replay { first, count } => {
            world.ask_again(first.into(), u32::from(first) + u32::from(count));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn no_row_is_lost_whatever_the_broker_does(
        steps in proptest::collection::vec(step(), 1..120),
        binary in any::<bool>(),
    ) {
        let session = Session::new(LIMITS, 0, b"state 0".to_vec(), true, 1).with_binary(binary);
        let mut world = World::of(session);
        for step in steps {
            play(&mut world, step);
        }
        world.heal();
        world.check();
        let last = world.journal.keys().last().copied().unwrap_or(0);
        prop_assert!(world.session.cursor() >= last, "everything is delivered");
        prop_assert_eq!(&world.retained_state, &world.session.state);
        prop_assert_eq!(world.calibration, world.said);
        prop_assert!(world.replay.is_none(), "a replay comes to its end");
        prop_assert!(binary || world.binaries.is_empty());
        // It takes new work, and the first row of it goes out live.
        let live = world.live_count;
        world.commit(true, true);
        world.heal();
        prop_assert_eq!(world.live_count, live + 1);
        prop_assert_eq!(world.retained_last, world.newest);
    }
}

fn connected() -> World {
    let mut world = World::new();
    world.connect();
    world.heal();
    world
}

#[test]
fn a_backlog_leaves_room_for_live_verdicts_at_any_time() {
    let mut world = World::new();
    (0..500).for_each(|_| world.commit(true, false));
    world.connect();
    for n in 0..100 {
        world.commit(false, true);
        let next: Vec<_> = world.queue.iter().map(|publish| publish.topic).collect();
        assert!(next.contains(&Topic::Verdict), "row {n} is handed over at once: {next:?}");
        while !world.queue.is_empty() {
            world.send(true);
        }
        // Only live verdicts and the state are acknowledged: the backlog is stuck.
        let urgent = |p: &Publish| matches!(p.topic, Topic::Verdict | Topic::State | Topic::Last);
        while let Some(at) = world.unacked.iter().position(|(_, p)| urgent(p)) {
            world.acknowledge(at, false);
        }
    }
    assert_eq!(world.live_count, 100);
    world.heal();
    assert_eq!(world.session.cursor(), 600);
}

#[test]
fn rows_committed_while_away_go_to_hist_and_only_those() {
    let mut world = connected();
    world.commit(false, true);
    world.heal();
    world.disconnect();
    (0..5).for_each(|_| world.commit(false, true));
    world.connect();
    world.heal();
    assert_eq!((world.live_count, world.hist_last), (1, 6));
    world.commit(false, true);
    world.heal();
    assert_eq!((world.live_count, world.hist_last, world.retained_last), (2, 6, 7));
}

#[test]
fn an_announcement_older_than_the_connection_is_no_live_verdict() {
    let mut world = World::new();
    (0..200).for_each(|_| world.commit(false, false));
    world.connect();
    world.feed(Event::Live { row: row(190, false), until: None });
    world.heal();
    assert_eq!((world.live_count, world.hist_last), (0, 200));
}

#[test]
fn the_newest_verdict_is_retained_again_by_a_broker_that_forgot_it() {
    let mut world = connected();
    (0..3).for_each(|_| world.commit(false, true));
    world.heal();
    world.disconnect();
    world.retained_last = 0;
    world.connect();
    world.heal();
    assert_eq!(world.retained_last, 3);
}

#[test]
fn a_row_read_before_its_announcement_still_goes_out_live() {
    let mut world = World::new();
    (0..3).for_each(|_| world.commit(false, false));
    world.connect();
    // Committed between CONNACK and the next read; the announcement is still on its way.
    world.commit(false, false);
    world.wait(50);
    assert!(!world.queue.iter().any(|publish| number_is(publish, 4)), "not yet");
    world.feed(Event::Live { row: row(4, false), until: None });
    assert!(world.queue.iter().any(|p| p.topic == Topic::Verdict && number_is(p, 4)));
    world.heal();
    assert_eq!(world.live_count, 1);
}

#[test]
fn a_row_whose_announcement_was_dropped_goes_out_late() {
    let mut world = connected();
    world.commit(false, false);
    world.heal();
    assert_eq!((world.live_count, world.hist_last), (0, 1));
}

fn number_is(publish: &Publish, id: RowId) -> bool {
    !matches!(publish.topic, Topic::State) && number(&publish.payload) == id
}

#[test]
fn a_silent_broker_is_given_up_in_time_and_the_rows_are_sent_again() {
    let mut world = connected();
    world.commit(false, true);
    world.send(true);
    world.wait(LIMITS.ack_wait_ms_max - 1);
    assert!(world.up);
    world.wait(2);
    assert!(!world.up, "no acknowledgement in time");
    world.heal();
    assert_eq!(world.hist_last, 1);
}

#[test]
fn a_live_row_whose_time_is_over_before_there_is_room_goes_to_hist_in_its_place() {
    let session = Session::new(LIMITS, 0, b"state 0".to_vec(), true, 1).with_binary(true);
    let mut world = World::of(session);
    world.connect();
    world.heal();
    // The window is full and one waits; three more have little time, the last has enough.
    while world.session.live.is_empty() {
        world.commit_for(10_000, false);
    }
    let first = world.newest;
    (0..3).for_each(|_| world.commit_for(1_000, true));
    world.commit_for(9_000, false);
    world.wait(1_001);
    world.heal();
    let live: BTreeSet<RowId> = (1..=first).chain([first + 4]).collect();
    assert_eq!((world.live_count, &world.binaries), (live.len(), &live), "three were too late");
    assert_eq!((world.hist_last, world.retained_last), (first + 3, first + 4));
    assert_eq!(world.session.cursor(), first + 4);
    assert_eq!(world.session.counters().crowded_out, 3);
}

#[test]
fn a_row_laid_aside_waits_for_older_ones_that_were_not_read_yet() {
    let mut world = World::new();
    (0..200).for_each(|_| world.commit(false, false));
    world.connect();
    // A live row that finds no room while the backlog is being read.
    while world.session.window.len() < usize::from(LIMITS.window) {
        world.commit(false, true);
    }
    world.commit_for(100, false);
    let late = world.newest;
    world.wait(101);
    // The world asserts the order on hist.
    world.heal();
    assert_eq!((world.hist_last, world.session.cursor()), (late, late));
}

#[test]
fn an_oversize_message_is_reported_and_blocks_nothing() {
    let mut world = connected();
    let body = vec![b'x'; 101];
    world.commit_row(Row { payload: body.clone(), ..row(1, false) }, true);
    world.commit_row(Row { mask: Some(body), ..row(2, false) }, true);
    world.commit(true, true);
    world.heal();
    let report = |row, mask| Report::Undeliverable { row, mask, bytes: 101, bytes_max: 100 };
    assert_eq!(world.reports, [report(1, false), report(2, true)]);
    assert_eq!((world.live_count, world.session.cursor()), (2, 3));
}

#[test]
fn being_cut_off_again_and_again_is_reported_as_a_takeover() {
    let mut world = World::new();
    for _ in 0..3 {
        world.connect();
        world.wait(1_000);
        world.disconnect();
    }
    assert_eq!(world.reports, [Report::TakeoverSuspected { times: 3 }]);
    world.connect();
    world.wait(6_000);
    world.disconnect();
    world.connect();
    world.disconnect();
    assert_eq!(world.reports.len(), 1, "a connection that held starts the count anew");
}

#[test]
fn the_state_is_published_after_every_connack_and_on_change() {
    let mut world = connected();
    assert_eq!(world.retained_state, b"state 0");
    world.feed(Event::State(b"state 1".to_vec()));
    world.heal();
    assert_eq!(world.retained_state, b"state 1");
    world.disconnect();
    world.retained_state = b"will".to_vec();
    world.connect();
    world.heal();
    assert_eq!(world.retained_state, b"state 1");
}

#[test]
fn heartbeats_count_up_twice_a_second_while_connected_only() {
    let mut world = connected();
    world.heartbeats.clear();
    (0..40).for_each(|_| world.wait(50));
    assert_eq!(world.heartbeats.len(), 4, "{:?}", world.heartbeats);
    assert!(world.heartbeats.windows(2).all(|pair| pair[1] == pair[0] + 1));
    world.disconnect();
    world.heartbeats.clear();
    (0..40).for_each(|_| world.wait(50));
    assert!(world.heartbeats.is_empty());
}

#[test]
fn a_long_backlog_keeps_memory_bounded() {
    let mut world = World::new();
    (0..5_000).for_each(|_| world.commit(true, false));
    world.connect();
    for _ in 0..20_000 {
        if world.session.is_drained(world.newest) {
            break;
        }
        world.send(true);
        world.acknowledge(0, false);
        let held = world.session.late.len() + world.session.bulk.len();
        assert!(held <= PAGE_ROWS + usize::from(LIMITS.bulk_window), "{held} messages held");
    }
    assert_eq!(world.session.cursor(), 5_000);
}

/// A session that is up with `rows` handed out, ids 1, 2, ... in the order of hand-over.
fn up_with(rows: Vec<Row>) -> (Session, Vec<Topic>) {
    let mut session = Session::new(LIMITS, 0, b"state 0".to_vec(), true, 1);
    let mut out = Vec::new();
    session.handle(Nanos(0), Event::Connected { newest: 0 }, &mut out);
    for row in rows {
        session.handle(Nanos(0), Event::Live { row, until: None }, &mut out);
    }
    let topics: Vec<_> = out
        .iter()
        .filter_map(|action| match action {
            Action::Publish(p) if !matches!(p.topic, Topic::Heartbeat(_)) => Some(p.topic),
            _ => None,
        })
        .collect();
    for id in 1..=topics.len() {
        session.handle(Nanos(0), Event::Sent(id as u16), &mut out);
    }
    (session, topics)
}

#[test]
fn a_refused_mask_is_left_out_and_a_refused_verdict_is_kept_and_tried_again() {
    let (mut session, topics) = up_with(vec![row(1, true)]);
    let id = |topic| 1 + topics.iter().position(|t| *t == topic).unwrap() as u16;
    let refused = |topic| Event::Refused { id: id(topic), reason: "not authorised" };
    let mut out = Vec::new();
    session.handle(Nanos(0), refused(Topic::Mask), &mut out);
    let told = Report::PublishRefused { topic: "mask", reason: "not authorised" };
    assert_eq!(out, [Action::Report(told)]);
    session.handle(Nanos(0), Event::Acked(id(Topic::Verdict)), &mut out);
    assert_eq!(session.cursor(), 1, "the row is done without its mask");
    assert!(session.is_up());

    let (mut session, topics) = up_with(vec![row(1, false)]);
    let verdict = 1 + topics.iter().position(|t| *t == Topic::Verdict).unwrap() as u16;
    out.clear();
    session.handle(Nanos(0), Event::Refused { id: verdict, reason: "quota exceeded" }, &mut out);
    assert!(matches!(out[..], [Action::Report(_), Action::Disconnect(_)]), "{out:?}");
    assert_eq!(session.cursor(), 0, "not delivered");
    out.clear();
    // Our own end is no sign of a second client, however often it comes.
    session.handle(Nanos(0), Event::Disconnected, &mut out);
    assert!(matches!(out[..], [Action::Connect { after_ms: 1.. }]), "{out:?}");
}

#[test]
fn a_narrow_broker_gets_no_more_than_it_takes() {
    let mut session = Session::new(LIMITS, 0, b"state 0".to_vec(), false, 1);
    session.narrow(Offer { receive_max: 4, packet_bytes_max: usize::MAX });
    let mut out = Vec::new();
    session.handle(Nanos(0), Event::Connected { newest: 0 }, &mut out);
    for id in 1..=6 {
        session.handle(Nanos(0), Event::Live { row: row(id, false), until: None }, &mut out);
    }
    assert_eq!(session.in_flight(), 3, "one id is left to the subscription");
}

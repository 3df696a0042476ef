//! Late rows beside live verdicts at a steady pace.

use super::*;

/// Everything handed over is sent and acknowledged; how many of them were late rows.
fn settle(world: &mut World) -> usize {
    let mut late = 0;
    while !(world.queue.is_empty() && world.unacked.is_empty()) {
        late += world.queue.iter().filter(|publish| publish.topic == Topic::Hist).count();
        while !world.queue.is_empty() {
            world.send(true);
        }
        // Acknowledged in order; what that lets out is of the next round.
        (0..world.unacked.len()).for_each(|_| world.acknowledge(0, false));
        if world.now.0 % 1_000_000 >= 900_000 {
            break;
        }
        world.now = Nanos(world.now.0 + 100_000);
    }
    late
}

/// A connection with a backlog, and a line that has made its first verdicts 20 ms apart.
fn line_with_backlog(rows: usize) -> World {
    let mut world = World::new();
    (0..rows).for_each(|_| world.commit(false, false));
    world.connect();
    for _ in 0..3 {
        world.commit(false, true);
        settle(&mut world);
        world.now = Nanos((world.now.0 / 20_000_000 + 1) * 20_000_000);
    }
    world
}

#[test]
fn late_rows_go_out_in_the_first_half_of_the_time_between_two_verdicts() {
    let mut world = line_with_backlog(5_000);
    for _ in 0..10 {
        let begin = world.now;
        world.commit(false, true);
        assert!(world.queue.iter().any(|publish| publish.topic == Topic::Verdict), "at once");
        let mut late = Vec::new();
        for ms in 0..20 {
            world.now = begin.plus_ms(ms);
            world.feed(Event::Tick { newest: world.newest });
            late.push(settle(&mut world));
        }
        assert!(late[..10].iter().all(|rows| *rows > 0), "the time is used: {late:?}");
        // What was handed over in the last moment of the first half is on its way still.
        assert!(late[12..].iter().all(|rows| *rows == 0), "the second half is free: {late:?}");
        world.now = begin.plus_ms(20);
    }
    let cursor = world.session.cursor();
    world.wait(20);
    assert!(settle(&mut world) > 0, "the next verdict is overdue: the line stands still");
    world.heal();
    assert!(cursor < 5_000 && world.session.cursor() >= 5_000, "{cursor}");
}

#[test]
fn the_outbox_is_not_read_between_a_live_verdict_and_the_wire() {
    let mut session = Session::new(LIMITS, 0, b"state".to_vec(), false, 1);
    let mut feed = |event| {
        let mut out = Vec::new();
        session.handle(Nanos(1), event, &mut out);
        out.iter().any(|action| matches!(action, Action::ReadBacklog { .. }))
    };
    feed(Event::Start);
    assert!(!feed(Event::Connected { newest: 9 }), "the state is not on the wire yet");
    assert!(feed(Event::Sent(1)));
    assert!(!feed(Event::Live { row: row(10, false), until: None }));
    assert!(!feed(Event::Backlog((1..=9).map(|id| row(id, false)).collect())));
}

//! What becomes of commands.

use super::*;
use crate::message::Refusal;

#[test]
fn every_command_is_answered_with_what_became_of_it() {
    use ReplyCode::{Done, NotPossible, NotReady, OutOfRange, RecipeUnknown};
    let mut bench = Bench::new(Mode::Continuous);
    assert_eq!(bench.code(arm("A")), NotPossible, "parts are armed in mode single only");
    assert_eq!(bench.code(Command::Recipe(RecipeId(9))), RecipeUnknown);
    assert_eq!(bench.code(Command::Recipe(RecipeId(2))), Done);
    let Action::Inspect(ticket) = bench.captured(None) else { panic!() };
    assert_eq!(ticket.recipe, Some(RecipeId(2)));
    assert_eq!(bench.code(Command::Test { parts: 0 }), OutOfRange);
    assert_eq!(bench.code(Command::Replay { epoch: 3, first: 2, last: 1 }), OutOfRange);
    assert_eq!(bench.code(Command::Replay { epoch: 4, first: 1, last: 2 }), OutOfRange);
    let (reply, out) = bench.command(Command::Replay { epoch: 2, first: 1, last: 2 });
    assert_eq!(out, [Action::Replay { reply, epoch: 2, first: 1, last: 2 }]);
    assert_eq!(bench.code(Command::Mode(Mode::Single)), Done);
    assert_eq!(bench.code(Command::Arm(armament("A", Some(9)))), RecipeUnknown);
    bench.step(Event::Need(Need::Camera, false));
    assert_eq!(bench.code(arm("A")), NotReady);
}

#[test]
fn a_software_trigger_arms_and_fires() {
    let mut bench = Bench::new(Mode::Single);
    let (reply, out) = bench.command(Command::Trigger(armament("A", Some(2))));
    assert_eq!(out, [Action::Fire, Action::Reply(reply)]);
    let Action::Inspect(ticket) = bench.captured(None) else { panic!() };
    assert_eq!((ticket.seq, ticket.recipe), (reply.seq, Some(RecipeId(2))));
    bench.station.settings.software_trigger = false;
    assert_eq!(bench.code(Command::Trigger(armament("B", None))), ReplyCode::NotPossible);
}

#[test]
fn a_software_trigger_waits_for_the_picture_of_the_one_before() {
    let mut bench = Bench::new(Mode::Single);
    let trigger = |name: &str| Command::Trigger(armament(name, None));
    let (first, _) = bench.command(trigger("A"));
    let (second, out) = bench.command(trigger("B"));
    assert_eq!((first.code, second.code), (ReplyCode::Done, ReplyCode::Busy));
    assert_eq!(out, [Action::Reply(second)], "nothing is fired");
    let Action::Inspect(ticket) = bench.captured(None) else { panic!() };
    assert_eq!(ticket.part.as_str(), "A");
    // Its picture is there; that it is still being judged does not matter.
    assert_eq!(bench.code(trigger("B")), ReplyCode::Done);
    // The picture of B never comes: C may go when it cannot be under way any more.
    bench.wait(ARM_WAIT_MS);
    bench.wait(LATENCY_MS - 1);
    assert_eq!(bench.code(trigger("C")), ReplyCode::Busy);
    bench.wait(1);
    assert_eq!(bench.code(trigger("C")), ReplyCode::Done);
    let Action::Inspect(ticket) = bench.captured(None) else { panic!() };
    assert_eq!(ticket.part.as_str(), "C");
}

#[test]
fn a_recipe_holds_from_the_next_part_on_and_the_station_stays_ready() {
    let mut bench = Bench::new(Mode::Single);
    bench.command(arm("A"));
    let (reply, out) = bench.command(Command::Recipe(RecipeId(2)));
    assert_eq!(
        (reply.code, &out[..]),
        (ReplyCode::Done, &[Action::Reply(reply), Action::TellState][..])
    );
    assert!(bench.station.is_ready());
    assert_eq!(
        (bench.station.recipe(), bench.station.name()),
        (Some(RecipeId(2)), "SingleExecution")
    );
    bench.command(arm("B"));
    for recipe in [1, 2] {
        let Action::Inspect(ticket) = bench.captured(None) else { panic!() };
        assert_eq!(ticket.recipe, Some(RecipeId(recipe)), "{ticket:?}");
    }
}

#[test]
fn test_runs_are_counted_down_and_marked() {
    let mut bench = Bench::new(Mode::Continuous);
    assert_eq!(bench.code(Command::Test { parts: 2 }), ReplyCode::Done);
    let tests: Vec<bool> = (0..3)
        .map(|_| matches!(bench.captured(None), Action::Inspect(ticket) if ticket.test))
        .collect();
    assert_eq!(tests, [true, true, false]);
}

#[test]
fn a_command_delivered_twice_acts_once_and_is_answered_twice() {
    let mut bench = Bench::new(Mode::Single);
    let (first, _) = bench.repeat(5, arm("A"));
    let (again, _) = bench.repeat(5, arm("A"));
    assert_eq!((first, bench.station.seq()), (again, 1));
    let (other, _) = bench.repeat(5, arm("B"));
    assert_eq!(other.seq, 2, "the same number with another content is another command");
    bench.wait(5_001);
    let (later, _) = bench.repeat(5, arm("A"));
    assert_eq!(later.seq, 3, "numbers come round");
}

#[test]
fn a_flood_of_commands_and_of_nonsense_is_told_to_slow_down() {
    let mut bench = Bench::new(Mode::Continuous);
    let codes: Vec<ReplyCode> = (0..150).map(|_| bench.code(Command::Acknowledge)).collect();
    assert_eq!(codes.iter().filter(|c| **c == ReplyCode::TooFast).count(), 50);
    let refusal = Refusal { id: 4, code: ReplyCode::Malformed };
    let out = bench.step(Event::Refused(refusal));
    assert!(matches!(out[..], [Action::Reply(Reply { code: ReplyCode::TooFast, id: 4, .. })]));
    bench.now = bench.now.plus_ms(1_000);
    let out = bench.step(Event::Refused(refusal));
    assert!(matches!(out[..], [Action::Reply(Reply { code: ReplyCode::Malformed, .. })]));
}

#[test]
fn missed_triggers_are_counted_told_together_and_acknowledged() {
    let mut bench = Bench::new(Mode::Continuous);
    assert!(matches!(bench.captured(Some(Reason::Overrun)), Action::Skip(_, Reason::Overrun)));
    bench.captured(Some(Reason::Overrun));
    bench.captured(Some(Reason::FrameDamaged));
    assert_eq!(bench.station.missed(), 2, "a damaged picture is no missed trigger");
    let told = |out: Step| {
        out.into_iter()
            .find_map(|a| if let Action::TellMissed { count } = a { Some(count) } else { None })
    };
    assert_eq!(told(bench.wait(0)), Some(2));
    bench.captured(Some(Reason::Overrun));
    assert_eq!(told(bench.wait(500)), None, "not more than once a second");
    assert_eq!(told(bench.wait(500)), Some(1));
    let (_, out) = bench.command(Command::Acknowledge);
    assert!(out.contains(&Action::TellState));
    assert_eq!(bench.station.missed(), 0);
}

#[test]
fn armed_parts_are_bounded() {
    let mut bench = Bench::new(Mode::Single);
    // Long waits: nothing runs out meanwhile.
    bench.station.settings.arm_wait_ms_max = 100_000;
    let mut codes = vec![];
    for i in 0..=ARMED_MAX {
        bench.now = bench.now.plus_ms(20);
        codes.push(bench.code(arm(&format!("P{i}"))));
    }
    assert_eq!(codes.pop(), Some(ReplyCode::Busy));
    assert!(codes.iter().all(|code| *code == ReplyCode::Done));
}

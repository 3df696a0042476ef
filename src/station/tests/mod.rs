//! The station's promises one by one; commands and random lines in files of their own.

mod commands;
mod random;

use super::*;
use crate::frame::{PartId, TriggerId};
use crate::judge::Reason;
use crate::message::{Armament, Command, Reply, ReplyCode, Request};

const LATENCY_MS: u64 = 100;
const ARM_WAIT_MS: u64 = 500;

fn settings(mode: Mode) -> Settings {
    Settings {
        latency_ms_max: LATENCY_MS,
        arm_wait_ms_max: ARM_WAIT_MS,
        mode,
        recipe: Some(RecipeId(1)),
        recipes: vec![RecipeId(1), RecipeId(2)],
        software_trigger: true,
    }
}

fn ms(ms: u64) -> Nanos {
    Nanos(0).plus_ms(ms)
}

/// A station with everything it needs.
struct Bench {
    station: Station,
    now: Nanos,
    ids: u32,
}

impl Bench {
    fn new(mode: Mode) -> Self {
        let mut bench = Self { station: Station::new(3, settings(mode)), now: ms(1_000), ids: 0 };
        for need in Need::ALL {
            bench.step(Event::Need(need, true));
        }
        bench
    }

    fn step(&mut self, event: Event) -> Step {
        let mut out = Step::new();
        self.station.step(self.now, event, &mut out);
        self.station.check_invariants();
        out
    }

    fn wait(&mut self, by_ms: u64) -> Step {
        self.now = self.now.plus_ms(by_ms);
        self.step(Event::Tick)
    }

    fn captured(&mut self, damage: Option<Reason>) -> Action {
        let part = PartId::new("CAM").unwrap();
        let arrived = self.now;
        let captured = Captured { trigger: TriggerId(9), part, recipe: None, arrived, damage };
        let out = self.step(Event::Captured(captured));
        let parts: Vec<Action> = out
            .into_iter()
            .filter(|a| matches!(a, Action::Inspect(_) | Action::Skip(..)))
            .collect();
        assert_eq!(parts.len(), 1, "one trigger, one part");
        parts[0]
    }

    fn command(&mut self, command: Command) -> (Reply, Step) {
        self.ids += 1;
        self.repeat(self.ids, command)
    }

    fn repeat(&mut self, id: u32, command: Command) -> (Reply, Step) {
        let out = self.step(Event::Command(Request { id, command }));
        let reply = out.iter().find_map(|action| match action {
            Action::Reply(reply) | Action::Replay { reply, .. } => Some(*reply),
            _ => None,
        });
        let reply = reply.expect("every command is answered");
        assert_eq!((reply.id, reply.epoch), (id, 3));
        (reply, out)
    }

    fn code(&mut self, command: Command) -> ReplyCode {
        self.command(command).0.code
    }
}

/// The parts that are answered, and why without a result.
fn answered(out: &[Action]) -> Vec<(&str, Reason)> {
    let answers = out.iter().filter_map(|action| match action {
        Action::Answer(ticket, reason) => Some((ticket.part.as_str(), *reason)),
        _ => None,
    });
    answers.collect()
}

fn armament(name: &str, recipe: Option<u16>) -> Armament {
    let part = PartId::new(name).unwrap();
    Armament { trigger: TriggerId(77), part, recipe: recipe.map(RecipeId) }
}

fn arm(name: &str) -> Command {
    Command::Arm(armament(name, None))
}

#[test]
fn a_station_is_ready_only_with_everything_it_needs() {
    let mut station = Station::new(1, settings(Mode::Continuous));
    for need in Need::ALL {
        assert_eq!(station.missing(), Some(need));
        assert!(!station.is_ready());
        let mut out = Step::new();
        station.step(Nanos(0), Event::Need(need, true), &mut out);
        assert_eq!(out, [Action::TellState], "a change is told");
    }
    assert!(station.is_ready());
    assert_eq!(station.name(), "ContinuousExecution");
    let mut out = Step::new();
    station.step(Nanos(0), Event::Need(Need::Camera, true), &mut out);
    assert_eq!(out, [], "no change, nothing to tell");
}

#[test]
fn pictures_taken_before_the_camera_stopped_are_still_judged() {
    let mut bench = Bench::new(Mode::Continuous);
    bench.step(Event::Need(Need::Camera, false));
    assert!(matches!(bench.captured(None), Action::Inspect(_)));
    bench.step(Event::Need(Need::Journal, false));
    assert!(matches!(bench.captured(None), Action::Skip(_, Reason::NotReady)));
}

#[test]
fn a_result_in_time_is_the_answer_and_one_after_the_deadline_is_late() {
    let mut bench = Bench::new(Mode::Continuous);
    let Action::Inspect(first) = bench.captured(None) else { panic!() };
    let Action::Inspect(second) = bench.captured(None) else { panic!() };
    assert_eq!((first.seq, second.seq, first.recipe), (1, 2, Some(RecipeId(1))));
    assert_eq!(bench.step(Event::Finished(1)), []);
    bench.step(Event::Recorded(Outcome::Pass));
    assert_eq!(bench.wait(LATENCY_MS / 2), []);
    let answers = bench.wait(LATENCY_MS / 2);
    assert_eq!(answers, [Action::Answer(second, Reason::Deadline)]);
    assert_eq!(bench.wait(LATENCY_MS), [], "once");
    bench.step(Event::Recorded(Outcome::Invalid));
    assert_eq!(bench.step(Event::Finished(2)), [Action::Late(2)]);
    let c = bench.station.counters();
    assert_eq!((c.parts, c.pass, c.invalid, c.late), (2, 1, 1, 1));
    assert!(!bench.station.is_busy());
}

#[test]
fn the_forced_answer_leaves_time_for_its_way() {
    let mut bench = Bench::new(Mode::Continuous);
    let Action::Inspect(ticket) = bench.captured(None) else { panic!() };
    let due = bench.station.next_due().unwrap();
    assert!(due < ticket.deadline && due > ticket.arrived.plus_ms(LATENCY_MS / 2));
}

#[test]
fn the_one_who_ticks_never_sleeps_through_a_part_accepted_meanwhile() {
    let mut bench = Bench::new(Mode::Single);
    bench.station.settings.arm_wait_ms_max = 30;
    assert_eq!(bench.station.wait_max(bench.now), ms(15), "arming is the shorter promise");
    bench.command(arm("A"));
    bench.now = bench.now.plus_ms(20);
    assert_eq!(bench.station.wait_max(bench.now), ms(10), "A is due");
    bench.station.settings.arm_wait_ms_max = 10 * LATENCY_MS;
    bench.wait(10);
    assert_eq!(bench.station.wait_max(bench.now), ms(LATENCY_MS / 2));
}

#[test]
fn armed_parts_and_pictures_meet_in_order() {
    let mut bench = Bench::new(Mode::Single);
    assert_eq!(bench.station.name(), "Ready");
    for (seq, name) in [(1, "A"), (2, "B")] {
        let (reply, _) = bench.command(arm(name));
        assert_eq!((reply.code, reply.seq, reply.word), (ReplyCode::Done, seq, "arm"));
    }
    assert_eq!(bench.station.name(), "SingleExecution");
    for (seq, name) in [(1, "A"), (2, "B")] {
        let Action::Inspect(ticket) = bench.captured(None) else { panic!() };
        assert_eq!((ticket.seq, ticket.part.as_str(), ticket.trigger), (seq, name, TriggerId(77)));
    }
    let Action::Skip(extra, reason) = bench.captured(None) else { panic!() };
    assert_eq!((extra.seq, extra.part.as_str(), reason), (3, "CAM", Reason::Unmatched));
    assert_eq!(bench.station.missed(), 1);
}

#[test]
fn a_picture_older_than_its_arming_shows_another_part() {
    let mut bench = Bench::new(Mode::Single);
    bench.command(arm("A"));
    bench.now = Nanos(bench.now.0 - 1);
    assert!(matches!(bench.captured(None), Action::Skip(_, Reason::Unmatched)));
    bench.now = Nanos(bench.now.0 + 1);
    let Action::Inspect(ticket) = bench.captured(None) else { panic!() };
    assert_eq!(ticket.part.as_str(), "A");
}

#[test]
fn an_armed_part_without_a_picture_is_answered_when_its_wait_is_over() {
    let mut bench = Bench::new(Mode::Single);
    bench.command(arm("A"));
    assert_eq!(bench.wait(ARM_WAIT_MS - 1), []);
    let out = bench.wait(1);
    let [Action::Answer(ticket, Reason::FrameLost)] = out[..] else { panic!("{out:?}") };
    assert_eq!(ticket.part.as_str(), "A");
    assert!(matches!(bench.captured(None), Action::Skip(_, Reason::Unmatched)));
}

#[test]
fn a_picture_that_comes_after_its_part_was_given_up_is_nobodys() {
    let mut bench = Bench::new(Mode::Single);
    bench.command(arm("A"));
    bench.wait(ARM_WAIT_MS);
    // The picture of A is under way: armed now, B would get it.
    assert_eq!(bench.code(arm("B")), ReplyCode::Busy);
    bench.wait(LATENCY_MS - 1);
    assert!(matches!(bench.captured(None), Action::Skip(_, Reason::Unmatched)));
    assert_eq!(bench.code(arm("B")), ReplyCode::Busy, "it was perhaps another one");
    bench.wait(1);
    assert_eq!(bench.code(arm("B")), ReplyCode::Done);
    let Action::Inspect(ticket) = bench.captured(None) else { panic!() };
    assert_eq!(ticket.part.as_str(), "B");
}

#[test]
fn parts_armed_behind_one_without_a_picture_are_given_up_with_it() {
    let mut bench = Bench::new(Mode::Single);
    bench.command(arm("A"));
    bench.wait(100);
    bench.command(arm("B"));
    // The one who ticks is busy with a slow disk when the wait of A is over.
    bench.now = bench.now.plus_ms(ARM_WAIT_MS - 100);
    assert!(matches!(bench.captured(None), Action::Skip(_, Reason::Unmatched)), "whose is it?");
    let out = bench.wait(0);
    assert_eq!(answered(&out), [("A", Reason::FrameLost), ("B", Reason::FrameLost)]);
    assert_eq!(bench.station.unseen(), 1, "one picture is missing; that of B was not waited for");
    // B's trigger may still come, and its picture after that.
    bench.wait(100 + LATENCY_MS - 1);
    assert_eq!(bench.code(arm("C")), ReplyCode::Busy);
    bench.wait(1);
    assert_eq!(bench.code(arm("C")), ReplyCode::Done);
}

#[test]
fn a_part_armed_before_the_camera_was_lost_is_answered_at_once_and_meets_no_later_picture() {
    let mut bench = Bench::new(Mode::Single);
    bench.command(arm("A"));
    bench.now = bench.now.plus_ms(1);
    bench.step(Event::Need(Need::Camera, false));
    // The camera is back before the one who ticks: the pulse of A may have passed unseen.
    bench.step(Event::Need(Need::Camera, true));
    assert_eq!(bench.code(arm("B")), ReplyCode::Busy, "or may come yet");
    assert_eq!(bench.station.wait_max(bench.now), Nanos(0), "A is due");
    assert!(matches!(bench.captured(None), Action::Skip(_, Reason::Unmatched)));
    assert_eq!(answered(&bench.wait(0)), [("A", Reason::FrameLost)]);
    assert_eq!(bench.station.unseen(), 0);
    bench.wait(ARM_WAIT_MS + LATENCY_MS);
    assert_eq!(bench.code(arm("C")), ReplyCode::Done);
    assert_eq!(answered(&bench.wait(ARM_WAIT_MS)), [("C", Reason::FrameLost)]);
    assert_eq!(bench.station.unseen(), 1, "the camera was there, and no picture came");
}

#[test]
fn a_part_armed_before_the_mode_was_left_meets_no_picture_after_it_is_back() {
    let mut bench = Bench::new(Mode::Single);
    bench.command(arm("A"));
    // All before the one who ticks is there again.
    bench.command(Command::Mode(Mode::Continuous));
    assert!(
        matches!(bench.captured(None), Action::Inspect(ticket) if ticket.part.as_str() == "CAM")
    );
    bench.command(Command::Mode(Mode::Single));
    assert!(matches!(bench.captured(None), Action::Skip(_, Reason::Unmatched)));
    assert_eq!(bench.code(arm("B")), ReplyCode::Busy);
    assert_eq!(answered(&bench.wait(0)), [("A", Reason::FrameLost)]);
    bench.wait(ARM_WAIT_MS + LATENCY_MS);
    assert_eq!(bench.code(arm("B")), ReplyCode::Done);
}

#[test]
fn leaving_single_mode_answers_the_armed_parts() {
    let mut bench = Bench::new(Mode::Single);
    bench.command(arm("A"));
    let (reply, out) = bench.command(Command::Mode(Mode::Stopped));
    assert_eq!((reply.code, out.contains(&Action::TellState)), (ReplyCode::Done, true));
    let out = bench.wait(0);
    assert!(matches!(out[..], [Action::Answer(_, Reason::NotReady)]), "{out:?}");
    assert!(matches!(bench.captured(None), Action::Skip(_, Reason::NotReady)));
    assert_eq!((bench.station.name(), bench.station.is_ready()), ("Initialized", false));
    assert_eq!(bench.code(arm("B")), ReplyCode::NotPossible);
}

#[test]
fn the_last_answers_are_given_before_the_station_closes() {
    let mut bench = Bench::new(Mode::Single);
    bench.command(arm("A"));
    bench.captured(None);
    bench.command(arm("B"));
    bench.step(Event::Closing);
    let out = bench.wait(0);
    let reasons: Vec<Reason> = out
        .iter()
        .filter_map(|a| if let Action::Answer(_, reason) = a { Some(*reason) } else { None })
        .collect();
    assert_eq!(reasons, [Reason::NotReady, Reason::Deadline]);
}

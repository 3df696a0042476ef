use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::frame::{PartId, TriggerId};
use crate::judge::Reason;
use crate::message::{Armament, Command, Refusal, Reply, ReplyCode, Request};

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
fn a_picture_after_the_wait_is_over_shows_the_next_part_even_before_the_tick() {
    let mut bench = Bench::new(Mode::Single);
    bench.command(arm("A"));
    // The one who ticks is busy with a slow disk.
    bench.now = bench.now.plus_ms(ARM_WAIT_MS);
    bench.command(arm("B"));
    let Action::Inspect(ticket) = bench.captured(None) else { panic!() };
    assert_eq!(ticket.part.as_str(), "B", "the picture of A was lost; this one is not it");
    let out = bench.wait(0);
    let [Action::Answer(ticket, Reason::FrameLost)] = out[..] else { panic!("{out:?}") };
    assert_eq!(ticket.part.as_str(), "A");
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
    bench.now = bench.now.plus_ms(5_001);
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
    let mut codes = vec![];
    for i in 0..=ARMED_MAX {
        bench.now = bench.now.plus_ms(20);
        codes.push(bench.code(arm(&format!("P{i}"))));
        // Long waits: nothing runs out meanwhile.
        bench.station.settings.arm_wait_ms_max = 100_000;
    }
    assert_eq!(codes.pop(), Some(ReplyCode::Busy));
    assert!(codes.iter().all(|code| *code == ReplyCode::Done));
}

/// One random step; times are small so that deadlines are met and missed.
#[derive(Clone, Debug)]
enum Move {
    Need(usize, bool),
    Capture(bool),
    Finish(usize),
    Arm(bool),
    Mode(Mode),
    Test,
    Wait(u64),
    Ending,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let mode = prop::sample::select(vec![Mode::Stopped, Mode::Continuous, Mode::Single]);
    let one = prop_oneof![
        2 => (0..Need::ALL.len(), prop::bool::weighted(0.8)).prop_map(|(n, met)| Move::Need(n, met)),
        8 => any::<bool>().prop_map(Move::Capture),
        8 => (0usize..4).prop_map(Move::Finish),
        6 => any::<bool>().prop_map(Move::Arm),
        2 => mode.prop_map(Move::Mode),
        1 => Just(Move::Test),
        6 => (0u64..80).prop_map(Move::Wait),
        1 => prop::bool::weighted(0.05).prop_map(|e| if e { Move::Ending } else { Move::Wait(1) }),
    ];
    prop::collection::vec(one, 0..120)
}

/// What a careful observer knows of each accepted part.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    due: Nanos,
    answers: u32,
    inspecting: bool,
}

#[derive(Default)]
struct Observer(BTreeMap<u32, Seen>);

impl Observer {
    /// Takes the actions of one step; the answers it must record.
    fn watch(&mut self, now: Nanos, out: &Step) -> usize {
        let mut recorded = 0;
        for action in out {
            match action {
                Action::Inspect(t) | Action::Skip(t, _) => {
                    let seen = self.0.entry(t.seq).or_default();
                    assert_eq!(seen.answers, 0, "an answered part is not looked at");
                    (seen.due, seen.inspecting) = (t.deadline, true);
                }
                Action::Answer(t, _) => {
                    let seen = self.0.entry(t.seq).or_default();
                    seen.answers += 1;
                    recorded += 1;
                }
                Action::Fire => panic!("nobody asked"),
                Action::Reply(reply) if reply.seq > 0 => {
                    let due = now.plus_ms(ARM_WAIT_MS);
                    self.0.insert(reply.seq, Seen { due, ..Seen::default() });
                }
                _ => {}
            }
        }
        recorded
    }
}

proptest! {
    #[test]
    fn every_accepted_part_is_answered_exactly_once_by_its_deadline(moves in moves()) {
        let mut bench = Bench::new(Mode::Continuous);
        let mut observer = Observer::default();
        let mut inspecting: Vec<u32> = vec![];
        for step in moves {
            let out = match step {
                Move::Need(i, met) => bench.step(Event::Need(Need::ALL[i], met)),
                Move::Capture(good) => {
                    let action = bench.captured((!good).then_some(Reason::FrameDamaged));
                    let (Action::Inspect(t) | Action::Skip(t, _)) = action else { panic!() };
                    inspecting.push(t.seq);
                    vec![action]
                }
                Move::Finish(i) if i < inspecting.len() => {
                    let seq = inspecting.remove(i);
                    let out = bench.step(Event::Finished(seq));
                    let seen = observer.0.get_mut(&seq).unwrap();
                    let late = out.contains(&Action::Late(seq));
                    prop_assert_eq!(late, seen.answers == 1, "late if and only if answered");
                    if !late {
                        seen.answers += 1;
                        bench.step(Event::Recorded(Outcome::Reject));
                    }
                    vec![]
                }
                Move::Finish(_) => vec![],
                Move::Arm(known) => {
                    let recipe = Some(if known { 1 } else { 9 });
                    bench.command(Command::Arm(armament("A", recipe))).1
                }
                Move::Mode(mode) => bench.command(Command::Mode(mode)).1,
                Move::Test => bench.command(Command::Test { parts: 3 }).1,
                Move::Wait(by) => {
                    bench.now = bench.now.plus_ms(by);
                    vec![]
                }
                Move::Ending => bench.step(Event::Ending),
            };
            observer.watch(bench.now, &out);
            // The shell ticks after each step, as it wakes for every deadline.
            let out = bench.step(Event::Tick);
            for _ in 0..observer.watch(bench.now, &out) {
                bench.step(Event::Recorded(Outcome::Invalid));
            }
            for (seq, seen) in &observer.0 {
                prop_assert!(seen.answers <= 1, "part {} was answered twice", seq);
                prop_assert!(seen.answers == 1 || bench.now < seen.due, "part {} is overdue", seq);
            }
        }
        bench.step(Event::Closing);
        let out = bench.step(Event::Tick);
        observer.watch(bench.now, &out);
        prop_assert!(observer.0.values().all(|seen| seen.answers == 1));
        let numbers: Vec<u32> = observer.0.keys().copied().collect();
        prop_assert_eq!(numbers, (1..=bench.station.seq()).collect::<Vec<u32>>());
    }
}

/// One random step of a line whose clockwork is not in order: nobody ticks for long.
#[derive(Clone, Debug)]
enum Disorder {
    Arm,
    ArmAgain,
    Picture { taken_ms_ago: u64 },
    Refused,
    Wait(u64),
    Tick,
}

fn disorder() -> impl Strategy<Value = Vec<Disorder>> {
    let one = prop_oneof![
        6 => Just(Disorder::Arm),
        2 => Just(Disorder::ArmAgain),
        6 => (0u64..60).prop_map(|taken_ms_ago| Disorder::Picture { taken_ms_ago }),
        1 => Just(Disorder::Refused),
        6 => (0u64..ARM_WAIT_MS).prop_map(Disorder::Wait),
        2 => Just(Disorder::Tick),
    ];
    prop::collection::vec(one, 0..150)
}

proptest! {
    /// A picture shows a part that was armed before it was taken and still waited then, the
    /// oldest such; each command is answered once; a repeated one opens no second part.
    #[test]
    fn a_picture_is_matched_to_the_oldest_part_that_waited_when_it_was_taken(
        steps in disorder(),
    ) {
        let mut bench = Bench::new(Mode::Single);
        let mut armed: BTreeMap<u32, (Nanos, Nanos)> = BTreeMap::new();
        let mut last_id = 0;
        for step in steps {
            prop_assert!(bench.station.wait_max(bench.now) <= ms(LATENCY_MS / 2));
            match step {
                Disorder::Arm => {
                    last_id = bench.ids + 1;
                    let (reply, _) = bench.command(arm("A"));
                    if reply.seq > 0 {
                        let until = bench.now.plus_ms(ARM_WAIT_MS);
                        prop_assert!(armed.insert(reply.seq, (bench.now, until)).is_none());
                    }
                }
                Disorder::ArmAgain => {
                    let before = bench.station.seq();
                    let (reply, _) = bench.repeat(last_id, arm("A"));
                    let opened = bench.station.seq() > before;
                    prop_assert!(!opened || reply.seq == before + 1);
                    if opened {
                        armed.insert(reply.seq, (bench.now, bench.now.plus_ms(ARM_WAIT_MS)));
                    }
                }
                Disorder::Picture { taken_ms_ago } => {
                    let now = bench.now;
                    let exposed = Nanos(now.0 - ms(taken_ms_ago).0);
                    let waited = |(from, until): &(Nanos, Nanos)| (*from..*until).contains(&exposed);
                    let first = armed.iter().find(|(_, times)| exposed < times.1);
                    let expected = first.filter(|(_, times)| waited(times)).map(|(seq, _)| *seq);
                    bench.now = exposed;
                    let action = bench.captured(None);
                    bench.now = now;
                    let (Action::Inspect(t) | Action::Skip(t, _)) = action else { panic!() };
                    let matched = armed.contains_key(&t.seq).then_some(t.seq);
                    prop_assert_eq!(matched, expected);
                    armed.remove(&t.seq);
                }
                Disorder::Refused => {
                    let refusal = Refusal { id: 1, code: ReplyCode::Malformed };
                    let out = bench.step(Event::Refused(refusal));
                    prop_assert_eq!(out.len(), 1, "answered once: {:?}", out);
                }
                Disorder::Wait(by) => bench.now = bench.now.plus_ms(by),
                Disorder::Tick => {
                    for action in bench.step(Event::Tick) {
                        if let Action::Answer(ticket, Reason::FrameLost) = action {
                            let until = armed.remove(&ticket.seq).map(|(_, until)| until);
                            prop_assert!(until.is_some_and(|until| until <= bench.now));
                        }
                    }
                }
            }
        }
    }
}

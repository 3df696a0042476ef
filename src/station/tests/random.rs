//! Random lines, in order and in disorder, watched by an observer.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::message::Refusal;

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
    /// A picture shows the oldest armed part, if that was armed before the picture was taken and
    /// still waited then, and none whose picture may be another part's; each command is answered
    /// once; a repeated one opens no second part.
    #[test]
    fn a_picture_is_matched_to_the_oldest_part_that_waited_when_it_was_taken(
        steps in disorder(),
    ) {
        let mut bench = Bench::new(Mode::Single);
        let mut armed: BTreeMap<u32, (Nanos, Nanos)> = BTreeMap::new();
        // Parts that got no picture: when the last of these pictures can come.
        let mut stray_until = Nanos(0);
        let late = |until: Nanos| until.plus_ms(LATENCY_MS);
        let mut last_id = 0;
        for step in steps {
            prop_assert!(bench.station.wait_max(bench.now) <= ms(LATENCY_MS / 2));
            match step {
                Disorder::Arm => {
                    last_id = bench.ids + 1;
                    let (reply, _) = bench.command(arm("A"));
                    if reply.seq > 0 {
                        prop_assert!(bench.now >= stray_until, "a stray picture may come");
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
                    if armed.values().next().is_some_and(|(_, until)| *until <= exposed) {
                        stray_until = armed.values().map(|(_, until)| late(*until)).max().unwrap();
                    }
                    let first = armed.first_key_value().filter(|_| exposed >= stray_until);
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
                    let first = armed.values().next().map(|(_, until)| *until);
                    for action in bench.step(Event::Tick) {
                        if let Action::Answer(ticket, Reason::FrameLost) = action {
                            let given_up = armed.remove(&ticket.seq);
                            prop_assert!(first.is_some_and(|until| until <= bench.now));
                            let until = given_up.map(|(_, until)| late(until)).unwrap();
                            stray_until = stray_until.max(until);
                        }
                    }
                }
            }
        }
    }
}

//! The rules of the PLC as timelines: whatever goes wrong, the output is reject.

use crate::machine::{Instance, Machine};
use crate::on_each_platform;
use crate::readers::bytes;
use crate::value::Value;

/// One PLC cycle.
const CYCLE_MS: i64 = 10;

/// A PLC with one part at a time.
struct Plc<'a> {
    machine: &'a mut Machine,
    rules: Instance,
    connected: bool,
    online: bool,
    ready: bool,
    epoch: i64,
    /// `None`: the heartbeat is silent.
    last_beat_ms: Option<i64>,
    /// Trigger and part in front of the actuator.
    part: Option<(i64, &'static str)>,
    /// Whether the output was ever pass.
    passed: bool,
}

/// A verdict message.
#[derive(Clone, Copy)]
struct Answer {
    valid: bool,
    epoch: i64,
    seq: i64,
    trigger: i64,
    part: &'static str,
    outcome: i64,
    flags: i64,
}

/// The answer that lets part P1 of trigger 1 go.
const GOOD: Answer =
    Answer { valid: true, epoch: 3, seq: 17, trigger: 1, part: "P1", outcome: 1, flags: 0 };

impl<'a> Plc<'a> {
    /// A PLC with a living station and part P1 of trigger 1 in front.
    fn with_part(machine: &'a mut Machine) -> Self {
        let mut plc = Self::idle(machine);
        plc.part = Some((1, "P1"));
        plc.cycle(None);
        assert_eq!(plc.cause(), 1, "waiting");
        plc
    }

    fn idle(machine: &'a mut Machine) -> Self {
        let rules = machine.instance("Crrd_Rules");
        let (connected, online, ready) = (true, true, true);
        let mut plc = Self {
            machine,
            rules,
            connected,
            online,
            ready,
            epoch: 3,
            last_beat_ms: Some(i64::MIN),
            part: None,
            passed: false,
        };
        plc.cycle(None);
        assert_eq!(plc.cause(), 0, "no part");
        plc
    }

    /// One cycle, with a message or none; a heartbeat every 500 ms unless it is silent.
    fn cycle(&mut self, message: Option<Answer>) {
        let now = self.machine.now_ms;
        let beat = self.last_beat_ms.is_some_and(|last| now >= last.saturating_add(500));
        if beat {
            self.last_beat_ms = Some(now);
        }
        let (trigger, part) = self.part.unwrap_or((0, ""));
        let id = |text: &str| bytes(text.as_bytes(), 16, 0);
        let flag = Value::Bool;
        let mut inputs = vec![
            ("present", flag(self.part.is_some())),
            ("triggerNo", Value::Literal(trigger)),
            ("partId", id(part)),
            ("connected", flag(self.connected)),
            ("online", flag(self.online)),
            ("ready", flag(self.ready)),
            ("epoch", Value::Literal(self.epoch)),
            ("heartbeat", flag(beat)),
            ("arrived", flag(message.is_some())),
        ];
        if let Some(answer) = message {
            let Value::Structure(mut verdict) = self.rules.get("verdict").clone() else { panic!() };
            for (name, value) in &mut verdict {
                let new = match name.as_str() {
                    "epoch" => Value::Literal(answer.epoch),
                    "seqno" => Value::Literal(answer.seq),
                    "triggerno" => Value::Literal(answer.trigger),
                    "partid" => id(answer.part),
                    "outcome" => Value::Literal(answer.outcome),
                    "flags" => Value::Literal(answer.flags),
                    _ => continue,
                };
                *value = new.stored_as(value);
            }
            inputs.push(("valid", flag(answer.valid)));
            inputs.push(("verdict", Value::Structure(verdict)));
        }
        self.machine.call(&mut self.rules, &inputs);
        self.machine.now_ms += CYCLE_MS;
        self.passed |= self.pass();
        assert!(!self.pass() || self.part.is_some() && self.decided(), "a pass for nothing");
    }

    fn wait(&mut self, ms: i64) {
        (0..ms / CYCLE_MS).for_each(|_| self.cycle(None));
    }

    fn pass(&self) -> bool {
        self.rules.get("pass").bool()
    }

    fn decided(&self) -> bool {
        self.rules.get("decided").bool()
    }

    fn cause(&self) -> i64 {
        self.rules.get("cause").number()
    }

    fn ignored(&self) -> i64 {
        self.rules.get("ignored").number()
    }
}

/// All timelines.
pub(crate) fn all(machine: &mut Machine) {
    good_parts_pass(machine);
    no_answer_in_time(machine);
    answers_to_something_else(machine);
    station_in_trouble(machine);
    trouble_after_a_pass(machine);
    reconnection(machine);
    repetitions(machine);
}

fn good_parts_pass(machine: &mut Machine) {
    let mut plc = Plc::with_part(machine);
    plc.wait(200);
    plc.cycle(Some(GOOD));
    assert_eq!((plc.pass(), plc.cause()), (true, 2));
    // For as long as the part is there, and for no longer; the answer is good for one part.
    plc.wait(5000);
    assert!(plc.pass());
    plc.part = None;
    plc.cycle(None);
    assert_eq!((plc.pass(), plc.decided(), plc.cause()), (false, false, 0));
    plc.part = Some((2, "P2"));
    plc.cycle(None);
    assert_eq!((plc.pass(), plc.cause()), (false, 1));
    plc.cycle(Some(Answer { trigger: 2, part: "P2", seq: 18, ..GOOD }));
    assert!(plc.pass());
    // The next part follows without a gap.
    plc.part = Some((3, "P3"));
    plc.cycle(None);
    assert_eq!((plc.pass(), plc.cause()), (false, 1));
    plc.cycle(Some(Answer { trigger: 3, part: "P3", seq: 19, outcome: 0, ..GOOD }));
    assert_eq!((plc.pass(), plc.decided(), plc.cause()), (false, true, 3));
}

fn no_answer_in_time(machine: &mut Machine) {
    let mut plc = Plc::with_part(machine);
    plc.wait(490);
    assert_eq!(plc.cause(), 1, "still waiting just before 500 ms");
    plc.wait(20);
    assert_eq!((plc.decided(), plc.cause()), (true, 4));
    // The late verdict changes nothing any more.
    plc.cycle(Some(GOOD));
    plc.wait(100);
    assert_eq!((plc.cause(), plc.ignored(), plc.passed), (4, 1, false));
    // A part that follows without a gap has the whole time again.
    let mut plc = Plc::with_part(machine);
    plc.wait(400);
    plc.part = Some((2, "P2"));
    plc.wait(400);
    assert_eq!((plc.decided(), plc.cause()), (false, 1));
    plc.cycle(Some(Answer { trigger: 2, part: "P2", ..GOOD }));
    assert!(plc.pass());
    // A verdict in the very cycle of the timeout is late.
    let mut plc = Plc::with_part(machine);
    plc.wait(490);
    plc.cycle(Some(GOOD));
    assert_eq!((plc.cause(), plc.passed), (4, false));
}

fn answers_to_something_else(machine: &mut Machine) {
    for other in [
        Answer { valid: false, ..GOOD },
        Answer { epoch: 2, ..GOOD },
        Answer { epoch: 4, ..GOOD },
        Answer { trigger: 2, ..GOOD },
        Answer { part: "P2", ..GOOD },
        Answer { part: "P", ..GOOD },
        Answer { part: "P1x", ..GOOD },
        Answer { flags: 1, ..GOOD },
        Answer { flags: 3, ..GOOD },
    ] {
        let mut plc = Plc::with_part(machine);
        plc.cycle(Some(other));
        assert_eq!((plc.decided(), plc.cause(), plc.ignored()), (false, 1, 1));
        plc.wait(600);
        assert_eq!((plc.cause(), plc.passed), (4, false), "timeout");
        // It does not stand in the way of the right answer.
        let mut plc = Plc::with_part(machine);
        plc.cycle(Some(other));
        plc.cycle(Some(GOOD));
        assert!(plc.pass());
    }
    for outcome in (0..=255).filter(|o| *o != 1) {
        let mut plc = Plc::with_part(machine);
        plc.cycle(Some(Answer { outcome, ..GOOD }));
        plc.wait(50);
        assert_eq!((plc.decided(), plc.cause(), plc.passed), (true, 3, false), "{outcome}");
    }
    // Nobody asked.
    let mut plc = Plc::idle(machine);
    plc.cycle(Some(Answer { trigger: 0, part: "", ..GOOD }));
    assert_eq!((plc.passed, plc.ignored()), (false, 1));
}

type Trouble = fn(&mut Plc<'_>);

/// What can go wrong with the station or the way to it, and the cause that is shown.
const TROUBLES: [(Trouble, i64); 5] = [
    (|plc| plc.last_beat_ms = None, 5),
    (|plc| plc.connected = false, 6),
    (|plc| plc.online = false, 7),
    (|plc| plc.ready = false, 8),
    (|plc| plc.epoch = 4, 9),
];

fn station_in_trouble(machine: &mut Machine) {
    for (trouble, cause) in TROUBLES {
        // While the answer is awaited. The timeout is long here, so that it is not the reason.
        let mut plc = Plc::idle(machine);
        let timeout = [("timeout", Value::Time(60_000))];
        plc.machine.call(&mut plc.rules, &timeout);
        plc.part = Some((1, "P1"));
        plc.cycle(None);
        trouble(&mut plc);
        plc.wait(2100);
        assert_eq!((plc.decided(), plc.cause()), (true, cause));
        plc.cycle(Some(GOOD));
        plc.cycle(Some(Answer { epoch: 4, ..GOOD }));
        assert!(!plc.passed, "cause {cause}");
    }
    for (trouble, cause) in &TROUBLES[..4] {
        // Before the part came.
        let mut plc = Plc::idle(machine);
        trouble(&mut plc);
        plc.wait(2100);
        plc.part = Some((1, "P1"));
        plc.cycle(Some(GOOD));
        plc.cycle(Some(GOOD));
        assert_eq!((plc.cause(), plc.passed), (*cause, false));
    }
    // Never a heartbeat at all.
    let mut rules = machine.instance("Crrd_Rules");
    let on = |name| (name, Value::Bool(true));
    machine.call(&mut rules, &[on("present"), on("connected"), on("online"), on("ready")]);
    assert_eq!(rules.get("cause").number(), 5);
    // It counts again: parts pass again.
    let mut plc = Plc::idle(machine);
    plc.last_beat_ms = None;
    plc.wait(2500);
    plc.last_beat_ms = Some(i64::MIN);
    plc.cycle(None);
    plc.part = Some((1, "P1"));
    plc.cycle(None);
    plc.cycle(Some(GOOD));
    assert!(plc.pass());
}

/// After a lost connection the station must be heard anew.
fn reconnection(machine: &mut Machine) {
    let mut plc = Plc::idle(machine);
    plc.last_beat_ms = None;
    plc.connected = false;
    plc.cycle(None);
    plc.connected = true;
    plc.part = Some((1, "P1"));
    plc.cycle(None);
    plc.cycle(Some(GOOD));
    assert_eq!((plc.cause(), plc.passed), (5, false));
}

fn trouble_after_a_pass(machine: &mut Machine) {
    for (trouble, cause) in TROUBLES {
        let mut plc = Plc::with_part(machine);
        plc.cycle(Some(GOOD));
        assert!(plc.pass());
        trouble(&mut plc);
        plc.wait(2100);
        assert_eq!((plc.pass(), plc.cause()), (false, cause));
    }
}

fn repetitions(machine: &mut Machine) {
    // Trigger and part are used again by mistake: the old answer is not the new one.
    let mut plc = Plc::with_part(machine);
    plc.cycle(Some(GOOD));
    plc.part = None;
    plc.cycle(None);
    plc.passed = false;
    plc.part = Some((1, "P1"));
    plc.cycle(None);
    plc.cycle(Some(GOOD));
    assert_eq!((plc.decided(), plc.passed, plc.ignored()), (false, false, 1));
    plc.cycle(Some(Answer { seq: 18, ..GOOD }));
    assert!(plc.pass());
}

#[test]
fn only_the_right_answer_in_time_passes_a_part() {
    on_each_platform(|machine| {
        good_parts_pass(machine);
        no_answer_in_time(machine);
        answers_to_something_else(machine);
        repetitions(machine);
    });
}

#[test]
fn a_station_in_trouble_rejects_every_part() {
    on_each_platform(|machine| {
        station_in_trouble(machine);
        trouble_after_a_pass(machine);
        reconnection(machine);
    });
}

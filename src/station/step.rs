//! One event: what it changes, and what is to be done about it.

use super::parts::{Result as Finish, Ticket};
use super::{ARMED_MAX, Need, Station};
use crate::frame::{Nanos, PartId, RecipeId, TriggerId};
use crate::judge::{Outcome, Reason};
use crate::message::{Armament, Command, Mode, Refusal, Reply, ReplyCode, Request};

/// Test runs that one command may order.
const TEST_PARTS_MAX: u32 = 1_000;
/// Verdicts that one command may have sent again.
const REPLAY_ROWS_MAX: u32 = 100_000;
/// Missed triggers are told together, at most once in this many milliseconds.
const MISSED_EVERY_MS: u64 = 1_000;

/// A trigger as the camera reports it, with or without a usable picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured {
    /// The camera's trigger number.
    pub trigger: TriggerId,
    /// The part, as far as the camera knows it.
    pub part: PartId,
    /// The recipe, when the source knows it.
    pub recipe: Option<RecipeId>,
    /// When the picture was taken.
    pub arrived: Nanos,
    /// Why there is no usable picture; `None` when there is one.
    pub damage: Option<Reason>,
}

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// A need was met or ceased to be.
    Need(Need, bool),
    /// A trigger.
    Captured(Captured),
    /// The inspection of the part with this result number ended.
    Finished(u32),
    /// An answer is in the journal.
    Recorded(Outcome),
    /// A command that was read.
    Command(Request),
    /// A payload on the command topic that is no command.
    Refused(Refusal),
    /// Time has passed.
    Tick,
    /// The source of parts came to its end; the station answers what it has and stops.
    Ending,
    /// The last answers are given now: at the next tick every part is due.
    Closing,
}

/// Something to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Look at the picture just captured.
    Inspect(Ticket),
    /// The picture just captured is not looked at; its part is answered so.
    Skip(Ticket, Reason),
    /// Answer the part now, without a result.
    Answer(Ticket, Reason),
    /// The result just finished came after its answer: for the record only.
    Late(u32),
    /// Answer the command.
    Reply(Reply),
    /// Take a picture.
    Fire,
    /// Send these verdicts again; then answer the command.
    Replay {
        /// The answer when it goes well.
        reply: Reply,
        /// Boot epoch.
        epoch: u32,
        /// First result number.
        first: u32,
        /// Last result number.
        last: u32,
    },
    /// The state topic says something else now.
    TellState,
    /// Tell that triggers were missed.
    TellMissed {
        /// Since the last such action.
        count: u64,
    },
}

/// What one event brought about.
pub type Step = Vec<Action>;

impl Station {
    /// Takes one event at `now`; what is to be done about it is appended to `out`.
    pub fn step(&mut self, now: Nanos, event: Event, out: &mut Step) {
        let before = self.face();
        match event {
            Event::Need(need, met) => self.need(need, met),
            Event::Captured(captured) => self.captured(&captured, out),
            Event::Finished(seq) => self.finished(seq, out),
            Event::Recorded(outcome) => self.count(outcome),
            Event::Command(request) => self.command(now, request, out),
            Event::Refused(refusal) => self.refused(now, refusal, out),
            Event::Tick => self.tick(now, out),
            Event::Ending => self.ending = true,
            Event::Closing => (self.ending, self.closing) = (true, true),
        }
        if self.face() != before {
            out.push(Action::TellState);
        }
    }

    /// What is told at once when it changes; busy and the counters go along, they do not lead.
    fn face(&self) -> (Option<Need>, bool, Mode, Option<RecipeId>, bool) {
        (self.missing(), self.ending, self.mode, self.recipe, self.missed.count > 0)
    }

    fn need(&mut self, need: Need, met: bool) {
        let lost = !met && self.met.has(need);
        self.met.set(need, met);
        if need == Need::Camera && lost {
            // The pictures of these parts may pass unseen; one that comes later shows another.
            self.parts.give_up_armed();
        }
    }

    fn accept(&mut self) -> u32 {
        // Four billion parts in one boot are 13 years at 10 a second; number 0 is "none".
        self.seq = self.seq.checked_add(1).unwrap_or(1);
        self.accepted += 1;
        self.seq
    }

    fn captured(&mut self, captured: &Captured, out: &mut Step) {
        let armed = match self.mode {
            Mode::Single => self.parts.matched(captured.arrived),
            Mode::Continuous | Mode::Stopped => None,
        };
        let unmatched = armed.is_none() && self.mode == Mode::Single;
        let deadline = captured.arrived.plus_ms(self.settings.latency_ms_max);
        let ticket = match armed {
            Some(armed) => Ticket { arrived: captured.arrived, deadline, ..armed },
            None => Ticket {
                seq: self.accept(),
                trigger: captured.trigger,
                part: captured.part,
                recipe: captured.recipe.or(self.recipe),
                arrived: captured.arrived,
                deadline,
                test: !unmatched && self.take_test(),
            },
        };
        let refusal = if !self.may_judge() {
            Some(Reason::NotReady)
        } else if unmatched {
            Some(Reason::Unmatched)
        } else {
            captured.damage
        };
        let reserve = self.settings.reserve_ms();
        let due = captured.arrived.plus_ms(self.settings.latency_ms_max - reserve);
        self.parts.open(ticket, due);
        match refusal {
            None => out.push(Action::Inspect(ticket)),
            Some(reason) => {
                if matches!(reason, Reason::NotReady | Reason::Unmatched | Reason::Overrun) {
                    self.missed.count += 1;
                    self.missed.untold += 1;
                }
                out.push(Action::Skip(ticket, reason));
            }
        }
    }

    fn take_test(&mut self) -> bool {
        let test = self.test_parts > 0;
        self.test_parts = self.test_parts.saturating_sub(1);
        test
    }

    fn finished(&mut self, seq: u32, out: &mut Step) {
        match self.parts.finish(seq) {
            Finish::Answer => self.unrecorded += 1,
            Finish::Late => {
                self.counters.late += 1;
                out.push(Action::Late(seq));
            }
            // A result that nobody waits for must not look like an answer.
            Finish::Unknown => out.push(Action::Late(seq)),
        }
    }

    fn tick(&mut self, now: Nanos, out: &mut Step) {
        let at_work = self.mode == Mode::Single && !self.ending;
        let reason = if at_work { Reason::FrameLost } else { Reason::NotReady };
        if at_work {
            self.parts.run_out(now);
        } else {
            self.parts.give_up_armed();
        }
        while let Some(ticket) = self.parts.take_given_up() {
            self.unrecorded += 1;
            out.push(Action::Answer(ticket, reason));
        }
        let due = if self.closing { Nanos(u64::MAX) } else { now };
        while let Some(ticket) = self.parts.take_due(due) {
            self.unrecorded += 1;
            out.push(Action::Answer(ticket, Reason::Deadline));
        }
        let missed = &mut self.missed;
        let pause_over = now.since(missed.told_at) >= Nanos(0).plus_ms(MISSED_EVERY_MS);
        if missed.untold > 0 && pause_over {
            out.push(Action::TellMissed { count: missed.untold });
            (missed.untold, missed.told_at) = (0, now);
        }
    }

    fn refused(&mut self, now: Nanos, refusal: Refusal, out: &mut Step) {
        let code = if self.rate.take(now) { refusal.code } else { ReplyCode::TooFast };
        let Refusal { id, .. } = refusal;
        out.push(Action::Reply(Reply { id, word: "", code, epoch: self.epoch, seq: 0 }));
    }

    fn command(&mut self, now: Nanos, request: Request, out: &mut Step) {
        if let Some(reply) = self.answered.find(now, &request) {
            out.push(Action::Reply(reply));
            return;
        }
        let (word, epoch) = (request.command.word(), self.epoch);
        let reply = |code, seq| Reply { id: request.id, word, code, epoch, seq };
        if !self.rate.take(now) {
            // Not remembered: the same command may succeed later.
            out.push(Action::Reply(reply(ReplyCode::TooFast, 0)));
            return;
        }
        let reply = match self.execute(now, request.command, out) {
            Ok(seq) => reply(ReplyCode::Done, seq),
            Err(code) => reply(code, 0),
        };
        match (request.command, reply.code) {
            (Command::Replay { epoch, first, last }, ReplyCode::Done) => {
                out.push(Action::Replay { reply, epoch, first, last });
            }
            _ => {
                self.answered.remember(now, request, reply);
                out.push(Action::Reply(reply));
            }
        }
    }

    /// Carries a command out; the number of the part it opens, or 0.
    fn execute(&mut self, now: Nanos, command: Command, out: &mut Step) -> Result<u32, ReplyCode> {
        match command {
            Command::Arm(armament) => return self.arm(now, armament),
            Command::Trigger(armament) => {
                if !self.settings.software_trigger {
                    return Err(ReplyCode::NotPossible);
                }
                // A camera may leave out a trigger that comes while it is busy; the next picture
                // would then be taken for that of a part it does not show.
                if self.parts.waits_for_picture() {
                    return Err(ReplyCode::Busy);
                }
                let seq = self.arm(now, armament)?;
                out.push(Action::Fire);
                return Ok(seq);
            }
            Command::Recipe(recipe) => self.recipe = Some(self.known(recipe)?),
            Command::Mode(mode) => {
                if mode != Mode::Single {
                    // Now, not at the next tick: the mode may be back by then.
                    self.parts.give_up_armed();
                }
                self.mode = mode;
            }
            Command::Test { parts } if (1..=TEST_PARTS_MAX).contains(&parts) => {
                self.test_parts = parts;
            }
            Command::Test { .. } => return Err(ReplyCode::OutOfRange),
            Command::Acknowledge => self.missed.count = 0,
            Command::Replay { epoch, first, last } => {
                let fits = first <= last && last - first < REPLAY_ROWS_MAX && epoch <= self.epoch;
                if !fits {
                    return Err(ReplyCode::OutOfRange);
                }
            }
        }
        Ok(0)
    }

    fn known(&self, recipe: RecipeId) -> Result<RecipeId, ReplyCode> {
        let known = self.settings.recipes.contains(&recipe);
        if known { Ok(recipe) } else { Err(ReplyCode::RecipeUnknown) }
    }

    fn arm(&mut self, now: Nanos, armament: Armament) -> Result<u32, ReplyCode> {
        if self.mode != Mode::Single {
            return Err(ReplyCode::NotPossible);
        }
        if !self.is_ready() {
            return Err(ReplyCode::NotReady);
        }
        if self.parts.armed_len() >= ARMED_MAX || self.parts.expects_stray(now) {
            return Err(ReplyCode::Busy);
        }
        let recipe = armament.recipe.or(self.recipe).ok_or(ReplyCode::RecipeUnknown)?;
        let ticket = Ticket {
            recipe: Some(self.known(recipe)?),
            seq: self.accept(),
            trigger: armament.trigger,
            part: armament.part,
            arrived: now,
            deadline: now.plus_ms(self.settings.arm_wait_ms_max),
            test: self.take_test(),
        };
        self.parts.arm(ticket);
        Ok(ticket.seq)
    }
}

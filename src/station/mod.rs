//! The station as a state machine: (state, event) -> (state, actions). No I/O, no clock, no thread.
//!
//! # The promise
//! Every accepted part ends in exactly one answer, at its deadline at the latest. A part is
//! accepted when its trigger comes ([`Event::Captured`]) or when the PLC arms it
//! ([`Command::Arm`]); it gets the number of its answer at that moment.
//! - The inspection ends in time ([`Event::Finished`]): its result is the answer, and it counts
//!   once it is in the journal ([`Event::Recorded`]).
//! - It does not: [`Event::Tick`] answers without it ([`Action::Answer`]), and the result that
//!   comes after that is [`Action::Late`], for the record only.
//! - An armed part whose picture does not come is answered when its waiting time is over, and at
//!   once when a camera is lost: its trigger may pass unseen, and the next picture would then be
//!   taken for its own.
//!
//! # Which picture shows which part
//! In mode [`Mode::Continuous`] each picture is a part. In mode [`Mode::Single`] pictures are
//! matched to armed parts first in, first out; a picture that was taken before the part was armed
//! cannot show it, and a picture without an armed part is answered without a verdict.
//!
//! After a part whose picture did not come, that picture may still be under way. Nothing is armed
//! and no picture is anybody's until it cannot be any more: the time of the part's trigger is over,
//! and after it the time that a picture may take to be here, which is taken to be the latency limit
//! (a verdict on a slower one would be late anyway).
//!
//! # Names
//! State names follow OPC UA for Machine Vision (OPC 40100-1).

mod need;
mod orders;
mod parts;
mod settings;
mod step;
#[cfg(test)]
mod tests;

pub use need::Need;
pub use parts::Ticket;
pub use settings::Settings;
pub use step::{Action, Captured, Event, Step};

use crate::frame::{Nanos, RecipeId};
use crate::judge::Outcome;
#[cfg(doc)]
use crate::message::Command;
use crate::message::{Counters, Mode};
use need::Met;
use orders::{Answered, RateLimit};
use parts::Parts;

/// Armed parts that may wait for their pictures; more are refused.
pub const ARMED_MAX: usize = 64;

/// Triggers that the station could not take as it should.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Missed {
    /// Since they were acknowledged.
    count: u64,
    /// Not yet told as an event.
    untold: u64,
    told_at: Nanos,
}

/// The state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Station {
    settings: Settings,
    epoch: u32,
    seq: u32,
    accepted: u64,
    /// Parts whose answer is fixed but not yet in the journal.
    unrecorded: u64,
    met: Met,
    mode: Mode,
    recipe: Option<RecipeId>,
    test_parts: u32,
    ending: bool,
    closing: bool,
    parts: Parts,
    missed: Missed,
    rate: RateLimit,
    answered: Answered,
    counters: Counters,
}

impl Station {
    /// A station of boot epoch `epoch` that has nothing it needs.
    pub fn new(epoch: u32, settings: Settings) -> Self {
        Self {
            epoch,
            seq: 0,
            accepted: 0,
            unrecorded: 0,
            met: Met::default(),
            mode: settings.mode,
            recipe: settings.recipe,
            test_parts: 0,
            ending: false,
            closing: false,
            parts: Parts::new(Nanos(0).plus_ms(settings.latency_ms_max)),
            missed: Missed::default(),
            rate: RateLimit::default(),
            answered: Answered::default(),
            counters: Counters::default(),
            settings,
        }
    }

    /// Boot epoch.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Result number of the newest accepted part; 0 before the first.
    pub fn seq(&self) -> u32 {
        self.seq
    }

    /// Parts answered so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// How triggers are taken.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The current recipe.
    pub fn recipe(&self) -> Option<RecipeId> {
        self.recipe
    }

    /// Missed triggers since they were acknowledged.
    pub fn missed(&self) -> u64 {
        self.missed.count
    }

    /// Armed parts whose picture did not come while the camera seemed to be there.
    pub fn unseen(&self) -> u64 {
        self.parts.unseen()
    }

    /// The first thing that is missing; `None` when nothing is.
    pub fn missing(&self) -> Option<Need> {
        self.met.missing()
    }

    /// Whether triggers are answered by judgement. Anything else means reject.
    pub fn is_ready(&self) -> bool {
        self.missing().is_none() && !self.ending && self.mode != Mode::Stopped
    }

    /// Whether a picture may be judged now: everything but the camera is there, so that parts
    /// whose pictures were taken before the camera stopped still get their judgement.
    fn may_judge(&self) -> bool {
        self.mode != Mode::Stopped && self.missing().is_none_or(|need| need == Need::Camera)
    }

    /// Whether parts wait for their answer.
    pub fn is_busy(&self) -> bool {
        self.parts.unanswered() > 0 || self.unrecorded > 0
    }

    /// When [`Event::Tick`] is needed next, for an answer to be in time.
    pub fn next_due(&self) -> Option<Nanos> {
        self.parts.next_due()
    }

    /// How long the one who ticks may wait from `now` on without looking at the station: until
    /// the next answer is due, and no longer than half the shortest time that a part has, because
    /// one may be accepted meanwhile.
    pub fn wait_max(&self, now: Nanos) -> Nanos {
        let Settings { latency_ms_max, arm_wait_ms_max, .. } = self.settings;
        // In every mode: the next command may be another mode, and the one after it arms a part.
        let shortest_ms = match arm_wait_ms_max {
            0 => latency_ms_max,
            wait_ms => latency_ms_max.min(wait_ms),
        };
        let half = Nanos(Nanos(0).plus_ms(shortest_ms).0 / 2);
        self.next_due().map_or(half, |due| due.since(now).min(half))
    }

    /// State name of OPC 40100-1.
    pub fn name(&self) -> &'static str {
        match self.missing() {
            Some(Need::Engine | Need::Calibration) => "Preoperational",
            Some(Need::Journal) => "Error",
            Some(Need::Camera) => "Initialized",
            None if self.ending => "Initialized",
            None => match self.mode {
                Mode::Stopped => "Initialized",
                Mode::Continuous => "ContinuousExecution",
                Mode::Single if self.is_busy() => "SingleExecution",
                Mode::Single => "Ready",
            },
        }
    }

    fn count(&mut self, outcome: Outcome) {
        self.unrecorded = self.unrecorded.saturating_sub(1);
        self.counters.parts += 1;
        let counter = match outcome {
            Outcome::Pass => &mut self.counters.pass,
            Outcome::Reject => &mut self.counters.reject,
            Outcome::Invalid => &mut self.counters.invalid,
            Outcome::Test => &mut self.counters.test,
        };
        *counter += 1;
    }

    /// What must hold between any two events.
    ///
    /// # Panics
    /// When it does not: a defect in this module.
    pub fn check_invariants(&self) {
        let c = &self.counters;
        assert_eq!(c.parts, c.pass + c.reject + c.invalid + c.test, "every part has one outcome");
        let waiting = self.parts.unanswered() as u64 + self.unrecorded;
        assert_eq!(self.accepted, c.parts + waiting, "every accepted part is answered or waits");
        assert!(self.parts.armed_len() <= ARMED_MAX, "armed parts are bounded");
        assert!(!self.is_ready() || self.may_judge(), "a ready station judges");
        let executing = ["ContinuousExecution", "SingleExecution", "Ready"];
        assert_eq!(executing.contains(&self.name()), self.is_ready(), "the name says ready");
        self.parts.check_invariants();
    }
}

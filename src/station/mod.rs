//! The station as a state machine: what it needs to be ready, what it counts, what it is called.
//!
//! Pure: `apply(Event)` changes the state and says whether there is something to tell. State
//! names follow OPC UA for Machine Vision (OPC 40100-1).

use crate::judge::{Outcome, Verdict};

/// What must hold before the station answers triggers by judgement. The order is the order in
/// which a missing one is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Need {
    /// The engine reproduced its golden pictures.
    Engine = 1,
    /// A calibration that is valid for the engine is in force.
    Calibration = 2,
    /// The journal takes rows.
    Journal = 3,
    /// The camera delivers.
    Camera = 4,
}

impl Need {
    /// All of them, in reporting order.
    pub const ALL: [Need; 4] = [Need::Engine, Need::Calibration, Need::Journal, Need::Camera];

    /// What is wrong while it is missing, for people.
    pub fn missing(self) -> &'static str {
        match self {
            Need::Engine => "the engine has not passed its self-check",
            Need::Calibration => "no calibration valid for this engine is in force",
            Need::Journal => "the journal cannot be written; see disk space and the log",
            Need::Camera => "the camera delivers no pictures",
        }
    }

    fn bit(self) -> u8 {
        1 << (self as u8)
    }
}

/// Something that happened to the station.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// A need was met or ceased to be.
    Need(Need, bool),
    /// Inspection of a part began.
    Accepted,
    /// A part was answered; its outcome counts.
    Decided(Outcome),
    /// The source of parts came to its end; the station answers what it has and stops.
    Ending,
}

/// Parts answered, by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// All.
    pub parts: u64,
    /// Proved good.
    pub pass: u64,
    /// Anomalous.
    pub reject: u64,
    /// No verdict.
    pub invalid: u64,
    /// Test runs.
    pub test: u64,
}

/// The state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Station {
    epoch: u32,
    seq: u32,
    met: u8,
    open: u32,
    ending: bool,
    counters: Counters,
}

impl Station {
    /// A station of boot epoch `epoch` that has nothing it needs.
    pub fn new(epoch: u32) -> Self {
        Self { epoch, seq: 0, met: 0, open: 0, ending: false, counters: Counters::default() }
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

    /// Accepts a part: the number of its one and only answer.
    pub fn accept(&mut self) -> u32 {
        self.apply(Event::Accepted);
        self.seq
    }

    /// The first thing that is missing; `None` when nothing is.
    pub fn missing(&self) -> Option<Need> {
        Need::ALL.into_iter().find(|need| self.met & need.bit() == 0)
    }

    /// Whether triggers are answered by judgement. Anything else means reject.
    pub fn is_ready(&self) -> bool {
        self.missing().is_none() && !self.ending
    }

    /// Whether a part may be judged now: everything but the camera is there, so that parts whose
    /// pictures were taken before the camera stopped still get their judgement.
    pub fn may_judge(&self) -> bool {
        self.missing().is_none_or(|need| need == Need::Camera)
    }

    /// Whether parts are being judged.
    pub fn is_busy(&self) -> bool {
        self.open > 0
    }

    /// State name of OPC 40100-1.
    pub fn name(&self) -> &'static str {
        match self.missing() {
            Some(Need::Engine | Need::Calibration) => "Preoperational",
            Some(Need::Journal) => "Error",
            Some(Need::Camera) => "Initialized",
            None if self.ending => "Initialized",
            None => "ContinuousExecution",
        }
    }

    /// Applies `event`; true when what the state topic says has changed.
    pub fn apply(&mut self, event: Event) -> bool {
        let before = (self.missing(), self.ending);
        match event {
            Event::Need(need, true) => self.met |= need.bit(),
            Event::Need(need, false) => self.met &= !need.bit(),
            Event::Accepted => {
                // Four billion parts in one boot are 13 years at 10 a second; number 0 is "none".
                self.seq = self.seq.checked_add(1).unwrap_or(1);
                self.open = self.open.saturating_add(1);
            }
            Event::Decided(outcome) => self.count(outcome),
            Event::Ending => self.ending = true,
        }
        (self.missing(), self.ending) != before
    }

    fn count(&mut self, outcome: Outcome) {
        self.open = self.open.saturating_sub(1);
        self.counters.parts += 1;
        let counter = match outcome {
            Outcome::Pass => &mut self.counters.pass,
            Outcome::Reject => &mut self.counters.reject,
            Outcome::Invalid => &mut self.counters.invalid,
            Outcome::Test => &mut self.counters.test,
        };
        *counter += 1;
    }

    /// Counts the answer to a part that was accepted.
    pub fn decided(&mut self, verdict: &Verdict) -> bool {
        self.apply(Event::Decided(verdict.outcome()))
    }

    /// What must hold between any two events.
    ///
    /// # Panics
    /// When it does not: a defect in this module.
    pub fn check_invariants(&self) {
        let c = &self.counters;
        assert_eq!(c.parts, c.pass + c.reject + c.invalid + c.test, "every part has one outcome");
        assert!(!self.is_ready() || self.may_judge(), "a ready station judges");
        assert_eq!(self.name() == "ContinuousExecution", self.is_ready(), "the name says ready");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_station_is_ready_only_with_everything_it_needs() {
        let mut station = Station::new(1);
        for (i, need) in Need::ALL.into_iter().enumerate() {
            assert_eq!(station.missing(), Some(need));
            assert!(!station.is_ready());
            assert!(station.apply(Event::Need(need, true)), "{i}: a change is told");
        }
        assert!(station.is_ready());
        assert_eq!(station.name(), "ContinuousExecution");
        assert!(!station.apply(Event::Need(Need::Camera, true)), "no change, nothing to tell");
    }

    #[test]
    fn pictures_taken_before_the_camera_stopped_are_still_judged() {
        let mut station = Station::new(1);
        for need in [Need::Engine, Need::Calibration, Need::Journal] {
            station.apply(Event::Need(need, true));
        }
        assert!(station.may_judge() && !station.is_ready());
        station.apply(Event::Need(Need::Journal, false));
        assert!(!station.may_judge());
    }

    #[test]
    fn answers_are_numbered_from_one_without_gaps() {
        let mut station = Station::new(9);
        let seqs: Vec<u32> = (0..4).map(|_| station.accept()).collect();
        assert_eq!(seqs, [1, 2, 3, 4]);
        assert!(station.is_busy());
    }

    proptest! {
        #[test]
        fn invariants_hold_after_every_event(events in prop::collection::vec((0u8..4, any::<bool>(), 0u8..4), 0..200)) {
            let mut station = Station::new(1);
            for (kind, on, pick) in events {
                let pick = usize::from(pick);
                match kind {
                    0 => drop(station.apply(Event::Need(Need::ALL[pick], on))),
                    1 => drop(station.accept()),
                    2 => {
                        let outcomes = [Outcome::Pass, Outcome::Reject, Outcome::Invalid, Outcome::Test];
                        station.apply(Event::Decided(outcomes[pick]));
                    }
                    _ => drop(on && pick == 3 && station.apply(Event::Ending)),
                }
                station.check_invariants();
            }
        }
    }
}

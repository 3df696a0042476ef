//! The physical world: parts with a truth nobody tells, a camera that takes their pictures, an
//! engine that sees them.

use crrd::calibrate::ClassLimit;
use crrd::capture::{Damage, Trigger, part_id_of};
use crrd::frame::{AnomalyMap, Nanos, PartId, TriggerId};
use crrd::judge::{Judge, Mask, Question, Verdict};

use super::plan::{Defect, Fault, Regime};
use super::store::Store;
use super::world::{Ev, World};

/// What the engine will say of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    Good,
    Bad,
    /// A good score that is no proof: NaN.
    Nan,
    /// A good score with a map that is cut short.
    Truncated,
    /// A good score with a hole in the map.
    Hole,
    EngineError,
    Panic,
    Hang,
}

/// A part on the line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) good: bool,
    /// Whether a picture of it ever reached the engine unharmed and looked good.
    pub(crate) proved: bool,
    /// When the camera was told to look: the PLC's time counts from here.
    pub(crate) triggered: Nanos,
    /// When the PLC took a pass for it.
    pub(crate) taken: Nanos,
    /// What became of it at the gate.
    pub(crate) passed: Option<bool>,
}

/// A picture on its way to the station.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Picture {
    pub(crate) trigger: Trigger,
    /// The part it shows.
    pub(crate) shows: u32,
    pub(crate) look: Result<Look, Damage>,
}

#[derive(Debug, Default)]
pub(crate) struct Camera {
    pub(crate) gone: bool,
    /// Number of the next picture since its power came on.
    seq: u64,
    /// What happens to the next pictures.
    pub(crate) faults: Vec<Fault>,
}

/// Number and name of a part, as PLC and camera agree on them.
pub(crate) fn identity(part: u32) -> (TriggerId, PartId) {
    (TriggerId(part + 1), part_id_of(&format!("P{}", part + 1)))
}

/// The part a PLC's trigger number means.
pub(crate) fn part_of(trigger: u32) -> Option<u32> {
    trigger.checked_sub(1)
}

/// Judges as the station does: the real judge behind a scripted map.
pub(crate) struct Examiner {
    judge: Judge,
    limit: ClassLimit,
    map: AnomalyMap,
    mask: Mask,
}

impl Default for Examiner {
    fn default() -> Self {
        let limit = ClassLimit {
            image_threshold: 0.5,
            pixel_threshold: 0.9,
            n: 4,
            k: 0,
            dataset_sha256: "0".repeat(64),
            scores: vec![0.1, 0.2, 0.3, 0.4],
            geometry: crrd::frame::Geometry::WHOLE,
            tiling: crrd::frame::Tiling::WHOLE,
        };
        let map = AnomalyMap { width: 2, height: 2, values: vec![0.1; 4], score: 0.1 };
        Self { judge: Judge::new(2, 2), limit, map, mask: Mask::default() }
    }
}

impl Examiner {
    pub(crate) fn judge(&mut self, look: Look, in_time: bool, defect: Option<Defect>) -> Verdict {
        self.map.values.clear();
        self.map.values.resize(4, 0.1);
        self.map.score = 0.3;
        match look {
            Look::Bad => (self.map.values[2], self.map.score) = (0.95, 0.6),
            Look::Nan => self.map.score = f32::NAN,
            Look::Truncated => self.map.values.truncate(3),
            Look::Hole => self.map.values[1] = f32::NAN,
            Look::Good | Look::EngineError | Look::Panic | Look::Hang => {}
        }
        if defect == Some(Defect::DamagedMapJudged) {
            self.map.values.clear();
            self.map.values.resize(4, 0.1);
        }
        let limit = Some(&self.limit);
        let question = Question { map: &self.map, limit, calibration_valid: true, in_time };
        self.judge.judge(&question, &mut self.mask)
    }
}

impl<S: Store> World<S> {
    /// A part comes to the sensor before the camera.
    pub(crate) fn part_comes(&mut self) {
        let part = self.parts.len() as u32;
        let good = self.rng.chance(60);
        let (triggered, taken) = (self.now, Nanos(0));
        self.parts.push(Part { good, proved: false, triggered, taken, passed: None });
        self.say(|| format!("part {part} comes, {}", if good { "good" } else { "bad" }));
        self.plc_sees(part);
        if self.plan.regime == Regime::Continuous {
            self.pulse(part);
        }
        self.after_ms(self.plan.gate_ms + self.plan.patience_ms, Ev::Gate(part));
    }

    /// The hardware trigger of the camera.
    pub(crate) fn pulse(&mut self, part: u32) {
        if self.plan.regime == Regime::Armed {
            self.parts[part as usize].triggered = self.now;
        }
        if let Some(at) = self.camera.faults.iter().position(|f| *f == Fault::PulseLost) {
            self.camera.faults.swap_remove(at);
            return self.say(|| format!("the pulse of part {part} is lost"));
        }
        self.expose(part);
    }

    /// The camera is told to take a picture: it shows whatever stands there.
    pub(crate) fn fire(&mut self) {
        if let Some(last) = self.parts.len().checked_sub(1) {
            self.pulse(last as u32);
        }
    }

    fn expose(&mut self, part: u32) {
        if self.camera.gone {
            return;
        }
        let seq = self.camera.seq;
        self.camera.seq += 1;
        let (id, named) = identity(part);
        let single = self.plan.regime != Regime::Continuous;
        let named = if single { part_id_of("CAM") } else { named };
        let mut look = Ok(if self.parts[part as usize].good { Look::Good } else { Look::Bad });
        let fault = self.camera.faults.pop();
        match fault {
            Some(Fault::FrameLost) => return self.say(|| format!("picture of {part} lost")),
            Some(Fault::FrameDamaged) => look = Err(Damage::Unreadable),
            Some(Fault::EngineWrong) => {
                look = Ok(self.rng.pick(&[
                    Look::Nan,
                    Look::Truncated,
                    Look::Hole,
                    Look::EngineError,
                    Look::Panic,
                ]));
            }
            Some(Fault::EngineHangs) => look = Ok(Look::Hang),
            _ => {}
        }
        if look == Ok(Look::Good) {
            self.parts[part as usize].proved = true;
        }
        let ready_us = match fault {
            // Where its exposure is known, enough of the part's time is left for an answer.
            Some(Fault::FrameSlow) if self.plan.stamps_exposure => {
                self.rng.between((3_000, self.plan.latency_ms * 500))
            }
            Some(Fault::FrameSlow) => self.rng.between((3_000, self.plan.latency_ms * 1_000 - 1)),
            _ => self.rng.between((200, 3_000)),
        };
        self.camera_at = self.camera_at.max(Nanos(self.now.0 + ready_us * 1_000));
        let arrived = if self.plan.stamps_exposure { self.now } else { self.camera_at };
        let trigger = Trigger { seq, id, part: named, recipe: None, arrived };
        let picture = Picture { trigger, shows: part, look };
        self.at(self.camera_at, Ev::Picture(Box::new(picture)));
        if fault == Some(Fault::FrameTwice) {
            self.at(self.camera_at, Ev::Picture(Box::new(picture)));
        }
    }

    /// The camera loses its power: it counts from the start again.
    pub(crate) fn camera_goes(&mut self) {
        self.camera.gone = true;
        self.camera.seq = 0;
        self.camera_state(false);
    }

    pub(crate) fn camera_returns(&mut self) {
        if std::mem::take(&mut self.camera.gone) {
            self.camera_state(true);
        }
    }

    /// The gate: the part goes where the PLC says, or to the rejects.
    pub(crate) fn gate(&mut self, part: u32) {
        let passed = self.plc_decides(part);
        self.parts[part as usize].passed = Some(passed);
        let Part { good, proved, triggered, taken, .. } = self.parts[part as usize];
        if passed {
            self.oracle.stats.passed += 1;
        } else {
            self.oracle.stats.rejected += 1;
        }
        self.say(|| format!("gate: part {part} {}", if passed { "passes" } else { "rejected" }));
        if passed && !(good && proved) {
            self.oracle.fail(|| format!("WRONG PASS: part {part} good={good} proved={proved}"));
        }
        if passed && taken > triggered.plus_ms(self.plan.gate_ms) {
            self.oracle.fail(|| format!("LATE PASS: part {part} passed by an answer out of time"));
        }
    }
}

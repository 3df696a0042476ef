//! From a picture to a decision: what the capture and the inspect stage do
//! (`src/pipeline/capture_stage.rs`, `inspect_stage.rs`), as thin as it can be.

use crrd::capture::{Continuity, Damage, Trigger};
use crrd::frame::{Nanos, RecipeId};
use crrd::judge::{Mask, Outcome, Reason, Verdict};
use crrd::message::{CLASS_NONE, VerdictRecord};
use crrd::pipeline::Decision;
use crrd::station::{Action, Captured, Event, Need, Ticket};

use super::line::{Look, Picture};
use super::plan::{Defect, Fault};
use super::process::{DECISIONS_MAX, Ending, Record};
use super::store::Store;
use super::world::{Ev, World};

/// A silent stage is noticed by the watchdog after this.
const WATCHDOG_MS: u64 = 3_000;
/// Panics in a row that end the process.
const PANICS_MAX: u32 = 3;

/// A part on its way to the engine.
pub(crate) struct Work {
    pub(crate) ticket: Ticket,
    /// What there is to look at, and the part it shows.
    pub(crate) input: Result<(Look, u32), Reason>,
}

impl<S: Store> World<S> {
    pub(crate) fn camera_state(&mut self, up: bool) {
        if let Some(process) = &mut self.process {
            process.numbers.restart();
        }
        let ending = self.process.as_ref().is_some_and(|p| p.ending != Ending::No);
        if !ending {
            let out = self.step(Event::Need(Need::Camera, up));
            self.keep_scratch(out);
        }
    }

    pub(crate) fn picture(&mut self, picture: &Picture) {
        let Some(process) = &mut self.process else { return };
        if process.ending != Ending::No || process.station.missing() == Some(Need::Camera) {
            return;
        }
        let trigger = picture.trigger;
        match process.numbers.observe(trigger.seq) {
            Continuity::Stale if self.plan.is(Defect::FramesTwice) => {}
            Continuity::Stale => return self.say(|| "a picture came twice".to_owned()),
            Continuity::Gap(missing) => {
                for seq in missing {
                    self.accept(&trigger.lost(seq), Err(Damage::Lost), picture.shows);
                }
            }
            Continuity::InOrder | Continuity::Jump => {}
        }
        self.accept(&trigger, picture.look, picture.shows);
    }

    fn accept(&mut self, trigger: &Trigger, look: Result<Look, Damage>, shows: u32) {
        let slots = self.plan.queue_frames + 2;
        let Some(process) = &mut self.process else { return };
        let used = process.work.iter().filter(|work| work.input.is_ok()).count();
        let look = if used >= slots { look.and(Err(Damage::NoBuffer)) } else { look };
        let captured = Captured {
            trigger: trigger.id,
            part: trigger.part,
            recipe: trigger.recipe,
            arrived: trigger.arrived,
            damage: look.err().map(|why| match why {
                Damage::Unreadable => Reason::FrameDamaged,
                Damage::NoBuffer => Reason::Overrun,
                Damage::Lost => Reason::FrameLost,
            }),
        };
        let out = self.step(Event::Captured(captured));
        let mut work = None;
        for action in &out {
            work = match *action {
                Action::Inspect(ticket) => Some((ticket, None)),
                Action::Skip(ticket, reason) => Some((ticket, Some(reason))),
                _ => continue,
            };
        }
        self.keep_scratch(out);
        let Some((ticket, skipped)) = work else {
            return self.oracle.fail(|| "a captured trigger became no part".to_owned());
        };
        self.say(|| format!("picture of {shows} is q {} {skipped:?}", ticket.seq));
        let input = match (skipped, look) {
            (None, Ok(look)) => Ok((look, shows)),
            (Some(reason), _) => Err(reason),
            (None, Err(_)) => Err(Reason::Internal),
        };
        if let Some(process) = &mut self.process {
            process.work.push_back(Work { ticket, input });
        }
        self.inspect_next();
    }

    // --- inspect ---

    pub(crate) fn inspect_next(&mut self) {
        loop {
            let slow = self.engine_slow_until > self.now;
            let Some(process) = &mut self.process else { return };
            let slots = process.decided.len() + process.batch.len();
            if process.inspecting.is_some() || slots >= DECISIONS_MAX {
                return;
            }
            let Some(work) = process.work.pop_front() else { return };
            match work.input {
                Err(reason) => self.decide(&work.ticket, Verdict::invalid(reason)),
                Ok(_) if self.now > work.ticket.deadline => {
                    self.decide(&work.ticket, Verdict::invalid(Reason::Deadline));
                }
                Ok((look, shows)) => {
                    process.inspecting = Some((work.ticket, look, shows));
                    let boot = process.boot;
                    let mut us = self.rng.between(self.plan.inspect_us);
                    if slow {
                        us += self.rng.below(2 * self.plan.latency_ms * 1_000);
                    }
                    if look == Look::Hang {
                        return self.after_ms(WATCHDOG_MS, Ev::Watchdog(boot));
                    }
                    return self.at(Nanos(self.now.0 + us * 1_000), Ev::Inspected(boot));
                }
            }
        }
    }

    pub(crate) fn inspected(&mut self) {
        let Some(process) = &mut self.process else { return };
        let Some((ticket, look, shows)) = process.inspecting.take() else { return };
        let in_time = self.now <= ticket.deadline;
        let verdict = match look {
            Look::EngineError => Verdict::invalid(Reason::Engine),
            Look::Panic => Verdict::invalid(Reason::Internal),
            look => self.examiner.judge(look, in_time, self.plan.defect),
        };
        process.panics = if look == Look::Panic { process.panics + 1 } else { 0 };
        let give_up = process.panics == PANICS_MAX;
        if verdict.outcome() == Outcome::Pass && look != Look::Good {
            self.oracle.fail(|| format!("WRONG PASS: {look:?} of part {shows} was passed"));
        }
        self.decide(&ticket, verdict);
        if give_up {
            return self.stop();
        }
        self.inspect_next();
        self.end_goes_on();
    }

    pub(crate) fn decide(&mut self, ticket: &Ticket, verdict: Verdict) {
        let Some(process) = &mut self.process else { return };
        let record = VerdictRecord {
            seq: ticket.seq,
            epoch: process.epoch,
            trigger: ticket.trigger,
            part: ticket.part,
            recipe: ticket.recipe.unwrap_or(RecipeId(0)),
            class: CLASS_NONE,
            calibration: Default::default(),
            verdict: if ticket.test { verdict.as_test() } else { verdict },
            latency: self.now.since(ticket.arrived),
            flags: 0,
        };
        let (arrived, deadline) = (ticket.arrived, ticket.deadline);
        let (mask, views, picture) = (Mask::default(), Default::default(), (0, 0));
        let (frames, geometry) = (Default::default(), crrd::frame::Geometry::WHOLE);
        let decision =
            Decision { record, mask, picture, frames, geometry, views, arrived, deadline };
        process.decided.push_back(Box::new(decision));
        if matches!(process.record, Record::Idle) {
            self.record_soon();
        }
    }

    /// The fault of an engine: the next picture, or the ones for a while.
    pub(crate) fn engine_fault(&mut self, fault: Fault) {
        if fault == Fault::EngineSlow {
            self.engine_slow_until = self.now.plus_ms(self.rng.between((50, 800)));
        } else {
            self.camera.faults.push(fault);
        }
    }
}

//! The station's process: the real state machine, and around it what the record stage does and
//! how it ends (`src/pipeline/record_stage.rs`, `shutdown.rs`), as thin as it can be.

use std::collections::VecDeque;

use crrd::capture::FrameNumbers;
use crrd::frame::{Nanos, RecipeId};
use crrd::journal::{Entry, RowKind};
use crrd::judge::{Mask, Outcome, Reason, Verdict};
use crrd::message::{
    CLASS_NONE, FLAG_LATE, Mode, StateRecord, VerdictRecord, encode_event, encode_state,
};
use crrd::pipeline::{Decision, Taken};
use crrd::station::{Action, Event, Need, Settings, Station, Step, Ticket};

use super::inspect::Work;
use super::line::Look;
use super::plan::{Defect, Regime};
use super::publisher::Publisher;
use super::store::{Store, event};
use super::world::{Ev, World};

/// Longest wait of the record stage, as in the pipeline.
const TICK_MS: u64 = 100;
/// Decisions on their way to the journal at most.
pub(crate) const DECISIONS_MAX: usize = 64;
/// Pauses of a failed commit: first and longest.
const RETRY_MS: (u64, u64) = (100, 2_000);
/// Commits tried once the station ends.
const LAST_TRIES: u32 = 5;

/// What the record stage is doing.
pub(crate) enum Record {
    /// Waiting for decisions or the next deadline.
    Idle,
    Writing(Vec<Entry>),
    Pausing,
    /// The journal is closed; what still comes is the publisher's.
    Done,
}

/// Ending in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    No,
    /// The camera is stopped, the inspection works off its queue.
    Draining,
    /// The last answers are being written.
    Last,
    /// The publisher delivers what it can.
    Flushing,
    /// The publisher says goodbye.
    Leaving,
}

#[expect(clippy::vec_box, reason = "decisions travel in boxes, as in the pipeline")]
pub(crate) struct Process {
    /// Which start this is; events of an earlier one are stale.
    pub(crate) boot: u32,
    pub(crate) epoch: u32,
    pub(crate) station: Station,
    pub(crate) scratch: Step,
    pub(crate) numbers: FrameNumbers,
    pub(crate) work: VecDeque<Work>,
    pub(crate) inspecting: Option<(Ticket, Look, u32)>,
    pub(crate) decided: VecDeque<Box<Decision>>,
    pub(crate) batch: Vec<Box<Decision>>,
    pub(crate) record: Record,
    pub(crate) missed: u64,
    pub(crate) notices: VecDeque<Vec<u8>>,
    pub(crate) panics: u32,
    /// Failed commits since the end was ordered.
    pub(crate) last_tries: u32,
    pub(crate) publisher: Publisher,
    /// Commands that wait for their turn.
    pub(crate) inbound: VecDeque<Vec<u8>>,
    /// Answers that found no room on their way to the publisher.
    pub(crate) unanswered: u64,
    /// Ranges that were handed over.
    pub(crate) replays_taken: Taken,
    pub(crate) ending: Ending,
}

impl Process {
    /// What was being committed.
    pub(crate) fn caught(&self) -> Option<&[Entry]> {
        match &self.record {
            Record::Writing(entries) => Some(entries),
            _ => None,
        }
    }

    pub(crate) fn is_at_rest(&self) -> bool {
        matches!(self.record, Record::Idle)
            && !self.station.is_busy()
            && self.inspecting.is_none()
            && self.work.is_empty()
            && self.decided.is_empty()
            && self.notices.is_empty()
            && self.inbound.is_empty()
            && self.publisher.is_at_rest()
            && self.ending == Ending::No
    }

    pub(crate) fn state(&self) -> Vec<u8> {
        let missing = self.station.missing();
        let record = StateRecord {
            ready: self.station.is_ready(),
            busy: self.station.is_busy(),
            name: self.station.name(),
            mode: self.station.mode(),
            recipe: self.station.recipe(),
            missed: self.station.missed(),
            epoch: self.epoch,
            seq: self.station.seq(),
            error: missing.map_or(0, |need| need as u8),
            calibration: Default::default(),
            engine_sha256: "c0ffee",
            text: missing.map_or("", Need::missing),
        };
        encode_state(&record).into_bytes()
    }
}

impl<S: Store> World<S> {
    /// The process starts: journal, station, publisher.
    pub(crate) fn start(&mut self) {
        let found = self.store.open();
        let rows = self.store.after(0, usize::MAX);
        self.oracle.found(&rows, &self.caught, std::mem::take(&mut self.tail_may_go));
        self.caught.clear();
        self.oracle.started(self.boot + 1);
        if self.epochs.last().is_some_and(|last| *last >= found.epoch) {
            self.oracle.fail(|| format!("boot epoch {} came twice", found.epoch));
        }
        self.epochs.push(found.epoch);
        self.boot += 1;
        let mode = match self.plan.regime {
            Regime::Continuous => Mode::Continuous,
            Regime::Armed | Regime::Software => Mode::Single,
        };
        let settings = Settings {
            latency_ms_max: self.plan.latency_ms,
            arm_wait_ms_max: self.plan.arm_wait_ms,
            mode,
            recipe: Some(RecipeId(1)),
            recipes: vec![RecipeId(1), RecipeId(2)],
            software_trigger: self.plan.regime == Regime::Software,
        };
        let mut station = Station::new(found.epoch, settings);
        for need in [Need::Engine, Need::Calibration, Need::Journal] {
            station.step(self.now, Event::Need(need, true), &mut Step::new());
        }
        let mut process = Process {
            boot: self.boot,
            epoch: found.epoch,
            station,
            scratch: Step::new(),
            numbers: FrameNumbers::default(),
            work: VecDeque::new(),
            inspecting: None,
            decided: VecDeque::new(),
            batch: vec![],
            record: Record::Idle,
            missed: 0,
            notices: VecDeque::new(),
            panics: 0,
            last_tries: 0,
            publisher: Publisher::new(&self.plan, found.cursor, self.now),
            inbound: VecDeque::new(),
            unanswered: 0,
            replays_taken: Taken::default(),
            ending: Ending::No,
        };
        let state = process.state();
        self.oracle.state_told(&state);
        process.publisher.state = Some(state);
        self.process = Some(process);
        let boot = self.boot;
        self.say(|| format!("station starts, epoch {}", found.epoch));
        self.publisher_starts();
        self.record_waits();
        if !self.camera.gone {
            self.after_ms(1, Ev::CameraUp(boot));
        }
    }

    pub(crate) fn is_boot(&self, boot: u32) -> bool {
        self.process.as_ref().is_some_and(|process| process.boot == boot)
    }

    /// One step of the station, watched.
    pub(crate) fn step(&mut self, event: Event) -> Step {
        let Some(process) = &mut self.process else { return Step::new() };
        let mut out = std::mem::take(&mut process.scratch);
        out.clear();
        process.station.step(self.now, event, &mut out);
        process.station.check_invariants();
        self.oracle.stepped(&event, &out);
        if out.contains(&Action::TellState) {
            let state = process.state();
            self.oracle.state_told(&state);
            process.publisher.state = Some(state);
            self.wake_publisher();
        }
        out
    }

    pub(crate) fn keep_scratch(&mut self, out: Step) {
        if let Some(process) = &mut self.process {
            process.scratch = out;
        }
    }

    /// The thread wakes a little later than it could.
    pub(crate) fn record_soon(&mut self) {
        let Some(process) = &self.process else { return };
        let boot = process.boot;
        let us = self.rng.between((5, 300));
        self.at(Nanos(self.now.0 + us * 1_000), Ev::Record(boot));
    }

    fn record_waits(&mut self) {
        let Some(process) = &mut self.process else { return };
        process.record = Record::Idle;
        let wait = process.station.wait_max(self.now).min(Nanos(0).plus_ms(TICK_MS));
        let boot = process.boot;
        self.record_alarm = Nanos(self.now.0 + wait.0);
        self.at(self.record_alarm, Ev::RecordAlarm(boot));
    }

    pub(crate) fn record_alarm(&mut self) {
        let idle = self.process.as_ref().is_some_and(|p| matches!(p.record, Record::Idle));
        if idle && self.now >= self.record_alarm {
            self.record();
        }
    }

    /// One round of the record stage.
    pub(crate) fn record(&mut self) {
        let last = match &self.process {
            Some(p) if matches!(p.record, Record::Idle) => p.ending == Ending::Last,
            _ => return,
        };
        if last {
            let out = self.step(Event::Closing);
            self.keep_scratch(out);
        }
        self.collect();
        self.answer_due();
        let Some(process) = &mut self.process else { return };
        if process.batch.is_empty() && process.notices.is_empty() && process.missed == 0 {
            let newest = self.store.newest();
            self.store.settle();
            self.take_notices(newest + 1);
            return if last { self.journal_closes() } else { self.record_waits() };
        }
        self.write();
    }

    fn collect(&mut self) {
        loop {
            let Some(process) = &mut self.process else { return };
            if process.batch.len() >= DECISIONS_MAX {
                return;
            }
            let Some(mut decision) = process.decided.pop_front() else { break };
            let dropped = self.plan.is(Defect::DecisionDropped) && process.batch.len() == 2;
            let out = self.step(Event::Finished(decision.record.seq));
            let late = out.iter().any(|action| matches!(action, Action::Late(_)));
            self.keep_scratch(out);
            if late && !self.plan.is(Defect::LateResultPasses) {
                decision.mark_late();
            }
            if let Some(process) = self.process.as_mut().filter(|_| !dropped) {
                process.batch.push(decision);
            }
        }
        self.inspect_next();
    }

    fn answer_due(&mut self) {
        let out = self.step(Event::Tick);
        // One commit may be under way when an answer becomes due.
        let slack_ms = self.plan.commit_us.1 / 1_000 + 1;
        let Some(process) = &mut self.process else { return };
        for action in &out {
            match action {
                Action::Answer(ticket, reason) => {
                    let late = self.now > ticket.deadline.plus_ms(slack_ms);
                    if late && self.plan.disk_is_sound() {
                        self.oracle.fail(|| format!("q {} was answered too late", ticket.seq));
                    }
                    let mut decision = Box::new(blank(process.epoch));
                    decision.unanswered(ticket, *reason, self.now);
                    process.batch.push(decision);
                }
                Action::TellMissed { count } => process.missed += count,
                _ => {}
            }
        }
        self.keep_scratch(out);
    }

    /// Begins a commit.
    fn write(&mut self) {
        let expires = !self.plan.is(Defect::NothingExpires);
        let us = self.rng.between(self.plan.commit_us);
        let slow_ms = if self.now < self.disk_slow_until { self.rng.between((5, 900)) } else { 0 };
        let Some(process) = &mut self.process else { return };
        let mut entries = vec![];
        for decision in &mut process.batch {
            if expires {
                decision.expire(self.now);
            }
            let record = &decision.record;
            if record.verdict.outcome() == Outcome::Pass && self.now > decision.deadline {
                self.oracle.fail(|| format!("late PASS of q {}", record.seq));
            }
            entries.push(entry(record, self.wall_s));
        }
        if process.missed > 0 {
            self.told += 1;
            let (count, text) = (process.missed, format!("missed {}", self.told));
            let kind = "missed_trigger";
            let epoch = process.epoch;
            let told = crrd::message::Event { epoch, kind, range: None, count, text: &text };
            entries.push(event(epoch, encode_event(&told).into_bytes()));
        }
        entries.extend(process.notices.iter().map(|text| event(process.epoch, text.clone())));
        let boot = process.boot;
        if self.plan.is(Defect::AnnouncedBeforeCommit) {
            let id = self.store.newest() + 1;
            for (id, entry) in (id..).zip(&entries) {
                process.publisher.announce(id, entry, None);
            }
            self.wake_publisher();
        }
        if let Some(process) = &mut self.process {
            process.record = Record::Writing(entries);
        }
        self.at(Nanos(self.now.0 + us * 1_000).plus_ms(slow_ms), Ev::Written(boot));
    }

    /// A commit ended, well or not.
    pub(crate) fn written(&mut self) {
        let fails = self.now < self.disk_full_until;
        let Some(process) = &mut self.process else { return };
        let Record::Writing(entries) = std::mem::replace(&mut process.record, Record::Idle) else {
            return;
        };
        if fails {
            let pause_ms = self.retry_ms.max(RETRY_MS.0);
            self.retry_ms = (pause_ms * 2).min(RETRY_MS.1);
            process.record = Record::Pausing;
            process.last_tries += u32::from(process.ending == Ending::Last);
            if process.last_tries == LAST_TRIES {
                self.say(|| "station ends without its last commit".to_owned());
                self.dies();
                self.caught.clear();
                return self.starts_again();
            }
            let boot = process.boot;
            let out = self.step(Event::Need(Need::Journal, false));
            self.keep_scratch(out);
            self.say(|| "commit failed".to_owned());
            return self.after_ms(pause_ms, Ev::Retry(boot));
        }
        self.retry_ms = 0;
        process.missed = 0;
        process.notices.clear();
        let ids = self.store.append(&entries);
        self.oracle.committed(&entries);
        self.say(|| format!("committed rows {ids:?}"));
        self.take_notices(ids.end);
        let out = self.step(Event::Need(Need::Journal, true));
        self.keep_scratch(out);
        let unannounced = std::mem::take(&mut self.unannounced);
        let Some(process) = &mut self.process else { return };
        if unannounced == 0 && !self.plan.is(Defect::AnnouncedBeforeCommit) {
            for (at, entry) in entries.iter().enumerate() {
                let decision = process.batch.get(at);
                let live = decision.is_none_or(|decision| decision.is_live(self.now));
                if live || self.plan.is(Defect::LatePassAnnounced) {
                    let until = decision.and_then(|decision| decision.counts_until());
                    process.publisher.announce(ids.start + at as u64, entry, until);
                    self.oracle.announced(decision.map(Box::as_ref), self.now);
                }
            }
        }
        for decision in std::mem::take(&mut process.batch) {
            if decision.record.flags & FLAG_LATE == 0 {
                let outcome = decision.record.verdict.outcome();
                let out = self.step(Event::Recorded(outcome));
                self.keep_scratch(out);
            }
        }
        self.wake_publisher();
        self.inspect_next();
        self.record();
        self.end_goes_on();
    }

    pub(crate) fn retry(&mut self) {
        if self.process.as_ref().is_some_and(|p| matches!(p.record, Record::Pausing)) {
            self.write();
        }
    }

    /// Rows that the journal wrote on its own account.
    fn take_notices(&mut self, from: u64) {
        if self.store.newest() >= from {
            for row in self.store.after(from - 1, usize::MAX) {
                self.oracle.committed(&[event(row.epoch, row.payload)]);
            }
        }
    }

    // --- the end in order ---

    /// The staged end: camera, inspection, journal, publisher.
    pub(crate) fn stop(&mut self) {
        match &mut self.process {
            Some(process) if process.ending == Ending::No => process.ending = Ending::Draining,
            _ => return,
        }
        self.say(|| "station is told to stop".to_owned());
        for event in [Event::Ending, Event::Need(Need::Camera, false)] {
            let out = self.step(event);
            self.keep_scratch(out);
        }
        self.end_goes_on();
    }

    pub(crate) fn end_goes_on(&mut self) {
        let Some(process) = &mut self.process else { return };
        let drained = process.work.is_empty() && process.inspecting.is_none();
        if process.ending == Ending::Draining && drained {
            process.ending = Ending::Last;
            self.record_soon();
        }
    }

    fn journal_closes(&mut self) {
        let Some(process) = &mut self.process else { return };
        process.record = Record::Done;
        process.ending = Ending::Flushing;
        self.oracle.answered_all();
        self.flush();
    }

    /// The process is gone, whatever it was doing.
    pub(crate) fn dies(&mut self) {
        let Some(process) = self.process.take() else { return };
        self.caught = match process.record {
            Record::Writing(entries) => entries,
            _ => vec![],
        };
        if let Some(conn) = process.publisher.conn() {
            self.hang_up(conn, false);
        }
    }
}

fn blank(epoch: u32) -> Decision {
    let record = VerdictRecord {
        seq: 0,
        epoch,
        trigger: Default::default(),
        part: crrd::capture::part_id_of(""),
        recipe: RecipeId(0),
        class: CLASS_NONE,
        calibration: Default::default(),
        verdict: Verdict::invalid(Reason::Internal),
        latency: Nanos(0),
        flags: 0,
    };
    let (arrived, deadline) = (Nanos(0), Nanos(0));
    let (mask, views, picture) = (Mask::default(), Default::default(), (0, 0));
    let (frames, geometry) = (Default::default(), crrd::frame::Geometry::WHOLE);
    Decision { record, mask, picture, frames, geometry, views, arrived, deadline }
}

/// The row of a decision; a mask now and then, so that its lane is busy.
fn entry(record: &VerdictRecord, at_unix_s: u64) -> Entry {
    let mut payload = String::with_capacity(200);
    crrd::message::encode_verdict(record, &mut payload);
    let late = record.flags & FLAG_LATE != 0;
    let wanted = record.verdict.outcome() != Outcome::Pass && !late && record.seq.is_multiple_of(3);
    Entry {
        epoch: record.epoch,
        seq: record.seq,
        kind: if late { RowKind::LateResult } else { RowKind::Verdict },
        at_unix_s,
        payload: payload.into_bytes(),
        detail: vec![],
        mask: wanted.then(|| b"mask".to_vec()),
    }
}

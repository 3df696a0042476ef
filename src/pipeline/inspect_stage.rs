//! Stage 2: from a picture to a decision. Allocates nothing per frame once it is warm, besides
//! what the inference library does.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::board::Board;
use super::limits::{Armed, InForce, Recipes};
use super::progress::{Progress, Stage};
use super::stage::{Outcome, Signals, TICK, panic_message};
use super::work::{Decision, Input, Work};
use crate::engine::{Engine, EngineErrorKind};
use crate::frame::{AnomalyMap, Frame, Geometry, Nanos, RecipeId};
use crate::image::Preprocessor;
use crate::judge::{Judge, Mask, Question, Reason, Verdict};
use crate::message::{CLASS_NONE, VerdictRecord};
use crate::station::Ticket;
use crate::sys::clock::Clock;

/// Frames in a row that may end in a panic before the station gives up: a defect that hits every
/// frame is only mended by a restart.
const PANICS_IN_A_ROW_MAX: u32 = 3;

pub(super) struct InspectStage {
    pub(super) work: Receiver<Work>,
    pub(super) empty: Receiver<Box<Decision>>,
    pub(super) decided: Sender<Box<Decision>>,
    pub(super) examiner: Examiner,
    pub(super) in_force: InForce,
    pub(super) recipes: Recipes,
    pub(super) board: Arc<Board>,
    pub(super) progress: Progress,
    pub(super) signals: Arc<Signals>,
    pub(super) clock: Arc<dyn Clock>,
}

impl InspectStage {
    /// Runs until the work ends.
    pub(super) fn run(mut self) -> Outcome {
        let mut panics = 0;
        loop {
            self.progress.beat(Stage::Inspect);
            let work = match self.work.recv_timeout(TICK) {
                Ok(work) => work,
                Err(RecvTimeoutError::Timeout) if self.signals.drain_inspect() => {
                    return Outcome::Done;
                }
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return Outcome::Done,
            };
            // The journal stage has ended: it says why itself, and this is only a consequence.
            let Some(mut slot) = self.slot() else { return Outcome::Done };
            let panicked = self.decide(&work.ticket, work.input, &mut slot);
            if self.decided.send(slot).is_err() {
                return Outcome::Done;
            }
            panics = if panicked { panics + 1 } else { 0 };
            if panics == PANICS_IN_A_ROW_MAX {
                return Outcome::Failed(format!("{panics} frames in a row ended in a panic"));
            }
        }
    }

    /// An empty slot; waits while the journal has them all.
    fn slot(&self) -> Option<Box<Decision>> {
        loop {
            match self.empty.recv_timeout(TICK) {
                Ok(slot) => return Some(slot),
                Err(RecvTimeoutError::Timeout) => self.progress.beat(Stage::Inspect),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// Fills `slot`; true when a panic was caught on the way.
    fn decide(&mut self, ticket: &Ticket, input: Input, slot: &mut Decision) -> bool {
        let deadline = ticket.deadline;
        let armed = self.in_force.get();
        let class = ticket.recipe.and_then(|recipe| self.recipes.class(recipe));
        slot.mask.reset(0, 0);
        slot.picture = (0, 0);
        slot.frame = match &input {
            Input::Frame(frame) => Some(frame.meta.key()),
            Input::Missing(_) => None,
        };
        slot.geometry = Geometry::WHOLE;
        let mut panicked = false;
        let verdict = match (input, class) {
            (Input::Missing(reason), _) => Verdict::invalid(reason),
            (Input::Frame(_), None) => Verdict::invalid(Reason::RecipeUnknown),
            (Input::Frame(frame), Some((_, class))) => {
                let task = Task { armed: &armed, class, deadline, clock: &*self.clock };
                let examiner = &mut self.examiner;
                // What a panic leaves behind in the examiner is overwritten by the next frame.
                catch_unwind(AssertUnwindSafe(|| examiner.examine(frame, &task, slot)))
                    .unwrap_or_else(|panic| {
                        panicked = true;
                        tracing::error!(trigger = ticket.trigger.0, part = %ticket.part,
                            panic = panic_message(panic.as_ref()), "inspection of a frame failed");
                        slot.mask.reset(0, 0);
                        Verdict::invalid(Reason::Internal)
                    })
            }
        };
        slot.arrived = ticket.arrived;
        slot.deadline = deadline;
        slot.record = VerdictRecord {
            seq: ticket.seq,
            epoch: self.board.epoch(),
            trigger: ticket.trigger,
            part: ticket.part,
            recipe: ticket.recipe.unwrap_or(RecipeId(0)),
            class: class.map_or(CLASS_NONE, |(number, _)| number),
            calibration: armed.id,
            verdict: if ticket.test { verdict.as_test() } else { verdict },
            latency: self.clock.now().since(ticket.arrived),
            flags: 0,
        };
        panicked
    }
}

/// What a frame is held against.
struct Task<'a> {
    armed: &'a Armed,
    class: &'a str,
    deadline: Nanos,
    clock: &'a dyn Clock,
}

/// Preprocessing, inference and judgement with all their memory.
pub(super) struct Examiner {
    engine: Box<dyn Engine>,
    preprocessor: Preprocessor,
    judge: Judge,
    input: Vec<u8>,
    map: AnomalyMap,
    failures: u64,
}

impl Examiner {
    pub(super) fn new(engine: Box<dyn Engine>) -> Self {
        let spec = engine.spec();
        let preprocessor = Preprocessor::new(spec.input_width, spec.input_height);
        Self {
            judge: Judge::new(spec.map_width, spec.map_height),
            input: vec![0; preprocessor.output_bytes()],
            map: AnomalyMap::unwritten(spec.map_width, spec.map_height),
            preprocessor,
            engine,
            failures: 0,
        }
    }

    /// A mask that holds whatever this engine's maps need.
    pub(super) fn blank_mask(&self) -> Mask {
        let spec = self.engine.spec();
        Mask::empty(spec.map_width, spec.map_height)
    }

    /// Judges one frame. Its buffer is free again as soon as the engine's input is made; where the
    /// frame is the input already, when the engine has answered.
    fn examine(&mut self, frame: Frame, task: &Task<'_>, slot: &mut Decision) -> Verdict {
        if task.clock.now() > task.deadline {
            // Too late already: the time is better spent on the parts behind it.
            return Verdict::invalid(Reason::Deadline);
        }
        let limit = task.armed.limit(task.class);
        // The limit holds for parts seen as its good parts were. Without one nothing can pass.
        let geometry = limit.map_or(Geometry::WHOLE, |limit| limit.geometry);
        slot.geometry = geometry;
        let Some(held) = self.prepare(frame, &geometry, slot) else {
            return Verdict::invalid(Reason::FrameDamaged);
        };
        let input = match &held {
            Held::Nothing => self.input.as_slice(),
            Held::Frame(frame) => own_bytes(&self.preprocessor, frame, &geometry),
        };
        if let Err(error) = self.engine.infer(input, &mut self.map) {
            self.complain("inference failed", &error);
            let input = error.kind() == EngineErrorKind::Input;
            return Verdict::invalid(if input { Reason::Internal } else { Reason::Engine });
        }
        let question = Question {
            map: &self.map,
            limit,
            // `Armed` exists only for a calibration that fits the engine.
            calibration_valid: true,
            in_time: task.clock.now() <= task.deadline,
        };
        self.judge.judge(&question, &mut slot.mask)
    }

    /// Makes the engine's input, unless the frame is that already; `None` when it cannot be used.
    fn prepare(&mut self, frame: Frame, geometry: &Geometry, slot: &mut Decision) -> Option<Held> {
        let view = match frame.view() {
            Ok(view) => view,
            Err(error) => {
                self.complain("frame does not fit its buffer", &error);
                return None;
            }
        };
        slot.picture = (view.width(), view.height());
        if self.preprocessor.as_is(&view, geometry).is_some() {
            return Some(Held::Frame(frame));
        }
        let prepared = self.preprocessor.run_in(geometry, view, &mut self.input);
        prepared.map_err(|error| self.complain("frame cannot be resized", &error)).ok()?;
        Some(Held::Nothing)
    }

    fn complain(&mut self, what: &str, error: &(dyn std::error::Error + 'static)) {
        complain(&mut self.failures, what, error);
    }
}

/// The bytes of a frame that is the engine's input as it is; none of another one, which no engine
/// takes.
fn own_bytes<'a>(preprocessor: &Preprocessor, frame: &'a Frame, geometry: &Geometry) -> &'a [u8] {
    let view = frame.view().ok();
    view.and_then(|view| preprocessor.as_is(&view, geometry)).unwrap_or_default()
}

/// What must stay until the engine has answered.
enum Held {
    /// Nothing: the input was made.
    Nothing,
    /// The frame, whose own bytes are the input.
    Frame(Frame),
}

/// Logs the 1st, 2nd, 4th, 8th... failure: a broken camera must not flood the log.
fn complain(failures: &mut u64, what: &str, error: &(dyn std::error::Error + 'static)) {
    *failures += 1;
    if failures.is_power_of_two() {
        tracing::error!(error, times = *failures, "{what}");
    }
}

//! Stage 2: from a picture to a decision. Allocates nothing per frame once it is warm, besides
//! what the inference library does.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::board::Board;
use super::gate::Lack;
use super::limits::{Armed, InForce, Recipes};
use super::newest::Newest;
use super::progress::{Progress, Stage};
use super::stage::{Outcome, Signals, TICK, panic_message};
use super::work::{Decision, Input, Views, Work};
use crate::calibrate::ClassLimit;
use crate::engine::{Condition, Engine, EngineError, EngineErrorKind, Eye, Held};
use crate::frame::{Frame, Framing, Geometry, Nanos, RecipeId, Tiling, VIEWS_MAX};
use crate::judge::{Judge, Mask, Question, Reason, Verdict, combine};
use crate::message::{CLASS_NONE, VerdictRecord, ViewResult, view_flags};
use crate::station::Ticket;
use crate::sys::clock::Clock;

/// Frames in a row that may end in a panic before the station gives up: a defect that hits every
/// frame is only mended by a restart.
const PANICS_IN_A_ROW_MAX: u32 = 3;

pub(super) struct InspectStage {
    pub(super) work: Receiver<Work>,
    /// Where pictures lie of which only the newest counts.
    pub(super) newest: Newest,
    pub(super) empty: Receiver<Box<Decision>>,
    pub(super) decided: Sender<Box<Decision>>,
    pub(super) examiner: Examiner,
    pub(super) in_force: InForce,
    pub(super) recipes: Recipes,
    /// Views of a part.
    pub(super) cameras: usize,
    pub(super) board: Arc<Board>,
    pub(super) progress: Progress,
    pub(super) signals: Arc<Signals>,
    pub(super) clock: Arc<dyn Clock>,
    /// As it was told last.
    pub(super) condition: Condition,
}

impl InspectStage {
    /// Runs until the work ends.
    pub(super) fn run(mut self) -> Outcome {
        let mut panics = 0;
        loop {
            self.progress.beat(Stage::Inspect);
            if self.attend() == Condition::Lost {
                // What it has on a device may be broken, and freeing it a crash, before the last answers
                // are on disk. The process ends.
                std::mem::forget(self.examiner);
                return Outcome::Failed("no engine serves any more, see the log".to_owned());
            }
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
            let panicked = self.decide(work, &mut slot);
            if self.decided.send(slot).is_err() {
                return Outcome::Done;
            }
            panics = if panicked { panics + 1 } else { 0 };
            if panics == PANICS_IN_A_ROW_MAX {
                return Outcome::Failed(format!("{panics} frames in a row ended in a panic"));
            }
        }
    }

    /// Lets the engine change, and tells the station what happened to it and how it is.
    fn attend(&mut self) -> Condition {
        let now = self.examiner.eye.attend();
        while let Some(what) = self.examiner.eye.happened() {
            self.board.engine_happened(what);
        }
        if now != self.condition {
            self.condition = now;
            self.board.engine_changed(self.clock.now(), now);
        }
        now
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
    fn decide(&mut self, work: Work, slot: &mut Decision) -> bool {
        let Work { ticket, input, frames } = work;
        let ticket = &ticket;
        let armed = self.in_force.get();
        slot.blank(ticket);
        slot.frames = frames;
        let found = match self.views(ticket, input) {
            Err(lack) => Found::missing(lack),
            Ok(views) => self.look(ticket, views, &armed, slot),
        };
        let class =
            ticket.recipe.and_then(|recipe| self.recipes.class(recipe, found.view.unwrap_or(0)));
        let verdict = found.verdict;
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
            flags: if self.cameras > 1 { found.flags() } else { 0 },
        };
        found.panicked
    }

    /// The pictures of the part, or why there is nothing to look at.
    fn views(&self, ticket: &Ticket, input: Input) -> Result<Views, Lack> {
        match input {
            Input::Views(views) => Ok(views),
            Input::Missing(lack) => Err(lack),
            // A newer picture took its place: its part was not looked at.
            Input::Newest => {
                let gone = Lack { reason: Reason::Overrun, view: None };
                self.newest.take(ticket.seq).ok_or(gone)
            }
        }
    }

    /// Looks at every view; the worst decides. Its mask and picture are left in `slot`.
    fn look(
        &mut self,
        ticket: &Ticket,
        mut views: Views,
        armed: &Armed,
        slot: &mut Decision,
    ) -> Found {
        let mut verdicts = [None; VIEWS_MAX];
        let mut panicked = false;
        for view in 0..self.cameras {
            let class = ticket.recipe.and_then(|recipe| self.recipes.class(recipe, view));
            let Some((number, class)) = class else {
                return Found::missing(Lack { reason: Reason::RecipeUnknown, view: None });
            };
            let (deadline, progress) = (ticket.deadline, &self.progress);
            let task = Task { armed, class, deadline, clock: &*self.clock, progress };
            let frame = &mut views[view];
            let examiner = &mut self.examiner;
            // With several cameras all buffers are free again at once, so that sources which wait
            // for one go on together.
            examiner.keeps_frames = self.cameras > 1;
            // What a panic leaves behind in the examiner is overwritten by the next frame.
            let verdict = catch_unwind(AssertUnwindSafe(|| examiner.examine(frame, &task)))
                .unwrap_or_else(|panic| {
                    panicked = true;
                    tracing::error!(trigger = ticket.trigger.0, part = %ticket.part, view,
                        panic = panic_message(panic.as_ref()), "inspection of a frame failed");
                    self.examiner.nothing();
                    Verdict::invalid(Reason::Internal)
                });
            verdicts[view] = Some(verdict);
            if self.cameras > 1 {
                slot.views[view] = Some(result(&verdict, number));
            }
            if combine(&verdicts[..=view]).0 == view {
                self.examiner.show(slot);
            }
        }
        let (view, verdict) = combine(&verdicts[..self.cameras]);
        Found { view: Some(view), verdict, panicked }
    }
}

fn result(verdict: &Verdict, class: u16) -> ViewResult {
    let Verdict { reason, score, limit, .. } = *verdict;
    ViewResult { outcome: verdict.outcome(), reason, class, score, limit }
}

/// What became of a part.
struct Found {
    /// The view that decided, where one did.
    view: Option<usize>,
    verdict: Verdict,
    panicked: bool,
}

impl Found {
    fn missing(Lack { reason, view }: Lack) -> Self {
        Self { view, verdict: Verdict::invalid(reason), panicked: false }
    }

    fn flags(&self) -> u16 {
        self.view.map_or(0, view_flags)
    }
}

/// What a frame is held against.
struct Task<'a> {
    armed: &'a Armed,
    class: &'a str,
    deadline: Nanos,
    clock: &'a dyn Clock,
    progress: &'a Progress,
}

impl Task<'_> {
    /// Asked before each view and each of its tiles, which is progress: a part of many may take
    /// longer than the watchdog's patience.
    fn in_time(&self) -> bool {
        self.progress.beat(Stage::Inspect);
        self.clock.now() <= self.deadline
    }
}

/// Preprocessing, inference and judgement with all their memory.
pub(super) struct Examiner {
    eye: Eye,
    judge: Judge,
    /// Of the frame examined last.
    mask: Mask,
    /// Size of the picture examined last.
    picture: (usize, usize),
    /// What of it the model saw.
    geometry: Geometry,
    /// Whether frames are left to the caller when the engine's input is made.
    keeps_frames: bool,
    failures: u64,
}

impl Examiner {
    /// With the memory for pictures in these tiles.
    pub(super) fn new(engine: Box<dyn Engine>, tilings: impl Iterator<Item = Tiling>) -> Self {
        let mut eye = Eye::new(engine);
        let (mut judge, mut largest) = (Judge::new(0, 0), (0, 0));
        // Without a limit a picture is seen at once.
        for tiling in tilings.chain([Tiling::WHOLE]) {
            let (width, height) = eye.grid(&tiling).size();
            eye.reserve(&tiling);
            judge.set_size((width, height));
            if width * height > largest.0 * largest.1 {
                largest = (width, height);
            }
        }
        Self {
            eye,
            judge,
            mask: Mask::empty(largest.0, largest.1),
            picture: (0, 0),
            geometry: Geometry::WHOLE,
            keeps_frames: false,
            failures: 0,
        }
    }

    /// A mask that holds whatever the maps of these tiles need.
    pub(super) fn blank_mask(&self) -> Mask {
        self.mask.clone()
    }

    /// Judges one frame. Its buffer is free again as soon as the engine's input is made; where the
    /// frame is the input already, or the engine reads it where it lies, when the engine has answered.
    fn examine(&mut self, frame: &mut Option<Frame>, task: &Task<'_>) -> Verdict {
        self.nothing();
        if !task.in_time() {
            // Too late already: the time is better spent on the parts behind it.
            return Verdict::invalid(Reason::Deadline);
        }
        let limit = task.armed.limit(task.class);
        // The limit holds for parts seen as its good parts were. Without one nothing can pass.
        let framing = limit.map_or(Framing::WHOLE, ClassLimit::framing);
        self.geometry = framing.geometry;
        if frame.is_none() {
            return Verdict::invalid(Reason::FrameLost);
        }
        let Some(answered) = self.look(frame, &framing, || task.in_time()) else {
            return Verdict::invalid(Reason::FrameDamaged);
        };
        match answered {
            Ok(true) => {}
            // The rest of its tiles would come too late.
            Ok(false) => return Verdict::invalid(Reason::Deadline),
            Err(error) => {
                self.complain("inference failed", &error);
                let input = error.kind() == EngineErrorKind::Input;
                return Verdict::invalid(if input { Reason::Internal } else { Reason::Engine });
            }
        }
        let question = Question {
            map: self.eye.map(),
            limit,
            // `Armed` exists only for a calibration that fits the engine.
            calibration_valid: true,
            in_time: task.in_time(),
        };
        self.judge.set_size(self.eye.map_size());
        self.judge.judge(&question, &mut self.mask)
    }

    /// Has the engine read the frame where it lies, or prepares its picture and looks at that; false
    /// when there was no time for all of its tiles, `None` when the frame cannot be used.
    fn look(
        &mut self,
        frame: &mut Option<Frame>,
        framing: &Framing,
        in_time: impl FnMut() -> bool,
    ) -> Option<Result<bool, EngineError>> {
        let taken = frame.as_ref()?;
        if self.eye.reads(framing, taken) {
            self.picture = (taken.meta.width, taken.meta.height);
            let answered = self.eye.read(framing, taken);
            if !self.keeps_frames {
                *frame = None;
            }
            return Some(answered.map(|()| true));
        }
        let held = self.prepare(taken, framing)?;
        if held == Held::Nothing && !self.keeps_frames {
            *frame = None;
        }
        let view = frame.as_ref().filter(|_| held == Held::Picture).and_then(|f| f.view().ok());
        let own = view.and_then(|view| self.eye.as_is(framing, &view));
        let answered = self.eye.look(own, in_time);
        if !self.keeps_frames {
            *frame = None;
        }
        Some(answered)
    }

    /// Nothing is shown of the frame: it was not looked at, or that went wrong.
    fn nothing(&mut self) {
        self.mask.reset(0, 0);
        (self.picture, self.geometry) = ((0, 0), Geometry::WHOLE);
    }

    /// Leaves mask and picture size of the frame examined last in `slot`, whose mask is reused.
    fn show(&mut self, slot: &mut Decision) {
        std::mem::swap(&mut slot.mask, &mut self.mask);
        (slot.picture, slot.geometry) = (self.picture, self.geometry);
    }

    /// Makes the engine's input, unless the frame is that already; `None` when it cannot be used.
    fn prepare(&mut self, frame: &Frame, framing: &Framing) -> Option<Held> {
        let view = match frame.view() {
            Ok(view) => view,
            Err(error) => {
                self.complain("frame does not fit its buffer", &error);
                return None;
            }
        };
        self.picture = (view.width(), view.height());
        let prepared = self.eye.prepare(framing, view);
        prepared.map_err(|error| self.complain("frame cannot be resized", &error)).ok()
    }

    fn complain(&mut self, what: &str, error: &(dyn std::error::Error + 'static)) {
        complain(&mut self.failures, what, error);
    }
}

/// Logs the 1st, 2nd, 4th, 8th... failure: a broken camera must not flood the log.
fn complain(failures: &mut u64, what: &str, error: &(dyn std::error::Error + 'static)) {
    *failures += 1;
    if failures.is_power_of_two() {
        tracing::error!(error, times = *failures, "{what}");
    }
}

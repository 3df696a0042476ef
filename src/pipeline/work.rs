//! What travels between the stages.
//!
//! Frames are bounded by their buffers, decisions by their slots; both come back when they are
//! used up, so the channels between the stages never need room for more.

use crossbeam_channel::{Receiver, Sender, bounded};

use super::gate::Lack;
use crate::frame::{Frame, FrameKeys, Geometry, Nanos, RecipeId, VIEWS_MAX};
use crate::judge::{Mask, Outcome, Reason, Verdict};
use crate::message::{FLAG_LATE, VerdictRecord, ViewResults};
use crate::station::Ticket;

/// Triggers without a frame that may wait for the inspection besides the frames; they take no
/// buffer. When even these are used up the inspection hangs, and capture waits.
pub(super) const NOTICES_MAX: usize = 256;

/// Decisions on their way to the journal: the largest group commit. While the journal does not
/// take them, inspection waits, frames pile up, and triggers without a buffer become INVALID.
pub(super) const DECISIONS_MAX: usize = 64;

/// An accepted part for the inspection.
pub(super) struct Work {
    pub(super) ticket: Ticket,
    pub(super) input: Input,
    /// The pictures that there are of it, whether they are looked at or not.
    pub(super) frames: FrameKeys,
}

/// The views of a part, in the order of the cameras.
pub(super) type Views = [Option<Frame>; VIEWS_MAX];

/// The one view of the only camera.
pub(super) fn single(frame: Frame) -> Views {
    let mut views = Views::default();
    views[0] = Some(frame);
    views
}

/// Which pictures these are.
pub(super) fn keys(views: &Views) -> FrameKeys {
    std::array::from_fn(|view| views[view].as_ref().map(|frame| frame.meta.key()))
}

/// What there is to look at.
#[expect(clippy::large_enum_variant, reason = "views are what nearly every part has")]
pub(super) enum Input {
    Views(Views),
    /// The picture lies at [`super::newest::Newest`], unless a newer one has replaced it.
    Newest,
    Missing(Lack),
}

/// A verdict with all that is said about it; a recycled slot.
#[derive(Clone, Debug)]
pub struct Decision {
    /// Identities, verdict and latency.
    pub record: VerdictRecord,
    /// Defect pixels at map resolution; empty when there are none or nothing was seen.
    pub mask: Mask,
    /// Size (width, height) of the picture in pixels; zero when there was none.
    pub picture: (usize, usize),
    /// The pictures that there were of the part, looked at or not; none when it was answered before
    /// the inspection came to it.
    pub frames: FrameKeys,
    /// What of the picture the model saw.
    pub geometry: Geometry,
    /// What each view said, with several cameras.
    pub views: ViewResults,
    /// When the trigger was accepted.
    pub arrived: Nanos,
    /// When the PLC stops waiting for the answer.
    pub deadline: Nanos,
}

impl Decision {
    /// The answer did not reach the journal in time: whatever was found, it must not pass now.
    pub fn expire(&mut self, now: Nanos) {
        if now > self.deadline && self.record.verdict.outcome() != Outcome::Invalid {
            self.void();
            self.record.latency = now.since(self.arrived);
        }
    }

    /// Until when the answer may move the line: one that proves or accuses must not come after
    /// its deadline, one without a verdict (`None`) always may.
    pub fn counts_until(&self) -> Option<Nanos> {
        (self.record.verdict.outcome() != Outcome::Invalid).then_some(self.deadline)
    }

    /// Whether the answer, now in the journal, may still move the line.
    pub fn is_live(&self, now: Nanos) -> bool {
        self.counts_until().is_none_or(|until| now <= until)
    }

    /// The part was answered without this result: it stays readable, as no verdict.
    pub fn mark_late(&mut self) {
        if self.record.verdict.outcome() != Outcome::Invalid {
            self.void();
        }
        self.record.flags |= FLAG_LATE;
    }

    /// Takes the outcome away and leaves what was measured.
    fn void(&mut self) {
        let found = self.record.verdict;
        let verdict = &mut self.record.verdict;
        *verdict = Verdict::invalid(Reason::Deadline);
        verdict.score = found.score;
        verdict.limit = found.limit;
        verdict.p_value = found.p_value;
        verdict.regions = found.regions;
    }

    /// A slot for this part, of which nothing is known yet.
    pub(super) fn blank(&mut self, ticket: &Ticket) {
        self.mask.reset(0, 0);
        (self.picture, self.frames, self.geometry) =
            ((0, 0), FrameKeys::default(), Geometry::WHOLE);
        self.views = ViewResults::default();
        (self.arrived, self.deadline) = (ticket.arrived, ticket.deadline);
    }

    /// The part is answered without having been inspected.
    pub fn unanswered(&mut self, ticket: &Ticket, reason: Reason, now: Nanos) {
        let record = &mut self.record;
        record.seq = ticket.seq;
        record.trigger = ticket.trigger;
        record.part = ticket.part;
        record.recipe = ticket.recipe.unwrap_or(RecipeId(0));
        record.verdict = Verdict::invalid(reason);
        record.latency = now.since(ticket.arrived);
        (self.arrived, self.deadline) = (ticket.arrived, ticket.deadline);
    }
}

/// The two ends of the ring of decision slots.
pub(super) struct Slots {
    /// Inspection takes empty slots here.
    pub(super) empty: Receiver<Box<Decision>>,
    /// The journal gives them back here.
    pub(super) give_back: Sender<Box<Decision>>,
    /// Inspection sends full slots here.
    pub(super) decided: Sender<Box<Decision>>,
    /// The journal takes them here.
    pub(super) to_journal: Receiver<Box<Decision>>,
}

impl Slots {
    /// A ring of [`DECISIONS_MAX`] copies of `blank`.
    pub(super) fn new(blank: &Decision) -> Self {
        let (give_back, empty) = bounded(DECISIONS_MAX);
        let (decided, to_journal) = bounded(DECISIONS_MAX);
        for _ in 0..DECISIONS_MAX {
            // Both channels hold every slot there is: neither side ever waits to send.
            let _ = give_back.try_send(Box::new(blank.clone()));
        }
        Self { empty, give_back, decided, to_journal }
    }
}

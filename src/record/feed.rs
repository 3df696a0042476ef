//! The hand-over from the data path: bounded, counted, without an allocation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::frame::{Frame, FrameKeys, FrameMeta, Lease, PartId, Pool, RecipeId, TriggerId};
use crate::message::{VerdictRecord, ViewResults};

/// Decisions that may wait to be written; more are not recorded, and counted.
const DECISIONS_MAX: usize = 256;

/// A picture with what the camera said of its trigger.
#[derive(Debug)]
pub struct Shot {
    /// What the camera knew of the picture.
    pub meta: FrameMeta,
    /// The camera's trigger number; the PLC's may be another.
    pub trigger: TriggerId,
    /// The part, as far as the camera knew it.
    pub part: PartId,
    /// The recipe, when the camera knew it.
    pub recipe: Option<RecipeId>,
    /// A copy of the picture's bytes.
    pub(super) copy: Lease,
}

impl Shot {
    /// The picture's bytes as they lay in the camera's buffer.
    pub(super) fn bytes(&self) -> &[u8] {
        self.copy.get(..self.meta.bytes).unwrap_or(&self.copy)
    }
}

/// What the recorder is told.
#[expect(clippy::large_enum_variant, reason = "a box would be an allocation for each part")]
pub(super) enum Message {
    Shot(Shot),
    Decided(VerdictRecord, FrameKeys, ViewResults),
    Stop,
}

/// What became of the parts since the recording began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Decisions written.
    pub parts: u64,
    /// Pictures written.
    pub frames: u64,
    /// Pictures and decisions that were not written because the disk was behind, or because one
    /// alone is larger than the whole recording may be.
    pub dropped: u64,
    /// The disk failed: nothing is recorded any more.
    pub failed: bool,
}

/// The counters as both sides see them.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) parts: AtomicU64,
    pub(super) frames: AtomicU64,
    dropped: AtomicU64,
    pub(super) failed: AtomicBool,
}

impl Tally {
    pub(super) fn get(&self) -> Counters {
        Counters {
            parts: self.parts.load(Ordering::Relaxed),
            frames: self.frames.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }

    /// Counts what is not recorded; told the 1st, 2nd, 4th, 8th... time: a slow disk must not flood
    /// the log.
    pub(super) fn skip(&self, what: &'static str) {
        let times = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
        if times.is_power_of_two() {
            tracing::warn!(times, "not recorded: {what}");
        }
    }
}

/// Hands over to the recorder; clones share its buffers and its queue.
#[derive(Clone)]
pub struct Feed {
    /// Buffers of each camera.
    pools: Arc<[Pool]>,
    queue: Sender<Message>,
    tally: Arc<Tally>,
}

impl Feed {
    /// `shots` copies of pictures of each camera, whose largest have these bytes; the recorder's end
    /// of the queue.
    pub(super) fn new(
        shots: usize,
        frame_bytes_max: &[usize],
        tally: Arc<Tally>,
    ) -> (Self, Receiver<Message>) {
        let (queue, messages) = bounded(shots * frame_bytes_max.len() + DECISIONS_MAX);
        let pools = frame_bytes_max.iter().map(|bytes| Pool::new(shots, *bytes)).collect();
        (Self { pools, queue, tally }, messages)
    }

    /// What was recorded so far.
    pub fn counters(&self) -> Counters {
        self.tally.get()
    }

    /// Hands over a copy of a picture that the camera just sent. Takes as long as the copy.
    pub fn shot(&self, frame: &Frame, trigger: TriggerId, part: PartId, recipe: Option<RecipeId>) {
        if self.tally.failed.load(Ordering::Relaxed) {
            return;
        }
        let bytes = frame.lease.get(..frame.meta.bytes).unwrap_or(&frame.lease);
        let pool = self.pools.get(usize::from(frame.meta.camera.0));
        let Some(mut copy) = pool.and_then(Pool::lease) else {
            return self.tally.skip("all buffers wait to be written: the disk is too slow");
        };
        let Some(room) = copy.get_mut(..bytes.len()) else {
            return self.tally.skip("the picture is larger than the camera said");
        };
        room.copy_from_slice(bytes);
        let mut meta = frame.meta;
        meta.bytes = bytes.len();
        self.send(Message::Shot(Shot { meta, trigger, part, recipe, copy }));
    }

    /// Hands over a decision, which pictures there were of its part, and what each view said.
    pub fn decided(&self, record: &VerdictRecord, frames: &FrameKeys, views: &ViewResults) {
        if !self.tally.failed.load(Ordering::Relaxed) {
            self.send(Message::Decided(record.clone(), *frames, *views));
        }
    }

    /// Asks the recorder to end when it has written what waits; false when it does not take even
    /// this in time.
    pub(super) fn stop(&self, wait: Duration) -> bool {
        self.queue.send_timeout(Message::Stop, wait).is_ok()
    }

    fn send(&self, message: Message) {
        if self.queue.try_send(message).is_err() {
            self.tally.skip("the queue is full: the disk is too slow");
        }
    }
}

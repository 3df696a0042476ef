//! The line as a recording sees it: what the camera sends on its way in, decisions on their way
//! out. The two know nothing of each other; this is the wire.

use super::observer::Observer;
use super::work::Decision;
use crate::capture::{Camera, CameraError, CameraStats, Event, SoftTrigger};
use crate::frame::{Nanos, Pool};
use crate::record::Feed;

/// A camera whose pictures are recorded. Each costs the copy that is handed over.
pub struct RecordedCamera {
    camera: Box<dyn Camera>,
    feed: Feed,
}

impl RecordedCamera {
    /// Records the pictures of `camera`.
    pub fn new(camera: Box<dyn Camera>, feed: Feed) -> Self {
        Self { camera, feed }
    }
}

impl Camera for RecordedCamera {
    fn frame_bytes_max(&self) -> usize {
        self.camera.frame_bytes_max()
    }

    fn start(&mut self, pool: Pool, epoch: u32) -> Result<(), CameraError> {
        self.camera.start(pool, epoch)
    }

    fn next(&mut self, deadline: Nanos) -> Result<Event, CameraError> {
        let event = self.camera.next(deadline)?;
        if let Event::Frame { trigger, frame } = &event {
            self.feed.shot(frame, trigger.id, trigger.part, trigger.recipe);
        }
        Ok(event)
    }

    fn stats(&self) -> CameraStats {
        self.camera.stats()
    }

    fn soft_trigger(&self) -> Option<SoftTrigger> {
        self.camera.soft_trigger()
    }

    fn stop(&mut self) -> Result<(), CameraError> {
        self.camera.stop()
    }
}

/// An observer that tells the recording of each decision.
pub struct RecordedDecisions(Feed);

impl RecordedDecisions {
    /// Tells `feed`.
    pub fn new(feed: Feed) -> Self {
        Self(feed)
    }
}

impl Observer for RecordedDecisions {
    fn decided(&mut self, decision: &Decision) {
        self.0.decided(&decision.record, &decision.frames, &decision.views);
    }
}

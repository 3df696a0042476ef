//! Which picture belongs to which decision. Pure.

use std::collections::VecDeque;

use super::feed::Shot;
use crate::frame::FrameKey;

/// Pictures whose decision has not come yet, in the order in which they were taken.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    /// No more than there are buffers.
    waiting: VecDeque<Shot>,
}

impl Pairs {
    /// A picture was taken.
    pub(super) fn shot(&mut self, shot: Shot) {
        self.waiting.push_back(shot);
    }

    /// The picture that was decided on. The inspection takes each camera's pictures in order, so
    /// what the camera took before it was never looked at and is let go: its buffer is needed.
    pub(super) fn decided(&mut self, key: FrameKey) -> Option<Shot> {
        let mut found = None;
        let before = |shot: &Shot| {
            let other = shot.meta.key();
            other.camera == key.camera && (other.epoch, other.seq) < (key.epoch, key.seq)
        };
        if let Some(at) = self.waiting.iter().position(|shot| shot.meta.key() == key) {
            found = self.waiting.remove(at);
        }
        self.waiting.retain(|shot| !before(shot));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{CameraId, FrameMeta, Nanos, PartId, PixelFormat, Pool, TriggerId};

    fn shot(pool: &Pool, camera: u16, epoch: u32, seq: u64) -> Shot {
        let number = (epoch, seq);
        let camera = CameraId(camera);
        let meta = FrameMeta::packed(camera, number, Nanos(1), PixelFormat::Mono8, (2, 2));
        let part = PartId::new("P").unwrap();
        let copy = pool.lease().unwrap();
        Shot { meta, trigger: TriggerId(1), part, recipe: None, copy }
    }

    #[test]
    fn a_decision_finds_its_picture_and_frees_those_that_were_never_looked_at() {
        let pool = Pool::new(5, 4);
        let mut pairs = Pairs::default();
        for (camera, epoch, seq) in [(0, 1, 7), (1, 1, 7), (0, 1, 8), (0, 2, 1), (0, 2, 2)] {
            pairs.shot(shot(&pool, camera, epoch, seq));
        }
        let key = |camera, epoch, seq| FrameKey { camera: CameraId(camera), epoch, seq };
        let found = pairs.decided(key(0, 2, 1)).unwrap();
        assert_eq!(found.meta.key(), key(0, 2, 1));
        drop(found);
        // Left: the other camera's picture, and the one behind.
        assert_eq!(pool.slots() - pool.free(), 2);
        assert!(pairs.decided(key(0, 1, 8)).is_none(), "let go");
        assert!(pairs.decided(key(1, 1, 7)).is_some());
        assert!(pairs.decided(key(0, 2, 2)).is_some());
        assert_eq!(pool.free(), pool.slots());
    }
}

//! One place for the newest picture (or the views of one part): the policy `latest` of a preview.
//!
//! Every part keeps its place in the queue of the inspection, and so its answer. Its picture lies
//! here, and a newer one replaces it: whoever comes for the older one finds it gone.

use std::sync::{Arc, Mutex, PoisonError};

use super::work::Views;

/// The picture of the newest part, shared by capture and inspection.
#[derive(Clone, Debug, Default)]
pub(super) struct Newest {
    /// With the result number of its part.
    place: Arc<Mutex<Option<(u32, Views)>>>,
}

impl Newest {
    /// Puts the picture of part `seq`; true when it replaced one that nobody had looked at.
    pub(super) fn put(&self, seq: u32, views: Views) -> bool {
        let replaced = self.swap(Some((seq, views)));
        // Dropped here, behind the lock: its buffer is free again.
        replaced.is_some()
    }

    /// The picture of part `seq`, unless a newer one has replaced it.
    pub(super) fn take(&self, seq: u32) -> Option<Views> {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = place.as_ref().is_some_and(|(newest, _)| *newest == seq);
        if mine { place.take().map(|(_, views)| views) } else { None }
    }

    fn swap(&self, new: Option<(u32, Views)>) -> Option<(u32, Views)> {
        // One assignment: a panic elsewhere cannot leave it half done.
        std::mem::replace(&mut *self.place.lock().unwrap_or_else(PoisonError::into_inner), new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{CameraId, Frame, FrameMeta, Nanos, PixelFormat, Pool};
    use crate::pipeline::work::single;

    #[test]
    fn a_newer_picture_takes_the_place_and_frees_the_buffer_of_the_older() {
        let pool = Pool::new(3, 4);
        let frame = |seq| {
            let size = (2, 2);
            let meta = FrameMeta::packed(CameraId(0), (1, seq), Nanos(0), PixelFormat::Mono8, size);
            single(Frame { meta, lease: pool.lease().unwrap() })
        };
        let newest = Newest::default();
        assert!(!newest.put(1, frame(1)));
        assert!(newest.put(2, frame(2)), "the first was not looked at");
        assert_eq!(pool.free(), 2);
        assert!(newest.take(1).is_none());
        assert_eq!(newest.take(2).unwrap()[0].as_ref().unwrap().meta.seq, 2);
        assert!(newest.take(2).is_none(), "it is there once");
        assert!(!newest.put(3, frame(3)), "the second was taken");
    }
}

//! The views of one trigger.

use super::At;
use crate::frame::{Nanos, VIEWS_MAX};

/// Why a view is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Its camera does not stream.
    Gone,
    /// It did not come within the window, or there were too many open sets.
    Late,
    /// Its camera delivered a frame of a later trigger.
    Passed,
    /// Its camera must prove first that its count is right.
    Unproved,
}

/// One view.
#[derive(Debug, PartialEq, Eq)]
pub enum Slot<T> {
    /// It may still come.
    Awaited,
    /// What the camera said.
    There(T),
    /// It does not come any more.
    Missing(Missing),
}

/// One trigger and its views.
#[derive(Debug, PartialEq, Eq)]
pub struct Set<T> {
    /// Number of the trigger.
    pub count: u64,
    /// When the first frame that is used came; `None` when there is none.
    pub at: Option<Nanos>,
    /// The same of all frames, used or not.
    pub seen: Option<Nanos>,
    /// What there is of each view, in the order of the cameras.
    pub views: [Slot<T>; VIEWS_MAX],
    /// When the last view is waited for.
    pub(super) due: Nanos,
    /// When frames of cameras that are not proved came, and in which stream.
    pub(super) tried: [Option<(Nanos, u32)>; VIEWS_MAX],
}

impl<T> Set<T> {
    pub(super) fn new(count: u64, due: Nanos) -> Self {
        let views = [const { Slot::Awaited }; VIEWS_MAX];
        Self { count, at: None, seen: None, views, due, tried: [None; VIEWS_MAX] }
    }

    pub(super) fn awaits(&self, view: usize) -> bool {
        matches!(self.views[view], Slot::Awaited)
    }

    pub(super) fn give_up(&mut self, view: usize, why: Missing) {
        if self.awaits(view) {
            self.views[view] = Slot::Missing(why);
        }
    }

    pub(super) fn put(&mut self, view: usize, at: At, item: T) {
        if let At::Arrived(at) = at {
            self.at = Some(self.at.map_or(at, |first| first.min(at)));
            self.see(at);
        }
        self.views[view] = Slot::There(item);
    }

    /// A frame that is not used, but may prove its camera's count.
    pub(super) fn try_out(&mut self, view: usize, at: Nanos, stream: u32) {
        self.give_up(view, Missing::Unproved);
        self.tried[view] = Some((at, stream));
        self.see(at);
    }

    fn see(&mut self, at: Nanos) {
        self.seen = Some(self.seen.map_or(at, |first| first.min(at)));
    }

    pub(super) fn is_decided(&self, views: usize) -> bool {
        (0..views).all(|view| !self.awaits(view))
    }
}

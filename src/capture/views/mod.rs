//! Several cameras look at one part: which frames belong together. Pure: no camera, no clock.
//!
//! All cameras hang on one trigger. The station counts the triggers, and each count ends in
//! exactly one [`Set`]: one slot a camera, with its frame or without.
//!
//! # How frames find their trigger
//! 1. By count. A camera's frame number and the trigger count differ by a constant; a frame whose
//!    count is known goes to the set of that count, if it also came within the window of that
//!    set's first frame.
//! 2. By time. A camera that has just (re)started has no such constant yet: its first frame tells
//!    it, by the set within whose window it came, or, when there is none, as the first frame of
//!    the next trigger.
//!
//! Only a common start is believed at once: first frames that come with the first trigger of all.
//! Later the constant must be proved: count and time must agree with the other cameras in
//! [`PROOFS`] sets in a row before a frame is used.
//!
//! A frame of a proved camera whose count and time contradict each other is not used.
//! [`REALIGN_FRAMES`] of them in a row say that the camera's count has slipped (it took one
//! trigger less or more than the others, without a word): it is then treated as restarted.
//!
//! # What must hold, so that views of different triggers never mix
//! - Frames of one trigger come within the window of each other, but for late ones.
//! - Triggers are further apart than twice the window.
//! - A late frame is never the first of a stream, of three triggers in a row at least one has none,
//!   and none comes while the count of a camera has slipped.
//!
//! Where it does not hold, parts are lost (and so rejected) before views mix: every frame that is
//! used agrees with the others by count and by time.
//!
//! # When a set is closed
//! When every slot is decided: its frame came; or its camera is gone, or has delivered a frame of a
//! later trigger, or the window is over since the set was opened. Sets close in the order of their
//! counts. At most [`SETS_MAX`] are open; one more closes the oldest without the views that are
//! missing.

mod set;
#[cfg(test)]
mod tests;

pub use set::{Missing, Set, Slot};

use std::collections::VecDeque;

use crate::frame::{Nanos, VIEWS_MAX};

/// Triggers that may wait for views at once.
pub const SETS_MAX: usize = 16;

/// Sets in a row in which a restarted camera must agree with the others before its frames are used.
pub const PROOFS: u32 = 3;

/// Frames in a row whose count and time contradict each other before the time is believed.
pub const REALIGN_FRAMES: u32 = 3;

/// Count of the first trigger.
const FIRST: u64 = 1;

/// What is known of the time of a trigger from one camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Its frame came then.
    Arrived(Nanos),
    /// Its frame is lost; the one that showed that came then.
    LostBefore(Nanos),
}

/// What became of a frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken<T> {
    /// It is in the set of its trigger.
    Matched,
    /// Its part is answered without it, its count and time contradict each other, or its camera
    /// must prove its count first. It must not be used.
    Refused(T),
}

/// What is known of one camera.
#[derive(Clone, Copy, Debug, Default)]
struct View {
    /// It streams.
    present: bool,
    /// Trigger count less frame number, wrapping; `None` until its first frame.
    offset: Option<u64>,
    /// Sets in a row in which it agreed with the others, up to [`PROOFS`].
    proofs: u32,
    /// The newest of these.
    proved_by: u64,
    /// Frames refused in a row.
    refused: u32,
    /// Counts its starts.
    stream: u32,
}

impl View {
    fn is_proved(&self) -> bool {
        self.offset.is_some() && self.proofs >= PROOFS
    }

    /// Its numbers mean nothing any more.
    fn restart(&mut self) {
        (self.offset, self.proofs, self.refused) = (None, 0, 0);
        self.stream = self.stream.wrapping_add(1);
    }
}

/// Matches the frames of several cameras.
#[derive(Debug)]
pub struct Matcher<T> {
    views: [View; VIEWS_MAX],
    count: usize,
    window: Nanos,
    /// In the order of their counts, which have no holes; the last is `next` less one.
    open: VecDeque<Set<T>>,
    /// Count and time of the newest closed sets: a restarted camera may still show one of them.
    closed: VecDeque<(u64, Nanos)>,
    /// Count of the next trigger.
    next: u64,
}

impl<T> Matcher<T> {
    /// For `count` cameras (at most [`VIEWS_MAX`]), none of which streams; counts start at 1.
    pub fn new(count: usize, window: Nanos) -> Self {
        Self {
            views: [View::default(); VIEWS_MAX],
            count: count.min(VIEWS_MAX),
            window,
            open: VecDeque::with_capacity(SETS_MAX + 1),
            closed: VecDeque::with_capacity(SETS_MAX + 1),
            next: FIRST,
        }
    }

    /// Cameras that are matched.
    pub fn views(&self) -> usize {
        self.count
    }

    /// Whether this camera streams.
    pub fn is_present(&self, view: usize) -> bool {
        self.views[view].present
    }

    /// Sets that wait for views.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// A camera streams, or its numbers jumped: its next frame is matched by time.
    pub fn started(&mut self, view: usize) {
        self.views[view].restart();
        self.views[view].present = true;
    }

    /// A camera is gone: nobody waits for its frames any more.
    pub fn gone(&mut self, view: usize) {
        self.views[view].restart();
        self.views[view].present = false;
        self.open.iter_mut().for_each(|set| set.give_up(view, Missing::Gone));
    }

    /// Takes what camera `view` says of its frame number `seq`.
    pub fn seen(&mut self, now: Nanos, view: usize, seq: u64, at: At, item: T) -> Taken<T> {
        let Some(count) = self.place(view, seq, at) else {
            self.views[view].refused += u32::from(matches!(at, At::Arrived(_)));
            return Taken::Refused(item);
        };
        if count == self.next {
            self.begin(now);
        }
        let known = &mut self.views[view];
        known.offset = Some(count.wrapping_sub(seq));
        if let At::Arrived(_) = at {
            known.refused = 0;
        }
        if count == FIRST {
            known.proofs = PROOFS;
        }
        let (proved, stream) = (known.is_proved(), known.stream);
        self.open.iter_mut().take_while(|set| set.count < count).for_each(|set| {
            set.give_up(view, Missing::Passed);
        });
        let set = self.open.iter_mut().find(|set| set.count == count);
        match (set, at) {
            (Some(set), At::Arrived(at)) if !proved => {
                set.try_out(view, at, stream);
                Taken::Refused(item)
            }
            (Some(set), _) => {
                set.put(view, at, item);
                Taken::Matched
            }
            // Unreachable: `place` names open sets and the next one only.
            (None, _) => Taken::Refused(item),
        }
    }

    /// The next set that is closed; with a time, sets whose window is over then are closed, too.
    pub fn take(&mut self, now: Option<Nanos>) -> Option<Set<T>> {
        let first = self.open.front_mut()?;
        if now.is_some_and(|now| first.due <= now) {
            (0..self.count).for_each(|view| first.give_up(view, Missing::Late));
        }
        if !first.is_decided(self.count) {
            return None;
        }
        let set = self.open.pop_front()?;
        self.prove(&set);
        if self.closed.len() == SETS_MAX {
            self.closed.pop_front();
        }
        if let Some(at) = set.seen {
            self.closed.push_back((set.count, at));
        }
        Some(set)
    }

    /// What a closed set says of cameras that are not proved: each agrees with the proved ones, or,
    /// when there are none at all, with the others; or its count is wrong.
    fn prove(&mut self, set: &Set<T>) {
        let nobody_is = !self.views.iter().any(View::is_proved);
        for view in 0..self.count {
            let Some((at, stream)) = set.tried[view] else { continue };
            let others = set.tried.iter().enumerate().filter(|(other, _)| *other != view);
            let mut others = others.filter_map(|(_, tried)| Some((*tried)?.0)).peekable();
            let agrees = match set.at {
                Some(first) => self.within(first, at),
                None if nobody_is && others.peek().is_some() => {
                    others.all(|other| self.within(other, at))
                }
                None => continue,
            };
            let known = &mut self.views[view];
            match agrees {
                _ if known.stream != stream => {}
                true => {
                    let row = if known.proved_by + 1 == set.count { known.proofs } else { 0 };
                    (known.proofs, known.proved_by) = ((row + 1).min(PROOFS), set.count);
                }
                false => known.restart(),
            }
        }
    }

    /// When a set is due next.
    pub fn next_due(&self) -> Option<Nanos> {
        self.open.front().map(|set| set.due)
    }

    /// Nobody waits any more: all open sets are closed as they are.
    pub fn close(&mut self) {
        (0..self.count).for_each(|view| self.gone(view));
    }

    /// The count of the set that this frame belongs to: an open one that waits for it, or the next.
    fn place(&mut self, view: usize, seq: u64, at: At) -> Option<u64> {
        let known = self.views[view];
        // Nobody relies on a count that is not proved: the first contradiction ends it.
        let suspicious = !known.is_proved() || known.refused + 1 >= REALIGN_FRAMES;
        match (known.offset, at) {
            (Some(offset), At::LostBefore(_)) => self.by_count(view, seq.wrapping_add(offset)),
            // Which trigger it was nobody can say, and nobody misses what was never counted.
            (None, At::LostBefore(_)) => None,
            (None, At::Arrived(at)) => self.by_time(view, seq, at),
            (Some(offset), At::Arrived(at)) => {
                let count = seq.wrapping_add(offset);
                let found =
                    self.by_count(view, count).filter(|&count| self.agrees(view, count, at));
                if found.is_none() && suspicious {
                    self.views[view].restart();
                    return self.by_time(view, seq, at);
                }
                found
            }
        }
    }

    /// The set of this count, if it waits for this view; the next one for any count beyond.
    fn by_count(&self, view: usize, count: u64) -> Option<u64> {
        if count >= self.next {
            return Some(self.next);
        }
        self.set(count).filter(|set| set.awaits(view)).map(|set| set.count)
    }

    /// Whether a frame of this time may belong to this count.
    fn agrees(&self, view: usize, count: u64, at: Nanos) -> bool {
        match self.set(count).and_then(|set| set.at) {
            Some(first) => self.within(first, at),
            // Nobody knows the time of this trigger: it must not be that of another one.
            None => !self.open.iter().any(|set| set.count != count && self.fits(set, view, at)),
        }
    }

    /// The set within whose window the frame came, or the next one. The frame of a set that is
    /// closed already is not used, but tells the camera's offset.
    fn by_time(&mut self, view: usize, seq: u64, at: Nanos) -> Option<u64> {
        let near = |first: Nanos| at.since(first).max(first.since(at));
        let open = self.open.iter().filter_map(|set| Some((set.count, set.seen?)));
        let all = open.chain(self.closed.iter().copied());
        let nearest = all.filter(|(_, first)| self.within(*first, at));
        let Some((count, _)) = nearest.min_by_key(|(_, first)| near(*first)) else {
            return Some(self.next);
        };
        let waits = self.set(count).is_some_and(|set| set.awaits(view));
        if !waits {
            self.views[view].offset = Some(count.wrapping_sub(seq));
        }
        waits.then_some(count)
    }

    fn fits(&self, set: &Set<T>, view: usize, at: Nanos) -> bool {
        set.awaits(view) && set.at.is_some_and(|first| self.within(first, at))
    }

    fn within(&self, first: Nanos, at: Nanos) -> bool {
        at.since(first) <= self.window && first.since(at) <= self.window
    }

    fn set(&self, count: u64) -> Option<&Set<T>> {
        let first = self.open.front()?.count;
        self.open.get(usize::try_from(count.checked_sub(first)?).ok()?)
    }

    /// Opens the set of the next trigger; when there are too many, the oldest closes.
    fn begin(&mut self, now: Nanos) {
        if self.open.len() >= SETS_MAX
            && let Some(first) = self.open.front_mut()
        {
            (0..self.count).for_each(|view| first.give_up(view, Missing::Late));
        }
        let over = now.0.saturating_add(self.window.0).saturating_add(1);
        let mut set = Set::new(self.next, Nanos(over));
        for (view, known) in self.views.iter().enumerate().take(self.count) {
            if !known.present {
                set.give_up(view, Missing::Gone);
            }
        }
        self.open.push_back(set);
        self.next += 1;
    }
}

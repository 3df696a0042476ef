//! A fixed set of buffers, leased to frames and returned by `Drop`.
//!
//! All memory is there from the start: heap memory in [`Pool::new`], memory of any kind in
//! [`Pool::of`] and [`Pool::made_by`]. A camera takes a [`Lease`], fills it, and the lease travels with the frame through
//! the pipeline; wherever it is dropped, its buffer goes home. Home is this pool, or a camera
//! that lends the buffers its driver writes into, so that nothing is copied on the way.
//! The overflow rule: when all buffers are out, [`Pool::lease`] answers `None` and counts it, and
//! the caller must turn that into an explicit lost part; nothing is ever allocated instead.

mod lease;
mod slab;

pub use lease::{Home, Lease, Origin};
pub use slab::{Buffers, Memory, NoBuffer, Slab};

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A bounded set of buffers; clones share the same buffers.
#[derive(Clone, Debug)]
pub struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    /// Holds every slab at the start, so a push never allocates.
    free: Mutex<Vec<Box<dyn Slab>>>,
    slots: usize,
    bytes_each: usize,
    exhausted: AtomicU64,
}

impl Shared {
    /// The list is whole after every operation, so a panic elsewhere cannot have damaged it.
    fn free(&self) -> MutexGuard<'_, Vec<Box<dyn Slab>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("slots", &self.slots)
            .field("bytes_each", &self.bytes_each)
            .field("free", &self.free().len())
            .finish_non_exhaustive()
    }
}

impl Home for Shared {
    /// A pool has no streams: its buffers are as good after a restart of the camera as before.
    fn take_back(&self, slab: Box<dyn Slab>, _: Origin) {
        self.free().push(slab);
    }
}

impl Pool {
    /// Allocates `slots` buffers of `bytes_each` zeroed bytes on the heap.
    pub fn new(slots: usize, bytes_each: usize) -> Self {
        let heap = |_| Box::new(vec![0u8; bytes_each].into_boxed_slice()) as Box<dyn Slab>;
        Self { shared: Arc::new(Shared::of((0..slots).map(heap).collect(), bytes_each)) }
    }

    /// A pool of buffers that somebody else made, for instance in memory a GPU reads; they are
    /// freed when the pool and the last lease are gone.
    pub fn of(slabs: Vec<Box<dyn Slab>>) -> Self {
        let bytes_each = slabs.iter().map(|slab| slab.bytes().len()).min().unwrap_or(0);
        Self { shared: Arc::new(Shared::of(slabs, bytes_each)) }
    }

    /// A pool of `slots` buffers of `bytes_each` zeroed bytes that `buffers` makes.
    ///
    /// # Errors
    /// That of the first buffer that cannot be made; those made before are freed.
    pub fn made_by(
        buffers: &dyn Buffers,
        slots: usize,
        bytes_each: usize,
    ) -> Result<Self, NoBuffer> {
        let slabs = (0..slots).map(|_| buffers.make(bytes_each)).collect::<Result<_, _>>()?;
        Ok(Self::of(slabs))
    }

    /// A free buffer, with whatever its last user left in it; `None` when all are out.
    pub fn lease(&self) -> Option<Lease> {
        let Some(slab) = self.shared.free().pop() else {
            self.shared.exhausted.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        let home = Arc::clone(&self.shared);
        Some(Lease::new(slab, home, Origin::default()))
    }

    /// Buffers in all.
    pub fn slots(&self) -> usize {
        self.shared.slots
    }

    /// Size of the smallest buffer in bytes.
    pub fn bytes_each(&self) -> usize {
        self.shared.bytes_each
    }

    /// Buffers that could be leased now.
    pub fn free(&self) -> usize {
        self.shared.free().len()
    }

    /// How often a lease was refused because every buffer was out.
    pub fn exhausted(&self) -> u64 {
        self.shared.exhausted.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn of(slabs: Vec<Box<dyn Slab>>, bytes_each: usize) -> Self {
        let slots = slabs.len();
        Self { free: Mutex::new(slabs), slots, bytes_each, exhausted: AtomicU64::new(0) }
    }
}

#[cfg(test)]
mod tests;

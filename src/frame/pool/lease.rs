//! The right to one buffer, and the place it returns to.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::{Memory, Slab};

/// Where leased buffers return to: a pool, or a camera that lends its driver's buffers.
///
/// Called by whatever thread drops the lease, so it must be quick and must not panic.
pub trait Home: Send + Sync {
    /// Takes the buffer back. One of an earlier generation belongs to a stream that is over: its
    /// memory is freed, and it must not get into the stream of today.
    fn take_back(&self, slab: Box<dyn Slab>, origin: Origin);
}

/// What a home wrote on a lease to know its buffer again. A home without streams needs none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Counts the streams of the home.
    pub generation: u32,
    /// The buffer's number within that stream.
    pub slot: u32,
}

/// Exclusive use of one buffer; goes home on drop, from any thread in any order.
pub struct Lease {
    slab: Box<dyn Slab>,
    home: Arc<dyn Home>,
    origin: Origin,
}

impl Lease {
    /// Lends `slab`, which belongs to `home`. Neither this nor the way back allocates.
    pub fn new(slab: Box<dyn Slab>, home: Arc<dyn Home>, origin: Origin) -> Self {
        Self { slab, home, origin }
    }

    /// What an engine may bind without a copy.
    pub fn memory(&self) -> Memory {
        self.slab.memory()
    }

    /// The stream and the buffer of it that were lent.
    pub fn origin(&self) -> Origin {
        self.origin
    }
}

/// What is left in a lease whose slab went home. A box of it owns no memory.
struct Gone;

impl Slab for Gone {
    fn bytes(&self) -> &[u8] {
        &[]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut []
    }

    fn memory(&self) -> Memory {
        Memory::Heap
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let slab = std::mem::replace(&mut self.slab, Box::new(Gone));
        self.home.take_back(slab, self.origin);
    }
}

impl Deref for Lease {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.slab.bytes()
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.slab.bytes_mut()
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("bytes", &self.slab.bytes().len())
            .field("memory", &self.memory())
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

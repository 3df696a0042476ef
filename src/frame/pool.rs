//! A fixed set of equal buffers, leased to frames and returned by `Drop`.
//!
//! All memory is allocated in [`Pool::new`]. A camera takes a [`Lease`], fills it, and the lease
//! travels with the frame through the pipeline; wherever it is dropped, its buffer goes back.
//! The overflow rule: when all buffers are out, [`Pool::lease`] answers `None` and counts it, and
//! the caller must turn that into an explicit lost part; nothing is ever allocated instead.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A bounded set of buffers; clones share the same buffers.
#[derive(Clone, Debug)]
pub struct Pool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Capacity for every slot is reserved at construction, so a push never allocates.
    free: Mutex<Vec<Box<[u8]>>>,
    slots: usize,
    bytes_each: usize,
    exhausted: AtomicU64,
}

impl Shared {
    /// The list is whole after every operation, so a panic elsewhere cannot have damaged it.
    fn free(&self) -> MutexGuard<'_, Vec<Box<[u8]>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    /// Allocates `slots` buffers of `bytes_each` zeroed bytes.
    pub fn new(slots: usize, bytes_each: usize) -> Self {
        let free = (0..slots).map(|_| vec![0; bytes_each].into_boxed_slice()).collect();
        let exhausted = AtomicU64::new(0);
        Self { shared: Arc::new(Shared { free: Mutex::new(free), slots, bytes_each, exhausted }) }
    }

    /// A free buffer, with whatever its last user left in it; `None` when all are out.
    pub fn lease(&self) -> Option<Lease> {
        let Some(bytes) = self.shared.free().pop() else {
            self.shared.exhausted.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        Some(Lease { bytes, home: Arc::clone(&self.shared) })
    }

    /// Buffers in all.
    pub fn slots(&self) -> usize {
        self.shared.slots
    }

    /// Size of each buffer in bytes.
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

/// Exclusive use of one buffer; goes back to its pool on drop, from any thread in any order.
#[derive(Debug)]
pub struct Lease {
    bytes: Box<[u8]>,
    home: Arc<Shared>,
}

impl Deref for Lease {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // An empty boxed slice owns no memory: taking it does not allocate.
        let bytes = std::mem::take(&mut self.bytes);
        self.home.free().push(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn addresses(leases: &[Lease]) -> BTreeSet<*const u8> {
        leases.iter().map(|l| l.as_ptr()).collect()
    }

    #[test]
    fn an_empty_pool_refuses_and_counts_instead_of_allocating() {
        let pool = Pool::new(2, 8);
        let held: Vec<_> = (0..2).map(|_| pool.lease().unwrap()).collect();
        assert!(pool.lease().is_none());
        assert!(pool.lease().is_none());
        assert_eq!(pool.exhausted(), 2);
        drop(held);
        assert_eq!(pool.free(), 2);
        assert!(pool.lease().is_some());
    }

    #[test]
    fn the_same_buffers_come_round_again() {
        let pool = Pool::new(3, 16);
        let first: Vec<_> = (0..3).map(|_| pool.lease().unwrap()).collect();
        let seen = addresses(&first);
        drop(first);
        for _ in 0..10 {
            let again: Vec<_> = (0..3).map(|_| pool.lease().unwrap()).collect();
            assert_eq!(addresses(&again), seen);
        }
    }

    #[test]
    fn leases_come_home_from_other_threads_in_any_order() {
        let pool = Pool::new(4, 4);
        let threads: Vec<_> = (0..4u8)
            .map(|id| {
                let pool = pool.clone();
                std::thread::Builder::new()
                    .spawn(move || {
                        for round in 0..500 {
                            let mut held: Vec<_> = (0..2).filter_map(|_| pool.lease()).collect();
                            held.iter_mut().for_each(|l| l.fill(id));
                            // Nobody else may have written into a buffer that this thread holds.
                            assert!(held.iter().all(|l| l.iter().all(|&b| b == id)));
                            if round % 2 == 0 {
                                held.reverse();
                            }
                        }
                    })
                    .unwrap()
            })
            .collect();
        threads.into_iter().for_each(|t| t.join().unwrap());
        assert_eq!(pool.free(), pool.slots());
    }

    #[test]
    fn a_lease_outlives_its_pool() {
        let pool = Pool::new(1, 4);
        let mut lease = pool.lease().unwrap();
        drop(pool);
        lease[0] = 7;
        assert_eq!(lease[0], 7);
    }
}

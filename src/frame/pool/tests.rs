//! Buffers come home: to the pool or to the camera that lent them, whoever drops them, and never
//! into a stream they do not belong to.

use super::*;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, AtomicUsize};

use proptest::prelude::*;

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

/// Makes memory that a GPU sees, so many buffers of it.
struct Few(AtomicUsize, Arc<AtomicUsize>);

impl Buffers for Few {
    fn make(&self, bytes: usize) -> Result<Box<dyn Slab>, NoBuffer> {
        let left = self.0.load(Ordering::SeqCst).checked_sub(1).ok_or("none left")?;
        self.0.store(left, Ordering::SeqCst);
        Ok(Special::boxed(bytes, Memory::MappedPinned { host: left, device: 7 }, &self.1))
    }
}

#[test]
fn a_pool_is_made_whole_or_not_at_all() {
    let alive = Arc::<AtomicUsize>::default();
    let few = Few(AtomicUsize::new(5), Arc::clone(&alive));
    let pool = Pool::made_by(&few, 3, 8).unwrap();
    assert_eq!((pool.slots(), pool.bytes_each(), alive.load(Ordering::SeqCst)), (3, 8, 3));
    assert!(matches!(pool.lease().unwrap().memory(), Memory::MappedPinned { device: 7, .. }));
    assert_eq!(Pool::made_by(&few, 3, 8).unwrap_err().to_string(), "none left");
    assert_eq!(alive.load(Ordering::SeqCst), 3, "the two that were made are gone again");
}

/// Memory of a stated kind that counts how much of it is alive.
struct Special {
    bytes: Vec<u8>,
    memory: Memory,
    alive: Arc<AtomicUsize>,
}

impl Special {
    fn boxed(len: usize, memory: Memory, alive: &Arc<AtomicUsize>) -> Box<dyn Slab> {
        alive.fetch_add(1, Ordering::SeqCst);
        Box::new(Self { bytes: vec![0; len], memory, alive: Arc::clone(alive) })
    }
}

impl Drop for Special {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Slab for Special {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    fn memory(&self) -> Memory {
        self.memory
    }
}

#[test]
fn a_pool_of_foreign_memory_says_what_an_engine_may_bind_and_frees_it_in_the_end() {
    let alive = Arc::default();
    let kinds = [
        Memory::MappedPinned { host: 0x1000, device: 0x7000_0000_1000 },
        Memory::DmaBuf { fd: 5, offset: 64, len: 10 },
    ];
    let slabs = kinds.iter().zip([12, 10]).map(|(kind, len)| Special::boxed(len, *kind, &alive));
    let pool = Pool::of(slabs.collect());
    assert_eq!((pool.slots(), pool.bytes_each()), (2, 10));
    let held: Vec<_> = (0..2).map(|_| pool.lease().unwrap()).collect();
    let told: Vec<_> = held.iter().map(Lease::memory).collect();
    assert!(kinds.iter().all(|kind| told.contains(kind)), "{told:?}");
    assert_eq!(Pool::new(1, 1).lease().unwrap().memory(), Memory::Heap);
    drop(pool);
    assert_eq!(alive.load(Ordering::SeqCst), 2, "leases keep their memory");
    drop(held);
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

/// A camera that lends the buffers of its driver.
#[derive(Default)]
struct Lender {
    generation: AtomicU32,
    queued: Mutex<Vec<(u32, Box<dyn Slab>)>>,
}

impl Home for Lender {
    fn take_back(&self, slab: Box<dyn Slab>, origin: Origin) {
        if origin.generation == self.generation.load(Ordering::SeqCst) {
            self.queued.lock().unwrap().push((origin.slot, slab));
        }
    }
}

impl Lender {
    /// A new stream with `slots` buffers; those that are out belong to the old one.
    fn restart(&self, slots: u32, alive: &Arc<AtomicUsize>) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        let fresh = (0..slots).map(|slot| (slot, Special::boxed(4, Memory::Heap, alive)));
        *self.queued.lock().unwrap() = fresh.collect();
    }

    fn lend(self: &Arc<Self>) -> Option<Lease> {
        let (slot, slab) = self.queued.lock().unwrap().pop()?;
        let generation = self.generation.load(Ordering::SeqCst);
        let home: Arc<dyn Home> = Arc::clone(self) as _;
        Some(Lease::new(slab, home, Origin { generation, slot }))
    }
}

#[test]
fn a_buffer_of_an_old_stream_is_freed_and_never_queued_again() {
    let (camera, alive) = (Arc::new(Lender::default()), Arc::default());
    camera.restart(2, &alive);
    let (old, kept) = (camera.lend().unwrap(), camera.lend().unwrap());
    drop(kept);
    camera.restart(2, &alive);
    assert_eq!(alive.load(Ordering::SeqCst), 3, "two of this stream and the one that is out");
    assert_eq!(old.len(), 4, "still readable");
    drop(old);
    assert_eq!(alive.load(Ordering::SeqCst), 2);
    let slots: BTreeSet<_> = camera.queued.lock().unwrap().iter().map(|(slot, _)| *slot).collect();
    assert_eq!(slots, [0, 1].into());
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Lend,
    DropHere(usize),
    DropElsewhere(usize),
    Restart,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => Just(Act::Lend),
        3 => (0usize..8).prop_map(Act::DropHere),
        1 => (0usize..8).prop_map(Act::DropElsewhere),
        1 => Just(Act::Restart),
    ]
}

proptest! {
    /// Whatever is lent, dropped and restarted: each buffer of the stream of today is queued or
    /// out exactly once, and old ones are alive only while somebody holds them.
    #[test]
    fn no_buffer_is_ever_lost_doubled_or_mixed_up(acts in proptest::collection::vec(act(), 1..80)) {
        const SLOTS: u32 = 3;
        let (camera, alive) = (Arc::new(Lender::default()), Arc::default());
        camera.restart(SLOTS, &alive);
        let mut out: Vec<Lease> = Vec::new();
        for act in acts {
            match act {
                Act::Lend => out.extend(camera.lend()),
                Act::DropHere(i) if i < out.len() => drop(out.swap_remove(i)),
                Act::DropElsewhere(i) if i < out.len() => {
                    let lease = out.swap_remove(i);
                    std::thread::scope(|s| { s.spawn(move || drop(lease)); });
                }
                Act::DropHere(_) | Act::DropElsewhere(_) => {}
                Act::Restart => camera.restart(SLOTS, &alive),
            }
            let today = camera.generation.load(Ordering::SeqCst);
            let (of_today, old): (Vec<_>, Vec<_>) =
                out.iter().map(Lease::origin).partition(|origin| origin.generation == today);
            let queued = camera.queued.lock().unwrap();
            let mut slots: Vec<_> = queued.iter().map(|(slot, _)| *slot).collect();
            slots.extend(of_today.iter().map(|origin| origin.slot));
            slots.sort_unstable();
            prop_assert_eq!(slots, (0..SLOTS).collect::<Vec<_>>());
            prop_assert_eq!(alive.load(Ordering::SeqCst), SLOTS as usize + old.len());
        }
    }
}

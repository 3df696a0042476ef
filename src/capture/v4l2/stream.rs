//! One stream: the driver's buffers go round between driver, station and back.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::device::{Device, Filled, Way};
use crate::frame::{Home, Lease, Memory, Origin, Pool, Slab};

/// Home of a stream's buffers: a lease that is dropped, wherever that is, is queued again.
pub(super) struct Queue {
    generation: u32,
    live: Mutex<Option<Live>>,
}

/// What is known while the stream lasts.
struct Live {
    device: Arc<dyn Device>,
    way: Way,
    /// Buffers with the driver, filled or not.
    queued: u32,
    /// Buffers that were empty with the driver when it last had no filled one, less those that it
    /// filled since. It counts too low while buffers come back, never too high.
    spare: u32,
    /// Whether it may have had no empty one at some time since the last filled one was taken.
    starved: bool,
    /// Why a buffer could not be queued again.
    broken: Option<io::Error>,
}

/// A filled buffer and whether the driver may have had no empty one at some time before it.
pub(super) struct Taken {
    pub(super) filled: Filled,
    pub(super) starved: bool,
}

impl Queue {
    /// Starts the stream: asks for buffers, queues them all, and begins.
    ///
    /// # Errors
    /// As the device reports them.
    pub(super) fn start(
        device: Arc<dyn Device>,
        way: Way,
        generation: u32,
        slabs: Vec<Box<dyn Slab>>,
    ) -> io::Result<Arc<Queue>> {
        let queued = u32::try_from(slabs.len()).unwrap_or(u32::MAX);
        for (slot, slab) in (0..).zip(slabs) {
            device.queue(slot, slab)?;
        }
        device.start()?;
        let live = Live { device, way, queued, spare: queued, starved: false, broken: None };
        Ok(Arc::new(Queue { generation, live: Mutex::new(Some(live)) }))
    }

    fn live(&self) -> MutexGuard<'_, Option<Live>> {
        // Counts are changed beside calls of the device only; a panic there ends the stream.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next filled buffer, or `None` when there is none yet.
    ///
    /// # Errors
    /// As the device reports them, also those met while a buffer was queued again.
    pub(super) fn take(&self) -> io::Result<Option<Taken>> {
        let mut live = self.live();
        let Some(live) = live.as_mut() else { return Ok(None) };
        if let Some(error) = live.broken.take() {
            return Err(error);
        }
        let Some(filled) = live.device.dequeue()? else {
            live.spare = live.queued;
            return Ok(None);
        };
        live.queued = live.queued.saturating_sub(1);
        live.spare = live.spare.saturating_sub(1);
        // Until the next one is taken, buffers only come back: it is now that there are fewest.
        let starved = std::mem::replace(&mut live.starved, live.spare <= 1);
        Ok(Some(Taken { filled, starved }))
    }

    /// The lease of a buffer that was taken.
    pub(super) fn lend(self: &Arc<Self>, slab: Box<dyn Slab>, slot: u32) -> Lease {
        let home: Arc<dyn Home> = Arc::clone(self) as _;
        Lease::new(slab, home, Origin { generation: self.generation, slot })
    }

    /// Ends the stream. Leases that are out stay valid, and their memory is freed with them.
    ///
    /// # Errors
    /// As the device reports them; the stream is over all the same.
    pub(super) fn end(&self) -> io::Result<()> {
        let Some(live) = self.live().take() else { return Ok(()) };
        live.device.stop()?;
        match live.device.allocate(live.way, 0) {
            // Old kernels keep buffers until the last lease is gone; the next start then waits.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Ok(()),
            freed => freed.map(drop),
        }
    }
}

impl Home for Queue {
    fn take_back(&self, slab: Box<dyn Slab>, origin: Origin) {
        let mut live = self.live();
        match live.as_mut() {
            Some(live) if origin.generation == self.generation && live.broken.is_none() => {
                match live.device.queue(origin.slot, slab) {
                    Ok(()) => live.queued += 1,
                    Err(error) => live.broken = Some(error),
                }
            }
            // Of a stream that is over: freed, outside the lock because that may take a while.
            _ => {
                drop(live);
                drop(slab);
            }
        }
    }
}

/// The station's own memory, lent to the driver; goes back to the pool when the stream is over.
pub(super) struct FromPool(pub(super) Lease);

impl Slab for FromPool {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    fn memory(&self) -> Memory {
        self.0.memory()
    }
}

/// Memory for the stream: what the driver has, or what the pool has free.
///
/// # Errors
/// As the device reports them.
pub(super) fn memory(
    device: &dyn Device,
    way: Way,
    count: u32,
    pool: &Pool,
) -> io::Result<Vec<Box<dyn Slab>>> {
    if way == Way::Mmap {
        let given = device.allocate(Way::Mmap, count)?;
        return (0..given).map(|slot| device.map(slot)).collect();
    }
    let count = count.min(u32::try_from(pool.free()).unwrap_or(u32::MAX));
    let given = device.allocate(Way::UserPtr, count)?;
    let leases = (0..given).map_while(|_| pool.lease());
    Ok(leases.map(|lease| Box::new(FromPool(lease)) as Box<dyn Slab>).collect())
}

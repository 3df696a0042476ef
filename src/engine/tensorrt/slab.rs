//! Buffers of cameras that the GPU reads where they lie.
//!
//! The memory is the process's own, whole pages of it, which the driver pins and maps for the GPU. It is
//! not taken from the driver (`cuMemHostAlloc`), because the kernel refuses to let a camera write into
//! such memory (V4L2 `USERPTR` takes ordinary pages only). On a Jetson processor, camera and GPU use the
//! same DRAM; on a card the GPU reads over the bus.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::Arc;

use cudarc::driver::sys;

use super::cuda::{Device, cuda};
use crate::engine::{EngineError, EngineErrorKind};
use crate::frame::{Buffers, Memory, NoBuffer, Slab};

/// Whole pages on every machine: the largest that kernels for ARM have.
const PAGE_BYTES: usize = 64 << 10;

/// Zeroed pages of the process.
struct Pages {
    host: NonNull<u8>,
    layout: Layout,
    /// Bytes that are used; the rest fills the last page.
    len: usize,
}

// SAFETY: plain memory with one owner.
unsafe impl Send for Pages {}
// SAFETY: shared references only read.
unsafe impl Sync for Pages {}

impl Pages {
    /// `None` when there is no memory left.
    fn new(len: usize) -> Option<Self> {
        let bytes = len.max(1).checked_next_multiple_of(PAGE_BYTES)?;
        let layout = Layout::from_size_align(bytes, PAGE_BYTES).ok()?;
        // SAFETY: the size is not zero.
        let host = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(Self { host, layout, len })
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: `len` initialised bytes that live as long as `self`. A camera or a GPU touches them
        // only while nobody reads here: a buffer is lent to one of them at a time.
        unsafe { std::slice::from_raw_parts(self.host.as_ptr(), self.len) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and there is one owner.
        unsafe { std::slice::from_raw_parts_mut(self.host.as_ptr(), self.len) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, freed once.
        unsafe { dealloc(self.host.as_ptr(), self.layout) };
    }
}

/// What makes pages visible to a GPU: its driver, or a script in tests.
trait Registers: Send + Sync {
    /// Where the GPU sees these pages from now on.
    ///
    /// # Errors
    /// `Backend` when the driver refuses; the pages are then as before.
    ///
    /// # Safety
    /// These must be whole pages of the process that stay until they are given back, or for ever.
    unsafe fn register(&self, pages: NonNull<u8>, bytes: usize) -> Result<u64, EngineError>;

    /// Whether the GPU has given them back.
    ///
    /// # Safety
    /// They were registered here, nobody has given them back, and nothing on the GPU reads them.
    unsafe fn give_back(&self, pages: NonNull<u8>) -> bool;
}

impl Registers for Device {
    unsafe fn register(&self, pages: NonNull<u8>, bytes: usize) -> Result<u64, EngineError> {
        let none = cuda("the CUDA driver does not pin memory for the camera");
        self.enter()?;
        let host = pages.as_ptr().cast();
        // SAFETY: whole pages that stay, says the caller.
        unsafe { sys::cuMemHostRegister_v2(host, bytes, sys::CU_MEMHOSTREGISTER_DEVICEMAP) }
            .result()
            .map_err(&none)?;
        let mut address = 0;
        // SAFETY: registered as mapped just now.
        let seen = unsafe { sys::cuMemHostGetDevicePointer_v2(&raw mut address, host, 0) }.result();
        seen.map(|()| address).map_err(|e| {
            // SAFETY: registered just now, and nothing has read it yet.
            unsafe { self.give_back(pages) };
            none(e)
        })
    }

    unsafe fn give_back(&self, pages: NonNull<u8>) -> bool {
        // SAFETY: registered once, given back once, says the caller.
        self.enter().is_ok()
            && unsafe { sys::cuMemHostUnregister(pages.as_ptr().cast()) }.result().is_ok()
    }
}

/// Pages that the GPU sees, too.
struct Pinned {
    /// Taken out, and leaked, when the driver does not give them back.
    pages: Option<Pages>,
    /// Where the GPU sees them.
    address: u64,
    device: Arc<dyn Registers>,
}

impl Pinned {
    fn new(device: &Arc<dyn Registers>, len: usize) -> Result<Self, EngineError> {
        let pages = Pages::new(len).ok_or_else(|| {
            EngineError::new(EngineErrorKind::Backend, "there is no memory left for the camera")
        })?;
        // SAFETY: whole pages of the process; dropping gives them back or leaks them.
        let address = unsafe { device.register(pages.host, pages.layout.size()) }?;
        Ok(Self { pages: Some(pages), address, device: Arc::clone(device) })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let Some(pages) = self.pages.take() else { return };
        // SAFETY: registered by this device, given back once; no run reads it, for each was waited for.
        if !unsafe { self.device.give_back(pages.host) } {
            // Pages that a driver may still hold must not come to another use.
            std::mem::forget(pages);
        }
    }
}

impl Slab for Pinned {
    fn bytes(&self) -> &[u8] {
        self.pages.as_ref().map_or(&[], Pages::bytes)
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.pages.as_mut().map_or(&mut [], Pages::bytes_mut)
    }

    fn memory(&self) -> Memory {
        Memory::MappedPinned { host: self.bytes().as_ptr() as usize, device: self.address }
    }
}

/// Makes such buffers.
pub(super) struct PinnedBuffers(Arc<dyn Registers>);

impl PinnedBuffers {
    pub(super) fn of(device: Arc<Device>) -> Self {
        Self(device)
    }
}

impl Buffers for PinnedBuffers {
    fn make(&self, bytes: usize) -> Result<Box<dyn Slab>, NoBuffer> {
        Ok(Box::new(Pinned::new(&self.0, bytes)?))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Call {
        Register(usize),
        GiveBack,
    }

    /// Registers at address 7, unless it is to refuse.
    struct Driver {
        calls: Arc<Mutex<Vec<Call>>>,
        refuses: bool,
        keeps: bool,
    }

    impl Registers for Driver {
        unsafe fn register(&self, _: NonNull<u8>, bytes: usize) -> Result<u64, EngineError> {
            self.calls.lock().unwrap().push(Call::Register(bytes));
            let refused = || EngineError::new(EngineErrorKind::Backend, "scripted");
            (!self.refuses).then_some(7).ok_or_else(refused)
        }

        unsafe fn give_back(&self, _: NonNull<u8>) -> bool {
            self.calls.lock().unwrap().push(Call::GiveBack);
            !self.keeps
        }
    }

    /// Buffers of a device, and what its driver was told.
    fn device(refuses: bool, keeps: bool) -> (PinnedBuffers, Arc<Mutex<Vec<Call>>>) {
        let calls = Arc::default();
        (PinnedBuffers(Arc::new(Driver { calls: Arc::clone(&calls), refuses, keeps })), calls)
    }

    #[test]
    fn a_buffer_is_registered_once_and_given_back_once() {
        // What the driver keeps all the same is left behind.
        for keeps in [false, true] {
            let (buffers, calls) = device(false, keeps);
            let buffer = buffers.make(3).unwrap();
            assert!(matches!(buffer.memory(), Memory::MappedPinned { device: 7, .. }));
            drop(buffer);
            assert_eq!(*calls.lock().unwrap(), [Call::Register(PAGE_BYTES), Call::GiveBack]);
        }
        let (buffers, calls) = device(true, false);
        assert!(buffers.make(3).is_err());
        assert_eq!(*calls.lock().unwrap(), [Call::Register(PAGE_BYTES)], "nothing to give back");
    }

    #[test]
    fn a_buffer_outlives_whoever_made_it_and_is_still_given_back() {
        let (buffers, calls) = device(false, false);
        let mut buffer = buffers.make(3).unwrap();
        drop(buffers);
        buffer.bytes_mut().fill(5);
        assert_eq!(buffer.bytes(), &[5; 3]);
        drop(buffer);
        assert_eq!(*calls.lock().unwrap(), [Call::Register(PAGE_BYTES), Call::GiveBack]);
    }

    #[test]
    fn pages_are_whole_zeroed_and_the_callers_own() {
        for len in [0, 1, PAGE_BYTES, PAGE_BYTES + 1] {
            let mut pages = Pages::new(len).unwrap();
            assert_eq!(pages.host.as_ptr() as usize % PAGE_BYTES, 0);
            assert_eq!(pages.layout.size() % PAGE_BYTES, 0);
            assert!(pages.bytes().len() == len && pages.bytes().iter().all(|byte| *byte == 0));
            pages.bytes_mut().fill(7);
            assert!(pages.bytes().iter().all(|byte| *byte == 7));
        }
        assert!(Pages::new(usize::MAX).is_none());
    }
}

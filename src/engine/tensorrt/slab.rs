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

/// Pages that the GPU sees, too.
struct Pinned {
    /// Taken out, and leaked, when the driver does not give them back.
    pages: Option<Pages>,
    /// Where the GPU sees them.
    address: u64,
    device: Arc<Device>,
}

impl Pinned {
    fn new(device: &Arc<Device>, len: usize) -> Result<Self, EngineError> {
        let none = cuda("the CUDA driver does not pin memory for the camera");
        let pages = Pages::new(len).ok_or_else(|| {
            EngineError::new(EngineErrorKind::Backend, "there is no memory left for the camera")
        })?;
        device.enter()?;
        let (host, bytes) = (pages.host.as_ptr().cast(), pages.layout.size());
        // SAFETY: these are whole pages of the process, alive until they are unregistered.
        unsafe { sys::cuMemHostRegister_v2(host, bytes, sys::CU_MEMHOSTREGISTER_DEVICEMAP) }
            .result()
            .map_err(&none)?;
        // From here on dropping unregisters.
        let mut pinned = Self { pages: Some(pages), address: 0, device: Arc::clone(device) };
        // SAFETY: registered as mapped just now.
        unsafe { sys::cuMemHostGetDevicePointer_v2(&raw mut pinned.address, host, 0) }
            .result()
            .map_err(&none)?;
        Ok(pinned)
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let Some(pages) = self.pages.take() else { return };
        // SAFETY: registered once, unregistered once; no run reads it, for each was waited for.
        let given_back = self.device.enter().is_ok()
            && unsafe { sys::cuMemHostUnregister(pages.host.as_ptr().cast()) }.result().is_ok();
        if !given_back {
            // Pages that the driver still holds must not come to another use.
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
pub(super) struct PinnedBuffers(pub(super) Arc<Device>);

impl Buffers for PinnedBuffers {
    fn make(&self, bytes: usize) -> Result<Box<dyn Slab>, NoBuffer> {
        Ok(Box::new(Pinned::new(&self.0, bytes)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

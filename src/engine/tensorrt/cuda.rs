//! The CUDA device: what it is, and memory that it and the processor share.
//!
//! Beside `ffi` and `slab` the one file here with unsafe code. The driver is found at run time. It is asked
//! first: without a driver the library of TensorRT answers garbage instead of an error.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::Arc;

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;

use crate::engine::{EngineError, EngineErrorKind};

/// What a plan is bound to.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DeviceInfo {
    /// As the driver names it.
    pub name: String,
    /// Compute capability, major and minor.
    pub compute_capability: (i32, i32),
    /// CUDA version of the driver: major * 1000 + minor * 10.
    pub driver: i32,
    /// Multiprocessors and memory in bytes: devices of one name have different ones.
    pub multiprocessors: i32,
    /// Memory, in bytes.
    pub memory_bytes: usize,
    /// Release of a Jetson's system, whose driver keeps the same CUDA version over several.
    pub tegra_release: Option<String>,
}

/// A device in use by this process.
#[derive(Debug)]
pub(super) struct Device {
    ordinal: sys::CUdevice,
    context: sys::CUcontext,
    info: DeviceInfo,
}

// SAFETY: device and context are numbers and pointers that the driver takes on any thread.
unsafe impl Send for Device {}
// SAFETY: as above; nothing here changes.
unsafe impl Sync for Device {}

impl Device {
    /// The first device.
    ///
    /// # Errors
    /// `Backend` when there is no driver or no device.
    pub(super) fn open() -> Result<Arc<Self>, EngineError> {
        // SAFETY: only looks whether the library can be loaded.
        if !unsafe { sys::is_culib_present() } {
            return Err(EngineError::new(
                EngineErrorKind::Backend,
                "no CUDA driver here (libcuda.so.1): install NVIDIA's driver, or use the backend `cpu`",
            ));
        }
        let no_device = cuda("there is no CUDA device that can be used");
        result::init().map_err(&no_device)?;
        let ordinal = result::device::get(0).map_err(&no_device)?;
        let name = result::device::get_name(ordinal).map_err(&no_device)?;
        // SAFETY: the device was answered by the driver.
        let (major, minor, multiprocessors, memory_bytes, context) = unsafe {
            use sys::CUdevice_attribute_enum as Attribute;
            let get = |attribute| result::device::get_attribute(ordinal, attribute);
            (
                get(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR).map_err(&no_device)?,
                get(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR).map_err(&no_device)?,
                get(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT).map_err(&no_device)?,
                result::device::total_mem(ordinal).map_err(&no_device)?,
                result::primary_ctx::retain(ordinal).map_err(&no_device)?,
            )
        };
        let mut driver = 0;
        // SAFETY: writes one number.
        unsafe { sys::cuDriverGetVersion(&raw mut driver) }.result().map_err(&no_device)?;
        let info = DeviceInfo {
            name,
            compute_capability: (major, minor),
            driver,
            multiprocessors,
            memory_bytes,
            tegra_release: tegra_release(),
        };
        let device = Arc::new(Self { ordinal, context, info });
        device.enter()?;
        Ok(device)
    }

    pub(super) fn info(&self) -> &DeviceInfo {
        &self.info
    }

    /// Makes the device the one of this thread; each thread that uses it calls this first.
    ///
    /// # Errors
    /// `Backend` when the driver refuses.
    pub(super) fn enter(&self) -> Result<(), EngineError> {
        // SAFETY: the context is retained until the device is dropped.
        unsafe { result::ctx::set_current(self.context) }
            .map_err(cuda("cannot use the CUDA device on this thread"))
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: retained once, released once. A driver that is gone has released it.
        let _ = unsafe { result::primary_ctx::release(self.ordinal) };
    }
}

/// The first line of the file that says which release of its system a Jetson runs.
fn tegra_release() -> Option<String> {
    let text = std::fs::read_to_string("/etc/nv_tegra_release").ok()?;
    text.lines().next().map(str::to_owned)
}

pub(super) fn cuda(what: &'static str) -> impl Fn(DriverError) -> EngineError {
    move |e| {
        let kind =
            if ends_the_process(e.0) { EngineErrorKind::Lost } else { EngineErrorKind::Backend };
        EngineError::with_source(kind, what, e)
    }
}

/// The errors of which NVIDIA's header (cuda.h) says that any further work returns them again, and that to
/// go on the process must be terminated and relaunched; with them memory that cannot be relied on any
/// more, and a context that is gone.
fn ends_the_process(code: sys::CUresult) -> bool {
    use sys::cudaError_enum as Code;
    matches!(
        code,
        Code::CUDA_ERROR_ILLEGAL_ADDRESS
            | Code::CUDA_ERROR_LAUNCH_TIMEOUT
            | Code::CUDA_ERROR_ASSERT
            | Code::CUDA_ERROR_HARDWARE_STACK_ERROR
            | Code::CUDA_ERROR_ILLEGAL_INSTRUCTION
            | Code::CUDA_ERROR_MISALIGNED_ADDRESS
            | Code::CUDA_ERROR_INVALID_ADDRESS_SPACE
            | Code::CUDA_ERROR_INVALID_PC
            | Code::CUDA_ERROR_LAUNCH_FAILED
            | Code::CUDA_ERROR_MPS_CLIENT_TERMINATED
            | Code::CUDA_ERROR_EXTERNAL_DEVICE
            | Code::CUDA_ERROR_ECC_UNCORRECTABLE
            | Code::CUDA_ERROR_NVLINK_UNCORRECTABLE
            | Code::CUDA_ERROR_CONTEXT_IS_DESTROYED
    )
}

/// Memory that processor and device see at once: mapped and pinned. On a Jetson both read the
/// same DRAM, so nothing is copied.
pub(super) struct Shared {
    host: NonNull<u8>,
    address: u64,
    len: usize,
    device: Arc<Device>,
}

// SAFETY: plain memory with one owner; the device touches it only while a run is waited for.
unsafe impl Send for Shared {}

impl Shared {
    /// `len` bytes, all zero.
    ///
    /// # Errors
    /// `Backend` when there is no such memory left.
    pub(super) fn new(device: &Arc<Device>, len: usize) -> Result<Self, EngineError> {
        let none = cuda("cannot get memory that processor and GPU share");
        // SAFETY: the flag is of this call; the size is not zero.
        let host = unsafe { result::malloc_host(len.max(1), sys::CU_MEMHOSTALLOC_DEVICEMAP) }
            .map_err(&none)?;
        let host = NonNull::new(host.cast::<u8>()).ok_or_else(|| {
            EngineError::new(EngineErrorKind::Backend, "the CUDA driver gave memory at address 0")
        })?;
        let mut shared = Self { host, address: 0, len, device: Arc::clone(device) };
        // SAFETY: the memory was allocated as mapped just now, `len` bytes of it.
        unsafe {
            host.as_ptr().write_bytes(0, len);
            sys::cuMemHostGetDevicePointer_v2(&raw mut shared.address, host.as_ptr().cast(), 0)
                .result()
                .map_err(&none)?;
        }
        Ok(shared)
    }

    /// Where the device sees it.
    pub(super) fn address(&self) -> u64 {
        self.address
    }

    /// The bytes; no run may be under way.
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: `len` initialised bytes that live as long as `self`; runs are waited for before
        // anyone reads (`Stream::wait`).
        unsafe { std::slice::from_raw_parts(self.host.as_ptr(), self.len) }
    }

    /// The same to write to.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and there is one owner.
        unsafe { std::slice::from_raw_parts_mut(self.host.as_ptr(), self.len) }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.device.enter().is_ok() {
            // SAFETY: allocated by `malloc_host`, freed once.
            let _ = unsafe { result::free_host(self.host.as_ptr().cast()) };
        }
    }
}

/// A queue of work of its own.
pub(super) struct Stream {
    stream: sys::CUstream,
    device: Arc<Device>,
}

// SAFETY: the driver takes streams on any thread; one owner.
unsafe impl Send for Stream {}

impl Stream {
    /// # Errors
    /// `Backend` when the driver refuses.
    pub(super) fn new(device: &Arc<Device>) -> Result<Self, EngineError> {
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking)
            .map_err(cuda("cannot make a CUDA stream"))?;
        Ok(Self { stream, device: Arc::clone(device) })
    }

    /// For calls that put work into it.
    pub(super) fn as_ptr(&self) -> *mut c_void {
        self.stream.cast()
    }

    /// Waits until all work is done.
    ///
    /// # Errors
    /// `Backend` when the work failed.
    pub(super) fn wait(&self) -> Result<(), EngineError> {
        // SAFETY: the stream lives as long as `self`.
        unsafe { result::stream::synchronize(self.stream) }
            .map_err(cuda("the GPU failed to run the model"))
    }

    /// Records what `work` puts into the stream as one CUDA graph: one launch instead of one for each
    /// kernel.
    ///
    /// # Errors
    /// `Backend` when it cannot be recorded; the stream is then as before.
    pub(super) fn record(
        &self,
        work: impl FnOnce(*mut c_void) -> Result<(), EngineError>,
    ) -> Result<Recorded, EngineError> {
        let cannot = cuda("the run cannot be recorded as a CUDA graph");
        let mode = sys::CUstreamCaptureMode_enum::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream is ours, and capturing is ended in any case below.
        unsafe { result::stream::begin_capture(self.stream, mode) }.map_err(&cannot)?;
        let worked = work(self.stream.cast());
        // SAFETY: a capture was begun on this stream.
        let graph = unsafe { result::stream::end_capture(self.stream) };
        if let (Err(_), Ok(graph)) = (&worked, &graph) {
            // SAFETY: answered by the driver, destroyed once.
            let _ = unsafe { result::graph::destroy(*graph) };
        }
        worked?;
        let graph = graph.map_err(&cannot)?;
        // SAFETY: the graph was answered by the driver and is destroyed once; the recorded run
        // does not need it.
        let run = unsafe {
            let run = result::graph::instantiate(graph, sys::CUgraphInstantiate_flags(0));
            let _ = result::graph::destroy(graph);
            run.map_err(&cannot)?
        };
        Ok(Recorded { run, device: Arc::clone(&self.device) })
    }

    /// Puts a recorded run into the stream.
    ///
    /// # Errors
    /// `Backend` when the driver refuses.
    pub(super) fn launch(&self, recorded: &Recorded) -> Result<(), EngineError> {
        // SAFETY: the recorded run lives as long as its value, and is launched on the device that it was
        // recorded on.
        unsafe { result::graph::launch(recorded.run, self.stream) }
            .map_err(cuda("the GPU refuses the recorded run"))
    }
}

/// A recorded run. It refers to the memory and the engine that it was recorded with; who launches it
/// keeps them.
pub(super) struct Recorded {
    run: sys::CUgraphExec,
    device: Arc<Device>,
}

// SAFETY: a pointer that the driver takes on any thread; one owner.
unsafe impl Send for Recorded {}

impl Drop for Recorded {
    fn drop(&mut self) {
        if self.device.enter().is_ok() {
            // SAFETY: instantiated once, destroyed once; each launch was waited for.
            let _ = unsafe { result::graph::exec_destroy(self.run) };
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.device.enter().is_err() {
            return;
        }
        // SAFETY: made by this value, destroyed once, after its work is done.
        unsafe {
            let _ = result::stream::synchronize(self.stream);
            let _ = result::stream::destroy(self.stream);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_after_which_the_process_must_end_are_told_from_those_that_may_pass() {
        use sys::cudaError_enum as Code;
        let kind = |code| cuda("scripted")(DriverError(code)).kind();
        for code in [
            Code::CUDA_ERROR_ILLEGAL_ADDRESS,
            Code::CUDA_ERROR_ASSERT,
            Code::CUDA_ERROR_LAUNCH_FAILED,
            Code::CUDA_ERROR_ECC_UNCORRECTABLE,
        ] {
            assert_eq!(kind(code), EngineErrorKind::Lost, "{code:?}");
        }
        for code in [
            Code::CUDA_ERROR_OUT_OF_MEMORY,
            Code::CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
            Code::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED,
            Code::CUDA_ERROR_NO_DEVICE,
            Code::CUDA_ERROR_UNKNOWN,
        ] {
            assert_eq!(kind(code), EngineErrorKind::Backend, "{code:?}");
        }
    }
}

//! A video node of the kernel. All `unsafe` of the back-end is in this file.
//!
//! Soundness rests on ownership: memory that the driver may write into lies in [`Kernel::slots`],
//! where nobody can reach it, from QBUF until DQBUF or STREAMOFF.

#![allow(unsafe_code)] // The kernel's requests and mappings; nowhere else in the back-end.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::abi::{self, Request};
use super::device::{
    Card, Control, ControlKind, Device, Filled, Interval, Layout, Ready, Sizes, Way,
};
use super::fourcc::FourCc;
use super::lists;
use crate::frame::{Memory, Slab};

/// An opened video node.
pub struct Kernel {
    // Closed before the slots are freed: the driver lets go of memory at the latest then.
    file: OwnedFd,
    /// Whether the node speaks of planes (`V4L2_CAP_VIDEO_CAPTURE_MPLANE`).
    planes: bool,
    slots: Mutex<Slots>,
}

#[derive(Default)]
struct Slots {
    user_memory: bool,
    each: Vec<Slot>,
}

/// Where the memory of one buffer is.
enum Slot {
    /// Nowhere yet.
    Empty,
    /// Mapped at this address, which is compared and never followed; with whoever took it.
    Out(usize),
    /// With the driver.
    Queued(Box<dyn Slab>),
}

impl Kernel {
    /// Opens the node for streaming.
    ///
    /// # Errors
    /// When there is no such node, or this user may not open it.
    pub fn open(path: &Path) -> io::Result<Kernel> {
        let mut options = OpenOptions::new();
        // Without O_NONBLOCK, DQBUF would wait as long as it likes.
        let file = options.read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        let mut kernel = Kernel { file: file.into(), planes: false, slots: Mutex::default() };
        kernel.planes = kernel.abilities()?.1 & abi::CAP_VIDEO_CAPTURE == 0;
        Ok(kernel)
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        // Each slot is replaced as a whole: a panic elsewhere cannot leave one half done.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn abilities(&self) -> io::Result<(abi::Capability, u32)> {
        let mut caps = abi::Capability::default();
        self.ask(abi::QUERYCAP, &mut caps)?;
        // `capabilities` is of the whole device, `device_caps` of this node.
        let of_node = match caps.capabilities & abi::CAP_DEVICE_CAPS {
            0 => caps.capabilities,
            _ => caps.device_caps,
        };
        Ok((caps, of_node))
    }

    pub(super) fn kind(&self) -> u32 {
        match self.planes {
            true => abi::BUF_TYPE_VIDEO_CAPTURE_MPLANE,
            false => abi::BUF_TYPE_VIDEO_CAPTURE,
        }
    }

    /// A request whose argument holds no address.
    pub(super) fn ask<T>(&self, request: Request<T>, argument: &mut T) -> io::Result<()> {
        // SAFETY: the arguments that are passed here hold no address, and see below.
        unsafe { self.ask_with_addresses(request, argument) }
    }

    /// # Safety
    /// Addresses inside of `argument` must be valid for what the kernel does with them.
    unsafe fn ask_with_addresses<T>(
        &self,
        request: Request<T>,
        argument: &mut T,
    ) -> io::Result<()> {
        loop {
            // SAFETY: the request's number states the size of `T`, which is laid out as the kernel
            // has it (checked in `abi`), so the kernel reads and writes inside `argument` only.
            let done = unsafe {
                libc::ioctl(self.file.as_raw_fd(), request.number, std::ptr::from_mut(argument))
            };
            if done == 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }

    /// A buffer request, with the plane that multi-planar nodes want.
    ///
    /// # Safety
    /// For QBUF of user memory: `place` and `length` of the plane or buffer must be memory that
    /// stays untouched until DQBUF or STREAMOFF.
    unsafe fn ask_buffer(
        &self,
        request: Request<abi::Buffer>,
        buffer: &mut abi::Buffer,
        plane: &mut abi::Plane,
    ) -> io::Result<()> {
        buffer.kind = self.kind();
        if !self.planes {
            buffer.place = plane.place;
            buffer.length = plane.length;
            // SAFETY: the caller's promise; no other address is in there.
            unsafe { self.ask_with_addresses(request, buffer)? };
            plane.place = buffer.place;
            plane.length = buffer.length;
            plane.bytes_used = buffer.bytes_used;
            return Ok(());
        }
        buffer.place = std::ptr::from_mut(plane) as u64;
        buffer.length = 1;
        // SAFETY: one plane is announced and one is there, for as long as the call lasts; what its
        // own address points to is the caller's promise.
        unsafe { self.ask_with_addresses(request, buffer) }
    }

    fn way(slots: &Slots) -> u32 {
        if slots.user_memory { abi::MEMORY_USERPTR } else { abi::MEMORY_MMAP }
    }

    /// A descriptor by which other drivers can import the buffer, when the driver gives one.
    fn export(&self, slot: u32) -> Option<OwnedFd> {
        let flags = (libc::O_CLOEXEC | libc::O_RDWR) as u32;
        let kind = self.kind();
        let mut export = abi::ExportBuffer { kind, index: slot, flags, ..Default::default() };
        self.ask(abi::EXPBUF, &mut export).ok()?;
        // SAFETY: the kernel opened this descriptor for us just now.
        Some(unsafe { OwnedFd::from_raw_fd(export.fd) })
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        // Whatever it answers: closing the file, which comes next, ends streaming, too.
        let mut kind = self.kind() as i32;
        let _ = self.ask(abi::STREAMOFF, &mut kind);
    }
}

impl Device for Kernel {
    fn card(&self) -> io::Result<Card> {
        let (caps, of_node) = self.abilities()?;
        let capture = abi::CAP_VIDEO_CAPTURE | abi::CAP_VIDEO_CAPTURE_MPLANE;
        Ok(Card {
            driver: abi::text(&caps.driver),
            name: abi::text(&caps.card),
            bus: abi::text(&caps.bus_info),
            captures: of_node & capture != 0,
            streams: of_node & abi::CAP_STREAMING != 0,
        })
    }

    fn formats(&self) -> io::Result<Vec<FourCc>> {
        lists::formats(self)
    }

    fn sizes(&self, format: FourCc) -> io::Result<Vec<Sizes>> {
        lists::sizes(self, format)
    }

    fn intervals(&self, format: FourCc, size: (u32, u32)) -> io::Result<Vec<Interval>> {
        lists::intervals(self, format, size)
    }

    fn set_format(&self, format: FourCc, (width, height): (u32, u32)) -> io::Result<Layout> {
        if !self.planes {
            let mut set = abi::Format { kind: self.kind(), ..abi::Format::ZERO };
            set.pix = abi::PixFormat { width, height, ..Default::default() };
            (set.pix.pixel_format, set.pix.field) = (format.0, abi::FIELD_NONE);
            self.ask(abi::S_FMT, &mut set)?;
            return Ok(Layout {
                format: FourCc(set.pix.pixel_format),
                width: set.pix.width,
                height: set.pix.height,
                stride: set.pix.bytes_per_line,
                bytes: set.pix.size_image,
                planes: 1,
                progressive: set.pix.field == abi::FIELD_NONE,
            });
        }
        let mut set = abi::FormatPlanes { kind: self.kind(), ..Default::default() };
        set.pix = abi::PixFormatPlanes { width, height, num_planes: 1, ..Default::default() };
        (set.pix.pixel_format, set.pix.field) = (format.0, abi::FIELD_NONE);
        self.ask(abi::S_FMT_PLANES, &mut set)?;
        Ok(Layout {
            format: FourCc(set.pix.pixel_format),
            width: set.pix.width,
            height: set.pix.height,
            stride: set.pix.planes[0].bytes_per_line,
            bytes: set.pix.planes[0].size_image,
            planes: u32::from(set.pix.num_planes),
            progressive: set.pix.field == abi::FIELD_NONE,
        })
    }

    fn set_interval(&self, interval: Interval) -> io::Result<Option<Interval>> {
        let mut set = abi::StreamParameters { kind: self.kind(), ..abi::StreamParameters::ZERO };
        set.interval = [interval.seconds, interval.per];
        match self.ask(abi::S_PARM, &mut set) {
            Ok(()) if set.capability & abi::CAP_TIMEPERFRAME != 0 => {
                let [seconds, per] = set.interval;
                Ok(Some(Interval { seconds, per }))
            }
            Ok(()) => Ok(None),
            Err(error) if error.raw_os_error() == Some(libc::ENOTTY) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn control_after(&self, id: u32) -> io::Result<Control> {
        let id = id | abi::CTRL_FLAG_NEXT_CTRL;
        let mut query = abi::QueryExtControl { id, ..Default::default() };
        self.ask(abi::QUERY_EXT_CTRL, &mut query)?;
        Ok(Control {
            id: query.id,
            name: abi::text(&query.name),
            kind: abi::control_kind(query.kind),
            minimum: query.minimum,
            maximum: query.maximum,
            step: query.step,
            default: query.default,
            flags: query.flags,
        })
    }

    fn menu_item(&self, id: u32, index: u32) -> io::Result<String> {
        let mut query = abi::QueryMenu { id, index, ..Default::default() };
        self.ask(abi::QUERYMENU, &mut query)?;
        Ok(abi::text(&query.name))
    }

    fn value(&self, control: &Control) -> io::Result<i64> {
        let mut one = abi::ExtControl { id: control.id, ..Default::default() };
        let mut all = one_control(&mut one);
        // SAFETY: one control is announced and one is there; it holds a number, no address.
        unsafe { self.ask_with_addresses(abi::G_EXT_CTRLS, &mut all)? };
        let [low, high] = one.value.map(u64::from);
        Ok(match control.kind {
            ControlKind::Integer64 => (low | high << 32) as i64,
            // Bits above the sign are no number.
            ControlKind::Bitmask => low as i64,
            _ => i64::from(low as u32 as i32),
        })
    }

    fn set_value(&self, control: &Control, value: i64) -> io::Result<()> {
        let value = [value as u32, (value >> 32) as u32];
        let mut one = abi::ExtControl { id: control.id, value, ..Default::default() };
        let mut all = one_control(&mut one);
        // SAFETY: one control is announced and one is there; it holds a number, no address.
        unsafe { self.ask_with_addresses(abi::S_EXT_CTRLS, &mut all) }
    }

    fn allocate(&self, way: Way, count: u32) -> io::Result<u32> {
        let mut slots = self.slots();
        let user_memory = way == Way::UserPtr;
        let memory = if user_memory { abi::MEMORY_USERPTR } else { abi::MEMORY_MMAP };
        let kind = self.kind();
        let mut request = abi::RequestBuffers { count, kind, memory, ..Default::default() };
        self.ask(abi::REQBUFS, &mut request)?;
        let each = (0..request.count).map(|_| Slot::Empty).collect();
        // REQBUFS succeeds on a queue that does not stream only: nothing is with the driver.
        *slots = Slots { user_memory, each };
        Ok(request.count)
    }

    fn map(&self, slot: u32) -> io::Result<Box<dyn Slab>> {
        let mut slots = self.slots();
        // A second mapping would share its bytes with the first.
        let Some(empty @ Slot::Empty) = slots.each.get_mut(slot as usize) else {
            return Err(invalid("this buffer is mapped already, or there is none"));
        };
        let memory = abi::MEMORY_MMAP;
        let mut buffer = abi::Buffer { index: slot, memory, ..Default::default() };
        let mut plane = abi::Plane::default();
        // SAFETY: QUERYBUF follows no address.
        unsafe { self.ask_buffer(abi::QUERYBUF, &mut buffer, &mut plane)? };
        let len = plane.length as usize;
        // The offset is a number of 32 bits in a union with addresses.
        let offset = i64::from(plane.place as u32);
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let at = unsafe {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let file = self.file.as_raw_fd();
            libc::mmap(std::ptr::null_mut(), len, access, libc::MAP_SHARED, file, offset)
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let at = NonNull::new(at.cast()).ok_or_else(|| invalid("mapped at address zero"))?;
        *empty = Slot::Out(at.as_ptr() as usize);
        drop(slots);
        Ok(Box::new(Mapped { at, len, dma_buf: self.export(slot) }))
    }

    fn queue(&self, slot: u32, mut slab: Box<dyn Slab>) -> io::Result<()> {
        let mut slots = self.slots();
        let memory = Self::way(&slots);
        let bytes = slab.bytes_mut();
        let (at, length) = (bytes.as_mut_ptr(), bytes.len());
        let mut plane = abi::Plane::default();
        let user_memory = slots.user_memory;
        let Some(place) = slots.each.get_mut(slot as usize) else {
            return Err(invalid("there is no buffer of this number"));
        };
        let free = match place {
            Slot::Empty => user_memory,
            Slot::Out(mine) => *mine == at as usize,
            Slot::Queued(_) => false,
        };
        if !free {
            return Err(invalid("this memory does not belong to a free buffer of this number"));
        }
        if user_memory {
            plane.place = at as u64;
            plane.length = u32::try_from(length).unwrap_or(u32::MAX);
        }
        let mut buffer = abi::Buffer { index: slot, memory, ..Default::default() };
        // SAFETY: `bytes` is ours alone, and the slab that owns it lies in `slots`, untouched,
        // until the driver gives it back: a slab's bytes stay where they are while it lives.
        unsafe { self.ask_buffer(abi::QBUF, &mut buffer, &mut plane)? };
        *place = Slot::Queued(slab);
        Ok(())
    }

    fn dequeue(&self) -> io::Result<Option<Filled>> {
        let mut slots = self.slots();
        let memory = Self::way(&slots);
        let mut buffer = abi::Buffer { memory, ..Default::default() };
        let mut plane = abi::Plane::default();
        // SAFETY: DQBUF follows no address but that of the plane.
        match unsafe { self.ask_buffer(abi::DQBUF, &mut buffer, &mut plane) } {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        }
        let user_memory = slots.user_memory;
        let Some(place) = slots.each.get_mut(buffer.index as usize) else {
            return Err(invalid("the driver gave back a buffer that there is not"));
        };
        let slab = match std::mem::replace(place, Slot::Empty) {
            Slot::Queued(slab) => slab,
            other => {
                *place = other;
                return Err(invalid("the driver gave back a buffer that it did not have"));
            }
        };
        if !user_memory {
            *place = Slot::Out(slab.bytes().as_ptr() as usize);
        }
        let stamp_ns = abi::stamp_ns(&buffer);
        Ok(Some(Filled {
            slot: buffer.index,
            slab,
            bytes: plane.bytes_used.saturating_sub(plane.data_offset) as usize,
            offset: plane.data_offset as usize,
            damaged: buffer.flags & abi::BUF_FLAG_ERROR != 0,
            sequence: buffer.sequence,
            stamp_ns,
            age_ns: stamp_ns.map(|stamp| monotonic_ns().saturating_sub(stamp)),
        }))
    }

    fn start(&self) -> io::Result<()> {
        self.ask(abi::STREAMON, &mut (self.kind() as i32))
    }

    fn stop(&self) -> io::Result<()> {
        let mut slots = self.slots();
        self.ask(abi::STREAMOFF, &mut (self.kind() as i32))?;
        // The driver has let go of all of them. Only then they may be freed.
        for slot in &mut slots.each {
            if let Slot::Queued(_) = slot {
                *slot = Slot::Empty;
            }
        }
        Ok(())
    }

    fn wait(&self, ns: u64) -> io::Result<Ready> {
        const NS_PER_S: u64 = 1_000_000_000;
        let mut poll = libc::pollfd { fd: self.file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let limit = libc::timespec {
            tv_sec: (ns / NS_PER_S) as libc::time_t,
            tv_nsec: (ns % NS_PER_S) as libc::c_long,
        };
        // SAFETY: one entry is announced and one is there; both outlive the call.
        let found = unsafe { libc::ppoll(&mut poll, 1, &limit, std::ptr::null()) };
        if found < 0 {
            let error = io::Error::last_os_error();
            let interrupted = error.kind() == io::ErrorKind::Interrupted;
            return if interrupted { Ok(Ready::Nothing) } else { Err(error) };
        }
        let broken = libc::POLLERR | libc::POLLHUP | libc::POLLNVAL;
        Ok(match poll.revents {
            revents if revents & broken != 0 => Ready::Broken,
            0 => Ready::Nothing,
            _ => Ready::Filled,
        })
    }
}

/// A driver's buffer, mapped into the process.
struct Mapped {
    at: NonNull<u8>,
    len: usize,
    dma_buf: Option<OwnedFd>,
}

// SAFETY: the mapping belongs to this value alone, like the memory of a box.
unsafe impl Send for Mapped {}
// SAFETY: a shared reference gives read access only.
unsafe impl Sync for Mapped {}

impl Slab for Mapped {
    fn bytes(&self) -> &[u8] {
        // SAFETY: mapped at `at` for `len` bytes until drop; the driver does not write now,
        // because it does so only while this value lies in `Kernel::slots`.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.len) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `&mut self` is the only way in.
        unsafe { std::slice::from_raw_parts_mut(self.at.as_ptr(), self.len) }
    }

    fn memory(&self) -> Memory {
        match &self.dma_buf {
            Some(fd) => Memory::DmaBuf { fd: fd.as_raw_fd(), offset: 0, len: self.len },
            None => Memory::Heap,
        }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: mapped with this address and length, and nobody has a reference any more.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.len) };
    }
}

fn one_control(one: &mut abi::ExtControl) -> abi::ExtControls {
    let controls = std::ptr::from_mut(one) as u64;
    abi::ExtControls { count: 1, controls, ..Default::default() }
}

fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` outlives the call, and this clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    (now.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(now.tv_nsec as u64)
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

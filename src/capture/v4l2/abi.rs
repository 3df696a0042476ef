//! The structures of the kernel's `linux/videodev2.h` that are used here, and its requests.
//!
//! Plain data. The layout is that of 64-bit little-endian Linux; sizes are part of the request
//! numbers, and those are compared with the kernel's below. Unions are written as the member that
//! is used, filled up to the size of the union.

use std::marker::PhantomData;
use std::mem::size_of;

use super::device::ControlKind;

const _: () = assert!(cfg!(all(target_pointer_width = "64", target_endian = "little")));

/// Number of a request with a pointer to `T` as its argument.
pub(super) struct Request<T> {
    pub(super) number: libc::Ioctl,
    of: PhantomData<T>,
}

impl<T> Clone for Request<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Request<T> {}

/// What the kernel's headers call the letter of a family of requests.
const LETTER: u32 = b'V' as u32;

const fn read<T>(number: u32) -> Request<T> {
    Request { number: libc::_IOR::<T>(LETTER, number), of: PhantomData }
}

const fn write<T>(number: u32) -> Request<T> {
    Request { number: libc::_IOW::<T>(LETTER, number), of: PhantomData }
}

const fn both<T>(number: u32) -> Request<T> {
    Request { number: libc::_IOWR::<T>(LETTER, number), of: PhantomData }
}

pub(super) const QUERYCAP: Request<Capability> = read(0);
pub(super) const ENUM_FMT: Request<FormatDescription> = both(2);
pub(super) const S_FMT: Request<Format> = both(5);
pub(super) const S_FMT_PLANES: Request<FormatPlanes> = both(5);
pub(super) const REQBUFS: Request<RequestBuffers> = both(8);
pub(super) const QUERYBUF: Request<Buffer> = both(9);
pub(super) const QBUF: Request<Buffer> = both(15);
pub(super) const EXPBUF: Request<ExportBuffer> = both(16);
pub(super) const DQBUF: Request<Buffer> = both(17);
pub(super) const STREAMON: Request<i32> = write(18);
pub(super) const STREAMOFF: Request<i32> = write(19);
pub(super) const S_PARM: Request<StreamParameters> = both(22);
pub(super) const QUERYMENU: Request<QueryMenu> = both(37);
pub(super) const ENUM_FRAMESIZES: Request<SizeDescription> = both(74);
pub(super) const ENUM_FRAMEINTERVALS: Request<IntervalDescription> = both(75);
pub(super) const G_EXT_CTRLS: Request<ExtControls> = both(71);
pub(super) const S_EXT_CTRLS: Request<ExtControls> = both(72);
pub(super) const QUERY_EXT_CTRL: Request<QueryExtControl> = both(103);

pub(super) const CAP_VIDEO_CAPTURE: u32 = 0x1;
pub(super) const CAP_VIDEO_CAPTURE_MPLANE: u32 = 0x1000;
pub(super) const CAP_STREAMING: u32 = 0x0400_0000;
pub(super) const CAP_DEVICE_CAPS: u32 = 0x8000_0000;
pub(super) const BUF_TYPE_VIDEO_CAPTURE: u32 = 1;
pub(super) const BUF_TYPE_VIDEO_CAPTURE_MPLANE: u32 = 9;
pub(super) const MEMORY_MMAP: u32 = 1;
pub(super) const MEMORY_USERPTR: u32 = 2;
pub(super) const FIELD_NONE: u32 = 1;
/// Capability of S_PARM: the interval between frames can be set.
pub(super) const CAP_TIMEPERFRAME: u32 = 0x1000;
pub(super) const BUF_FLAG_ERROR: u32 = 0x40;
pub(super) const BUF_FLAG_TIMESTAMP_MASK: u32 = 0xe000;
pub(super) const BUF_FLAG_TIMESTAMP_MONOTONIC: u32 = 0x2000;
pub(super) const CTRL_FLAG_NEXT_CTRL: u32 = 0x8000_0000;
/// Kind of an entry that is one size or interval; others are ranges.
pub(super) const DISCRETE: u32 = 1;

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Capability {
    pub(super) driver: [u8; 16],
    pub(super) card: [u8; 32],
    pub(super) bus_info: [u8; 32],
    pub(super) version: u32,
    pub(super) capabilities: u32,
    pub(super) device_caps: u32,
    pub(super) reserved: [u32; 3],
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct FormatDescription {
    pub(super) index: u32,
    pub(super) kind: u32,
    pub(super) flags: u32,
    pub(super) description: [u8; 32],
    pub(super) pixel_format: u32,
    pub(super) mbus_code: u32,
    pub(super) reserved: [u32; 3],
}

/// `v4l2_frmsizeenum`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct SizeDescription {
    pub(super) index: u32,
    pub(super) pixel_format: u32,
    pub(super) kind: u32,
    /// Width and height; or of a range, smallest, largest and step of each.
    pub(super) sizes: [u32; 6],
    pub(super) reserved: [u32; 2],
}

/// `v4l2_frmivalenum`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct IntervalDescription {
    pub(super) index: u32,
    pub(super) pixel_format: u32,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) kind: u32,
    /// Seconds as a fraction; or of a range, the shortest, the longest and the step.
    pub(super) intervals: [[u32; 2]; 3],
    pub(super) reserved: [u32; 2],
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct PixFormat {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) pixel_format: u32,
    pub(super) field: u32,
    pub(super) bytes_per_line: u32,
    pub(super) size_image: u32,
    /// Colour space, flags, encodings: the driver's choice.
    pub(super) colours: [u32; 6],
}

/// `v4l2_format` of a node with one plane.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Format {
    pub(super) kind: u32,
    pub(super) padding: u32,
    pub(super) pix: PixFormat,
    pub(super) rest: [u8; 152],
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct PlanePixFormat {
    pub(super) size_image: u32,
    pub(super) bytes_per_line: u32,
    pub(super) reserved: [u16; 6],
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct PixFormatPlanes {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) pixel_format: u32,
    pub(super) field: u32,
    pub(super) colour_space: u32,
    pub(super) planes: [PlanePixFormat; 8],
    pub(super) num_planes: u8,
    pub(super) colours: [u8; 4],
    pub(super) reserved: [u8; 7],
}

/// `v4l2_format` of a multi-planar node.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct FormatPlanes {
    pub(super) kind: u32,
    pub(super) padding: u32,
    pub(super) pix: PixFormatPlanes,
    pub(super) rest: [u8; 8],
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct RequestBuffers {
    pub(super) count: u32,
    pub(super) kind: u32,
    pub(super) memory: u32,
    pub(super) capabilities: u32,
    pub(super) flags: u8,
    pub(super) reserved: [u8; 3],
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Buffer {
    pub(super) index: u32,
    pub(super) kind: u32,
    pub(super) bytes_used: u32,
    pub(super) flags: u32,
    pub(super) field: u32,
    pub(super) padding: u32,
    pub(super) seconds: i64,
    pub(super) microseconds: i64,
    pub(super) time_code: [u32; 4],
    pub(super) sequence: u32,
    pub(super) memory: u32,
    /// Offset, address of the memory, or address of the planes.
    pub(super) place: u64,
    pub(super) length: u32,
    pub(super) reserved: [u32; 3],
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Plane {
    pub(super) bytes_used: u32,
    pub(super) length: u32,
    /// Offset or address of the memory.
    pub(super) place: u64,
    pub(super) data_offset: u32,
    pub(super) reserved: [u32; 11],
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct ExportBuffer {
    pub(super) kind: u32,
    pub(super) index: u32,
    pub(super) plane: u32,
    pub(super) flags: u32,
    pub(super) fd: i32,
    pub(super) reserved: [u32; 11],
}

/// `v4l2_streamparm` of a capture node.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct StreamParameters {
    pub(super) kind: u32,
    pub(super) capability: u32,
    pub(super) capture_mode: u32,
    pub(super) interval: [u32; 2],
    pub(super) extended_mode: u32,
    pub(super) read_buffers: u32,
    pub(super) rest: [u8; 176],
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct QueryExtControl {
    pub(super) id: u32,
    pub(super) kind: u32,
    pub(super) name: [u8; 32],
    pub(super) minimum: i64,
    pub(super) maximum: i64,
    pub(super) step: u64,
    pub(super) default: i64,
    pub(super) flags: u32,
    pub(super) element: [u32; 3],
    pub(super) dimensions: [u32; 4],
    pub(super) reserved: [u32; 32],
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct QueryMenu {
    pub(super) id: u32,
    pub(super) index: u32,
    pub(super) name: [u8; 32],
    pub(super) reserved: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct ExtControl {
    pub(super) id: u32,
    pub(super) size: u32,
    pub(super) reserved: u32,
    /// A number of 32 or 64 bits, in two words because the structure is packed.
    pub(super) value: [u32; 2],
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct ExtControls {
    pub(super) which: u32,
    pub(super) count: u32,
    pub(super) error_index: u32,
    pub(super) request: i32,
    pub(super) reserved: [u32; 2],
    /// Address of the controls.
    pub(super) controls: u64,
}

impl Format {
    pub(super) const ZERO: Format = Format {
        kind: 0,
        padding: 0,
        pix: PixFormat {
            width: 0,
            height: 0,
            pixel_format: 0,
            field: 0,
            bytes_per_line: 0,
            size_image: 0,
            colours: [0; 6],
        },
        rest: [0; 152],
    };
}

impl StreamParameters {
    pub(super) const ZERO: StreamParameters = StreamParameters {
        kind: 0,
        capability: 0,
        capture_mode: 0,
        interval: [0; 2],
        extended_mode: 0,
        read_buffers: 0,
        rest: [0; 176],
    };
}

/// What a control takes, by the kernel's number for it.
pub(super) fn control_kind(number: u32) -> ControlKind {
    match number {
        1 => ControlKind::Integer,
        2 => ControlKind::Boolean,
        3 => ControlKind::Menu,
        4 => ControlKind::Button,
        5 => ControlKind::Integer64,
        8 => ControlKind::Bitmask,
        9 => ControlKind::IntegerMenu,
        _ => ControlKind::Other,
    }
}

/// The time stamp of a buffer, when it is of the monotonic clock.
pub(super) fn stamp_ns(buffer: &Buffer) -> Option<u64> {
    let clock = buffer.flags & BUF_FLAG_TIMESTAMP_MASK;
    let seconds = u64::try_from(buffer.seconds).ok()?;
    let ns = u64::try_from(buffer.microseconds).ok()? * 1_000;
    (clock == BUF_FLAG_TIMESTAMP_MONOTONIC)
        .then(|| seconds.saturating_mul(1_000_000_000).saturating_add(ns))
}

/// A text that ends with a zero.
pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

// Direction, size, letter and number of each request as in the kernel's headers.
const _: () = {
    assert!(QUERYCAP.number == 0x8068_5600);
    assert!(ENUM_FMT.number == 0xc040_5602);
    assert!(S_FMT.number == 0xc0d0_5605);
    assert!(S_FMT_PLANES.number == 0xc0d0_5605);
    assert!(REQBUFS.number == 0xc014_5608);
    assert!(QUERYBUF.number == 0xc058_5609);
    assert!(QBUF.number == 0xc058_560f);
    assert!(EXPBUF.number == 0xc040_5610);
    assert!(DQBUF.number == 0xc058_5611);
    assert!(STREAMON.number == 0x4004_5612);
    assert!(STREAMOFF.number == 0x4004_5613);
    assert!(S_PARM.number == 0xc0cc_5616);
    assert!(QUERYMENU.number == 0xc02c_5625);
    assert!(ENUM_FRAMESIZES.number == 0xc02c_564a);
    assert!(ENUM_FRAMEINTERVALS.number == 0xc034_564b);
    assert!(G_EXT_CTRLS.number == 0xc020_5647);
    assert!(S_EXT_CTRLS.number == 0xc020_5648);
    assert!(QUERY_EXT_CTRL.number == 0xc0e8_5667);
    // Not part of any number.
    assert!(size_of::<Plane>() == 64 && size_of::<ExtControl>() == 20);
};

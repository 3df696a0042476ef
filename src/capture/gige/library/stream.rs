//! The stream: leased memory into the library and back.

// Memory is lent to a C library.
#![allow(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aravis::glib::prelude::*;
use aravis::prelude::*;
use aravis::{Buffer, BufferPayloadType, BufferStatus, ChunkParser, GvStream};
use aravis::{GvStreamPacketResend, GvStreamSocketBuffer};

use crate::capture::gige::device::{Chunks, Counters, Delivery, Picture, Status, Stream};
use crate::config::GigeLink;
use crate::frame::Lease;

/// Written into a buffer before it is lent: a buffer whose first packet never came keeps it, where
/// otherwise the number of an older frame would stand.
const NO_ID: u64 = u64::MAX;

/// Frames of one camera.
pub(super) struct Frames {
    /// Taken out by `drop` only.
    stream: Option<aravis::Stream>,
    /// Leases whose memory the library has, and where it lies: while it is written to, not even
    /// a reference to it may be made.
    lent: Vec<(*mut u8, Lease)>,
    /// The library's objects for memory that it does not have now; each is used again.
    resting: Vec<(*mut u8, usize, Buffer)>,
    lost: Arc<AtomicBool>,
    chunks: Option<ChunkParser>,
}

// SAFETY: the pointers are compared, never followed; everything else is `Send`.
unsafe impl Send for Frames {}

impl Frames {
    pub(super) fn new(
        stream: aravis::Stream,
        link: &GigeLink,
        lost: Arc<AtomicBool>,
        chunks: Option<ChunkParser>,
    ) -> Self {
        if let Some(stream) = stream.downcast_ref::<GvStream>() {
            let resend = match link.resend {
                true => GvStreamPacketResend::Always,
                false => GvStreamPacketResend::Never,
            };
            // A camera that cannot send again was noticed by the library: it must stay so.
            if stream.packet_resend() != GvStreamPacketResend::Never {
                stream.set_packet_resend(resend);
            }
            if link.socket_buffer_bytes > 0 {
                stream.set_socket_buffer(GvStreamSocketBuffer::Fixed);
                let bytes = i32::try_from(link.socket_buffer_bytes).unwrap_or(i32::MAX);
                stream.set_socket_buffer_size(bytes);
            }
        }
        Self { stream: Some(stream), lent: Vec::new(), resting: Vec::new(), lost, chunks }
    }

    /// The library's object for this memory.
    fn buffer(&mut self, data: *mut u8, len: usize) -> Buffer {
        let place = self.resting.iter().position(|(d, l, _)| (*d, *l) == (data, len));
        if let Some(place) = place {
            return self.resting.swap_remove(place).2;
        }
        // SAFETY: the library writes into the memory only between `push_buffer` and the return of
        // the buffer, or until the stream is dropped. For that time the lease lies untouched in
        // `lent`, so the memory stays, does not move, and nobody else reads or writes it.
        unsafe { Buffer::new_preallocated_borrowed(data, len) }
    }

    fn chunks(&self, buffer: &Buffer) -> Chunks {
        let Some(parser) = self.chunks.as_ref().filter(|_| buffer.has_chunks()) else {
            return Chunks::default();
        };
        let whole = |name: &str| parser.integer_value(buffer, name).ok();
        let count = |name: &str| whole(name).and_then(|count| u64::try_from(count).ok());
        let number = |name: &str| {
            let float = parser.float_value(buffer, name).ok();
            float.or_else(|| whole(name).map(|whole| whole as f64)).map(|value| value as f32)
        };
        Chunks {
            frame_id: count("ChunkFrameID"),
            ticks: count("ChunkTimestamp"),
            exposure_us: number("ChunkExposureTime"),
            gain: number("ChunkGain"),
            line_status: whole("ChunkLineStatusAll").map(|bits| bits as u32),
            counter: count("ChunkCounterValue"),
        }
    }
}

/// How the buffer came back.
fn status(buffer: &Buffer) -> Status {
    match buffer.status() {
        BufferStatus::Success => match buffer.payload_type() {
            BufferPayloadType::Image | BufferPayloadType::ExtendedChunkData => Status::Whole,
            _ => Status::Unusable,
        },
        BufferStatus::Timeout
        | BufferStatus::MissingPackets
        | BufferStatus::WrongPacketId
        | BufferStatus::Filling => Status::Incomplete,
        BufferStatus::SizeMismatch | BufferStatus::PayloadNotSupported => Status::Unusable,
        _ => Status::Unused,
    }
}

impl Stream for Frames {
    fn push(&mut self, mut lease: Lease) {
        let (data, len) = (lease.as_mut_ptr(), lease.len());
        let buffer = self.buffer(data, len);
        buffer.set_frame_id(NO_ID);
        self.lent.push((data, lease));
        if let Some(stream) = &self.stream {
            stream.push_buffer(buffer);
        }
    }

    fn pushed(&self) -> usize {
        self.lent.len()
    }

    fn pop(&mut self, ns: u64) -> Option<Delivery> {
        let stream = self.stream.as_ref()?;
        let buffer = match ns / 1000 {
            0 => stream.try_pop_buffer(),
            us => stream.timeout_pop_buffer(us),
        }?;
        let (data, received) = buffer.data();
        let place = self.lent.iter().position(|(lent, _)| *lent == data)?;
        let (_, lease) = self.lent.swap_remove(place);
        let status = status(&buffer);
        let whole = status == Status::Whole;
        let sent_us = buffer.system_timestamp() / 1000;
        let now_us = u64::try_from(aravis::glib::real_time()).unwrap_or(0);
        // Without a clock of its own a camera is given the time of arrival.
        let device_ns = Some(buffer.timestamp()).filter(|ns| *ns / 1000 != sent_us);
        let delivery = Delivery {
            status,
            raw_id: Some(buffer.frame_id()).filter(|id| *id != NO_ID),
            age_ns: now_us.saturating_sub(sent_us).saturating_mul(1000),
            device_ns,
            picture: whole.then(|| Picture {
                format: buffer.image_pixel_format().raw(),
                width: usize::try_from(buffer.image_width()).unwrap_or(0),
                height: usize::try_from(buffer.image_height()).unwrap_or(0),
                received,
            }),
            chunks: if whole { self.chunks(&buffer) } else { Chunks::default() },
            lease,
        };
        self.resting.push((data, delivery.lease.len(), buffer));
        Some(delivery)
    }

    fn is_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }

    fn counters(&self) -> Counters {
        let Some(stream) = &self.stream else { return Counters::default() };
        let (_, _, underruns) = stream.statistics();
        let packets = stream.downcast_ref::<GvStream>().map(GvStream::statistics);
        let (resent, missing) = packets.unwrap_or_default();
        Counters { underruns, missing, resent }
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        let Some(stream) = self.stream.take() else { return };
        // The last reference: the library joins its thread, so that it writes no more.
        let weak = stream.downgrade();
        drop(stream);
        if weak.upgrade().is_some() {
            // Somebody in the library keeps the stream: then the memory is never used again rather
            // than used twice.
            tracing::error!("the stream did not end; its buffers are given up");
            self.lent.drain(..).for_each(|(_, lease)| std::mem::forget(lease));
        }
    }
}

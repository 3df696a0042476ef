//! From a buffer that came back to what the station is told. Pure.

use super::device::{Delivery, Picture, Status};
use super::format;
use crate::capture::{Counter, Damage, GAP_PARTS_MAX, Unwrap};
use crate::frame::{Facts, FrameMeta};

/// Largest number of a GigE Vision 1.x frame; more shows that the camera counts in 64 bits.
const RAW_ID_16_MAX: u64 = 65_535;

/// The frame numbers of one stream without end.
///
/// A GigE Vision 1.x camera counts 1 to 65535 and leaves 0 out, one of version 2 in 64 bits; the
/// packets do not tell which, but a number beyond 16 bits does. Until then both count alike.
pub(super) struct Ids {
    unwrap: Unwrap,
    wide: bool,
}

impl Ids {
    /// `wide` when the camera is known to count in 64 bits (USB3 Vision).
    pub(super) fn new(wide: bool) -> Self {
        let counter = if wide { Counter::Whole64 } else { Counter::SkipZero16 };
        Self { unwrap: Unwrap::new(counter), wide }
    }

    /// The number without end; `None` when the camera cannot have sent this one.
    pub(super) fn number(&mut self, raw: u64) -> Option<u64> {
        if !self.wide && raw > RAW_ID_16_MAX {
            // In its first round the narrow counter shows the same numbers as the wide one.
            *self = Self::new(true);
        }
        self.unwrap.number(raw)
    }
}

/// Triggers without a frame to be sent: ignored by the camera, because they came while it exposed
/// or read out; or taken by the sensor and never sent, because its memory was full.
///
/// The number of a frame in its packets counts what is sent. A counter of the camera goes on with
/// every trigger, and the number that the camera writes behind the picture with every frame of the
/// sensor. So a frame is numbered among these: one that was not sent is a gap like any other.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    /// Number and count of the frame that the others are compared with.
    first: Option<(u64, u64)>,
    triggers: u64,
    jumps: u64,
}

impl Unsent {
    /// The number among the triggers of frame `id`, at whose start the camera had counted so many.
    /// A damaged frame tells no count: it is taken for one with nothing unsent before it.
    pub(super) fn number(&mut self, id: u64, counter: Option<u64>) -> u64 {
        if let Some(counter) = counter {
            let (first_id, first_counter) = *self.first.get_or_insert((id, counter));
            // A counter may wrap at 32 bits.
            let triggers = counter.wrapping_sub(first_counter) as u32;
            let behind = triggers.wrapping_sub(id.wrapping_sub(first_id) as u32);
            let new = behind.wrapping_sub(self.triggers as u32);
            if u64::from(new) <= GAP_PARTS_MAX {
                self.triggers += u64::from(new);
            } else {
                // Set back, wrapped at 16 bits, or no count at all: from here on anew.
                self.jumps += 1;
                if self.jumps.is_power_of_two() {
                    let jumps = self.jumps;
                    tracing::warn!(frame = id, counter, jumps, "the camera's count jumped");
                }
                self.first = Some((id, counter.wrapping_sub(self.triggers)));
            }
        }
        id.saturating_add(self.triggers)
    }
}

/// What became of a trigger, by the buffer it was given. `None` when the buffer holds no trigger
/// at all: then there is nothing to report, and what was lost shows in the next number.
pub(super) fn outcome(delivery: &Delivery, pitch: Option<usize>) -> Option<Result<(), Damage>> {
    delivery.raw_id?;
    match (delivery.status, delivery.picture) {
        (Status::Unused, _) => None,
        (Status::Incomplete | Status::Unusable, _) | (Status::Whole, None) => {
            Some(Err(Damage::Unreadable))
        }
        (Status::Whole, Some(picture)) => {
            let usable = shape(&picture, pitch, delivery.lease.len()).is_some();
            Some(if usable { Ok(()) } else { Err(Damage::Unreadable) })
        }
    }
}

/// Layout, bytes a row and bytes of a picture; `None` when an engine cannot read its format or
/// when less came than it needs. What came may be more: facts lie behind the picture.
pub(super) fn shape(
    picture: &Picture,
    pitch: Option<usize>,
    room: usize,
) -> Option<(crate::frame::PixelFormat, usize, usize)> {
    let format = format::by_code(picture.format)?;
    let row = format.row_bytes(picture.width);
    let stride = pitch.filter(|pitch| *pitch >= row).unwrap_or(row);
    let bytes = stride.checked_mul(format.rows(picture.height))?;
    (bytes > 0 && bytes <= picture.received.min(room)).then_some((format, stride, bytes))
}

/// What the camera says of its frames when it is set up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) bytes: usize,
    /// Bytes from row to row, where the camera tells.
    pub(super) pitch: Option<usize>,
    /// Whether it counts in 64 bits.
    pub(super) wide: bool,
    /// Ticks of its clock in a second; `None` when it counts in nanoseconds.
    pub(super) tick_hz: Option<u64>,
}

impl Shape {
    /// A time of the camera's clock in nanoseconds; `None` for the zero of one that does not run.
    fn ns(&self, ticks: u64) -> Option<u64> {
        let ns = u128::from(ticks) * 1_000_000_000;
        let hz = u128::from(self.tick_hz.unwrap_or(1_000_000_000));
        u64::try_from(ns.checked_div(hz)?).ok().filter(|ns| *ns > 0)
    }
}

/// The frame's description: `base` with what the camera told. What it wrote behind the picture is
/// from its sensor, and comes before what stands in the packets.
pub(super) fn meta(base: FrameMeta, delivery: &Delivery, shape: &Shape) -> FrameMeta {
    let (chunks, pitch) = (delivery.chunks, shape.pitch);
    let facts = Facts {
        raw_id: chunks.frame_id.or(delivery.raw_id),
        device_ns: chunks.ticks.and_then(|ticks| shape.ns(ticks)).or(delivery.device_ns),
        exposure_us: chunks.exposure_us,
        gain: chunks.gain,
        line_status: chunks.line_status,
        counter: chunks.counter,
        // The network stack, or the library by the packets it takes from the kernel's ring, puts
        // each packet into the leased buffer; from there on nothing is copied.
        copies: 0,
    };
    let meta = FrameMeta { facts, ..base };
    let Some(picture) = delivery.picture else { return meta };
    match self::shape(&picture, pitch, delivery.lease.len()) {
        Some((format, stride, bytes)) => FrameMeta {
            format,
            stride,
            bytes,
            width: picture.width,
            height: picture.height,
            ..meta
        },
        None => meta,
    }
}

/// What to do after a camera was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is ours.
    Use,
    /// Somebody else controls it: let go, wait this long in milliseconds and try again.
    Again(u64),
    /// Somebody else keeps it.
    GiveUp,
}

/// Longer than the 3 s for which a camera stays with a client that died without a word: our own
/// last run, for instance.
pub(super) const HEARTBEAT_WAIT_MS: u64 = 3_500;
/// Waits at the start of the program. A restart does not wait: the supervisor tries again.
pub(super) const WAITS_AT_START: u32 = 2;

/// The decision after opening a camera for the time `attempt` (from 0).
pub(super) fn taken(is_ours: bool, attempt: u32, waits: u32) -> Taken {
    match is_ours {
        true => Taken::Use,
        false if attempt < waits => Taken::Again(HEARTBEAT_WAIT_MS),
        false => Taken::GiveUp,
    }
}

#[cfg(test)]
mod tests {
    use super::super::device::Chunks;
    use super::*;
    use crate::frame::{CameraId, Nanos, PixelFormat, Pool};

    const MONO8: u32 = 0x0108_0001;

    fn delivery(status: Status, raw_id: Option<u64>, received: usize) -> Delivery {
        let picture = Picture { format: MONO8, width: 8, height: 4, received };
        Delivery {
            lease: Pool::new(1, 64).lease().unwrap(),
            status,
            raw_id,
            age_ns: 0,
            device_ns: Some(5),
            picture: Some(picture),
            chunks: Chunks { gain: Some(2.5), line_status: Some(3), ..Chunks::default() },
        }
    }

    #[test]
    fn only_a_whole_picture_is_a_picture_and_only_a_number_is_a_trigger() {
        let outcome = |status, raw_id, received| outcome(&delivery(status, raw_id, received), None);
        assert_eq!(outcome(Status::Whole, Some(1), 32), Some(Ok(())));
        assert_eq!(outcome(Status::Whole, Some(1), 40), Some(Ok(())), "facts lie behind it");
        for (status, received) in [
            (Status::Whole, 31),
            (Status::Whole, 0),
            (Status::Incomplete, 32),
            (Status::Unusable, 32),
        ] {
            let damaged = Some(Err(Damage::Unreadable));
            assert_eq!(outcome(status, Some(1), received), damaged, "{status:?} {received}");
            assert_eq!(outcome(status, None, received), None);
        }
        assert_eq!(outcome(Status::Unused, Some(1), 32), None);
    }

    #[test]
    fn a_picture_larger_than_its_buffer_or_of_an_unknown_format_is_no_picture() {
        let picture = Picture { format: MONO8, width: 8, height: 4, received: 99 };
        assert_eq!(shape(&picture, None, 31), None);
        assert_eq!(shape(&picture, None, 32), Some((PixelFormat::Mono8, 8, 32)));
        assert_eq!(shape(&picture, Some(16), 64), Some((PixelFormat::Mono8, 16, 64)));
        assert_eq!(shape(&picture, Some(16), 63), None);
        assert_eq!(shape(&picture, Some(0), 64), Some((PixelFormat::Mono8, 8, 32)), "not told");
        let packed = Picture { format: 0x010c_0006, ..picture };
        assert_eq!(shape(&packed, None, 99), None);
        let endless = Picture { width: usize::MAX, height: usize::MAX, ..picture };
        assert_eq!(shape(&endless, None, 99), None);
        let nothing = Picture { width: 0, ..picture };
        assert_eq!(shape(&nothing, None, 99), None);
    }

    #[test]
    fn what_the_camera_told_travels_with_the_frame() {
        let meta = told(delivery(Status::Whole, Some(65_535), 40), Some(10), None);
        assert_eq!((meta.format, meta.width, meta.height), (PixelFormat::Mono8, 8, 4));
        assert_eq!((meta.stride, meta.bytes), (10, 40));
        assert_eq!((meta.facts.raw_id, meta.facts.device_ns), (Some(65_535), Some(5)));
        assert_eq!((meta.facts.gain, meta.facts.line_status), (Some(2.5), Some(3)));
        assert_eq!(meta.facts.copies, 0);
    }

    /// The description of a frame from a camera with rows and a clock like these.
    fn told(delivery: Delivery, pitch: Option<usize>, tick_hz: Option<u64>) -> FrameMeta {
        let base = FrameMeta::packed(CameraId(2), (1, 7), Nanos(5), PixelFormat::Rgb8, (1, 1));
        meta(base, &delivery, &Shape { bytes: 64, pitch, wide: false, tick_hz })
    }

    #[test]
    fn number_and_time_behind_the_picture_come_before_those_in_the_packets() {
        let facts = |frame_id, ticks, tick_hz| {
            let mut delivery = delivery(Status::Whole, Some(3), 32);
            (delivery.chunks.frame_id, delivery.chunks.ticks) = (frame_id, ticks);
            let facts = told(delivery, None, tick_hz).facts;
            (facts.raw_id, facts.device_ns)
        };
        assert_eq!(facts(None, None, None), (Some(3), Some(5)));
        assert_eq!(facts(Some(0), Some(7), None), (Some(0), Some(7)), "nanoseconds");
        assert_eq!(
            facts(Some(9), Some(7), Some(125_000_000)),
            (Some(9), Some(56)),
            "ticks of 8 ns"
        );
        let century = 62_500_000 * 3_155_760_000;
        let ns = Some(3_155_760_000_000_000_000);
        assert_eq!(facts(None, Some(century), Some(62_500_000)), (Some(3), ns));
        for (ticks, tick_hz) in [(0, None), (7, Some(0)), (u64::MAX, Some(1))] {
            let found = facts(None, Some(ticks), tick_hz);
            assert_eq!(found, (Some(3), Some(5)), "{ticks} {tick_hz:?}: no time");
        }
    }

    #[test]
    fn frames_are_numbered_without_end_whichever_way_the_camera_counts() {
        let mut narrow = Ids::new(false);
        let numbers = [65_534, 65_535, 1, 2].map(|raw| narrow.number(raw));
        assert_eq!(numbers, [65_534, 65_535, 65_536, 65_537].map(Some));
        assert_eq!(narrow.number(0), None, "the number that is left out");
        let mut wide = Ids::new(false);
        let numbers = [65_535, 65_536, 65_538].map(|raw| wide.number(raw));
        assert_eq!(numbers, [65_535, 65_536, 65_538].map(Some));
        let mut usb = Ids::new(true);
        assert_eq!([0, 1, 2].map(|raw| usb.number(raw)), [0, 1, 2].map(Some));
    }

    #[test]
    fn triggers_that_the_camera_ignored_are_numbers_without_a_frame() {
        let mut unsent = Unsent::default();
        let mut number = |id, counter| unsent.number(id, counter);
        // The counter need not begin with the frames, and wraps at 32 bits.
        let begin = u64::from(u32::MAX) - 1;
        assert_eq!(number(10, Some(begin)), 10);
        assert_eq!(number(11, Some(begin + 1)), 11);
        assert_eq!(number(12, Some(1)), 13, "one trigger came too early");
        assert_eq!(number(13, None), 14, "a damaged frame tells nothing");
        assert_eq!(number(14, Some(5)), 17, "two more");
        assert_eq!(number(20, Some(11)), 23, "lost frames are no ignored triggers");
        assert_eq!(number(21, Some(0)), 24, "set back: what it counted until then stays");
        assert_eq!((number(22, Some(1)), number(23, Some(3))), (25, 27));
        let mut uncounted = Unsent::default();
        assert_eq!([5, 6].map(|id| uncounted.number(id, None)), [5, 6]);
        // A count of 16 bits that wraps, with and without its zero, is no loss.
        for zero in [0, 1] {
            let mut short = Unsent::default();
            let frames = [(1, 65_534), (2, 65_535), (3, zero), (4, zero + 1), (5, zero + 3)];
            let numbers = frames.map(|(id, count)| short.number(id, Some(count)));
            assert_eq!(numbers, [1, 2, 3, 4, 6], "the last one tells of one that was not sent");
        }
    }

    #[test]
    fn a_camera_that_a_dead_client_holds_is_waited_for_and_one_that_is_used_is_not() {
        assert_eq!(taken(true, 5, 2), Taken::Use);
        assert_eq!(taken(false, 0, 2), Taken::Again(HEARTBEAT_WAIT_MS));
        assert_eq!(taken(false, 1, 2), Taken::Again(HEARTBEAT_WAIT_MS));
        assert_eq!(taken(false, 2, 2), Taken::GiveUp);
        assert_eq!(taken(false, 0, 0), Taken::GiveUp);
    }
}

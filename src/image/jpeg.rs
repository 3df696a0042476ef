//! Whether a JPEG file is whole.
//!
//! The decoder fills what is missing of a truncated file with grey and reports success, and a
//! grey lower half must never be judged. So the file is walked marker by marker first.

const SOI: u8 = 0xD8;
const EOI: u8 = 0xD9;
const SOS: u8 = 0xDA;
const PROGRESSIVE: u8 = 0xC2;
const TEM: u8 = 0x01;
const RESTARTS: std::ops::RangeInclusive<u8> = 0xD0..=0xD7;

/// A file whose markers lead from the start of the image to an end-of-image marker.
pub(super) struct Whole {
    /// Where that marker is.
    pub(super) end: usize,
    /// Whether the picture comes in passes of growing detail.
    pub(super) is_progressive: bool,
}

/// Walks the markers; `None` when the file is cut off or damaged.
pub(super) fn walk(bytes: &[u8]) -> Option<Whole> {
    if bytes.get(..2)? != [0xFF, SOI] {
        return None;
    }
    let (mut at, mut is_progressive) = (2, false);
    loop {
        let (marker, after) = next_marker(bytes, at)?;
        at = match marker {
            EOI => return Some(Whole { end: after - 2, is_progressive }),
            TEM => after,
            _ => {
                let length = u16::from_be_bytes([*bytes.get(after)?, *bytes.get(after + 1)?]);
                let end = after + usize::from(length);
                is_progressive |= marker == PROGRESSIVE;
                if marker == SOS { end_of_scan(bytes, end)? } else { end }
            }
        };
    }
}

/// The marker at `at` and the position after it; fill bytes before a marker are allowed.
fn next_marker(bytes: &[u8], mut at: usize) -> Option<(u8, usize)> {
    if *bytes.get(at)? != 0xFF {
        return None;
    }
    while *bytes.get(at)? == 0xFF {
        at += 1;
    }
    Some((bytes[at], at + 1))
}

/// The position of the first marker after entropy-coded data that starts at `at`.
fn end_of_scan(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += bytes.get(at..)?.iter().position(|&b| b == 0xFF)?;
        let code = *bytes.get(at + 1)?;
        match code {
            0x00 => at += 2,
            0xFF => at += 1,
            code if RESTARTS.contains(&code) => at += 2,
            _ => return Some(at),
        }
    }
}

//! What a video node offers: its formats, sizes and intervals, entry by entry.

use std::io;

use super::abi;
use super::device::{Interval, Sizes};
use super::fourcc::FourCc;
use super::kernel::Kernel;

/// Entries of one list that are asked for: a driver without an end is cut off.
const LIST_MAX: u32 = 1024;

pub(super) fn formats(kernel: &Kernel) -> io::Result<Vec<FourCc>> {
    let mut found = Vec::new();
    for index in 0..LIST_MAX {
        let kind = kernel.kind();
        let mut entry = abi::FormatDescription { index, kind, ..Default::default() };
        match kernel.ask(abi::ENUM_FMT, &mut entry) {
            Ok(()) => found.push(FourCc(entry.pixel_format)),
            // The end of the list.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

pub(super) fn sizes(kernel: &Kernel, format: FourCc) -> io::Result<Vec<Sizes>> {
    let mut found = Vec::new();
    for index in 0..LIST_MAX {
        let pixel_format = format.0;
        let mut entry = abi::SizeDescription { index, pixel_format, ..Default::default() };
        match kernel.ask(abi::ENUM_FRAMESIZES, &mut entry) {
            Ok(()) => {}
            Err(error) if ends_list(&error) => break,
            Err(error) => return Err(error),
        }
        let [a, b, c, d, e, f] = entry.sizes;
        found.push(match entry.kind {
            abi::DISCRETE => Sizes::One((a, b)),
            // Widths first, then heights: smallest, largest, step.
            _ => Sizes::Range { min: (a, d), max: (b, e), step: (c, f) },
        });
        if entry.kind != abi::DISCRETE {
            break;
        }
    }
    Ok(found)
}

pub(super) fn intervals(
    kernel: &Kernel,
    format: FourCc,
    (width, height): (u32, u32),
) -> io::Result<Vec<Interval>> {
    let mut found = Vec::new();
    for index in 0..LIST_MAX {
        let pixel_format = format.0;
        let place = abi::IntervalDescription { index, pixel_format, ..Default::default() };
        let mut entry = abi::IntervalDescription { width, height, ..place };
        match kernel.ask(abi::ENUM_FRAMEINTERVALS, &mut entry) {
            Ok(()) => {}
            Err(error) if ends_list(&error) => break,
            Err(error) => return Err(error),
        }
        let told = if entry.kind == abi::DISCRETE { 1 } else { 2 };
        let some = entry.intervals.iter().take(told);
        found.extend(some.map(|[seconds, per]| Interval { seconds: *seconds, per: *per }));
        if entry.kind != abi::DISCRETE {
            break;
        }
    }
    Ok(found)
}

/// A list of the kernel ends with this; one that a driver does not have, with the other.
fn ends_list(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOTTY))
}

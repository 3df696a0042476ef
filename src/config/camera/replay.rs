//! A camera that replays files. Pure.

use std::path::PathBuf;

use super::types::{FileFormat, Mode, Replay};
use crate::config::reader::{Found, Section};
use crate::frame::PixelFormat;

/// Longest side of a raw picture, as for picture files; and width times height
/// times three bytes stays far from overflow.
const SIDE_PIXELS_MAX: i64 = 16_384;
/// Faster than any line; a larger number is a slip.
const RATE_HZ_MAX: f64 = 1000.0;

#[derive(Clone, Copy, PartialEq)]
enum FormatWord {
    Image,
    Raw,
}

const FIELDS: [&str; 8] =
    ["folder", "format", "width", "height", "pixel_format", "rate_hz", "mode", "faults"];

pub(super) fn replay(section: &Section<'_>, wanted: bool) -> Option<Replay> {
    if !wanted {
        section.unused(&FIELDS, "remove it, or set kind = \"replay\"");
    }
    let remedy = "name the folder with the pictures to replay";
    let folder = if wanted {
        section.text_required("folder", remedy)
    } else {
        section.text("folder", "required")
    };
    let folder = folder.and_then(|found| {
        if found.value.is_empty() {
            found.refuse("empty", remedy);
        }
        (!found.value.is_empty()).then(|| section.anchor(found.value))
    });
    let format = file_format(section);
    let rate_hz = section.number("rate_hz", 0.0..=RATE_HZ_MAX, 0.0);
    let mode = section.word("mode", &[("once", Mode::Once), ("loop", Mode::Loop)], 0);
    let faults = faults(section);
    Some(Replay { folder: folder?, format: format?, rate_hz, mode, faults })
}

fn faults(section: &Section<'_>) -> Option<PathBuf> {
    let found = section.text("faults", "none")?;
    if found.value.is_empty() {
        found.refuse("empty", "name the fault script, or remove it");
    }
    Some(section.anchor(found.value))
}

fn file_format(section: &Section<'_>) -> Option<FileFormat> {
    let words = [("image", FormatWord::Image), ("raw", FormatWord::Raw)];
    let word = section.word("format", &words, 0);
    let side = 1..=SIDE_PIXELS_MAX;
    let width = section.integer_optional("width", side.clone(), "required for raw");
    let height = section.integer_optional("height", side, "required for raw");
    let pixel_format = pixel_format(section);
    let names = ["width", "height", "pixel_format"];
    if word == FormatWord::Image {
        for found in [&width, &height].into_iter().flatten() {
            found
                .refuse("picture files state their own size", "remove it, or set format = \"raw\"");
        }
        if let Some((found, _)) = &pixel_format {
            found.refuse("picture files state their layout", "remove it, or set format = \"raw\"");
        }
        return Some(FileFormat::Image);
    }
    for name in names.iter().filter(|name| !section.has(name)) {
        section.missing(name, "raw files do not state it, so it must be set here");
    }
    let (width, (found, layout)) = (width?, pixel_format?);
    if layout.width_is_even() && width.value % 2 == 1 {
        found.refuse("its colours come for two columns", "give an even width");
    }
    Some(FileFormat::Raw {
        width: width.value as u32,
        height: height?.value as u32,
        pixel_format: layout,
    })
}

type FoundFormat<'a> = (Found<'a, &'a str>, PixelFormat);

fn pixel_format<'a>(section: &Section<'a>) -> Option<FoundFormat<'a>> {
    let found = section.text("pixel_format", "required for raw")?;
    let Some(format) = PixelFormat::named(found.value) else {
        let names: Vec<_> = PixelFormat::ALL.map(PixelFormat::name).into();
        found.refuse("not a known layout", format!("use one of {}", names.join(", ")));
        return None;
    };
    if format.is_compressed() {
        found.refuse("JPEG files state their own size", "set format = \"image\" for them");
        return None;
    }
    Some((found, format))
}

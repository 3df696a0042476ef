//! A webcam on a desk. Pure; read whether or not the program can open one.

use super::types::Webcam;
use crate::config::reader::Section;
use crate::frame::PixelFormat;

/// Longest side of a picture.
const SIDE_PIXELS_MAX: i64 = 16_384;
/// Highest number of a video device that is looked for.
const INDEX_MAX: i64 = 255;
/// Faster than any webcam.
const RATE_HZ_MAX: i64 = 1_000;
/// What `nokhwa` can read of what the station can use.
const FORMATS: [PixelFormat; 5] = [
    PixelFormat::Yuyv,
    PixelFormat::Nv12,
    PixelFormat::Rgb8,
    PixelFormat::Bgr8,
    PixelFormat::Mjpeg,
];

pub(super) fn webcam(section: Section<'_>) -> Webcam {
    let words = FORMATS.map(|format| (format.name(), format));
    let webcam = Webcam {
        index: section.integer("index", 0..=INDEX_MAX, 0) as u32,
        width: section.integer("width", 2..=SIDE_PIXELS_MAX, 640) as u32,
        height: section.integer("height", 1..=SIDE_PIXELS_MAX, 480) as u32,
        pixel_format: section.word("pixel_format", &words, 0),
        rate_hz: section.integer("rate_hz", 1..=RATE_HZ_MAX, 30) as u32,
    };
    section.finish();
    webcam
}

//! A camera of the kernel (Video4Linux2). Pure.

use std::path::PathBuf;

use crate::config::reader::{Entry, Found, Scalar, Section};
use crate::frame::PixelFormat;

/// Longest side of a sensor, line-scan cameras included.
const SIDE_PIXELS_MAX: i64 = 65_536;
/// Faster than any line; a larger number is a slip.
const RATE_HZ_MAX: f64 = 1000.0;
/// Rates are counted in thousandths.
const RATE_HZ_MIN: f64 = 0.001;
/// Fewer cannot stream, and the kernel gives no more.
const BUFFERS: std::ops::RangeInclusive<i64> = 2..=32;
/// Controls in all: more than any camera needs set.
const CONTROLS_MAX: usize = 128;

/// A camera of the kernel (`[camera.v4l2]`).
#[derive(Clone, Debug, PartialEq)]
pub struct V4l2 {
    /// The video node. Required.
    pub device: PathBuf,
    /// Required: what a camera sends after plugging in is its maker's choice.
    pub pixel_format: PixelFormat,
    /// Pixels in a row. Required.
    pub width: u32,
    /// Rows. Required.
    pub height: u32,
    /// Pictures a second. Default: as the camera has it.
    pub rate_hz: Option<f64>,
    /// `buffers = "userptr"`: pictures lie in the station's memory. Default `mmap`, the driver's.
    pub user_memory: bool,
    /// Default: what the station can hold, and some.
    pub buffer_count: Option<u32>,
    /// Controls by the names that the kernel's tools show.
    pub controls: Vec<Control>,
}

/// A control of a V4L2 camera and the value it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Name or number (`0x...`).
    pub name: String,
    /// The value.
    pub value: ControlValue,
}

/// A value of a control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlValue {
    /// A whole number.
    Number(i64),
    /// On or off.
    Flag(bool),
    /// The name of a choice.
    Word(String),
}

pub(super) fn v4l2(section: Section<'_>, wanted: bool) -> Option<V4l2> {
    let need = |name: &'static str, remedy: &str| {
        if wanted { section.text_required(name, remedy) } else { section.text(name, "required") }
    };
    let remedy = "name the camera's file, best one that stays: see /dev/v4l/by-id";
    let device = need("device", remedy).and_then(|found| {
        if found.value.is_empty() {
            found.refuse("empty", remedy);
        }
        (!found.value.is_empty()).then(|| section.anchor(found.value))
    });
    let names = PixelFormat::ALL.map(PixelFormat::name).join(", ");
    let remedy = format!("use one that the camera has, of {names}");
    let pixel_format = need("pixel_format", &remedy).and_then(|found| {
        let format = PixelFormat::named(found.value);
        if format.is_none() {
            found.refuse("not a known layout", remedy.clone());
        }
        format
    });
    let side = |name| {
        let found = if wanted {
            section.integer_required(name, 1..=SIDE_PIXELS_MAX, "set a size that the camera has")
        } else {
            section.integer_optional(name, 1..=SIDE_PIXELS_MAX, "required")
        };
        found.map(|found: Found<'_, i64>| found.value as u32)
    };
    let (width, height) = (side("width"), side("height"));
    let rate = RATE_HZ_MIN..=RATE_HZ_MAX;
    let rate_hz = section.number_optional("rate_hz", rate, "as the camera has it");
    let user_memory = section.word("buffers", &[("mmap", false), ("userptr", true)], 0);
    let count = section.integer_optional("buffer_count", BUFFERS, "what the station can hold, + 3");
    let buffer_count = count.map(|found| found.value as u32);
    let controls = controls(&section);
    section.finish();
    let (device, pixel_format, width, height) = (device?, pixel_format?, width?, height?);
    Some(V4l2 { device, pixel_format, width, height, rate_hz, user_memory, buffer_count, controls })
}

fn controls(section: &Section<'_>) -> Vec<Control> {
    let entries = section.entries("controls", "none");
    if let Some(beyond) = entries.get(CONTROLS_MAX) {
        beyond.found.refuse("too many controls", format!("set at most {CONTROLS_MAX}"));
    }
    entries.iter().take(CONTROLS_MAX).filter_map(control).collect()
}

fn control(entry: &Entry<'_>) -> Option<Control> {
    let value = match entry.found.value {
        Scalar::Integer(number) => ControlValue::Number(number),
        Scalar::Boolean(flag) => ControlValue::Flag(flag),
        Scalar::Text(word) => ControlValue::Word(word.to_owned()),
        Scalar::Number(_) => {
            entry.found.refuse("no control takes a fraction", "write a whole number");
            return None;
        }
    };
    Some(Control { name: entry.key.to_owned(), value })
}

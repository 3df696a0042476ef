//! GigE Vision against cameras that are programs: the fake camera of libaravis in this process, and
//! the one of `viva-genicam`, an independent implementation of the standard, in another.
//!
//! Each test has a network of its own where the kernel lets it, and the machine's loopback, one at
//! a time, where not.

#![allow(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

#[allow(dead_code)] // One set of helpers for two test programs.
#[path = "../it/broker.rs"]
mod broker;
mod cli;
mod engine;
mod fake;
mod frames;
mod line;
mod loss;
mod net;
mod owner;
mod soak;
#[allow(dead_code)] // One set of helpers for two test programs.
#[path = "../it/station.rs"]
mod station;
mod station_of_two;
#[path = "../support/mod.rs"]
mod support;
mod two;
mod viva;
mod watchdog;

use std::sync::Arc;

use crrd::capture::gige::{self, Gige, GigeOptions};
use crrd::capture::{Camera as _, CameraError, Event};
use crrd::config::{Feature, FeatureValue, Gige as Settings, GigeLink, Region};
use crrd::frame::{CameraId, PixelFormat};
use crrd::sys::clock::{Clock as _, RealClock};

/// Where the fake camera listens.
const HOME: &str = "127.0.0.1";
/// Size of the pictures: small, so that the tests are about frames and not about bandwidth.
const SIZE: (u32, u32) = (64, 32);

/// Buffers where no frame may be lost, on a machine that is busy with other tests.
const BUFFERS: usize = 64;

/// The library asks a silent camera for 5 s before it gives it up.
const GONE_WITHIN_S: u64 = 9;

/// Settings for a fake camera with pictures of [`SIZE`].
fn settings(pixel_format: PixelFormat) -> Settings {
    Settings {
        region: Region { width: Some(SIZE.0), height: Some(SIZE.1), offset_x: 0, offset_y: 0 },
        // What a machine grants that is not set up for cameras.
        link: GigeLink { socket_buffer_bytes: 4 << 20, ..GigeLink::default() },
        features: vec![feature("AcquisitionFrameRate", FeatureValue::Float(50.0))],
        ..Settings::new(HOME, pixel_format)
    }
}

fn feature(name: &str, value: FeatureValue) -> Feature {
    Feature { name: name.into(), selector: None, value }
}

fn try_open(settings: Settings) -> Result<Gige, CameraError> {
    let options = GigeOptions { settings, software_trigger: false, camera: CameraId(0) };
    gige::open(options, Arc::new(RealClock))
}

fn open(settings: Settings) -> Gige {
    try_open(settings).unwrap()
}

/// The next event within `ms`.
fn next(camera: &mut Gige, ms: u64) -> Event {
    camera.next(RealClock.now().plus_ms(ms)).unwrap()
}

/// The next event but silence; fails after `s` seconds.
fn sooner_or_later(camera: &mut Gige, s: u64) -> Event {
    match next(camera, s * 1000) {
        Event::Idle => panic!("nothing within {s} s"),
        event => event,
    }
}

//! A webcam on a desk, for a first trial: by `nokhwa`, behind the feature `webcam`.
//!
//! Not for a line. The library hides the driver's frame numbers, so a picture that the driver
//! dropped is not missed; it lends one picture at a time, so that each is copied once into a
//! buffer of the pool; it has no time-out, no trigger, no way to notice that a camera was pulled
//! out, and knows six pixel formats. `docs/cameras.md` has the list.

#[cfg(feature = "webcam")]
mod device;
#[cfg(any(feature = "webcam", test))]
mod reader;

use std::sync::Arc;

use super::{Camera, CameraError};
use crate::frame::{CameraId, PixelFormat};
use crate::sys::clock::Clock;

/// Settings of a webcam; the driver must take them exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebcamOptions {
    /// The number in `/dev/videoN`.
    pub index: u32,
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    /// Layout of a pixel.
    pub format: PixelFormat,
    /// Pictures a second.
    pub rate_hz: u32,
    /// Number of this camera.
    pub camera: CameraId,
}

/// Opens the webcam; it does not stream yet.
///
/// # Errors
/// Never here: what is wrong with the camera shows when it is started.
#[cfg(feature = "webcam")]
pub fn open(options: WebcamOptions, clock: Arc<dyn Clock>) -> Result<Box<dyn Camera>, CameraError> {
    Ok(Box::new(reader::Webcam::new(options, Arc::new(device::open), clock)))
}

/// Refuses: there is no webcam in this program.
///
/// # Errors
/// Always.
#[cfg(not(feature = "webcam"))]
pub fn open(_: WebcamOptions, _: Arc<dyn Clock>) -> Result<Box<dyn Camera>, CameraError> {
    Err(CameraError::new(
        super::CameraErrorKind::Settings,
        "this program was built without webcams: build it with --features webcam, or use another \
         kind of camera",
    ))
}

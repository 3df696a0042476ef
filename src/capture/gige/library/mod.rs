//! The library aravis behind the traits of [`super::device`].
//!
//! Its objects may be used from any thread, by one at a time; all of them are here.

mod camera;
mod list;
mod network;
mod stream;

pub(super) use list::{discover, features, identify};

use super::device::{Device, DeviceError, Transport};
use crate::capture::{CameraError, CameraErrorKind};

/// The only series that this module was written for: 0.9 differs in its functions and structures.
const SERIES: (u32, u32) = (0, 8);

/// Opens cameras through aravis.
pub(super) struct Library;

impl Library {
    /// Checks which library the program found.
    pub(super) fn new() -> Result<Self, CameraError> {
        let (major, minor, micro) = list::version();
        if (major, minor) != SERIES {
            let what = format!(
                "libaravis {major}.{minor}.{micro} was found, but this program needs 0.8: install \
                 libaravis-0.8-0"
            );
            return Err(CameraError::new(CameraErrorKind::Open, what));
        }
        tracing::debug!(version = %format_args!("{major}.{minor}.{micro}"), "libaravis");
        Ok(Self)
    }
}

impl Transport for Library {
    fn open(&mut self, name: &str) -> Result<Box<dyn Device>, DeviceError> {
        Ok(Box::new(camera::Camera::open(name)?))
    }

    fn pause(&mut self, ms: u64) {
        std::thread::sleep(std::time::Duration::from_millis(ms));
    }
}

fn told(error: aravis::glib::Error) -> DeviceError {
    DeviceError(error.message().to_owned())
}

//! GigE Vision and USB3 Vision: one camera of the GenICam standards, by the library aravis.
//!
//! Everything that decides is pure and stands here in every build: the order of the settings
//! ([`plan`]), their proof by reading back ([`apply`]), frame numbers and damage ([`frames`]). The
//! library itself is behind the traits of [`device`] and comes with the cargo feature `gige`;
//! without it, [`open`] says how to get a build that has it.
//!
//! Frames go from the network into the station's own buffers: the library is given leased
//! memory to put the packets into, and the lease travels on with the frame.

#![cfg_attr(not(feature = "gige"), allow(dead_code))]

mod apply;
mod camera;
#[cfg(test)]
mod chunk_tests;
mod device;
mod format;
mod frames;
#[cfg(feature = "gige")]
mod library;
mod plan;
#[cfg(test)]
mod scripted;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use camera::{Gige, GigeOptions};
pub use device::{Bounds, Identity, Kind};

use super::CameraError;
use crate::sys::clock::Clock;

/// A camera that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Name to open it by: vendor, model and serial number.
    pub id: String,
    /// Maker.
    pub vendor: String,
    /// Model.
    pub model: String,
    /// Serial number.
    pub serial: String,
    /// IP address, or the place on the USB bus.
    pub address: String,
    /// `GigEVision` or `USB3Vision`.
    pub protocol: String,
}

/// A feature of a camera as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureState {
    /// SFNC name, or the maker's own.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Value as text; `None` when it cannot be read now.
    pub value: Option<String>,
    /// Limits of a number.
    pub bounds: Option<Bounds>,
    /// Unit of a number, where the camera tells it.
    pub unit: Option<String>,
    /// Words of an enumeration.
    pub entries: Vec<String>,
}

/// Opens and sets up a camera; it does not stream yet.
///
/// # Errors
/// When it does not answer, belongs to someone else or does not take a setting.
#[cfg(feature = "gige")]
pub fn open(options: GigeOptions, clock: Arc<dyn Clock>) -> Result<Gige, CameraError> {
    Gige::open_with(options, clock, Box::new(library::Library::new()?))
}

/// Lists the cameras that answer on all networks and USB ports of this machine; takes a second.
///
/// # Errors
/// When the library cannot be used.
#[cfg(feature = "gige")]
pub fn discover() -> Result<Vec<Found>, CameraError> {
    library::discover()
}

/// All features of the camera called `device`, with their values. Reads only: it may belong to
/// someone else.
///
/// # Errors
/// When the camera does not answer.
#[cfg(feature = "gige")]
pub fn features(device: &str) -> Result<(Identity, Vec<FeatureState>), CameraError> {
    library::features(device)
}

/// Who answers at this address, also beyond what a search reaches.
///
/// # Errors
/// When nobody does.
#[cfg(feature = "gige")]
pub fn identify(address: std::net::Ipv4Addr) -> Result<Identity, CameraError> {
    library::identify(&address.to_string())
}

/// This program cannot: it was built without the library.
///
/// # Errors
/// Always.
#[cfg(not(feature = "gige"))]
pub fn identify(_: std::net::Ipv4Addr) -> Result<Identity, CameraError> {
    Err(not_built())
}

/// This program cannot: it was built without the library.
///
/// # Errors
/// Always.
#[cfg(not(feature = "gige"))]
pub fn open(_: GigeOptions, _: Arc<dyn Clock>) -> Result<Gige, CameraError> {
    Err(not_built())
}

/// This program cannot: it was built without the library.
///
/// # Errors
/// Always.
#[cfg(not(feature = "gige"))]
pub fn discover() -> Result<Vec<Found>, CameraError> {
    Err(not_built())
}

/// This program cannot: it was built without the library.
///
/// # Errors
/// Always.
#[cfg(not(feature = "gige"))]
pub fn features(_: &str) -> Result<(Identity, Vec<FeatureState>), CameraError> {
    Err(not_built())
}

#[cfg(not(feature = "gige"))]
fn not_built() -> CameraError {
    CameraError::new(
        super::CameraErrorKind::Open,
        "this program was built without GigE Vision and USB3 Vision: build it with \
         `cargo build --release --features gige` (needs libaravis-dev 0.8; docs/cameras.md)",
    )
}

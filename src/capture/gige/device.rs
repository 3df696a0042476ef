//! What the rest needs of a camera: its features and its stream. Two implementations: the library
//! (feature `gige`), and a script for tests.

use std::fmt;

use crate::config::{FeatureValue, GigeLink};
use crate::frame::Lease;

/// Opens cameras.
pub(super) trait Transport: Send {
    /// Opens the camera called `name` and tries to take control of it. One that somebody else
    /// controls opens, too: see [`Device::is_ours`].
    fn open(&mut self, name: &str) -> Result<Box<dyn Device>, DeviceError>;

    /// Waits.
    fn pause(&mut self, ms: u64);
}

/// What a feature of a camera is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole number.
    Integer,
    /// A number.
    Float,
    /// On or off.
    Boolean,
    /// One of the camera's words.
    Enumeration,
    /// A text.
    Text,
    /// Something to run.
    Command,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Integer => "a whole number",
            Kind::Float => "a number",
            Kind::Boolean => "true or false",
            Kind::Enumeration => "one of the camera's words",
            Kind::Text => "a text",
            Kind::Command => "a command",
        })
    }
}

/// Which values of a number a camera takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
    /// Step from one value to the next, where the camera tells it.
    pub increment: Option<f64>,
}

/// A camera, opened.
pub(super) trait Device: Send {
    /// Who it is, for messages: vendor, model, serial number, address.
    fn identity(&self) -> &Identity;

    /// Whether this process controls it: only then it can be set and streams.
    fn is_ours(&self) -> bool;

    /// Whether control was lost since: unplugged, switched off, taken away.
    fn is_lost(&self) -> bool;

    /// What the feature is; `None` when the camera does not have it or not now.
    fn kind(&self, name: &str) -> Option<Kind>;

    /// The value the camera has now, from the camera itself.
    fn read(&self, name: &str) -> Result<FeatureValue, DeviceError>;

    /// Sets a value of the type that [`Device::kind`] tells.
    fn write(&self, name: &str, value: &FeatureValue) -> Result<(), DeviceError>;

    /// Runs a command.
    fn run(&self, name: &str) -> Result<(), DeviceError>;

    /// Limits of a number.
    fn bounds(&self, name: &str) -> Option<Bounds>;

    /// The words of an enumeration that the camera takes now.
    fn entries(&self, name: &str) -> Vec<String>;

    /// Makes the stream; nothing comes before [`Device::start`].
    fn stream(&mut self, link: &GigeLink) -> Result<Box<dyn Stream>, DeviceError>;

    /// Frames come from now on.
    fn start(&self) -> Result<(), DeviceError>;

    /// No frame is begun from now on.
    fn stop(&self) -> Result<(), DeviceError>;
}

/// What the camera or the library says went wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct DeviceError(pub(super) String);

/// Who a camera is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Maker.
    pub vendor: String,
    /// Model.
    pub model: String,
    /// Serial number.
    pub serial: String,
    /// IP address; empty for USB.
    pub address: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.vendor, self.model, self.serial)?;
        if !self.address.is_empty() {
            write!(f, " at {}", self.address)?;
        }
        Ok(())
    }
}

/// Frames of one camera, on their way into leased buffers.
///
/// Dropping it ends the transfer before the leases it holds go home.
pub(super) trait Stream: Send {
    /// Gives a buffer to be filled; it comes back by [`Stream::pop`] or when the stream is dropped.
    fn push(&mut self, lease: Lease);

    /// Buffers that were pushed and did not come back.
    fn pushed(&self) -> usize;

    /// The next buffer that came back, filled or not; waits at most `ns`.
    fn pop(&mut self, ns: u64) -> Option<Delivery>;

    /// Whether the camera is lost.
    fn is_lost(&self) -> bool;

    /// Counters of this stream.
    fn counters(&self) -> Counters;
}

/// A buffer that came back.
pub(super) struct Delivery {
    pub(super) lease: Lease,
    pub(super) status: Status,
    /// Number of the frame as the camera counts; `None` when no frame was begun in this buffer or
    /// its first packet never came.
    pub(super) raw_id: Option<u64>,
    /// How long ago its first packet came, in nanoseconds.
    pub(super) age_ns: u64,
    /// The camera's clock, where it has one.
    pub(super) device_ns: Option<u64>,
    /// What came; `None` unless all of it came.
    pub(super) picture: Option<Picture>,
    pub(super) chunks: Chunks,
}

/// How a buffer came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// Every packet is there.
    Whole,
    /// Some packets never came.
    Incomplete,
    /// It came in a form or size that is no picture.
    Unusable,
    /// Nothing was written into it.
    Unused,
}

/// The picture in a buffer as the camera describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Picture {
    /// Code of the pixel format naming convention.
    pub(super) format: u32,
    pub(super) width: usize,
    pub(super) height: usize,
    /// Bytes that came.
    pub(super) received: usize,
}

/// What the camera told of the frame in chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Chunks {
    /// Number of the frame as the sensor counts; frames that were never sent are counted.
    pub(super) frame_id: Option<u64>,
    /// When the exposure began, in ticks of the camera's clock.
    pub(super) ticks: Option<u64>,
    pub(super) exposure_us: Option<f32>,
    pub(super) gain: Option<f32>,
    pub(super) line_status: Option<u32>,
    pub(super) counter: Option<u64>,
}

/// Counters of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    /// Packets that found no buffer to go to.
    pub(super) underruns: u64,
    /// Packets that never came.
    pub(super) missing: u64,
    /// Packets that came when asked for again.
    pub(super) resent: u64,
}

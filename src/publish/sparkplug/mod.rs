//! A Sparkplug B 3.0 edge node beside the record: what SCADA sees of the station.
//!
//! # What it is not
//! Sparkplug's births and data have no acknowledgement by rule, so nothing here is the record:
//! verdicts for the line and for audits come from the journal and its topics. The mirror has a
//! connection, a thread and a queue of its own. It is told of parts after they are journaled, it
//! never makes anybody wait, and when it fails the station goes on without it.
//!
//! # Shape
//! The station is the edge node (`spBv1.0/GROUP/NBIRTH/EDGE`), the camera's place its one device.
//! The device is born while the camera delivers and dies with it; station tags tell readiness and
//! counters all the while. Every part is one DDATA with all of its tags.
//!
//! # What is told late
//! A part that was answered while there was no session (no broker, primary host offline) or no
//! device (camera lost) is kept and told afterwards with `is_historical`, oldest first, at a
//! bounded rate. Bounds: [`Feed`] drops the newest, the history the oldest; both are counted in the
//! tag `Mirror/Parts Dropped`.
//!
//! # Sessions
//! `bdSeq` grows by one with every CONNECT and is on disk before it; the last will is the NDEATH
//! of the same number. An attempt that the network refused was no CONNECT and uses up no number.
//! With a primary host configured there are no births before its STATE is online, and an offline
//! STATE ends the session with NDEATH and DISCONNECT.
//!
//! `node` is the protocol as a pure state machine, `payload` and `metrics` the bytes and the tags,
//! `link` one connection, `client` the thread that joins them, `mirror` its handle.

mod bd_seq;
mod client;
mod events;
mod host;
mod link;
mod metrics;
mod mirror;
mod node;
mod payload;
#[cfg(test)]
mod tests;
mod types;

pub use mirror::{Feed, Mirror, MirrorError};
pub use types::{Names, Part, Settings, Status};

/// Every tag as (name, datatype, unit), the node's and then the device's; for the documents.
pub fn tags() -> impl Iterator<Item = (&'static str, String, &'static str)> {
    let all = metrics::NODE.iter().chain(&metrics::DEVICE);
    all.map(|tag| (tag.name, format!("{:?}", tag.datatype), tag.unit))
}

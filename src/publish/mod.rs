//! Delivery to the broker without loss.
//!
//! The journal is the only truth; this module carries its rows to an MQTT broker and moves the
//! journal's cursor when the broker has acknowledged them. What the MQTT client library holds in
//! memory is never relied upon: after any connection error it is thrown away and rebuilt, and
//! delivery starts again at the cursor. A consumer may therefore see a row twice (same epoch and
//! seq), but never miss one.
//!
//! Two lanes: a row committed while we are connected goes to `verdict` at once (live); a row that
//! missed its moment goes to `hist`, in order, in what the live lane leaves of the window. Masks
//! and events follow on the bulk share of the window. Answers to commands go before everything
//! but the state; what a consumer asks for again comes behind everything.
//!
//! `session` is the protocol as a pure state machine, `link` one connection of the client
//! library (MQTT 3.1.1 or 5), `polled` the task behind it, `tls` what secures it, `client` the thread
//! that joins them with the outbox.

mod client;
mod limits;
mod link;
mod polled;
mod publisher;
pub mod session;
pub mod sparkplug;
mod tls;
mod types;

pub use limits::{Limits, Offer, PACKET_BYTES_NEEDED, WINDOW_MAX};
pub use publisher::{Flushed, Notifier, PublishError, Publisher};
pub use tls::{Certificate, ClientFiles, TlsError, TlsFiles, Validity};
pub use types::{
    BinaryForm, Credentials, Health, Inbound, Outbox, OutboxError, RangePage, ReplayRange, Report,
    Row, RowId, RowKind, Settings, TopicNames, Version,
};

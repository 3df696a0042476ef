//! The line: camera -> inspection -> journal -> broker, as named threads with bounded queues.
//!
//! ```text
//! crrd-capture --work--> crrd-inspect --decided--> crrd-journal --announced--> crrd-publish
//!      ^  frames: leased buffers     ^  decisions: recycled slots |
//!      +-----------------------------+----------------------------+
//! crrd-command <--commands-- crrd-publish
//! ```
//! With several cameras there is one capture thread each, and `crrd-views` between them and the
//! inspection finds out which frames show the same part.
//!
//! Overflow, in the order in which a slow end is felt:
//! - announcements (publisher behind): dropped; the row is in the journal and goes out as late;
//! - decisions (journal behind): inspection waits for a slot;
//! - frames (inspection behind): a trigger that finds no free buffer becomes INVALID(overrun), in
//!   its place in the order; a replay without a rate waits instead. Under [`Queue::Latest`] the
//!   picture that waits becomes INVALID(overrun) and the newer one takes its place;
//! - views (other cameras behind): the part that has waited longest goes on without the views that
//!   are missing, and so becomes INVALID(frame lost);
//! - triggers without a frame (all of the above for long): capture waits;
//! - commands (the command stage hangs): dropped without an answer; the PLC repeats them.
//!
//! Every accepted trigger ends in exactly one decision with its own (epoch, seq), and a decision
//! is told to nobody before it is in the journal. Inspection and capture allocate nothing per
//! frame. The calibration may be replaced between two frames; its id is in every verdict.

mod board;
#[cfg(test)]
mod camera_state_tests;
mod cameras;
mod capture_stage;
mod captures;
mod command_stage;
#[cfg(test)]
mod copies_tests;
#[cfg(test)]
mod core_tests;
mod encode;
mod engine_news;
#[cfg(test)]
mod engine_tests;
mod error;
mod exit;
mod gate;
mod inspect_stage;
#[cfg(test)]
mod kernel_views_tests;
mod limits;
mod line;
mod newest;
mod observer;
mod outbox;
#[cfg(test)]
mod overlap_tests;
mod progress;
mod record_stage;
mod recorded;
mod scada;
mod shutdown;
mod stage;
mod start;
mod taken;
mod tally;
#[cfg(test)]
mod tests;
mod views_stage;
#[cfg(test)]
mod views_tests;
mod work;

pub use error::{PipelineError, PipelineErrorKind};
pub use gate::Queue;
pub use limits::Recipe;
pub use line::{Line, Summary};
pub use observer::{Observer, Snapshot};
pub use outbox::{Rows, range_page};
pub use recorded::{RecordedCamera, RecordedDecisions};
pub use scada::Scada;
pub use start::{Broker, Parts, StationCamera, Triggers};
pub use taken::Taken;
pub use tally::Latencies;
pub use work::Decision;

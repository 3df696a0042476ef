//! The journal: every decision on disk before anyone is told of it.
//!
//! # Constraints
//! - A verdict may be published only after its row is committed; a row that was committed is
//!   never forgotten before it was delivered, across kill -9, a full disk and (with
//!   [`Sync::Full`]) a power cut.
//! - It lies off the verdict path: one thread takes everything that waits in a bounded channel
//!   and commits it in one transaction (group commit), so that one fsync serves many verdicts.
//! - Flash memory wears out: bytes written per verdict are budgeted (`docs/spec/mqtt.md`), which
//!   is why a delivered row is never touched: an acknowledgement moves one cursor.
//! - Disk space is bounded by bytes and by age, and what has to go is said aloud.
//!
//! # Format
//! `journal.tail`: the newest rows, appended with one write and one flush of a few sectors
//! (`tail/mod.rs` says how and why). What is in it is committed.
//!
//! `journal.db`: everything older, an SQLite database in WAL mode:
//! - `row(id, epoch, seq, kind, at, payload, detail)`: `id` grows by one per row and is never
//!   used twice; `payload` is what goes over the wire, byte for byte; `detail` is the rest of the
//!   record for audit.
//! - `mask(id, body)`: the mask message of a row, apart so that masks can go first.
//! - `meta(key, value)`: boot `epoch`, delivery `cursor`, number of the tail's next `write`.
//! - `consumer(rank, name, epoch, seq)`: what consumers have confirmed ([`Receipts`]).
//!
//! `epoch` (a text file): a second copy of the boot epoch, so that (epoch, seq) stays unique even
//! when the database is lost. `lock`: held while the journal is open. `damaged-EPOCH.db`: a
//! database that could not be read, kept for a technician.
//!
//! # Operation
//! [`Journal::open`] gives one [`Writer`] (owned by the journal thread), one [`Reader`] (owned by
//! the publisher, with its own connection) and [`Opened`] (what was found).
//!
//! [`Writer::append`] writes the tail. [`Writer::settle`], called when what was appended is told,
//! moves the tail's rows to the database once there are 256, in one transaction; then the tail is
//! written from its beginning again. When the database cannot be written (full disk), the tail
//! goes on taking rows until it is full; only then appending fails. The reader takes rows from
//! the database and from memory, where the tail's rows stay until they have moved.
//!
//! [`Reader::acknowledge`] writes nothing: the cursor rides in the next append or transaction, or
//! in [`Writer::settle`] when it is 64 rows ahead. A cursor lost in a crash costs duplicates,
//! which carry the same (epoch, seq).
//!
//! The transaction first makes room when the database has outgrown [`Options::bytes_max`]: masks
//! of delivered rows go first, delivered rows next, then masks of undelivered rows, undelivered
//! verdicts and late results, and events last. All but the first two are losses: counted,
//! and recorded as a [`Notice`] row in the same transaction, so that the loss itself is reported
//! through the journal.
//!
//! [`View`] is for tools: read only, and without the lock.
//!
//! # Recovery
//! At open the epoch is advanced, the database checked, and what the tail holds and the database
//! does not is moved there. A group that was torn in the tail was never told. A database that
//! cannot be read, at whatever step of that it shows, is moved aside and a new one built: a
//! station must not stand still for its archive. Rows of the damaged one that can still be read
//! and were not delivered are carried over under their numbers, the tail's as well; the rest is
//! reported. `recovery` (a text file) is there while that goes on and `unfinished.db` is the new
//! one: whatever stops it, the next start goes on with it. `suspect` (an empty file) says that
//! damage showed while the journal was in use, in a place that a start does not look at: the next
//! one looks at all of it.

mod database;
mod error;
mod folder;
mod loss;
mod open;
mod reader;
mod receipts;
mod recovery;
mod shared;
mod store;
mod tail;
#[cfg(test)]
mod tests;
mod trim;
mod types;
mod view;
mod writer;

pub use error::{JournalError, JournalErrorKind};
pub use open::Journal;
pub use reader::Reader;
pub use receipts::{CONSUMERS_MAX, Receipts};
pub use types::{Entry, Notice, Opened, Options, Restarted, Row, RowId, RowKind, Stats, Sync};
pub use view::{Facts, Record, View};
pub use writer::Writer;

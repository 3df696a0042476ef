//! The judge: (anomaly map, limit) -> verdict. The ONLY place where PASS is built.
//!
//! Pure: no I/O, no logging, no clock. `PASS` is a conjunction that must be proved; whatever is
//! not proved rejects.

mod combine;
mod decide;
mod mask;
mod regions;
mod verdict;

pub use combine::combine;
pub use decide::{Judge, Question};
pub use mask::Mask;
pub use verdict::{Outcome, Reason, Region, Regions, Verdict};

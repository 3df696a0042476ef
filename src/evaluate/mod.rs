//! Evaluation of an engine on labelled pictures: metrics, tables, overlays.
//!
//! Pure but for the walk over the test set: no thread, no clock, and no threshold is chosen here
//! for production (limits come from `calibrate`, from good parts only). One model answers for all
//! classes; metrics are per class, then the plain mean over the classes.

mod dataset;
mod metrics;
mod overlay;
mod ranking;
mod regions;
mod runner;
mod table;

pub use dataset::{
    ClassDir, DatasetError, GOOD, TestPicture, TestSet, class_dirs, is_picture, pictures, test_set,
};
pub use metrics::{ClassMetrics, Scores, Values};
pub use overlay::Overlay;
pub use ranking::{AUPRO_LIMITS, RankMetrics, Ranking};
pub use regions::{Regions, label_regions, resize_mask};
pub use runner::{RunError, Runner, read_mask};
pub use table::table;

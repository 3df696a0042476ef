//! The training report: one HTML file in the bundle that needs nothing else and reads well on a phone.
//!
//! It is made from the run's own records after the model is finished, and is no part of it: the
//! station never reads it, and no hash covers it.

mod curve;
mod html;
mod plots;
mod validation;

use std::path::Path;

use crrd::engine::bundle::Manifest;

pub use curve::Curve;
pub use html::page;
pub use plots::PlotError;
pub use validation::{Bench, Case, Tried, Validation};

use crate::arch::Scheme;
use crate::survey::Survey;

/// Name of the report inside a bundle.
pub const REPORT_FILE: &str = "report.html";

/// What the report tells, besides what is in the manifest.
pub struct Records<'a> {
    /// What was found in the data set, and where it lies.
    pub survey: &'a Survey,
    /// The data set's folder.
    pub data: &'a Path,
    /// The loss of the decoder.
    pub decoder_loss: &'a Curve,
    /// The loss of the segmentation head.
    pub head_loss: &'a Curve,
    /// What took how long, in seconds.
    pub spent_s: Vec<(&'static str, f64)>,
    /// Worker threads.
    pub threads: usize,
    /// The preset's settings as a list of names and values.
    pub settings: Vec<(String, String)>,
    /// How the model joins its maps.
    pub scheme: Scheme,
    /// Scores on good and damaged pictures.
    pub validation: &'a Validation,
    /// What the program cut down or left out, in its own words.
    pub notes: &'a [String],
    /// The model, as it is written.
    pub manifest: &'a Manifest,
}

#[cfg(test)]
mod tests;

//! The trainer as a whole: model, both stages, checkpoints and `fit`.
#![allow(clippy::unwrap_used, reason = "clippy does not see that helpers are test code")]

mod disk;
mod encoders;
#[path = "../export_support/mod.rs"]
mod export_support;
mod fit;
mod memory;
mod mining;
mod model;
mod paper;
mod probe;
mod resume;
mod toy;

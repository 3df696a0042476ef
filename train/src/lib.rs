//! `crrd-train`: trains CRR models (Collaborative Reconstruction and Repair, arXiv 2512.11401)
//! on good parts and exports them as `crrd` engine bundles.
pub mod arch;
pub mod checkpoint;
pub mod cli;
pub mod dataset;
pub mod denormals;
pub mod encoder;
pub mod export;
pub mod features;
mod linear;
pub mod loss;
pub mod memory;
pub mod model;
pub mod optim;
pub mod plan;
pub mod progress;
pub mod report;
pub mod resample;
pub mod schedule;
pub mod survey;
pub mod synth;
pub mod trainer;

/// Graphs are written where the station reads them.
pub use crrd::engine::graph as onnx;

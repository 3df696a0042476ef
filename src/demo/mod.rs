//! The parts that the demonstration inspects: rendered here, because real product photographs
//! are nobody's to ship.
//!
//! Pure: a product, a defect and a seed give a picture and its ground truth. The command line
//! puts a camera, a station and a broker round it.

mod render;

pub use render::{Defect, Part, Product, Purpose, SIDE_PX_DEFAULT, SIDE_PX_MIN, part_seed, render};

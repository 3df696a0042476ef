//! Pictures in, model input out: decoding and the ONE preprocessing.
//!
//! [`Preprocessor`] stretches a picture of any layout, or the part of it that a
//! [`Geometry`](crate::frame::Geometry) names, to the model's size. Training, calibration, evaluation
//! and the station call this same code, so that a model never sees a picture resized in a way
//! that it was not trained on. Normalisation is not here: it is inside the model's graph.

mod decode;
mod error;
mod jpeg;
mod kernel;
mod lay_out;
mod mjpeg;
mod passes;
mod preprocess;
mod quality;
mod rectify;
mod stretch;
mod widest;

pub use crate::frame::Affine;
pub use decode::{RgbImage, SIDE_PX_MAX, decode};
pub use error::{ImageError, ImageErrorKind};
pub use lay_out::lay_out;
pub use preprocess::Preprocessor;
pub use quality::{BINS, Quality, Window, measure};
pub use stretch::matrices::{Filter, FilterAxis};

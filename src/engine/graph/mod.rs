//! Models as graphs: writes ONNX by a small typed builder on the protobuf types that come with
//! tract.
//!
//! The trainer describes its networks with [`GraphBuilder`]; the graphs are known and few, so it has
//! just the operators they use. Every value carries its shape; a node whose operands do not fit is
//! an error with the node's name, not a file that fails later in somebody's runtime. Node and
//! tensor names are chosen by the caller and never change between runs, so two exports of the same
//! weights are the same bytes.
//!
//! Models are rewritten here too: [`to_half`] makes their arithmetic 16-bit, and [`search`] finds what
//! must not be, where a device gets it wrong. [`for_camera`] puts the preprocessing in front, for frames
//! that the model reads where the camera wrote them; [`with_mask`] makes the pixel limit an input.

mod builder;
mod camera;
mod fallback;
mod half;
mod mask;
mod ops;

pub use builder::{Conv2d, GraphBuilder, GraphError, Metadata, OPSET, Storage, Value};
pub use camera::{CameraFrames, FRAME, for_camera, picture};
pub use fallback::{Fallback, SearchError, search};
pub use half::{Layer, layers, to_half};
pub use mask::{FIGURES, LIMIT, MASK, with_mask};

//! The trainable parts of CRR as burn computations over host weights.
//!
//! [`Weights`](crate::arch::Weights) (named host tensors) are the only long-lived form of a
//! model: optimiser, checkpoint and export work on them. A step lifts them onto a burn device,
//! runs forward and backward, and reads the gradients back by the same names, so that any number
//! of threads can each work on their own share of a batch.

mod attention;
mod decoder;
mod head;
mod infer;
mod init;
mod lift;
mod memory;
mod parity;

pub use attention::{HeadMask, linear_attention};
pub use decoder::{Decoder, Reading};
pub use head::Head;
pub use infer::{
    Compared, anomaly_map, compare, compare_with, decoder_input, fuse, fused_map, map_score,
    resample, segment,
};
pub use init::{init_decoder, init_head};
pub use lift::{Lifted, Placed, host_values, tensor_from};
pub use memory::{distance_map, nearest, surroundings};

//! Linear attention without a per-head loop.
//!
//! Splitting heads costs copies; instead all heads are computed at once over the full width and
//! a block-diagonal 0/1 mask removes the products between different heads. For the widths used
//! here one `[width, width]` product per sequence is cheaper than the copies.

use burn::tensor::{Device, Tensor};

use super::lift::tensor_from;
use crate::arch::ATTENTION_EPS;

/// `[width, width]` ones where row and column belong to the same head.
#[derive(Clone)]
pub struct HeadMask(Tensor<3>);

impl HeadMask {
    /// The mask of `heads` equal heads side by side.
    pub fn new(width: usize, heads: usize, device: &Device) -> Self {
        let size = width / heads;
        let values = (0..width * width)
            .map(|i| f32::from(u8::from((i / width) / size == (i % width) / size)))
            .collect();
        Self(tensor_from(values, [1, width, width], device))
    }
}

/// `elu(x) + 1`: `x + 1` above zero, `exp(x)` below.
fn feature_map(x: Tensor<3>) -> Tensor<3> {
    let positive = x.clone().clamp_min(0.0);
    x.clamp_max(0.0).exp() + positive
}

/// Linear attention over `[B, N, width]` queries, keys and values: per head
/// `q KV / (q . sum k + eps)` with `q, k` passed through `elu + 1`.
pub fn linear_attention(q: Tensor<3>, k: Tensor<3>, v: Tensor<3>, mask: &HeadMask) -> Tensor<3> {
    let [_, n, _] = q.dims();
    // Dividing the keys by N keeps numerator and denominator of order one in f32; the scale
    // cancels but for the epsilon, which is scaled with it.
    let scale = 1.0 / n as f64;
    let q = feature_map(q);
    let k = feature_map(k) * scale;
    let sum = k.clone().sum_dim(1).swap_dims(1, 2);
    let kv = k.swap_dims(1, 2).matmul(v) * mask.0.clone();
    let numerator = q.clone().matmul(kv);
    let denominator = q.matmul(sum * mask.0.clone()) + ATTENTION_EPS * scale;
    numerator / denominator
}

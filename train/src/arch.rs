//! The shape of a CRR model: everything the trainer, the exporter and the checkpoint agree on.
//!
//! Data flow for one picture (B = 1, grid G x G, N = G*G tokens, C = sum of tap channels):
//!
//! 1. The frozen encoder's taps are brought to the grid (average pooling by an integer factor
//!    for finer taps, bilinear half-pixel upsampling for coarser ones), concatenated over
//!    channels in tap order and standardised per channel: `E = (t - taps.mean) / taps.std`,
//!    tokens row-major, channels last: `[N, C]`.
//! 2. Masked bottleneck: `E` elementwise masked with probability `mask_probability` in training;
//!    multiplied by `1 - mask_probability` in inference (folded into `bottleneck.fc1` on export);
//!    `fc1: C -> bottleneck`, GELU (erf), `fc2: bottleneck -> width`; plus `position`.
//! 3. `depth` pre-norm blocks: `x += proj(linear_attention(norm1(x)))`,
//!    `x += fc2(GELU(fc1(norm2(x))))`; LayerNorm eps [`NORM_EPS`].
//!    Linear attention per head: `q = elu(q) + 1`, `k = elu(k) + 1`, `KV = sum_s k_s (x) v_s`,
//!    `out_s = q_s KV / (q_s . sum k + 1e-6)`.
//! 4. Group `g` is read from the state after `group.after_block` blocks:
//!    `D_g = out.g.fc(out.g.norm(x))`, compared with the group's channels `E_g`.
//! 5. Distance map `A` = sum over groups of `distance.share[g] (1 - cos(E_g, D_g))` per token, bilinear
//!    half-pixel to the map size. `distance.share` makes the groups equally loud on good parts: it is
//!    the mean over groups of their mean distances there, divided by the number of groups and the
//!    group's own. Products of norms are `sqrt(|E|^2 |D|^2 + 1e-12)`, here and in step 6.
//!    Memory `i` looks at places, `scale` x `scale` of them for each token: let `m` be the mean of the
//!    standardised features of its taps, brought to its own grid, over `window` x `window` places (edges
//!    repeated), `d` the Euclidean distance of `m` to the nearest row of `memory.{i}.prototypes` and
//!    `P_i = memory.{i}.level sqrt(d^2 + 0.007 channels)`. `memory.{i}.level` is the ratio of the means of
//!    `A` and of the root on good parts, so that all are equally loud. Then `D` is the weighted
//!    geometric mean `(A + 0.01)^a P_0^w0 P_1^w1 ...` with `a = 1 - w0 - w1 ...`, at twice the grid;
//!    without memories `D = A + 0.01`. The floors are far below what is usual: without them the
//!    roots would blow up rounding errors near zero, and engines of other makers would not agree.
//! 6. Head input `X` = concat over groups of `-C_g * l2norm(E_g) * l2norm(D_g)` as `[C, G, G]`;
//!    slim head: `conv0` 1x1 -> ReLU -> `conv1` 3x3 (both the first of `Slim`'s channels) -> ReLU -> bilinear
//!    x2 -> `conv2` 3x3 (the second) -> ReLU -> `conv3` 3x3 to one channel -> sigmoid -> bilinear
//!    to the map size = `S`. Parity head, the published one: three stages, each bilinear x2 and
//!    three times 3x3 convolution -> batch normalisation (eps [`BATCH_NORM_EPS`]) -> ReLU, the third
//!    to half the channels; bilinear to the map size, `out` 3x3 to two channels, softmax; the second
//!    = `S`.
//! 7. `M = D^w (S + 0.05)^(1 - w)` with `w = distance_weight`, on the head's grid; bilinear half-pixel to
//!    the map size, Gaussian smoothing (normalised kernel, edge-replicating border), score = mean of
//!    the largest `score_fraction` of the map's pixels (count rounded up).
//!
//! That is the scheme `Projected`. The published one, `Averaged`, differs in six places: (1) taps
//! are not standardised (`taps.mean` 0, `taps.std` 1), there is one for each group, and the
//! encoder's extra tokens (class, registers) run through the decoder before the grid's and are
//! dropped from `E_g` and `D_g`; (2) the bottleneck sees the mean of the taps, with dropout before
//! it, after its GELU and after it, and there is no `position`; (3) LayerNorm eps is
//! [`AVERAGED_NORM_EPS`]; (4) `D_g` is the mean of the `depth / groups` states up to
//! `after_block`, without `out.*`; (5) `A` is the mean over groups, upsampled to the map with aligned
//! corners; and (6) `M = w A + (1 - w) S`, both at the size of the map.
//!
//! Weight names (row-major f32; linear weights are `[in, out]`, convolutions `[out, in, kh, kw]`):
//! `taps.mean [C]`, `taps.std [C]`, `bottleneck.{fc1,fc2}.{weight,bias}`, `position [N, width]`,
//! `block.{i}.{norm1,norm2}.{gamma,beta}`, `block.{i}.{qkv,proj,fc1,fc2}.{weight,bias}` (qkv is
//! `[width, 3*width]`: q, k, v in this order, heads contiguous inside each),
//! `out.{g}.norm.{gamma,beta}`, `out.{g}.fc.{weight,bias}`, `head.conv{0..3}.{weight,bias}` or
//! `head.{stage}.{conv}.{weight,gamma,beta,mean,var}` and `head.out.{weight,bias}`,
//! `distance.share [groups]`, `memory.{i}.prototypes [prototypes, channels]`, `memory.{i}.level [1]`.

mod head;

use std::collections::BTreeMap;

pub use head::{HeadShape, ParityConv};
use serde::{Deserialize, Serialize};

use crate::encoder::vit::{EXTRA_TOKENS, PATCH};
use crate::resample::{Axis, upsampling_corners};

/// LayerNorm epsilon of the decoder.
pub const NORM_EPS: f64 = 1e-6;
/// The same of the published scheme.
pub const AVERAGED_NORM_EPS: f64 = 1e-8;
/// Added to the variance in the parity head's batch normalisation.
pub const BATCH_NORM_EPS: f64 = 1e-5;
/// Added to the distance map before it is raised to a power.
pub const DISTANCE_FLOOR: f64 = 0.01;
/// Added to the squared distance to the nearest prototype for each of its channels.
pub const MEMORY_FLOOR: f64 = 0.007;
/// Added to the head's probabilities before they are raised to a power.
pub const HEAD_FLOOR: f64 = 0.05;
/// Added to the linear-attention denominator.
pub const ATTENTION_EPS: f64 = 1e-6;

/// One encoder tap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tap {
    /// Name of the encoder's feature map: `f4`, `f8`, `f16`, `f32` (the stride in its name).
    pub name: String,
    /// Channels.
    pub channels: usize,
    /// Input pixels per feature pixel.
    pub stride: usize,
}

/// A set of taps that is reconstructed and compared together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Indices into `Architecture::taps`; consecutive, so that a group is a channel range.
    pub taps: Vec<usize>,
    /// Number of decoder blocks before this group is read, `1..=depth`.
    pub after_block: usize,
}

/// Normal surroundings that are kept: what a decoder of this size cannot reproduce of normal parts
/// (threads, print, grain in any rotation) is recognised instead. The idea is PatchCore's (Roth et
/// al., CVPR 2022), with one memory of fixed size for all classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// Indices into `Architecture::taps`; consecutive.
    pub taps: Vec<usize>,
    /// Places along a token's side: 1 is the grid's own, 2 twice as fine.
    pub scale: usize,
    /// Side of the square of places that is averaged; odd.
    pub window: usize,
    /// Prototypes of all classes together: what inference costs does not depend on the classes.
    pub prototypes: usize,
    /// Weight in the geometric mean with the other memories and the decoder's distance.
    pub weight: f32,
}

/// How taps enter the decoder and how its reconstructions leave it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Scheme {
    /// Standardised taps side by side in, one projection for each group out.
    #[default]
    Projected,
    /// The published one: the mean of the taps in, means of blocks out.
    Averaged {
        /// Tokens of the encoder before those of the grid: class and registers.
        extra: usize,
        /// Probability that an element around the bottleneck is dropped in training.
        dropout: f32,
    },
}

/// Everything that fixes the shape of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Architecture {
    /// Encoder name, e.g. `efficientnet_lite0`.
    pub encoder: String,
    /// Side of the square input picture in pixels.
    pub input: usize,
    /// Encoder taps in concatenation order.
    pub taps: Vec<Tap>,
    /// Side of the token grid.
    pub grid: usize,
    /// Tap groups in channel order.
    pub groups: Vec<Group>,
    /// How taps and decoder are joined.
    #[serde(default)]
    pub scheme: Scheme,
    /// Hidden size of the bottleneck.
    pub bottleneck: usize,
    /// Decoder width.
    pub width: usize,
    /// Attention heads; divides `width`.
    pub heads: usize,
    /// Hidden size of the block's MLP as a multiple of `width`.
    pub mlp_ratio: usize,
    /// Decoder blocks.
    pub depth: usize,
    /// Memories of normal surroundings; none in the published scheme.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub memories: Vec<Memory>,
    /// Probability of the elementwise feature mask in training.
    pub mask_probability: f32,
    /// The segmentation head.
    pub head: HeadShape,
    /// Side of the square anomaly map.
    pub map: usize,
    /// Weight `w` of the distance map in the fused map, a geometric mean (published: arithmetic).
    pub distance_weight: f32,
    /// Gaussian kernel side (odd) and sigma in map pixels.
    pub smoothing: (usize, f32),
    /// Fraction of map pixels whose mean is the image score.
    pub score_fraction: f32,
}

impl Architecture {
    /// Total tap channels `C`.
    pub fn channels(&self) -> usize {
        self.taps.iter().map(|t| t.channels).sum()
    }

    /// Tokens `N`.
    pub fn tokens(&self) -> usize {
        self.grid * self.grid
    }

    /// Tokens of the encoder before those of the grid.
    pub fn extra_tokens(&self) -> usize {
        match self.scheme {
            Scheme::Projected => 0,
            Scheme::Averaged { extra, .. } => extra,
        }
    }

    /// Rows of a picture's features: extra tokens, then the grid's.
    pub fn rows(&self) -> usize {
        self.extra_tokens() + self.tokens()
    }

    /// Values of a picture's features.
    pub fn features(&self) -> usize {
        self.rows() * self.channels()
    }

    /// Whether channels are standardised, projected back, and tokens have positions.
    pub fn is_projected(&self) -> bool {
        self.scheme == Scheme::Projected
    }

    /// Channels of a row that enter the bottleneck.
    pub fn input_channels(&self) -> usize {
        match self.scheme {
            Scheme::Projected => self.channels(),
            Scheme::Averaged { .. } => self.width,
        }
    }

    /// LayerNorm epsilon of the decoder.
    pub fn norm_eps(&self) -> f64 {
        match self.scheme {
            Scheme::Projected => NORM_EPS,
            Scheme::Averaged { .. } => AVERAGED_NORM_EPS,
        }
    }

    /// Blocks, from 0, whose states make the reconstruction of group `g`.
    pub fn group_blocks(&self, g: usize) -> std::ops::Range<usize> {
        let end = self.groups[g].after_block;
        match self.scheme {
            Scheme::Projected => end - 1..end,
            Scheme::Averaged { .. } => end - self.depth / self.groups.len()..end,
        }
    }

    /// Side of the grid that memories and head are joined on, twice the tokens'.
    pub fn fine_grid(&self) -> usize {
        2 * self.grid
    }

    /// How the published scheme's distance map gets from the grid to the map's size.
    pub fn distance_upsampling(&self) -> Axis {
        upsampling_corners(self.grid, self.map)
    }

    /// Weight of the decoder's distance among the memories'.
    pub fn decoder_weight(&self) -> f32 {
        1.0 - self.memories.iter().map(|m| m.weight).sum::<f32>()
    }

    /// Side of a memory's grid of places.
    pub fn memory_grid(&self, memory: &Memory) -> usize {
        memory.scale * self.grid
    }

    /// The encoder as a memory sees it: its taps alone, on its own grid.
    pub fn seen_by(&self, memory: &Memory) -> Self {
        let taps = memory.taps.iter().map(|t| self.taps[*t].clone()).collect();
        Self { taps, grid: self.memory_grid(memory), memories: Vec::new(), ..self.clone() }
    }

    /// Channel range of group `g` in the concatenated features.
    pub fn group_channels(&self, g: usize) -> std::ops::Range<usize> {
        self.tap_channels(&self.groups[g].taps)
    }

    /// Channel range of consecutive taps in the concatenated features.
    pub fn tap_channels(&self, taps: &[usize]) -> std::ops::Range<usize> {
        let upto = |end: usize| self.taps[..end].iter().map(|t| t.channels).sum::<usize>();
        let first = taps.first().copied().unwrap_or(0);
        upto(first)..upto(first + taps.len())
    }

    /// Pixels whose mean is the score.
    pub fn score_pixels(&self) -> usize {
        let pixels = (self.map * self.map) as f32;
        ((pixels * self.score_fraction).ceil() as usize).max(1)
    }
}

/// A named tensor on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    /// Dimensions.
    pub shape: Vec<usize>,
    /// Row-major values.
    pub values: Vec<f32>,
}

/// Trained weights by the names in the module documentation.
pub type Weights = BTreeMap<String, HostTensor>;

/// EfficientNet-Lite0's taps up to and including the given stride.
fn lite0_taps(stride_max: usize) -> Vec<Tap> {
    [("f4", 24, 4), ("f8", 40, 8), ("f16", 112, 16), ("f32", 320, 32)]
        .into_iter()
        .filter(|(_, _, stride)| *stride <= stride_max)
        .map(|(name, channels, stride)| Tap { name: name.to_owned(), channels, stride })
        .collect()
}

/// The default model: 256 px, all four taps on a 32 x 32 grid.
pub fn edge() -> Architecture {
    Architecture {
        encoder: "efficientnet_lite0".to_owned(),
        input: 256,
        taps: lite0_taps(32),
        grid: 32,
        scheme: Scheme::Projected,
        groups: vec![
            Group { taps: vec![0, 1], after_block: 3 },
            Group { taps: vec![2, 3], after_block: 2 },
        ],
        bottleneck: 256,
        width: 128,
        heads: 4,
        mlp_ratio: 4,
        depth: 3,
        memories: vec![
            Memory { taps: vec![1, 2], scale: 1, window: 3, prototypes: 4096, weight: 0.5 },
            Memory { taps: vec![0], scale: 2, window: 3, prototypes: 2048, weight: 0.25 },
        ],
        mask_probability: 0.4,
        head: HeadShape::Slim([64, 32]),
        map: 256,
        // The published 0.7 measures worse: docs/accuracy.md.
        distance_weight: 0.9,
        smoothing: (5, 4.0),
        score_fraction: 0.01,
    }
}

/// The larger model: 384 px on a 48 x 48 grid, for small defects.
pub fn accurate() -> Architecture {
    Architecture { input: 384, grid: 48, ..edge() }
}

/// A small model for tests, demonstrations and first tries: three taps, two narrow blocks.
pub fn tiny() -> Architecture {
    Architecture {
        taps: lite0_taps(16),
        groups: vec![
            Group { taps: vec![0, 1], after_block: 2 },
            Group { taps: vec![2], after_block: 1 },
        ],
        bottleneck: 128,
        width: 64,
        heads: 4,
        mlp_ratio: 2,
        depth: 2,
        memories: Vec::new(),
        head: HeadShape::Slim([32, 16]),
        ..edge()
    }
}

/// The published model on the DINOv2 encoder `encoder` of `width` channels whose blocks `low` and
/// `high` are averaged: 392 px, eight blocks as wide as the encoder.
fn paper(encoder: &str, width: usize, [low, high]: [&str; 2]) -> Architecture {
    let tap = |name: &str| Tap { name: name.to_owned(), channels: width, stride: PATCH };
    Architecture {
        encoder: encoder.to_owned(),
        input: 28 * PATCH,
        taps: vec![tap(low), tap(high)],
        grid: 28,
        scheme: Scheme::Averaged { extra: EXTRA_TOKENS, dropout: 0.2 },
        groups: vec![
            Group { taps: vec![0], after_block: 8 },
            Group { taps: vec![1], after_block: 4 },
        ],
        bottleneck: 4 * width,
        width,
        heads: width / 64,
        mlp_ratio: 4,
        depth: 8,
        memories: Vec::new(),
        head: HeadShape::Slim([128, 64]),
        distance_weight: 0.7,
        ..edge()
    }
}

/// The published model on ViT-S.
pub fn paper_s() -> Architecture {
    paper("vit_small_patch14_reg4_dinov2", 384, ["b2+3+4+5", "b6+7+8+9"])
}

/// The published model on ViT-B.
pub fn paper_b() -> Architecture {
    paper("vit_base_patch14_reg4_dinov2", 768, ["b2+3+4+5", "b6+7+8+9"])
}

/// The published model on ViT-L.
pub fn paper_l() -> Architecture {
    paper("vit_large_patch14_reg4_dinov2", 1024, ["b4+6+8+10", "b12+14+16+18"])
}

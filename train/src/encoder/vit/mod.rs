//! DINOv2 vision transformers with registers (`vit_{small,base,large}_patch14_reg4_dinov2`) with
//! timm's tensor names and layout.
//!
//! timm keeps the class token with its position already added (`cls_token`), so `pos_embed` is
//! the square table of the patches alone; tokens run: class, four registers, patches row by row.
//! Pre-norm blocks with LayerScale (`ls1`, `ls2`) after attention and MLP.
//!
//! A tap is the mean of raw block outputs (the last norm is not run): `b2` is that of block 2,
//! counted from 0, `b2+3+4+5` the mean of four.

pub(super) mod nodes;
mod position;

pub use position::interpolated;

use super::spec::NamedShape;

/// Side of a patch in pixels: the stride of every tap.
pub const PATCH: usize = 14;
/// Tokens before the patches: the class and four registers.
pub const EXTRA_TOKENS: usize = 5;
/// Epsilon of every LayerNorm.
pub const NORM_EPS: f64 = 1e-6;
/// Hidden size of a block's MLP as a multiple of the width.
pub const MLP_RATIO: usize = 4;

/// One member of the family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VitSpec {
    /// Name as in `Architecture::encoder`.
    pub name: &'static str,
    /// Channels of a token.
    pub width: usize,
    /// Attention heads.
    pub heads: usize,
    /// Blocks of the published model.
    pub depth: usize,
    /// Blocks that are read and run at most: the taps lie in the middle.
    pub used: usize,
    /// Side of the position table.
    pub table: usize,
}

/// The supported members.
pub static VITS: [VitSpec; 3] = [
    vit("vit_small_patch14_reg4_dinov2", 384, 12, 10),
    vit("vit_base_patch14_reg4_dinov2", 768, 12, 10),
    vit("vit_large_patch14_reg4_dinov2", 1024, 24, 19),
];

const fn vit(name: &'static str, width: usize, depth: usize, used: usize) -> VitSpec {
    // Trained at 518 pixels; 64 channels a head.
    VitSpec { name, width, heads: width / 64, depth, used, table: 37 }
}

impl VitSpec {
    /// Channels and stride of the tap `name`.
    pub fn tap(&self, name: &str) -> Option<(usize, usize)> {
        self.tap_blocks(name).map(|_| (self.width, PATCH))
    }

    /// The blocks whose mean is the tap `name`, ascending.
    pub fn tap_blocks(&self, name: &str) -> Option<Vec<usize>> {
        let parse = |part: &str| part.parse().ok().filter(|b| *b < self.used);
        let blocks: Vec<usize> =
            name.strip_prefix('b')?.split('+').map(parse).collect::<Option<_>>()?;
        blocks.windows(2).all(|w| w[0] < w[1]).then_some(blocks)
    }

    /// Names and shapes of the tensors up to the last block that may be tapped.
    pub fn tensors(&self) -> Vec<NamedShape> {
        let w = self.width;
        let mut all = vec![
            ("cls_token".to_owned(), vec![1, 1, w]),
            ("reg_token".to_owned(), vec![1, EXTRA_TOKENS - 1, w]),
            ("pos_embed".to_owned(), vec![1, self.table * self.table, w]),
            ("patch_embed.proj.weight".to_owned(), vec![w, 3, PATCH, PATCH]),
            ("patch_embed.proj.bias".to_owned(), vec![w]),
        ];
        (0..self.used).for_each(|i| all.extend(self.block(i)));
        all
    }

    fn block(&self, i: usize) -> Vec<NamedShape> {
        let (w, hidden) = (self.width, self.width * MLP_RATIO);
        let vectors = ["norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"];
        let scales = ["ls1.gamma", "ls2.gamma"];
        let linear = [
            ("attn.qkv", w, 3 * w),
            ("attn.proj", w, w),
            ("mlp.fc1", w, hidden),
            ("mlp.fc2", hidden, w),
        ];
        let mut all: Vec<NamedShape> = vectors
            .iter()
            .chain(&scales)
            .map(|part| (format!("blocks.{i}.{part}"), vec![w]))
            .collect();
        for (part, input, output) in linear {
            all.push((format!("blocks.{i}.{part}.weight"), vec![output, input]));
            all.push((format!("blocks.{i}.{part}.bias"), vec![output]));
        }
        all
    }

    /// Trained values of the whole published encoder: all blocks and the last norm too.
    pub fn parameters(&self) -> usize {
        let count = |all: Vec<NamedShape>| -> usize {
            all.iter().map(|(_, s)| s.iter().product::<usize>()).sum()
        };
        let unused: usize = (self.used..self.depth).map(|i| count(self.block(i))).sum();
        count(self.tensors()) + unused + 2 * self.width
    }

    /// Tensors of deeper members.
    pub(super) fn absent(&self) -> Vec<String> {
        vec![format!("blocks.{}.norm1.weight", self.depth)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_agree_with_the_published_models() {
        // timm's counts, in millions.
        let published = [22.06, 86.58, 304.37];
        for (spec, published) in VITS.iter().zip(published) {
            let millions = spec.parameters() as f64 / 1e6;
            assert!((millions - published).abs() < 0.005, "{}: {millions}", spec.name);
        }
    }

    #[test]
    fn taps_are_means_of_blocks_that_are_run() {
        let spec = &VITS[0];
        assert_eq!(spec.tap_blocks("b2+3+4+5"), Some(vec![2, 3, 4, 5]));
        assert_eq!(spec.tap_blocks("b9"), Some(vec![9]));
        for bad in ["b10", "f8", "b", "b2+", "b3+2", "b2+2", "2+3", ""] {
            assert_eq!(spec.tap_blocks(bad), None, "{bad}");
        }
    }
}

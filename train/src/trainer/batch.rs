//! What a training step is fed with: sampled pictures, tokens and masks, drawn from the cache.

use half::f16;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::arch::{Architecture, Scheme};
use crate::features::{Cache, Statistics};
use crate::model::decoder_input;

/// Training pictures by class, for sampling that is balanced over classes.
#[derive(Clone, Debug)]
pub struct Classes(Vec<Vec<usize>>);

impl Classes {
    /// Groups picture indices by the class of each picture; classes without pictures vanish.
    pub fn new(class_of: impl Iterator<Item = usize>) -> Self {
        let mut classes: Vec<Vec<usize>> = Vec::new();
        for (i, class) in class_of.enumerate() {
            if classes.len() <= class {
                classes.resize(class + 1, Vec::new());
            }
            classes[class].push(i);
        }
        classes.retain(|c| !c.is_empty());
        Self(classes)
    }

    /// Picture indices, class by class.
    pub fn members(&self) -> &[Vec<usize>] {
        &self.0
    }

    /// A class drawn evenly, then one of its pictures. Without the class draw, the classes with
    /// many pictures would take the model's capacity.
    pub fn pick(&self, rng: &mut ChaCha8Rng) -> usize {
        let class = &self.0[rng.random_range(0..self.0.len())];
        class[rng.random_range(0..class.len())]
    }
}

/// `count` of `total` grid positions, ascending; all of them when `count` reaches `total`.
pub fn pick_tokens(total: usize, count: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let mut all: Vec<usize> = (0..total).collect();
    if count < total {
        for i in 0..count {
            let j = rng.random_range(i..total);
            all.swap(i, j);
        }
        all.truncate(count);
        all.sort_unstable();
    }
    all
}

/// Zeroes each element with probability `probability` (resolution 1/65536).
pub fn mask_elements(values: &mut [f32], probability: f32, rng: &mut ChaCha8Rng) {
    let limit = (f64::from(probability) * 65_536.0).round() as u32;
    for four in values.chunks_mut(4) {
        let mut bits: u64 = rng.random();
        for v in four {
            if (bits as u32 & 0xffff) < limit {
                *v = 0.0;
            }
            bits >>= 16;
        }
    }
}

/// One share of a stage 1 batch: `pairs` clean pictures, then their damaged variants.
pub struct Pairs {
    /// Pairs in this share.
    pub pairs: usize,
    /// Grid positions, the same for all.
    pub tokens: Vec<usize>,
    /// Masked decoder input, `[2 * pairs * (extra + tokens), input channels]`.
    pub input: Vec<f32>,
    /// Factors on the bottleneck's hidden values and on its outputs, where it drops any.
    pub dropout: Option<[Vec<f32>; 2]>,
    /// Clean features of each group, `[pairs * tokens, group channels]`.
    pub targets: Vec<Vec<f32>>,
}

/// Standardised rows of `features` at `tokens`, appended to `out`.
fn gather(features: &[f16], tokens: &[usize], statistics: &Statistics, out: &mut Vec<f32>) {
    let c = statistics.mean.len();
    for &t in tokens {
        let at = out.len();
        out.resize(at + c, 0.0);
        statistics.standardise(&features[t * c..(t + 1) * c], &mut out[at..]);
    }
}

/// Draws a share of a stage 1 batch.
pub fn draw_pairs(
    arch: &Architecture,
    cache: &Cache,
    statistics: &Statistics,
    classes: &Classes,
    shape: (usize, usize),
    rng: &mut ChaCha8Rng,
) -> Pairs {
    let (pairs, tokens) = shape;
    let c = arch.channels();
    let tokens = pick_tokens(arch.tokens(), tokens, rng);
    let chosen: Vec<(usize, usize)> = (0..pairs)
        .map(|_| {
            let picture = classes.pick(rng);
            (picture, picture * cache.per_picture + rng.random_range(0..cache.per_picture))
        })
        .collect();
    let extra = arch.extra_tokens();
    let rows: Vec<usize> = (0..extra).chain(tokens.iter().map(|t| extra + t)).collect();
    let mut features = Vec::with_capacity(2 * pairs * rows.len() * c);
    for (picture, _) in &chosen {
        gather(&cache.clean[*picture], &rows, statistics, &mut features);
    }
    let targets = (0..arch.groups.len())
        .map(|g| {
            let range = arch.group_channels(g);
            let pictures = features.chunks_exact(rows.len() * c);
            let grid = pictures.flat_map(|picture| picture[extra * c..].chunks_exact(c));
            grid.flat_map(|row| row[range.clone()].iter().copied()).collect()
        })
        .collect();
    for (_, variant) in &chosen {
        gather(&cache.variants[*variant].features, &rows, statistics, &mut features);
    }
    let mut input = match arch.is_projected() {
        true => features,
        false => decoder_input(arch, &features),
    };
    mask_elements(&mut input, arch.mask_probability, rng);
    let dropout = match arch.scheme {
        Scheme::Averaged { dropout, .. } if dropout > 0.0 => {
            let kept = dropped(input.len(), dropout, rng);
            input.iter_mut().zip(kept).for_each(|(v, k)| *v *= k);
            let rows = 2 * pairs * rows.len();
            let sizes = [rows * arch.bottleneck, rows * arch.width];
            Some(sizes.map(|size| dropped(size, dropout, rng)))
        }
        _ => None,
    };
    Pairs { pairs, tokens, input, dropout, targets }
}

/// Factors of a dropout that keeps the mean: 0 with `probability`, else `1 / (1 - probability)`.
fn dropped(count: usize, probability: f32, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let mut factors = vec![1.0 / (1.0 - probability); count];
    mask_elements(&mut factors, probability, rng);
    factors
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn classes_are_drawn_evenly_whatever_their_size() {
        let classes = Classes::new((0..110).map(|i| usize::from(i >= 100) * 2));
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let small = (0..4000).filter(|_| classes.pick(&mut rng) >= 100).count();
        assert!((1800..2200).contains(&small), "{small} of 4000");
    }

    #[test]
    fn tokens_are_distinct_ascending_and_all_when_asked_for() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let some = pick_tokens(100, 30, &mut rng);
        assert_eq!(some.len(), 30);
        assert!(some.windows(2).all(|w| w[0] < w[1]) && some[29] < 100);
        assert_eq!(pick_tokens(9, 9, &mut rng), (0..9).collect::<Vec<_>>());
    }

    #[test]
    fn the_mask_zeroes_the_stated_share_of_elements() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for probability in [0.0, 0.2, 0.4, 1.0] {
            let mut values = vec![1f32; 100_001];
            mask_elements(&mut values, probability, &mut rng);
            let zeros = values.iter().filter(|v| **v == 0.0).count() as f32 / 100_001.0;
            assert!((zeros - probability).abs() < 0.01, "{zeros} for {probability}");
        }
    }
}

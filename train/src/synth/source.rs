//! What is painted into a Perlin area: a foreign texture, or the picture itself out of place.

use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::augment;

/// Tiles along a side when the picture is shuffled.
const TILES: usize = 8;

/// A texture after mirroring and three augmenters.
pub(super) fn textured(texture: &[u8], size: usize, rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut rgb = texture.to_vec();
    if rng.random() {
        rgb.chunks_exact_mut(size * 3).for_each(|row| {
            row.reverse();
            row.chunks_exact_mut(3).for_each(<[u8]>::reverse);
        });
    }
    augment::three(&mut rgb, size, rng);
    rgb
}

/// The picture after three augmenters, its 8 x 8 tiles in random order.
pub(super) fn shuffled(clean: &[u8], size: usize, rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut rgb = clean.to_vec();
    augment::three(&mut rgb, size, rng);
    let tile = size / TILES;
    let mut order: Vec<usize> = (0..TILES * TILES).collect();
    order.shuffle(rng);
    // Where the size is no multiple of eight, the rest at the right and bottom stays in place.
    let mut out = rgb.clone();
    for (to, &from) in order.iter().enumerate() {
        let corner = |k: usize| (k / TILES * tile) * size * 3 + (k % TILES * tile) * 3;
        for y in 0..tile {
            let (a, b) = (corner(to) + y * size * 3, corner(from) + y * size * 3);
            out[a..a + tile * 3].copy_from_slice(&rgb[b..b + tile * 3]);
        }
    }
    out
}

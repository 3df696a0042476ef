//! Anomaly synthesis: damages pictures of good parts so that the decoder can learn to repair
//! them and the segmentation head can learn where the damage was.
//!
//! Pure and seeded: the same clean picture, foreground and generator state give the same damage.
//! Every kind of damage draws a [`canvas::Layer`] (what to paint, how opaque); one place then
//! composes it with the clean picture and derives the mask from what really changed, because a
//! label on pixels that look as before teaches the model to see things. Outside the mask the
//! result is the clean picture, byte for byte.
//!
//! The Perlin kinds follow the published recipe (mask by thresholded noise, source from a texture
//! or from the picture itself, blended by beta). The others imitate what production lines show
//! and Perlin noise does not: thin scratches, pits, transplanted patches, missing and added
//! structure, local deformation and blur.

// Pixel loops read best by index: several pictures share one.
#![allow(clippy::needless_range_loop, clippy::needless_late_init, clippy::manual_is_multiple_of)]

mod augment;
mod canvas;
mod defects;
mod foreground;
mod perlin;
mod procedural;
mod source;
mod texture;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

pub use foreground::foreground;
pub use texture::{TextureError, TextureErrorKind, Textures};

use canvas::Layer;

/// Draws before the sure damage is taken; each draw fails for want of a visible change only.
const ATTEMPTS_MAX: usize = 12;
/// Least mask area as a fraction of the picture: below, a mask vanishes on the feature grid.
const AREA_MIN: f32 = 12.0 / 65_536.0;
/// Largest mask area as a fraction of the picture: a part that is damaged everywhere has no
/// clean surroundings left from which it could be repaired.
const AREA_MAX: f32 = 0.5;

/// A kind of synthetic damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Perlin-shaped area painted with a foreign texture.
    Texture,
    /// Perlin-shaped area painted with the picture itself, altered and shuffled.
    Shuffled,
    /// Thin curved scratch, or a jagged crack.
    Line,
    /// Spots, pits, dents and stains.
    Spot,
    /// A patch or a thin scar copied from elsewhere in the picture.
    Paste,
    /// Structure erased or added: an area takes a tone found beside it.
    Structure,
    /// Local displacement of the picture.
    Warp,
    /// Local loss of sharpness or added grain.
    Blur,
}

/// How often each kind of damage is drawn, as relative weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Mix(Vec<(Kind, f32)>);

impl Mix {
    /// Half Perlin damage as published, half the damage that production lines show.
    pub fn standard() -> Self {
        Self(vec![
            (Kind::Texture, 0.27),
            (Kind::Shuffled, 0.20),
            (Kind::Line, 0.12),
            (Kind::Spot, 0.12),
            (Kind::Paste, 0.09),
            (Kind::Structure, 0.11),
            (Kind::Warp, 0.05),
            (Kind::Blur, 0.04),
        ])
    }

    /// The published recipe: Perlin areas, half foreign texture, half the picture itself.
    pub fn perlin() -> Self {
        Self(vec![(Kind::Texture, 0.5), (Kind::Shuffled, 0.5)])
    }

    /// One kind only.
    pub fn only(kind: Kind) -> Self {
        Self(vec![(kind, 1.0)])
    }

    fn pick(&self, rng: &mut ChaCha8Rng) -> Kind {
        let total: f32 = self.0.iter().map(|(_, w)| w).sum();
        let mut at = rng.random::<f32>() * total;
        for (kind, weight) in &self.0 {
            at -= weight;
            if at < 0.0 {
                return *kind;
            }
        }
        // Rounding can leave `at` at zero; every constructor lists at least one kind.
        self.0.last().map_or(Kind::Shuffled, |(kind, _)| *kind)
    }
}

/// A damaged picture and where it was damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// `size * size * 3` bytes, RGB, row-major.
    pub rgb: Vec<u8>,
    /// `size * size` bytes, 1 where the picture changed visibly, 0 where it is the clean one.
    pub mask: Vec<u8>,
    /// What was drawn.
    pub kind: Kind,
}

/// Draws damage on square pictures of one size.
#[derive(Clone, Debug)]
pub struct Synthesizer {
    textures: Textures,
    size: usize,
    mix: Mix,
}

impl Synthesizer {
    /// A synthesizer for `size` x `size` pictures with the standard mix of damage.
    ///
    /// # Panics
    /// When the textures were made for another size, or `size` is below 16 pixels.
    pub fn new(textures: Textures, size: usize) -> Self {
        assert!(size >= 16, "pictures of {size} px are too small to damage; use 16 or more");
        assert_eq!(textures.size(), size, "textures and pictures must have one size");
        Self { textures, size, mix: Mix::standard() }
    }

    /// The same synthesizer with another mix of damage.
    pub fn with_mix(mut self, mix: Mix) -> Self {
        self.mix = mix;
        self
    }

    /// Damages `clean` (`size * size * 3` bytes, RGB), within `foreground` when it is given.
    ///
    /// The mask is never empty. A foreground without a single pixel counts as none given.
    ///
    /// # Panics
    /// When `clean` or `foreground` is not of the synthesizer's size.
    pub fn damage(
        &self,
        clean: &[u8],
        foreground: Option<&[bool]>,
        rng: &mut ChaCha8Rng,
    ) -> Damaged {
        let pixels = self.size * self.size;
        assert_eq!(clean.len(), pixels * 3, "the picture must be {0} x {0} RGB", self.size);
        if let Some(allowed) = foreground {
            assert_eq!(allowed.len(), pixels, "the foreground must be {0} x {0}", self.size);
        }
        let allowed = foreground.filter(|f| f.iter().any(|&p| p));
        let grey = canvas::is_grey(clean);
        for _ in 0..ATTEMPTS_MAX {
            let kind = self.mix.pick(rng);
            let Some(mut layer) = self.draw(kind, clean, allowed, rng) else { continue };
            if grey {
                // A monochrome camera cannot see a coloured defect.
                canvas::to_grey(&mut layer.rgb);
            }
            let (rgb, mask, area) = layer.compose(clean, allowed);
            let part = area as f32 / pixels as f32;
            if (AREA_MIN..=AREA_MAX).contains(&part) {
                return Damaged { rgb, mask, kind };
            }
        }
        self.sure(clean, allowed, rng)
    }

    fn draw(
        &self,
        kind: Kind,
        clean: &[u8],
        allowed: Option<&[bool]>,
        rng: &mut ChaCha8Rng,
    ) -> Option<Layer> {
        let size = self.size;
        match kind {
            Kind::Texture | Kind::Shuffled => {
                let alpha = perlin::mask(size, allowed, rng)?;
                let rgb = if kind == Kind::Texture {
                    source::textured(self.textures.pick(rng), size, rng)
                } else {
                    source::shuffled(clean, size, rng)
                };
                let beta: f32 = rng.random_range(0.2..0.8);
                let alpha = alpha.iter().map(|&m| if m { 1.0 - beta } else { 0.0 }).collect();
                Some(Layer { size, rgb, alpha })
            }
            Kind::Line => Some(defects::line(clean, size, allowed, rng)),
            Kind::Spot => Some(defects::spot(clean, size, allowed, rng)),
            Kind::Paste => Some(defects::paste(clean, size, allowed, rng)),
            Kind::Structure => Some(defects::structure(clean, size, allowed, rng)),
            Kind::Warp => Some(defects::warp(clean, size, allowed, rng)),
            Kind::Blur => Some(defects::blur(clean, size, allowed, rng)),
        }
    }

    /// Damage that changes any picture: a small area takes the far end of the grey scale.
    fn sure(&self, clean: &[u8], allowed: Option<&[bool]>, rng: &mut ChaCha8Rng) -> Damaged {
        let layer = defects::contrast_disc(clean, self.size, allowed, rng);
        let (rgb, mask, area) = layer.compose(clean, allowed);
        debug_assert!(area > 0, "the contrast disc covers its own centre");
        Damaged { rgb, mask, kind: Kind::Spot }
    }
}

#[cfg(test)]
mod tests;

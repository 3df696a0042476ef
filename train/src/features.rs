//! The frozen encoder's features of all training pictures, kept in memory.
//!
//! The encoder never changes, so a clean picture is encoded once. Damaged variants are encoded in
//! advance too, a few for each picture, and replaced one by one during training. Features are
//! kept in half precision: they are standardised before use, so 11 bits of mantissa are plenty.

use std::sync::atomic::{AtomicBool, Ordering};

use half::f16;
use half::slice::HalfFloatSliceExt;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::arch::Architecture;
use crate::encoder::{EncoderError, FrozenEncoder};
use crate::synth::{Damaged, Synthesizer, foreground};
use crate::trainer::Workers;

/// Memory the cache may take. Six classes with 1300 pictures at 256 px and two damaged variants
/// of each take 4 GiB.
pub const CACHE_BYTES_MAX: usize = 6 << 30;
/// Pictures whose features decide mean and deviation of each channel, spread over the data set.
const STATISTICS_PICTURES_MAX: usize = 400;
/// Channels that hardly vary on good parts are not blown up beyond this fraction of the typical
/// deviation.
const DEVIATION_MIN: f64 = 1e-3;

/// Anything that turns a picture into features; the real one is [`FrozenEncoder`].
pub trait Encode: Sync {
    /// Encodes `rgb` (`input * input * 3` bytes) into `out` (`rows * channels`, channels last).
    ///
    /// # Errors
    /// When a length is wrong or the runtime fails.
    fn encode(&self, rgb: &[u8], out: &mut [f32]) -> Result<(), EncoderError>;

    /// Encodes `rgb` as memory `memory` sees it, which looks closer than the grid, into `out`
    /// (`places * channels`, channels last).
    ///
    /// # Errors
    /// As [`Self::encode`], and when there is nothing finer.
    fn encode_fine(
        &self,
        memory: usize,
        _rgb: &[u8],
        _out: &mut [f32],
    ) -> Result<(), EncoderError> {
        Err(EncoderError::no_finer(memory))
    }
}

/// A picture as the model sees it: standardised features.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// `[rows, C]`.
    pub features: Vec<f32>,
    /// For each memory that looks closer than the grid `[places, channels]`; empty for the others.
    pub fine: Vec<Vec<f32>>,
}

impl Seen {
    /// `rgb` through the encoder.
    ///
    /// # Errors
    /// When the encoder fails.
    pub fn new(
        arch: &Architecture,
        encoder: &dyn Encode,
        statistics: &Statistics,
        rgb: &[u8],
    ) -> Result<Self, EncoderError> {
        let mut features = vec![0f32; arch.features()];
        encoder.encode(rgb, &mut features)?;
        statistics.standardise_rows(0, arch.channels(), &mut features);
        Ok(Self { features, fine: Self::fine(arch, encoder, statistics, rgb)? })
    }

    /// Only what is finer than the grid.
    ///
    /// # Errors
    /// When the encoder fails.
    pub fn fine(
        arch: &Architecture,
        encoder: &dyn Encode,
        statistics: &Statistics,
        rgb: &[u8],
    ) -> Result<Vec<Vec<f32>>, EncoderError> {
        let memories = arch.memories.iter().enumerate();
        memories
            .map(|(i, memory)| {
                if memory.scale == 1 {
                    return Ok(Vec::new());
                }
                let channels = arch.tap_channels(&memory.taps);
                let mut out = vec![0f32; arch.memory_grid(memory).pow(2) * channels.len()];
                encoder.encode_fine(i, rgb, &mut out)?;
                statistics.standardise_rows(channels.start, channels.len(), &mut out);
                Ok(out)
            })
            .collect()
    }
}

impl Encode for FrozenEncoder {
    fn encode(&self, rgb: &[u8], out: &mut [f32]) -> Result<(), EncoderError> {
        FrozenEncoder::encode(self, rgb, out)
    }

    fn encode_fine(&self, memory: usize, rgb: &[u8], out: &mut [f32]) -> Result<(), EncoderError> {
        FrozenEncoder::encode_fine(self, memory, rgb, out)
    }
}

/// A training picture and its class.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Index of the class.
    pub class: usize,
    /// `input * input * 3` bytes, RGB.
    pub rgb: Vec<u8>,
}

/// Features of a damaged picture and where the damage is.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// `rows * channels`, raw, channels last.
    pub features: Vec<f16>,
    /// `input * input`, 0 or 1.
    pub mask: Vec<u8>,
}

/// What the cache is filled from.
pub struct Material<'a> {
    /// The training pictures.
    pub pictures: Vec<Picture>,
    /// Draws damage.
    pub synthesizer: Synthesizer,
    /// The frozen encoder.
    pub encoder: &'a dyn Encode,
    /// Seeds the damage.
    pub seed: u64,
    values: usize,
    foregrounds: Vec<Option<Vec<bool>>>,
}

impl<'a> Material<'a> {
    /// Finds the pictures' foregrounds.
    pub fn new(
        arch: &Architecture,
        pictures: Vec<Picture>,
        synthesizer: Synthesizer,
        encoder: &'a dyn Encode,
        seed: u64,
        workers: &Workers,
    ) -> Self {
        let foregrounds = workers.map(pictures.len(), |i| foreground(&pictures[i].rgb));
        let values = arch.features();
        Self { pictures, synthesizer, encoder, seed, values, foregrounds }
    }

    fn encode(&self, rgb: &[u8]) -> Result<Vec<f16>, EncoderError> {
        let mut values = vec![0f32; self.values];
        self.encoder.encode(rgb, &mut values)?;
        let mut half = vec![f16::ZERO; values.len()];
        half.convert_from_f32_slice(&values);
        Ok(half)
    }

    /// The features of clean picture `i`.
    ///
    /// # Errors
    /// When the encoder fails.
    pub fn clean(&self, i: usize) -> Result<Vec<f16>, EncoderError> {
        self.encode(&self.pictures[i].rgb)
    }

    /// Picture `i` with damage `number`; the same number gives the same damage.
    pub fn damaged(&self, i: usize, number: u64) -> Damaged {
        let mut rng = stream(self.seed, Purpose::Damage, i as u64, number);
        let clean = &self.pictures[i].rgb;
        self.synthesizer.damage(clean, self.foregrounds[i].as_deref(), &mut rng)
    }

    /// Features of damaged variant `number` of picture `i`.
    ///
    /// # Errors
    /// When the encoder fails.
    pub fn variant(&self, i: usize, number: u64) -> Result<Variant, EncoderError> {
        let damaged = self.damaged(i, number);
        Ok(Variant { features: self.encode(&damaged.rgb)?, mask: damaged.mask })
    }
}

/// What random numbers are for; keeps streams of one seed apart.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    /// Initial weights.
    Weights = 1,
    /// Synthetic damage.
    Damage = 2,
    /// Stage 1 batches.
    Decoder = 3,
    /// Stage 2 batches.
    Head = 4,
    /// Procedural textures.
    Textures = 5,
    /// Synthetic damage of the report.
    Validation = 6,
    /// Prototypes of normal surroundings.
    Memory = 7,
}

/// A generator that depends on nothing but its arguments, so that work can be spread over
/// threads or resumed anywhere without changing its outcome.
pub fn stream(seed: u64, purpose: Purpose, major: u64, minor: u64) -> ChaCha8Rng {
    let mut key = [0u8; 32];
    for (part, value) in key.chunks_exact_mut(8).zip([seed, purpose as u64, major, minor]) {
        part.copy_from_slice(&value.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// Features of all clean pictures and of the current damaged variants.
pub struct Cache {
    /// By picture.
    pub clean: Vec<Vec<f16>>,
    /// `variants[picture * per_picture + k]`.
    pub variants: Vec<Variant>,
    /// Damaged variants of each picture.
    pub per_picture: usize,
}

impl Cache {
    /// Variants of each picture that fit into [`CACHE_BYTES_MAX`], at most `wanted`; `None` when
    /// not even one does.
    pub fn variants_that_fit(arch: &Architecture, pictures: usize, wanted: usize) -> Option<usize> {
        let features = arch.features() * size_of::<f16>();
        let mask = arch.input * arch.input;
        let room = (CACHE_BYTES_MAX / pictures.max(1)).checked_sub(features)?;
        let fit = (room / (features + mask)).min(wanted);
        (fit > 0).then_some(fit)
    }

    /// Encodes everything. `proceed` is called after each picture with the number of encoder
    /// runs; once it says no, the rest is left out and the answer is `None`.
    ///
    /// # Errors
    /// When the encoder fails.
    pub fn fill(
        material: &Material<'_>,
        per_picture: usize,
        round: u64,
        workers: &Workers,
        proceed: &(dyn Fn(usize) -> bool + Sync),
    ) -> Result<Option<Self>, EncoderError> {
        let count = material.pictures.len();
        let stopped = AtomicBool::new(false);
        let number = |slot| variant_number(slot, per_picture, count, round);
        let filled = workers.map(count, |i| {
            if stopped.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let clean = material.clean(i)?;
            let variants = (0..per_picture)
                .map(|k| material.variant(i, number(i * per_picture + k)))
                .collect::<Result<Vec<_>, _>>()?;
            if !proceed(1 + per_picture) {
                stopped.store(true, Ordering::Relaxed);
            }
            Ok(Some((clean, variants)))
        });
        let mut cache = Self { clean: Vec::new(), variants: Vec::new(), per_picture };
        for entry in filled {
            let Some((clean, variants)) = entry? else { return Ok(None) };
            cache.clean.push(clean);
            cache.variants.extend(variants);
        }
        Ok((!stopped.into_inner()).then_some(cache))
    }

    /// The slots that refresh number `round` replaces, with the numbers of their new variants.
    pub fn slot(&self, round: u64) -> (usize, u64) {
        let slots = self.variants.len().max(1) as u64;
        let slot = (round % slots) as usize;
        (
            slot,
            (slot % self.per_picture.max(1)) as u64 + (round / slots + 1) * self.per_picture as u64,
        )
    }
}

/// Number of the variant in `slot` after `round` refreshes.
fn variant_number(slot: usize, per_picture: usize, pictures: usize, round: u64) -> u64 {
    let slots = (per_picture * pictures).max(1) as u64;
    let times = round / slots + u64::from((slot as u64) < round % slots);
    (slot % per_picture.max(1)) as u64 + times * per_picture as u64
}

/// Mean and standard deviation of each channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    /// By channel.
    pub mean: Vec<f32>,
    /// By channel, above zero.
    pub deviation: Vec<f32>,
}

impl Statistics {
    /// From clean features.
    pub fn of(clean: &[Vec<f16>], channels: usize) -> Self {
        let step = clean.len().div_ceil(STATISTICS_PICTURES_MAX).max(1);
        let (mut sum, mut square) = (vec![0f64; channels], vec![0f64; channels]);
        let mut rows = 0u64;
        let mut values = Vec::new();
        for features in clean.iter().step_by(step) {
            values.resize(features.len(), 0f32);
            features.convert_to_f32_slice(&mut values);
            for row in values.chunks_exact(channels) {
                rows += 1;
                for (c, &v) in row.iter().enumerate() {
                    sum[c] += f64::from(v);
                    square[c] += f64::from(v) * f64::from(v);
                }
            }
        }
        let n = rows.max(1) as f64;
        let mean: Vec<f64> = sum.iter().map(|s| s / n).collect();
        let spread: Vec<f64> =
            square.iter().zip(&mean).map(|(q, m)| (q / n - m * m).max(0.0).sqrt()).collect();
        let typical = spread.iter().sum::<f64>() / channels as f64;
        let floor = (typical * DEVIATION_MIN).max(1e-6);
        Self {
            mean: mean.iter().map(|&m| m as f32).collect(),
            deviation: spread.iter().map(|&s| s.max(floor) as f32).collect(),
        }
    }

    /// Those that change nothing.
    pub fn identity(channels: usize) -> Self {
        Self { mean: vec![0.0; channels], deviation: vec![1.0; channels] }
    }

    /// All rows of a picture's raw features, standardised.
    pub fn standardised(&self, raw: &[f16]) -> Vec<f32> {
        let mut features = vec![0f32; raw.len()];
        let channels = self.mean.len();
        for (row, out) in raw.chunks_exact(channels).zip(features.chunks_exact_mut(channels)) {
            self.standardise(row, out);
        }
        features
    }

    /// Standardises rows of `width` raw channels, the first of which is number `first`.
    pub fn standardise_rows(&self, first: usize, width: usize, rows: &mut [f32]) {
        let (mean, deviation) = (&self.mean[first..], &self.deviation[first..]);
        for row in rows.chunks_exact_mut(width) {
            row.iter_mut().zip(mean).zip(deviation).for_each(|((v, m), s)| *v = (*v - m) / s);
        }
    }

    /// Standardises one row of raw half-precision features into `out`.
    pub fn standardise(&self, raw: &[f16], out: &mut [f32]) {
        raw.convert_to_f32_slice(out);
        for ((v, m), s) in out.iter_mut().zip(&self.mean).zip(&self.deviation) {
            *v = (*v - m) / s;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resumed_cache_holds_the_variants_of_the_round_it_was_left_in() {
        let (pictures, per_picture) = (5usize, 3usize);
        let cache = Cache {
            clean: Vec::new(),
            variants: vec![Variant { features: Vec::new(), mask: Vec::new() }; 15],
            per_picture,
        };
        let mut numbers: Vec<u64> =
            (0..15).map(|slot| variant_number(slot, per_picture, pictures, 0)).collect();
        for round in 0..47 {
            let expected: Vec<u64> =
                (0..15).map(|slot| variant_number(slot, per_picture, pictures, round)).collect();
            assert_eq!(numbers, expected, "round {round}");
            let (slot, number) = cache.slot(round);
            assert!(!numbers[slot / 3 * 3..slot / 3 * 3 + 3].contains(&number), "round {round}");
            numbers[slot] = number;
        }
    }

    #[test]
    fn statistics_are_those_of_every_channel() {
        let raw = [1.0, 10.0, 3.0, 10.0, 5.0, 10.0].map(f16::from_f32).to_vec();
        let s = Statistics::of(&[raw], 2);
        assert_eq!(s.mean, [3.0, 10.0]);
        assert!((s.deviation[0] - (8.0f32 / 3.0).sqrt()).abs() < 1e-6);
        assert!(s.deviation[1] > 0.0);
        let mut out = [0.0; 2];
        s.standardise(&[f16::from_f32(5.0), f16::from_f32(10.0)], &mut out);
        assert!((out[0] - 2.0 / s.deviation[0]).abs() < 1e-6 && out[1] == 0.0);
    }

    #[test]
    fn fewer_variants_are_kept_of_more_pictures() {
        let arch = crate::arch::edge();
        assert_eq!(Cache::variants_that_fit(&arch, 100, 4), Some(4));
        let fit = Cache::variants_that_fit(&arch, 2500, 4).unwrap();
        assert!((1..4).contains(&fit), "{fit}");
        assert_eq!(Cache::variants_that_fit(&arch, 1_000_000, 4), None);
    }
}

//! What a picture looks like at a glance: enough to find its twins and the odd one out, small
//! enough to be kept of every picture.

use std::io::Cursor;
use std::path::Path;

use crrd::image::{Preprocessor, RgbImage, decode};
use image::ColorType;
use sha2::{Digest, Sha256};

/// Side of the small grey picture that pictures are compared by.
pub const GLANCE_PX: usize = 32;
/// Side of the grid that the hash is made from; it compares neighbours in each row.
const HASH_PX: usize = 16;
/// Grey levels by which a place must be brighter: on flat ground noise alone decides otherwise.
const HASH_LEVELS: u8 = 3;
/// Largest picture file; a larger one is no camera picture.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// How the pixels are stored in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pixels {
    /// Grey, not colour.
    pub is_grey: bool,
    /// Bits of a channel.
    pub bits: u16,
}

impl std::fmt::Display for Pixels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.is_grey { "grey" } else { "colour" };
        write!(f, "{kind}, {} bits", self.bits)
    }
}

/// Brightest value that a 12-bit number has when 16 bits become 8: 4095 * 255 / 65535, rounded.
const TWELVE_OF_SIXTEEN_MAX: u8 = 16;

/// A picture at a glance.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// How the file stores them.
    pub pixels: Pixels,
    /// The brightest value of all channels, as the model sees it.
    pub brightest: u8,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
    /// Difference hash: whether each of 256 places is clearly brighter than the next one in its
    /// row.
    pub hash: [u64; 4],
    /// `GLANCE_PX * GLANCE_PX` grey levels.
    pub grey: Vec<u8>,
    /// Mean of red, green and blue.
    pub mean: [f32; 3],
}

/// Reads a picture file; the error is a sentence.
///
/// # Errors
/// When it is too large, cannot be read or is no picture.
pub(crate) fn read(path: &Path) -> Result<(Vec<u8>, RgbImage), String> {
    let length = std::fs::metadata(path).map_err(|e| e.to_string())?.len();
    if length == 0 {
        return Err("the file is empty".to_owned());
    }
    if length > FILE_BYTES_MAX {
        return Err(format!("{length} bytes, {FILE_BYTES_MAX} are allowed"));
    }
    let bytes = std::fs::read(path).map_err(|e| e.to_string())?;
    let picture = decode(&bytes).map_err(|e| e.to_string())?;
    Ok((bytes, picture))
}

impl Look {
    /// A glance at a file that was read.
    ///
    /// # Errors
    /// As [`read`].
    pub fn of(bytes: &[u8], picture: &RgbImage) -> Result<Self, String> {
        let grey = shrunk(picture, GLANCE_PX, GLANCE_PX)?;
        let places = shrunk(picture, HASH_PX + 1, HASH_PX)?;
        let pixels = picture.data.len() as f64 / 3.0;
        let mean = [0, 1, 2].map(|c| {
            let sum: f64 = picture.data.iter().skip(c).step_by(3).map(|v| f64::from(*v)).sum();
            (sum / pixels) as f32
        });
        Ok(Self {
            width: picture.width,
            height: picture.height,
            pixels: stored(bytes),
            brightest: picture.data.iter().copied().max().unwrap_or(0),
            sha256: Sha256::digest(bytes).into(),
            hash: hash(&places),
            grey,
            mean,
        })
    }

    /// Whether a 16-bit file holds the numbers of a camera that has 12 bits or fewer, so that next to
    /// nothing is left of them in 8 bits.
    pub fn is_shallow(&self) -> bool {
        self.pixels.bits == 16 && self.brightest <= TWELVE_OF_SIXTEEN_MAX
    }

    /// Places of the hash that differ, 0 to 256.
    pub fn hash_distance(&self, other: &Look) -> u32 {
        self.hash.iter().zip(&other.hash).map(|(a, b)| (a ^ b).count_ones()).sum()
    }

    /// Mean difference of the small pictures in grey levels, apart from their brightness: a lamp
    /// flickers between two shots of the same part.
    pub fn difference(&self, other: &Look) -> f32 {
        let count = self.grey.len().max(1) as f32;
        let pairs =
            || self.grey.iter().zip(&other.grey).map(|(a, b)| i32::from(*a) - i32::from(*b));
        let brighter = pairs().sum::<i32>() as f32 / count;
        pairs().map(|d| (d as f32 - brighter).abs()).sum::<f32>() / count
    }
}

fn shrunk(picture: &RgbImage, width: usize, height: usize) -> Result<Vec<u8>, String> {
    let view = picture.view().map_err(|e| e.to_string())?;
    let mut rgb = vec![0; width * height * 3];
    Preprocessor::new(width, height).run(view, &mut rgb).map_err(|e| e.to_string())?;
    let luma = |p: &[u8; 3]| {
        ((u32::from(p[0]) * 299 + u32::from(p[1]) * 587 + u32::from(p[2]) * 114) / 1000) as u8
    };
    Ok(rgb.as_chunks::<3>().0.iter().map(luma).collect())
}

fn hash(places: &[u8]) -> [u64; 4] {
    let mut hash = [0u64; 4];
    for (y, row) in places.chunks_exact(HASH_PX + 1).enumerate() {
        for x in 0..HASH_PX {
            let at = y * HASH_PX + x;
            hash[at / 64] |=
                u64::from(row[x] > row[x + 1].saturating_add(HASH_LEVELS)) << (at % 64);
        }
    }
    hash
}

/// From the file's head; colour of 8 bits when it does not say.
fn stored(bytes: &[u8]) -> Pixels {
    let unknown = Pixels { is_grey: false, bits: 8 };
    let reader = image::ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    let Ok(Ok(decoder)) = reader.map(image::ImageReader::into_decoder) else { return unknown };
    let colour: ColorType = image::ImageDecoder::color_type(&decoder);
    Pixels {
        is_grey: !colour.has_color(),
        bits: colour.bits_per_pixel() / u16::from(colour.channel_count()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(image: &image::DynamicImage) -> Look {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        let bytes = bytes.into_inner();
        Look::of(&bytes, &decode(&bytes).unwrap()).unwrap()
    }

    /// A bright disc on a shaded ground with grain.
    fn scene(shift: i64, noise: u32) -> image::DynamicImage {
        image::RgbImage::from_fn(160, 120, |x, y| {
            let (dx, dy) = (i64::from(x) - 50 - shift, i64::from(y) - 60);
            let level = if dx * dx + dy * dy < 900 { 180 } else { 60 };
            let seed = x.wrapping_mul(2_654_435_761) ^ y.wrapping_mul(40_503);
            let grain = (seed.wrapping_mul(2 * noise + 1) >> 29) as u8;
            image::Rgb([level + grain + (x / 8) as u8, level + (y / 8) as u8, level])
        })
        .into()
    }

    #[test]
    fn another_shot_of_the_same_looks_the_same_and_another_place_does_not() {
        let (a, again, moved) = (look(&scene(0, 1)), look(&scene(0, 2)), look(&scene(40, 1)));
        assert_ne!(a.sha256, again.sha256);
        assert!(a.hash_distance(&again) < 20, "{}", a.hash_distance(&again));
        assert!(a.difference(&again) < 1.0, "{}", a.difference(&again));
        assert!(a.hash_distance(&moved) > 20, "{}", a.hash_distance(&moved));
        assert!(a.difference(&moved) > 5.0, "{}", a.difference(&moved));
    }

    #[test]
    fn twelve_bits_in_a_sixteen_bit_file_are_shallow_and_all_else_is_not() {
        let grey = |most: u16| {
            let pixels = image::ImageBuffer::from_fn(64, 48, |x, _| {
                image::Luma([(u32::from(most) * x / 63) as u16])
            });
            look(&image::DynamicImage::ImageLuma16(pixels))
        };
        for (most, is_shallow) in
            [(1023, true), (4095, true), (4600, false), (16_383, false), (65_535, false)]
        {
            assert_eq!(grey(most).is_shallow(), is_shallow, "{most}");
        }
        let dark = image::DynamicImage::ImageLuma8(image::GrayImage::new(64, 48));
        assert!(!look(&dark).is_shallow(), "8 bits are only dark");
    }

    #[test]
    fn grey_and_sixteen_bits_are_told_from_the_file() {
        let colour = scene(0, 1);
        let kinds = [
            (colour.clone(), Pixels { is_grey: false, bits: 8 }),
            (colour.to_luma8().into(), Pixels { is_grey: true, bits: 8 }),
            (colour.to_luma16().into(), Pixels { is_grey: true, bits: 16 }),
            (colour.to_rgb16().into(), Pixels { is_grey: false, bits: 16 }),
        ];
        for (image, pixels) in kinds {
            assert_eq!(look(&image).pixels, pixels);
        }
        assert_eq!(look(&colour).hash_distance(&look(&colour.to_rgb16().into())), 0);
        assert_eq!(Pixels { is_grey: true, bits: 16 }.to_string(), "grey, 16 bits");
    }
}

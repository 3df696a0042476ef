//! Renders parts with texture, light, pose and noise, and damages them realistically.
//!
//! A part is built as a surface (reflectance, height, gloss), damaged as a surface - a scratch is
//! a groove, a dent a hollow, a stain a change of reflectance - and only then lit, blurred by the
//! lens and exposed. So a defect has the light, the sharpness and the noise of its surroundings.
//! The ground truth is what light and lens make visible: the difference between the damaged and
//! the undamaged part before noise.

mod cap;
mod coupon;
mod defect;
mod optics;
mod rng;
mod surface;
mod text;
mod washer;

use optics::{Encode, Light, Linear};
use rng::Rng;
use surface::Surface;

/// Side of a part's picture when the caller has no wish: larger than the demo model's input, so
/// that the station has to resize.
pub const SIDE_PX_DEFAULT: usize = 320;
/// Smallest picture on which the parts' features can be told apart.
pub const SIDE_PX_MIN: usize = 64;

/// Difference in 8-bit levels that belongs to the ground truth.
const VISIBLE_LEVELS: u8 = 8;
/// Defects are drawn anew until their area is in this range (fractions of the picture): smaller
/// ones nobody could mark, larger ones nobody could miss.
const AREA: std::ops::RangeInclusive<f32> = 0.0022..=0.045;
/// Least mean difference over the ground truth, in 8-bit levels: fainter defects are drawn anew.
const CONTRAST_LEVELS_MIN: f32 = 18.0;
/// Draws before the best defect so far is taken.
const ATTEMPTS_MAX: u64 = 16;

/// A product on the demonstration's line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Product {
    /// Turned steel washer with an engraved mark; any rotation.
    Washer,
    /// Printed-circuit test coupon in a fixture.
    Coupon,
    /// Moulded plastic gear cap; any rotation.
    Cap,
}

impl Product {
    /// All products, in the order of their class numbers.
    pub const ALL: [Product; 3] = [Product::Cap, Product::Coupon, Product::Washer];

    /// Class name, as in the folder layout and in the model's class list.
    pub fn name(self) -> &'static str {
        match self {
            Product::Washer => "washer",
            Product::Coupon => "coupon",
            Product::Cap => "cap",
        }
    }
}

/// A kind of defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Defect {
    /// Grooves of a handling accident.
    Scratch,
    /// A hollow or a bump.
    Dent,
    /// Oil, rust, flux or a burn.
    Stain,
    /// A jagged dark line with branches.
    Crack,
    /// A feature of the part is missing or broken off.
    Missing,
    /// A hair or fibre lies on the part.
    Fibre,
    /// The mark is doubled, cut off or blotted.
    Misprint,
}

impl Defect {
    /// All kinds.
    pub const ALL: [Defect; 7] = [
        Defect::Scratch,
        Defect::Dent,
        Defect::Stain,
        Defect::Crack,
        Defect::Missing,
        Defect::Fibre,
        Defect::Misprint,
    ];

    /// Name, as in the folder layout.
    pub fn name(self) -> &'static str {
        match self {
            Defect::Scratch => "scratch",
            Defect::Dent => "dent",
            Defect::Stain => "stain",
            Defect::Crack => "crack",
            Defect::Missing => "missing",
            Defect::Fibre => "fibre",
            Defect::Misprint => "misprint",
        }
    }
}

/// A picture of a part and its ground truth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub product: Product,
    /// What is wrong with it, if anything.
    pub defect: Option<Defect>,
    /// Side of the square picture in pixels.
    pub size: usize,
    /// `size * size * 3` bytes, RGB, row-major.
    pub rgb: Vec<u8>,
    /// `size * size` bytes, 1 where the part is defective.
    pub mask: Vec<u8>,
}

/// What a part is rendered for. Parts of different purposes never share a seed: the model is not
/// shown in training what it is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Good parts to train on.
    Training,
    /// Good parts to evaluate on.
    TestGood,
    /// Defective parts to evaluate on.
    TestBad,
    /// Good parts to calibrate on.
    Calibration,
    /// Parts of the live demonstration.
    Live,
}

/// The seed of the part with a number, of a series with a seed.
pub fn part_seed(series: u64, purpose: Purpose, index: u64) -> u64 {
    let stream = Rng::new(series, 2000 + purpose as u64).bits();
    Rng::new(stream, index).bits()
}

/// What a part's builder has to do wrong; the number seeds the details.
enum Flaw {
    None,
    Missing(u64),
    Misprint(u64),
}

/// Renders one part; the same arguments give the same bytes.
///
/// # Panics
/// When `size` is below [`SIDE_PX_MIN`].
pub fn render(product: Product, defect: Option<Defect>, seed: u64, size: usize) -> Part {
    // The same number is another part for every product.
    let seed = Rng::new(seed, 1000 + product as u64).bits();
    assert!(size >= SIDE_PX_MIN, "a part of {size} px shows nothing; use {SIDE_PX_MIN} or more");
    let light = Light::draw(&mut Rng::new(seed, 1));
    let good = build(product, size, &light, seed, &Flaw::None);
    let clean = light.shade(&good);
    let (picture, mask) = match defect {
        None => (clean, vec![0; size * size]),
        Some(defect) => damage(product, defect, seed, &light, &good, &clean),
    };
    let rgb = light.expose(&picture, &mut Rng::new(seed, 3));
    Part { product, defect, size, rgb, mask }
}

fn build(product: Product, size: usize, light: &Light, seed: u64, flaw: &Flaw) -> Surface {
    // The flaw has a generator of its own: but for it, the flawed part equals the good one.
    let mut rng = Rng::new(seed, 2);
    match product {
        Product::Washer => washer::build(size, light, &mut rng, flaw),
        Product::Coupon => coupon::build(size, light, &mut rng, flaw),
        Product::Cap => cap::build(size, light, &mut rng, flaw),
    }
}

/// Draws the defect until its visible area and contrast are in range; takes the nearest when
/// they never are.
fn damage(
    product: Product,
    defect: Defect,
    seed: u64,
    light: &Light,
    good: &Surface,
    clean: &Linear,
) -> (Linear, Vec<u8>) {
    let size = good.size;
    let mut best: Option<(f32, Linear, Vec<u8>)> = None;
    for attempt in 0..ATTEMPTS_MAX {
        let detail = Rng::new(seed, 100 + attempt).bits();
        let surface = match defect {
            Defect::Missing => build(product, size, light, seed, &Flaw::Missing(detail)),
            Defect::Misprint => build(product, size, light, seed, &Flaw::Misprint(detail)),
            _ => defect::apply(defect, good, &mut Rng::new(detail, 4)),
        };
        let picture = light.shade(&surface);
        let (mask, contrast) = difference(clean, &picture, size);
        let area = mask.iter().map(|&m| f32::from(m)).sum::<f32>() / mask.len() as f32;
        let (low, high) = AREA.into_inner();
        let faint = CONTRAST_LEVELS_MIN / contrast.max(0.1);
        let miss = (low / area.max(1e-6)).max(area / high).max(faint);
        if best.as_ref().is_none_or(|(least, _, _)| miss < *least) {
            best = Some((miss, picture, mask));
        }
        if miss <= 1.0 {
            break;
        }
    }
    // The loop runs at least once, so there always is a best.
    best.map_or_else(|| (clean.clone(), vec![0; size * size]), |(_, p, m)| (p, m))
}

/// Where two pictures differ visibly, joined over gaps of a pixel or two as a person would mark,
/// and by how many 8-bit levels on average there.
fn difference(a: &Linear, b: &Linear, size: usize) -> (Vec<u8>, f32) {
    let encode = Encode::new();
    let levels = |(a, b): (&[f32; 3], &[f32; 3])| {
        let channel = |c: usize| encode.byte(a[c]).abs_diff(encode.byte(b[c]));
        channel(0).max(channel(1)).max(channel(2))
    };
    let levels: Vec<u8> = a.iter().zip(b).map(levels).collect();
    let mask: Vec<bool> = levels.iter().map(|&l| l >= VISIBLE_LEVELS).collect();
    let mask = spread(&spread(&mask, size, true), size, false);
    let marked = mask.iter().filter(|&&m| m).count();
    let sum: f32 =
        levels.iter().zip(&mask).map(|(&l, &m)| if m { f32::from(l) } else { 0.0 }).sum();
    (mask.into_iter().map(u8::from).collect(), sum / marked.max(1) as f32)
}

/// Grows (`true`) or shrinks (`false`) the marked area by one pixel, diagonals included.
fn spread(mask: &[bool], size: usize, grow: bool) -> Vec<bool> {
    let pass = |from: &[bool], step: usize| -> Vec<bool> {
        (0..from.len())
            .map(|i| {
                let t = (i / step) % size;
                let before = from[if t > 0 { i - step } else { i }];
                let after = from[if t + 1 < size { i + step } else { i }];
                if grow { before | from[i] | after } else { before & from[i] & after }
            })
            .collect()
    };
    pass(&pass(mask, 1), size)
}

#[cfg(test)]
mod tests;

//! A small test set in MVTec layout that the stand-in engine can judge: grey parts with a little
//! noise, bad ones with a bright square.

use std::path::Path;

use image::{GrayImage, Luma, Rgb, RgbImage};

/// Side of the square that makes a part bad.
pub const SQUARE: u32 = 10;

/// Writes `count` pictures `000.png`.. into `dir`; `first` makes their noise differ from others'.
pub fn good_parts(dir: &Path, count: u32, first: u32) {
    std::fs::create_dir_all(dir).unwrap();
    for i in 0..count {
        part(first + i, None).save(dir.join(format!("{i:03}.png"))).unwrap();
    }
}

/// Writes `count` bad parts of `defect` with masks into the class folder.
pub fn bad_parts(class: &Path, defect: &str, count: u32, first: u32) {
    let (pictures, masks) =
        (class.join("test").join(defect), class.join("ground_truth").join(defect));
    std::fs::create_dir_all(&pictures).unwrap();
    std::fs::create_dir_all(&masks).unwrap();
    for i in 0..count {
        let corner = (8 + 12 * i, 20 + 7 * i);
        part(first + i, Some(corner)).save(pictures.join(format!("{i:03}.png"))).unwrap();
        let inside = |x: u32, y: u32| {
            (corner.0..corner.0 + SQUARE).contains(&x) && (corner.1..corner.1 + SQUARE).contains(&y)
        };
        let mask = GrayImage::from_fn(128, 128, |x, y| Luma([if inside(x, y) { 255 } else { 0 }]));
        mask.save(masks.join(format!("{i:03}_mask.png"))).unwrap();
    }
}

/// A 128 x 128 part; `seed` fixes the noise, `square` is the corner of a bright defect.
pub fn part(seed: u32, square: Option<(u32, u32)>) -> RgbImage {
    // Every seventh part is a little darker: what sets the limit when it is a calibration part.
    let base = if seed.is_multiple_of(7) { 122 } else { 124 };
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    RgbImage::from_fn(128, 128, |x, y| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = (state >> 28) as u8 % (2 + (seed % 5) as u8);
        let hit = square
            .is_some_and(|(u, v)| (u..u + SQUARE).contains(&x) && (v..v + SQUARE).contains(&y));
        let value = if hit { 240 } else { base + noise };
        Rgb([value, value, value])
    })
}

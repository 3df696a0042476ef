//! Overlays: what the engine saw, side by side, for a look by eye.
//!
//! Panels of equal size from left to right: the picture, the picture under the anomaly map as
//! heat (from half to one and a half of the threshold), the pixels above the threshold outlined in
//! red, and the ground truth outlined in green where it is known.

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

use super::regions::resize_mask;
use super::runner::RunError;
use crate::frame::{AnomalyMap, Geometry};
use crate::image::{Preprocessor, RgbImage};

/// Longest side of a panel in pixels: four panels fit a screen.
const PANEL_SIDE_MAX: usize = 384;
/// Pixels between panels.
const GAP: usize = 4;
/// Share of the heat colour at the hottest.
const HEAT_ALPHA: f32 = 0.7;
const RED: [u8; 3] = [255, 32, 32];
const GREEN: [u8; 3] = [32, 220, 64];

/// What an overlay shows.
#[derive(Clone, Copy, Debug)]
pub struct Overlay<'a> {
    /// The picture as it came.
    pub picture: &'a RgbImage,
    /// What of it the engine saw; the panels show that.
    pub geometry: Geometry,
    /// The engine's answer.
    pub map: &'a AnomalyMap,
    /// Map value that separates good from bad; without it the heat ends at the map's maximum and
    /// there is no mask panel.
    pub threshold: Option<f32>,
    /// Defect pixels at map size, when known.
    pub truth: Option<&'a [bool]>,
}

impl Overlay<'_> {
    /// Draws the panels as a PNG file.
    ///
    /// # Errors
    /// When the picture cannot be scaled.
    pub fn png(&self) -> Result<Vec<u8>, RunError> {
        let (width, height) =
            panel_size(self.geometry.size((self.picture.width, self.picture.height)));
        let mut plain = vec![0; width * height * 3];
        let view = self.picture.view()?;
        Preprocessor::new(width, height).run_in(&self.geometry, view, &mut plain)?;
        let mut panels = vec![plain.clone(), self.heat(&plain, width, height)];
        let size = (self.map.width, self.map.height);
        if let Some(threshold) = self.threshold {
            let above: Vec<bool> = self.map.values.iter().map(|v| *v > threshold).collect();
            panels.push(outlined(&plain, &above, size, (width, height), RED));
        }
        if let Some(truth) = self.truth.filter(|t| t.len() == self.map.values.len()) {
            panels.push(outlined(&plain, truth, size, (width, height), GREEN));
        }
        Ok(encode(&panels, width, height))
    }

    fn heat(&self, plain: &[u8], width: usize, height: usize) -> Vec<u8> {
        let (from, to) = self.heat_range();
        let scale = if to > from { 1.0 / (to - from) } else { 0.0 };
        let mut out = plain.to_vec();
        for (i, pixel) in out.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            let value = sample(self.map, i % width, i / width, width, height);
            let t = if value.is_finite() { (value - from) * scale } else { 1.0 }.clamp(0.0, 1.0);
            let colour = [255.0 * (2.0 * t).min(1.0), 510.0 * (t - 0.5).max(0.0), 40.0];
            for (v, c) in pixel.iter_mut().zip(colour) {
                *v = (f32::from(*v) * (1.0 - HEAT_ALPHA * t) + c * HEAT_ALPHA * t) as u8;
            }
        }
        out
    }

    /// Map values at the cold and at the hot end. Around a threshold, since maps have a floor
    /// that would tint everything; else from the smallest to the largest.
    fn heat_range(&self) -> (f32, f32) {
        match self.threshold {
            Some(t) if t > 0.0 => (0.5 * t, 1.5 * t),
            _ => (self.map.values.iter().copied().fold(f32::INFINITY, f32::min), self.map.max()),
        }
    }
}

fn panel_size((width, height): (usize, usize)) -> (usize, usize) {
    let longest = width.max(height).max(1);
    let fit = |side: usize| {
        if longest <= PANEL_SIDE_MAX {
            side.max(1)
        } else {
            (side * PANEL_SIDE_MAX / longest).max(1)
        }
    };
    (fit(width), fit(height))
}

/// Map value under a panel pixel. What is not finite is drawn as the hottest, so that a failure
/// is seen.
fn sample(map: &AnomalyMap, x: usize, y: usize, width: usize, height: usize) -> f32 {
    let at = (y * map.height / height) * map.width + x * map.width / width;
    map.values.get(at).copied().unwrap_or(f32::NAN)
}

fn outlined(
    plain: &[u8],
    mask: &[bool],
    from: (usize, usize),
    to: (usize, usize),
    colour: [u8; 3],
) -> Vec<u8> {
    let mask = resize_mask(mask, from, to);
    let (width, height) = to;
    let mut out = plain.to_vec();
    for (i, pixel) in out.as_chunks_mut::<3>().0.iter_mut().enumerate() {
        if !mask[i] {
            continue;
        }
        let (x, y) = (i % width, i / width);
        let inside = |u: usize, v: usize| u < width && v < height && mask[v * width + u];
        let border = x == 0
            || y == 0
            || !inside(x - 1, y)
            || !inside(x + 1, y)
            || !inside(x, y - 1)
            || !inside(x, y + 1);
        // The inside is tinted, so that a region of one pixel and a large one both show.
        let share = if border { 1.0 } else { 0.25 };
        for (v, c) in pixel.iter_mut().zip(colour) {
            *v = (f32::from(*v) * (1.0 - share) + f32::from(c) * share) as u8;
        }
    }
    out
}

fn encode(panels: &[Vec<u8>], width: usize, height: usize) -> Vec<u8> {
    let total = panels.len() * width + (panels.len() - 1) * GAP;
    let mut rgb = vec![255_u8; total * height * 3];
    for (p, panel) in panels.iter().enumerate() {
        for y in 0..height {
            let at = (y * total + p * (width + GAP)) * 3;
            rgb[at..at + width * 3].copy_from_slice(&panel[y * width * 3..(y + 1) * width * 3]);
        }
    }
    let mut png = Vec::new();
    let written = PngEncoder::new(&mut png).write_image(
        &rgb,
        total as u32,
        height as u32,
        ExtendedColorType::Rgb8,
    );
    debug_assert!(written.is_ok(), "a buffer of the right size written to memory");
    png
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pixel (x, y) of panel `p` of a decoded overlay of 4 x 4 panels.
    fn pixel(png: &[u8], p: usize, x: usize, y: usize) -> [u8; 3] {
        let overlay = crate::image::decode(png).unwrap();
        let at = (y * overlay.width + p * (4 + GAP) + x) * 3;
        [overlay.data[at], overlay.data[at + 1], overlay.data[at + 2]]
    }

    #[test]
    fn heat_mask_and_truth_lie_where_the_map_says() {
        let picture = RgbImage { width: 4, height: 4, data: vec![100; 48] };
        // 2 x 2 map: hot at the top right, not finite at the bottom left.
        let values = vec![0.0, 2.0, f32::NAN, 0.4];
        let map = AnomalyMap { width: 2, height: 2, values, score: 2.0 };
        let truth = [false, false, false, true];
        let overlay = Overlay {
            picture: &picture,
            geometry: Geometry::WHOLE,
            map: &map,
            threshold: Some(1.0),
            truth: Some(&truth),
        };
        let png = overlay.png().unwrap();
        let grey = [100; 3];
        assert_eq!(pixel(&png, 0, 3, 0), grey);
        assert_eq!(pixel(&png, 1, 0, 0), grey, "cold");
        let hot = pixel(&png, 1, 3, 0);
        assert!(hot[0] > 200 && hot[2] < 80, "{hot:?}");
        assert_eq!(pixel(&png, 1, 0, 3), hot, "a value that is not finite must be seen");
        assert_eq!(pixel(&png, 2, 3, 0), RED);
        assert_eq!(pixel(&png, 2, 0, 0), grey);
        assert_eq!(pixel(&png, 3, 3, 3), GREEN);
        assert_eq!(pixel(&png, 3, 3, 0), grey);
        let plain = Overlay { threshold: None, truth: None, ..overlay }.png().unwrap();
        let size = crate::image::decode(&plain).unwrap();
        assert_eq!((size.width, size.height), (2 * 4 + GAP, 4));
    }

    #[test]
    fn large_pictures_become_panels_of_the_same_shape() {
        assert_eq!(panel_size((4000, 1000)), (384, 96));
        assert_eq!(panel_size((100, 60)), (100, 60));
        assert_eq!(panel_size((100_000, 1)), (384, 1));
    }
}

//! How good a picture is to inspect: focus, exposure, the share of pixels that are lost to either
//! end. The numbers behind the aid for adjusting a camera, on a terminal or anywhere else.

use super::{ImageError, ImageErrorKind};
use crate::frame::{ImageView, PixelFormat};

/// Bins of the histogram.
pub const BINS: usize = 64;

/// A part of a picture in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Left column.
    pub x: usize,
    /// Top row.
    pub y: usize,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

/// What was measured. Grey values are on the scale of 0 to 255 whatever the camera's bits.
#[derive(Clone, Debug, PartialEq)]
pub struct Quality {
    /// Strength of the edges: root mean square of the Sobel gradient (Tenengrad) in grey levels a
    /// pixel, divided by the mean grey value and multiplied by 100, so that more light alone does
    /// not look like a better focus. Larger is sharper; what is reached depends on the part.
    pub sharpness: f64,
    /// Mean grey value.
    pub mean: f64,
    /// Share of pixels with a sample at the largest value that the camera can give.
    pub saturated: f64,
    /// Share of pixels whose samples are all 0.
    pub black: f64,
    /// Share of pixels in each of equal ranges of grey.
    pub histogram: [f64; BINS],
}

/// Measures the part of `picture` in `window`, all of it without one.
///
/// # Errors
/// When the window does not lie in the picture or has less than 3 pixels a side (of colour
/// mosaics: 6), or the layout is compressed.
pub fn measure(picture: ImageView<'_>, window: Option<Window>) -> Result<Quality, ImageError> {
    let whole = Window { x: 0, y: 0, width: picture.width(), height: picture.height() };
    let window = window.unwrap_or(whole);
    let inside = |at: usize, size: usize, of: usize| at.checked_add(size).is_some_and(|e| e <= of);
    if !inside(window.x, window.width, whole.width)
        || !inside(window.y, window.height, whole.height)
    {
        return Err(ImageError::new(
            ImageErrorKind::Size,
            format!(
                "the window {}x{} at {}, {} does not lie in the picture of {}x{}: choose another",
                window.width, window.height, window.x, window.y, whole.width, whole.height
            ),
        ));
    }
    let grey = Grey::of(picture, window)?;
    if grey.width < 3 || grey.height < 3 {
        return Err(ImageError::new(
            ImageErrorKind::Size,
            "the window is too small to measure: choose 8x8 pixels or more",
        ));
    }
    Ok(grey.quality())
}

/// Grey values on the scale of 0 to 255; one for each cell of a colour mosaic.
struct Grey {
    width: usize,
    height: usize,
    values: Vec<f32>,
    saturated: usize,
    black: usize,
}

impl Grey {
    fn of(picture: ImageView<'_>, window: Window) -> Result<Self, ImageError> {
        let format = picture.format();
        if format.is_compressed() {
            let message = format!("{format} pictures are not measured: choose another layout");
            return Err(ImageError::new(ImageErrorKind::Format, message));
        }
        let step = if format.mosaic().is_some() { 2 } else { 1 };
        let (width, height) = (window.width / step, window.height / step);
        let scale = 255.0 / ((1u32 << format.bits()) - 1) as f32;
        let full = ((1u32 << format.bits()) - 1) as u16;
        let mut grey = Self {
            width,
            height,
            values: Vec::with_capacity(width * height),
            saturated: 0,
            black: 0,
        };
        let mut samples = Vec::with_capacity(4);
        for y in 0..height {
            for x in 0..width {
                samples.clear();
                for dy in 0..step {
                    let row = picture.row(window.y + y * step + dy);
                    for dx in 0..step {
                        pixel(format, row, window.x + x * step + dx, &mut samples);
                    }
                }
                let mut sum = 0.0;
                let (mut any_full, mut all_black) = (false, true);
                for sample in &samples {
                    sum += f32::from(*sample);
                    any_full |= *sample >= full;
                    all_black &= *sample == 0;
                }
                grey.values.push(sum / samples.len() as f32 * scale);
                grey.saturated += usize::from(any_full);
                grey.black += usize::from(all_black);
            }
        }
        Ok(grey)
    }

    fn quality(&self) -> Quality {
        let count = self.values.len() as f64;
        let mean = self.values.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
        let mut histogram = [0.0; BINS];
        for value in &self.values {
            let bin = (*value as usize * BINS / 256).min(BINS - 1);
            histogram[bin] += 1.0 / count;
        }
        let edges = self.gradient();
        Quality {
            sharpness: if mean > 0.0 { 100.0 * edges / mean } else { 0.0 },
            mean,
            saturated: self.saturated as f64 / count,
            black: self.black as f64 / count,
            histogram,
        }
    }

    /// Root mean square of the Sobel gradient over the inner pixels, in levels a pixel.
    fn gradient(&self) -> f64 {
        let at = |x: usize, y: usize| f64::from(self.values[y * self.width + x]);
        let mut sum = 0.0;
        for y in 1..self.height - 1 {
            for x in 1..self.width - 1 {
                let column = |x: usize| at(x, y - 1) + 2.0 * at(x, y) + at(x, y + 1);
                let row = |y: usize| at(x - 1, y) + 2.0 * at(x, y) + at(x + 1, y);
                let across = (column(x + 1) - column(x - 1)) / 8.0;
                let down = (row(y + 1) - row(y - 1)) / 8.0;
                sum += across * across + down * down;
            }
        }
        (sum / ((self.width - 2) * (self.height - 2)) as f64).sqrt()
    }
}

/// Appends the samples of the pixel in column `x`: its brightness for layouts that have one, its
/// colours otherwise.
fn pixel(format: PixelFormat, row: &[u8], x: usize, samples: &mut Vec<u16>) {
    match format {
        PixelFormat::Rgb8 | PixelFormat::Bgr8 => {
            samples.extend(row[3 * x..3 * x + 3].iter().map(|v| u16::from(*v)));
        }
        PixelFormat::Yuyv => samples.push(row[2 * x].into()),
        PixelFormat::Uyvy => samples.push(row[2 * x + 1].into()),
        _ if format.bits() > 8 => samples.push(u16::from_le_bytes([row[2 * x], row[2 * x + 1]])),
        _ => samples.push(row[x].into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mono(width: usize, height: usize, value: impl Fn(usize, usize) -> u8) -> Vec<u8> {
        (0..height)
            .flat_map(|y| (0..width).map(move |x| (x, y)))
            .map(|(x, y)| value(x, y))
            .collect()
    }

    fn measured(data: &[u8], width: usize, format: PixelFormat) -> Quality {
        let stride = format.row_bytes(width);
        let height = data.len() / stride * 2 / if format == PixelFormat::Nv12 { 3 } else { 2 };
        measure(ImageView::new(data, width, height, stride, format).unwrap(), None).unwrap()
    }

    /// Mean over 3x3 pixels, edges repeated.
    fn blurred(data: &[u8], width: usize) -> Vec<u8> {
        let height = data.len() / width;
        let at = |x: isize, y: isize| {
            let x = x.clamp(0, width as isize - 1) as usize;
            u32::from(data[y.clamp(0, height as isize - 1) as usize * width + x])
        };
        mono(width, height, |x, y| {
            let (x, y) = (x as isize, y as isize);
            let around = (-1..=1).flat_map(|dy| (-1..=1).map(move |dx| (dx, dy)));
            (around.map(|(dx, dy)| at(x + dx, y + dy)).sum::<u32>() / 9) as u8
        })
    }

    #[test]
    fn a_ramp_has_its_slope_and_a_flat_picture_no_edge() {
        // 2 levels a pixel; the mean is that of the ramp: (0 + 62) / 2.
        let ramp = measured(&mono(32, 16, |x, _| 2 * x as u8), 32, PixelFormat::Mono8);
        assert!((ramp.sharpness - 100.0 * 2.0 / 31.0).abs() < 1e-9, "{}", ramp.sharpness);
        let flat = measured(&[77; 32 * 16], 32, PixelFormat::Mono8);
        assert_eq!((flat.sharpness, flat.mean), (0.0, 77.0));
        assert_eq!(flat.histogram[77 * BINS / 256], 1.0);
        let dark = measured(&[0; 32 * 16], 32, PixelFormat::Mono8);
        assert_eq!((dark.sharpness, dark.black, dark.saturated), (0.0, 1.0, 0.0));
    }

    #[test]
    fn the_same_scene_in_every_layout_has_the_same_numbers() {
        let (width, height) = (24, 12);
        let scene = |x: usize, y: usize| ((x / 4 * 40 + y / 4 * 30) % 256) as u8;
        let grey = mono(width, height, scene);
        let expected = measured(&grey, width, PixelFormat::Mono8);
        for format in PixelFormat::ALL {
            let data: Vec<u8> = match format {
                PixelFormat::Mjpeg => continue,
                PixelFormat::Rgb8 | PixelFormat::Bgr8 => {
                    grey.iter().flat_map(|v| [*v; 3]).collect()
                }
                PixelFormat::Yuyv => grey.iter().flat_map(|v| [*v, 128]).collect(),
                PixelFormat::Uyvy => grey.iter().flat_map(|v| [128, *v]).collect(),
                PixelFormat::Nv12 => {
                    grey.iter().copied().chain(vec![128; width * height / 2]).collect()
                }
                // A mosaic is seen at half the size: the scene drawn twice as large is the same.
                _ if format.mosaic().is_some() => {
                    let double = mono(2 * width, 2 * height, |x, y| scene(x / 2, y / 2));
                    let wide = |v: u8| widened(v, format.bits());
                    match format.bits() {
                        8 => double,
                        _ => double.iter().flat_map(|v| wide(*v)).collect(),
                    }
                }
                _ if format.bits() > 8 => {
                    grey.iter().flat_map(|v| widened(*v, format.bits())).collect()
                }
                _ => grey.clone(),
            };
            let across = if format.mosaic().is_some() { 2 * width } else { width };
            let found = measured(&data, across, format);
            assert!((found.sharpness - expected.sharpness).abs() < 0.2, "{format}: {found:?}");
            assert!((found.mean - expected.mean).abs() < 0.5, "{format}: {}", found.mean);
        }
    }

    /// The 8-bit value on a scale of more bits, as two bytes.
    fn widened(value: u8, bits: u32) -> [u8; 2] {
        let full = (1u32 << bits) - 1;
        ((u32::from(value) * full / 255) as u16).to_le_bytes()
    }

    #[test]
    fn saturation_counts_pixels_at_the_end_of_the_cameras_own_scale() {
        let mut twelve: Vec<u8> = [[0xff, 0x0f]; 25].concat();
        twelve.extend([[0xfe, 0x0f]; 75].concat());
        let found = measured(&twelve, 10, PixelFormat::Mono12);
        assert!((found.saturated - 0.25).abs() < 1e-9, "{}", found.saturated);
        // One channel at its end is a colour that is lost.
        let red: Vec<u8> = [[255, 10, 10]; 100].concat();
        assert_eq!(measured(&red, 10, PixelFormat::Rgb8).saturated, 1.0);
    }

    #[test]
    fn only_the_window_is_measured_and_one_outside_is_refused() {
        let half = mono(32, 32, |x, y| if x < 16 { 50 } else { ((x * 7 + y * 13) % 200) as u8 });
        let view = ImageView::new(&half, 32, 32, 32, PixelFormat::Mono8).unwrap();
        let quality = |x, y, width, height| measure(view, Some(Window { x, y, width, height }));
        assert_eq!(quality(0, 0, 16, 32).unwrap().sharpness, 0.0);
        assert!(quality(16, 4, 16, 16).unwrap().sharpness > 10.0);
        for bad in [(30, 0, 3, 3), (0, 30, 3, 3), (usize::MAX, 0, 2, 4)] {
            let error = quality(bad.0, bad.1, bad.2, bad.3).unwrap_err();
            assert_eq!(error.kind(), ImageErrorKind::Size);
        }
        assert!(quality(0, 0, 2, 2).unwrap_err().to_string().contains("too small"));
    }

    proptest! {
        #[test]
        fn a_blur_never_looks_sharper_and_shares_add_up(
            data in proptest::collection::vec(1u8..=255, 20 * 15),
        ) {
            let (sharp, soft) = (
                measured(&data, 20, PixelFormat::Mono8),
                measured(&blurred(&data, 20), 20, PixelFormat::Mono8),
            );
            prop_assert!(soft.sharpness <= sharp.sharpness + 1.0, "{} {}", soft.sharpness, sharp.sharpness);
            prop_assert!((sharp.histogram.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            prop_assert!((0.0..=255.0).contains(&sharp.mean));
            prop_assert!((0.0..=1.0).contains(&sharp.saturated));
        }

        /// More light alone is no better focus.
        #[test]
        fn twice_the_light_is_as_sharp(data in proptest::collection::vec(1u8..=127, 20 * 15)) {
            let double: Vec<u8> = data.iter().map(|v| v * 2).collect();
            let (one, two) = (
                measured(&data, 20, PixelFormat::Mono8),
                measured(&double, 20, PixelFormat::Mono8),
            );
            prop_assert!((one.sharpness - two.sharpness).abs() < 1e-6 * one.sharpness.max(1.0));
        }
    }
}

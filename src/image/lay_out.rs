//! The way back: a picture laid out in memory as a camera would have sent it.
//!
//! For proving what reads frames with pictures whose answer is known. It makes neither optics nor
//! noise: each pixel of the frame is the nearest one of the picture, in the frame's colours.

use super::decode::RgbImage;
use super::{ImageError, ImageErrorKind};
use crate::frame::{Mosaic, PixelFormat};

/// Neutral colour of the formats with a luminance.
const NEUTRAL: u8 = 128;

/// Stretches `picture` to a frame of `size` (width, height), whose rows begin `row_bytes` apart;
/// what is padding is zero.
///
/// # Errors
/// When the format is compressed, `row_bytes` is less than a row, or there is nothing to stretch.
pub fn lay_out(
    picture: &RgbImage,
    format: PixelFormat,
    size: (usize, usize),
    row_bytes: usize,
) -> Result<Vec<u8>, ImageError> {
    let empty = picture.width * picture.height * size.0 * size.1 == 0;
    if format.is_compressed() || row_bytes < format.row_bytes(size.0) || empty {
        let (width, height) = size;
        let what = format!("no {format} frame of {width}x{height} in rows of {row_bytes} bytes");
        return Err(ImageError::new(ImageErrorKind::Size, what));
    }
    let frame = Frame { picture, format, size };
    let mut bytes = vec![0; row_bytes * format.rows(size.1)];
    for (y, row) in bytes.chunks_exact_mut(row_bytes).enumerate() {
        match y.checked_sub(size.1) {
            None => (0..size.0).for_each(|x| frame.pixel(row, x, y)),
            // The second plane: one pair for four pixels.
            Some(y) => (0..size.0).step_by(2).for_each(|x| {
                let [_, u, v] = yuv(frame.at(x, 2 * y));
                row[x..x + 2].copy_from_slice(&[u, v]);
            }),
        }
    }
    Ok(bytes)
}

struct Frame<'a> {
    picture: &'a RgbImage,
    format: PixelFormat,
    size: (usize, usize),
}

impl Frame<'_> {
    /// Colour at a place of the frame.
    fn at(&self, x: usize, y: usize) -> [u8; 3] {
        let RgbImage { width, height, data } = self.picture;
        // A second plane may lie half a row below the picture.
        let (x, y) = (x.min(self.size.0 - 1), y.min(self.size.1 - 1));
        let from = (y * height / self.size.1 * width + x * width / self.size.0) * 3;
        [data[from], data[from + 1], data[from + 2]]
    }

    /// Writes the samples of a pixel of the first plane.
    fn pixel(&self, row: &mut [u8], x: usize, y: usize) {
        use PixelFormat::{Bgr8, Nv12, Rgb8, Uyvy, Yuyv};
        let [r, g, b] = self.at(x, y);
        match self.format {
            Rgb8 => row[3 * x..3 * x + 3].copy_from_slice(&[r, g, b]),
            Bgr8 => row[3 * x..3 * x + 3].copy_from_slice(&[b, g, r]),
            Nv12 => row[x] = yuv([r, g, b])[0],
            // Colours are those of the first pixel of a pair.
            Yuyv | Uyvy => {
                let [_, u, v] = yuv(self.at(x & !1, y));
                let luminance = usize::from(self.format == Uyvy);
                row[2 * x + luminance] = yuv([r, g, b])[0];
                row[2 * x + 1 - luminance] = if x % 2 == 1 { v } else { u };
            }
            _ => self.sample(
                row,
                x,
                self.format
                    .mosaic()
                    .map_or(grey([r, g, b]), |mosaic| [r, g, b][colour(mosaic, x, y)]),
            ),
        }
    }

    /// Writes the one sample of a pixel, widened to the bits of the format.
    fn sample(&self, row: &mut [u8], x: usize, level: u8) {
        match self.format.bits() {
            8 => row[x] = level,
            bits => {
                let wide = u16::from_be_bytes([level, level]) >> (16 - bits);
                row[2 * x..2 * x + 2].copy_from_slice(&wide.to_le_bytes());
            }
        }
    }
}

/// Which of red, green and blue a pixel of the mosaic sees.
fn colour(mosaic: Mosaic, x: usize, y: usize) -> usize {
    let cell = match mosaic {
        Mosaic::Rg => [0, 1, 1, 2],
        Mosaic::Gr => [1, 0, 2, 1],
        Mosaic::Gb => [1, 2, 0, 1],
        Mosaic::Bg => [2, 1, 1, 0],
    };
    cell[y % 2 * 2 + x % 2]
}

fn grey([r, g, b]: [u8; 3]) -> u8 {
    let sum = 77 * u32::from(r) + 150 * u32::from(g) + 29 * u32::from(b);
    (sum >> 8) as u8
}

/// ITU-R BT.601 in the range of video, as cameras send it.
fn yuv([r, g, b]: [u8; 3]) -> [u8; 3] {
    let [r, g, b] = [r, g, b].map(i32::from);
    let rounded = |sum: i32, base: u8| (((sum + 128) >> 8) + i32::from(base)).clamp(0, 255) as u8;
    [
        rounded(66 * r + 129 * g + 25 * b, 16),
        rounded(-38 * r - 74 * g + 112 * b, NEUTRAL),
        rounded(112 * r - 94 * g - 18 * b, NEUTRAL),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::ImageView;
    use crate::image::Preprocessor;

    /// Smooth shades, of one grey in `grey`.
    fn picture(width: usize, height: usize, grey: bool) -> RgbImage {
        let shade = |x: usize, y: usize, c: usize| match (grey, c) {
            (true, _) => 40 + x + y,
            (false, 0) => 60 + x,
            (false, 1) => 180 - y,
            (false, _) => 90 + (x + y) / 2,
        };
        let all = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let data = all.flat_map(|(x, y)| [0, 1, 2].map(|c| shade(x, y, c) as u8)).collect();
        RgbImage { width, height, data }
    }

    fn back(bytes: &[u8], format: PixelFormat, size: (usize, usize), row: usize) -> Vec<u8> {
        let view = ImageView::new(bytes, size.0, size.1, row, format).unwrap();
        let mut rgb = vec![0; size.0 * size.1 * 3];
        Preprocessor::new(size.0, size.1).run(view, &mut rgb).unwrap();
        rgb
    }

    #[test]
    fn what_is_laid_out_is_read_back_as_the_picture_it_was() {
        for format in PixelFormat::ALL.into_iter().filter(|format| !format.is_compressed()) {
            let grey = format.name().starts_with("Mono");
            let picture = picture(48, 32, grey);
            let row = format.row_bytes(48) + 16;
            let bytes = lay_out(&picture, format, (48, 32), row).unwrap();
            assert_eq!(bytes.len(), row * format.rows(32));
            let got = back(&bytes, format, (48, 32), row);
            // A mosaic is mended at its edges only; luminance and colour are rounded each.
            let allowed = match format {
                PixelFormat::Rgb8 | PixelFormat::Bgr8 => 0,
                _ if grey => 1,
                _ => 4,
            };
            let off = got.iter().zip(&picture.data).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            assert!(off <= allowed, "{format}: {off} levels off");
        }
    }

    #[test]
    fn a_frame_larger_than_the_picture_shows_all_of_it() {
        let picture = picture(8, 6, false);
        let bytes = lay_out(&picture, PixelFormat::Rgb8, (24, 12), 72).unwrap();
        assert_eq!(bytes[..3], picture.data[..3]);
        assert_eq!(bytes[bytes.len() - 3..], picture.data[picture.data.len() - 3..]);
        assert_eq!(back(&bytes, PixelFormat::Rgb8, (24, 12), 72), bytes);
    }

    #[test]
    fn frames_that_cannot_be_are_refused() {
        let picture = picture(8, 6, false);
        for (format, size, row) in [
            (PixelFormat::Mjpeg, (8, 6), 24),
            (PixelFormat::Rgb8, (8, 6), 23),
            (PixelFormat::Mono8, (0, 6), 24),
        ] {
            assert!(lay_out(&picture, format, size, row).is_err(), "{format}");
        }
    }
}

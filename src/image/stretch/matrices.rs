//! The same preprocessing as matrices, for graphs that read the camera's bytes themselves.
//!
//! The filter is linear and separable: each channel is `D X A^T` of the samples that it is made of,
//! and the channels become RGB by an affine map. The weights are those of the passes, so a
//! graph differs from them by rounding only.

use super::{CELL, Part, Place, Rect, Shape, Stretcher, part};
use crate::frame::{Geometry, Mosaic, PixelFormat};
use crate::image::ImageError;
use crate::image::kernel::Kernel;
use crate::image::preprocess::check_size;

/// Bits behind the point of a weight of the first pass: 16 of the weight, 8 of the sums.
const DOWN_ONE: f32 = (1u32 << 24) as f32;
/// Of the second pass.
const ACROSS_ONE: f32 = 65_536.0;
/// The fixed-point factors of the passes: Y, V to red, U to green, V to green, U to blue.
const YUV: [f32; 5] = [9539.0, 13_075.0, 3209.0, 6660.0, 16_525.0];

/// One axis of the filter: sample `first + step * i` weighs `weights[o * inputs + i]` in output `o`.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterAxis {
    /// First sample used.
    pub first: usize,
    /// To the next.
    pub step: usize,
    /// Samples used.
    pub inputs: usize,
    /// Pixels made.
    pub outputs: usize,
    /// `[outputs, inputs]`.
    pub weights: Vec<f32>,
}

/// What the preprocessing does with a picture of one format and size.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    /// Bytes of a sample: 1, or 2 with the low byte first.
    pub sample_bytes: usize,
    /// Largest value of a sample; what is above counts as this.
    pub sample_max: u16,
    /// Of rows in memory, into units of 8 bits.
    pub rows: Vec<FilterAxis>,
    /// Each channel: which of `rows`, and its filter of the samples of a row.
    pub channels: Vec<(usize, FilterAxis)>,
    /// RGB of the channels.
    pub mix: [Vec<f32>; 3],
    /// Added to RGB.
    pub offset: [f32; 3],
    /// Whether rows and columns change places at the end.
    pub transposed: bool,
}

impl Filter {
    /// For pictures of `size` (width, height) of which the model sees what `geometry` shows as `to`
    /// pixels; `None` for what is no such filter: compressed pictures and perspectives.
    ///
    /// # Errors
    /// When the geometry does not fit the picture.
    pub fn of(
        format: PixelFormat,
        size: (usize, usize),
        geometry: &Geometry,
        to: (usize, usize),
    ) -> Result<Option<Self>, ImageError> {
        check_size(geometry, format, size)?;
        if geometry.corners.is_some() || format.is_compressed() {
            return Ok(None);
        }
        let from = match geometry.roi.map(|roi| roi.map(|v| v as usize)) {
            Some([x, y, width, height]) => Rect { x, y, width, height },
            None => Rect { x: 0, y: 0, width: size.0, height: size.1 },
        };
        let transposed = geometry.rotate / 90 % 2 == 1;
        let to = if transposed { (to.1, to.0) } else { to };
        let mut stretcher = Stretcher::default();
        stretcher.plan(&Shape { format, from, to });
        let mut filter = Self::upright(&stretcher, format, size.1, to);
        filter.transposed = transposed;
        // As `Place::turned`: mirrored first, then turned.
        let place = Place::turned(to, geometry.mirror, geometry.rotate / 90);
        let (back_across, back_down) = (place.across < 0, place.down < 0);
        filter.rows.iter_mut().filter(|_| back_down).for_each(FilterAxis::reverse);
        filter.channels.iter_mut().filter(|_| back_across).for_each(|(_, axis)| axis.reverse());
        Ok(Some(filter))
    }

    fn upright(
        stretcher: &Stretcher,
        format: PixelFormat,
        height: usize,
        to: (usize, usize),
    ) -> Self {
        let bits = format.bits();
        let sample_bytes = if bits > 8 { 2 } else { 1 };
        // What a sample is widened by before it is weighed.
        let widened = (1u32 << (16 - bits)) as f32;
        let (parts, mix, offset) = recipe(format);
        let cell = if format.mosaic().is_some() { 2 } else { 1 };
        let downs = parts.iter().map(|p| p.down).max().unwrap_or(0) + 1;
        let rows = (0..downs).map(|which| {
            let place = match format {
                PixelFormat::Nv12 => (which * height, 1),
                _ => (which, cell),
            };
            axis(&stretcher.down[which].kernel, to.1, place, widened / DOWN_ONE)
        });
        let first = stretcher.bytes.start / sample_bytes;
        let channels = parts.iter().map(|part| {
            let place = (first + part.comb.first, part.comb.step);
            (part.down, axis(&stretcher.across[part.across], to.0, place, 1.0 / ACROSS_ONE))
        });
        Self {
            sample_bytes,
            sample_max: (u32::MAX >> (32 - bits)) as u16,
            rows: rows.collect(),
            channels: channels.collect(),
            mix,
            offset,
            transposed: false,
        }
    }
}

impl FilterAxis {
    fn reverse(&mut self) {
        let rows = self.weights.chunks_exact(self.inputs).rev();
        self.weights = rows.flatten().copied().collect();
    }
}

fn axis(kernel: &Kernel, to: usize, (first, step): (usize, usize), unit: f32) -> FilterAxis {
    let spans = || (0..to).map(|out| kernel.taps(out));
    let start = spans().map(|(start, _)| start).min().unwrap_or(0);
    let end = spans().map(|(start, weights)| start + weights.len()).max().unwrap_or(0);
    let inputs = end - start;
    let mut weights = vec![0.0; to * inputs];
    for (row, (from, taps)) in weights.chunks_exact_mut(inputs.max(1)).zip(spans()) {
        for (weight, tap) in row[from - start..].iter_mut().zip(taps) {
            *weight = f32::from(*tap) * unit;
        }
    }
    FilterAxis { first: first + step * start, step, inputs, outputs: to, weights }
}

/// Channels, and how they become RGB.
fn recipe(format: PixelFormat) -> (Vec<Part>, [Vec<f32>; 3], [f32; 3]) {
    use PixelFormat as F;
    let yuv = |parts: [Part; 3]| {
        let [y, rv, gu, gv, bu] = YUV.map(|factor| factor / 8192.0);
        let mix = [vec![y, 0.0, rv], vec![y, -gu, -gv], vec![y, bu, 0.0]];
        let offset = [0, 1, 2].map(|c| -16.0 * y - 128.0 * (mix[c][1] + mix[c][2]));
        (parts.to_vec(), mix, offset)
    };
    let unit = |n: usize, of: usize| (0..of).map(|i| f32::from(i == n)).collect::<Vec<f32>>();
    let colours = [0, 1, 2].map(|c| part(0, 0, c, 3)).to_vec();
    match format {
        F::Rgb8 => (colours, [0, 1, 2].map(|c| unit(c, 3)), [0.0; 3]),
        F::Bgr8 => (colours, [2, 1, 0].map(|c| unit(c, 3)), [0.0; 3]),
        F::Yuyv => yuv([part(0, 0, 0, 2), part(0, 1, 1, 4), part(0, 1, 3, 4)]),
        F::Uyvy => yuv([part(0, 0, 1, 2), part(0, 1, 0, 4), part(0, 1, 2, 4)]),
        F::Nv12 => yuv([part(0, 0, 0, 1), part(1, 1, 0, 2), part(1, 1, 1, 2)]),
        _ => match format.mosaic() {
            Some(mosaic) => {
                let (red, greens, blue) = match mosaic {
                    Mosaic::Rg => (0, [1, 2], 3),
                    Mosaic::Gr => (1, [0, 3], 2),
                    Mosaic::Gb => (2, [0, 3], 1),
                    Mosaic::Bg => (3, [1, 2], 0),
                };
                let green = (0..4).map(|i| f32::from(greens.contains(&i)) / 2.0).collect();
                (CELL.to_vec(), [unit(red, 4), green, unit(blue, 4)], [0.0; 3])
            }
            None => (vec![part(0, 0, 0, 1)], [vec![1.0], vec![1.0], vec![1.0]], [0.0; 3]),
        },
    }
}

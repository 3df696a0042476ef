//! A rectangle of a picture of any layout, stretched to RGB of another size.
//!
//! Nothing is converted before it is small: the filter is linear, so it runs over the bytes as
//! the camera wrote them, in place, and only the result becomes RGB. A Bayer mosaic is four
//! pictures of half the size that lie half a cell apart; each is filtered where it lies, and the
//! two greens are averaged. That is the 2x2 superpixel without its shift of half a pixel when the
//! model's input is at most half as large, and bilinear demosaicing when it is larger.
//! More than 8 bits are brought to 8 by the factor that makes the largest value 255, after the
//! filter, with rounding.

use std::ops::Range;

use super::kernel::{Axis, Cells, Kernel, Lane, Lattice};
use super::passes::{Bytes, Depth, Words, level, mix_cells, mix_pixels, mix_rows, rgb_of_yuv};
use crate::frame::{ImageView, Mosaic, PixelFormat};

/// Pixels of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rect {
    pub(super) x: usize,
    pub(super) y: usize,
    pub(super) width: usize,
    pub(super) height: usize,
}

impl Rect {
    pub(super) fn whole(picture: &ImageView<'_>) -> Self {
        Self { x: 0, y: 0, width: picture.width(), height: picture.height() }
    }
}

/// Where a pixel of the result goes: turning and mirroring is a matter of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Address of the top left pixel.
    origin: isize,
    /// To the next pixel of a row.
    across: isize,
    /// To the next row.
    down: isize,
}

impl Place {
    /// Rows one after the other.
    pub(super) fn upright(width: usize) -> Self {
        Self { origin: 0, across: 1, down: width as isize }
    }

    /// `size` (width, height) is that before turning; mirrored left to right first, then turned
    /// clockwise by `quarters` of a full turn.
    pub(super) fn turned((width, height): (usize, usize), mirror: bool, quarters: u16) -> Self {
        let (w, h) = (width as isize, height as isize);
        let row = if quarters % 2 == 1 { h } else { w };
        let address = |u: isize, v: isize| {
            let u = if mirror { w - 1 - u } else { u };
            let (x, y) = match quarters % 4 {
                0 => (u, v),
                1 => (h - 1 - v, u),
                2 => (w - 1 - u, h - 1 - v),
                _ => (v, w - 1 - u),
            };
            y * row + x
        };
        let origin = address(0, 0);
        Self { origin, across: address(1, 0) - origin, down: address(0, 1) - origin }
    }

    fn row(&self, v: usize) -> isize {
        self.origin + v as isize * self.down
    }
}

/// What the kernels depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    format: PixelFormat,
    from: Rect,
    to: (usize, usize),
}

/// The filter with its memory. A shape that comes again costs no allocation.
#[derive(Debug, Default)]
pub(super) struct Stretcher {
    planned: Option<Shape>,
    /// Bytes of a row that are read.
    bytes: Range<usize>,
    /// Of all rows, the Y or those of even number; of the colours or those of odd number.
    down: [Kernel; 2],
    /// The same for columns.
    across: [Kernel; 2],
    pairs: Cells<2>,
    quads: Cells<4>,
    /// Vertical sums, one row for each of `down`.
    sums: [Vec<u16>; 2],
}

impl Stretcher {
    /// Writes `from`, stretched to `to` (width, height), to `dst`. The rectangle lies in the
    /// picture, the picture is not compressed, and that of a mosaic is 2 pixels wide and high at
    /// least; `dst` has as many pixels as `to`.
    pub(super) fn run(
        &mut self,
        picture: &ImageView<'_>,
        from: Rect,
        (to, place): ((usize, usize), Place),
        dst: &mut [[u8; 3]],
    ) {
        use PixelFormat as F;
        let format = picture.format();
        let shape = Shape { format, from, to };
        if self.planned != Some(shape) {
            self.planned = None;
            self.plan(&shape);
            self.planned = Some(shape);
        }
        let mut job = Job { stretcher: self, picture, to, place, dst };
        let words = || Words::of(format.bits());
        match format {
            F::Rgb8 => job.plain(Bytes, |p: [u8; 3]| p),
            F::Bgr8 => job.plain(Bytes, |[b, g, r]| [r, g, b]),
            F::Mono8 => job.plain(Bytes, |[v]| [v; 3]),
            F::Mono10 | F::Mono12 | F::Mono16 => job.plain(words(), |[v]| [v; 3]),
            F::Yuyv => job.packed_yuv(|[y0, u, y1, v]| [y0 + y1, u, v]),
            F::Uyvy => job.packed_yuv(|[u, y0, v, y1]| [y0 + y1, u, v]),
            F::Nv12 => job.nv12(),
            F::Mjpeg => {}
            _ => match (format.mosaic(), format.bits()) {
                (Some(mosaic), 8) => job.mosaic(Bytes, mosaic),
                (Some(mosaic), _) => job.mosaic(words(), mosaic),
                (None, _) => {}
            },
        }
    }

    fn plan(&mut self, &Shape { format, from, to }: &Shape) {
        let is_mosaic = format.mosaic().is_some();
        let cell = if is_mosaic || format.width_is_even() { 2 } else { 1 };
        let first = from.x - from.x % cell;
        let end = (from.x + from.width).next_multiple_of(cell);
        let pixel = format.row_bytes(2) / 2;
        self.bytes = first * pixel..end * pixel;
        let unit = if format.bits() > 8 { 2 } else { 1 };
        for sums in &mut self.sums {
            sums.resize(self.bytes.len() / unit, 0);
        }
        let x = Axis { from: from.x - first, length: from.width, to: to.0 };
        let y = Axis { from: from.y, length: from.height, to: to.1 };
        let gain = if unit == 2 { Words::of(format.bits()).gain() } else { Bytes.gain() };
        let [down, down_other] = &mut self.down;
        let [across, across_other] = &mut self.across;
        if is_mosaic {
            down.rebuild(&y, &Lattice::second(&y, 0), gain);
            down_other.rebuild(&y, &Lattice::second(&y, 1), gain);
            across.rebuild(&x, &Lattice::second(&x, 0), 1.0);
            across_other.rebuild(&x, &Lattice::second(&x, 1), 1.0);
            let lane = |kernel| Lane { kernel, each: 1, phase: 0 };
            self.pairs.rebuild(to.0, [lane(across), lane(across_other)]);
            return;
        }
        down.rebuild(&y, &Lattice::every(&y), gain);
        across.rebuild(&x, &Lattice::every(&x), 1.0);
        if format.width_is_even() {
            // Colours lie on the left of two pixels, and in NV12 between two rows: the siting of
            // BT.601 and MPEG-2, which V4L2 takes for granted.
            down_other.rebuild(&y, &Lattice::shared(&y, 1.0), gain);
            across_other.rebuild(&x, &Lattice::shared(&x, 0.5), 1.0);
            let luma = |phase| Lane { kernel: &*across, each: 2, phase };
            let chroma = Lane { kernel: &*across_other, each: 1, phase: 0 };
            let lanes = match format {
                PixelFormat::Uyvy => [chroma, luma(0), chroma, luma(1)],
                _ => [luma(0), chroma, luma(1), chroma],
            };
            self.quads.rebuild(to.0, lanes);
        }
    }
}

/// One picture on its way.
struct Job<'a, 'p> {
    stretcher: &'a mut Stretcher,
    picture: &'a ImageView<'p>,
    to: (usize, usize),
    place: Place,
    dst: &'a mut [[u8; 3]],
}

impl Job<'_, '_> {
    /// Pixels of `C` samples that lie side by side.
    fn plain<D: Depth, const C: usize>(&mut self, depth: D, to_rgb: impl Fn([u8; C]) -> [u8; 3]) {
        for v in 0..self.to.1 {
            self.mix(depth, 0, v, |y| y);
            let Stretcher { sums: [sums, _], across: [across, _], .. } = &*self.stretcher;
            write_row(self.dst, self.place, v, self.to.0, |u| {
                to_rgb(mix_pixels::<C>(sums, across.taps(u)).map(level))
            });
        }
    }

    fn mosaic<D: Depth>(&mut self, depth: D, mosaic: Mosaic) {
        let mean = |a: u32, b: u32| (a >> 1) + (b >> 1);
        for v in 0..self.to.1 {
            self.mix(depth, 0, v, |y| 2 * y);
            self.mix(depth, 1, v, |y| 2 * y + 1);
            let Stretcher { sums: [even, odd], pairs, .. } = &*self.stretcher;
            write_row(self.dst, self.place, v, self.to.0, |u| {
                let [a, b] = mix_cells(even, pairs.taps(u));
                let [c, d] = mix_cells(odd, pairs.taps(u));
                let rgb = match mosaic {
                    Mosaic::Rg => [a, mean(b, c), d],
                    Mosaic::Gr => [b, mean(a, d), c],
                    Mosaic::Gb => [c, mean(a, d), b],
                    Mosaic::Bg => [d, mean(b, c), a],
                };
                rgb.map(level)
            });
        }
    }

    /// Two pixels in four bytes.
    fn packed_yuv(&mut self, yuv: impl Fn([u32; 4]) -> [u32; 3]) {
        for v in 0..self.to.1 {
            self.mix(Bytes, 0, v, |y| y);
            let Stretcher { sums: [sums, _], quads, .. } = &*self.stretcher;
            write_row(self.dst, self.place, v, self.to.0, |u| {
                rgb_of_yuv(yuv(mix_cells(sums, quads.taps(u))))
            });
        }
    }

    fn nv12(&mut self) {
        let second_plane = self.picture.height();
        for v in 0..self.to.1 {
            self.mix(Bytes, 0, v, |y| y);
            self.mix(Bytes, 1, v, |y| second_plane + y);
            let Stretcher { sums: [luma, chroma], across, .. } = &*self.stretcher;
            write_row(self.dst, self.place, v, self.to.0, |u| {
                let [y] = mix_pixels(luma, across[0].taps(u));
                let [cb, cr] = mix_pixels(chroma, across[1].taps(u));
                rgb_of_yuv([y, cb, cr])
            });
        }
    }

    /// The vertical sums `which` for row `v` of the result.
    fn mix<D: Depth>(&mut self, depth: D, which: usize, v: usize, row: impl Fn(usize) -> usize) {
        let Stretcher { bytes, down, sums, .. } = &mut *self.stretcher;
        let picture = self.picture;
        let cut = |y: usize| {
            let row = picture.row(row(y));
            // A mosaic of odd width ends within a cell.
            &row[bytes.start..bytes.end.min(row.len())]
        };
        mix_rows(depth, cut, down[which].taps(v), &mut sums[which]);
    }
}

fn write_row(
    dst: &mut [[u8; 3]],
    place: Place,
    v: usize,
    width: usize,
    pixel: impl Fn(usize) -> [u8; 3],
) {
    let mut at = place.row(v);
    for u in 0..width {
        dst[at as usize] = pixel(u);
        at += place.across;
    }
}

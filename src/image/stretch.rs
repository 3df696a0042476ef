//! A rectangle of a picture of any layout, stretched to RGB of another size.
//!
//! Nothing is converted before it is small: the filter is linear, so it runs over the bytes as
//! the camera wrote them, in place, and only the result becomes RGB. A Bayer mosaic is four
//! pictures of half the size that lie half a cell apart; each is filtered where it lies, and the
//! two greens are averaged. That is the 2x2 superpixel without its shift of half a pixel when the
//! model's input is at most half as large, and bilinear demosaicing when it is larger.
//! More than 8 bits are brought to 8 by the factor that makes the largest value 255, after the
//! filter, with rounding.
//!
//! Two passes of one kind: rows of the picture are mixed to rows of the result's height, a block of
//! them is turned on its side, and mixed again to the result's width.

pub(super) mod matrices;

use std::ops::Range;

use super::kernel::{Axis, Kernel, Lattice};
use super::passes::{
    BLOCK, Bytes, Comb, Depth, Side, Words, level, mix_rows, mix_sides, rgb_of_yuv, turn,
};
use super::widest;
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

    fn at(&self, u: usize, v: usize) -> usize {
        (self.origin + u as isize * self.across + v as isize * self.down) as usize
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
    down: [Down; 2],
    /// The same for columns.
    across: [Kernel; 2],
}

/// One sample of the result: which rows, columns and places in them it is made of.
#[derive(Clone, Copy, Debug)]
struct Part {
    down: usize,
    across: usize,
    comb: Comb,
}

/// As the fields of [`Part`].
const fn part(down: usize, across: usize, first: usize, step: usize) -> Part {
    Part { down, across, comb: Comb { first, step } }
}

/// What lies at the four places of a mosaic's cell.
const CELL: [Part; 4] = [part(0, 0, 0, 2), part(0, 1, 1, 2), part(1, 0, 0, 2), part(1, 1, 1, 2)];

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
        let one = |_, y| y;
        let colours = [0, 1, 2].map(|c| part(0, 0, c, 3));
        match format {
            F::Rgb8 => job.run(Bytes, one, colours, |sums| sums.map(level)),
            F::Bgr8 => job.run(Bytes, one, colours, |[b, g, r]| [r, g, b].map(level)),
            F::Mono8 => job.run(Bytes, one, [part(0, 0, 0, 1)], |[sum]| [level(sum); 3]),
            F::Mono10 | F::Mono12 | F::Mono16 => {
                job.run(words(), one, [part(0, 0, 0, 1)], |[sum]| [level(sum); 3]);
            }
            F::Yuyv => {
                let parts = [part(0, 0, 0, 2), part(0, 1, 1, 4), part(0, 1, 3, 4)];
                job.run(Bytes, one, parts, rgb_of_yuv);
            }
            F::Uyvy => {
                let parts = [part(0, 0, 1, 2), part(0, 1, 0, 4), part(0, 1, 2, 4)];
                job.run(Bytes, one, parts, rgb_of_yuv);
            }
            F::Nv12 => {
                let parts = [part(0, 0, 0, 1), part(1, 1, 0, 2), part(1, 1, 1, 2)];
                let luma_rows = picture.height();
                job.run(Bytes, |down, y| down * luma_rows + y, parts, rgb_of_yuv);
            }
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
        let x = Axis { from: from.x - first, length: from.width, to: to.0 };
        let y = Axis { from: from.y, length: from.height, to: to.1 };
        let gain = if unit == 2 { Words::of(format.bits()).gain() } else { Bytes.gain() };
        let lattices = |axis: &Axis, shared: f64| match () {
            () if is_mosaic => [Some(Lattice::second(axis, 0)), Some(Lattice::second(axis, 1))],
            // Colours lie on the left of two pixels, and in NV12 between two rows: the siting of
            // BT.601 and MPEG-2, which V4L2 takes for granted.
            () if cell == 2 => [Some(Lattice::every(axis)), Some(Lattice::shared(axis, shared))],
            () => [Some(Lattice::every(axis)), None],
        };
        for (down, lattice) in self.down.iter_mut().zip(lattices(&y, 1.0)) {
            let samples = self.bytes.len() / unit;
            lattice.inspect(|lattice| down.plan((&y, lattice, gain), samples));
        }
        for (across, lattice) in self.across.iter_mut().zip(lattices(&x, 0.5)) {
            lattice.inspect(|lattice| across.rebuild(&x, lattice, 1.0));
        }
    }
}

/// The first pass with its memory.
#[derive(Debug, Default)]
struct Down {
    kernel: Kernel,
    /// Samples of a row.
    width: usize,
    /// The last rows as 16 bits, each widened once although several rows of the result take it;
    /// row `y` lies at slot `y % slots`.
    rows: Vec<u16>,
    slots: usize,
    /// Rows up to here are in `rows`.
    widened: usize,
    /// Sums of the rows of a block.
    sums: Vec<u16>,
    /// The same, on its side.
    sides: Vec<Side>,
}

impl Down {
    fn plan(&mut self, (axis, lattice, gain): (&Axis, &Lattice, f64), samples: usize) {
        self.kernel.rebuild(axis, lattice, gain);
        self.width = samples;
        self.slots = (0..axis.to).map(|v| self.kernel.taps(v).1.len()).max().unwrap_or(0);
        self.rows.resize(self.slots * samples, 0);
        self.sums.resize(BLOCK * samples, 0);
        self.sides.resize(samples, Side::default());
    }

    /// Rows `block` of the result, before the second pass; blocks come in order.
    #[inline(always)]
    fn run<'a, D: Depth>(
        &mut self,
        depth: D,
        row: impl Fn(usize) -> &'a [u8],
        block: Range<usize>,
    ) {
        let Self { kernel, width, rows, slots, widened, sums, sides } = self;
        let slot = |y: usize| (y % *slots) * *width..(y % *slots + 1) * *width;
        for (v, sums) in block.zip(sums.chunks_exact_mut(*width)) {
            let (start, weights) = kernel.taps(v);
            for y in start.max(*widened)..start + weights.len() {
                depth.widen(row(y), &mut rows[slot(y)]);
                *widened = y + 1;
            }
            mix_rows(|y| &rows[slot(y)], (start, weights), sums);
        }
        turn(sums, *width, sides);
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
    fn mosaic<D: Depth>(&mut self, depth: D, mosaic: Mosaic) {
        let mean = |a: u16, b: u16| ((u32::from(a) + u32::from(b)) >> 1) as u16;
        let row = |down, y| 2 * y + down;
        let rgb = |[r, g, h, b]: [u16; 4]| [r, mean(g, h), b].map(level);
        match mosaic {
            Mosaic::Rg => self.run(depth, row, CELL, |[r, g, h, b]| rgb([r, g, h, b])),
            Mosaic::Gr => self.run(depth, row, CELL, |[g, r, b, h]| rgb([r, g, h, b])),
            Mosaic::Gb => self.run(depth, row, CELL, |[g, b, r, h]| rgb([r, g, h, b])),
            Mosaic::Bg => self.run(depth, row, CELL, |[b, g, h, r]| rgb([r, g, h, b])),
        }
    }

    /// Both passes, block by block; `row` tells where row `y` of a pass down lies in the picture.
    fn run<D: Depth, const N: usize>(
        &mut self,
        depth: D,
        row: impl Fn(usize, usize) -> usize + Copy,
        parts: [Part; N],
        rgb: impl Fn([u16; N]) -> [u8; 3] + Copy,
    ) {
        let passes = 1 + parts.iter().map(|part| part.down).max().unwrap_or(0);
        self.stretcher.down.iter_mut().for_each(|down| down.widened = 0);
        for first in (0..self.to.1).step_by(BLOCK) {
            let block = first..(first + BLOCK).min(self.to.1);
            widest::run(|| {
                let Stretcher { bytes, down, .. } = &mut *self.stretcher;
                let picture = self.picture;
                for (n, down) in down.iter_mut().enumerate().take(passes) {
                    let cut = |y: usize| {
                        let row = picture.row(row(n, y));
                        // A mosaic of odd width ends within a cell.
                        &row[bytes.start..bytes.end.min(row.len())]
                    };
                    down.run(depth, cut, block.clone());
                }
                self.across(block, parts, rgb);
            });
        }
    }

    #[inline(always)]
    fn across<const N: usize>(
        &mut self,
        block: Range<usize>,
        parts: [Part; N],
        rgb: impl Fn([u16; N]) -> [u8; 3],
    ) {
        let Stretcher { down, across, .. } = &*self.stretcher;
        for u in 0..self.to.0 {
            let sums = parts.map(|Part { down: d, across: a, comb }| {
                mix_sides(&down[d].sides, comb, across[a].taps(u))
            });
            let pixels: [_; BLOCK] = std::array::from_fn(|r| rgb(sums.map(|sums| sums[r])));
            for (v, pixel) in block.clone().zip(pixels) {
                self.dst[self.place.at(u, v)] = pixel;
            }
        }
    }
}

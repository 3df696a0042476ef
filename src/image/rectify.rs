//! A four-sided area of a picture, made a rectangle: the perspective of a camera that looks at
//! an angle.
//!
//! Two steps. The upright rectangle around the area is stretched, antialiased, to RGB of about
//! twice the resolution that the result needs where it needs most; then each pixel of the result
//! is the mean of a grid of points in it, each interpolated between four pixels. The grid is as
//! fine as the coarsest place asks for.

use super::stretch::{Place, Rect, Stretcher};
use crate::frame::{ImageView, Projection};

/// Pixels of the step between per pixel of the result, along a line.
const FINENESS: f64 = 2.0;
/// Points per pixel of the result, along a line.
const GRID: std::ops::RangeInclusive<usize> = 2..=8;

/// The area's picture in between and where the result lies in it.
#[derive(Debug, Default)]
pub(super) struct Rectifier {
    planned: Option<Shape>,
    around: Option<Rect>,
    /// Size of the picture in between.
    size: (usize, usize),
    between: Vec<[u8; 3]>,
    /// From points of the result to points of the picture in between.
    onto: Option<Projection>,
    grid: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Shape {
    picture: (usize, usize),
    corners: [[f64; 2]; 4],
    to: (usize, usize),
}

impl Rectifier {
    /// Writes the area with these corners, which lie in the picture, to `dst` as `to` (width,
    /// height) pixels.
    pub(super) fn run(
        &mut self,
        stretcher: &mut Stretcher,
        picture: &ImageView<'_>,
        corners: [[f64; 2]; 4],
        to: (usize, usize),
        dst: &mut [[u8; 3]],
    ) {
        let shape = Shape { picture: (picture.width(), picture.height()), corners, to };
        if self.planned != Some(shape) {
            self.plan(&shape);
            self.planned = Some(shape);
        }
        let (Some(around), Some(onto)) = (self.around, self.onto) else { return };
        let place = Place::upright(self.size.0);
        stretcher.run(picture, around, (self.size, place), &mut self.between);
        let (grid, points) = (self.grid, (self.grid * self.grid) as f32);
        let step = 1.0 / grid as f64;
        for (i, pixel) in dst.iter_mut().enumerate() {
            let (left, top) = ((i % to.0) as f64, (i / to.0) as f64);
            let mut sums = [0.5; 3];
            for p in 0..grid * grid {
                let u = left + ((p % grid) as f64 + 0.5) * step;
                let v = top + ((p / grid) as f64 + 0.5) * step;
                let colour = self.colour_at(onto.apply(u, v));
                for (sum, value) in sums.iter_mut().zip(colour) {
                    *sum += value / points;
                }
            }
            *pixel = sums.map(|sum| sum as u8);
        }
    }

    fn plan(&mut self, shape: &Shape) {
        let around = rect_around(&shape.corners, shape.picture);
        let finest_and_coarsest = resolutions(shape);
        // Never finer than the picture itself.
        let pitch = (finest_and_coarsest.0 / FINENESS).max(1.0);
        let side = |pixels: usize| ((pixels as f64 / pitch).ceil() as usize).clamp(1, pixels);
        self.size = (side(around.width), side(around.height));
        self.between.resize(self.size.0 * self.size.1, [0; 3]);
        let scale =
            (self.size.0 as f64 / around.width as f64, self.size.1 as f64 / around.height as f64);
        let moved = shape
            .corners
            .map(|[x, y]| [(x - around.x as f64) * scale.0, (y - around.y as f64) * scale.1]);
        self.onto = Some(Projection::onto(shape.to, moved));
        // A point stands for the two pixels that it is interpolated from.
        let points = (finest_and_coarsest.1 / pitch / 2.0).ceil() as usize;
        self.grid = points.clamp(*GRID.start(), *GRID.end());
        self.around = Some(around);
    }

    /// The picture in between at a point, interpolated; beyond its edge, the edge.
    fn colour_at(&self, (x, y): (f64, f64)) -> [f32; 3] {
        let (width, height) = self.size;
        let clamped = |v: f64, side: usize| (v - 0.5).clamp(0.0, (side - 1) as f64);
        let (x, y) = (clamped(x, width), clamped(y, height));
        let (left, top) = (x as usize, y as usize);
        let (fx, fy) = ((x - left as f64) as f32, (y - top as f64) as f32);
        let (right, bottom) = ((left + 1).min(width - 1), (top + 1).min(height - 1));
        let at = |x: usize, y: usize| self.between[y * width + x].map(f32::from);
        let (a, b, c, d) = (at(left, top), at(right, top), at(left, bottom), at(right, bottom));
        std::array::from_fn(|i| {
            let upper = a[i] + (b[i] - a[i]) * fx;
            let lower = c[i] + (d[i] - c[i]) * fx;
            upper + (lower - upper) * fy
        })
    }
}

/// The smallest upright rectangle of the picture around the corners, with a pixel of margin that
/// interpolation reads, two pixels wide and high at least.
fn rect_around(corners: &[[f64; 2]; 4], picture: (usize, usize)) -> Rect {
    let along = |axis: usize, end: usize| {
        let values = corners.map(|corner| corner[axis]);
        let least = values.into_iter().fold(f64::INFINITY, f64::min).floor() as usize;
        let most = values.into_iter().fold(0.0, f64::max).ceil() as usize;
        let most = (most + 1).clamp(2.min(end), end);
        let from = least.saturating_sub(1).min(most.saturating_sub(2));
        (from, most - from)
    };
    let (x, width) = along(0, picture.0);
    let (y, height) = along(1, picture.1);
    Rect { x, y, width, height }
}

/// Picture pixels per pixel of the result where it is finest and where it is coarsest, along
/// either axis: a perspective is extreme in its corners.
fn resolutions(shape: &Shape) -> (f64, f64) {
    let onto = Projection::onto(shape.to, shape.corners);
    let (w, h) = (shape.to.0 as f64, shape.to.1 as f64);
    let length = |(x, y): (f64, f64), (u, v): (f64, f64)| (x - u).hypot(y - v);
    let (mut finest, mut coarsest) = (f64::INFINITY, 0.0f64);
    for (x, y) in [(0.0, 0.0), (w - 1.0, 0.0), (w - 1.0, h - 1.0), (0.0, h - 1.0)] {
        let here = onto.apply(x, y);
        for next in [onto.apply(x + 1.0, y), onto.apply(x, y + 1.0)] {
            let step = length(here, next);
            (finest, coarsest) = (finest.min(step), coarsest.max(step));
        }
    }
    (finest, coarsest)
}

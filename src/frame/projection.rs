//! Where a point of the map lies in the picture when the model sees the picture turned or in
//! perspective.

/// A perspective map from a rectangle to a four-sided area, both with their origin at the top
/// left corner of the top left pixel: pixel `i` covers `[i, i + 1)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Projection {
    /// Rows of the 3x3 matrix that takes (x, y, 1) to the point times its third number.
    m: [[f64; 3]; 3],
}

impl Projection {
    /// Takes the rectangle `[0, width] x [0, height]` to the area with these corners, in the
    /// order top left, top right, bottom right, bottom left.
    pub fn onto((width, height): (usize, usize), [a, b, c, d]: [[f64; 2]; 4]) -> Self {
        // The unit square first (Heckbert 1989); `bend` is zero for a parallelogram.
        let bend = [a[0] - b[0] + c[0] - d[0], a[1] - b[1] + c[1] - d[1]];
        let (p, q) = ([b[0] - c[0], b[1] - c[1]], [d[0] - c[0], d[1] - c[1]]);
        let det = p[0] * q[1] - q[0] * p[1];
        let (g, h) = if bend == [0.0, 0.0] {
            (0.0, 0.0)
        } else {
            let g = (bend[0] * q[1] - q[0] * bend[1]) / det;
            (g, (p[0] * bend[1] - bend[0] * p[1]) / det)
        };
        let row = |i: usize| [b[i] - a[i] + g * b[i], d[i] - a[i] + h * d[i], a[i]];
        // A rectangle without pixels has no points but its corner.
        let per = |side: usize| if side == 0 { 0.0 } else { 1.0 / side as f64 };
        let (u, v) = (per(width), per(height));
        Self { m: [row(0), row(1), [g, h, 1.0]].map(|[x, y, one]| [x * u, y * v, one]) }
    }

    /// The point that `(x, y)` is taken to.
    pub fn apply(&self, x: f64, y: f64) -> (f64, f64) {
        let [u, v, w] = self.m.map(|[a, b, c]| a * x + b * y + c);
        (u / w, v / w)
    }

    /// The smallest upright rectangle (left, top, right, bottom) around what the rectangle at
    /// `(x, y)` is taken to.
    pub fn enclosing(&self, (x, y): (f64, f64), (width, height): (f64, f64)) -> [f64; 4] {
        let corners = [(x, y), (x + width, y), (x, y + height), (x + width, y + height)];
        let mut out = [f64::INFINITY, f64::INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY];
        for (u, v) in corners.map(|(x, y)| self.apply(x, y)) {
            out = [out[0].min(u), out[1].min(v), out[2].max(u), out[3].max(v)];
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn near((x, y): (f64, f64), want: [f64; 2]) -> bool {
        (x - want[0]).abs() < 1e-6 && (y - want[1]).abs() < 1e-6
    }

    proptest! {
        #[test]
        fn corners_go_to_corners_and_lines_stay_lines(
            w in 1usize..500, h in 1usize..500,
            x in prop::array::uniform4(0.0f64..100.0), y in prop::array::uniform4(0.0f64..100.0),
            at in 0.0f64..1.0,
        ) {
            // A corner in each quarter of a square: four-sided and convex.
            let quad = [
                [x[0], y[0]], [300.0 + x[1], y[1]], [300.0 + x[2], 300.0 + y[2]],
                [x[3], 300.0 + y[3]],
            ];
            let onto = Projection::onto((w, h), quad);
            let (fw, fh) = (w as f64, h as f64);
            let corners = [(0.0, 0.0), (fw, 0.0), (fw, fh), (0.0, fh)];
            for ((cx, cy), want) in corners.into_iter().zip(quad) {
                prop_assert!(near(onto.apply(cx, cy), want));
            }
            let (px, py) = onto.apply(at * fw, 0.0);
            let [from, to] = [quad[0], quad[1]];
            let off = (to[0] - from[0]) * (py - from[1]) - (to[1] - from[1]) * (px - from[0]);
            prop_assert!(off.abs() < 1e-6, "the top edge stays a line");
            let [left, top, right, bottom] = onto.enclosing((0.0, 0.0), (fw, fh));
            let held = quad.iter().all(|p| {
                (left - 1e-6..=right + 1e-6).contains(&p[0])
                    && (top - 1e-6..=bottom + 1e-6).contains(&p[1])
            });
            prop_assert!(held);
        }
    }

    #[test]
    fn a_rectangle_is_scaled_and_moved() {
        let onto =
            Projection::onto((4, 2), [[10.0, 20.0], [18.0, 20.0], [18.0, 30.0], [10.0, 30.0]]);
        assert_eq!(onto.apply(1.0, 1.0), (12.0, 25.0));
        assert_eq!(onto.enclosing((1.0, 0.0), (2.0, 1.0)), [12.0, 20.0, 16.0, 25.0]);
    }
}

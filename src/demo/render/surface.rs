//! A scene as the camera will see it: what every pixel reflects, how high it lies, how it shines.
//!
//! Lengths are in units of half the picture's side, so that a part looks the same at every size.

/// What one pixel shows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cell {
    /// Diffuse reflectance per channel, linear, 0 to 1.
    pub(super) albedo: [f32; 3],
    /// Height above the table.
    pub(super) height: f32,
    /// Strength of the highlight.
    pub(super) gloss: f32,
    /// Coverage by the part, 0 (background) to 1.
    pub(super) part: f32,
}

impl Cell {
    /// Mixes the reflectance towards `colour`.
    pub(super) fn tint(&mut self, colour: [f32; 3], amount: f32) {
        for (a, c) in self.albedo.iter_mut().zip(colour) {
            *a += amount * (c - *a);
        }
    }

    /// Scales the reflectance.
    pub(super) fn dim(&mut self, factor: f32) {
        self.albedo.iter_mut().for_each(|a| *a *= factor);
    }
}

/// Where the part lies under the camera.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pose {
    sin: f32,
    cos: f32,
    shift: (f32, f32),
    scale: f32,
}

impl Pose {
    pub(super) fn new(turn: f32, shift: (f32, f32), scale: f32) -> Self {
        let (sin, cos) = turn.sin_cos();
        Self { sin, cos, shift, scale }
    }

    /// Picture coordinates (-1 to 1) to part coordinates.
    pub(super) fn to_part(self, x: f32, y: f32) -> (f32, f32) {
        let (x, y) = ((x - self.shift.0) / self.scale, (y - self.shift.1) / self.scale);
        (x * self.cos + y * self.sin, y * self.cos - x * self.sin)
    }

    /// Part coordinates to picture coordinates.
    pub(super) fn to_picture(self, u: f32, v: f32) -> (f32, f32) {
        let (x, y) = (u * self.cos - v * self.sin, u * self.sin + v * self.cos);
        (x * self.scale + self.shift.0, y * self.scale + self.shift.1)
    }
}

/// A square field of cells.
#[derive(Clone, Debug)]
pub(super) struct Surface {
    pub(super) size: usize,
    pub(super) cells: Vec<Cell>,
}

impl Surface {
    pub(super) fn new(size: usize) -> Self {
        Self { size, cells: vec![Cell::default(); size * size] }
    }

    /// Length of a pixel.
    pub(super) fn pixel(&self) -> f32 {
        2.0 / self.size as f32
    }

    /// Picture coordinate of a pixel's centre.
    fn coordinate(&self, index: usize) -> f32 {
        (index as f32 + 0.5) * self.pixel() - 1.0
    }

    /// Calls `f` with every cell and its part coordinates.
    pub(super) fn each(&mut self, pose: &Pose, mut f: impl FnMut(&mut Cell, f32, f32)) {
        let size = self.size;
        for y in 0..size {
            let py = self.coordinate(y);
            for x in 0..size {
                let (u, v) = pose.to_part(self.coordinate(x), py);
                f(&mut self.cells[y * size + x], u, v);
            }
        }
    }

    /// The same for the cells within `reach` of the part coordinates `at`, in a square box.
    pub(super) fn near(
        &mut self,
        pose: &Pose,
        at: (f32, f32),
        reach: f32,
        mut f: impl FnMut(&mut Cell, f32, f32),
    ) {
        let (cx, cy) = pose.to_picture(at.0, at.1);
        let size = self.size;
        let half = size as f32 / 2.0;
        let low = |c: f32| ((c - reach + 1.0) * half).floor().clamp(0.0, size as f32) as usize;
        let high = |c: f32| ((c + reach + 1.0) * half).ceil().clamp(0.0, size as f32) as usize;
        for y in low(cy)..high(cy) {
            let py = self.coordinate(y);
            for x in low(cx)..high(cx) {
                let (u, v) = pose.to_part(self.coordinate(x), py);
                f(&mut self.cells[y * size + x], u, v);
            }
        }
    }
}

/// 0 below `low`, 1 above `high`, smooth between.
pub(super) fn smoothstep(low: f32, high: f32, x: f32) -> f32 {
    let t = ((x - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// Distance from a point to a line between two points.
pub(super) fn segment(p: (f32, f32), a: (f32, f32), b: (f32, f32)) -> f32 {
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let (px, py) = (p.0 - a.0, p.1 - a.1);
    let t = ((px * dx + py * dy) / (dx * dx + dy * dy).max(1e-12)).clamp(0.0, 1.0);
    ((px - t * dx).powi(2) + (py - t * dy).powi(2)).sqrt()
}

/// Signed distance to a rounded box round the origin.
pub(super) fn rounded_box(u: f32, v: f32, half: (f32, f32), radius: f32) -> f32 {
    let (x, y) = (u.abs() - half.0 + radius, v.abs() - half.1 + radius);
    let outside = (x.max(0.0).powi(2) + y.max(0.0).powi(2)).sqrt();
    outside + x.max(y).min(0.0) - radius
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pose_and_its_inverse_cancel() {
        let pose = Pose::new(0.7, (0.1, -0.05), 1.1);
        for (u, v) in [(0.0, 0.0), (0.5, -0.3), (-0.9, 0.9)] {
            let (x, y) = pose.to_picture(u, v);
            let (a, b) = pose.to_part(x, y);
            assert!((a - u).abs() < 1e-5 && (b - v).abs() < 1e-5);
        }
    }

    #[test]
    fn distances_are_those_of_the_shapes() {
        assert!((segment((0.0, 1.0), (-1.0, 0.0), (1.0, 0.0)) - 1.0).abs() < 1e-6);
        assert!((segment((3.0, 4.0), (0.0, 0.0), (0.0, 0.0)) - 5.0).abs() < 1e-5);
        assert!((rounded_box(2.0, 0.0, (1.0, 1.0), 0.2) - 1.0).abs() < 1e-6);
        assert!(rounded_box(0.0, 0.0, (1.0, 0.5), 0.1) < 0.0);
    }
}

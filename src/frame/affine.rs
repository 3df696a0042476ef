//! Where a pixel of the map lies in the picture.

/// Axis-aligned affine from map to picture coordinates. Both have their origin at the top left
/// corner of the top left pixel: pixel `i` covers `[i, i + 1)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// Picture pixels per map pixel, horizontally.
    pub scale_x: f64,
    /// Picture pixels per map pixel, vertically.
    pub scale_y: f64,
    /// Picture column of the map's left edge.
    pub offset_x: f64,
    /// Picture row of the map's top edge.
    pub offset_y: f64,
}

impl Affine {
    /// The affine of a map that covers the whole picture, as the stretching resize makes it.
    /// Sizes are (width, height) in pixels; a map without pixels maps to the origin.
    pub fn stretch(map: (usize, usize), picture: (usize, usize)) -> Self {
        let ratio = |m: usize, p: usize| if m == 0 { 0.0 } else { p as f64 / m as f64 };
        Self {
            scale_x: ratio(map.0, picture.0),
            scale_y: ratio(map.1, picture.1),
            offset_x: 0.0,
            offset_y: 0.0,
        }
    }

    /// Picture coordinates of a map point.
    pub fn apply(&self, x: f64, y: f64) -> (f64, f64) {
        (x * self.scale_x + self.offset_x, y * self.scale_y + self.offset_y)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_covers_the_picture_edge_to_edge() {
        let a = Affine::stretch((64, 32), (640, 480));
        assert_eq!(a.apply(0.0, 0.0), (0.0, 0.0));
        assert_eq!(a.apply(64.0, 32.0), (640.0, 480.0));
        assert_eq!(a.apply(1.5, 0.5), (15.0, 7.5));
    }
}

//! Which part of a camera's picture the model sees, and how it lies there.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Affine, Projection};

/// Longest coordinate in a picture, in pixels: the largest picture side.
const COORDINATE_PX_MAX: u32 = 16_384;
/// Shortest side of a region in pixels: one cell of a Bayer mosaic.
const SIDE_PX_MIN: u32 = 2;

/// Region, orientation or perspective of a camera's view. The default is the whole picture as it
/// is.
///
/// A region is cut out first, then mirrored, then turned. Corners say all of that themselves, so
/// they stand alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Geometry {
    /// Left, top, width, height of the region in pixels; `None` = the whole picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roi: Option<[u32; 4]>,
    /// Mirrored, left to right.
    #[serde(default, skip_serializing_if = "is_false")]
    pub mirror: bool,
    /// Turned clockwise by 0, 90, 180 or 270 degrees.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rotate: u16,
    /// The points of the picture, in pixels from its top left corner, that become the top left,
    /// top right, bottom right and bottom left corner of the model's input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corners: Option<[[f64; 2]; 4]>,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_zero(number: &u16) -> bool {
    *number == 0
}

/// A geometry that cannot be, or not with this picture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {remedy}")]
pub struct GeometryError {
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: &'static str,
}

impl GeometryError {
    pub(super) fn new(what: impl Into<String>, remedy: &'static str) -> Self {
        Self { what: what.into(), remedy }
    }
}

impl Geometry {
    /// The whole picture as it is.
    pub const WHOLE: Geometry = Geometry { roi: None, mirror: false, rotate: 0, corners: None };

    /// Whether the model sees the whole picture as it is.
    pub fn is_whole(&self) -> bool {
        *self == Self::WHOLE
    }

    /// Checks what can be checked without a picture.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), GeometryError> {
        if !matches!(self.rotate, 0 | 90 | 180 | 270) {
            let what = format!("{} degrees is no quarter of a turn", self.rotate);
            return Err(GeometryError::new(what, "turn by 0, 90, 180 or 270"));
        }
        if let Some([x, y, width, height]) = self.roi {
            if width < SIDE_PX_MIN || height < SIDE_PX_MIN {
                let what = format!("a region of {width}x{height} pixels is too small");
                return Err(GeometryError::new(what, "make it 2x2 pixels at least"));
            }
            let ends = [(x, width), (y, height)];
            if ends.iter().any(|(from, side)| from.saturating_add(*side) > COORDINATE_PX_MAX) {
                let what = "the region ends outside of any picture";
                return Err(GeometryError::new(what, "give left, top, width, height in pixels"));
            }
        }
        let Some(corners) = &self.corners else { return Ok(()) };
        if self.roi.is_some() || self.mirror || self.rotate != 0 {
            return Err(GeometryError::new(
                "corners exclude a region, mirroring and turning",
                "keep the corners alone and begin with the one that is to be top left",
            ));
        }
        check_corners(corners)
    }

    /// Checks that a picture of this size holds what the model is to see.
    ///
    /// # Errors
    /// When it does not.
    pub fn fits(&self, (width, height): (usize, usize)) -> Result<(), GeometryError> {
        let refuse = |what: &str| {
            let what = format!("{what} lies outside the picture of {width}x{height} pixels");
            Err(GeometryError::new(what, "is this the camera that it was measured for?"))
        };
        if let Some([x, y, w, h]) = self.roi {
            let inside =
                |from: u32, side: u32, end: usize| u64::from(from) + u64::from(side) <= end as u64;
            if !inside(x, w, width) || !inside(y, h, height) {
                return refuse(&format!("the region [{x}, {y}, {w}, {h}]"));
            }
        }
        let outside = |p: &&[f64; 2]| p[0] > width as f64 || p[1] > height as f64;
        match self.corners.iter().flatten().find(outside) {
            Some([x, y]) => refuse(&format!("the corner [{x}, {y}]")),
            None => Ok(()),
        }
    }

    /// The points of the picture (width, height) that become the top left, top right, bottom
    /// right and bottom left corner of what the model sees.
    pub fn quad(&self, picture: (usize, usize)) -> [[f64; 2]; 4] {
        if let Some(corners) = self.corners {
            return corners;
        }
        let [x, y, w, h] = match self.roi {
            Some(roi) => roi.map(f64::from),
            None => [0.0, 0.0, picture.0 as f64, picture.1 as f64],
        };
        let mut quad = [[x, y], [x + w, y], [x + w, y + h], [x, y + h]];
        if self.mirror {
            quad = [quad[1], quad[0], quad[3], quad[2]];
        }
        quad.rotate_right(usize::from(self.rotate / 90) % 4);
        quad
    }

    /// Takes points of a map of `map` (width, height) pixels to points of the picture.
    pub fn projection(&self, map: (usize, usize), picture: (usize, usize)) -> Projection {
        Projection::onto(map, self.quad(picture))
    }

    /// The same as a scale and an offset, where that says it all: not for a quarter turn and not
    /// for a perspective.
    pub fn affine(&self, map: (usize, usize), picture: (usize, usize)) -> Option<Affine> {
        if self.corners.is_some() || !matches!(self.rotate, 0 | 180) {
            return None;
        }
        if self.is_whole() {
            return Some(Affine::stretch(map, picture));
        }
        let [origin, right, _, below] = self.quad(picture);
        let per = |length: f64, side: usize| if side == 0 { 0.0 } else { length / side as f64 };
        Some(Affine {
            scale_x: per(right[0] - origin[0], map.0),
            scale_y: per(below[1] - origin[1], map.1),
            offset_x: origin[0],
            offset_y: origin[1],
        })
    }

    /// The smallest upright rectangle (left, top, width, height) of picture pixels around a
    /// rectangle of map pixels.
    pub fn enclosing(
        &self,
        map: (usize, usize),
        picture: (usize, usize),
        (x, y, width, height): (u16, u16, u16, u16),
    ) -> [u32; 4] {
        let from = (f64::from(x), f64::from(y));
        let size = (f64::from(width), f64::from(height));
        let ends = if self.is_whole() {
            let affine = Affine::stretch(map, picture);
            let (left, top) = affine.apply(from.0, from.1);
            let (right, bottom) = affine.apply(from.0 + size.0, from.1 + size.1);
            [left, top, right, bottom]
        } else {
            self.projection(map, picture).enclosing(from, size)
        };
        // Never negative: the corners lie in the picture.
        let [left, top, right, bottom] = ends.map(|v| v.round().max(0.0) as u32);
        [left, top, right - left, bottom - top]
    }

    /// Size (width, height) in which what the model sees has about the picture's resolution.
    pub fn size(&self, picture: (usize, usize)) -> (usize, usize) {
        let [a, b, c, d] = self.quad(picture);
        let length = |p: [f64; 2], q: [f64; 2]| (p[0] - q[0]).hypot(p[1] - q[1]);
        let mean = |l: f64, m: f64| (((l + m) / 2.0).round() as usize).max(1);
        (mean(length(a, b), length(d, c)), mean(length(a, d), length(b, c)))
    }
}

/// As in a configuration file, on one line.
impl fmt::Display for Geometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_whole() {
            return f.write_str("the whole picture");
        }
        let mut gap = "";
        if let Some(roi) = self.roi {
            write!(f, "roi = {roi:?}")?;
            gap = ", ";
        }
        if self.mirror {
            write!(f, "{gap}mirror = true")?;
            gap = ", ";
        }
        if self.rotate != 0 {
            write!(f, "{gap}rotate = {}", self.rotate)?;
        }
        match self.corners {
            Some(corners) => write!(f, "corners = {corners:?}"),
            None => Ok(()),
        }
    }
}

fn check_corners(corners: &[[f64; 2]; 4]) -> Result<(), GeometryError> {
    let range = 0.0..=f64::from(COORDINATE_PX_MAX);
    if !corners.iter().flatten().all(|v| range.contains(v)) {
        return Err(GeometryError::new(
            "a corner lies outside of any picture",
            "give four points [x, y] in pixels from the picture's top left corner",
        ));
    }
    let turn = |i: usize| {
        let [p, q, r] = [corners[i], corners[(i + 1) % 4], corners[(i + 2) % 4]];
        (q[0] - p[0]) * (r[1] - q[1]) - (q[1] - p[1]) * (r[0] - q[0])
    };
    // Twice the area of each corner's triangle: of a square with the shortest side at least.
    let least = f64::from(SIDE_PX_MIN * SIDE_PX_MIN);
    if (0..4).any(|i| turn(i) < least) {
        return Err(GeometryError::new(
            "the corners are not those of a convex four-sided area, clockwise",
            "give top left, top right, bottom right, bottom left of the part",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUAD: [[f64; 2]; 4] = [[10.0, 5.0], [60.0, 8.0], [70.0, 50.0], [4.0, 44.0]];

    #[test]
    fn what_cannot_be_is_refused_with_a_remedy() {
        let whole = Geometry::WHOLE;
        let mut crossed = QUAD;
        crossed.swap(1, 2);
        let mut backwards = QUAD;
        backwards.reverse();
        let flat = [[0.0, 0.0], [10.0, 0.0], [20.0, 0.0], [10.0, 10.0]];
        for (bad, says) in [
            (Geometry { rotate: 45, ..whole }, "90"),
            (Geometry { roi: Some([0, 0, 1, 9]), ..whole }, "2x2"),
            (Geometry { roi: Some([u32::MAX, 0, 9, 9]), ..whole }, "outside"),
            (Geometry { corners: Some(QUAD), rotate: 90, ..whole }, "alone"),
            (Geometry { corners: Some(QUAD), mirror: true, ..whole }, "alone"),
            (Geometry { corners: Some(crossed), ..whole }, "clockwise"),
            (Geometry { corners: Some(backwards), ..whole }, "clockwise"),
            (Geometry { corners: Some(flat), ..whole }, "clockwise"),
            (Geometry { corners: Some([[f64::NAN; 2]; 4]), ..whole }, "pixels"),
        ] {
            let error = bad.check().unwrap_err().to_string();
            assert!(error.contains(says), "{bad:?}: {error}");
        }
        Geometry { corners: Some(QUAD), ..whole }.check().unwrap();
        let turned = Geometry { roi: Some([3, 4, 20, 10]), rotate: 270, mirror: true, ..whole };
        turned.check().unwrap();
        turned.fits((23, 14)).unwrap();
        assert!(turned.fits((22, 14)).unwrap_err().to_string().contains("[3, 4, 20, 10]"));
        assert!(Geometry { corners: Some(QUAD), ..whole }.fits((64, 64)).is_err());
    }

    #[test]
    fn corners_of_the_picture_go_where_turning_takes_them() {
        let crop = Geometry { roi: Some([10, 20, 4, 2]), ..Geometry::WHOLE };
        let (a, b, c, d) = ([10.0, 20.0], [14.0, 20.0], [14.0, 22.0], [10.0, 22.0]);
        assert_eq!(crop.quad((99, 99)), [a, b, c, d]);
        // Clockwise: the left edge comes to the top.
        assert_eq!(Geometry { rotate: 90, ..crop }.quad((99, 99)), [d, a, b, c]);
        assert_eq!(Geometry { rotate: 180, ..crop }.quad((99, 99)), [c, d, a, b]);
        assert_eq!(Geometry { mirror: true, ..crop }.quad((99, 99)), [b, a, d, c]);
        assert_eq!(Geometry { rotate: 90, ..crop }.size((99, 99)), (2, 4));
        assert_eq!(Geometry::WHOLE.quad((8, 6))[2], [8.0, 6.0]);
    }

    #[test]
    fn boxes_of_the_map_are_found_again_in_the_picture() {
        let whole = Geometry::WHOLE;
        let at = |geometry: Geometry| geometry.enclosing((10, 10), (100, 50), (1, 2, 3, 4));
        assert_eq!(at(whole), [10, 10, 30, 20]);
        let crop = Geometry { roi: Some([20, 10, 40, 20]), ..whole };
        assert_eq!(at(crop), [24, 14, 12, 8]);
        // Seen upside down, the top left of the map is the bottom right of the region.
        assert_eq!(at(Geometry { rotate: 180, ..crop }), [44, 18, 12, 8]);
        assert_eq!(at(Geometry { mirror: true, ..crop }), [44, 14, 12, 8]);
        // Clockwise: the map's columns are the region's rows from below.
        assert_eq!(at(Geometry { rotate: 90, ..crop }), [28, 22, 16, 6]);
        for geometry in [whole, crop, Geometry { rotate: 180, mirror: true, ..crop }] {
            let affine = geometry.affine((10, 10), (100, 50)).unwrap();
            let onto = geometry.projection((10, 10), (100, 50));
            let ((x, y), (u, v)) = (affine.apply(3.0, 7.0), onto.apply(3.0, 7.0));
            assert!((x - u).abs() < 1e-9 && (y - v).abs() < 1e-9, "{geometry}");
        }
        assert_eq!(Geometry { rotate: 270, ..crop }.affine((10, 10), (100, 50)), None);
    }

    #[test]
    fn the_file_form_says_only_what_is_set() {
        let text = |g: &Geometry| toml::to_string(g).unwrap();
        assert_eq!(text(&Geometry::WHOLE), "");
        let turned = Geometry { roi: Some([1, 2, 3, 4]), rotate: 90, ..Geometry::WHOLE };
        assert_eq!(text(&turned), "roi = [1, 2, 3, 4]\nrotate = 90\n");
        let corners = Geometry { corners: Some(QUAD), ..Geometry::WHOLE };
        for geometry in [Geometry::WHOLE, turned, corners] {
            assert_eq!(toml::from_str::<Geometry>(&text(&geometry)).unwrap(), geometry);
        }
    }
}

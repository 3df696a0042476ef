//! Tiles: a picture that is too large for the model's input is cut into overlapping pieces, each
//! of which the model sees at its own size, so that a small defect does not vanish in the resize.
//!
//! A [`Tiling`] says how many; a [`Grid`] is that for maps of one size. The maps of the tiles
//! become one map of what the camera sees. Where tiles overlap the larger value counts, and the
//! score is that of the worst tile: nothing that one tile shows is diluted by the others.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{AnomalyMap, Geometry, GeometryError};

/// Most tiles of a picture: each is an inference, and a part has one deadline.
const TILES_MAX: usize = 64;

/// How many tiles a picture is cut into. The default is one: the model sees the picture at once.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tiling {
    /// Tiles side by side.
    pub columns: u16,
    /// Tiles one above the other.
    pub rows: u16,
    /// Share of a tile's side that it has in common with its neighbour.
    pub overlap: f64,
}

impl Default for Tiling {
    fn default() -> Self {
        Self::WHOLE
    }
}

impl Tiling {
    /// One tile.
    pub const WHOLE: Tiling = Tiling { columns: 1, rows: 1, overlap: 0.0 };
    /// Overlap unless another is asked for: a defect of a tenth of a tile lies whole in one.
    pub const OVERLAP_DEFAULT: f64 = 0.1;
    /// Largest overlap: with more, every place would be looked at more than four times.
    pub const OVERLAP_MAX: f64 = 0.5;

    /// Reads `COLUMNSxROWS`, as in `4x3`.
    ///
    /// # Errors
    /// When that is no number of tiles, or too many.
    pub fn parse(tiles: &str, overlap: f64) -> Result<Self, GeometryError> {
        let whole = |text: &str| text.trim().parse::<u16>().ok();
        let both = tiles.split_once(['x', 'X', '*']).and_then(|(c, r)| whole(c).zip(whole(r)));
        let Some((columns, rows)) = both else {
            let what = format!("{tiles:?} is no number of tiles");
            return Err(GeometryError::new(what, "write columns x rows, for example \"4x3\""));
        };
        let tiling = Self { columns, rows, overlap };
        tiling.check()?;
        // What does not overlap has no overlap: equal tilings look equal.
        Ok(if tiling.is_whole() { Self::WHOLE } else { tiling })
    }

    /// Whether the model sees the picture at once.
    pub fn is_whole(&self) -> bool {
        self.count() == 1
    }

    /// Tiles of a picture.
    pub fn count(&self) -> usize {
        usize::from(self.columns) * usize::from(self.rows)
    }

    /// Checks what can be checked without a picture.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), GeometryError> {
        if !(1..=TILES_MAX).contains(&self.count()) {
            let what = format!("{}x{} is not 1 to {TILES_MAX} tiles", self.columns, self.rows);
            return Err(GeometryError::new(what, "each tile costs an inference: use fewer"));
        }
        if !(0.0..=Self::OVERLAP_MAX).contains(&self.overlap) {
            let what = format!("{} is no share of a tile to overlap", self.overlap);
            return Err(GeometryError::new(what, "use 0 to 0.5"));
        }
        Ok(())
    }

    /// The tiles of a model with maps of this size (width, height).
    pub fn grid(&self, map: (usize, usize)) -> Grid {
        let step = |side: usize, count: u16| {
            let shared = (side as f64 * self.overlap).round() as usize;
            // A tile that lies where the one before does shows nothing new.
            if count > 1 { (side - shared.min(side)).max(1) } else { side }
        };
        Grid {
            columns: self.columns.into(),
            rows: self.rows.into(),
            tile: map,
            step: (step(map.0, self.columns), step(map.1, self.rows)),
        }
    }
}

/// As a technician would say it.
impl fmt::Display for Tiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_whole() {
            return f.write_str("at once");
        }
        write!(f, "in {}x{} tiles with overlap {}", self.columns, self.rows, self.overlap)
    }
}

/// What of a picture the model sees, and in how many tiles.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Framing {
    /// What of it.
    pub geometry: Geometry,
    /// In how many tiles.
    pub tiling: Tiling,
}

impl Framing {
    /// The whole picture at once.
    pub const WHOLE: Framing = Framing { geometry: Geometry::WHOLE, tiling: Tiling::WHOLE };

    /// Whether the model sees the whole picture at once.
    pub fn is_whole(&self) -> bool {
        self.geometry.is_whole() && self.tiling.is_whole()
    }
}

impl fmt::Display for Framing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tiling.is_whole() {
            true => write!(f, "{}", self.geometry),
            false => write!(f, "{} {}", self.geometry, self.tiling),
        }
    }
}

/// Tiles whose maps have one size, laid over each other to one map. Tiles are numbered row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    columns: usize,
    rows: usize,
    /// Size (width, height) of a tile's map.
    tile: (usize, usize),
    /// From one tile to the next, in map pixels.
    step: (usize, usize),
}

impl Grid {
    /// Tiles.
    pub fn count(&self) -> usize {
        self.columns * self.rows
    }

    /// Size (width, height) of the map that the maps of all tiles make.
    pub fn size(&self) -> (usize, usize) {
        let side = |count: usize, tile: usize, step: usize| tile + count.saturating_sub(1) * step;
        (side(self.columns, self.tile.0, self.step.0), side(self.rows, self.tile.1, self.step.1))
    }

    /// Where the map of a tile lies in the whole one: its left column and top row.
    fn origin(&self, at: usize) -> (usize, usize) {
        ((at % self.columns) * self.step.0, (at / self.columns) * self.step.1)
    }

    /// What a tile shows of the picture, of which `whole` is what all of them show. Tiles begin
    /// and end between pixels of the picture, so that one may lie half a pixel off its place.
    pub fn tile(&self, whole: &Geometry, picture: (usize, usize), at: usize) -> Geometry {
        let (x, y) = self.origin(at);
        let (from, size) = ((x as f64, y as f64), (self.tile.0 as f64, self.tile.1 as f64));
        let onto = whole.projection(self.size(), picture);
        if whole.corners.is_none() {
            let ends = onto.enclosing(from, size).map(|v| v.round().max(0.0) as u32);
            let [left, top, right, bottom] = ends;
            let roi = [left, top, right.saturating_sub(left), bottom.saturating_sub(top)];
            return Geometry { roi: Some(roi), ..*whole };
        }
        let (right, bottom) = (from.0 + size.0, from.1 + size.1);
        let corners = [from, (right, from.1), (right, bottom), (from.0, bottom)];
        let corners = corners.map(|(x, y)| {
            let (u, v) = onto.apply(x, y);
            // Rounding must not push a corner off the picture.
            [u.clamp(0.0, picture.0 as f64), v.clamp(0.0, picture.1 as f64)]
        });
        Geometry { corners: Some(corners), ..Geometry::WHOLE }
    }

    /// Makes `out` a map of which no tile is known: no part passes with it.
    pub fn clear(&self, out: &mut AnomalyMap) {
        (out.width, out.height) = self.size();
        out.score = f32::NEG_INFINITY;
        out.values.clear();
        out.values.resize(out.width * out.height, f32::NEG_INFINITY);
    }

    /// Lays the map of a tile over `out`, a map of [`Grid::size`]. The larger value counts; one
    /// that is not a number stays, and a map of the wrong size leaves nothing else behind.
    pub fn lay(&self, at: usize, map: &AnomalyMap, out: &mut AnomalyMap) {
        let (width, height) = self.tile;
        let fits = (map.width, map.height) == self.tile && map.values.len() == width * height;
        let (left, top) = self.origin(at);
        for v in 0..height {
            let from = (top + v) * out.width + left;
            let row = &mut out.values[from..from + width];
            match map.values.get(v * width..(v + 1) * width) {
                Some(values) if fits => {
                    row.iter_mut().zip(values).for_each(|(old, new)| *old = worse(*old, *new));
                }
                _ => row.fill(f32::NAN),
            }
        }
        out.score = if fits { worse(out.score, map.score) } else { f32::NAN };
    }
}

/// The larger of two, and not a number when either is none.
fn worse(a: f32, b: f32) -> f32 {
    if a.is_nan() || a > b { a } else { b }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tiling(columns: u16, rows: u16, overlap: f64) -> Tiling {
        Tiling { columns, rows, overlap }
    }

    fn map(side: usize, value: f32) -> AnomalyMap {
        AnomalyMap { width: side, height: side, values: vec![value; side * side], score: value }
    }

    #[test]
    fn tiles_are_read_and_wrong_ones_refused_with_a_remedy() {
        assert_eq!(Tiling::parse("4x3", 0.2).unwrap(), tiling(4, 3, 0.2));
        assert_eq!(Tiling::parse(" 2 X 1 ", 0.0).unwrap(), tiling(2, 1, 0.0));
        assert_eq!(Tiling::parse("1x1", 0.3).unwrap(), Tiling::WHOLE);
        for (bad, overlap, says) in [
            ("4", 0.1, "4x3"),
            ("4x", 0.1, "4x3"),
            ("-4x3", 0.1, "4x3"),
            ("0x3", 0.1, "1 to 64"),
            ("9x8", 0.1, "fewer"),
            ("60000x60000", 0.1, "fewer"),
            ("4x3", 0.6, "0 to 0.5"),
            ("4x3", -0.1, "0 to 0.5"),
            ("4x3", f64::NAN, "0 to 0.5"),
        ] {
            let error = Tiling::parse(bad, overlap).unwrap_err().to_string();
            assert!(error.contains(says), "{bad} {overlap}: {error}");
        }
        assert_eq!(tiling(4, 3, 0.1).to_string(), "in 4x3 tiles with overlap 0.1");
    }

    #[test]
    fn a_defect_at_any_place_reaches_the_whole_map_undiluted() {
        let grid = tiling(2, 1, 0.25).grid((8, 8));
        assert_eq!((grid.count(), grid.size()), (2, (14, 8)));
        let (mut out, mut right) = (AnomalyMap::default(), map(8, 0.1));
        right.values[1] = 0.9;
        right.score = 0.7;
        grid.clear(&mut out);
        assert!(!out.is_complete(), "nothing is known yet");
        grid.lay(0, &map(8, 0.2), &mut out);
        assert!(!out.is_complete(), "one tile is missing");
        grid.lay(1, &right, &mut out);
        assert!(out.is_complete());
        assert_eq!(out.score, 0.7, "the worst tile's");
        assert_eq!(out.values[6..9], [0.2, 0.9, 0.1], "in the overlap the larger value");
    }

    #[test]
    fn what_is_not_a_number_stays_so_whatever_lies_over_it() {
        let grid = tiling(2, 1, 0.5).grid((4, 4));
        for order in [[0, 1], [1, 0]] {
            let mut out = AnomalyMap::default();
            grid.clear(&mut out);
            let (mut bad, good) = (map(4, 0.1), map(4, 0.3));
            bad.values[3] = f32::NAN;
            bad.score = f32::NAN;
            for at in order {
                grid.lay(at, if at == 0 { &bad } else { &good }, &mut out);
            }
            assert!(!out.is_complete() && out.score.is_nan(), "{order:?}");
            grid.clear(&mut out);
            grid.lay(order[0], &good, &mut out);
            grid.lay(order[1], &map(3, 0.3), &mut out);
            assert!(!out.is_complete() && out.score.is_nan(), "a map of another size");
        }
    }

    #[test]
    fn tiles_of_a_turned_and_mirrored_region_lie_where_the_map_says() {
        let grid = tiling(2, 2, 0.0).grid((10, 10));
        let whole = Geometry::WHOLE;
        let tile = |g: &Geometry, at| grid.tile(g, (100, 60), at);
        assert_eq!(tile(&whole, 0).roi, Some([0, 0, 50, 30]));
        assert_eq!(tile(&whole, 3).roi, Some([50, 30, 50, 30]));
        let crop = Geometry { roi: Some([10, 20, 40, 20]), ..whole };
        assert_eq!(tile(&crop, 1).roi, Some([30, 20, 20, 10]));
        let mirrored = Geometry { mirror: true, ..crop };
        assert_eq!(tile(&mirrored, 1), Geometry { roi: Some([10, 20, 20, 10]), ..mirrored });
        // Clockwise: the left edge comes to the top, so the top left tile is bottom left.
        let turned = Geometry { rotate: 90, ..crop };
        assert_eq!(tile(&turned, 0), Geometry { roi: Some([10, 30, 20, 10]), ..turned });
        let quad = [[10.0, 5.0], [60.0, 8.0], [70.0, 50.0], [4.0, 44.0]];
        let bent = Geometry { corners: Some(quad), ..whole };
        let corners = tile(&bent, 0).corners.unwrap();
        assert_eq!(corners[0], quad[0]);
        let middle = bent.projection((20, 20), (100, 60)).apply(10.0, 10.0);
        assert_eq!((corners[2][0], corners[2][1]), middle);
    }

    proptest! {
        #[test]
        fn tiles_cover_the_picture_and_stay_in_it(
            columns in 1u16..=8, rows in 1u16..=8, overlap in 0.0f64..=0.5,
            map in (4usize..300, 4usize..300), picture in (300usize..6000, 300usize..6000),
            rotate in prop::sample::select(vec![0u16, 90, 180, 270]), mirror in any::<bool>(),
        ) {
            let tiling = tiling(columns, rows, overlap);
            tiling.check().unwrap();
            let grid = tiling.grid(map);
            let whole = Geometry { rotate, mirror, ..Geometry::WHOLE };
            let mut covered = [u32::MAX, u32::MAX, 0, 0];
            for at in 0..grid.count() {
                let tile = grid.tile(&whole, picture, at);
                tile.check().unwrap();
                tile.fits(picture).unwrap();
                let [x, y, w, h] = tile.roi.unwrap();
                covered = [
                    covered[0].min(x), covered[1].min(y), covered[2].max(x + w),
                    covered[3].max(y + h),
                ];
                // As many picture pixels a map pixel as the whole map has.
                let across = if rotate % 180 == 0 { w } else { h };
                let side = if rotate % 180 == 0 { picture.0 } else { picture.1 };
                let exact = side as f64 * map.0 as f64 / grid.size().0 as f64;
                prop_assert!((f64::from(across) - exact).abs() <= 1.0);
            }
            prop_assert_eq!(covered, [0, 0, picture.0 as u32, picture.1 as u32]);
            let mut out = AnomalyMap::default();
            grid.clear(&mut out);
            let tile = AnomalyMap {
                width: map.0, height: map.1, values: vec![0.5; map.0 * map.1], score: 0.5,
            };
            for at in 0..grid.count() {
                prop_assert!(!out.is_complete());
                grid.lay(at, &tile, &mut out);
            }
            prop_assert!(out.is_complete() && out.values.iter().all(|v| *v == 0.5));
        }
    }
}

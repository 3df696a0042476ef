//! Ground-truth masks: resizing and connected regions.

use crate::frame::Geometry;

/// Connected regions of a mask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regions {
    /// Region number of each pixel, row-major; 0 = none.
    pub labels: Vec<u32>,
    /// Pixels of each region; region `r` is at `r - 1`.
    pub areas: Vec<u32>,
}

/// Labels the 8-connected regions of a row-major mask, in reading order of their first pixel.
pub fn label_regions(mask: &[bool], width: usize) -> Regions {
    let height = mask.len().checked_div(width).unwrap_or(0);
    let mut labels = vec![0_u32; mask.len()];
    let mut areas = Vec::new();
    let mut open = Vec::new();
    for start in 0..width * height {
        if !mask[start] || labels[start] != 0 {
            continue;
        }
        let label = areas.len() as u32 + 1;
        let mut area = 0;
        labels[start] = label;
        open.push(start);
        while let Some(at) = open.pop() {
            area += 1;
            let (x, y) = (at % width, at / width);
            for v in y.saturating_sub(1)..(y + 2).min(height) {
                for u in x.saturating_sub(1)..(x + 2).min(width) {
                    let next = v * width + u;
                    if mask[next] && labels[next] == 0 {
                        labels[next] = label;
                        open.push(next);
                    }
                }
            }
        }
        areas.push(area);
    }
    Regions { labels, areas }
}

/// Brings a mask to the map's size: nearest pixel by centres, so that a mask of the same size is
/// unchanged and both axes are treated alike.
pub fn resize_mask(mask: &[bool], from: (usize, usize), to: (usize, usize)) -> Vec<bool> {
    let ((from_width, from_height), (width, height)) = (from, to);
    let nearest =
        |i: usize, from: usize, to: usize| (((2 * i + 1) * from) / (2 * to)).min(from - 1);
    let mut out = Vec::with_capacity(width * height);
    for y in 0..height {
        let row = nearest(y, from_height, height) * from_width;
        out.extend((0..width).map(|x| mask[row + nearest(x, from_width, width)]));
    }
    out
}

/// What a geometry shows of a mask, at the map's size: nearest pixel by centres.
pub(super) fn mask_seen(
    mask: &[bool],
    from: (usize, usize),
    geometry: &Geometry,
    to: (usize, usize),
) -> Vec<bool> {
    if geometry.is_whole() {
        return resize_mask(mask, from, to);
    }
    let onto = geometry.projection(to, from);
    let at = |x: usize, y: usize| {
        let (u, v) = onto.apply(x as f64 + 0.5, y as f64 + 0.5);
        let inside = |v: f64, side: usize| (v.max(0.0) as usize).min(side.saturating_sub(1));
        let pixel = inside(v, from.1) * from.0 + inside(u, from.0);
        mask.get(pixel).copied().unwrap_or(false)
    };
    (0..to.1).flat_map(|y| (0..to.0).map(move |x| (x, y))).map(|(x, y)| at(x, y)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(rows: &[&str]) -> (Vec<bool>, usize) {
        (rows.iter().flat_map(|r| r.bytes().map(|b| b == b'#')).collect(), rows[0].len())
    }

    #[test]
    fn diagonal_neighbours_are_one_region() {
        let (m, width) = mask(&["#..##", ".#...", "..#.#", "....#"]);
        let regions = label_regions(&m, width);
        assert_eq!(regions.areas, [3, 2, 2]);
        assert_eq!(regions.labels[..5], [1, 0, 0, 2, 2]);
        assert_eq!(label_regions(&[], 0).areas, Vec::<u32>::new());
    }

    #[test]
    fn regions_do_not_wrap_around_the_border() {
        let (m, width) = mask(&["..#", "#..", "..#"]);
        assert_eq!(label_regions(&m, width).areas, [1, 1, 1]);
    }

    #[test]
    fn a_mask_of_the_same_size_is_unchanged_and_others_take_the_nearest_pixel() {
        let (m, _) = mask(&["#..#", ".#.."]);
        assert_eq!(resize_mask(&m, (4, 2), (4, 2)), m);
        let (half, _) = mask(&["..", "#."]);
        // Centres of the halves fall on the right of each pair.
        assert_eq!(resize_mask(&mask(&["#...", "#.#.", "....", "##.."]).0, (4, 4), (2, 2)), half);
        let up = resize_mask(&[true, false], (2, 1), (4, 2));
        assert_eq!(up, mask(&["##..", "##.."]).0);
    }

    #[test]
    fn a_mask_is_seen_as_the_picture_is() {
        let mut mask = vec![false; 8 * 6];
        mask[8 + 6] = true;
        // Columns 4 to 7 and rows 0 to 3; the marked pixel is (2, 1) in there.
        let crop = Geometry { roi: Some([4, 0, 4, 4]), ..Geometry::WHOLE };
        let marked = |geometry: Geometry| {
            let seen = mask_seen(&mask, (8, 6), &geometry, (4, 4));
            (0..16).filter(|&i| seen[i]).map(|i| (i % 4, i / 4)).collect::<Vec<_>>()
        };
        assert_eq!(marked(crop), [(2, 1)]);
        assert_eq!(marked(Geometry { mirror: true, ..crop }), [(1, 1)]);
        assert_eq!(marked(Geometry { rotate: 90, ..crop }), [(2, 2)]);
        assert_eq!(marked(Geometry { rotate: 180, ..crop }), [(1, 2)]);
        let seen = mask_seen(&mask, (8, 6), &Geometry::WHOLE, (8, 6));
        assert_eq!(seen, mask);
    }
}

//! Where the part is: the complement of a uniform background that touches the border.
//!
//! Damage painted on an empty background teaches the model about backgrounds, so it is confined
//! to the part when the part can be told from the background with confidence. Pictures filled by
//! texture, and pictures whose structure runs over the border, have no such background: `None`.

use super::canvas::luma;

/// Width of the border band that is taken for background, as a fraction of the side.
const BAND: f32 = 0.02;
/// Fraction of the band that must have the background's tone.
const BAND_AGREEMENT_MIN: f32 = 0.9;
/// Largest share of the picture that a part fills; beyond, there is no background worth sparing.
const PART_MAX: f32 = 0.85;
/// Smallest share; below, dust was found rather than a part.
const PART_MIN: f32 = 0.02;
/// Share of the foreground that its largest piece must hold: one part, not a pattern.
const LARGEST_MIN: f32 = 0.7;
/// Growth of the result in pixels per 256: damage may sit on the part's very edge.
const MARGIN: f32 = 3.0;

/// The pixels of the part in a square RGB picture, or `None` when the picture is all texture.
///
/// # Panics
/// When `clean` is not `size * size * 3` bytes for a whole `size`.
pub fn foreground(clean: &[u8]) -> Option<Vec<bool>> {
    let size = (clean.len() / 3).isqrt();
    assert_eq!(size * size * 3, clean.len(), "the picture must be square RGB");
    if size < 16 {
        return None;
    }
    let grey: Vec<u8> = smooth(&clean.chunks_exact(3).map(luma).collect::<Vec<_>>(), size);
    let band = ((size as f32 * BAND).ceil() as usize).max(2);
    let tone = band_tone(&grey, size, band)?;
    let split = otsu(&grey);
    // The background is on one side of Otsu's split; the tolerance reaches half-way to it, so
    // that soft shading is background and the part's edge is not.
    let tolerance = (split.abs_diff(tone) / 2).clamp(10, 48);
    let background = flood(&grey, size, tone, tolerance);
    let mut part: Vec<bool> = background.iter().map(|&b| !b).collect();
    let (area, largest) = keep_large(&mut part, size);
    let share = area as f32 / part.len() as f32;
    if !(PART_MIN..=PART_MAX).contains(&share) || (largest as f32) < LARGEST_MIN * area as f32 {
        return None;
    }
    Some(grow(&part, size, (MARGIN * size as f32 / 256.0).ceil() as usize))
}

/// The mean over 3 x 3 pixels: sensor noise must not break the flood.
fn smooth(grey: &[u8], size: usize) -> Vec<u8> {
    let mut out = grey.to_vec();
    for y in 1..size - 1 {
        for x in 1..size - 1 {
            let row = |y: usize| {
                let i = y * size + x;
                u32::from(grey[i - 1]) + u32::from(grey[i]) + u32::from(grey[i + 1])
            };
            out[y * size + x] = ((row(y - 1) + row(y) + row(y + 1)) / 9) as u8;
        }
    }
    out
}

/// The border band's median tone, when nearly all of the band has it.
fn band_tone(grey: &[u8], size: usize, band: usize) -> Option<u8> {
    let inner = band..size - band;
    let mut tones: Vec<u8> = (0..size * size)
        .filter(|i| !(inner.contains(&(i % size)) && inner.contains(&(i / size))))
        .map(|i| grey[i])
        .collect();
    tones.sort_unstable();
    let median = tones[tones.len() / 2];
    let agree = tones.iter().filter(|t| t.abs_diff(median) <= 24).count();
    (agree as f32 >= BAND_AGREEMENT_MIN * tones.len() as f32).then_some(median)
}

/// Otsu's threshold: the split with the largest variance between the two sides.
fn otsu(grey: &[u8]) -> u8 {
    let mut counts = [0f64; 256];
    grey.iter().for_each(|&v| counts[usize::from(v)] += 1.0);
    let total = grey.len() as f64;
    let sum: f64 = counts.iter().enumerate().map(|(v, n)| v as f64 * n).sum();
    let (mut below, mut sum_below, mut best) = (0.0, 0.0, (0u8, -1.0));
    for v in 0..255usize {
        below += counts[v];
        sum_below += v as f64 * counts[v];
        let above = total - below;
        if below == 0.0 || above == 0.0 {
            continue;
        }
        let gap = sum_below / below - (sum - sum_below) / above;
        let between = below * above * gap * gap;
        if between > best.1 {
            best = (v as u8, between);
        }
    }
    best.0
}

/// Pixels reachable from the border through pixels near the background's tone.
fn flood(grey: &[u8], size: usize, tone: u8, tolerance: u8) -> Vec<bool> {
    let near = |i: usize| grey[i].abs_diff(tone) <= tolerance;
    let mut reached = vec![false; size * size];
    let mut open: Vec<usize> = Vec::with_capacity(4 * size);
    let edge = (0..size).flat_map(|k| [k, (size - 1) * size + k, k * size, k * size + size - 1]);
    for i in edge {
        if near(i) && !reached[i] {
            reached[i] = true;
            open.push(i);
        }
    }
    while let Some(i) = open.pop() {
        let mut visit = |j: usize| {
            if near(j) && !reached[j] {
                reached[j] = true;
                open.push(j);
            }
        };
        let (x, y) = (i % size, i / size);
        if x > 0 {
            visit(i - 1);
        }
        if x + 1 < size {
            visit(i + 1);
        }
        if y > 0 {
            visit(i - size);
        }
        if y + 1 < size {
            visit(i + size);
        }
    }
    reached
}

/// Removes pieces below 1 / 2000 of the picture; returns the area left and the largest piece.
fn keep_large(part: &mut [bool], size: usize) -> (usize, usize) {
    let least = (size * size / 2000).max(4);
    let mut seen = vec![false; part.len()];
    let (mut area, mut largest) = (0, 0);
    let mut piece = Vec::new();
    for start in 0..part.len() {
        if !part[start] || seen[start] {
            continue;
        }
        piece.clear();
        piece.push(start);
        seen[start] = true;
        let mut next = 0;
        while next < piece.len() {
            let i = piece[next];
            next += 1;
            let (x, y) = (i % size, i / size);
            let sides = [
                (x > 0).then(|| i - 1),
                (x + 1 < size).then_some(i + 1),
                (y > 0).then(|| i - size),
                (y + 1 < size).then_some(i + size),
            ];
            for j in sides.into_iter().flatten() {
                if part[j] && !seen[j] {
                    seen[j] = true;
                    piece.push(j);
                }
            }
        }
        if piece.len() < least {
            piece.iter().for_each(|&i| part[i] = false);
        } else {
            area += piece.len();
            largest = largest.max(piece.len());
        }
    }
    (area, largest)
}

/// Adds all pixels within `radius` along rows, then along columns.
fn grow(part: &[bool], size: usize, radius: usize) -> Vec<bool> {
    let spread = |from: &[bool], step: usize, line: usize| {
        let mut out = vec![false; from.len()];
        for k in 0..size {
            for t in 0..size {
                if from[k * line + t * step] {
                    for n in t.saturating_sub(radius)..=(t + radius).min(size - 1) {
                        out[k * line + n * step] = true;
                    }
                }
            }
        }
        out
    };
    spread(&spread(part, 1, size), size, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(size: usize, tone: impl Fn(usize, usize) -> u8) -> Vec<u8> {
        (0..size * size).flat_map(|i| [tone(i % size, i / size); 3]).collect()
    }

    #[test]
    fn a_part_on_a_plain_background_is_found_with_its_holes() {
        let ring = |x: usize, y: usize| {
            let d = ((x as f32 - 64.0).powi(2) + (y as f32 - 64.0).powi(2)).sqrt();
            if d < 40.0 && d > 15.0 { 60 } else { 200 + ((x * 7 + y * 13) % 5) as u8 }
        };
        let part = foreground(&picture(128, ring)).unwrap();
        assert!(part[64 * 128 + 64 + 30], "the ring is part");
        assert!(part[64 * 128 + 64], "a hole that the border does not reach is part");
        assert!(!part[5 * 128 + 5], "the corner is background");
    }

    #[test]
    fn textures_patterns_and_empty_pictures_have_no_foreground() {
        assert_eq!(foreground(&picture(64, |x, y| (x * 37 + y * 91) as u8)), None);
        assert_eq!(foreground(&picture(64, |x, _| if x % 16 < 8 { 20 } else { 230 })), None);
        assert_eq!(foreground(&picture(64, |_, _| 128)), None);
    }
}

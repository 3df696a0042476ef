//! Marks on parts: a stroke font for engraving, moulding and printing, and how marking goes wrong.

use super::rng::Rng;
use super::surface::{Cell, Pose, Surface, segment};

/// How a mark went wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Misprint {
    /// Marked a second time, displaced (in heights of the text).
    Doubled(f32, f32),
    /// Characters from this index on are missing.
    CutOff(usize),
    /// One character was replaced by a filled blot.
    Blot(usize),
}

impl Misprint {
    pub(super) fn draw(characters: usize, rng: &mut Rng) -> Self {
        match rng.below(3) {
            0 => Self::Doubled(rng.sign() * rng.range(0.18, 0.34), rng.sign() * 0.16),
            1 => Self::CutOff(rng.below(characters.saturating_sub(1)).max(1) - rng.below(2)),
            _ => Self::Blot(rng.below(characters)),
        }
    }
}

/// A line of text on a part.
pub(super) struct Text<'a> {
    pub(super) text: &'a str,
    /// Centre in part coordinates.
    pub(super) at: (f32, f32),
    /// Height of a character.
    pub(super) height: f32,
    /// Width of a stroke.
    pub(super) stroke: f32,
    /// Direction of writing, radians.
    pub(super) turn: f32,
}

/// Advance from character to character, in heights.
const ADVANCE: f32 = 0.86;

/// Polylines of a character in a box 2 wide and 3 high, y downwards.
fn glyph(character: char) -> &'static [&'static [(f32, f32)]] {
    match character {
        '0' => &[&[(0., 0.), (2., 0.), (2., 3.), (0., 3.), (0., 0.)]],
        '1' => &[&[(0.3, 0.7), (1., 0.), (1., 3.)], &[(0.3, 3.), (1.7, 3.)]],
        '2' => &[&[(0., 0.4), (0.6, 0.), (2., 0.), (2., 1.4), (0., 3.), (2., 3.)]],
        '4' => &[&[(1.5, 3.), (1.5, 0.), (0., 2.), (2., 2.)]],
        '6' => &[&[(1.8, 0.), (0., 1.), (0., 3.), (2., 3.), (2., 1.5), (0., 1.5)]],
        '7' => &[&[(0., 0.), (2., 0.), (0.8, 3.)]],
        '8' => &[&[(0., 0.), (2., 0.), (2., 3.), (0., 3.), (0., 0.)], &[(0., 1.5), (2., 1.5)]],
        'A' => &[&[(0., 3.), (1., 0.), (2., 3.)], &[(0.4, 2.), (1.6, 2.)]],
        'C' => &[&[(2., 0.3), (1.5, 0.), (0., 0.), (0., 3.), (1.5, 3.), (2., 2.7)]],
        'M' => &[&[(0., 3.), (0., 0.), (1., 1.6), (2., 0.), (2., 3.)]],
        'P' => &[&[(0., 3.), (0., 0.), (2., 0.), (2., 1.6), (0., 1.6)]],
        'R' => &[&[(0., 3.), (0., 0.), (2., 0.), (2., 1.5), (0., 1.5)], &[(0.9, 1.5), (2., 3.)]],
        'T' => &[&[(0., 0.), (2., 0.)], &[(1., 0.), (1., 3.)]],
        'U' => &[&[(0., 0.), (0., 3.), (2., 3.), (2., 0.)]],
        // A dash stands for every character that no part carries.
        _ => &[&[(0.2, 1.5), (1.8, 1.5)]],
    }
}

/// One line of a character in part coordinates.
type Line = ((f32, f32), (f32, f32));

impl Text<'_> {
    /// Calls `ink` with every cell near the text, its distance from the nearest stroke's edge
    /// (negative inside), and the misprint applied.
    pub(super) fn draw(
        &self,
        surface: &mut Surface,
        pose: &Pose,
        misprint: Option<Misprint>,
        mut ink: impl FnMut(&mut Cell, f32),
    ) {
        let (lines, blot) = self.lines(misprint);
        let length = ADVANCE * self.height * self.text.chars().count() as f32;
        let reach = 0.5 * length + self.height;
        let half = self.stroke / 2.0;
        surface.near(pose, self.at, reach, |cell, u, v| {
            let strokes = lines.iter().map(|(a, b)| segment((u, v), *a, *b) - half);
            let blot = blot.map(|(x, y)| {
                let (dx, dy) = (u - x, (v - y) * 0.8);
                (dx * dx + dy * dy).sqrt() - 0.44 * self.height
            });
            let distance = strokes.chain(blot).fold(f32::MAX, f32::min);
            ink(cell, distance);
        });
    }

    fn lines(&self, misprint: Option<Misprint>) -> (Vec<Line>, Option<(f32, f32)>) {
        let count = self.text.chars().count() as f32;
        let (sin, cos) = self.turn.sin_cos();
        let place = |x: f32, y: f32| {
            let (x, y) = (x * self.height, y * self.height);
            (self.at.0 + x * cos - y * sin, self.at.1 + x * sin + y * cos)
        };
        let mut lines = Vec::new();
        let mut blot = None;
        for (k, character) in self.text.chars().enumerate() {
            let left = (k as f32 - count / 2.0) * ADVANCE + 0.1;
            if matches!(misprint, Some(Misprint::CutOff(from)) if k >= from) {
                continue;
            }
            if misprint == Some(Misprint::Blot(k)) {
                blot = Some(place(left + 0.33, 0.0));
            }
            for polyline in glyph(character) {
                for pair in polyline.windows(2) {
                    let at = |p: (f32, f32)| (left + p.0 / 3.0, p.1 / 3.0 - 0.5);
                    let (a, b) = (at(pair[0]), at(pair[1]));
                    lines.push((place(a.0, a.1), place(b.0, b.1)));
                    if let Some(Misprint::Doubled(dx, dy)) = misprint {
                        lines.push((place(a.0 + dx, a.1 + dy), place(b.0 + dx, b.1 + dy)));
                    }
                }
            }
        }
        (lines, blot)
    }
}

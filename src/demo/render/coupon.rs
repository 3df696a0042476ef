//! A printed-circuit test coupon: green mask over copper, gold pads, vias, white print.
//! It fills the picture and lies in a fixture: a little turned and shifted, never rotated.

use super::Flaw;
use super::optics::Light;
use super::rng::{Noise, Rng};
use super::surface::{Pose, Surface, rounded_box, segment, smoothstep};
use super::text::{Misprint, Text};

type Point = (f32, f32);

/// Pins on a side of the chip.
const PINS: usize = 6;
const PITCH: f32 = 0.155;
const PAD: Point = (0.075, 0.042);

/// Copper tracks under the mask.
const TRACKS: [&[Point]; 12] = [
    &[(-0.45, -0.39), (-0.62, -0.39), (-0.80, -0.57), (-0.80, -0.80)],
    &[(-0.45, -0.23), (-0.66, -0.23), (-0.88, -0.45), (-0.88, -0.95)],
    &[(-0.45, -0.08), (-0.70, -0.08), (-1.30, -0.08)],
    &[(-0.45, 0.08), (-0.70, 0.08), (-0.78, 0.16), (-1.30, 0.16)],
    &[(-0.45, 0.23), (-0.58, 0.23), (-0.78, 0.43), (-0.78, 0.62)],
    &[(-0.45, 0.39), (-0.56, 0.39), (-0.66, 0.49), (-0.66, 0.80), (-0.20, 0.80)],
    &[(0.27, -0.39), (0.42, -0.39), (0.58, -0.55), (0.58, -0.78)],
    &[(0.27, -0.23), (0.46, -0.23), (0.70, -0.47), (0.70, -0.55)],
    &[(0.27, -0.08), (0.72, -0.08)],
    &[(0.27, 0.08), (0.46, 0.08), (0.54, 0.16), (0.72, 0.16)],
    &[(0.27, 0.23), (0.40, 0.23), (0.56, 0.39), (0.72, 0.39)],
    &[(0.27, 0.39), (0.36, 0.39), (0.50, 0.53), (0.50, 0.80), (0.10, 0.80)],
];

const VIAS: [Point; 7] = [
    (-0.80, -0.80),
    (-0.78, 0.62),
    (0.58, -0.78),
    (0.70, -0.55),
    (-0.20, 0.80),
    (0.10, 0.80),
    (-0.09, 0.0),
];

/// Pads beside the chip's: test points on the right, two resistors at the top.
const OTHER_PADS: [(Point, Point); 8] = [
    ((0.80, -0.08), (0.080, 0.050)),
    ((0.80, 0.16), (0.080, 0.050)),
    ((0.80, 0.39), (0.080, 0.050)),
    ((0.80, 0.70), (0.080, 0.080)),
    ((-0.52, -0.74), (0.055, 0.080)),
    ((-0.28, -0.74), (0.055, 0.080)),
    ((0.10, -0.74), (0.055, 0.080)),
    ((0.34, -0.74), (0.055, 0.080)),
];

const PRINTS: [(&str, Point, f32); 3] =
    [("U1", (-0.09, 0.60), 0.17), ("R4", (-0.40, -0.56), 0.14), ("TP7", (0.76, -0.30), 0.13)];

/// What is missing on a coupon.
#[derive(Clone, Copy)]
enum Missing {
    Pad(usize),
    Track(usize, f32),
    Via(usize),
}

pub(super) fn build(size: usize, _: &Light, rng: &mut Rng, flaw: &Flaw) -> Surface {
    let shift = (rng.spread(0.035), rng.spread(0.035));
    let pose = Pose::new(rng.spread(0.04), shift, rng.range(0.99, 1.01));
    let mut surface = Surface::new(size);
    let missing = match flaw {
        Flaw::Missing(seed) => {
            let mut rng = Rng::new(*seed, 51);
            Some(match rng.below(5) {
                0 | 1 => Missing::Pad(rng.below(2 * PINS + OTHER_PADS.len())),
                2 | 3 => Missing::Track(rng.below(TRACKS.len()), rng.range(0.25, 0.75)),
                _ => Missing::Via(rng.below(VIAS.len())),
            })
        }
        _ => None,
    };
    laminate(&mut surface, &pose, rng);
    let copper = Noise::new(rng);
    tracks(&mut surface, &pose, missing);
    vias(&mut surface, &pose, missing);
    pads(&mut surface, &pose, copper, rng, missing);
    print(&mut surface, &pose, rng, flaw);
    surface
}

fn laminate(surface: &mut Surface, pose: &Pose, rng: &mut Rng) {
    let (mask, haze) = (Noise::new(rng), Noise::new(rng));
    let green = [0.016, 0.092, 0.042].map(|c: f32| c * (1.0 + rng.spread(0.06)));
    surface.each(pose, |cell, u, v| {
        // Glass cloth shows through the mask.
        let cloth = (u * 62.0).sin().abs() * 0.5 + (v * 62.0).sin().abs() * 0.5 - 0.6;
        let tone = 1.0
            + 0.10 * cloth
            + 0.10 * (mask.at(u * 70.0, v * 70.0) - 0.5)
            + 0.14 * (haze.fractal(u * 2.0, v * 2.0) - 0.5);
        cell.albedo = green.map(|c| c * tone);
        cell.gloss = 0.045;
        cell.part = 1.0;
        cell.height = 0.0007 * mask.at(u * 40.0, v * 40.0);
    });
}

fn tracks(surface: &mut Surface, pose: &Pose, missing: Option<Missing>) {
    let pixel = surface.pixel();
    for (k, track) in TRACKS.iter().enumerate() {
        let gap = match missing {
            Some(Missing::Track(gone, at)) if gone == k => Some(along(track, at)),
            _ => None,
        };
        for pair in track.windows(2) {
            let (a, b) = (pair[0], pair[1]);
            let middle = ((a.0 + b.0) / 2.0, (a.1 + b.1) / 2.0);
            let reach = ((a.0 - b.0).powi(2) + (a.1 - b.1).powi(2)).sqrt() / 2.0 + 0.05;
            surface.near(pose, middle, reach, |cell, u, v| {
                let mut distance = segment((u, v), a, b) - 0.022;
                if let Some(gap) = gap {
                    let open = ((u - gap.0).powi(2) + (v - gap.1).powi(2)).sqrt();
                    distance = distance.max(0.075 - open);
                }
                copper_under_mask(cell, distance, pixel);
            });
        }
    }
}

fn copper_under_mask(cell: &mut super::surface::Cell, distance: f32, pixel: f32) {
    let cover = smoothstep(pixel, -pixel, distance);
    let colour = [0.055, 0.215, 0.085];
    // Tracks of several pieces are painted over themselves: take the higher, not the sum.
    for (a, c) in cell.albedo.iter_mut().zip(colour) {
        *a = a.max(c * cover);
    }
    cell.height = cell.height.max(0.008 * smoothstep(0.012, -0.008, distance));
}

/// The point at a fraction of a track's length.
fn along(track: &[Point], fraction: f32) -> Point {
    let length = |p: &[Point]| ((p[0].0 - p[1].0).powi(2) + (p[0].1 - p[1].1).powi(2)).sqrt();
    let mut rest = fraction * track.windows(2).map(length).sum::<f32>();
    for pair in track.windows(2) {
        let part = length(pair);
        if rest <= part {
            let t = rest / part;
            let mix = |a: f32, b: f32| a + t * (b - a);
            // Tracks may run out of the picture; the gap stays where the camera looks.
            let at = (mix(pair[0].0, pair[1].0), mix(pair[0].1, pair[1].1));
            return (at.0.clamp(-0.85, 0.85), at.1.clamp(-0.85, 0.85));
        }
        rest -= part;
    }
    track.first().copied().unwrap_or_default()
}

fn pad_list() -> impl Iterator<Item = (Point, Point)> {
    let row =
        |x: f32| (0..PINS).map(move |k| ((x, (k as f32 - (PINS as f32 - 1.0) / 2.0) * PITCH), PAD));
    row(-0.45).chain(row(0.27)).chain(OTHER_PADS)
}

fn pads(
    surface: &mut Surface,
    pose: &Pose,
    copper: Noise,
    rng: &mut Rng,
    missing: Option<Missing>,
) {
    let pixel = surface.pixel();
    let gold = [0.60, 0.43, 0.16].map(|c: f32| c * (1.0 + rng.spread(0.04)));
    for (k, (at, half)) in pad_list().enumerate() {
        if matches!(missing, Some(Missing::Pad(gone)) if gone == k) {
            continue;
        }
        // Plating and registration differ a little from pad to pad.
        let at = (at.0 + rng.spread(0.004), at.1 + rng.spread(0.004));
        let shine = 1.0 + rng.spread(0.08);
        surface.near(pose, at, half.0.max(half.1) + 0.06, |cell, u, v| {
            let distance = rounded_box(u - at.0, v - at.1, half, 0.02);
            // Round the pad the mask is open and bare laminate shows.
            let open = smoothstep(pixel, -pixel, distance - 0.014);
            cell.tint([0.075, 0.085, 0.040], open);
            let cover = smoothstep(pixel, -pixel, distance);
            let grain = 1.0 + 0.30 * (copper.at(u * 120.0, v * 120.0) - 0.5);
            cell.tint(gold.map(|c| c * grain * shine), cover);
            cell.height = cell.height * (1.0 - open) + 0.012 * smoothstep(0.01, -0.012, distance);
            cell.gloss = cell.gloss * (1.0 - cover) + 0.16 * shine * cover;
        });
    }
}

fn vias(surface: &mut Surface, pose: &Pose, missing: Option<Missing>) {
    let pixel = surface.pixel();
    for (k, at) in VIAS.into_iter().enumerate() {
        let filled = matches!(missing, Some(Missing::Via(gone)) if gone == k);
        surface.near(pose, at, 0.1, |cell, u, v| {
            let r = ((u - at.0).powi(2) + (v - at.1).powi(2)).sqrt();
            let ring = smoothstep(pixel, -pixel, r - 0.066);
            cell.tint([0.58, 0.40, 0.15], ring);
            cell.gloss = cell.gloss * (1.0 - ring) + 0.14 * ring;
            cell.height = cell.height.max(0.009 * smoothstep(0.07, 0.055, r));
            if !filled {
                let hole = smoothstep(pixel, -pixel, r - 0.034);
                cell.dim(1.0 - 0.95 * hole);
                cell.gloss *= 1.0 - hole;
            }
        });
    }
}

fn print(surface: &mut Surface, pose: &Pose, rng: &mut Rng, flaw: &Flaw) {
    let ink = Noise::new(rng);
    let pixel = surface.pixel();
    // The screen is aligned by hand: the whole print sits a little off.
    let off = (rng.spread(0.012), rng.spread(0.012));
    let misprint = match flaw {
        Flaw::Misprint(seed) => {
            let mut rng = Rng::new(*seed, 52);
            let which = rng.below(PRINTS.len());
            Some((which, Misprint::draw(PRINTS[which].0.len(), &mut rng)))
        }
        _ => None,
    };
    let white = move |cell: &mut super::surface::Cell, distance: f32, u: f32, v: f32| {
        let thin = 0.78 + 0.22 * ink.at(u * 30.0, v * 30.0);
        cell.tint([0.62, 0.63, 0.60], thin * smoothstep(pixel, -pixel, distance));
    };
    let centre = (-0.09 + off.0, off.1);
    surface.near(pose, centre, 0.75, |cell, u, v| {
        let (x, y) = (u - centre.0, v - centre.1);
        let frame = rounded_box(x, y, (0.21, 0.48), 0.02).abs() - 0.009;
        let dot = ((x + 0.13).powi(2) + (y + 0.39).powi(2)).sqrt() - 0.035;
        white(cell, frame.min(dot), u, v);
    });
    for (k, (text, at, height)) in PRINTS.into_iter().enumerate() {
        let at = (at.0 + off.0, at.1 + off.1);
        let text = Text { text, at, height, stroke: 0.026, turn: 0.0 };
        let misprint = misprint.filter(|(which, _)| *which == k).map(|(_, m)| m);
        text.draw(surface, pose, misprint, |cell, distance| white(cell, distance, at.0, at.1));
    }
}

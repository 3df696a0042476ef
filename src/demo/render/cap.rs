//! A moulded plastic gear cap: teeth, rim, ribs, hub and raised letters; any rotation, two
//! batches of plastic that differ in tone.

use std::f32::consts::{PI, TAU};

use super::Flaw;
use super::optics::Light;
use super::rng::{Noise, Rng};
use super::surface::{Pose, Surface, segment, smoothstep};
use super::text::{Misprint, Text};

const TEETH: f32 = 20.0;
const ROOT: f32 = 0.72;
const TOOTH: f32 = 0.10;
const RIM: (f32, f32) = (0.56, 0.63);
const HUB: f32 = 0.20;
const BORE: f32 = 0.105;
const RIBS: usize = 5;
const MARK: &str = "PA66";

/// What is missing on a cap.
enum Missing {
    Tooth(f32),
    Rib(usize),
    Bore,
}

pub(super) fn build(size: usize, light: &Light, rng: &mut Rng, flaw: &Flaw) -> Surface {
    let pose = Pose::new(rng.angle(), (rng.spread(0.05), rng.spread(0.05)), rng.range(0.98, 1.02));
    let mut surface = Surface::new(size);
    let missing = match flaw {
        Flaw::Missing(seed) => {
            let mut rng = Rng::new(*seed, 41);
            Some(match rng.below(4) {
                0 | 1 => Missing::Tooth(rng.below(TEETH as usize) as f32),
                2 => Missing::Rib(rng.below(RIBS)),
                _ => Missing::Bore,
            })
        }
        _ => None,
    };
    table(&mut surface, &pose, light, rng, missing.as_ref());
    body(&mut surface, &pose, rng, missing.as_ref());
    let misprint = match flaw {
        Flaw::Misprint(seed) => Some(Misprint::draw(MARK.len(), &mut Rng::new(*seed, 42))),
        _ => None,
    };
    let text = Text { text: MARK, at: (0.0, -0.38), height: 0.17, stroke: 0.034, turn: 0.0 };
    let pixel = surface.pixel();
    text.draw(&mut surface, &pose, misprint, |cell, distance| {
        cell.height += 0.016 * smoothstep(2.0 * pixel, -1.5 * pixel, distance);
        // Raised letters wear smooth and look lighter.
        cell.dim(1.0 + 0.45 * smoothstep(pixel, -pixel, distance));
    });
    surface
}

/// Signed distance to the gear's outline.
fn outline(u: f32, v: f32, missing: Option<&Missing>) -> f32 {
    let r = (u * u + v * v).sqrt();
    if r < ROOT - 0.05 {
        return r - ROOT;
    }
    let phase = (v.atan2(u) / TAU + 1.0).fract() * TEETH;
    let index = phase.floor();
    let t = (phase - index - 0.5).abs();
    let mut height = ((0.36 - t) / 0.16).clamp(0.0, 1.0);
    if let Some(Missing::Tooth(gone)) = missing
        && *gone == index
    {
        // Broken off near the root, with a torn surface.
        height *= 0.12 + 0.10 * (phase * 17.0).sin().abs();
    }
    (r - ROOT - TOOTH * height) * 0.85
}

fn table(
    surface: &mut Surface,
    pose: &Pose,
    light: &Light,
    rng: &mut Rng,
    missing: Option<&Missing>,
) {
    let (noise, grain) = (Noise::new(rng), Noise::new(rng));
    let tone = rng.range(0.46, 0.52);
    let fixed = Pose::new(0.0, (rng.spread(0.3), rng.spread(0.3)), 1.0);
    surface.each(&fixed, |cell, u, v| {
        let level = tone
            + 0.03 * (noise.fractal(u * 3.0, v * 3.0) - 0.5)
            + 0.03 * (grain.at(u * 110.0, v * 110.0) - 0.5);
        cell.albedo = [level, level * 0.985, level * 0.95];
    });
    let away = (light.to_lamp[0] * 0.09, light.to_lamp[1] * 0.09);
    let (sx, sy) = pose.to_picture(0.0, 0.0);
    let (ox, oy) = pose.to_part(sx + away.0, sy + away.1);
    surface.each(pose, |cell, u, v| {
        let (r, far) = ((u * u + v * v).sqrt(), ROOT + TOOTH + 0.25);
        if r < far {
            cell.dim(1.0 - 0.6 * smoothstep(0.09, -0.05, outline(u + ox, v + oy, missing)));
        }
    });
}

fn body(surface: &mut Surface, pose: &Pose, rng: &mut Rng, missing: Option<&Missing>) {
    let (grain, flow) = (Noise::new(rng), Noise::new(rng));
    let batch = if rng.below(2) == 0 { 1.0 } else { 1.28 };
    let plastic = [0.040, 0.075, 0.150].map(|c: f32| c * batch * (1.0 + rng.spread(0.05)));
    let pixel = surface.pixel();
    surface.each(pose, |cell, u, v| {
        let distance = outline(u, v, missing);
        if distance > 2.0 * pixel {
            return;
        }
        let cover = (0.5 - distance / pixel).clamp(0.0, 1.0);
        let r = (u * u + v * v).sqrt();
        let mut height = 0.10 + 0.03 * smoothstep(0.0, -0.03, distance);
        height += relief(u, v, r, missing);
        // The texture of the mould, and melt that met behind the ribs.
        let texture = grain.at(u * 75.0, v * 75.0) - 0.5;
        height += 0.0016 * texture;
        let lines = flow.fractal(r * 9.0, 1.6 * (v / r.max(0.05))) - 0.5;
        let tone = 1.0 + 0.14 * lines + 0.16 * texture;
        for (albedo, plastic) in cell.albedo.iter_mut().zip(plastic) {
            *albedo += cover * (plastic * tone - *albedo);
        }
        cell.height = height * cover;
        cell.gloss = cover * (0.10 + 0.04 * texture);
        cell.part = cover;
        bore(cell, r, pixel, missing);
    });
}

/// Rim, ribs, hub and the marks of the ejector pins.
fn relief(u: f32, v: f32, r: f32, missing: Option<&Missing>) -> f32 {
    let ramp = 0.018;
    let step = |d: f32| smoothstep(ramp, -ramp, d);
    let rim = step((r - RIM.1).max(RIM.0 - r));
    let hub = step(r - HUB);
    let mut height = 0.035 * rim + 0.045 * hub;
    if r > HUB && r < RIM.0 {
        let mut rib = f32::MAX;
        for k in 0..RIBS {
            if matches!(missing, Some(Missing::Rib(gone)) if *gone == k) {
                continue;
            }
            let (sin, cos) = rib_angle(k).sin_cos();
            rib = rib.min(segment((u, v), (0.15 * cos, 0.15 * sin), (0.6 * cos, 0.6 * sin)));
        }
        height += 0.03 * step(rib - 0.028) * (1.0 - rim) * (1.0 - hub);
        for k in 0..3 {
            let (sin, cos) = (PI / 2.0 + (k as f32 - 1.0) * 2.0 * TAU / RIBS as f32).sin_cos();
            let (x, y) = (u - 0.40 * cos, v - 0.40 * sin);
            let d = (x * x + y * y).sqrt() - 0.045;
            height -= 0.006 * smoothstep(0.012, -0.006, d);
        }
    }
    height
}

/// Ribs leave the sector of the mark free.
fn rib_angle(k: usize) -> f32 {
    -PI / 2.0 + (k as f32 + 0.5) * TAU / RIBS as f32
}

fn bore(cell: &mut super::surface::Cell, r: f32, pixel: f32, missing: Option<&Missing>) {
    let hole = (0.5 - (r - BORE) / pixel).clamp(0.0, 1.0);
    if matches!(missing, Some(Missing::Bore)) {
        // The core pin failed: the hole is closed by a thin skin, sunk in the middle.
        cell.height -= 0.03 * smoothstep(BORE, BORE * 0.6, r);
        return;
    }
    cell.dim(1.0 - 0.88 * hole);
    cell.gloss *= 1.0 - hole;
    cell.height -= 0.05 * smoothstep(BORE + 0.02, BORE - 0.01, r);
}

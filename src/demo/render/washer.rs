//! A turned steel washer with an engraved mark, on a dark rubber mat; any rotation.

use super::Flaw;
use super::optics::Light;
use super::rng::{Noise, Rng};
use super::surface::{Pose, Surface, smoothstep};
use super::text::{Misprint, Text};

const INNER: f32 = 0.30;
const OUTER: f32 = 0.76;
const CHAMFER: f32 = 0.035;
/// Thickness of the washer over the mat.
const THICKNESS: f32 = 0.06;

const MARKS: [(&str, f32); 2] = [("M16", -0.53), ("A2", 0.53)];

pub(super) fn build(size: usize, light: &Light, rng: &mut Rng, flaw: &Flaw) -> Surface {
    let pose = Pose::new(rng.angle(), (rng.spread(0.05), rng.spread(0.05)), rng.range(0.97, 1.03));
    let mut surface = Surface::new(size);
    let chip = match flaw {
        Flaw::Missing(seed) => Some(Chip::draw(&mut Rng::new(*seed, 31))),
        _ => None,
    };
    mat(&mut surface, &pose, light, rng, chip.as_ref());
    ring(&mut surface, &pose, light, rng, chip.as_ref());
    let misprint = match flaw {
        Flaw::Misprint(seed) => {
            let mut rng = Rng::new(*seed, 32);
            let which = rng.below(MARKS.len());
            Some((which, Misprint::draw(MARKS[which].0.len(), &mut rng)))
        }
        _ => None,
    };
    for (k, (mark, v)) in MARKS.into_iter().enumerate() {
        let turn = if v > 0.0 { std::f32::consts::PI } else { 0.0 };
        let text = Text { text: mark, at: (0.0, v), height: 0.22, stroke: 0.034, turn };
        let misprint = misprint.filter(|(which, _)| *which == k).map(|(_, m)| m);
        let pixel = surface.pixel();
        text.draw(&mut surface, &pose, misprint, |cell, distance| {
            let depth = smoothstep(1.5 * pixel, -1.5 * pixel, distance) * cell.part;
            cell.height -= 0.012 * depth;
            cell.dim(1.0 - 0.62 * depth);
            cell.gloss *= 1.0 - 0.8 * depth;
        });
    }
    surface
}

/// A piece broken out of the outer edge.
struct Chip {
    at: (f32, f32),
    radius: f32,
    noise: Noise,
}

impl Chip {
    fn draw(rng: &mut Rng) -> Self {
        let (sin, cos) = rng.angle().sin_cos();
        // The outer edge or the edge of the hole.
        let edge = if rng.below(3) == 0 { INNER } else { OUTER };
        Self { at: (edge * cos, edge * sin), radius: rng.range(0.09, 0.17), noise: Noise::new(rng) }
    }

    fn distance(&self, u: f32, v: f32) -> f32 {
        let (x, y) = (u - self.at.0, v - self.at.1);
        let rough = 0.06 * (self.noise.fractal(u * 14.0, v * 14.0) - 0.5);
        self.radius - (x * x + y * y).sqrt() + rough
    }
}

/// Signed distance to the washer.
fn outline(u: f32, v: f32, chip: Option<&Chip>) -> f32 {
    let r = (u * u + v * v).sqrt();
    let ring = (r - OUTER).max(INNER - r);
    chip.map_or(ring, |chip| ring.max(chip.distance(u, v)))
}

fn mat(surface: &mut Surface, pose: &Pose, light: &Light, rng: &mut Rng, chip: Option<&Chip>) {
    let (noise, dust) = (Noise::new(rng), Noise::new(rng));
    // The mat does not move with the part.
    let table = Pose::new(0.12, (rng.spread(0.5), rng.spread(0.5)), 1.0);
    surface.each(&table, |cell, u, v| {
        let weave = (u * 95.0).sin() * (v * 95.0).sin();
        let speck = smoothstep(0.80, 0.95, dust.at(u * 60.0, v * 60.0));
        let tone = 0.030 + 0.012 * noise.fractal(u * 5.0, v * 5.0) + 0.004 * weave + 0.02 * speck;
        cell.albedo = [tone * 0.95, tone, tone * 1.08];
        cell.gloss = 0.01;
    });
    // The shadow falls away from the lamp, by the washer's thickness.
    let away = (light.to_lamp[0] * THICKNESS, light.to_lamp[1] * THICKNESS);
    let (sx, sy) = pose.to_picture(0.0, 0.0);
    let (ox, oy) = pose.to_part(sx + away.0, sy + away.1);
    surface.each(pose, |cell, u, v| {
        let distance = outline(u + ox, v + oy, chip);
        cell.dim(1.0 - 0.65 * smoothstep(0.05, -0.03, distance));
    });
}

fn ring(surface: &mut Surface, pose: &Pose, light: &Light, rng: &mut Rng, chip: Option<&Chip>) {
    let (grooves, streaks, clouds) = (Noise::new(rng), Noise::new(rng), Noise::new(rng));
    let steel = rng.range(0.30, 0.36);
    let warm = rng.spread(0.012);
    // Concentric grooves reflect the lamp where they run across its direction.
    let (u0, v0) = pose.to_part(0.0, 0.0);
    let (u1, v1) = pose.to_part(light.to_lamp[0], light.to_lamp[1]);
    let lamp = (v1 - v0).atan2(u1 - u0);
    let eccentric = (rng.spread(0.02), rng.spread(0.02));
    let pixel = surface.pixel();
    surface.each(pose, |cell, u, v| {
        let distance = outline(u, v, chip);
        if distance > 2.0 * pixel {
            return;
        }
        let cover = (0.5 - distance / pixel).clamp(0.0, 1.0);
        let (x, y) = (u - eccentric.0, v - eccentric.1);
        let r = (x * x + y * y).sqrt();
        let (sin2, cos2) = {
            let (s, c) = (y / r.max(1e-3), x / r.max(1e-3));
            (2.0 * s * c, c * c - s * s)
        };
        let fan = cos2 * (2.0 * lamp).cos() + sin2 * (2.0 * lamp).sin();
        let fine = grooves.at(r * 210.0, 0.5) - 0.5;
        let coarse = grooves.at(r * 46.0, 9.5) - 0.5;
        // Grooves are long but not endless: their strength changes slowly round the ring.
        let along = streaks.at(r * 120.0, 2.4 * sin2 + 5.0 * cos2) - 0.5;
        let tone = steel
            * (1.0
                + 0.17 * fan
                + 0.16 * fine
                + 0.10 * coarse
                + 0.14 * along
                + 0.10 * (clouds.fractal(u * 3.0, v * 3.0) - 0.5));
        let colour = [tone * (1.0 + warm), tone, tone * (1.02 - warm)];
        let edge = smoothstep(-CHAMFER, 0.0, distance);
        let height = THICKNESS - 0.6 * CHAMFER * edge * edge;
        for (albedo, colour) in cell.albedo.iter_mut().zip(colour) {
            *albedo += cover * (colour - *albedo);
        }
        cell.height = height * cover + cell.height * (1.0 - cover);
        cell.gloss = cover * (0.05 + 0.05 * (fan + 1.0) * 0.5) + (1.0 - cover) * cell.gloss;
        cell.part = cover;
    });
}

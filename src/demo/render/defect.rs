//! Damage that any part can suffer, done to its surface.
//!
//! Lengths are in pixels of a 320 px picture and scaled to the actual size.

use super::Defect;
use super::rng::{Noise, Rng};
use super::surface::{Surface, smoothstep};

/// Damages a copy of the surface. Kinds that the builders make themselves (missing
/// features, misprints) leave it as it is.
pub(super) fn apply(defect: Defect, good: &Surface, rng: &mut Rng) -> Surface {
    let mut surface = good.clone();
    let canvas = Canvas { scale: surface.size as f32 / 320.0, size: surface.size };
    match defect {
        Defect::Scratch => scratch(&mut surface, canvas, rng),
        Defect::Dent => dent(&mut surface, canvas, rng),
        Defect::Stain => stain(&mut surface, canvas, rng),
        Defect::Crack => crack(&mut surface, canvas, rng),
        Defect::Fibre => fibre(&mut surface, canvas, rng),
        Defect::Missing | Defect::Misprint => {}
    }
    surface
}

#[derive(Clone, Copy)]
struct Canvas {
    scale: f32,
    size: usize,
}

/// A point of a line: position and width in pixels.
type Knot = (f32, f32, f32);

impl Canvas {
    /// A pixel well inside the part.
    fn spot(self, surface: &Surface, rng: &mut Rng) -> (f32, f32) {
        let margin = (8.0 * self.scale) as usize;
        let mut last = (self.size / 2, self.size / 2);
        for _ in 0..200 {
            let inner = self.size - 2 * margin;
            last = (margin + rng.below(inner), margin + rng.below(inner));
            let on_part = |x: usize, y: usize| surface.cells[y * self.size + x].part > 0.95;
            let (x, y) = last;
            if on_part(x, y)
                && on_part(x - margin, y)
                && on_part(x + margin, y)
                && on_part(x, y - margin)
                && on_part(x, y + margin)
            {
                break;
            }
        }
        (last.0 as f32, last.1 as f32)
    }

    /// Calls `f` with the index of every pixel near the line, the distance from the line's
    /// middle and the line's width there.
    fn along(self, knots: &[Knot], reach: f32, mut f: impl FnMut(usize, f32, f32)) {
        // One value a pixel, the nearest piece's: pieces overlap at the knots.
        let mut nearest: Vec<(f32, f32)> = vec![(f32::MAX, 0.0); self.size * self.size];
        let mut touched = Vec::new();
        for pair in knots.windows(2) {
            let (a, b) = (pair[0], pair[1]);
            let (dx, dy) = (b.0 - a.0, b.1 - a.1);
            let square = (dx * dx + dy * dy).max(1e-6);
            let [x0, y0, x1, y1] = self.frame(
                [a.0.min(b.0) - reach, a.1.min(b.1) - reach],
                [a.0.max(b.0) + reach, a.1.max(b.1) + reach],
            );
            for y in y0..y1 {
                for x in x0..x1 {
                    let (px, py) = (x as f32 - a.0, y as f32 - a.1);
                    let t = ((px * dx + py * dy) / square).clamp(0.0, 1.0);
                    let d = ((px - t * dx).powi(2) + (py - t * dy).powi(2)).sqrt();
                    let cell = &mut nearest[y * self.size + x];
                    if d <= reach && d < cell.0 {
                        if cell.0 == f32::MAX {
                            touched.push(y * self.size + x);
                        }
                        *cell = (d, a.2 + t * (b.2 - a.2));
                    }
                }
            }
        }
        for i in touched {
            f(i, nearest[i].0, nearest[i].1);
        }
    }

    /// The box clipped to the picture; the end is exclusive.
    fn frame(self, low: [f32; 2], high: [f32; 2]) -> [usize; 4] {
        let clip = |v: f32| v.clamp(0.0, self.size as f32) as usize;
        [clip(low[0]), clip(low[1]), clip(high[0] + 1.0), clip(high[1] + 1.0)]
    }

    /// Calls `f` with the pixels round a point: index and offset in units of `radius`.
    fn round(self, at: (f32, f32), radius: f32, mut f: impl FnMut(usize, f32, f32)) {
        let [x0, y0, x1, y1] = self.frame(
            [at.0 - 2.2 * radius, at.1 - 2.2 * radius],
            [at.0 + 2.2 * radius, at.1 + 2.2 * radius],
        );
        for y in y0..y1 {
            for x in x0..x1 {
                f(y * self.size + x, (x as f32 - at.0) / radius, (y as f32 - at.1) / radius);
            }
        }
    }

    /// Pixels to the surface's unit of length.
    fn length(self, pixels: f32) -> f32 {
        pixels * 2.0 / self.size as f32
    }
}

/// A smooth walk: heading, bend and its change, tapered at both ends.
fn curve(
    from: (f32, f32),
    heading: f32,
    length: f32,
    width: f32,
    wild: f32,
    rng: &mut Rng,
) -> Vec<Knot> {
    let steps = (length / 3.0).ceil().max(4.0) as usize;
    let step = length / steps as f32;
    let (mut x, mut y, mut heading) = (from.0, from.1, heading);
    let mut bend = rng.spread(0.03 * wild);
    let mut knots = Vec::with_capacity(steps + 1);
    for k in 0..=steps {
        let t = k as f32 / steps as f32;
        knots.push((x, y, width * (4.0 * t * (1.0 - t)).sqrt().max(0.3)));
        let (sin, cos) = heading.sin_cos();
        (x, y) = (x + step * cos, y + step * sin);
        bend = (bend + rng.spread(0.025 * wild)).clamp(-0.16 * wild, 0.16 * wild);
        heading += bend;
    }
    knots
}

/// The knots before and after a point in the middle, so that a line lies round its spot.
fn centred(mut knots: Vec<Knot>, at: (f32, f32)) -> Vec<Knot> {
    let middle = knots[knots.len() / 2];
    let (dx, dy) = (at.0 - middle.0, at.1 - middle.1);
    knots.iter_mut().for_each(|k| (k.0, k.1) = (k.0 + dx, k.1 + dy));
    knots
}

fn scratch(surface: &mut Surface, canvas: Canvas, rng: &mut Rng) {
    let s = canvas.scale;
    let at = canvas.spot(surface, rng);
    let heading = rng.angle();
    let count = 1 + rng.below(3);
    for k in 0..count {
        let length = rng.range(45.0, 150.0) * s;
        let width = rng.range(1.3, 2.8) * s;
        let off = if k == 0 { 0.0 } else { 9.0 * s };
        let at = (at.0 + rng.spread(off), at.1 + rng.spread(off));
        let knots = curve(at, heading + rng.spread(0.15), length, width, 0.25, rng);
        let depth = canvas.length(rng.range(0.9, 1.7) * s);
        // Fresh material shines in most grooves; dirt darkens the others.
        let dirty = rng.below(3) == 0;
        let (colour, amount) = if dirty {
            ([0.03, 0.03, 0.028], rng.range(0.35, 0.75))
        } else {
            ([0.85, 0.85, 0.83], rng.range(0.22, 0.48))
        };
        let grain = Noise::new(rng);
        canvas.along(&centred(knots, at), 3.0 * width + 1.0, |i, d, width| {
            let cell = &mut surface.cells[i];
            let hit = cell.part * (0.55 + 0.45 * grain.at(i as f32 * 0.21, 0.0));
            // A groove with raised edges.
            let t = d / width.max(0.4);
            let groove = (-t * t * 1.2).exp();
            let ridge = (-(t - 1.5) * (t - 1.5) * 2.0).exp();
            cell.height += depth * hit * (0.45 * ridge - groove);
            cell.tint(colour, amount * hit * groove);
            if !dirty {
                cell.gloss += 0.10 * hit * groove;
            }
        });
    }
}

fn dent(surface: &mut Surface, canvas: Canvas, rng: &mut Rng) {
    let s = canvas.scale;
    let at = canvas.spot(surface, rng);
    let radius = rng.range(8.0, 19.0) * s;
    let depth =
        canvas.length(radius) * rng.range(0.30, 0.52) * if rng.below(4) == 0 { 1.0 } else { -1.0 };
    let (sin, cos) = rng.angle().sin_cos();
    let stretch = rng.range(0.65, 1.0);
    let rough = Noise::new(rng);
    canvas.round(at, radius, |i, u, v| {
        let (x, y) = (u * cos + v * sin, (v * cos - u * sin) / stretch);
        let square = (x * x + y * y) * (0.85 + 0.3 * rough.at(u * 2.0 + 9.0, v * 2.0));
        let cell = &mut surface.cells[i];
        // A hollow with a raised rim; the bottom is bruised.
        let shape = (1.0 - 0.55 * square) * (-square).exp();
        cell.height += cell.part * depth * shape;
        let bruise = 1.0 + 0.25 * (rough.at(u * 9.0, v * 9.0) - 0.75) * (-1.5 * square).exp();
        cell.dim(1.0 + cell.part * (bruise - 1.0));
    });
}

fn stain(surface: &mut Surface, canvas: Canvas, rng: &mut Rng) {
    let s = canvas.scale;
    let at = canvas.spot(surface, rng);
    let radius = rng.range(11.0, 30.0) * s;
    let shape = Noise::new(rng);
    // Rust, oil, flux residue, burn: colour and how much of the ground still shows.
    let (colour, cover) = match rng.below(4) {
        0 => ([0.20, 0.075, 0.022], rng.range(0.35, 0.65)),
        1 => ([0.030, 0.026, 0.020], rng.range(0.30, 0.55)),
        2 => ([0.42, 0.40, 0.34], rng.range(0.22, 0.45)),
        _ => ([0.012, 0.011, 0.010], rng.range(0.40, 0.65)),
    };
    let (rim, gloss) = (rng.unit(), rng.range(0.3, 1.3));
    canvas.round(at, radius, |i, u, v| {
        let r = (u * u + v * v).sqrt();
        let edge = 0.55 + 0.75 * shape.fractal(u * 1.6 + 3.0, v * 1.6);
        let inside = smoothstep(edge + 0.09, edge - 0.09, r);
        // Drops dry from the middle to the rim and leave most there.
        let dried = 1.0 - 0.55 * rim * smoothstep(edge, edge * 0.4, r);
        let patchy = 0.7 + 0.6 * (shape.fractal(u * 4.0, v * 4.0 + 7.0) - 0.25);
        let cell = &mut surface.cells[i];
        let amount = (cell.part * inside * dried * patchy).clamp(0.0, 1.0);
        cell.tint(colour, cover * amount);
        cell.gloss *= 1.0 + (gloss - 1.0) * amount;
    });
}

fn crack(surface: &mut Surface, canvas: Canvas, rng: &mut Rng) {
    let s = canvas.scale;
    let at = canvas.spot(surface, rng);
    let length = rng.range(50.0, 130.0) * s;
    let width = rng.range(1.1, 2.3) * s;
    let heading = rng.angle();
    let trunk = centred(jagged(at, heading, length, width, s, rng), at);
    let mut lines = vec![];
    for _ in 0..rng.below(3) {
        let from = trunk[trunk.len() / 4 + rng.below(trunk.len() / 2)];
        let side = heading + rng.sign() * rng.range(0.5, 1.1);
        let part = length * rng.range(0.2, 0.4);
        lines.push(jagged((from.0, from.1), side, part, width * 0.7, s, rng));
    }
    lines.push(trunk);
    let dark = rng.range(0.65, 0.92);
    for line in &lines {
        canvas.along(line, 2.5 * width + 1.0, |i, d, width| {
            let cell = &mut surface.cells[i];
            let gap = cell.part * smoothstep(0.5 * width + 0.8, 0.5 * width - 0.6, d);
            let lip = cell.part * smoothstep(2.2 * width, 0.4 * width, d);
            cell.height -= canvas.length(0.45 * s) * lip;
            cell.dim(1.0 - dark * gap);
            cell.gloss *= 1.0 - gap;
        });
    }
}

/// A walk of short straight pieces with sharp turns.
fn jagged(
    from: (f32, f32),
    heading: f32,
    length: f32,
    width: f32,
    s: f32,
    rng: &mut Rng,
) -> Vec<Knot> {
    let mut knots = vec![(from.0, from.1, width)];
    let (mut x, mut y, mut gone) = (from.0, from.1, 0.0);
    let mut drift = heading;
    while gone < length {
        let step = rng.range(3.5, 9.0) * s;
        drift += rng.spread(0.16);
        let (sin, cos) = (drift + rng.spread(0.75)).sin_cos();
        (x, y) = (x + step * cos, y + step * sin);
        gone += step;
        let rest = (1.0 - gone / length).max(0.25);
        knots.push((x, y, width * rest.sqrt() * rng.range(0.75, 1.15)));
    }
    knots
}

fn fibre(surface: &mut Surface, canvas: Canvas, rng: &mut Rng) {
    let s = canvas.scale;
    let at = canvas.spot(surface, rng);
    let length = rng.range(70.0, 170.0) * s;
    let width = rng.range(1.2, 2.2) * s;
    let knots = centred(curve(at, rng.angle(), length, width, 1.0, rng), at);
    let knots: Vec<Knot> = knots.iter().map(|k| (k.0, k.1, width)).collect();
    let colour = match rng.below(4) {
        0 => [0.62, 0.60, 0.55],
        1 => [0.018, 0.016, 0.016],
        2 => [0.38, 0.06, 0.05],
        _ => [0.10, 0.16, 0.42],
    };
    // It does not touch the part everywhere: the shadow lies beside it.
    let away = rng.range(1.5, 3.0) * s;
    let shadow: Vec<Knot> = knots.iter().map(|k| (k.0 + away, k.1 + 0.8 * away, k.2)).collect();
    canvas.along(&shadow, 2.0 * width + 2.0, |i, d, width| {
        surface.cells[i].dim(1.0 - 0.35 * smoothstep(1.6 * width, 0.0, d));
    });
    canvas.along(&knots, width + 1.0, |i, d, width| {
        let cell = &mut surface.cells[i];
        let cover = (0.5 + 0.5 * width - d).clamp(0.0, 1.0);
        // Round like a thread: lighter along its middle.
        let round = 0.7 + 0.5 * (1.0 - (d / (0.5 * width).max(0.5)).min(1.0));
        cell.tint(colour.map(|c| c * round), 0.94 * cover);
        cell.gloss *= 1.0 - cover;
    });
}

//! The two losses with their gradients in closed form.
//!
//! Both are computed on the host from the values a forward pass returned, together with their
//! gradient with respect to those values; `sum(output * gradient)` is then a scalar whose
//! backward pass hands exactly that gradient to the network. This keeps the hard mining free of
//! hooks and the reductions in f64, and it costs one pass over the values.

/// Factor on the gradient of easy positions.
pub const EASY_GRADIENT: f32 = 0.1;
/// Focal loss keeps probabilities this far from 0 and 1.
pub const FOCAL_SMOOTHING: f64 = 1e-5;
/// Norms are kept away from zero by this much.
const NORM_EPS: f64 = 1e-12;

/// A loss and its gradient with respect to the values it was computed from.
#[derive(Clone, Debug, PartialEq)]
pub struct Graded {
    /// The loss.
    pub loss: f64,
    /// One value for each input value.
    pub gradient: Vec<f32>,
}

/// Shape of one group's features in a batch: `sequences` blocks of `tokens` rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Pictures.
    pub sequences: usize,
    /// Positions of each picture.
    pub tokens: usize,
    /// Channels of each position.
    pub channels: usize,
}

/// Sums over one position's channels.
#[derive(Clone, Copy, Default)]
struct Dots {
    product: f64,
    target: f64,
    output: f64,
}

impl Dots {
    fn of(target: &[f32], output: &[f32]) -> Self {
        // Eight f32 lanes of partial sums: exact enough for a few hundred channels and fast.
        let mut lanes = [[0f32; 8]; 3];
        let (t8, o8) = (target.chunks_exact(8), output.chunks_exact(8));
        let (t_rest, o_rest) = (t8.remainder(), o8.remainder());
        for (t, o) in t8.zip(o8) {
            for i in 0..8 {
                lanes[0][i] += t[i] * o[i];
                lanes[1][i] += t[i] * t[i];
                lanes[2][i] += o[i] * o[i];
            }
        }
        let sum = |lane: &[f32; 8]| lane.iter().map(|&v| f64::from(v)).sum::<f64>();
        let mut dots =
            Self { product: sum(&lanes[0]), target: sum(&lanes[1]), output: sum(&lanes[2]) };
        for (&t, &o) in t_rest.iter().zip(o_rest) {
            let (t, o) = (f64::from(t), f64::from(o));
            dots.product += t * o;
            dots.target += t * t;
            dots.output += o * o;
        }
        dots
    }

    fn distance(&self) -> f64 {
        1.0 - self.product / (self.target * self.output).sqrt().max(NORM_EPS)
    }
}

/// Cosine loss of one group with hard mining: the mean over pictures of `1 - cos` of the
/// flattened maps `targets` and `outputs`.
///
/// The share `easy_share` of all positions with the smallest cosine distance is easy: their
/// gradient is multiplied by [`EASY_GRADIENT`], which equals replacing their output by
/// `0.1 de + 0.9 stop_gradient(de)`. The loss value does not depend on it.
///
/// # Panics
/// When a slice does not have the length that `rows` says.
pub fn cosine(targets: &[f32], outputs: &[f32], rows: Rows, easy_share: f64) -> Graded {
    let dots = dots(targets, outputs, rows.channels);
    let limit = easy_limit(dots.iter().map(Dots::distance).collect(), easy_share);
    graded((targets, outputs), rows, &dots, limit)
}

/// The same with the distance below which a position is easy, where the positions that it is taken
/// from are not these alone.
///
/// # Panics
/// When a slice does not have the length that `rows` says.
pub fn cosine_below(targets: &[f32], outputs: &[f32], rows: Rows, limit: f64) -> Graded {
    graded((targets, outputs), rows, &dots(targets, outputs, rows.channels), limit)
}

/// The cosine distance of each position.
pub fn distances(targets: &[f32], outputs: &[f32], channels: usize) -> Vec<f64> {
    dots(targets, outputs, channels).iter().map(Dots::distance).collect()
}

fn dots(targets: &[f32], outputs: &[f32], channels: usize) -> Vec<Dots> {
    let rows = targets.chunks_exact(channels).zip(outputs.chunks_exact(channels));
    rows.map(|(t, o)| Dots::of(t, o)).collect()
}

fn graded((targets, outputs): (&[f32], &[f32]), rows: Rows, dots: &[Dots], limit: f64) -> Graded {
    let c = rows.channels;
    assert_eq!(targets.len(), rows.sequences * rows.tokens * c, "targets do not fit the rows");
    assert_eq!(outputs.len(), targets.len(), "outputs do not fit the targets");
    let mut gradient = vec![0f32; outputs.len()];
    let mut loss = 0.0;
    let share = 1.0 / rows.sequences as f64;
    for s in 0..rows.sequences {
        let range = s * rows.tokens..(s + 1) * rows.tokens;
        let total = dots[range.clone()].iter().fold(Dots::default(), |a, d| Dots {
            product: a.product + d.product,
            target: a.target + d.target,
            output: a.output + d.output,
        });
        let norm = (total.target * total.output).sqrt().max(NORM_EPS);
        let cos = total.product / norm;
        loss += (1.0 - cos) * share;
        // d(1 - cos)/d output = -(target / (|t||o|) - cos * output / |o|^2).
        let (a, b) = (-share / norm, share * cos / total.output.max(NORM_EPS));
        for row in range {
            let weight = if dots[row].distance() < limit { EASY_GRADIENT } else { 1.0 };
            let (a, b) = (a as f32 * weight, b as f32 * weight);
            let at = row * c..(row + 1) * c;
            let pairs = targets[at.clone()].iter().zip(&outputs[at.clone()]);
            for (g, (t, o)) in gradient[at].iter_mut().zip(pairs) {
                *g = a * t + b * o;
            }
        }
    }
    Graded { loss, gradient }
}

/// The distance below which the share `easy_share` of all positions lies: these are easy.
pub fn easy_limit(mut distances: Vec<f64>, easy_share: f64) -> f64 {
    let easy = (distances.len() as f64 * easy_share) as usize;
    if easy == 0 {
        return f64::NEG_INFINITY;
    }
    let at = easy.min(distances.len() - 1);
    *distances.select_nth_unstable_by(at, f64::total_cmp).1
}

/// Focal loss with gamma 2 of probabilities against a 0/1 mask, mean over pixels, and its
/// gradient with respect to the probabilities.
///
/// # Panics
/// When the lengths differ.
pub fn focal(probabilities: &[f32], mask: &[u8]) -> Graded {
    assert_eq!(probabilities.len(), mask.len(), "the mask does not fit the map");
    let share = 1.0 / mask.len() as f64;
    let mut loss = 0.0;
    let gradient = probabilities
        .iter()
        .zip(mask)
        .map(|(&p, &m)| {
            let p = f64::from(p).clamp(FOCAL_SMOOTHING, 1.0 - FOCAL_SMOOTHING);
            // `q` is the probability of the true label; sign is dq/dp.
            let (q, sign) = if m > 0 { (p, 1.0) } else { (1.0 - p, -1.0) };
            let miss = 1.0 - q;
            loss -= miss * miss * q.ln() * share;
            let slope = 2.0 * miss * q.ln() - miss * miss / q;
            (slope * sign * share) as f32
        })
        .collect();
    Graded { loss, gradient }
}

#[cfg(test)]
#[path = "../tests/unit/loss.rs"]
mod tests;

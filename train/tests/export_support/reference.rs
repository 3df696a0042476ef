//! `arch.rs` steps 1 to 7 behind the encoder, in naive loops and 64-bit arithmetic. Nothing is
//! folded, fused or shared with the exporter: what agrees with this has read the contract alike.

use crrd_train::arch::{ATTENTION_EPS, Architecture, HeadShape, Memory, Scheme, Weights};

/// Rows by columns.
type Matrix = Vec<Vec<f64>>;

/// Anomaly map (row-major) and score from unstandardised features `[tokens, channels]`, and those of
/// the memories that look closer, `[places, channels]`.
pub(crate) fn forward(
    arch: &Architecture,
    weights: &Weights,
    features: &[f32],
    fine: &[Vec<f32>],
) -> (Vec<f64>, f64) {
    let net = Net { arch, weights };
    let (mean, std) = (net.vector("taps.mean"), net.vector("taps.std"));
    let standardised = |values: &[f32], range: std::ops::Range<usize>| -> Matrix {
        let row = |row: &[f32]| {
            let channels = row.iter().zip(range.clone());
            channels.map(|(t, c)| (f64::from(*t) - mean[c]) / std[c]).collect()
        };
        values.chunks(range.len()).map(row).collect()
    };
    let e = standardised(features, 0..arch.channels());
    let keep = f64::from(1.0 - arch.mask_probability);
    let projected = arch.scheme == Scheme::Projected;
    let entering = |row: &Vec<f64>| -> Vec<f64> {
        if projected {
            return row.clone();
        }
        let taps = row.len() / arch.width;
        let mean = |c: usize| (0..taps).map(|t| row[t * arch.width + c]).sum::<f64>() / taps as f64;
        (0..arch.width).map(mean).collect()
    };
    let masked: Matrix = e.iter().map(|r| entering(r).iter().map(|v| v * keep).collect()).collect();
    let hidden = gelu(net.linear("bottleneck.fc1", &masked));
    let mut x = net.linear("bottleneck.fc2", &hidden);
    if projected {
        let position = net.vector("position");
        for (t, row) in x.iter_mut().enumerate() {
            row.iter_mut().enumerate().for_each(|(c, v)| *v += position[t * arch.width + c]);
        }
    }
    let mut states = vec![];
    for i in 0..arch.depth {
        x = net.block(i, x);
        states.push(x.clone());
    }
    let mut distance = vec![0.0; arch.tokens()];
    let share = match projected {
        true => net.vector("distance.share"),
        false => vec![1.0 / arch.groups.len() as f64; arch.groups.len()],
    };
    let mut head_input: Matrix = vec![vec![]; arch.tokens()];
    for (g, group) in arch.groups.iter().enumerate() {
        let d = match arch.scheme {
            Scheme::Projected => {
                let normed = net.norm(&format!("out.{g}.norm"), &states[group.after_block - 1]);
                net.linear(&format!("out.{g}.fc"), &normed)
            }
            // The last half of the blocks for the first group, the first half for the second.
            Scheme::Averaged { .. } => {
                let half = arch.depth / 2;
                let from = if g == 0 { half } else { 0 };
                mean_state(&states[from..from + half])
            }
        };
        let range = arch.group_channels(g);
        let extra = e.len() - arch.tokens();
        for t in 0..arch.tokens() {
            let (en, de) = (unit(&e[extra + t][range.clone()]), unit(&d[extra + t]));
            let cosine: f64 = en.iter().zip(&de).map(|(a, b)| a * b).sum();
            distance[t] += (1.0 - cosine) * share[g];
            let scale = -(range.len() as f64);
            head_input[t].extend(en.iter().zip(&de).map(|(a, b)| scale * a * b));
        }
    }
    let s = match arch.head {
        HeadShape::Slim(_) => net.head(&head_input),
        HeadShape::Parity => net.parity_head(&head_input),
    };
    let w = f64::from(arch.distance_weight);
    let fused: Vec<f64> = if projected {
        let own: f32 = 1.0 - arch.memories.iter().map(|m| m.weight).sum::<f32>();
        let mut coarse: Vec<f64> =
            distance.iter().map(|a| (a + 0.01).powf(f64::from(own))).collect();
        let mut closer = vec![1.0; 4 * arch.tokens()];
        for (i, memory) in arch.memories.iter().enumerate() {
            let range = arch.tap_channels(&memory.taps);
            let (seen, joined) = if memory.scale == 1 {
                let own = e.iter().map(|row| row[range.clone()].to_vec()).collect();
                (own, &mut coarse)
            } else {
                (standardised(&fine[i], range), &mut closer)
            };
            let level = net.vector(&format!("memory.{i}.level"))[0];
            for (t, d) in joined.iter_mut().enumerate() {
                let p = level * net.strangeness(i, memory, &seen, t);
                *d *= p.powf(f64::from(memory.weight));
            }
        }
        let coarse = resize(&coarse, arch.grid, 2 * arch.grid);
        let d: Vec<f64> = coarse.iter().zip(&closer).map(|(c, f)| c * f).collect();
        let side = if matches!(arch.head, HeadShape::Parity) { arch.map } else { 2 * arch.grid };
        let d = resize(&d, 2 * arch.grid, side).into_iter();
        let m: Vec<f64> = d.zip(&s).map(|(d, s)| d.powf(w) * (s + 0.05).powf(1.0 - w)).collect();
        resize(&m, side, arch.map)
    } else {
        let a = resize_corners(&distance, arch.grid, arch.map);
        let s = match arch.head {
            HeadShape::Slim(_) => resize(&s, 2 * arch.grid, arch.map),
            HeadShape::Parity => s,
        };
        a.iter().zip(&s).map(|(a, s)| w * a + (1.0 - w) * s).collect()
    };
    let map = gauss(&fused, arch.map, arch.smoothing.0, f64::from(arch.smoothing.1));
    let mut sorted = map.clone();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let top = (arch.map as f64 * arch.map as f64 * f64::from(arch.score_fraction)).ceil() as usize;
    let score = sorted[..top].iter().sum::<f64>() / top as f64;
    (map, score)
}

struct Net<'a> {
    arch: &'a Architecture,
    weights: &'a Weights,
}

impl Net<'_> {
    fn vector(&self, name: &str) -> Vec<f64> {
        self.weights[name].values.iter().map(|v| f64::from(*v)).collect()
    }

    fn linear(&self, name: &str, x: &Matrix) -> Matrix {
        let (w, b) = (self.vector(&format!("{name}.weight")), self.vector(&format!("{name}.bias")));
        let n = b.len();
        x.iter()
            .map(|row| {
                let mut out = b.clone();
                for (i, v) in row.iter().enumerate() {
                    out.iter_mut().zip(&w[i * n..(i + 1) * n]).for_each(|(o, w)| *o += v * w);
                }
                out
            })
            .collect()
    }

    fn norm(&self, name: &str, x: &Matrix) -> Matrix {
        let (gamma, beta) =
            (self.vector(&format!("{name}.gamma")), self.vector(&format!("{name}.beta")));
        let eps = if self.arch.scheme == Scheme::Projected { 1e-6 } else { 1e-8 };
        x.iter()
            .map(|row| {
                let n = row.len() as f64;
                let mean = row.iter().sum::<f64>() / n;
                let var = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
                let normed = row.iter().map(|v| (v - mean) / (var + eps).sqrt());
                normed.zip(&gamma).zip(&beta).map(|((v, g), b)| v * g + b).collect()
            })
            .collect()
    }

    fn block(&self, i: usize, x: Matrix) -> Matrix {
        let qkv =
            self.linear(&format!("block.{i}.qkv"), &self.norm(&format!("block.{i}.norm1"), &x));
        let attended = self.linear(&format!("block.{i}.proj"), &self.attention(&qkv));
        let x = sum(x, &attended);
        let inner = self.norm(&format!("block.{i}.norm2"), &x);
        let inner = gelu(self.linear(&format!("block.{i}.fc1"), &inner));
        let inner = self.linear(&format!("block.{i}.fc2"), &inner);
        sum(x, &inner)
    }

    fn attention(&self, qkv: &Matrix) -> Matrix {
        let (width, heads) = (self.arch.width, self.arch.heads);
        let size = width / heads;
        let elu1 = |v: f64| if v > 0.0 { v + 1.0 } else { v.exp() };
        let mut out = vec![vec![0.0; width]; qkv.len()];
        for h in 0..heads {
            let at = |part: usize, c: usize| part * width + h * size + c;
            let mut kv = vec![vec![0.0; size]; size];
            let mut sum_k = vec![0.0; size];
            for row in qkv {
                for a in 0..size {
                    let k = elu1(row[at(1, a)]);
                    sum_k[a] += k;
                    (0..size).for_each(|b| kv[a][b] += k * row[at(2, b)]);
                }
            }
            for (row, out) in qkv.iter().zip(&mut out) {
                let q: Vec<f64> = (0..size).map(|a| elu1(row[at(0, a)])).collect();
                let scale: f64 =
                    q.iter().zip(&sum_k).map(|(q, k)| q * k).sum::<f64>() + ATTENTION_EPS;
                for b in 0..size {
                    let value: f64 = (0..size).map(|a| q[a] * kv[a][b]).sum();
                    out[h * size + b] = value / scale;
                }
            }
        }
        out
    }

    /// How far the surroundings of place `t` are from the nearest prototype of memory `i`.
    fn strangeness(&self, i: usize, memory: &Memory, e: &Matrix, t: usize) -> f64 {
        let grid = (memory.scale * self.arch.grid) as isize;
        let radius = (memory.window / 2) as isize;
        let mut query = vec![0.0; e[0].len()];
        for dy in -radius..=radius {
            for dx in -radius..=radius {
                let y = (t as isize / grid + dy).clamp(0, grid - 1);
                let x = (t as isize % grid + dx).clamp(0, grid - 1);
                let row = &e[(y * grid + x) as usize];
                query
                    .iter_mut()
                    .zip(row)
                    .for_each(|(q, v)| *q += v / (memory.window.pow(2)) as f64);
            }
        }
        let prototypes = self.vector(&format!("memory.{i}.prototypes"));
        let floor = 0.007 * query.len() as f64;
        let distance = |p: &[f64]| {
            (p.iter().zip(&query).map(|(p, q)| (p - q).powi(2)).sum::<f64>() + floor).sqrt()
        };
        prototypes.chunks(query.len()).map(distance).fold(f64::INFINITY, f64::min)
    }

    /// Segmentation probabilities at twice the grid.
    fn head(&self, x: &Matrix) -> Vec<f64> {
        let grid = self.arch.grid;
        let channels = x[0].len();
        let planes: Matrix = (0..channels).map(|c| x.iter().map(|row| row[c]).collect()).collect();
        let x = relu(self.conv("head.conv0", &planes, grid, 1));
        let x = relu(self.conv("head.conv1", &x, grid, 3));
        let x: Matrix = x.iter().map(|plane| resize(plane, grid, 2 * grid)).collect();
        let x = relu(self.conv("head.conv2", &x, 2 * grid, 3));
        let x = self.conv("head.conv3", &x, 2 * grid, 3);
        x[0].iter().map(|v| 1.0 / (1.0 + (-v).exp())).collect()
    }

    /// Segmentation probabilities at the map's size, by the published head.
    fn parity_head(&self, x: &Matrix) -> Vec<f64> {
        let mut x: Matrix = (0..x[0].len()).map(|c| x.iter().map(|row| row[c]).collect()).collect();
        let mut side = self.arch.grid;
        for stage in 0..3 {
            x = x.iter().map(|plane| resize(plane, side, 2 * side)).collect();
            side *= 2;
            for i in 0..3 {
                let name = format!("head.{stage}.{i}");
                let part = |part: &str| self.vector(&format!("{name}.{part}"));
                let none = vec![0.0; part("gamma").len()];
                let y = self.conv_by(&part("weight"), &none, &x, side, 3);
                let (gamma, beta, mean, var) =
                    (part("gamma"), part("beta"), part("mean"), part("var"));
                let normed = y.iter().enumerate().map(|(c, plane)| {
                    let of = |v: &f64| (v - mean[c]) / (var[c] + 1e-5).sqrt() * gamma[c] + beta[c];
                    plane.iter().map(of).collect()
                });
                x = relu(normed.collect());
            }
        }
        let x: Matrix = x.iter().map(|plane| resize(plane, side, self.arch.map)).collect();
        let x = self.conv("head.out", &x, self.arch.map, 3);
        x[0].iter().zip(&x[1]).map(|(good, bad)| bad.exp() / (good.exp() + bad.exp())).collect()
    }

    fn conv(&self, name: &str, x: &Matrix, side: usize, kernel: usize) -> Matrix {
        let (w, b) = (self.vector(&format!("{name}.weight")), self.vector(&format!("{name}.bias")));
        self.conv_by(&w, &b, x, side, kernel)
    }

    fn conv_by(&self, w: &[f64], b: &[f64], x: &Matrix, side: usize, kernel: usize) -> Matrix {
        let radius = (kernel / 2) as isize;
        let inside = |v: isize| (0..side as isize).contains(&v).then_some(v as usize);
        b.iter()
            .enumerate()
            .map(|(o, bias)| {
                let mut out = vec![*bias; side * side];
                for (i, plane) in x.iter().enumerate() {
                    for ky in 0..kernel {
                        for kx in 0..kernel {
                            let w = w[((o * x.len() + i) * kernel + ky) * kernel + kx];
                            for y in 0..side {
                                let Some(iy) = inside((y + ky) as isize - radius) else { continue };
                                for x in 0..side {
                                    let Some(ix) = inside((x + kx) as isize - radius) else {
                                        continue;
                                    };
                                    out[y * side + x] += w * plane[iy * side + ix];
                                }
                            }
                        }
                    }
                }
                out
            })
            .collect()
    }
}

fn sum(mut x: Matrix, y: &Matrix) -> Matrix {
    for (x, y) in x.iter_mut().zip(y) {
        x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
    }
    x
}

fn relu(mut x: Matrix) -> Matrix {
    x.iter_mut().flatten().for_each(|v| *v = v.max(0.0));
    x
}

fn gelu(mut x: Matrix) -> Matrix {
    x.iter_mut().flatten().for_each(|v| *v *= 0.5 * (1.0 + erf(*v / 2f64.sqrt())));
    x
}

/// Error function by its Maclaurin series, for the range a network visits; +-1 beyond.
fn erf(x: f64) -> f64 {
    if x.abs() > 5.0 {
        return x.signum();
    }
    let (mut term, mut total) = (x, x);
    for n in 1..200 {
        term *= -x * x / n as f64;
        total += term / (2 * n + 1) as f64;
    }
    total * 2.0 / std::f64::consts::PI.sqrt()
}

fn unit(v: &[f64]) -> Vec<f64> {
    let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
    v.iter().map(|x| x / norm).collect()
}

fn mean_state(states: &[Matrix]) -> Matrix {
    let total = states[1..].iter().fold(states[0].clone(), sum);
    let share = 1.0 / states.len() as f64;
    total.iter().map(|row| row.iter().map(|v| v * share).collect()).collect()
}

/// Bilinear, half-pixel centres, clamped.
fn resize(map: &[f64], from: usize, to: usize) -> Vec<f64> {
    resize_by(map, from, to, |o| (o as f64 + 0.5) * from as f64 / to as f64 - 0.5)
}

/// Bilinear, the first pixels on each other, and the last ones.
fn resize_corners(map: &[f64], from: usize, to: usize) -> Vec<f64> {
    resize_by(map, from, to, |o| o as f64 * (from - 1) as f64 / (to - 1) as f64)
}

fn resize_by(map: &[f64], from: usize, to: usize, place: impl Fn(usize) -> f64) -> Vec<f64> {
    let place = |o: usize| {
        let p = place(o).max(0.0);
        let low = (p as usize).min(from - 1);
        (low, (low + 1).min(from - 1), p - low as f64)
    };
    let mut out = Vec::with_capacity(to * to);
    for y in 0..to {
        let (y0, y1, fy) = place(y);
        for x in 0..to {
            let (x0, x1, fx) = place(x);
            let row = |y: usize| map[y * from + x0] * (1.0 - fx) + map[y * from + x1] * fx;
            out.push(row(y0) * (1.0 - fy) + row(y1) * fy);
        }
    }
    out
}

/// Two-dimensional Gaussian window, normalised, border pixel repeated.
fn gauss(map: &[f64], side: usize, kernel: usize, sigma: f64) -> Vec<f64> {
    let radius = (kernel / 2) as isize;
    let last = side as isize - 1;
    let mut out = Vec::with_capacity(map.len());
    for y in 0..side as isize {
        for x in 0..side as isize {
            let (mut total, mut weights) = (0.0, 0.0);
            for dy in -radius..=radius {
                for dx in -radius..=radius {
                    let w = (-((dx * dx + dy * dy) as f64) / (2.0 * sigma * sigma)).exp();
                    let (iy, ix) = ((y + dy).clamp(0, last), (x + dx).clamp(0, last));
                    total += w * map[iy as usize * side + ix as usize];
                    weights += w;
                }
            }
            out.push(total / weights);
        }
    }
    out
}

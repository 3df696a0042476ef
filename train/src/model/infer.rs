//! The forward pass as the station will run it, on the host and on burn: what the exported graph
//! must equal, and what the segmentation head is trained on.

use burn::tensor::{Device, Tensor};

use super::decoder::Decoder;
use super::head::Head;
use super::lift::{Lifted, host_values, tensor_from};
use super::memory::distance_map;
use crate::arch::{Architecture, HEAD_FLOOR, Weights};
use crate::features::Seen;
use crate::resample::{Axis, smoothing, upsampling};

/// Added to products of norms, so that an all-zero position does not divide by zero.
const NORM_EPS: f32 = 1e-12;

/// How a picture's features differ from the decoder's.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// Sum over groups of `distance.share` times `1 - cos`, by grid position.
    pub distance: Vec<f32>,
    /// Mean over the grid of `1 - cos`, by group.
    pub group_means: Vec<f32>,
    /// Head input `[tokens, C]`: `-C_g * l2norm(E_g) * l2norm(D_g)`.
    pub products: Vec<f32>,
}

/// What enters the bottleneck of standardised features `[rows, C]`: all channels, or the mean of
/// the taps.
pub fn decoder_input(arch: &Architecture, features: &[f32]) -> Vec<f32> {
    if arch.is_projected() {
        return features.to_vec();
    }
    let (width, share) = (arch.input_channels(), 1.0 / arch.taps.len() as f32);
    let mean = |row: &[f32], c: usize| row[c..].iter().step_by(width).sum::<f32>() * share;
    let rows = features.chunks_exact(arch.channels());
    rows.flat_map(|row| (0..width).map(move |c| mean(row, c))).collect()
}

/// Runs the decoder on standardised features of whole pictures (`[pictures * rows, C]`) and
/// compares; no gradients. `device` is one without autodiff.
pub fn compare(
    arch: &Architecture,
    weights: &Weights,
    features: &[f32],
    device: &Device,
) -> Vec<Compared> {
    compare_with(arch, &Lifted::frozen(weights, device), features)
}

/// The same with weights that are lifted already.
pub fn compare_with(arch: &Architecture, lifted: &Lifted<'_>, features: &[f32]) -> Vec<Compared> {
    let (n, c) = (arch.tokens(), arch.channels());
    let rows = arch.rows();
    let pictures = features.len() / (rows * c);
    // Inference sees the mean of the training mask.
    let keep = 1.0 - arch.mask_probability;
    let mut input = decoder_input(arch, features);
    input.iter_mut().for_each(|v| *v *= keep);
    let input = tensor_from(input, [pictures * rows, arch.input_channels()], lifted.device());
    let reading = Decoder::new(lifted, arch).run(input, pictures, None);
    let outputs: Vec<Vec<f32>> = reading.groups.into_iter().map(host_values).collect();
    let shares = shares(arch, lifted.weights());
    let mut all = Vec::with_capacity(pictures);
    for p in 0..pictures {
        let encoded = &features[(p * rows + arch.extra_tokens()) * c..(p + 1) * rows * c];
        let mut one = Compared {
            distance: vec![0.0; n],
            group_means: Vec::with_capacity(shares.len()),
            products: vec![0.0; n * c],
        };
        for ((g, output), share) in outputs.iter().enumerate().zip(&shares) {
            let size = arch.group_channels(g).len();
            one.add_group(arch, (g, *share), encoded, &output[p * n * size..(p + 1) * n * size]);
        }
        all.push(one);
    }
    all
}

impl Compared {
    fn add_group(
        &mut self,
        arch: &Architecture,
        (g, share): (usize, f32),
        encoded: &[f32],
        decoded: &[f32],
    ) {
        let (c, range) = (arch.channels(), arch.group_channels(g));
        let size = range.len();
        let mut sum = 0.0;
        for (t, d) in decoded.chunks_exact(size).enumerate() {
            let e = &encoded[t * c..][range.clone()];
            let out = &mut self.products[t * c..][range.clone()];
            let (mut dot, mut ee, mut dd) = (0f32, 0f32, 0f32);
            for ((o, e), d) in out.iter_mut().zip(e).zip(d) {
                *o = e * d;
                dot += *o;
                ee += e * e;
                dd += d * d;
            }
            let norm = (ee * dd + NORM_EPS).sqrt();
            let distance = 1.0 - dot / norm;
            self.distance[t] += share * distance;
            sum += distance;
            let scale = -(size as f32) / norm;
            out.iter_mut().for_each(|o| *o *= scale);
        }
        self.group_means.push(sum / self.distance.len() as f32);
    }
}

/// What each group's distance counts; before it has been measured, all groups alike.
fn shares(arch: &Architecture, weights: &Weights) -> Vec<f32> {
    let groups = arch.groups.len();
    let measured = weights.get("distance.share").map(|t| t.values.clone());
    measured.unwrap_or_else(|| vec![1.0 / groups as f32; groups])
}

/// Head probabilities, `[pictures][side * side]` with [`Architecture::segmentation_side`].
pub fn segment(
    arch: &Architecture,
    weights: &Weights,
    products: Vec<f32>,
    device: &Device,
) -> Vec<Vec<f32>> {
    let rows = products.len() / arch.channels();
    let input: Tensor<2> = tensor_from(products, [rows, arch.channels()], device);
    let logits = Head::new(&Lifted::frozen(weights, device), arch).run(input);
    let probabilities = host_values(burn::tensor::activation::sigmoid(logits));
    let side = arch.segmentation_side();
    probabilities.chunks_exact(side * side).map(<[f32]>::to_vec).collect()
}

/// `R X R^T` of a square map `x`.
pub fn resample(x: &[f32], axis: &Axis) -> Vec<f32> {
    let (rows, columns) = (axis.rows, axis.columns);
    let m = axis.to_f32();
    let taps: Vec<Vec<(usize, f32)>> = m
        .chunks_exact(columns)
        .map(|row| row.iter().copied().enumerate().filter(|(_, w)| *w != 0.0).collect())
        .collect();
    let mut tall = vec![0f32; rows * columns];
    for (out, taps) in tall.chunks_exact_mut(columns).zip(&taps) {
        for &(i, w) in taps {
            out.iter_mut().zip(&x[i * columns..(i + 1) * columns]).for_each(|(o, v)| *o += w * v);
        }
    }
    let mut wide = Vec::with_capacity(rows * rows);
    for row in tall.chunks_exact(columns) {
        wide.extend(taps.iter().map(|t| t.iter().map(|&(i, w)| w * row[i]).sum::<f32>()));
    }
    wide
}

/// Fused and smoothed map and image score from what the distances ([`distance_map`]) and the head
/// ([`segment`]) say.
pub fn fuse(arch: &Architecture, distance: &[f32], probabilities: &[f32]) -> (Vec<f32>, f32) {
    let map = fused_map(arch, arch.distance_weight, distance, probabilities);
    let score = map_score(arch, &map);
    (map, score)
}

/// The map with another weight `w` of the distances.
pub fn fused_map(arch: &Architecture, w: f32, distance: &[f32], probabilities: &[f32]) -> Vec<f32> {
    let (kernel, sigma) = arch.smoothing;
    let smooth = smoothing(arch.map, kernel, f64::from(sigma));
    let side = arch.segmentation_side();
    let up = smooth.after(&upsampling(side, arch.map));
    if arch.is_projected() {
        let distance = resample(distance, &upsampling(arch.fine_grid(), side));
        let both = distance.iter().zip(probabilities);
        let floor = HEAD_FLOOR as f32;
        let joined: Vec<f32> = both.map(|(d, s)| d.powf(w) * (s + floor).powf(1.0 - w)).collect();
        return resample(&joined, &up);
    }
    let a = resample(distance, &smooth.after(&arch.distance_upsampling()));
    let s = resample(probabilities, &up);
    a.iter().zip(&s).map(|(a, s)| w * a + (1.0 - w) * s).collect()
}

/// Mean of the map's largest pixels.
pub fn map_score(arch: &Architecture, map: &[f32]) -> f32 {
    let mut sorted = map.to_vec();
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    let top = &sorted[..arch.score_pixels()];
    (top.iter().map(|&v| f64::from(v)).sum::<f64>() / top.len() as f64) as f32
}

/// The whole forward pass of one picture: map and score.
pub fn anomaly_map(
    arch: &Architecture,
    weights: &Weights,
    seen: &Seen,
    device: &Device,
) -> (Vec<f32>, f32) {
    let Some(compared) = compare(arch, weights, &seen.features, device).pop() else {
        panic!("the features of one picture are needed")
    };
    let distance = distance_map(arch, weights, seen, compared.distance, device);
    let probabilities = segment(arch, weights, compared.products, device).concat();
    fuse(arch, &distance, &probabilities)
}

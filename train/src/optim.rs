//! StableAdamW on host weights: AdamW with amsgrad whose step is shortened when the gradient is
//! large against its running second moment (update clipping by RMS), after Wortsman et al. 2023. Adam is
//! the same without these three.

use crate::arch::Weights;

/// Settings of the optimiser.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StableAdamW {
    /// Decay of the mean and of the mean square of the gradient.
    pub betas: (f64, f64),
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Update RMS above which the step is shortened; infinite switches the clipping off.
    pub clip_rms: f64,
    /// Whether the largest mean square so far counts instead of the present one.
    pub amsgrad: bool,
}

impl Default for StableAdamW {
    fn default() -> Self {
        Self { betas: (0.9, 0.999), eps: 1e-10, weight_decay: 1e-4, clip_rms: 1.0, amsgrad: true }
    }
}

/// Running moments, by weight name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moments {
    /// Steps taken.
    pub steps: u64,
    /// Mean of the gradient.
    pub mean: Weights,
    /// Mean square of the gradient.
    pub square: Weights,
    /// Largest mean square so far; empty without amsgrad.
    pub square_max: Weights,
}

impl StableAdamW {
    /// Adam (Kingma and Ba, 2015) with its usual settings.
    pub fn adam() -> Self {
        Self {
            eps: 1e-8,
            weight_decay: 0.0,
            clip_rms: f64::INFINITY,
            amsgrad: false,
            ..Self::default()
        }
    }

    /// Moves `weights` one step against `gradients`. Weights without a gradient stay.
    ///
    /// # Panics
    /// When a gradient has no weight of the same name and size.
    pub fn step(&self, weights: &mut Weights, gradients: &Weights, m: &mut Moments, rate: f64) {
        m.steps += 1;
        let (b1, b2) = self.betas;
        let steps = i32::try_from(m.steps).unwrap_or(i32::MAX);
        let (fix1, fix2) = (1.0 - b1.powi(steps), 1.0 - b2.powi(steps));
        for (name, gradient) in gradients {
            let Some(weight) = weights.get_mut(name) else { panic!("no weight named {name}") };
            assert_eq!(weight.shape, gradient.shape, "gradient of {name} has another shape");
            let zero = || {
                let values = vec![0f32; gradient.values.len()];
                crate::arch::HostTensor { shape: gradient.shape.clone(), values }
            };
            let mean = &mut m.mean.entry(name.clone()).or_insert_with(zero).values;
            let square = &mut m.square.entry(name.clone()).or_insert_with(zero).values;
            for (i, &g) in gradient.values.iter().enumerate() {
                mean[i] += (1.0 - b1) as f32 * (g - mean[i]);
                square[i] += (1.0 - b2) as f32 * (g * g - square[i]);
            }
            let top: &[f32] = match self.amsgrad {
                true => {
                    let top = &mut m.square_max.entry(name.clone()).or_insert_with(zero).values;
                    top.iter_mut().zip(square.iter()).for_each(|(top, now)| *top = top.max(*now));
                    top
                }
                false => square,
            };
            let mut ratio = 0f64;
            for (i, &g) in gradient.values.iter().enumerate() {
                let floor = (self.eps * self.eps) as f32;
                ratio += f64::from(g * g / (top[i] / fix2 as f32).max(floor));
            }
            let rms = (ratio / gradient.values.len().max(1) as f64).sqrt();
            let rate = rate / (rms / self.clip_rms).max(1.0);
            let keep = (1.0 - rate * self.weight_decay) as f32;
            let (pace, eps) = ((rate / fix1) as f32, self.eps as f32);
            for (i, w) in weight.values.iter_mut().enumerate() {
                let denominator = (top[i] / fix2 as f32).sqrt() + eps;
                *w = *w * keep - pace * mean[i] / denominator;
            }
        }
    }
}

/// Scales `gradients` so that their common norm is at most `limit`; returns the norm before.
pub fn clip_norm(gradients: &mut Weights, limit: f64) -> f64 {
    let sum = |t: &crate::arch::HostTensor| -> f64 {
        t.values.iter().map(|&g| f64::from(g) * f64::from(g)).sum()
    };
    let norm = gradients.values().map(sum).sum::<f64>().sqrt();
    if norm > limit {
        let factor = (limit / norm) as f32;
        gradients.values_mut().for_each(|t| t.values.iter_mut().for_each(|g| *g *= factor));
    }
    norm
}

#[cfg(test)]
#[path = "../tests/unit/optim.rs"]
mod tests;

//! How loud each part of the distance map is on good parts, so that they can be made comparable.
//!
//! The decoder reproduces some groups of features better than others. Left as they are, the worst
//! reproduced group drowns the others, although its distances say the least.

use burn::tensor::Device;

use super::workers::Workers;
use crate::arch::{Architecture, HostTensor, Weights};
use crate::encoder::EncoderError;
use crate::features::{Cache, Material, Seen, Statistics};
use crate::model::{compare, nearest, surroundings};

/// Pictures that are measured at most, spread over the data set.
const PICTURES_MAX: usize = 96;

/// `distance.share` and `memory.{i}.level` (step 5 of [`crate::arch`]), from the trained decoder on good
/// parts. Nothing in the published scheme.
///
/// # Errors
/// When the encoder fails.
pub(super) fn measure(
    (arch, weights): (&Architecture, &Weights),
    (cache, material, statistics): (&Cache, &Material<'_>, &Statistics),
    device: &Device,
    workers: &Workers,
) -> Result<Weights, EncoderError> {
    if !arch.is_projected() {
        return Ok(Weights::new());
    }
    let step = cache.clean.len().div_ceil(PICTURES_MAX).max(1);
    let pictures: Vec<usize> = (0..cache.clean.len()).step_by(step).collect();
    let told = workers.map(pictures.len(), |at| {
        let picture = pictures[at];
        let rgb = &material.pictures[picture].rgb;
        let seen = Seen {
            features: statistics.standardised(&cache.clean[picture]),
            fine: Seen::fine(arch, material.encoder, statistics, rgb)?,
        };
        let compared = compare(arch, weights, &seen.features, device);
        let groups: Vec<f32> = compared.into_iter().flat_map(|c| c.group_means).collect();
        let strangeness = |i: usize| {
            let all = nearest(weights, i, surroundings(arch, i, &seen), device);
            all.iter().sum::<f32>() / all.len() as f32
        };
        Ok((groups, (0..arch.memories.len()).map(strangeness).collect()))
    });
    let told = told.into_iter().collect::<Result<Vec<(Vec<f32>, Vec<f32>)>, EncoderError>>()?;
    let count = told.len().max(1) as f32;
    let group = |g: usize| told.iter().map(|(groups, _)| groups[g]).sum::<f32>() / count;
    let groups: Vec<f32> = (0..arch.groups.len()).map(group).collect();
    let mut all = Weights::new();
    let mut put = |name: &str, values: Vec<f32>| {
        all.insert(name.to_owned(), HostTensor { shape: vec![values.len()], values });
    };
    let (shares, mean) = shares(&groups);
    put("distance.share", shares);
    for i in 0..arch.memories.len() {
        let strangeness = told.iter().map(|(_, memories)| memories[i]).sum::<f32>() / count;
        put(&format!("memory.{i}.level"), vec![mean / strangeness.max(f32::MIN_POSITIVE)]);
    }
    Ok(all)
}

/// What each group must be multiplied by so that all are equally loud and their sum has the mean
/// of the groups' means, and that mean.
fn shares(means: &[f32]) -> (Vec<f32>, f32) {
    let count = means.len() as f32;
    let mean = means.iter().sum::<f32>() / count;
    (means.iter().map(|m| mean / (count * m.max(f32::MIN_POSITIVE))).collect(), mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_become_equally_loud_and_their_sum_keeps_its_mean() {
        let means = [0.1, 0.3, 0.05];
        let (shares, mean) = shares(&means);
        assert!((mean - 0.15).abs() < 1e-6);
        for (share, own) in shares.iter().zip(means) {
            assert!((share * own - 0.05).abs() < 1e-6, "{shares:?}");
        }
    }
}

//! Good pictures that look unlike the others of their class: a bad part among the good ones, a hand in
//! the picture, the lamp off.
//!
//! Each picture is a list of features; each feature is measured in robust deviations from the
//! class's median, so that the odd ones do not shift what they are held against.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::dataset::Image;

/// Deviations of the distance, beyond which a picture is shown.
const DEVIATIONS_SHOWN: f32 = 5.0;
/// One feature counts at most so many deviations: a channel that is nearly constant says little.
const DEVIATIONS_MAX: f32 = 20.0;
/// Pictures of a class below which nothing is said of it.
const PICTURES_MIN: usize = 8;
/// From the median of absolute deviations to the standard deviation of a normal distribution.
const MAD_TO_DEVIATION: f32 = 1.4826;

/// A good picture that looks unlike the others.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlier {
    /// The file.
    pub path: PathBuf,
    /// Index of its class.
    pub class: usize,
    /// How far from the others, in deviations of their distances.
    pub deviations: f32,
}

/// A training picture with its features.
type Described<'a> = (&'a Image, Vec<f32>);

/// The outliers among `images`, each with its features, farthest first; all lists have one length.
/// A tile is held against those at its own place, and a picture is as odd as its oddest tile.
pub fn outliers(images: &[Described<'_>]) -> Vec<Outlier> {
    let mut alike: BTreeMap<(usize, usize), Vec<&Described<'_>>> = BTreeMap::new();
    for member in images {
        alike.entry((member.0.class, member.0.tile)).or_default().push(member);
    }
    let mut found: Vec<Outlier> = Vec::new();
    for ((class, _), members) in alike {
        if members.len() < PICTURES_MIN {
            continue;
        }
        let rows: Vec<&[f32]> = members.iter().map(|(_, features)| features.as_slice()).collect();
        let far = deviations(&distances(&rows));
        for ((image, _), deviations) in members.into_iter().zip(far) {
            if deviations > DEVIATIONS_SHOWN {
                found.push(Outlier { path: image.path.clone(), class, deviations });
            }
        }
    }
    found.sort_by(|a, b| b.deviations.total_cmp(&a.deviations));
    let mut named = BTreeSet::new();
    found.retain(|odd| named.insert(odd.path.clone()));
    found
}

/// Features without an encoder: the small grey picture and the mean colour.
pub fn glance_features(image: &Image) -> Vec<f32> {
    let grey = image.look.grey.iter().map(|v| f32::from(*v));
    grey.chain(image.look.mean).collect()
}

/// Features of an encoder's answer (`tokens * channels`, channels last): mean and deviation of each
/// channel over the picture, which do not depend on how the part is turned.
pub fn pooled(values: impl ExactSizeIterator<Item = f32>, channels: usize) -> Vec<f32> {
    let rows = (values.len() / channels.max(1)).max(1) as f32;
    let mut sums = vec![(0f32, 0f32); channels];
    for (i, value) in values.enumerate() {
        let (sum, square) = &mut sums[i % channels];
        *sum += value;
        *square += value * value;
    }
    let mean = sums.iter().map(|(sum, _)| sum / rows);
    let deviation =
        sums.iter().map(|(sum, square)| (square / rows - (sum / rows).powi(2)).max(0.0).sqrt());
    mean.chain(deviation).collect()
}

/// Root mean square of each row's deviations from the columns' medians.
fn distances(rows: &[&[f32]]) -> Vec<f32> {
    let columns = rows.first().map_or(0, |row| row.len());
    let mut sums = vec![0f32; rows.len()];
    let scales: Vec<(f32, f32)> =
        (0..columns).map(|c| centre_and_spread(rows.iter().map(|row| row[c]).collect())).collect();
    let mut spreads: Vec<f32> = scales.iter().map(|(_, spread)| *spread).collect();
    let typical = median(&mut spreads);
    for (c, (centre, spread)) in scales.into_iter().enumerate() {
        // A feature that hardly varies must not drown the others.
        let spread = spread.max(0.1 * typical).max(f32::MIN_POSITIVE);
        for (sum, row) in sums.iter_mut().zip(rows) {
            let z = ((row[c] - centre) / spread).clamp(-DEVIATIONS_MAX, DEVIATIONS_MAX);
            *sum += z * z;
        }
    }
    sums.into_iter().map(|sum| (sum / columns.max(1) as f32).sqrt()).collect()
}

/// How many deviations each distance lies above the median distance.
fn deviations(distances: &[f32]) -> Vec<f32> {
    let (centre, spread) = centre_and_spread(distances.to_vec());
    // Distances of pictures that are all alike differ by rounding only.
    let spread = spread.max(0.05 * centre).max(f32::MIN_POSITIVE);
    distances.iter().map(|distance| (distance - centre) / spread).collect()
}

fn centre_and_spread(mut values: Vec<f32>) -> (f32, f32) {
    let centre = median(&mut values);
    values.iter_mut().for_each(|v| *v = (*v - centre).abs());
    (centre, MAD_TO_DEVIATION * median(&mut values))
}

/// 0 for none.
fn median(values: &mut [f32]) -> f32 {
    let middle = values.len() / 2;
    if values.is_empty() {
        return 0.0;
    }
    *values.select_nth_unstable_by(middle, f32::total_cmp).1
}

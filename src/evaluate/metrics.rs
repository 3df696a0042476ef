//! Metrics of one product class and their mean over the classes.

use serde::Serialize;

use super::ranking::{RankMetrics, Ranking};
use super::regions::label_regions;
use crate::frame::AnomalyMap;

/// Scores of one class, collected picture by picture.
#[derive(Clone, Debug, Default)]
pub struct Scores {
    image: Ranking,
    pixel: Ranking,
    good: usize,
    bad: usize,
    masks: usize,
}

impl Scores {
    /// A good part. Its pixels count as negatives when `with_pixels` (the class has masks).
    pub fn push_good(&mut self, map: &AnomalyMap, with_pixels: bool) {
        self.good += 1;
        self.image.push_negative(map.score);
        if with_pixels {
            map.values.iter().for_each(|v| self.pixel.push_negative(*v));
        }
    }

    /// A bad part; `mask` has the map's size and marks the defect. Without one the part counts
    /// for the image metrics only.
    pub fn push_bad(&mut self, map: &AnomalyMap, mask: Option<&[bool]>) {
        self.bad += 1;
        self.image.push_positive(map.score);
        let Some(mask) = mask.filter(|m| m.len() == map.values.len()) else { return };
        self.masks += 1;
        let regions = label_regions(mask, map.width);
        let numbers: Vec<u32> = regions.areas.iter().map(|a| self.pixel.add_region(*a)).collect();
        for (value, label) in map.values.iter().zip(&regions.labels) {
            match label {
                0 => self.pixel.push_negative(*value),
                label => self.pixel.push_region(*value, numbers[*label as usize - 1]),
            }
        }
    }

    /// The class's metrics.
    pub fn metrics(self, class: &str) -> ClassMetrics {
        let image = self.image.metrics();
        let pixel = self.pixel.metrics();
        ClassMetrics {
            class: class.to_owned(),
            good: self.good,
            bad: self.bad,
            masks: self.masks,
            pixel_f1_threshold: pixel.map(|m| m.f1_threshold),
            values: Values::new(image, pixel),
        }
    }
}

/// Metrics of one class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassMetrics {
    /// Product class.
    pub class: String,
    /// Good test pictures.
    pub good: usize,
    /// Bad test pictures.
    pub bad: usize,
    /// Bad pictures with a mask.
    pub masks: usize,
    /// The map value at which the pixel F1 is largest; it knows the masks, so it is for pictures
    /// and reports only.
    pub pixel_f1_threshold: Option<f32>,
    /// The metrics.
    #[serde(flatten)]
    pub values: Values,
}

/// The metrics in 0..=1; absent where they are not defined (no good, no bad, no masks).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Values {
    /// Image AUROC.
    pub image_auroc: Option<f64>,
    /// Image average precision.
    pub image_ap: Option<f64>,
    /// Image F1-max.
    pub image_f1_max: Option<f64>,
    /// Pixel AUROC.
    pub pixel_auroc: Option<f64>,
    /// Pixel average precision.
    pub pixel_ap: Option<f64>,
    /// Pixel F1-max.
    pub pixel_f1_max: Option<f64>,
    /// AUPRO up to a false-positive rate of 0.30.
    pub aupro_030: Option<f64>,
    /// AUPRO up to a false-positive rate of 0.05.
    pub aupro_005: Option<f64>,
}

impl Values {
    /// Column titles in the order of [`Values::columns`].
    pub const TITLES: [&str; 8] =
        ["img AUROC", "img AP", "img F1", "px AUROC", "px AP", "px F1", "AUPRO.30", "AUPRO.05"];

    fn new(image: Option<RankMetrics>, pixel: Option<RankMetrics>) -> Self {
        Self {
            image_auroc: image.map(|m| m.auroc),
            image_ap: image.map(|m| m.ap),
            image_f1_max: image.map(|m| m.f1_max),
            pixel_auroc: pixel.map(|m| m.auroc),
            pixel_ap: pixel.map(|m| m.ap),
            pixel_f1_max: pixel.map(|m| m.f1_max),
            aupro_030: pixel.map(|m| m.aupro[0]),
            aupro_005: pixel.map(|m| m.aupro[1]),
        }
    }

    /// All metrics in the order of [`Values::TITLES`].
    pub fn columns(&self) -> [Option<f64>; 8] {
        [
            self.image_auroc,
            self.image_ap,
            self.image_f1_max,
            self.pixel_auroc,
            self.pixel_ap,
            self.pixel_f1_max,
            self.aupro_030,
            self.aupro_005,
        ]
    }

    fn from_columns(c: [Option<f64>; 8]) -> Self {
        Self {
            image_auroc: c[0],
            image_ap: c[1],
            image_f1_max: c[2],
            pixel_auroc: c[3],
            pixel_ap: c[4],
            pixel_f1_max: c[5],
            aupro_030: c[6],
            aupro_005: c[7],
        }
    }

    /// The mean of each metric over the classes that have it.
    pub fn mean(classes: &[ClassMetrics]) -> Self {
        let mut sums = [(0.0, 0_u32); 8];
        for class in classes {
            for (sum, value) in sums.iter_mut().zip(class.values.columns()) {
                if let Some(value) = value {
                    *sum = (sum.0 + value, sum.1 + 1);
                }
            }
        }
        Self::from_columns(sums.map(|(sum, n)| (n > 0).then(|| sum / f64::from(n))))
    }
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;

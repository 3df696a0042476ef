//! How the finished model does on good pictures and on synthetic damage: for the report only.
//!
//! No picture of the test set is looked at, and nothing is chosen here: the model is finished. Good
//! pictures are those held out of training first; where a class has too few of them, pictures that
//! it was trained on fill up, and the report says how many.

use burn::tensor::Device;
use crrd::evaluate::{Overlay, Ranking};
use crrd::frame::{AnomalyMap, Geometry};
use crrd::image::RgbImage;

use crate::arch::{Architecture, Weights};
use crate::dataset::{Dataset, Split};
use crate::encoder::EncoderError;
use crate::features::{Encode, Purpose, Seen, Statistics, stream};
use crate::model::{compare, distance_map, fused_map, map_score, segment};
use crate::synth::{Synthesizer, foreground};
use crate::trainer::Workers;

/// Good pictures of a class, and damaged ones.
const PICTURES_OF_CLASS: usize = 16;
/// Damaged pictures of a class that are shown.
const SAMPLES_OF_CLASS: usize = 2;
/// Every so many map pixels, along a side, goes into the pixel metric: neighbours say the same.
const PIXEL_STEP: usize = 4;
/// Weights of the distance map that are tried, in tenths.
const TENTHS: u8 = 10;

/// What the validation is made with.
#[derive(Clone, Copy)]
pub struct Bench<'a> {
    /// Shape of the model.
    pub arch: &'a Architecture,
    /// The trained weights, with the taps' statistics.
    pub weights: &'a Weights,
    /// The frozen encoder.
    pub encoder: &'a dyn Encode,
    /// Draws damage.
    pub synthesizer: &'a Synthesizer,
    /// The good pictures.
    pub dataset: &'a Dataset,
    /// Which of them were held out.
    pub split: &'a Split,
    /// Whether the head was trained: without, there is no other weight to be tried.
    pub has_head: bool,
    /// Seeds the damage.
    pub seed: u64,
}

/// A picture and what the model says of it.
#[derive(Clone, Debug)]
pub struct Case {
    /// Index of its class.
    pub class: usize,
    /// With synthetic damage.
    pub is_damaged: bool,
    /// Not trained on.
    pub is_held_out: bool,
    /// Score at each weight of the distance map, 0 to 1 in tenths.
    pub scores: Vec<f32>,
    /// Score at the model's own weight.
    pub score: f32,
    /// Thinned map values at each weight, and whether the pixel is damaged.
    pub(super) pixels: Vec<(Vec<f32>, bool)>,
    /// The overlay (PNG) of a sample.
    pub overlay: Option<Vec<u8>>,
}

/// How the model would do with another weight of the distance map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tried {
    /// Weight of the distance map; the rest is the head's.
    pub weight: f64,
    /// Mean over classes of the image AUROC, good against synthetic damage.
    pub image_auroc: f64,
    /// Mean over classes of the pixel AP on synthetic damage.
    pub pixel_ap: f64,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Validation {
    /// All pictures, class by class.
    pub cases: Vec<Case>,
    /// By weight; none without a head.
    pub tried: Vec<Tried>,
}

impl Bench<'_> {
    /// Runs the model on good and damaged pictures of each class.
    ///
    /// # Errors
    /// When the encoder fails.
    pub fn run(&self, workers: &Workers) -> Result<Validation, EncoderError> {
        let jobs: Vec<(usize, bool, bool)> = (0..self.dataset.classes.len())
            .flat_map(|class| {
                let chosen = self.chosen(class);
                (0..chosen.len())
                    .flat_map(move |i| {
                        let (image, held_out) = chosen[i];
                        [(image, held_out, false), (image, held_out, true)]
                    })
                    .collect::<Vec<_>>()
            })
            .collect();
        let done = workers.map(jobs.len(), |at| {
            let (image, held_out, damaged) = jobs[at];
            let shown = self.shown(&jobs[..at], jobs[at]);
            self.case(image, held_out, damaged, shown)
        });
        let cases = done.into_iter().collect::<Result<Vec<Case>, EncoderError>>()?;
        let tried = tenths().enumerate().filter(|_| self.has_head).filter_map(|(at, weight)| {
            let (image_auroc, pixel_ap) = self.metrics(&cases, at)?;
            Some(Tried { weight, image_auroc, pixel_ap })
        });
        Ok(Validation { tried: tried.collect(), cases })
    }

    /// The pictures of a class with whether they were held out.
    fn chosen(&self, class: usize) -> Vec<(usize, bool)> {
        let of_class = |i: &&usize| self.dataset.images[**i].class == class;
        let held_out = self.split.held_out.iter().filter(of_class).map(|&i| (i, true));
        let trained = self.split.train.iter().filter(of_class).map(|&i| (i, false));
        held_out.chain(trained).take(PICTURES_OF_CLASS).collect()
    }

    /// Whether this damaged picture is among the first of its class.
    fn shown(
        &self,
        before: &[(usize, bool, bool)],
        (image, _, damaged): (usize, bool, bool),
    ) -> bool {
        let class = |i: usize| self.dataset.images[i].class;
        let same = before.iter().filter(|(i, _, d)| *d && class(*i) == class(image)).count();
        damaged && same < SAMPLES_OF_CLASS
    }

    fn case(
        &self,
        image: usize,
        is_held_out: bool,
        is_damaged: bool,
        shown: bool,
    ) -> Result<Case, EncoderError> {
        let arch = self.arch;
        let clean = &self.dataset.images[image];
        let (rgb, mask) = if is_damaged {
            let mut rng = stream(self.seed, Purpose::Validation, image as u64, 0);
            let damaged =
                self.synthesizer.damage(&clean.rgb, foreground(&clean.rgb).as_deref(), &mut rng);
            (damaged.rgb, damaged.mask)
        } else {
            (clean.rgb.clone(), vec![0; arch.input * arch.input])
        };
        let (distance, probabilities) = self.maps(&rgb)?;
        let mixed = |weight: f64| fused_map(arch, weight as f32, &distance, &probabilities);
        let own = mixed(f64::from(arch.distance_weight));
        let score = map_score(arch, &own);
        let maps: Vec<Vec<f32>> = tenths().map(mixed).collect();
        let thinned = (0..arch.map * arch.map).filter(|at| {
            [at % arch.map, at / arch.map].iter().all(|v| v.is_multiple_of(PIXEL_STEP))
        });
        let truth = |at: usize| {
            let side = |v: usize| v * arch.input / arch.map;
            mask[side(at / arch.map) * arch.input + side(at % arch.map)] != 0
        };
        let pixels = thinned.map(|at| (maps.iter().map(|map| map[at]).collect(), truth(at)));
        Ok(Case {
            class: clean.class,
            is_damaged,
            is_held_out,
            scores: maps.iter().map(|map| map_score(arch, map)).collect(),
            score,
            pixels: pixels.collect(),
            overlay: if shown { self.overlay(rgb, own, score, &mask) } else { None },
        })
    }

    /// What the distances and the head say, before they are fused.
    fn maps(&self, rgb: &[u8]) -> Result<(Vec<f32>, Vec<f32>), EncoderError> {
        let values = |name: &str| self.weights.get(name).map_or(vec![], |t| t.values.clone());
        let statistics = Statistics { mean: values("taps.mean"), deviation: values("taps.std") };
        let (arch, device) = (self.arch, Device::flex());
        let seen = Seen::new(arch, self.encoder, &statistics, rgb)?;
        let Some(compared) = compare(arch, self.weights, &seen.features, &device).pop() else {
            return Ok((Vec::new(), Vec::new()));
        };
        let distance = distance_map(arch, self.weights, &seen, compared.distance, &device);
        Ok((distance, segment(arch, self.weights, compared.products, &device).concat()))
    }

    fn overlay(&self, rgb: Vec<u8>, map: Vec<f32>, score: f32, mask: &[u8]) -> Option<Vec<u8>> {
        let (side, map_side) = (self.arch.input, self.arch.map);
        let truth: Vec<bool> = mask.iter().map(|m| *m != 0).collect();
        let truth = crrd::evaluate::resize_mask(&truth, (side, side), (map_side, map_side));
        let picture = RgbImage { width: side, height: side, data: rgb };
        let map = AnomalyMap { width: map_side, height: map_side, values: map, score };
        let overlay = Overlay {
            picture: &picture,
            geometry: Geometry::WHOLE,
            map: &map,
            threshold: None,
            truth: Some(&truth),
        };
        overlay.png().ok()
    }

    /// Image AUROC and pixel AP at weight number `at`, means over the classes that have both.
    fn metrics(&self, cases: &[Case], at: usize) -> Option<(f64, f64)> {
        let (mut image, mut pixel) = (Vec::new(), Vec::new());
        for class in 0..self.dataset.classes.len() {
            let mut images = Ranking::with_capacity(2 * PICTURES_OF_CLASS);
            let mut pixels = Ranking::with_capacity(0);
            for case in cases.iter().filter(|case| case.class == class) {
                match case.is_damaged {
                    true => images.push_positive(case.scores[at]),
                    false => images.push_negative(case.scores[at]),
                }
                let area = case.pixels.iter().filter(|(_, damaged)| *damaged).count() as u32;
                let region = (area > 0).then(|| pixels.add_region(area));
                for (values, damaged) in &case.pixels {
                    match region.filter(|_| *damaged) {
                        Some(region) => pixels.push_region(values[at], region),
                        None => pixels.push_negative(values[at]),
                    }
                }
            }
            image.extend(images.metrics().map(|m| m.auroc));
            pixel.extend(pixels.metrics().map(|m| m.ap));
        }
        let mean = |v: &[f64]| (!v.is_empty()).then(|| v.iter().sum::<f64>() / v.len() as f64);
        mean(&image).zip(mean(&pixel))
    }
}

fn tenths() -> impl Iterator<Item = f64> {
    (0..=TENTHS).map(|tenth| f64::from(tenth) / f64::from(TENTHS))
}

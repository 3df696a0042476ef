//! Threshold-free metrics from one sort.
//!
//! Every sample is packed into 64 bits: the score's order-preserving bits above, the region it
//! belongs to below (0 = negative). One unstable sort of integers and one walk over the distinct
//! scores give AUROC, AP, F1-max and AUPRO together; ten million pixels take about a second.
//!
//! Definitions (thresholds run over the distinct scores, from the largest down, `score >= t` is a
//! detection):
//! - AUROC: trapezoid under (FPR, TPR); ties count half, as the Mann-Whitney statistic.
//! - AP: sum of (recall step x precision), no interpolation, as scikit-learn's
//!   `average_precision_score`.
//! - F1-max: the largest 2 TP / (2 TP + FP + FN).
//! - AUPRO at limit L: trapezoid under (FPR, PRO) from FPR 0 to L, the last trapezoid cut at L by
//!   linear interpolation, divided by L; PRO is the mean over regions of the detected fraction of
//!   the region (Bergmann et al., MVTec AD).

/// Samples and the areas of their regions.
#[derive(Clone, Debug, Default)]
pub struct Ranking {
    keys: Vec<u64>,
    /// Pixels of each region; region numbers start at 1.
    areas: Vec<u32>,
}

/// Limits of the false-positive rate for AUPRO: the usual one and the strict one.
pub const AUPRO_LIMITS: [f64; 2] = [0.30, 0.05];

/// What the ranking says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RankMetrics {
    /// Area under the ROC curve.
    pub auroc: f64,
    /// Average precision.
    pub ap: f64,
    /// Largest F1 over all thresholds.
    pub f1_max: f64,
    /// The score at which F1 is largest; it knows the labels, so it is for pictures and reports
    /// only, never for production.
    pub f1_threshold: f32,
    /// AUPRO at [`AUPRO_LIMITS`].
    pub aupro: [f64; 2],
}

impl Ranking {
    /// Room for `samples`.
    pub fn with_capacity(samples: usize) -> Self {
        Self { keys: Vec::with_capacity(samples), areas: Vec::new() }
    }

    /// A good sample. NaN ranks above everything: an engine's failure is never a quiet miss.
    pub fn push_negative(&mut self, score: f32) {
        self.keys.push(key(score, 0));
    }

    /// A bad sample that is a region of its own (image-level metrics).
    pub fn push_positive(&mut self, score: f32) {
        let region = self.add_region(1);
        self.keys.push(key(score, region));
    }

    /// Announces a region of `area` samples and returns its number.
    pub fn add_region(&mut self, area: u32) -> u32 {
        self.areas.push(area);
        self.areas.len() as u32
    }

    /// A sample of a region made by [`Ranking::add_region`].
    pub fn push_region(&mut self, score: f32, region: u32) {
        debug_assert!(region >= 1 && region as usize <= self.areas.len());
        self.keys.push(key(score, region));
    }

    /// Samples so far.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The metrics; `None` when there is no good or no bad sample, then none is defined.
    pub fn metrics(mut self) -> Option<RankMetrics> {
        let positives = self.keys.iter().filter(|k| region_of(**k) > 0).count() as u64;
        let negatives = self.keys.len() as u64 - positives;
        if positives == 0 || negatives == 0 {
            return None;
        }
        self.keys.sort_unstable_by(|a, b| b.cmp(a));
        let regions = self.areas.len() as f64;
        let weights: Vec<f64> = self.areas.iter().map(|a| 1.0 / f64::from(*a) / regions).collect();
        let mut walk = Walk::new(positives, negatives);
        let mut f1_threshold = f32::NAN;
        for tie in self.keys.chunk_by(|a, b| a >> 32 == b >> 32) {
            let (mut tp, mut fp, mut pro) = (0, 0, 0.0);
            for key in tie {
                match region_of(*key) {
                    0 => fp += 1,
                    region => {
                        tp += 1;
                        pro += weights[region as usize - 1];
                    }
                }
            }
            if walk.step(tp, fp, pro) {
                f1_threshold = score_of(tie[0]);
            }
        }
        Some(walk.finish(f1_threshold))
    }
}

/// Running sums over the distinct scores.
struct Walk {
    positives: u64,
    negatives: u64,
    tp: u64,
    fp: u64,
    pro: f64,
    /// Twice the area under (fp, tp) in whole samples: exact.
    roc_twice: u128,
    ap: f64,
    f1_max: f64,
    aupro: [f64; 2],
}

impl Walk {
    fn new(positives: u64, negatives: u64) -> Self {
        Self {
            positives,
            negatives,
            tp: 0,
            fp: 0,
            pro: 0.0,
            roc_twice: 0,
            ap: 0.0,
            f1_max: 0.0,
            aupro: [0.0; 2],
        }
    }

    /// All samples of one score at once: `tp` bad and `fp` good ones, `pro` more region overlap.
    /// Whether F1 is the largest so far.
    fn step(&mut self, tp: u64, fp: u64, pro: f64) -> bool {
        let (tp_before, fpr_before, pro_before) = (self.tp, self.fpr(), self.pro);
        self.tp += tp;
        self.fp += fp;
        self.pro += pro;
        self.roc_twice += u128::from(fp) * u128::from(tp_before + self.tp);
        let precision = self.tp as f64 / (self.tp + self.fp) as f64;
        self.ap += tp as f64 / self.positives as f64 * precision;
        // 2 TP + FP + FN = TP + FP + positives
        let f1 = 2.0 * self.tp as f64 / (self.tp + self.fp + self.positives) as f64;
        let best = f1 > self.f1_max;
        self.f1_max = self.f1_max.max(f1);
        let fpr = self.fpr();
        for (area, limit) in self.aupro.iter_mut().zip(AUPRO_LIMITS) {
            *area += trapezoid_below(limit, (fpr_before, pro_before), (fpr, self.pro));
        }
        best
    }

    fn fpr(&self) -> f64 {
        self.fp as f64 / self.negatives as f64
    }

    fn finish(self, f1_threshold: f32) -> RankMetrics {
        let pairs = 2.0 * self.positives as f64 * self.negatives as f64;
        let [usual, strict] = self.aupro;
        RankMetrics {
            auroc: self.roc_twice as f64 / pairs,
            ap: self.ap,
            f1_max: self.f1_max,
            f1_threshold,
            aupro: [usual / AUPRO_LIMITS[0], strict / AUPRO_LIMITS[1]],
        }
    }
}

/// Area under the line from `a` to `b` as far as x <= `limit`.
fn trapezoid_below(limit: f64, a: (f64, f64), b: (f64, f64)) -> f64 {
    if a.0 >= limit || b.0 <= a.0 {
        return 0.0;
    }
    let end = b.0.min(limit);
    let y = a.1 + (b.1 - a.1) * (end - a.0) / (b.0 - a.0);
    (end - a.0) * (a.1 + y) / 2.0
}

/// Sorts as the score does (-0 below +0, NaN on top), then by region.
fn key(score: f32, region: u32) -> u64 {
    let score = if score.is_nan() { f32::NAN } else { score + 0.0 };
    let bits = score.to_bits();
    let ordered = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    u64::from(ordered) << 32 | u64::from(region)
}

/// The score inside a key; -0 has become +0.
fn score_of(key: u64) -> f32 {
    let ordered = (key >> 32) as u32;
    f32::from_bits(if ordered >> 31 == 1 { ordered ^ 1 << 31 } else { !ordered })
}

fn region_of(key: u64) -> u32 {
    key as u32
}

#[cfg(test)]
#[path = "ranking_tests.rs"]
mod tests;

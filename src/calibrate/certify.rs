//! From the scores of good parts to a certified limit.
//!
//! The claim, for any distribution of scores: with probability `confidence` over the choice of
//! the calibration parts, the limit rejects at most a fraction `alpha` of all good parts. It
//! needs only that calibration parts and later parts are drawn alike. Ties make the true rate
//! smaller, never larger: the limit itself passes.

use super::binomial::largest_with_cdf_below;

/// Most parts that [`parts_needed`] and the error message will name: beyond it, the wish is not
/// practical (`alpha` around one in a million).
const PARTS_MAX: u64 = 1_000_000_000;

/// A certified limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    /// Good parts above the limit; with ties fewer than the certificate would allow.
    pub k: u32,
    /// A part passes with a score not above this; always one of the scores.
    pub limit: f32,
}

/// Why no limit can be certified.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct CertifyError {
    kind: CertifyErrorKind,
    message: String,
}

/// What stands in the way of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertifyErrorKind {
    /// There are not enough good parts; `missing` more are needed.
    TooFew {
        /// Good parts still to be collected.
        missing: u64,
    },
    /// A score is NaN or infinite.
    NotFinite,
    /// `alpha` or `confidence` is not a fraction strictly between 0 and 1.
    Parameters,
}

impl CertifyError {
    fn new(kind: CertifyErrorKind, message: String) -> Self {
        Self { kind, message }
    }

    /// What stands in the way.
    pub fn kind(&self) -> CertifyErrorKind {
        self.kind
    }
}

/// The lowest limit on `scores` of good parts (any order) that certifies a false-reject rate of
/// at most `alpha` with `confidence`: the (n-k)-th smallest score, where k is the largest with
/// BinomialCDF(k; n, alpha) <= 1 - confidence.
///
/// # Errors
/// When there are too few parts (the message says how many more), a score is not finite, or a
/// parameter is out of range. There is no fallback.
pub fn certify(scores: &[f32], alpha: f64, confidence: f64) -> Result<Bound, CertifyError> {
    let needed = parts_needed(alpha, confidence)?;
    if let Some(at) = scores.iter().position(|s| !s.is_finite()) {
        let message = format!(
            "score {} of {} is {}: find out why the engine gives no score for this part",
            at + 1,
            scores.len(),
            scores[at]
        );
        return Err(CertifyError::new(CertifyErrorKind::NotFinite, message));
    }
    let n = scores.len() as u64;
    let Some(allowed) = largest_with_cdf_below(n, alpha, 1.0 - confidence).filter(|&k| k < n)
    else {
        return Err(too_few(n, needed, alpha, confidence));
    };
    let mut sorted = scores.to_vec();
    sorted.sort_by(f32::total_cmp);
    let limit = sorted[(n - allowed - 1) as usize];
    Ok(Bound { k: above(&sorted, limit), limit })
}

/// Scores strictly above `limit`, counted by comparison as the judge does.
pub(super) fn above(scores: &[f32], limit: f32) -> u32 {
    scores.iter().filter(|&&s| s > limit).count() as u32
}

fn too_few(have: u64, needed: u64, alpha: f64, confidence: f64) -> CertifyError {
    // The threshold of `needed` and of the exact sum are the same inequality, so that at least
    // one part is missing here; `max` guards against the last bit of rounding.
    let missing = needed.saturating_sub(have).max(1);
    let message = format!(
        "need {missing} more good parts: a false-reject rate of at most {} % cannot be certified \
         with {} % confidence from {have} parts, at least {needed} are needed; or choose a larger \
         alpha",
        percent(alpha),
        percent(confidence),
    );
    CertifyError::new(CertifyErrorKind::TooFew { missing }, message)
}

/// A fraction in per cent without the noise of binary fractions.
fn percent(fraction: f64) -> f64 {
    (fraction * 1e8).round() / 1e6
}

/// The fewest good parts from which any limit (then their largest score) can be certified:
/// the smallest n with (1 - alpha)^n <= 1 - confidence.
///
/// # Errors
/// When a parameter is not strictly between 0 and 1, or the answer is beyond all practice.
pub fn parts_needed(alpha: f64, confidence: f64) -> Result<u64, CertifyError> {
    for (name, value) in [("alpha", alpha), ("confidence", confidence)] {
        if !(value > 0.0 && value < 1.0) {
            let message = format!("{name} is {value}: give a fraction between 0 and 1");
            return Err(CertifyError::new(CertifyErrorKind::Parameters, message));
        }
    }
    let delta = 1.0 - confidence;
    let estimate = (delta.ln() / (-alpha).ln_1p()).ceil();
    if estimate.is_nan() || estimate >= PARTS_MAX as f64 {
        let message = format!(
            "alpha {alpha} would need more than {PARTS_MAX} good parts: choose a larger one"
        );
        return Err(CertifyError::new(CertifyErrorKind::Parameters, message));
    }
    // The quotient of logarithms may be off by one in the last bit; the definition decides.
    let enough = |n: u64| chance_of_none(n, alpha) <= delta;
    let start = (estimate as u64).saturating_sub(1).max(1);
    Ok((start..start + 3).find(|&n| enough(n)).unwrap_or(start + 3))
}

/// Chance that none of `n` good parts is among the worst fraction `alpha` of all.
fn chance_of_none(n: u64, alpha: f64) -> f64 {
    (n as f64 * (-alpha).ln_1p()).exp()
}

/// Conformal p-value of a score against ascending calibration scores:
/// (1 + #{calibration >= score}) / (n + 1). Small = unlike the good parts; 0 for NaN, which is
/// unlike anything.
pub fn p_value(sorted: &[f32], score: f32) -> f32 {
    if score.is_nan() {
        return 0.0;
    }
    let below = sorted.partition_point(|&s| s < score);
    (1 + sorted.len() - below) as f32 / (sorted.len() + 1) as f32
}

/// Indices of the `count` highest scores, highest first: the pictures an operator should look at
/// before accepting a calibration, since a bad part among the good ones raises the limit. NaN
/// counts as highest.
pub fn most_suspicious(scores: &[f32], count: usize) -> Vec<usize> {
    let rank = |s: f32| if s.is_nan() { f32::INFINITY } else { s };
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| rank(scores[b]).total_cmp(&rank(scores[a])));
    order.truncate(count);
    order
}

#[cfg(test)]
#[path = "certify_tests.rs"]
mod tests;

//! The self-check: an engine must reproduce its bundle's golden answers on this machine.
//!
//! A wrong driver, a wrong instruction set or a half-written file shows here, before the first
//! part, and not as a missed defect.

use super::bundle::{Bundle, GoldenCase};
use super::{Engine, EngineError, EngineErrorKind};
use crate::frame::AnomalyMap;

/// What the self-check measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SelfCheck {
    /// Golden pictures run.
    pub pictures: usize,
    /// Largest difference of a map value; NaN when the engine gave one that is not finite.
    pub map_diff_max: f32,
    /// Largest difference of a score; NaN likewise.
    pub score_diff_max: f32,
    /// Largest difference allowed: tolerance times the golden maps' range.
    pub diff_allowed: f32,
}

impl SelfCheck {
    /// The worst difference; NaN when any is.
    pub fn diff_max(&self) -> f32 {
        worse(self.map_diff_max, self.score_diff_max)
    }

    /// Whether the engine of the bundle at `place` may be used.
    ///
    /// # Errors
    /// `SelfCheck` with the measured differences when they exceed what is allowed or are not finite.
    pub(super) fn check(&self, place: &str) -> Result<(), EngineError> {
        // `<=` is false for NaN: an engine that answers NaN cannot pass.
        if self.diff_max() <= self.diff_allowed {
            return Ok(());
        }
        Err(EngineError::new(
            EngineErrorKind::SelfCheck,
            format!(
                "{place}: the golden pictures are not reproduced: map differs by up to {:.3e}, score by \
                 up to {:.3e}, allowed is {:.3e}; the model does not run correctly on this machine: copy \
                 the bundle again, then try another backend",
                self.map_diff_max, self.score_diff_max, self.diff_allowed
            ),
        ))
    }
}

/// Runs the golden pictures of `bundle` through `engine` and tells how far it is from their answers.
///
/// # Errors
/// The engine's own error when it fails.
pub fn measure(engine: &mut dyn Engine, bundle: &Bundle) -> Result<SelfCheck, EngineError> {
    let golden = bundle.golden();
    let allowed = bundle.manifest().golden.tolerance * golden.range();
    compare(golden.cases(), allowed, |input, map| engine.infer(input, map))
}

/// Gives the inputs of `cases` to `run` and tells how far it is from their answers.
///
/// # Errors
/// Those of `run`.
pub(super) fn compare(
    cases: &[GoldenCase],
    diff_allowed: f32,
    mut run: impl FnMut(&[u8], &mut AnomalyMap) -> Result<(), EngineError>,
) -> Result<SelfCheck, EngineError> {
    let mut map = AnomalyMap::default();
    let mut found =
        SelfCheck { pictures: cases.len(), map_diff_max: 0.0, score_diff_max: 0.0, diff_allowed };
    for case in cases {
        run(&case.image, &mut map)?;
        found.map_diff_max = worse(found.map_diff_max, diff_max(&map.values, &case.map));
        found.score_diff_max = worse(found.score_diff_max, (map.score - case.score).abs());
    }
    Ok(found)
}

/// Runs the golden pictures of `bundle` through `engine`, which must give their answers.
///
/// # Errors
/// `SelfCheck` with the measured differences when they exceed the bundle's tolerance or are not
/// finite; the engine's own error when it fails.
pub fn self_check(engine: &mut dyn Engine, bundle: &Bundle) -> Result<SelfCheck, EngineError> {
    let allowed = bundle.manifest().golden.tolerance * bundle.golden().range();
    self_check_within(engine, bundle, allowed)
}

/// The same for an engine of another arithmetic: within `diff_allowed`, in units of the map.
///
/// # Errors
/// As [`self_check`].
pub fn self_check_within(
    engine: &mut dyn Engine,
    bundle: &Bundle,
    diff_allowed: f32,
) -> Result<SelfCheck, EngineError> {
    let found = SelfCheck { diff_allowed, ..measure(engine, bundle)? };
    found.check(bundle.place()).map(|()| found)
}

fn diff_max(a: &[f32], b: &[f32]) -> f32 {
    if a.len() != b.len() {
        return f32::NAN;
    }
    a.iter().zip(b).fold(0.0, |worst, (x, y)| worse(worst, (x - y).abs()))
}

/// The larger, NaN when either is NaN (`f32::max` would drop it).
fn worse(a: f32, b: f32) -> f32 {
    if a.is_nan() || b.is_nan() { f32::NAN } else { a.max(b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nan_anywhere_makes_the_difference_nan() {
        assert!(diff_max(&[0.0, f32::NAN, 0.0], &[0.0; 3]).is_nan());
        assert!(diff_max(&[0.0; 2], &[0.0; 3]).is_nan());
        assert_eq!(diff_max(&[1.0, 2.0], &[1.5, 2.0]), 0.5);
        assert!(worse(f32::NAN, 1.0).is_nan() && worse(1.0, f32::NAN).is_nan());
    }
}

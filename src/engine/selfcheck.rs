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

    /// The worse differences of two checks of the same pictures.
    pub(super) fn worse_of(self, other: &Self) -> Self {
        Self {
            map_diff_max: worse(self.map_diff_max, other.map_diff_max),
            score_diff_max: worse(self.score_diff_max, other.score_diff_max),
            ..self
        }
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

/// Runs the golden pictures of `bundle` through `engine` and tells how far it is from their answers,
/// and how far an engine of its arithmetic may be.
///
/// # Errors
/// The engine's own error when it fails.
pub fn measure(engine: &mut dyn Engine, bundle: &Bundle) -> Result<SelfCheck, EngineError> {
    let allowed = engine.spec().precision.diff_allowed(bundle);
    compare(bundle.golden().cases(), allowed, |input, map| engine.infer(input, map))
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
/// `SelfCheck` with the measured differences when they exceed what the engine's arithmetic is allowed or
/// are not finite; the engine's own error when it fails.
pub fn self_check(engine: &mut dyn Engine, bundle: &Bundle) -> Result<SelfCheck, EngineError> {
    let found = measure(engine, bundle)?;
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
    use crate::engine::bundle::BundleSource;
    use crate::engine::{ModelSpec, ScriptedEngine};
    use crate::frame::Precision;

    #[test]
    fn an_engine_is_held_to_the_tolerance_of_its_own_arithmetic() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/engines/demo");
        let bundle = Bundle::load(&BundleSource::Dir(folder.into())).unwrap();
        // Wrong by half a percent of the range: good for 16 bits, and a fault in 32.
        let off = 0.005 * bundle.golden().range();
        let checked = |precision| {
            let spec = ModelSpec { precision, ..bundle.spec() };
            let cases = bundle.golden().cases().to_vec();
            let mut engine = ScriptedEngine::new(spec, move |input, map| {
                let case = cases.iter().find(|case| case.image == input).unwrap();
                map.values.iter_mut().zip(&case.map).for_each(|(v, golden)| *v = golden + off);
                map.score = case.score + off;
                Ok(())
            });
            self_check(&mut engine, &bundle)
        };
        let found = checked(Precision::Fp16).unwrap();
        assert_eq!(found.diff_allowed, bundle.half_diff_allowed());
        assert_eq!(checked(Precision::Fp32).unwrap_err().kind(), EngineErrorKind::SelfCheck);
    }

    #[test]
    fn a_nan_anywhere_makes_the_difference_nan() {
        assert!(diff_max(&[0.0, f32::NAN, 0.0], &[0.0; 3]).is_nan());
        assert!(diff_max(&[0.0; 2], &[0.0; 3]).is_nan());
        assert_eq!(diff_max(&[1.0, 2.0], &[1.5, 2.0]), 0.5);
        assert!(worse(f32::NAN, 1.0).is_nan() && worse(1.0, f32::NAN).is_nan());
    }
}

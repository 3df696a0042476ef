//! Whether limits may judge what an engine says.

use super::Calibration;
use crate::frame::Precision;

/// Limits that were made with something else than the engine at hand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct MisfitError {
    kind: MisfitKind,
    message: String,
}

/// What does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MisfitKind {
    /// They were made with another model.
    Model,
    /// They were made with this model in another arithmetic.
    Precision,
}

impl MisfitError {
    /// What does not fit.
    pub fn kind(&self) -> MisfitKind {
        self.kind
    }
}

impl Calibration {
    /// Whether the limits may be used with the engine of this model hash that computes in
    /// `precision`: they speak about scores, and those of another model or arithmetic are others.
    ///
    /// # Errors
    /// When they may not; the message says what to do.
    pub fn check_engine(
        &self,
        engine_sha256: &str,
        precision: Precision,
    ) -> Result<(), MisfitError> {
        if self.engine_sha256 != engine_sha256 {
            let message = format!(
                "the limits were made for the engine {:.12}, and this one is {engine_sha256:.12}: \
                 run `crrd calibrate` with this engine, or name the engine they belong to",
                self.engine_sha256
            );
            return Err(MisfitError { kind: MisfitKind::Model, message });
        }
        if self.precision != precision {
            let (made, kind) = (self.precision, MisfitKind::Precision);
            let message = format!(
                "the limits were made in {made}, and this engine computes in {precision}: its scores \
                 are others. Run `crrd calibrate` {}, or {}",
                by(precision),
                instead(made)
            );
            return Err(MisfitError { kind, message });
        }
        Ok(())
    }
}

/// How limits of this arithmetic are made.
fn by(precision: Precision) -> &'static str {
    match precision {
        Precision::Fp32 => "with `--precision fp32`",
        Precision::Fp16 => "on this device with `--backend tensorrt --precision fp16`",
    }
}

/// How limits of this arithmetic are met.
fn instead(made: Precision) -> &'static str {
    match made {
        Precision::Fp32 => "let the engine compute in 32 bits (`inference.precision = \"fp32\"`)",
        Precision::Fp16 => {
            "let a GPU compute in 16 bits (`inference.precision = \"fp16\"`, `--backend tensorrt \
             --precision fp16`); a CPU cannot use them"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::file::tests::sample;

    #[test]
    fn limits_hold_for_their_model_and_arithmetic_and_for_no_other() {
        use MisfitKind::{Model, Precision as Arithmetic};
        use Precision::{Fp16, Fp32};
        let own = "0123456789abcdef".repeat(4);
        let other = "f123456789abcdef".repeat(4);
        for (made, sha256, computes, misfit) in [
            (Fp32, own.as_str(), Fp32, None),
            (Fp16, &own, Fp16, None),
            (Fp32, &own, Fp16, Some(Arithmetic)),
            (Fp16, &own, Fp32, Some(Arithmetic)),
            (Fp32, &other, Fp32, Some(Model)),
            (Fp16, &other, Fp32, Some(Model)),
            (Fp32, "", Fp32, Some(Model)),
        ] {
            let calibration = Calibration { precision: made, ..sample() };
            let found = calibration.check_engine(sha256, computes).err();
            assert_eq!(found.map(|e| e.kind()), misfit, "{made} {sha256} {computes}");
        }
    }

    #[test]
    fn a_misfit_says_what_was_made_how_and_what_to_do() {
        let sha256 = sample().engine_sha256;
        for (made, computes, says) in [
            (Precision::Fp16, Precision::Fp32, ["made in 16 bits", "--precision fp32", "\"fp16\""]),
            (Precision::Fp32, Precision::Fp16, ["made in 32 bits", "--precision fp16", "\"fp32\""]),
        ] {
            let calibration = Calibration { precision: made, ..sample() };
            let text = calibration.check_engine(&sha256, computes).unwrap_err().to_string();
            assert!(says.iter().all(|says| text.contains(says)), "{text}");
        }
        let text = sample().check_engine("abc", Precision::Fp32).unwrap_err().to_string();
        assert!(text.contains("0123456789ab,") && text.contains("this one is abc"), "{text}");
    }
}

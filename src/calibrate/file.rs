//! The calibration file: TOML text <-> [`Calibration`], and what must hold in it.
//!
//! The file is trusted by nobody: whoever reads one gets a record whose every limit follows from
//! its own scores, or an error that names the class and the field. A flipped digit in a limit
//! cannot let bad parts pass.

use sha2::{Digest, Sha256};

use super::certify::{above, certify};
use super::{Calibration, CalibrationId, ClassLimit};

/// Version of the file format that this program reads and writes.
pub const FORMAT: u32 = 1;
/// Longest class name in bytes: it is a folder name and goes into records and file names.
const CLASS_NAME_BYTES_MAX: usize = 64;

/// A calibration that must not be used.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CalibrationError {
    kind: CalibrationErrorKind,
    message: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What is wrong with a calibration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CalibrationErrorKind {
    /// Not TOML, or not the fields of a calibration.
    Syntax,
    /// Written by a program with another file format.
    Format,
    /// The fields contradict each other or are out of range: corrupted or edited by hand.
    Inconsistent,
}

impl CalibrationError {
    /// What is wrong.
    pub fn kind(&self) -> CalibrationErrorKind {
        self.kind
    }

    fn inconsistent(place: impl std::fmt::Display, problem: impl std::fmt::Display) -> Self {
        Self {
            kind: CalibrationErrorKind::Inconsistent,
            message: format!("{place}: {problem}; the calibration is damaged, calibrate again"),
            source: None,
        }
    }
}

impl Calibration {
    /// Reads a calibration and checks it.
    ///
    /// # Errors
    /// When the text is not a calibration of this format or [`Calibration::check_invariants`]
    /// refuses it.
    pub fn from_toml(text: &str) -> Result<Self, CalibrationError> {
        // The version first: a newer format has other fields, and "unknown field" would mislead.
        #[derive(serde::Deserialize)]
        struct Version {
            format: u32,
        }
        let syntax = |source: toml::de::Error| CalibrationError {
            kind: CalibrationErrorKind::Syntax,
            message: "not a calibration file".to_owned(),
            source: Some(source.into()),
        };
        let Version { format } = toml::from_str(text).map_err(syntax)?;
        if format != FORMAT {
            return Err(CalibrationError {
                kind: CalibrationErrorKind::Format,
                message: format!(
                    "calibration format {format} is not {FORMAT}, the one this program reads; \
                     calibrate again with this version"
                ),
                source: None,
            });
        }
        let calibration: Self = toml::from_str(text).map_err(syntax)?;
        calibration.check_invariants()?;
        Ok(calibration)
    }

    /// The text of the calibration file.
    ///
    /// # Errors
    /// When this is no valid calibration, so that an invalid one is never written.
    pub fn to_toml(&self) -> Result<String, CalibrationError> {
        self.check_invariants()?;
        toml::to_string(self).map_err(|source| CalibrationError {
            kind: CalibrationErrorKind::Syntax,
            message: "the calibration cannot be written as TOML".to_owned(),
            source: Some(source.into()),
        })
    }

    /// The id that travels with every verdict: the first 32 bits of the SHA-256 of
    /// [`Calibration::to_toml`], and so of the file, unless somebody reformatted it.
    ///
    /// # Errors
    /// As [`Calibration::to_toml`].
    pub fn id(&self) -> Result<CalibrationId, CalibrationError> {
        let hash: [u8; 32] = Sha256::digest(self.to_toml()?).into();
        Ok(CalibrationId(u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]])))
    }

    /// The limit of a product class.
    pub fn limit(&self, class: &str) -> Option<&ClassLimit> {
        self.class.get(class)
    }

    /// Checks everything that this record can prove about itself.
    ///
    /// # Errors
    /// The first contradiction, with its place.
    pub fn check_invariants(&self) -> Result<(), CalibrationError> {
        if self.format != FORMAT {
            return Err(CalibrationError::inconsistent(
                "format",
                format!("is {}, not {FORMAT}", self.format),
            ));
        }
        if !is_hex(&self.engine_sha256, 64) {
            return Err(CalibrationError::inconsistent(
                "engine_sha256",
                "is not 64 lower-case hex digits",
            ));
        }
        if self.previous.as_ref().is_some_and(|p| !is_hex(p, 8)) {
            return Err(CalibrationError::inconsistent(
                "previous",
                "is not 8 lower-case hex digits",
            ));
        }
        for (name, value) in [("alpha", self.alpha), ("confidence", self.confidence)] {
            if !(value > 0.0 && value < 1.0) {
                return Err(CalibrationError::inconsistent(
                    name,
                    format!("{value} is not between 0 and 1"),
                ));
            }
        }
        if self.class.is_empty() {
            return Err(CalibrationError::inconsistent("class", "there is none"));
        }
        for (name, limit) in &self.class {
            if name.is_empty()
                || name.len() > CLASS_NAME_BYTES_MAX
                || name.contains(char::is_control)
            {
                return Err(CalibrationError::inconsistent(
                    "class",
                    format!("{name:?} is not a name of 1 to {CLASS_NAME_BYTES_MAX} bytes"),
                ));
            }
            limit.check(self.alpha, self.confidence).map_err(|(field, problem)| {
                CalibrationError::inconsistent(format!("class.{name}.{field}"), problem)
            })?;
        }
        Ok(())
    }
}

impl ClassLimit {
    fn check(&self, alpha: f64, confidence: f64) -> Result<(), (&'static str, String)> {
        if self.n as usize != self.scores.len() {
            return Err((
                "n",
                format!("is {}, but there are {} scores", self.n, self.scores.len()),
            ));
        }
        if let Some(at) = self.scores.iter().position(|s| !s.is_finite()) {
            return Err(("scores", format!("number {} is {}", at + 1, self.scores[at])));
        }
        if let Some(at) = self.scores.windows(2).position(|w| w[0] > w[1]) {
            return Err(("scores", format!("number {} is smaller than the one before", at + 2)));
        }
        for (field, value) in
            [("image_threshold", self.image_threshold), ("pixel_threshold", self.pixel_threshold)]
        {
            if !value.is_finite() {
                return Err((field, format!("is {value}")));
            }
        }
        if !is_hex(&self.dataset_sha256, 64) {
            return Err(("dataset_sha256", "is not 64 lower-case hex digits".to_owned()));
        }
        self.geometry.check().map_err(|error| ("geometry", error.to_string()))?;
        self.tiling.check().map_err(|error| ("tiling", error.to_string()))?;
        let bound =
            certify(&self.scores, alpha, confidence).map_err(|e| ("scores", e.to_string()))?;
        if self.image_threshold != bound.limit {
            let (have, want) = (self.image_threshold, bound.limit);
            return Err(("image_threshold", format!("is {have}, but the scores certify {want}")));
        }
        let above = above(&self.scores, self.image_threshold);
        if self.k != above {
            return Err(("k", format!("is {}, but {above} scores are above the limit", self.k)));
        }
        Ok(())
    }
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
#[path = "file_tests.rs"]
pub(super) mod tests;

//! The calibration record: what a limit is, what it was made from and what it is valid for.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::frame::{Framing, Geometry, Precision, Tiling};

/// First 32 bits of the SHA-256 of the calibration file's text; travels with every verdict.
/// Shown as eight hex digits, which are the first eight of `sha256sum FILE`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CalibrationId(pub u32);

impl fmt::Display for CalibrationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// Limits of every calibrated class, bound to one engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Version of this file format.
    pub format: u32,
    /// SHA-256 (hex) of the model file the scores came from; no other engine may use the limits.
    pub engine_sha256: String,
    /// Arithmetic the scores were computed in; only an engine that computes in the same may use the
    /// limits. A file that does not say means 32 bits.
    #[serde(default, skip_serializing_if = "Precision::is_default")]
    pub precision: Precision,
    /// RFC 3339, UTC; for the record only, never compared.
    pub created_utc: String,
    /// Who made it.
    pub author: String,
    /// Why it was made.
    pub reason: String,
    /// Id (8 hex digits) of the calibration this one replaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// Largest false-reject rate that is certified, in (0, 1).
    pub alpha: f64,
    /// Confidence of the certificate, in (0, 1).
    pub confidence: f64,
    /// Limits by product class.
    pub class: BTreeMap<String, ClassLimit>,
}

/// The limit of one product class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassLimit {
    /// A part passes only with a score not above this.
    pub image_threshold: f32,
    /// Pixels above this belong to the defect mask. Certified like `image_threshold`, from the
    /// largest map value of each good part.
    pub pixel_threshold: f32,
    /// Good parts seen.
    pub n: u32,
    /// Good parts above `image_threshold`.
    pub k: u32,
    /// SHA-256 (hex) over the names and hashes of the images the scores came from.
    pub dataset_sha256: String,
    /// The `n` scores, ascending: the reference of conformal p-values.
    pub scores: Vec<f32>,
    /// What of each picture the model saw; the station shows it the same.
    #[serde(default, skip_serializing_if = "Geometry::is_whole")]
    pub geometry: Geometry,
    /// In how many tiles the model saw it; the station cuts it into the same.
    #[serde(default, skip_serializing_if = "Tiling::is_whole")]
    pub tiling: Tiling,
}

impl ClassLimit {
    /// How the model saw the pictures that the limit was made from.
    pub fn framing(&self) -> Framing {
        Framing { geometry: self.geometry, tiling: self.tiling }
    }
}

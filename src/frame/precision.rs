//! The arithmetic in which a model was run.

use std::fmt;

/// Arithmetic of an engine. Scores of one arithmetic say nothing about limits made in another, so
/// this is part of what a calibration is bound to.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits, as trained: what every CPU computes in.
    #[default]
    Fp32,
    /// 16 bits where that is safe: on a GPU only.
    Fp16,
}

impl Precision {
    /// The word of configuration, command line and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
        }
    }

    /// Whether it is what a file means that does not say.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fp16 => "16 bits",
            Self::Fp32 => "32 bits",
        })
    }
}

//! Which libraries are driven, and which are refused.

use std::fmt;

use super::table::{ELEVEN, TEN, Table};
use crate::engine::{EngineError, EngineErrorKind};

/// A make of the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// TensorRT, as JetPack installs it.
    TensorRt,
    /// TensorRT for RTX: the builder works without a GPU.
    Rtx,
}

/// Version of a library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Make.
    pub family: Family,
    /// Major number: the layout of its objects.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Patch.
    pub patch: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.family {
            Family::TensorRt => "TensorRT",
            Family::Rtx => "TensorRT-RTX",
        };
        write!(f, "{name} {}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl Version {
    /// From what `getInferLibVersion` answers: major * 10 000 + minor * 100 + patch.
    pub(super) fn from_number(family: Family, number: i32) -> Self {
        let number = u32::try_from(number).unwrap_or(0);
        Self { family, major: number / 10_000, minor: number / 100 % 100, patch: number % 100 }
    }

    /// The layout of its objects.
    ///
    /// # Errors
    /// `Backend` for a version whose layout is not known: calling into it would crash.
    pub(super) fn table(&self) -> Result<&'static Table, EngineError> {
        match (self.family, self.major, self.minor) {
            (Family::TensorRt, 10, 0..=16) => Ok(&TEN),
            (Family::TensorRt, 11, 0..=4) | (Family::Rtx, 1, 5..=7) => Ok(&ELEVEN),
            _ => Err(EngineError::new(
                EngineErrorKind::Backend,
                format!(
                    "{self} is not supported: TensorRT 10.0 to 10.16, 11.0 to 11.4 and TensorRT-RTX 1.5 to \
                     1.7 are; install one of them, or use the backend `cpu`"
                ),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_versions_whose_layout_was_counted_are_driven() {
        let table = |family, number| Version::from_number(family, number).table();
        assert_eq!(table(Family::TensorRt, 100_300).unwrap(), &TEN);
        assert_eq!(table(Family::TensorRt, 101_602).unwrap(), &TEN);
        assert_eq!(table(Family::TensorRt, 110_401).unwrap(), &ELEVEN);
        assert_eq!(table(Family::Rtx, 10_701).unwrap(), &ELEVEN);
        for (family, number) in [
            (Family::TensorRt, 8_601),
            (Family::TensorRt, 101_700),
            (Family::TensorRt, 110_500),
            (Family::TensorRt, 120_000),
            (Family::Rtx, 10_800),
            (Family::Rtx, 20_000),
            (Family::TensorRt, -1),
        ] {
            let error = table(family, number).unwrap_err();
            assert_eq!(error.kind(), EngineErrorKind::Backend);
            let text = error.to_string();
            assert!(text.contains(&Version::from_number(family, number).to_string()), "{text}");
            assert!(text.contains("use the backend `cpu`"), "{text}");
        }
    }

    #[test]
    fn a_version_reads_as_nvidia_writes_it() {
        assert_eq!(Version::from_number(Family::TensorRt, 101_302).to_string(), "TensorRT 10.13.2");
        assert_eq!(Version::from_number(Family::Rtx, 10_701).to_string(), "TensorRT-RTX 1.7.1");
    }
}

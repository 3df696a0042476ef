//! Identities: small, `Copy` where they travel with a frame, validated where they enter.

use std::fmt;

/// Monotonic time in nanoseconds since an arbitrary start; never wall time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub u64);

impl Nanos {
    /// Time from `earlier` to `self`; zero when the order is reversed.
    pub fn since(self, earlier: Nanos) -> Nanos {
        Nanos(self.0.saturating_sub(earlier.0))
    }

    /// `self` plus `ms` milliseconds, saturating.
    pub fn plus_ms(self, ms: u64) -> Nanos {
        Nanos(self.0.saturating_add(ms.saturating_mul(1_000_000)))
    }

    /// Whole and fractional milliseconds.
    pub fn as_ms(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

/// The PLC's trigger number; echoed, never interpreted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TriggerId(pub u32);

/// Index of a camera in the station's configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CameraId(pub u16);

/// Cameras that may look at one part.
pub const VIEWS_MAX: usize = 8;

/// Recipe number as the PLC knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecipeId(pub u16);

/// Why an identity was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value:?} is not valid: {rule}")]
pub struct IdError {
    what: &'static str,
    value: String,
    rule: &'static str,
}

fn check(
    what: &'static str,
    value: &str,
    bytes_max: usize,
    rule: &'static str,
) -> Result<(), IdError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if value.is_empty() || value.len() > bytes_max || !value.bytes().all(allowed) {
        return Err(IdError { what, value: value.to_owned(), rule });
    }
    Ok(())
}

/// Name of the station: one MQTT topic level.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StationId(String);

impl StationId {
    /// At most 32 characters, so that the longest PLC-facing topic stays below 64.
    pub const BYTES_MAX: usize = 32;

    /// # Errors
    /// When `name` is empty, too long or holds anything but ASCII letters, digits, `-`, `_`, `.`.
    pub fn new(name: &str) -> Result<Self, IdError> {
        check("station", name, Self::BYTES_MAX, "1 to 32 ASCII letters, digits, '-', '_' or '.'")?;
        Ok(Self(name.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Name of a camera, for people: as short as a part id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CameraName(String);

impl CameraName {
    /// Fits a column of a report.
    pub const BYTES_MAX: usize = 16;

    /// # Errors
    /// When `name` is empty, too long or holds anything but ASCII letters, digits, `-`, `_`, `.`.
    pub fn new(name: &str) -> Result<Self, IdError> {
        check("camera", name, Self::BYTES_MAX, "1 to 16 ASCII letters, digits, '-', '_' or '.'")?;
        Ok(Self(name.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CameraName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The PLC's part id: up to 16 ASCII characters, stored in place so that it copies without
/// an allocation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartId {
    bytes: [u8; 16],
    len: u8,
}

impl PartId {
    /// Room for the id in the fixed binary payload.
    pub const BYTES_MAX: usize = 16;

    /// # Errors
    /// When `id` is empty, too long or holds anything but ASCII letters, digits, `-`, `_`, `.`.
    pub fn new(id: &str) -> Result<Self, IdError> {
        check("part id", id, Self::BYTES_MAX, "1 to 16 ASCII letters, digits, '-', '_' or '.'")?;
        let mut bytes = [0; 16];
        bytes[..id.len()].copy_from_slice(id.as_bytes());
        Ok(Self { bytes, len: id.len() as u8 })
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        // Only ASCII enters through `new`, so the fallback is unreachable; it keeps this total.
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or("")
    }
}

impl fmt::Debug for PartId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PartId({:?})", self.as_str())
    }
}

impl fmt::Display for PartId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A consumer of the record, by the name it gives itself; as short as a part id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsumerId(PartId);

impl ConsumerId {
    /// # Errors
    /// When `name` is empty, too long or holds anything but ASCII letters, digits, `-`, `_`, `.`.
    pub fn new(name: &str) -> Result<Self, IdError> {
        let rule = "1 to 16 ASCII letters, digits, '-', '_' or '.'";
        check("consumer", name, PartId::BYTES_MAX, rule)?;
        Ok(Self(PartId::new(name)?))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Debug for ConsumerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConsumerId({:?})", self.as_str())
    }
}

impl fmt::Display for ConsumerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_refuse_what_a_topic_or_a_plc_cannot_carry() {
        for bad in ["", "a/b", "a+b", "a#", "ü", "this-is-17-chars-"] {
            assert!(PartId::new(bad).is_err(), "{bad:?}");
        }
        assert_eq!(PartId::new("P-000017").unwrap().as_str(), "P-000017");
        assert!(StationId::new(&"s".repeat(33)).is_err());
    }

    #[test]
    fn time_differences_never_wrap() {
        assert_eq!(Nanos(3).since(Nanos(5)), Nanos(0));
        assert_eq!(Nanos(u64::MAX).plus_ms(1), Nanos(u64::MAX));
    }
}

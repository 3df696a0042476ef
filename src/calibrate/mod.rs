//! Calibration: scores of good parts -> a certified limit.
//!
//! Pure: no file, no clock. The file format is [`Calibration`] as TOML text; reading and
//! writing the bytes is the shell's business (`sys::fs`).
//!
//! The guarantee (distribution-free): from `n` scores of good parts, with `k` of them above the
//! limit, P(false-reject rate <= alpha) >= confidence. `k` is the largest with
//! BinomialCDF(k; n, alpha) <= 1 - confidence; the limit is the (n-k)-th smallest score.

mod binomial;
mod certify;
mod file;
mod fit;
mod record;

pub use certify::{
    Bound, CertifyError, CertifyErrorKind, certify, most_suspicious, p_value, parts_needed,
};
pub use file::{CalibrationError, CalibrationErrorKind, FORMAT};
pub use fit::{MisfitError, MisfitKind};
pub use record::{Calibration, CalibrationId, ClassLimit};

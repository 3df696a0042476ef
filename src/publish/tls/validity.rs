//! From when to when a certificate may be used: the one thing of X.509 that is asked about
//! before anything is connected. Verification itself is rustls' business.

use std::fmt;

use crate::sys::clock::rfc3339;

const SECONDS_PER_DAY: i64 = 86_400;

/// A span of time in seconds since 1970, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// First second.
    pub not_before: i64,
    /// Last second.
    pub not_after: i64,
}

impl Validity {
    /// Of a certificate in DER; `None` when it is not one.
    pub fn of(der: &[u8]) -> Option<Self> {
        let (certificate, _) = element(der, SEQUENCE)?;
        let (body, _) = element(certificate, SEQUENCE)?;
        // version (absent in the first version), serial number, algorithm, issuer.
        let mut rest = skip(body, VERSION).unwrap_or(body);
        for tag in [INTEGER, SEQUENCE, SEQUENCE] {
            rest = skip(rest, tag)?;
        }
        let (validity, _) = element(rest, SEQUENCE)?;
        let (not_before, rest) = time(validity)?;
        let (not_after, _) = time(rest)?;
        Some(Self { not_before, not_after })
    }

    /// Whole days left at `now`, in seconds since 1970; negative when it is over.
    pub fn days_left(&self, now: i64) -> i64 {
        (self.not_after - now).div_euclid(SECONDS_PER_DAY)
    }
}

impl fmt::Display for Validity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A certificate from before 1970 would be shown as of 1970.
        let [from, to] = [self.not_before, self.not_after]
            .map(|seconds| rfc3339(u64::try_from(seconds).unwrap_or_default()));
        let day = "YYYY-MM-DD".len();
        write!(f, "valid from {} to {}", &from[..day], &to[..day])
    }
}

const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Content of the first element, which must have this tag, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = bytes.split_first()?;
    let (first, mut rest) = rest.split_first()?;
    let mut length = usize::from(*first);
    if length >= 0x80 {
        // Long form: the length of the length, then big-endian.
        let (digits, after) = rest.split_at_checked(length & 0x7f)?;
        if digits.is_empty() || digits.len() > 4 {
            return None;
        }
        length = digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit));
        rest = after;
    }
    let (content, after) = rest.split_at_checked(length)?;
    (*found == tag).then_some((content, after))
}

fn skip(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    element(bytes, tag).map(|(_, rest)| rest)
}

/// `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ`, and what follows it.
fn time(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let long = bytes.first() == Some(&GENERALIZED_TIME);
    let (text, rest) = element(bytes, if long { GENERALIZED_TIME } else { UTC_TIME })?;
    let digits = text.strip_suffix(b"Z")?;
    let (year, digits) = digits.split_at_checked(if long { 4 } else { 2 })?;
    let year = number(year)?;
    let year = match (long, year) {
        (true, year) => year,
        (false, 50..) => 1900 + year,
        (false, _) => 2000 + year,
    };
    let mut fields = digits.chunks(2).map(number);
    let mut next = || fields.next().flatten();
    let (month, day, hour, minute, second) = (next()?, next()?, next()?, next()?, next()?);
    if digits.len() != 10 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    Some((days(year, month, day) * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second, rest))
}

fn number(digits: &[u8]) -> Option<i64> {
    if digits.iter().any(|digit| !digit.is_ascii_digit()) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Days from 1970-01-01 to a day of the Gregorian calendar. The year begins in March here, so
/// that the leap day is its last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_forms_of_time_are_read() {
        let utc = |text: &str| [&[UTC_TIME, text.len() as u8], text.as_bytes()].concat();
        let general =
            |text: &str| [&[GENERALIZED_TIME, text.len() as u8], text.as_bytes()].concat();
        // Figures of `date -u +%s`.
        for (bytes, seconds) in [
            (utc("700101000000Z"), 0),
            (utc("260101120000Z"), 1_767_268_800),
            (utc("491231235959Z"), 2_524_607_999),
            (utc("500101000000Z"), -631_152_000),
            (general("20500101000000Z"), 2_524_608_000),
            (general("20240229000001Z"), 1_709_164_801),
        ] {
            assert_eq!(time(&bytes).map(|(seconds, _)| seconds), Some(seconds));
        }
        for bad in ["260101120000", "2601011200Z", "261301120000Z", "26010112000xZ", "Z"] {
            assert_eq!(time(&utc(bad)), None, "{bad}");
        }
    }

    #[test]
    fn a_span_is_shown_by_its_days_and_counts_down() {
        let validity = Validity { not_before: 1_709_164_801, not_after: 1_767_268_800 };
        assert_eq!(validity.to_string(), "valid from 2024-02-29 to 2026-01-01");
        assert_eq!(validity.days_left(1_767_268_800 - 3 * SECONDS_PER_DAY), 3);
        assert_eq!(validity.days_left(1_767_268_801), -1);
    }

    proptest! {
        #[test]
        fn days_are_the_reverse_of_the_clocks_dates(seconds in 0u64..250_000_000_000) {
            let text = rfc3339(seconds);
            let mut fields = text[..10].split('-').map(|field| field.parse().unwrap());
            let mut next = || fields.next().unwrap();
            prop_assert_eq!(days(next(), next(), next()), seconds as i64 / SECONDS_PER_DAY);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Validity::of(&bytes);
        }
    }
}

//! The live verdict: at most [`VERDICT_BYTES_MAX`] bytes, written without an allocation.
//!
//! Keys, in this order: `v` payload version, `q` sequence number, `e` boot epoch, `t` trigger,
//! `p` part, `r` recipe, `c` class number, `o` outcome, `k` reason, `s` score x 10 000, `h` limit
//! x 10 000, `pv` conformal p-value x 10 000, `n` regions, `l` latency in 0.1 ms, `a` calibration
//! id, `f` flags. `s` and `h` are -1 when there is none.

use std::fmt::Write as _;

use serde::Deserialize;

use super::{PAYLOAD_VERSION, scaled};
use crate::calibrate::CalibrationId;
use crate::frame::{Nanos, PartId, RecipeId, TriggerId};
use crate::judge::Verdict;

/// Bound of an encoded verdict: the smallest PLC client takes 255 bytes of payload.
pub const VERDICT_BYTES_MAX: usize = 200;

/// Class number of a part whose recipe is unknown.
pub const CLASS_NONE: u16 = u16::MAX;

/// Flag: the part was answered at its deadline without this result; for the record only.
pub const FLAG_LATE: u16 = 1;

/// Bits of the flags below the number of the view that decided, where several cameras look at the
/// part: 1 = the first camera.
pub const FLAG_VIEW_SHIFT: u32 = 8;

/// A verdict with the identities it must never be without.
#[derive(Clone, Debug, PartialEq)]
pub struct VerdictRecord {
    /// Result number within the boot epoch, from 1.
    pub seq: u32,
    /// Boot epoch: grows with each start of the station.
    pub epoch: u32,
    /// The PLC's trigger.
    pub trigger: TriggerId,
    /// The part.
    pub part: PartId,
    /// The recipe it was judged by.
    pub recipe: RecipeId,
    /// Number of the product class in the engine, or [`CLASS_NONE`].
    pub class: u16,
    /// The calibration it was judged by.
    pub calibration: CalibrationId,
    /// The judgement.
    pub verdict: Verdict,
    /// From the trigger to the decision.
    pub latency: Nanos,
    /// [`FLAG_LATE`] or 0, and with several cameras the number of the view that decided
    /// ([`FLAG_VIEW_SHIFT`]).
    pub flags: u16,
}

/// Writes `record` into `out` (cleared first). `out` never grows beyond [`VERDICT_BYTES_MAX`].
pub fn encode_verdict(record: &VerdictRecord, out: &mut String) {
    out.clear();
    // The part id is written from its place: an empty text owns no memory, a copy would.
    let w = WireVerdict::of(record, String::new());
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "{{\"v\":{},\"q\":{},\"e\":{},\"t\":{},\"p\":\"{}\",\"r\":{},\"c\":{},\"o\":{},\"k\":{},\
         \"s\":{},\"h\":{},\"pv\":{},\"n\":{},\"l\":{},\"a\":{},\"f\":{}}}",
        w.v, w.q, w.e, w.t, record.part, w.r, w.c, w.o, w.k, w.s, w.h, w.pv, w.n, w.l, w.a, w.f,
    );
}

/// A verdict as it is on the wire: what a subscriber sees.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireVerdict {
    /// Payload version.
    pub v: u8,
    /// Sequence number.
    pub q: u32,
    /// Boot epoch.
    pub e: u32,
    /// Trigger.
    pub t: u32,
    /// Part id.
    pub p: String,
    /// Recipe.
    pub r: u16,
    /// Class number.
    pub c: u16,
    /// Outcome: 0 reject, 1 pass, 2 no verdict (= reject), 3 test.
    pub o: u8,
    /// Reason code.
    pub k: u8,
    /// Score x 10 000.
    pub s: i32,
    /// Limit x 10 000.
    pub h: i32,
    /// p-value x 10 000.
    pub pv: u16,
    /// Regions found.
    pub n: u8,
    /// Latency in 0.1 ms.
    pub l: u32,
    /// Calibration id.
    pub a: u32,
    /// Flags.
    pub f: u16,
}

impl From<&VerdictRecord> for WireVerdict {
    fn from(record: &VerdictRecord) -> Self {
        Self::of(record, record.part.as_str().to_owned())
    }
}

impl WireVerdict {
    pub(super) fn of(record: &VerdictRecord, part: String) -> Self {
        let verdict = &record.verdict;
        Self {
            v: PAYLOAD_VERSION,
            q: record.seq,
            e: record.epoch,
            t: record.trigger.0,
            p: part,
            r: record.recipe.0,
            c: record.class,
            o: verdict.outcome() as u8,
            k: verdict.reason as u8,
            s: scaled(verdict.score),
            h: scaled(verdict.limit),
            pv: scaled(verdict.p_value).clamp(0, 10_000) as u16,
            n: verdict.regions.found.min(255) as u8,
            l: u32::try_from(record.latency.0 / 100_000).unwrap_or(u32::MAX),
            a: record.calibration.0,
            f: record.flags,
        }
    }
}

/// A payload that is no verdict of this version.
#[derive(Debug, thiserror::Error)]
#[error("not a verdict payload of version {PAYLOAD_VERSION}")]
pub struct DecodeError {
    #[source]
    source: Option<serde_json::Error>,
}

/// Reads a verdict payload, the counterpart of [`encode_verdict`].
///
/// # Errors
/// When it is not JSON, a key is missing, unknown or out of range, or the version is another.
pub fn decode_verdict(payload: &[u8]) -> Result<WireVerdict, DecodeError> {
    let wire: WireVerdict =
        serde_json::from_slice(payload).map_err(|e| DecodeError { source: Some(e) })?;
    if wire.v != PAYLOAD_VERSION || wire.o > 3 {
        return Err(DecodeError { source: None });
    }
    Ok(wire)
}

/// A verdict for tests: the one whose payloads are documented.
#[cfg(test)]
pub(super) fn sample() -> VerdictRecord {
    use crate::judge::Reason;
    let mut verdict = Verdict::invalid(Reason::Deadline);
    (verdict.score, verdict.limit) = (0.12345, 0.2);
    VerdictRecord {
        seq: 17,
        epoch: 3,
        trigger: TriggerId(4711),
        part: PartId::new("P-000017").unwrap(),
        recipe: RecipeId(1),
        class: 2,
        calibration: CalibrationId(0xdead_beef),
        verdict,
        latency: Nanos(12_345_678),
        flags: 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::sample as record;
    use super::*;
    use crate::judge::{Reason, Region};

    #[test]
    fn the_payload_is_byte_for_byte_the_documented_one() {
        let mut out = String::new();
        encode_verdict(&record(), &mut out);
        assert_eq!(
            out,
            r#"{"v":1,"q":17,"e":3,"t":4711,"p":"P-000017","r":1,"c":2,"o":2,"k":6,"s":1235,"h":2000,"pv":0,"n":0,"l":123,"a":3735928559,"f":0}"#
        );
    }

    #[test]
    fn what_is_not_a_verdict_is_refused() {
        let mut good = String::new();
        encode_verdict(&record(), &mut good);
        for bad in [
            "",
            "{}",
            "[1]",
            &good.replace("\"v\":1", "\"v\":2"),
            &good.replace("\"o\":2", "\"o\":4"),
            &good.replace("\"f\":0", "\"g\":0"),
            &good[..good.len() - 1],
        ] {
            assert!(decode_verdict(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_record_fits_and_reads_back(
            ids in any::<(u32, u32, u32, u16, u16, u32, u16)>(),
            part in "[A-Za-z0-9_.-]{1,16}",
            numbers in (any::<f32>(), any::<f32>(), any::<f32>(), any::<u64>()),
            regions in 0..300usize,
        ) {
            let mut verdict = Verdict::invalid(Reason::Internal);
            (verdict.score, verdict.limit, verdict.p_value) = (numbers.0, numbers.1, numbers.2);
            for _ in 0..regions {
                verdict.regions.offer(Region::default());
            }
            let record = VerdictRecord {
                seq: ids.0, epoch: ids.1, trigger: TriggerId(ids.2), recipe: RecipeId(ids.3),
                class: ids.4, calibration: CalibrationId(ids.5), flags: ids.6,
                part: PartId::new(&part).unwrap(), latency: Nanos(numbers.3), verdict,
            };
            let mut out = String::with_capacity(VERDICT_BYTES_MAX);
            let room = out.as_ptr();
            encode_verdict(&record, &mut out);
            prop_assert!(out.len() <= VERDICT_BYTES_MAX, "{} bytes: {out}", out.len());
            prop_assert_eq!(out.as_ptr(), room, "the buffer was moved");
            prop_assert!(out.is_ascii());
            prop_assert_eq!(decode_verdict(out.as_bytes()).unwrap(), WireVerdict::from(&record));
        }
    }
}

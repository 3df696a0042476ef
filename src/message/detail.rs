//! The full record of a verdict for the journal: everything an audit asks for, names included.

use std::fmt::Write as _;

use super::{VerdictRecord, push_json_text};
use crate::frame::StationId;

/// What the wire payload leaves out because the topic or a number stands for it.
#[derive(Clone, Copy, Debug)]
pub struct Detail<'a> {
    /// The station.
    pub station: &'a StationId,
    /// SHA-256 (hex) of the model file.
    pub engine_sha256: &'a str,
    /// Name of the product class; empty when the recipe is unknown.
    pub class: &'a str,
}

fn float(out: &mut String, key: &str, value: f32) {
    // JSON has no NaN; `{:?}` writes the shortest text that reads back as the same number.
    let _ = match value.is_finite() {
        true => write!(out, ",\"{key}\":{value:?}"),
        false => write!(out, ",\"{key}\":null"),
    };
}

/// The record as JSON with full precision: names, hashes, score, regions.
pub fn encode_detail(record: &VerdictRecord, detail: &Detail<'_>) -> String {
    let verdict = &record.verdict;
    let mut out = String::with_capacity(512);
    out.push_str("{\"station\":");
    push_json_text(&mut out, detail.station.as_str());
    out.push_str(",\"engine_sha256\":");
    push_json_text(&mut out, detail.engine_sha256);
    // Writing to a String cannot fail.
    let _ = write!(out, ",\"calibration\":\"{:08x}\",\"class\":", record.calibration.0);
    push_json_text(&mut out, detail.class);
    let _ = write!(
        out,
        ",\"outcome\":\"{:?}\",\"reason\":\"{:?}\",\"latency_ns\":{}",
        verdict.outcome(),
        verdict.reason,
        record.latency.0
    );
    float(&mut out, "score", verdict.score);
    float(&mut out, "limit", verdict.limit);
    float(&mut out, "p_value", verdict.p_value);
    let _ = write!(out, ",\"regions_found\":{},\"regions\":[", verdict.regions.found);
    for (i, r) in verdict.regions.as_slice().iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        let _ = write!(out, "{comma}[{},{},{},{}]", r.x, r.y, r.width, r.height);
    }
    out.push_str("]}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::CalibrationId;
    use crate::frame::{Nanos, PartId, RecipeId, TriggerId};
    use crate::judge::{Reason, Region, Verdict};

    #[test]
    fn the_record_names_station_engine_calibration_and_is_json() {
        let mut verdict = Verdict::invalid(Reason::ScoreNotFinite);
        verdict.limit = 0.25;
        verdict.regions.offer(Region { x: 1, y: 2, width: 3, height: 4, score: 0.5 });
        let record = VerdictRecord {
            seq: 1,
            epoch: 1,
            trigger: TriggerId(9),
            part: PartId::new("a").unwrap(),
            recipe: RecipeId(1),
            class: 0,
            calibration: CalibrationId(0xab),
            verdict,
            latency: Nanos(5),
            flags: 0,
        };
        let station = StationId::new("line1").unwrap();
        let detail = Detail { station: &station, engine_sha256: "c0ffee", class: "zahnrad \"ü\"" };
        let json: serde_json::Value =
            serde_json::from_str(&encode_detail(&record, &detail)).unwrap();
        assert_eq!(json["station"], "line1");
        assert_eq!(json["engine_sha256"], "c0ffee");
        assert_eq!(json["calibration"], "000000ab");
        assert_eq!(json["class"], "zahnrad \"ü\"");
        assert_eq!(json["reason"], "ScoreNotFinite");
        assert!(json["score"].is_null());
        assert_eq!(json["limit"], 0.25);
        assert_eq!(json["regions"][0], serde_json::json!([1, 2, 3, 4]));
    }
}

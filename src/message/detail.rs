//! What the journal keeps of a verdict beside its payload: names, hashes, numbers in full
//! precision, regions. What the payload says (outcome, reason, calibration) is not repeated: both
//! stand in one row, and every byte is written to flash memory twice.

use std::fmt::Write as _;

use super::views::push_views;
use super::{VerdictRecord, ViewResults, push_json_text};
use crate::frame::StationId;
use crate::judge::Regions;

/// What the wire payload leaves out because the topic or a number stands for it.
#[derive(Clone, Copy, Debug)]
pub struct Detail<'a> {
    /// The station.
    pub station: &'a StationId,
    /// SHA-256 (hex) of the model file.
    pub engine_sha256: &'a str,
    /// Name of the product class; empty when the recipe is unknown.
    pub class: &'a str,
    /// Names of the cameras.
    pub cameras: &'a [String],
    /// What each view said.
    pub views: &'a ViewResults,
}

pub(super) fn float(out: &mut String, key: &str, value: f32) {
    // JSON has no NaN; `{:?}` writes the shortest text that reads back as the same number.
    let _ = match value.is_finite() {
        true => write!(out, ",\"{key}\":{value:?}"),
        false => write!(out, ",\"{key}\":null"),
    };
}

/// The record as JSON with full precision: names, hash, score, and regions when there are any.
pub fn encode_detail(record: &VerdictRecord, detail: &Detail<'_>) -> String {
    let verdict = &record.verdict;
    let mut out = String::with_capacity(512);
    out.push_str("{\"station\":");
    push_json_text(&mut out, detail.station.as_str());
    out.push_str(",\"engine_sha256\":");
    push_json_text(&mut out, detail.engine_sha256);
    out.push_str(",\"class\":");
    push_json_text(&mut out, detail.class);
    // Writing to a String cannot fail.
    let _ = write!(out, ",\"latency_ns\":{}", record.latency.0);
    float(&mut out, "score", verdict.score);
    float(&mut out, "limit", verdict.limit);
    float(&mut out, "p_value", verdict.p_value);
    if verdict.regions.found > 0 {
        push_regions(&mut out, &verdict.regions);
    }
    push_views(&mut out, detail.cameras, record.flags, detail.views);
    out.push('}');
    out
}

fn push_regions(out: &mut String, regions: &Regions) {
    let _ = write!(out, ",\"regions_found\":{},\"regions\":[", regions.found);
    for (i, r) in regions.as_slice().iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        let _ = write!(out, "{comma}[{},{},{},{}]", r.x, r.y, r.width, r.height);
    }
    out.push(']');
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
        let detail = Detail {
            station: &station,
            engine_sha256: "c0ffee",
            class: "zahnrad \"ü\"",
            cameras: &[],
            views: &ViewResults::default(),
        };
        let json: serde_json::Value =
            serde_json::from_str(&encode_detail(&record, &detail)).unwrap();
        assert_eq!(json["station"], "line1");
        assert_eq!(json["engine_sha256"], "c0ffee");
        assert_eq!(json["class"], "zahnrad \"ü\"");
        assert!(json["score"].is_null());
        assert_eq!(json["limit"], 0.25);
        assert_eq!(json["regions"][0], serde_json::json!([1, 2, 3, 4]));
    }
}

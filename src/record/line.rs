//! What stands in the files: the head of a recording and the line of a decision.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::feed::Shot;
use crate::message::{FLAG_LATE, VerdictRecord, ViewResults, deciding_view};

/// `recording.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Version of the files.
    pub format: u32,
    /// The station.
    pub station: String,
    /// Version of the program that recorded.
    pub program: String,
    /// RFC 3339, UTC; for people.
    pub created_utc: String,
    /// SHA-256 (hex) of the model file.
    pub engine_sha256: String,
    /// Id of the calibration in force at the start: eight hex digits.
    pub calibration: String,
    /// What was recorded: `all` or `rejects`.
    pub keep: String,
    /// Names of the cameras, by their numbers; empty with one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub camera: Vec<String>,
    /// What the recipe numbers mean.
    pub recipe: Vec<HeadRecipe>,
}

/// A recipe of the station.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadRecipe {
    /// The PLC's number.
    pub id: u16,
    /// The product class.
    pub class: String,
    /// Cameras whose view is a class of its own, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub views: BTreeMap<String, String>,
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartLine {
    /// Boot epoch of the station.
    pub epoch: u32,
    /// Result number.
    pub seq: u32,
    /// The PLC's trigger.
    pub trigger: u32,
    /// The part.
    pub part: String,
    /// The recipe it was judged by.
    pub recipe: u16,
    /// Class number of the engine; 65535 when the recipe was not known.
    pub class: u16,
    /// `PASS`, `REJECT`, `INVALID` or `TEST`.
    pub verdict: String,
    /// Why.
    pub reason: String,
    /// The score for people; none when it is not a finite number.
    pub score: Option<f32>,
    /// The bits of the score (IEEE 754, 32 bits) as a whole number: what a replay compares.
    pub score_bits: u32,
    /// The bits of the limit.
    pub limit_bits: u32,
    /// Defect areas found.
    pub regions: u16,
    /// From trigger to decision in nanoseconds.
    pub latency_ns: u64,
    /// Calibration: eight hex digits.
    pub calibration: String,
    /// The part was answered before without this result.
    pub late: bool,
    /// Wall time of the writing in seconds since 1970, for people.
    pub at_unix_s: u64,
    /// Pictures and decisions that could not be recorded until now.
    pub dropped: u64,
    /// With several cameras: number of the view that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<u16>,
    /// With several cameras: what each view said that was looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub views: Vec<ViewLine>,
    /// The pictures there were of the part: none when the cameras gave none or they could not be
    /// recorded.
    pub frames: Vec<FrameLine>,
}

/// What one of several views said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ViewLine {
    /// Number of the camera.
    pub camera: u16,
    /// `PASS`, `REJECT`, `INVALID` or `TEST`.
    pub verdict: String,
    /// Why.
    pub reason: String,
    /// Class number of the engine.
    pub class: u16,
    /// The bits of the score.
    pub score_bits: u32,
    /// The bits of the limit.
    pub limit_bits: u32,
}

/// A picture and where it lies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrameLine {
    /// First byte in the segment's file of frames.
    pub offset: u64,
    /// Bytes of the picture, padding included.
    pub bytes: u64,
    /// CRC-32 (IEEE) of these bytes.
    pub crc32: u32,
    /// Number of the camera.
    pub camera: u16,
    /// Connection of the camera.
    pub epoch: u32,
    /// The camera's frame number, unwrapped.
    pub seq: u64,
    /// When it was complete in memory: monotonic nanoseconds, comparable within a recording.
    pub arrived_ns: u64,
    /// Layout of a pixel, by its name in the configuration.
    pub format: String,
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Bytes from one row to the next.
    pub stride: usize,
    /// The camera's trigger number.
    pub trigger: u32,
    /// The part as the camera knew it.
    pub part: String,
    /// The recipe, when the camera knew it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<u16>,
    /// Frame number as it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw_id: Option<u64>,
    /// The camera's own clock in nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_ns: Option<u64>,
    /// Exposure time in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposure_us: Option<f32>,
    /// Gain in dB, or as the camera counts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gain: Option<f32>,
    /// Levels of the input lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line_status: Option<u32>,
    /// The camera's own count of triggers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counter: Option<u64>,
}

impl PartLine {
    /// The line of a decision without its pictures.
    pub(super) fn of(
        record: &VerdictRecord,
        views: &ViewResults,
        at_unix_s: u64,
        dropped: u64,
    ) -> Self {
        let verdict = &record.verdict;
        let number = |view: usize| u16::try_from(view).unwrap_or(u16::MAX);
        let views = views.iter().enumerate().filter_map(|(view, result)| {
            let result = (*result)?;
            Some(ViewLine {
                camera: number(view),
                verdict: result.outcome.name().to_owned(),
                reason: result.reason.name().to_owned(),
                class: result.class,
                score_bits: result.score.to_bits(),
                limit_bits: result.limit.to_bits(),
            })
        });
        Self {
            epoch: record.epoch,
            seq: record.seq,
            trigger: record.trigger.0,
            part: record.part.to_string(),
            recipe: record.recipe.0,
            class: record.class,
            verdict: verdict.outcome().name().to_owned(),
            reason: verdict.reason.name().to_owned(),
            score: Some(verdict.score).filter(|score| score.is_finite()),
            score_bits: verdict.score.to_bits(),
            limit_bits: verdict.limit.to_bits(),
            regions: verdict.regions.found,
            latency_ns: record.latency.0,
            calibration: record.calibration.to_string(),
            late: record.flags & FLAG_LATE != 0,
            at_unix_s,
            dropped,
            view: deciding_view(record.flags).map(number),
            views: views.collect(),
            frames: vec![],
        }
    }
}

impl FrameLine {
    /// The line of a picture that is written at `offset`.
    pub(super) fn of(shot: &Shot, offset: u64) -> Self {
        let meta = &shot.meta;
        let bytes = shot.bytes();
        Self {
            offset,
            bytes: bytes.len() as u64,
            crc32: crc32fast::hash(bytes),
            camera: meta.camera.0,
            epoch: meta.epoch,
            seq: meta.seq,
            arrived_ns: meta.arrived.0,
            format: meta.format.name().to_owned(),
            width: meta.width,
            height: meta.height,
            stride: meta.stride,
            trigger: shot.trigger.0,
            part: shot.part.to_string(),
            recipe: shot.recipe.map(|recipe| recipe.0),
            raw_id: meta.facts.raw_id,
            device_ns: meta.facts.device_ns,
            exposure_us: meta.facts.exposure_us.filter(|v| v.is_finite()),
            gain: meta.facts.gain.filter(|v| v.is_finite()),
            line_status: meta.facts.line_status,
            counter: meta.facts.counter,
        }
    }
}

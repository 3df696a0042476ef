//! Decisions, notices and reports as the bytes that are journaled and published.

use crate::calibrate::CalibrationId;
use crate::engine::Happening;
use crate::frame::StationId;
use crate::journal::{Entry, Notice, RowKind};
use crate::judge::Outcome;
use crate::message::{
    ByteOrder, CLASS_NONE, CalibrationChange, Detail, Event, FLAG_LATE, MaskMessage, Topics,
    VERDICT_BYTES_MAX, binary_of_payload, encode_calibration_change, encode_detail, encode_event,
    encode_heartbeat, encode_mask, encode_verdict,
};
use crate::publish::{BinaryForm, ReplayRange, Report, TopicNames};

use super::cameras::Loss;
use super::engine_news::News;
use super::limits::Armed;
use super::work::Decision;

/// Longest text about the engine in an event, in characters: what CUDA and TensorRT say may fill pages, all
/// of which is in the log.
const ENGINE_CHARS_MAX: usize = 400;

/// What the payloads need besides the decision itself.
pub(super) struct Encoder {
    pub(super) station: StationId,
    pub(super) engine_sha256: String,
    /// Names of the engine's classes, by number.
    pub(super) classes: Vec<String>,
    /// Names of the cameras.
    pub(super) cameras: Vec<String>,
}

impl Encoder {
    /// The journal row of a decision: live payload, audit record, and the mask of a part that
    /// did not pass.
    pub(super) fn verdict(&self, decision: &Decision, at_unix_s: u64) -> Entry {
        let record = &decision.record;
        let mut payload = String::with_capacity(VERDICT_BYTES_MAX);
        encode_verdict(record, &mut payload);
        let class = match record.class {
            CLASS_NONE => "",
            number => self.classes.get(usize::from(number)).map_or("", String::as_str),
        };
        let detail = Detail {
            station: &self.station,
            engine_sha256: &self.engine_sha256,
            class,
            cameras: &self.cameras,
            views: &decision.views,
        };
        let message = MaskMessage {
            record,
            mask: &decision.mask,
            picture: decision.picture,
            geometry: decision.geometry,
            cameras: &self.cameras,
        };
        let late = record.flags & FLAG_LATE != 0;
        let wanted = record.verdict.outcome() != Outcome::Pass && !late;
        Entry {
            epoch: record.epoch,
            seq: record.seq,
            kind: if late { RowKind::LateResult } else { RowKind::Verdict },
            at_unix_s,
            payload: payload.into_bytes(),
            detail: encode_detail(record, &detail).into_bytes(),
            mask: wanted.then(|| encode_mask(&message)).flatten().map(String::into_bytes),
        }
    }
}

/// The event payload of what the journal had to give up.
pub(super) fn notice(epoch: u32, notice: &Notice) -> Vec<u8> {
    let text;
    let (kind, range, count, text) = match notice {
        Notice::RowsDropped { rows, first, last } => {
            ("gap", Some((*first, *last)), *rows, "undelivered verdicts dropped: journal full")
        }
        Notice::LateResultsDropped { rows, first, last } => (
            "late_dropped",
            Some((*first, *last)),
            *rows,
            "undelivered late results dropped: journal full",
        ),
        Notice::EventsDropped { rows } => {
            ("events_dropped", None, *rows, "undelivered events dropped: journal full")
        }
        Notice::MasksDropped { rows, first, last } => (
            "masks_dropped",
            Some((*first, *last)),
            *rows,
            "undelivered masks dropped: journal full",
        ),
        Notice::Restarted(restarted) => {
            text = format!("journal could not be read, started afresh: {}", restarted.cause);
            ("journal_restarted", None, restarted.carried_over, text.as_str())
        }
    };
    encode_event(&Event { epoch, kind, range, count, text }).into_bytes()
}

/// The event payload of what the publisher found worth telling.
pub(super) fn report(epoch: u32, report: &Report) -> Vec<u8> {
    let (kind, count, text) = match report {
        Report::Undeliverable { row, mask, bytes, bytes_max } => {
            let what = if *mask { "mask" } else { "payload" };
            let text =
                format!("{what} of row {row}: {bytes} bytes, at most {bytes_max} can go out");
            ("undeliverable", 1, text)
        }
        Report::TooLarge { topic, bytes, bytes_max } => {
            let text =
                format!("{topic} is left out: {bytes} bytes, at most {bytes_max} can go out");
            ("undeliverable", 1, text)
        }
        Report::TakeoverSuspected { times } => {
            let text = "the broker cuts us off after connecting: is our client id in use twice?";
            ("takeover", u64::from(*times), text.to_owned())
        }
        Report::PublishRefused { topic, reason } => {
            ("publish_refused", 1, format!("the broker refuses what we send to {topic}: {reason}"))
        }
        Report::CommandOverrun { bytes } => {
            ("command_overrun", 1, format!("a message of {bytes} bytes to us broke the connection"))
        }
        Report::Replayed { range, rows } => return replayed(epoch, range, *rows),
        Report::SubscriptionRefused { topic } => {
            ("subscription_refused", 1, format!("the broker does not let us listen on {topic}"))
        }
    };
    encode_event(&Event { epoch, kind, range: None, count, text: &text }).into_bytes()
}

fn replayed(epoch: u32, range: &ReplayRange, rows: u64) -> Vec<u8> {
    let text = format!("verdicts sent again on hist, as command {} asked", range.id);
    let ends = ((range.epoch, range.first), (range.epoch, range.last));
    let event = Event { epoch, kind: "replayed", range: Some(ends), count: rows, text: &text };
    encode_event(&event).into_bytes()
}

/// The payload of the calibration topic.
pub(super) fn calibration(epoch: u32, armed: &Armed, old: Option<CalibrationId>) -> Vec<u8> {
    let calibration = &armed.calibration;
    let change = CalibrationChange {
        epoch,
        id: armed.id,
        old,
        classes: calibration.class.len(),
        author: &calibration.author,
        reason: &calibration.reason,
    };
    encode_calibration_change(&change).into_bytes()
}

/// The binary form of a verdict payload in this byte order.
pub(super) fn binary(order: ByteOrder) -> BinaryForm {
    // A payload of ours is always a verdict; an empty message is none to any reader.
    fn form(payload: &[u8], order: ByteOrder) -> Vec<u8> {
        binary_of_payload(payload, order).map_or_else(Vec::new, Vec::from)
    }
    match order {
        ByteOrder::Big => |payload| form(payload, ByteOrder::Big),
        ByteOrder::Little => |payload| form(payload, ByteOrder::Little),
    }
}

/// The event payload of triggers that could not be taken.
pub(super) fn missed(epoch: u32, count: u64) -> Vec<u8> {
    let text = "triggers that could not be judged: not ready, no armed part, or too fast";
    let event = Event { epoch, kind: "missed_trigger", range: None, count, text };
    encode_event(&event).into_bytes()
}

/// The event payload of a camera that was lost.
pub(super) fn camera_lost(epoch: u32, loss: &Loss) -> Vec<u8> {
    let Loss { text, times } = loss;
    let event = Event { epoch, kind: "camera_lost", range: None, count: *times, text };
    encode_event(&event).into_bytes()
}

/// The event payload of what happened to the engine; it counts the failures since the start.
pub(super) fn engine(epoch: u32, news: &News) -> Vec<u8> {
    const RESTARTED: &str = "until the service is restarted";
    let (kind, text) = match &news.what {
        Happening::Failed { why } => {
            ("engine_failed", format!("the engine failed and is opened again: {why}"))
        }
        Happening::Lost { why, ends } => {
            let then = if *ends { ", which ends and is started again" } else { "" };
            ("engine_failed", format!("the GPU is lost to this process{then}: {why}"))
        }
        Happening::ReaderFailed { frames, why } => (
            "engine_failed",
            format!("no engine reads frames {frames} {RESTARTED}, the CPU prepares them: {why}"),
        ),
        Happening::Back => {
            ("engine_back", "the engine was opened again, proved itself and judges".to_owned())
        }
        Happening::GivenUp { why, substitute: true } => {
            ("engine_given_up", format!("the CPU judges {RESTARTED}: {why}"))
        }
        Happening::GivenUp { why, substitute: false } => {
            ("engine_given_up", format!("nobody judges any more, and the station ends: {why}"))
        }
    };
    let text: String = text.chars().take(ENGINE_CHARS_MAX).collect();
    let event = Event { epoch, kind, range: None, count: news.failures, text: &text };
    encode_event(&event).into_bytes()
}

/// The event payload of a commit that took too long.
pub(super) fn slow(epoch: u32, took_ms: u64) -> Vec<u8> {
    let text = "ms one commit to the journal took: check the storage device";
    let event = Event { epoch, kind: "journal_slow", range: None, count: took_ms, text };
    encode_event(&event).into_bytes()
}

pub(super) fn heartbeat(count: u64) -> Vec<u8> {
    encode_heartbeat(count).into_bytes()
}

pub(super) fn topic_names(topics: &Topics) -> TopicNames {
    TopicNames {
        verdict: topics.verdict(),
        binary: topics.vbin(),
        last: Some(topics.last()),
        state: topics.state(),
        heartbeat: topics.heartbeat(),
        hist: topics.hist(),
        mask: topics.mask(),
        event: topics.event(),
        command: topics.command(),
        reply: topics.command_ack(),
        receipt: topics.consumer_ack(),
        health: topics.health(),
        calibration: topics.calib(),
    }
}

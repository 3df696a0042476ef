//! Metrics and calibration changes.

use std::fmt::Write as _;

use super::{PAYLOAD_VERSION, Receipt, push_json_text};
use crate::calibrate::CalibrationId;
use crate::frame::Nanos;

/// Parts answered since the start of the station, by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// All.
    pub parts: u64,
    /// Proved good.
    pub pass: u64,
    /// Anomalous.
    pub reject: u64,
    /// No verdict.
    pub invalid: u64,
    /// Test runs.
    pub test: u64,
    /// Results that came after their part was answered at its deadline.
    pub late: u64,
}

/// What the health topic says; counts are since the start of the station.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthRecord<'a> {
    /// Boot epoch.
    pub epoch: u32,
    /// Seconds since the start.
    pub up_s: u64,
    /// Parts answered.
    pub counters: Counters,
    /// Triggers missed since they were acknowledged.
    pub missed: u64,
    /// Median latency.
    pub latency_p50: Nanos,
    /// 99th percentile.
    pub latency_p99: Nanos,
    /// Rows that the broker has not acknowledged.
    pub backlog_rows: u64,
    /// Connections to the broker after the first.
    pub reconnects: u64,
    /// Verdicts that went to `hist`.
    pub hist: u64,
    /// What each consumer has confirmed.
    pub receipts: &'a [Receipt],
    /// Each camera, in the order of the configuration.
    pub cameras: Vec<CameraHealth>,
    /// The engine.
    pub engine: EngineHealth,
    /// The recording; `None` when none was asked for.
    pub recording: Option<RecordingHealth>,
}

/// How the engine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineHealth {
    /// `serving`, `substitute` or `absent`.
    pub state: &'static str,
    /// Times that it failed and was opened again.
    pub failures: u64,
}

impl Default for EngineHealth {
    fn default() -> Self {
        Self { state: "serving", failures: 0 }
    }
}

/// How the recording is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordingHealth {
    /// Decisions written.
    pub parts: u64,
    /// Pictures written.
    pub frames: u64,
    /// Pictures and decisions that were not written.
    pub dropped: u64,
    /// False once the disk failed.
    pub running: bool,
}

/// How a camera is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CameraHealth {
    /// Its name.
    pub name: String,
    /// `starting`, `running`, `stalled` or `lost`.
    pub state: &'static str,
    /// Frames it handed over.
    pub delivered: u64,
    /// Triggers whose frame came damaged or not at all, as the camera told.
    pub incomplete: u64,
    /// Of these, triggers that found no free buffer.
    pub no_buffer: u64,
    /// Frames it numbered and never delivered, and views that did not come in time.
    pub lost: u64,
    /// Frames that came twice or too late.
    pub stale: u64,
    /// Pictures that a newer one replaced before they were looked at.
    pub replaced: u64,
    /// Streams after the first.
    pub reconnects: u64,
    /// Packets that never came.
    pub packets_missing: u64,
    /// Packets that came when they were asked for again.
    pub packets_resent: u64,
    /// Times that the newest frame was copied whole on its way.
    pub copies: u8,
    /// What went wrong last; empty when nothing did.
    pub cause: String,
    /// When, as seconds since 1970; 0 when nothing did.
    pub cause_unix_s: u64,
}

/// The metrics as JSON: `v, e, up, n, pass, rej, inv, test, late,
/// miss, p50, p99, back, conn, hist, ce, cq, ack, cam`. Latencies in 0.1 ms; `ce` and `cq` are the
/// newest of the receipts, zeros when there is none. `cam` is a list with one object a camera: `cn,
/// st, ok, bad, nob, lost, old, repl, conn, mis, res, cp, why, at`. Behind it come `eng` and `fail`,
/// and with a recording the object `rec`: `on, n, pic, drop`.
pub fn encode_health(health: &HealthRecord<'_>) -> String {
    let mut out = String::with_capacity(300 + 300 * health.cameras.len());
    let tenths = |latency: Nanos| latency.0 / 100_000;
    let c = &health.counters;
    let newest = health.receipts.iter().map(|r| (r.epoch, r.seq)).max().unwrap_or_default();
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "{{\"v\":{PAYLOAD_VERSION},\"e\":{},\"up\":{},\"n\":{},\"pass\":{},\"rej\":{},\"inv\":{},\
         \"test\":{},\"late\":{},\"miss\":{},\"p50\":{},\"p99\":{},\"back\":{},\"conn\":{},\"hist\":{},\
         \"ce\":{},\"cq\":{},\"ack\":[",
        health.epoch,
        health.up_s,
        c.parts,
        c.pass,
        c.reject,
        c.invalid,
        c.test,
        c.late,
        health.missed,
        tenths(health.latency_p50),
        tenths(health.latency_p99),
        health.backlog_rows,
        health.reconnects,
        health.hist,
        newest.0,
        newest.1,
    );
    for (i, Receipt { consumer, epoch, seq }) in health.receipts.iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        let _ = write!(out, "{comma}[\"{consumer}\",{epoch},{seq}]");
    }
    out.push_str("],\"cam\":[");
    for (i, camera) in health.cameras.iter().enumerate() {
        out.push_str(if i == 0 { "" } else { "," });
        push_camera(&mut out, camera);
    }
    let EngineHealth { state, failures } = health.engine;
    let _ = write!(out, "],\"eng\":\"{state}\",\"fail\":{failures}");
    if let Some(RecordingHealth { parts, frames, dropped, running }) = health.recording {
        let on = u8::from(running);
        let _ = write!(
            out,
            ",\"rec\":{{\"on\":{on},\"n\":{parts},\"pic\":{frames},\"drop\":{dropped}}}"
        );
    }
    out.push('}');
    out
}

fn push_camera(out: &mut String, camera: &CameraHealth) {
    out.push_str("{\"cn\":");
    push_json_text(out, &camera.name);
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        ",\"st\":\"{}\",\"ok\":{},\"bad\":{},\"nob\":{},\"lost\":{},\"old\":{},\"repl\":{},\
         \"conn\":{},\"mis\":{},\"res\":{},\"cp\":{},\"why\":",
        camera.state,
        camera.delivered,
        camera.incomplete,
        camera.no_buffer,
        camera.lost,
        camera.stale,
        camera.replaced,
        camera.reconnects,
        camera.packets_missing,
        camera.packets_resent,
        camera.copies,
    );
    push_json_text(out, &camera.cause);
    let _ = write!(out, ",\"at\":{}}}", camera.cause_unix_s);
}

/// A calibration that came into force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CalibrationChange<'a> {
    /// Boot epoch.
    pub epoch: u32,
    /// The calibration now in force.
    pub id: CalibrationId,
    /// The one before; `None` at the start.
    pub old: Option<CalibrationId>,
    /// Product classes with a limit.
    pub classes: usize,
    /// Who made it.
    pub author: &'a str,
    /// Why.
    pub reason: &'a str,
}

/// Longest author and reason that go out, in characters each.
const TEXT_CHARS_MAX: usize = 120;

/// The change as JSON: `v, e, a, old, n, by, msg`; `old` is 0 at the start.
pub fn encode_calibration_change(change: &CalibrationChange<'_>) -> String {
    let mut out = String::with_capacity(200);
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "{{\"v\":{PAYLOAD_VERSION},\"e\":{},\"a\":{},\"old\":{},\"n\":{},\"by\":",
        change.epoch,
        change.id.0,
        change.old.map_or(0, |old| old.0),
        change.classes,
    );
    let cut = |text: &str| text.chars().take(TEXT_CHARS_MAX).collect::<String>();
    push_json_text(&mut out, &cut(change.author));
    out.push_str(",\"msg\":");
    push_json_text(&mut out, &cut(change.reason));
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::ConsumerId;

    #[test]
    fn each_camera_says_how_it_is_and_what_went_wrong_last() {
        let camera = CameraHealth {
            name: "side".to_owned(),
            state: "lost",
            delivered: 9,
            incomplete: 4,
            no_buffer: 3,
            lost: 2,
            stale: 1,
            replaced: 5,
            reconnects: 6,
            packets_missing: 7,
            packets_resent: 8,
            copies: 1,
            cause: "no \"camera\"".to_owned(),
            cause_unix_s: 1_700_000_000,
        };
        let cameras = vec![CameraHealth::default(), camera];
        let json = encode_health(&HealthRecord { cameras, ..HealthRecord::default() });
        let side = json.split_once(r#"{"cn":"side""#).unwrap().1;
        assert_eq!(
            side,
            r#","st":"lost","ok":9,"bad":4,"nob":3,"lost":2,"old":1,"repl":5,"conn":6,"mis":7,"res":8,"cp":1,"why":"no \"camera\"","at":1700000000}],"eng":"serving","fail":0}"#
        );
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read["cam"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn metrics_and_calibration_changes_are_byte_for_byte_the_documented_ones() {
        let health = HealthRecord {
            epoch: 3,
            up_s: 60,
            counters: Counters { parts: 6, pass: 4, reject: 1, invalid: 1, test: 0, late: 1 },
            missed: 2,
            latency_p50: Nanos(12_340_000),
            latency_p99: Nanos(98_760_000),
            backlog_rows: 5,
            reconnects: 1,
            hist: 7,
            receipts: &["hmi", "mes"].map(|name| Receipt {
                consumer: ConsumerId::new(name).unwrap(),
                epoch: 3,
                seq: name.len() as u32 + u32::from(name == "mes"),
            }),
            cameras: vec![],
            engine: EngineHealth { state: "substitute", failures: 2 },
            recording: None,
        };
        let recording = RecordingHealth { parts: 9, frames: 18, dropped: 2, running: true };
        let recorded = HealthRecord { recording: Some(recording), ..health.clone() };
        let text = encode_health(&recorded);
        assert!(text.ends_with(r#","rec":{"on":1,"n":9,"pic":18,"drop":2}}"#), "{text}");
        assert_eq!(
            encode_health(&health),
            r#"{"v":1,"e":3,"up":60,"n":6,"pass":4,"rej":1,"inv":1,"test":0,"late":1,"miss":2,"p50":123,"p99":987,"back":5,"conn":1,"hist":7,"ce":3,"cq":4,"ack":[["hmi",3,3],["mes",3,4]],"cam":[],"eng":"substitute","fail":2}"#
        );
        let change = CalibrationChange {
            epoch: 3,
            id: CalibrationId(255),
            old: Some(CalibrationId(7)),
            classes: 2,
            author: "J. \"Q\"",
            reason: "new lamp",
        };
        assert_eq!(
            encode_calibration_change(&change),
            r#"{"v":1,"e":3,"a":255,"old":7,"n":2,"by":"J. \"Q\"","msg":"new lamp"}"#
        );
    }
}

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
}

/// The metrics as JSON: `v, e, up, n, pass, rej, inv, test, late,
/// miss, p50, p99, back, conn, hist, ce, cq, ack`. Latencies in 0.1 ms; `ce` and `cq` are the newest
/// of the receipts, zeros when there is none.
pub fn encode_health(health: &HealthRecord<'_>) -> String {
    let mut out = String::with_capacity(300);
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
    out.push_str("]}");
    out
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
        };
        assert_eq!(
            encode_health(&health),
            r#"{"v":1,"e":3,"up":60,"n":6,"pass":4,"rej":1,"inv":1,"test":0,"late":1,"miss":2,"p50":123,"p99":987,"back":5,"conn":1,"hist":7,"ce":3,"cq":4,"ack":[["hmi",3,3],["mes",3,4]]}"#
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

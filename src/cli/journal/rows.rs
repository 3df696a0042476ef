//! Rows of a journal one after the other, read in pages, and what they say.

use std::fmt;

use anyhow::Result;
use serde_json::Value;

use crate::journal::{Facts, Record, RowId, RowKind, View};
use crate::message::{WireVerdict, decode_verdict};

/// Calls `visit` with every row up to `newest`, in order; until it says `false`.
pub(super) fn each(
    view: &View,
    newest: RowId,
    mut visit: impl FnMut(Record) -> Result<bool>,
) -> Result<()> {
    let mut after = 0;
    loop {
        let page = view.after(after, View::ROWS_MAX)?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.id;
        for row in page {
            // A running station goes on; what it adds belongs to the next look.
            if row.id > newest || !visit(row)? {
                return Ok(());
            }
        }
    }
}

pub(super) fn kind_name(kind: RowKind) -> &'static str {
    match kind {
        RowKind::Verdict => "verdict",
        RowKind::Event => "event",
        RowKind::LateResult => "late_result",
    }
}

pub(super) fn outcome_name(o: u8) -> &'static str {
    match o {
        0 => "reject",
        1 => "pass",
        2 => "invalid",
        _ => "test",
    }
}

/// A verdict row as it is shown and exported.
pub(super) struct Shown {
    pub(super) at_unix_s: u64,
    pub(super) late: bool,
    pub(super) delivered: bool,
    pub(super) wire: WireVerdict,
    /// What is kept beside the payload; null when there is none.
    pub(super) detail: Value,
}

impl Shown {
    /// `None` for an event, and for a payload that is no verdict (`crrd journal check` finds it).
    pub(super) fn of(row: &Record, facts: &Facts) -> Option<Self> {
        if row.entry.kind == RowKind::Event {
            return None;
        }
        Some(Self {
            at_unix_s: row.entry.at_unix_s,
            late: row.entry.kind == RowKind::LateResult,
            delivered: row.id <= facts.cursor,
            wire: decode_verdict(&row.entry.payload).ok()?,
            detail: serde_json::from_slice(&row.entry.detail).unwrap_or(Value::Null),
        })
    }

    /// A number of the detail in full precision, else the payload's in ten thousandths.
    pub(super) fn number(&self, key: &str, scaled: i32) -> Option<f64> {
        match self.detail.get(key) {
            Some(value) => value.as_f64(),
            None => (scaled >= 0).then(|| f64::from(scaled) / 10_000.0),
        }
    }

    pub(super) fn text(&self, key: &str) -> &str {
        self.detail.get(key).and_then(Value::as_str).unwrap_or("")
    }
}

/// Wall time as `2026-01-31T12:00:00Z`; `-` when it is not known.
pub(super) struct Utc(pub(super) u64);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("-"),
            unix_s => f.write_str(&crate::sys::clock::rfc3339(unix_s)),
        }
    }
}

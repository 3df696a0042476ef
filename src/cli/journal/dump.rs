//! `crrd journal dump`: rows as text or JSON lines.

use std::io::{self, BufWriter, ErrorKind, Write};
use std::process::ExitCode;

use anyhow::Result;
use serde_json::{Value, json};

use super::Place;
use super::range::Range;
use super::rows::{Shown, Utc, each, kind_name, outcome_name};
use crate::journal::{Facts, Record, RowKind};

/// Prints rows, one a line.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    range: Range,
    /// One line of text a row, or one JSON object with everything the journal has of it
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let view = args.place.open()?;
    let facts = view.facts()?;
    let mut out = BufWriter::new(io::stdout().lock());
    let done = each(&view, facts.newest, |row| {
        if args.range.holds(&row) {
            match args.format {
                Format::Text => writeln!(out, "{}", text(&row, &facts))?,
                Format::Json => writeln!(out, "{}", object(&row, &facts))?,
            }
        }
        Ok(true)
    });
    match done.and_then(|()| Ok(out.flush()?)) {
        // `| head` has enough.
        Err(e) if is_closed_pipe(&e) => Ok(ExitCode::SUCCESS),
        other => other.map(|()| ExitCode::SUCCESS),
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe)
}

/// Payloads are JSON; one that is not is shown as text.
fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned()))
}

fn text(row: &Record, facts: &Facts) -> String {
    let (entry, state) = (&row.entry, if row.id <= facts.cursor { "" } else { " undelivered" });
    let begin = format!(
        "{:>8} {:20} {:11} e={} q={}",
        row.id,
        Utc(entry.at_unix_s).to_string(),
        kind_name(entry.kind),
        entry.epoch,
        entry.seq
    );
    match Shown::of(row, facts) {
        Some(shown) => {
            let w = &shown.wire;
            let mask = entry.mask.as_ref().map_or(String::new(), |m| format!(" mask={}B", m.len()));
            format!(
                "{begin} t={} p={} r={} {} k={} s={} h={} n={} l={}{mask}{state}",
                w.t,
                w.p,
                w.r,
                outcome_name(w.o),
                w.k,
                w.s,
                w.h,
                w.n,
                w.l
            )
        }
        None => format!("{begin} {}{state}", String::from_utf8_lossy(&entry.payload)),
    }
}

fn object(row: &Record, facts: &Facts) -> Value {
    let entry = &row.entry;
    let at = (entry.at_unix_s > 0).then(|| Utc(entry.at_unix_s).to_string());
    let mut object = json!({
        "id": row.id,
        "at": at,
        "kind": kind_name(entry.kind),
        "epoch": entry.epoch,
        "delivered": row.id <= facts.cursor,
        "payload": value(&entry.payload),
    });
    if entry.kind != RowKind::Event {
        object["seq"] = entry.seq.into();
        object["detail"] = if entry.detail.is_empty() { Value::Null } else { value(&entry.detail) };
        object["mask"] = entry.mask.as_deref().map_or(Value::Null, value);
    }
    object
}

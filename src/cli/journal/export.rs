//! `crrd journal export`: verdicts for quality records, as files that prove themselves.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::Place;
use super::range::Range;
use super::rows::{Shown, Utc, each, outcome_name};
use crate::journal::Record;
use crate::sys::clock::{Clock as _, RealClock};
use crate::sys::hash::sha256_file_hex;

const CSV: &str = "verdicts.csv";
const LINES: &str = "verdicts.jsonl";
const MANIFEST: &str = "manifest.json";
const MASKS: &str = "masks";

/// Columns of the CSV file, keys of the JSON lines.
const COLUMNS: [&str; 20] = [
    "epoch",
    "seq",
    "utc",
    "part",
    "trigger",
    "recipe",
    "class",
    "outcome",
    "reason",
    "score",
    "limit",
    "p_value",
    "regions",
    "latency_ms",
    "calibration",
    "flags",
    "late",
    "delivered",
    "station",
    "engine_sha256",
];

/// Writes verdicts as CSV and JSON lines into a new folder, with a manifest of their hashes.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    range: Range,
    /// Folder to write; must not exist, or be empty
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Also write the mask messages, one file each
    #[arg(long)]
    masks: bool,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let view = args.place.open()?;
    let facts = view.facts()?;
    let mut export = Export::begin(&args.out, args.masks)?;
    each(&view, facts.newest, |row| {
        if args.range.holds(&row)
            && let Some(shown) = Shown::of(&row, &facts)
        {
            export.add(&row, &shown)?;
        }
        Ok(true)
    })?;
    let verdicts = export.verdicts;
    export.finish()?;
    println!("{verdicts} verdicts in {}; {MANIFEST} has their hashes", args.out.display());
    Ok(ExitCode::SUCCESS)
}

struct Export {
    dir: PathBuf,
    csv: BufWriter<File>,
    lines: BufWriter<File>,
    with_masks: bool,
    masks: Vec<String>,
    verdicts: u64,
    span: Option<[(u32, u32); 2]>,
}

impl Export {
    fn begin(dir: &Path, with_masks: bool) -> Result<Self> {
        let made = || format!("cannot make the folder {}", dir.display());
        fs::create_dir_all(dir).with_context(made)?;
        if fs::read_dir(dir).with_context(made)?.next().is_some() {
            bail!("{} is not empty: name a new folder, an export is never mixed", dir.display());
        }
        if with_masks {
            fs::create_dir(dir.join(MASKS)).with_context(made)?;
        }
        let file = |name: &str| -> Result<_> {
            let path = dir.join(name);
            let file = File::create_new(&path);
            let file = file.with_context(|| format!("cannot write {}", path.display()))?;
            Ok(BufWriter::new(file))
        };
        let (mut csv, lines) = (file(CSV)?, file(LINES)?);
        writeln!(csv, "{}", COLUMNS.join(","))?;
        Ok(Self {
            dir: dir.to_owned(),
            csv,
            lines,
            with_masks,
            masks: Vec::new(),
            verdicts: 0,
            span: None,
        })
    }

    fn add(&mut self, row: &Record, shown: &Shown) -> Result<()> {
        let values = values(shown);
        let cells: Vec<String> = values.iter().map(cell).collect();
        writeln!(self.csv, "{}", cells.join(","))?;
        // Written by hand to keep the columns' order.
        let pairs: Vec<String> =
            COLUMNS.iter().zip(&values).map(|(k, v)| format!("\"{k}\":{v}")).collect();
        writeln!(self.lines, "{{{}}}", pairs.join(","))?;
        let numbers = (shown.wire.e, shown.wire.q);
        self.span = Some([self.span.map_or(numbers, |[first, _]| first), numbers]);
        self.verdicts += 1;
        if let (true, Some(mask)) = (self.with_masks, &row.entry.mask) {
            let name = format!("{MASKS}/{}-{}.json", numbers.0, numbers.1);
            let path = self.dir.join(&name);
            fs::write(&path, mask).with_context(|| format!("cannot write {}", path.display()))?;
            self.masks.push(name);
        }
        Ok(())
    }

    /// The manifest comes last: an export that was cut short has none.
    fn finish(self) -> Result<()> {
        let Self { dir, csv, lines, masks, verdicts, span, .. } = self;
        for file in [csv, lines] {
            file.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
        }
        let mut files = serde_json::Map::new();
        for name in [CSV.to_owned(), LINES.to_owned()].into_iter().chain(masks) {
            files.insert(name.clone(), sha256_file_hex(&dir.join(&name))?.into());
        }
        let manifest = json!({
            "format": 1,
            "program": concat!("crrd ", env!("CARGO_PKG_VERSION")),
            "created_utc": RealClock.wall_utc_rfc3339(),
            "verdicts": verdicts,
            "first": span.map(|[(e, q), _]| json!({"epoch": e, "seq": q})),
            "last": span.map(|[_, (e, q)]| json!({"epoch": e, "seq": q})),
            "sha256": files,
        });
        let mut text = serde_json::to_vec_pretty(&manifest)?;
        text.push(b'\n');
        Ok(crate::sys::fs::write_atomic(&dir.join(MANIFEST), &text)?)
    }
}

/// In the order of [`COLUMNS`].
fn values(shown: &Shown) -> [Value; COLUMNS.len()] {
    let w = &shown.wire;
    let at = (shown.at_unix_s > 0).then(|| Utc(shown.at_unix_s).to_string());
    let latency_ms =
        shown.detail["latency_ns"].as_u64().map_or(f64::from(w.l) / 10.0, |ns| ns as f64 / 1e6);
    [
        w.e.into(),
        w.q.into(),
        at.into(),
        w.p.as_str().into(),
        w.t.into(),
        w.r.into(),
        shown.text("class").into(),
        outcome_name(w.o).into(),
        w.k.into(),
        shown.number("score", w.s).into(),
        shown.number("limit", w.h).into(),
        shown.number("p_value", w.pv.into()).into(),
        w.n.into(),
        latency_ms.into(),
        format!("{:08x}", w.a).into(),
        w.f.into(),
        shown.late.into(),
        shown.delivered.into(),
        shown.text("station").into(),
        shown.text("engine_sha256").into(),
    ]
}

/// A CSV field (RFC 4180); nothing for a value that is not there.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) if text.contains([',', '"', '\n', '\r']) => {
            format!("\"{}\"", text.replace('"', "\"\""))
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_csv_field_is_quoted_only_when_it_must_be() {
        for (value, text) in [
            (json!(null), ""),
            (json!(0.25), "0.25"),
            (json!("P-1"), "P-1"),
            (json!("a,b"), "\"a,b\""),
            (json!("5\" \n"), "\"5\"\" \n\""),
        ] {
            assert_eq!(cell(&value), text);
        }
    }
}

//! `crrd journal check`: is the journal sound, and is it whole?

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use serde_json::Value;

use super::Place;
use super::rows::{each, kind_name};
use crate::cli::check::{Check, Outcome};
use crate::journal::{Facts, Record, RowId, RowKind, View};
use crate::message::decode_verdict;

/// Complaints of one kind shown; the rest is counted.
const SHOWN_MAX: usize = 3;

/// Checks pages, epochs, row numbers and payloads; exit code 0 when all is well, else 1.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let checks = examine(&args.place.open()?)?;
    for check in &checks {
        println!("{check}");
    }
    let failed = checks.iter().any(|c| matches!(c.outcome, Outcome::Fail(_)));
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn examine(view: &View) -> Result<Vec<Check>> {
    let facts = view.facts()?;
    let mut checks = vec![Check { name: "pages", outcome: pages(view) }];
    let mut findings = Findings::default();
    let read = each(view, facts.newest, |row| {
        findings.note(&row, &facts);
        Ok(true)
    });
    if let Err(error) = read {
        let text = format!("{error:#}: start the station, it moves a damaged database aside");
        checks.push(Check { name: "rows", outcome: Outcome::Fail(text) });
        return Ok(checks);
    }
    checks.push(Check { name: "epoch", outcome: epoch(&facts, findings.epoch_max) });
    checks.push(Check { name: "rows", outcome: findings.whole() });
    checks.push(Check { name: "payloads", outcome: findings.payloads() });
    checks.push(Check { name: "masks", outcome: masks(view, &findings) });
    checks.push(Check { name: "delivery", outcome: delivery(&facts, &findings) });
    Ok(checks)
}

fn pages(view: &View) -> Outcome {
    match view.damage().map_err(|e| anyhow!(e)) {
        Ok(damage) if damage.is_empty() => Outcome::Ok("every page is sound".to_owned()),
        Ok(damage) => Outcome::Fail(format!(
            "the database is damaged: {}; start the station, it saves what can be read",
            damage.join("; ")
        )),
        Err(error) => Outcome::Fail(format!("{error:#}")),
    }
}

fn epoch(facts: &Facts, newest_in_rows: u32) -> Outcome {
    let database = facts.epoch_database;
    match facts.epoch_file {
        _ if newest_in_rows > database => Outcome::Fail(format!(
            "rows of epoch {newest_in_rows}, but the database says {database}: an old copy of it \
             was put back; give the station a new name, or its next verdicts repeat old numbers"
        )),
        Some(file) if file == database => Outcome::Ok(format!("{database}, both copies agree")),
        Some(file) => Outcome::Warn(format!(
            "{file} in the file, {database} in the database: a start was cut short; the next one \
             goes on from the higher"
        )),
        None => Outcome::Warn(format!(
            "{database}, and its second copy is missing: the next start writes it"
        )),
    }
}

fn masks(view: &View, findings: &Findings) -> Outcome {
    match view.masks_without_row() {
        Err(error) => Outcome::Fail(format!("{:#}", anyhow!(error))),
        Ok(0) if findings.bad_masks.count == 0 => {
            Outcome::Ok(format!("{}, each with its verdict's numbers", findings.masks))
        }
        Ok(0) => Outcome::Fail(findings.bad_masks.to_string()),
        Ok(alone) => Outcome::Fail(format!("{alone} masks without a row")),
    }
}

fn delivery(facts: &Facts, findings: &Findings) -> Outcome {
    if facts.cursor > facts.newest && findings.rows > 0 {
        return Outcome::Fail(format!(
            "everything up to row {} counts as delivered, but the newest row is {}: rows are \
             missing at the end",
            facts.cursor, facts.newest
        ));
    }
    Outcome::Ok(format!("{} of {} rows undelivered", findings.undelivered, findings.rows))
}

/// Complaints of one kind.
#[derive(Debug, Default)]
struct Complaints {
    count: u64,
    first: Vec<String>,
}

impl Complaints {
    fn add(&mut self, text: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < SHOWN_MAX {
            self.first.push(text());
        }
    }
}

impl std::fmt::Display for Complaints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.first.join("; "))?;
        match self.count.saturating_sub(self.first.len() as u64) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

/// What one pass over the rows found.
#[derive(Debug, Default)]
struct Findings {
    rows: u64,
    undelivered: u64,
    masks: u64,
    epoch_max: u32,
    before: Option<RowId>,
    /// Row numbers that are missing between two rows.
    missing: u64,
    holes: Complaints,
    /// Rows that events account for.
    told_missing: u64,
    restarts: u64,
    bad_payloads: Complaints,
    bad_masks: Complaints,
    /// Sequence numbers of verdicts, by epoch.
    seen: BTreeMap<u32, Numbers>,
    repeated: Complaints,
}

impl Findings {
    fn note(&mut self, row: &Record, facts: &Facts) {
        let entry = &row.entry;
        self.rows += 1;
        self.undelivered += u64::from(row.id > facts.cursor);
        self.epoch_max = self.epoch_max.max(entry.epoch);
        if let Some(before) = self.before.replace(row.id)
            && row.id > before + 1
        {
            self.missing += row.id - before - 1;
            self.holes.add(|| format!("{} to {}", before + 1, row.id - 1));
        }
        match entry.kind {
            RowKind::Event => self.event(row),
            RowKind::Verdict | RowKind::LateResult => self.verdict(row),
        }
        if let Some(mask) = &entry.mask {
            self.masks += 1;
            if numbers(mask) != Some((entry.epoch, entry.seq)) {
                self.bad_masks.add(|| format!("the mask of row {} is another's", row.id));
            }
        }
    }

    fn event(&mut self, row: &Record) {
        let event: Value = serde_json::from_slice(&row.entry.payload).unwrap_or(Value::Null);
        match event["ev"].as_str() {
            Some("gap" | "late_dropped" | "events_dropped") => {
                self.told_missing += event["n"].as_u64().unwrap_or(0);
            }
            Some("journal_restarted") => self.restarts += 1,
            Some(_) => {}
            None => self.bad_payloads.add(|| format!("row {} is no event", row.id)),
        }
    }

    fn verdict(&mut self, row: &Record) {
        let entry = &row.entry;
        match decode_verdict(&entry.payload) {
            Err(_) => self.bad_payloads.add(|| format!("row {} is no verdict", row.id)),
            Ok(wire) if (wire.e, wire.q) != (entry.epoch, entry.seq) => {
                self.bad_payloads.add(|| {
                    format!(
                        "row {} is e={} q={} and its payload says e={} q={}",
                        row.id, entry.epoch, entry.seq, wire.e, wire.q
                    )
                });
            }
            Ok(_) => {}
        }
        let new = entry.kind != RowKind::Verdict
            || self.seen.entry(entry.epoch).or_default().insert(entry.seq);
        if !new {
            let kind = kind_name(entry.kind);
            self.repeated.add(|| format!("{kind} e={} q={}", entry.epoch, entry.seq));
        }
    }

    fn whole(&self) -> Outcome {
        let rows = self.rows;
        if self.repeated.count > 0 {
            return Outcome::Fail(format!("in the journal twice: {}", self.repeated));
        }
        if self.missing == 0 {
            return Outcome::Ok(format!("{rows} without a hole"));
        }
        let (missing, holes, told) = (self.missing, &self.holes, self.told_missing);
        if self.restarts > 0 {
            Outcome::Warn(format!(
                "{rows}; {missing} are missing ({holes}), and {} events tell of a damaged \
                 database",
                self.restarts
            ))
        } else if missing <= told {
            Outcome::Warn(format!("{rows}; {missing} were dropped for room, as gap events tell"))
        } else {
            Outcome::Fail(format!(
                "{rows}; {missing} are missing ({holes}) and gap events tell of {told} only"
            ))
        }
    }

    fn payloads(&self) -> Outcome {
        match self.bad_payloads.count {
            0 => Outcome::Ok("each says what its row says".to_owned()),
            _ => Outcome::Fail(self.bad_payloads.to_string()),
        }
    }
}

/// (e, q) of a mask message.
fn numbers(mask: &[u8]) -> Option<(u32, u32)> {
    let mask: Value = serde_json::from_slice(mask).ok()?;
    let number = |key: &str| mask[key].as_u64().and_then(|n| u32::try_from(n).ok());
    Some((number("e")?, number("q")?))
}

/// A set of numbers that mostly come in order: few ranges however many they are.
#[derive(Debug, Default)]
struct Numbers {
    /// First -> last.
    ranges: BTreeMap<u32, u32>,
}

impl Numbers {
    /// False when it is there already.
    fn insert(&mut self, number: u32) -> bool {
        let before = self.ranges.range(..=number).next_back().map(|(first, last)| (*first, *last));
        if before.is_some_and(|(_, last)| number <= last) {
            return false;
        }
        let first = before.filter(|(_, last)| last + 1 == number).map_or(number, |(f, _)| f);
        let joined = number.checked_add(1).and_then(|next| self.ranges.remove(&next));
        self.ranges.insert(first, joined.unwrap_or(number));
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_are_a_set(numbers in proptest::collection::vec(0u32..60, 0..120)) {
            let (mut ranges, mut set) = (Numbers::default(), std::collections::BTreeSet::new());
            for number in numbers {
                prop_assert_eq!(ranges.insert(number), set.insert(number));
            }
            let all: Vec<u32> = ranges.ranges.iter().flat_map(|(a, b)| *a..=*b).collect();
            prop_assert_eq!(all, set.into_iter().collect::<Vec<_>>());
        }
    }
}

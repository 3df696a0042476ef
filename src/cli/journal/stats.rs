//! `crrd journal stats`: what is in it, by outcome and by day, and what consumers have of it.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Result;

use super::Place;
use super::rows::{Shown, Utc, each, outcome_name};
use crate::journal::RowKind;
use crate::message::Receipt;

/// Counts rows by kind, outcome and day; says what each consumer has confirmed.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,
}

/// Verdicts by outcome.
#[derive(Clone, Copy, Debug, Default)]
struct Day {
    outcomes: [u64; 4],
}

impl Day {
    fn count(&mut self, outcome: u8) {
        self.outcomes[usize::from(outcome.min(3))] += 1;
    }

    fn line(&self) -> String {
        let parts = (0..).zip(self.outcomes).map(|(o, n)| format!("{} {n}", outcome_name(o)));
        format!("{} ({})", self.outcomes.iter().sum::<u64>(), parts.collect::<Vec<_>>().join(", "))
    }
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let view = args.place.open()?;
    let facts = view.facts()?;
    let (mut all, mut days) = (Day::default(), BTreeMap::<String, Day>::new());
    let (mut rows, mut undelivered, mut events, mut late, mut gaps) = (0u64, 0u64, 0u64, 0u64, 0);
    let (mut masks, mut mask_bytes) = (0u64, 0u64);
    let mut before = None;
    each(&view, facts.newest, |row| {
        rows += 1;
        undelivered += u64::from(row.id > facts.cursor);
        gaps += before.map_or(0, |id| row.id - id - 1);
        before = Some(row.id);
        masks += u64::from(row.entry.mask.is_some());
        mask_bytes += row.entry.mask.as_ref().map_or(0, |mask| mask.len() as u64);
        match row.entry.kind {
            RowKind::Event => events += 1,
            RowKind::LateResult => late += 1,
            RowKind::Verdict => {
                if let Some(shown) = Shown::of(&row, &facts) {
                    let at = Utc(shown.at_unix_s).to_string();
                    let day = at.split('T').next().unwrap_or("-").to_owned();
                    all.count(shown.wire.o);
                    days.entry(day).or_default().count(shown.wire.o);
                }
            }
        }
        Ok(true)
    })?;
    println!("rows          {rows} ({} in the tail only)", facts.in_tail);
    println!("verdicts      {}", all.line());
    println!("late results  {late}");
    println!("events        {events}");
    println!("masks         {masks} ({mask_bytes} bytes)");
    println!("undelivered   {undelivered}");
    println!("missing rows  {gaps}");
    println!("boot epoch    {}", facts.epoch_database);
    println!("bytes on disk {}", facts.bytes);
    println!("put aside     {} damaged databases", facts.put_aside);
    for Receipt { consumer, epoch, seq } in &facts.receipts {
        println!("confirmed     up to e={epoch} q={seq} by {consumer}");
    }
    for (day, counts) in days {
        println!("{:13} {}", if day == "-" { "no date" } else { &day }, counts.line());
    }
    Ok(ExitCode::SUCCESS)
}

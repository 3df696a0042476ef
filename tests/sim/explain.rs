//! One seed, and the smallest story of its failure.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crrd::journal::Notice;
use crrd::message::{Event, encode_event};

use super::oracle::Stats;
use super::plan::{Defect, Plan};
use super::store::Model;
use super::world::World;

/// Lines of a story at most.
const LINES_MAX: usize = 80;

/// The journal's notices as events, as the pipeline writes them.
pub(crate) fn notice(epoch: u32, notice: &Notice) -> Vec<u8> {
    let (kind, range, count) = match notice {
        Notice::RowsDropped { rows, first, last } => ("gap", Some((*first, *last)), *rows),
        Notice::LateResultsDropped { rows, first, last } => {
            ("late_dropped", Some((*first, *last)), *rows)
        }
        Notice::EventsDropped { rows } => ("events_dropped", None, *rows),
        Notice::MasksDropped { rows, first, last } => {
            ("masks_dropped", Some((*first, *last)), *rows)
        }
        Notice::Restarted(restarted) => ("journal_restarted", None, restarted.carried_over),
    };
    encode_event(&Event { epoch, kind, range, count, text: "" }).into_bytes()
}

/// Plays a plan; what went wrong, and the story when it is wanted.
pub(crate) fn play(plan: &Plan, traced: bool) -> (Result<Stats, String>, Vec<String>) {
    let mut store = Model::new(plan.sync, plan.journal_bytes, notice);
    store.forgetful = plan.is(Defect::JournalForgets);
    store.epoch_stays = plan.is(Defect::EpochStays);
    let mut world = World::new(plan.clone(), store, traced);
    // An invariant that does not hold is a panic in the machine that has it.
    let result = catch_unwind(AssertUnwindSafe(|| world.run())).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        Err(format!("panic: {}", text.unwrap_or_default()))
    });
    (result, world.trace().to_vec())
}

/// Leaves out faults and parts as long as it still fails.
fn smallest(mut plan: Plan) -> Plan {
    let fails = |plan: &Plan| play(plan, false).0.is_err();
    let mut at = 0;
    while at < plan.faults.len() {
        let mut less = plan.clone();
        less.faults.remove(at);
        if fails(&less) { plan = less } else { at += 1 }
    }
    let less = Plan { replays: vec![], ..plan.clone() };
    if fails(&less) {
        plan = less;
    }
    for parts in 1..plan.parts {
        let less = Plan { parts, ..plan.clone() };
        if fails(&less) {
            return less;
        }
    }
    plan
}

/// The story of a failed seed for people.
pub(crate) fn told(seed: u64, defect: Option<Defect>) -> String {
    let whole = Plan::of(seed, defect);
    let (result, _) = play(&whole, false);
    let plan = smallest(whole);
    let (small, trace) = play(&plan, true);
    let from = trace.len().saturating_sub(LINES_MAX);
    format!(
        "seed {seed}: {}\nsmallest world that still fails: {}\n{plan:?}\n\n{}\n\n\
         again, with everything: CRRD_SIM_SEED={seed} cargo test --test sim -- --nocapture",
        result.err().unwrap_or_default(),
        small.err().unwrap_or_default(),
        trace[from..].join("\n"),
    )
}

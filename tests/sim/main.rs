//! The deterministic simulation: station, journal, publisher, network, broker and PLC in one
//! thread and one virtual time, with faults by seed.
//!
//! What is real: `station::Station`, `publish::session::Session`, `judge::Judge`,
//! `capture::FrameNumbers`, all payloads, commands and their readers, the rules of a late decision,
//! the search for a range to be sent again and the memory of what was asked; in `disk`, the journal on files as well. What is modelled: threads (as events with random
//! delays), the MQTT client library, the network, the broker, the PLC with the rules of
//! `docs/plc.md`, the camera, the time that things take, and in most seeds the journal.
//!
//! The oracle wants, after everything was repaired and has come to rest: each accepted part has
//! exactly one decision; each committed decision reached the broker's subscribers, twice only
//! with the same (epoch, seq) and content, in order on each lane; nothing was told before it was
//! committed; no part passed that is not proved good, or whose answer came too late; new parts
//! are taken and pass. Each command that the station took was answered once, after the state that
//! it changed, and an answer that the broker did not get was counted as lost; what a PLC asks for
//! again until it is answered is answered. A replay sends the verdicts of its range that are in the
//! journal, all of them and nothing else, and no delivery counts by it.
//!
//! ```text
//! cargo test --test sim                                   100 000 seeds
//! CRRD_SIM_SEEDS=1000000 cargo test --test sim            every night
//! CRRD_SIM_SEED=17 cargo test --test sim -- --nocapture   one seed, told step by step
//! ```

#![allow(missing_docs, clippy::unwrap_used)]

mod broker;
mod command;
mod disk;
mod explain;
mod faults;
mod inspect;
mod line;
mod link;
mod net;
mod oracle;
mod plan;
mod plc;
mod process;
mod publisher;
mod replay;
mod rng;
mod store;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use explain::{play, told};
use oracle::Stats;
use plan::{Defect, Plan};
use world::World;

/// Seeds of a run of `cargo test`.
const SEEDS: u64 = 100_000;
/// Lives of the real journal in a run of `cargo test`, and as many worlds over it.
const DISK_SEEDS: u64 = 2_000;
/// A built-in defect must be found within this many seeds.
const DEFECT_SEEDS: u64 = 5_000;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// Plays seeds from `first` on all cores until one fails with `word` in what it says; the lowest
/// such seed found, and what was seen.
fn sweep(first: u64, seeds: u64, defect: Option<Defect>, word: &str) -> (Option<u64>, Stats) {
    let next = AtomicU64::new(first);
    let stop = AtomicBool::new(false);
    let work = || {
        let (mut failed, mut stats) = (None, Stats::default());
        while !stop.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + seeds {
                break;
            }
            match play(&Plan::of(seed, defect), false).0 {
                Ok(seen) => stats.add(&seen),
                Err(wrong) if !wrong.contains(word) => {}
                Err(_) => {
                    failed = Some(seed);
                    stop.store(true, Ordering::Relaxed);
                }
            }
        }
        (failed, stats)
    };
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let results: Vec<_> = std::thread::scope(|scope| {
        let start = |n| {
            let thread = std::thread::Builder::new().name(format!("sim-{n}"));
            thread.spawn_scoped(scope, work).unwrap()
        };
        let threads: Vec<_> = (0..cores).map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut all = Stats::default();
    results.iter().for_each(|(_, stats)| all.add(stats));
    (results.iter().filter_map(|(failed, _)| *failed).min(), all)
}

#[test]
fn no_seed_loses_a_verdict_or_passes_a_bad_part() {
    if let Some(seed) = number("CRRD_SIM_SEED") {
        let (result, trace) = play(&Plan::of(seed, None), true);
        println!("{}", trace.join("\n"));
        return assert_eq!(result.err(), None, "seed {seed}");
    }
    let seeds = number("CRRD_SIM_SEEDS").unwrap_or(SEEDS);
    let begin = Instant::now();
    let (failed, stats) = sweep(number("CRRD_SIM_FIRST").unwrap_or(0), seeds, None, "");
    if let Some(seed) = failed {
        panic!("{}", told(seed, None));
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!("{seeds} seeds in {seconds:.1} s, {:.0} a second; {stats:?}", seeds as f64 / seconds);
    // The faults really happened, and so did ordinary work.
    let per_seed = |count: u64| count as f64 / seeds as f64;
    assert!(per_seed(stats.committed) > 5.0 && per_seed(stats.passed) > 2.0, "{stats:?}");
    assert!(stats.starts > seeds + seeds / 5, "{stats:?}");
    assert!(stats.duplicates > seeds / 20 && stats.late > seeds / 5, "{stats:?}");
    assert!(per_seed(stats.answers) > 5.0 && per_seed(stats.again) > 1.0, "{stats:?}");
    assert!(seeds < 1_000 || stats.answers_lost > seeds / 20, "{stats:?}");
    assert!(seeds < 1_000 || (stats.dropped > 0 && stats.excused > 0), "{stats:?}");
}

/// Runs `one` for `seeds` seeds on all cores.
fn on_all_cores(seeds: u64, one: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(0);
    let work = || {
        while let Some(seed) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|s| *s < seeds) {
            one(seed);
        }
    };
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for n in 0..cores {
            let thread = std::thread::Builder::new().name(format!("sim-{n}"));
            thread.spawn_scoped(scope, work).unwrap();
        }
    });
}

/// Names the seed when `work` panics.
fn named<T>(seed: u64, work: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        println!("the panic above happened in seed {seed}");
        resume_unwind(panic)
    })
}

#[test]
fn the_real_journal_keeps_every_synced_row_at_every_crash_point() {
    let seeds = number("CRRD_SIM_DISK_SEEDS").unwrap_or(DISK_SEEDS);
    let begin = Instant::now();
    let (starts, torn, told) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    on_all_cores(seeds, |seed| {
        // A failed check is a panic in this thread; the seed must be in its words.
        let (s, t) = named(seed, || disk::life(seed));
        starts.fetch_add(s, Ordering::Relaxed);
        torn.fetch_add(t, Ordering::Relaxed);
        told.fetch_add(u64::from(named(seed, || disk::rot(seed))), Ordering::Relaxed);
    });
    println!(
        "{seeds} lives: {starts:?} starts, {torn:?} torn commits, {told:?} of {seeds} damaged \
         databases started afresh, {:.1} s",
        begin.elapsed().as_secs_f64()
    );
    assert!(torn.load(Ordering::Relaxed) > seeds / 2);
    assert!(told.load(Ordering::Relaxed) > seeds / 50);
}

#[test]
fn the_world_is_the_same_on_the_real_journal() {
    let seeds = number("CRRD_SIM_DISK_SEEDS").unwrap_or(DISK_SEEDS);
    let begin = Instant::now();
    on_all_cores(seeds, |seed| {
        let plan = Plan { journal_bytes: usize::MAX, ..Plan::of(seed, None) };
        let result = World::new(plan.clone(), disk::Disk::new(plan.sync), false).run();
        assert_eq!(result.err(), None, "seed {seed} on the real journal");
    });
    println!("{seeds} worlds on the real journal in {:.1} s", begin.elapsed().as_secs_f64());
}

#[test]
fn every_built_in_defect_is_found_and_called_by_its_name() {
    for defect in Defect::ALL {
        let (failed, stats) = sweep(0, DEFECT_SEEDS, Some(defect), defect.sign());
        let seed = failed.unwrap_or_else(|| panic!("{defect:?} was not found: {stats:?}"));
        let wrong = play(&Plan::of(seed, Some(defect)), false).0.unwrap_err();
        println!("{defect:?}: seed {seed}: {wrong}");
    }
}

#[test]
fn a_seed_gives_the_same_world_each_time() {
    for seed in 0..50 {
        let (first, second) =
            (play(&Plan::of(seed, None), true), play(&Plan::of(seed, None), true));
        assert_eq!(first, second, "seed {seed}");
    }
}

//! The whole line against its named reference: nothing but inference, on the same engine and
//! pictures, in the same run. Camera (raw frames of 640x480), preprocessing, judgement, journal
//! (full sync) and publishing to nobody are what the line adds; they run beside the inference or
//! are small against it.
//!
//! Target: the line takes at most 3 % or 1 ms longer per part than the inference alone.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod support;

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use crrd::engine::bundle::BundleSource;
use crrd::engine::{Backend, Engine, open_many};
use crrd::pipeline::{Decision, Line};
use crrd::sys::notify::Notify;
use crrd::sys::shutdown::Shutdown;
use support::station::{Pace, Station, alone};
use support::{OVERHEAD_MAX, OVERHEAD_MS_MAX, bundle, median, overhead_is_met};

/// Parts before the clock starts: caches and buffers are warm then.
const WARM_UP: usize = 10;
/// Parts timed in each round.
const PARTS: usize = 60;
/// Rounds of (inference alone, line), in turn.
const ROUNDS: usize = 5;

/// Time per part of the line; its end (the flush to nobody) is not counted.
fn line(station: &Station, engine: Box<dyn Engine>) -> Duration {
    let (decided_in, decided) = channel();
    let observer = move |_: &Decision| _ = decided_in.send(Instant::now());
    let line = Line::start(station.parts(engine, Box::new(observer))).unwrap();
    let times: Vec<Instant> = decided.iter().take(WARM_UP + PARTS).collect();
    let shutdown = Shutdown::manual();
    shutdown.request();
    let summary = line.run(&shutdown, &Notify::silent()).unwrap();
    assert_eq!(summary.counters.invalid, 0, "every part was judged");
    (times[WARM_UP + PARTS - 1] - times[WARM_UP - 1]) / PARTS as u32
}

fn main() {
    // `cargo test --benches` only asks whether it starts.
    let rounds = if std::env::args().any(|a| a == "--bench") { ROUNDS } else { 1 };
    let scratch = tempfile::tempdir().unwrap();
    let bundle = BundleSource::Dir(bundle(scratch.path()));
    let mut engines = open_many(&bundle, Backend::Cpu, rounds + 1).unwrap();
    let mut bare = engines.pop().unwrap();
    let station = Station::new(scratch.path());
    let input = station.input(&*bare);

    let (mut lines, mut alones) = (vec![], vec![]);
    for engine in engines {
        let times = alone(&mut *bare, &input, Pace::Unbroken, WARM_UP, PARTS);
        alones.push(times.iter().sum::<Duration>() / PARTS as u32);
        lines.push(line(&station, engine));
        let (a, l) = (alones.last().unwrap(), lines.last().unwrap());
        println!("round: inference alone {a:.3?}, line {l:.3?}");
    }
    let (alone, line) = (median(alones).as_secs_f64() * 1e3, median(lines).as_secs_f64() * 1e3);
    println!(
        "RATIO pipeline: {line:.3} ms a part against {alone:.3} ms of bare inference = {:.1} \
         parts/s, overhead {:.3} ms = {:.2} % (target at most {:.0} % or {OVERHEAD_MS_MAX} ms: {})",
        1e3 / line,
        line - alone,
        (line / alone - 1.0) * 100.0,
        OVERHEAD_MAX * 100.0,
        overhead_is_met(line, alone)
    );
}

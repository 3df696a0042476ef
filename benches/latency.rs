//! From the complete frame to the broker's acknowledgement: preprocessing, inference, judgement,
//! a journal that syncs, MQTT to a real Mosquitto on loopback. Parts come at fixed times, at half
//! and at nine tenths of the rate that the bare inference would allow.
//!
//! In turns with them the inference alone is timed, without a break and at the same fixed times: a
//! processor that slept, and caches that others used meanwhile, cost the inference itself some time,
//! which is no doing of the line. The preprocessing is timed alone, too. Where a part spends its time
//! is told by when the engine was asked and when it answered, and when the verdict was made, on disk
//! and acknowledged.
//!
//! Target: at half load the line adds at most 3 % or 1 ms to the bare inference at the same times.
//! With `CRRD_CORE` the inference keeps to that processor, in the line and alone.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod support;

use std::sync::mpsc::Receiver;
use std::time::Duration;

use crrd::engine::bundle::BundleSource;
use crrd::engine::{Backend, open_many};
use support::broker::Broker;
use support::live::{Times, percentile, run};
use support::puback::{Acknowledged, relay};
use support::station::{Pace, Station, alone, timed};
use support::{OVERHEAD_MAX, OVERHEAD_MS_MAX, bundle, median, overhead_is_met};

/// Shares of the bare inference's rate.
const LOADS: [f64; 2] = [0.5, 0.9];
/// Rounds of (inference alone, each load), in turn: all meet the same machine.
const ROUNDS: usize = 5;
/// Parts of each load in a round: 1 000 in all, of which the 99.9th percentile is the second worst.
const PARTS: usize = 200;
/// Parts that are not counted: the station starts, and connects to the broker, during the first.
const WARM_UP: usize = 10;
/// Pictures of a round for the inference alone.
const ALONE: usize = 60;

/// Percentiles of one of the times.
fn percentiles(times: &[Times], of: impl Fn(&Times) -> f64) -> [f64; 3] {
    let mut values: Vec<f64> = times.iter().map(of).collect();
    [0.5, 0.99, 0.999].map(|share| percentile(&mut values, share))
}

fn median_ms(times: &[Duration]) -> f64 {
    median(times.to_vec()).as_secs_f64() * 1e3
}

/// Medians of what lies between the times of a part: where it spends how long.
fn print_stages(times: &[Times], preparing_ms: f64) {
    let between = |begin: fn(&Times) -> f64, end: fn(&Times) -> f64| {
        percentiles(times, |t| end(t) - begin(t))[0]
    };
    println!(
        "  p50 of what lies between: {:.2} ms to the engine (of which preprocessing, alone: \
         {preparing_ms:.2}), {:.2} inference, {:.2} to the verdict, {:.2} to the journal, {:.2} to \
         the PUBACK",
        between(|_| 0.0, |t| t.asked_ms),
        between(|t| t.asked_ms, |t| t.answered_ms),
        between(|t| t.answered_ms, |t| t.decided_ms),
        between(|t| t.decided_ms, |t| t.journaled_ms),
        between(|t| t.journaled_ms, |t| t.acknowledged_ms),
    );
}

fn report(load: f64, measured: &Measured, unbroken_ms: f64) {
    let Measured { line: times, paced, preparing } = measured;
    println!("load {:.0} %, {} parts, from the complete frame:", load * 100.0, times.len());
    let print = |what: &str, [a, b, c]: [f64; 3]| {
        println!("  to {what:<12} p50 {a:.2} p99 {b:.2} p99.9 {c:.2} ms");
    };
    print("the verdict", percentiles(times, |t| t.decided_ms));
    print("journaled", percentiles(times, |t| t.journaled_ms));
    print("PUBACK", percentiles(times, |t| t.acknowledged_ms));
    print_stages(times, median_ms(preparing));
    let (paced_ms, line_ms) = (median_ms(paced), percentiles(times, |t| t.acknowledged_ms)[0]);
    println!(
        "  RATIO latency: {:.2} ms = {:.1} % more than the inference alone at the same times, \
         {paced_ms:.2} ms (target at most {:.0} % or {OVERHEAD_MS_MAX} ms: {}); {:.1} % more than \
         without a break, {unbroken_ms:.2} ms",
        line_ms - paced_ms,
        (line_ms / paced_ms - 1.0) * 100.0,
        OVERHEAD_MAX * 100.0,
        overhead_is_met(line_ms, paced_ms),
        (line_ms / unbroken_ms - 1.0) * 100.0,
    );
}

/// What was measured of one load.
#[derive(Default)]
struct Measured {
    line: Vec<Times>,
    paced: Vec<Duration>,
    preparing: Vec<Duration>,
}

fn main() {
    let bench = std::env::args().any(|a| a == "--bench");
    let (rounds, parts) = if bench { (ROUNDS, PARTS) } else { (1, 5) };
    let pictures = ALONE.min(parts);
    let Some(broker) = Broker::start() else { return };
    let (port, acknowledged): (u16, Receiver<Acknowledged>) = relay(broker.port);
    let scratch = tempfile::tempdir().unwrap();
    let bundle = BundleSource::Dir(bundle(scratch.path()));
    let mut engines = open_many(&bundle, Backend::Cpu, rounds * LOADS.len() + 1).unwrap();
    let mut bare = engines.pop().unwrap();
    let mut station = Station::new(scratch.path());
    station.broker.port = port;
    let input = station.input(&*bare);
    let (mut prepare, mut prepared) = (station.preparing(&*bare), vec![]);

    let mut unbroken = vec![];
    let mut measured = LOADS.map(|_| Measured::default());
    for round in 0..rounds {
        let times = alone(&mut *bare, &input, Pace::Unbroken, WARM_UP, pictures);
        let inference = median(times.clone());
        unbroken.extend(times);
        for (load, measured) in LOADS.iter().zip(&mut measured) {
            let every = inference.div_f64(*load);
            let pace = Pace::Every(every);
            let paced = alone(&mut *bare, &input, pace, WARM_UP, pictures);
            let preparing = timed(pace, WARM_UP, pictures, || prepare(&mut prepared));
            station.rate_hz = every.as_secs_f64().recip();
            let engine = engines.pop().unwrap();
            let times = run(&station, engine, &acknowledged, WARM_UP, parts);
            println!(
                "round {round}: inference alone {:.2} ms, at {:.2} a second {:.2} ms; line p50 {:.2} ms",
                inference.as_secs_f64() * 1e3,
                station.rate_hz,
                median_ms(&paced),
                percentiles(&times, |t| t.acknowledged_ms)[0]
            );
            measured.line.extend(times);
            measured.paced.extend(paced);
            measured.preparing.extend(preparing);
        }
    }
    let unbroken_ms = median_ms(&unbroken);
    for (load, measured) in LOADS.iter().zip(&measured) {
        report(*load, measured, unbroken_ms);
    }
}

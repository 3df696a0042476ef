//! From the complete frame to the broker's acknowledgement: preprocessing, inference, judgement,
//! a journal that syncs, MQTT to a real Mosquitto on loopback. Parts come at fixed times, at half
//! and at nine tenths of the rate that the bare inference would allow.
//!
//! In turns with them the inference alone is timed, without a break and at the same fixed times: a
//! processor that slept, and caches that others used meanwhile, cost the inference itself some time,
//! which is no doing of the line.
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
use support::station::{Pace, Station, alone};
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

fn report(load: f64, times: &[Times], paced: &[Duration], unbroken_ms: f64) {
    println!("load {:.0} %, {} parts, from the complete frame:", load * 100.0, times.len());
    let print = |what: &str, [a, b, c]: [f64; 3]| {
        println!("  to {what:<12} p50 {a:.2} p99 {b:.2} p99.9 {c:.2} ms");
    };
    print("the verdict", percentiles(times, |t| t.decided_ms));
    print("journaled", percentiles(times, |t| t.journaled_ms));
    print("PUBACK", percentiles(times, |t| t.acknowledged_ms));
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

    let mut unbroken = vec![];
    let mut measured = LOADS.map(|_| Measured::default());
    for round in 0..rounds {
        let times = alone(&mut *bare, &input, Pace::Unbroken, WARM_UP, pictures);
        let inference = median(times.clone());
        unbroken.extend(times);
        for (load, measured) in LOADS.iter().zip(&mut measured) {
            let every = inference.div_f64(*load);
            let paced = alone(&mut *bare, &input, Pace::Every(every), WARM_UP, pictures);
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
        }
    }
    let unbroken_ms = median_ms(&unbroken);
    for (load, measured) in LOADS.iter().zip(&measured) {
        report(*load, &measured.line, &measured.paced, unbroken_ms);
    }
}

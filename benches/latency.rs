//! From the complete frame to the broker's acknowledgement: preprocessing, inference, judgement,
//! a journal that syncs, MQTT to a real Mosquitto on loopback. Parts come at fixed times, at half
//! and at nine tenths of the rate that the bare inference would allow; inference alone is timed
//! in turns with them.
//!
//! Target: at half load the line adds at most 3 % or 1 ms to the bare inference.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod support;

use std::sync::mpsc::Receiver;

use crrd::engine::bundle::BundleSource;
use crrd::engine::{Backend, open_many};
use support::broker::Broker;
use support::live::{Times, percentile, run};
use support::puback::{Acknowledged, relay};
use support::station::{Station, alone};
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

fn report(load: f64, times: &[Times]) {
    let mut acknowledged: Vec<f64> = times.iter().map(|t| t.acknowledged_ms).collect();
    let mut journaled: Vec<f64> = times.iter().map(|t| t.journaled_ms).collect();
    let p = |values: &mut [f64]| [0.5, 0.99, 0.999].map(|share| percentile(values, share));
    let ([a, b, c], [x, y, z]) = (p(&mut acknowledged), p(&mut journaled));
    println!(
        "load {:.0} %: frame complete to PUBACK p50 {a:.2} p99 {b:.2} p99.9 {c:.2} ms; to journaled \
         p50 {x:.2} p99 {y:.2} p99.9 {z:.2} ms ({} parts)",
        load * 100.0,
        times.len()
    );
}

fn main() {
    let bench = std::env::args().any(|a| a == "--bench");
    let (rounds, parts) = if bench { (ROUNDS, PARTS) } else { (1, 5) };
    let Some(broker) = Broker::start() else { return };
    let (port, acknowledged): (u16, Receiver<Acknowledged>) = relay(broker.port);
    let scratch = tempfile::tempdir().unwrap();
    let bundle = BundleSource::Dir(bundle(scratch.path()));
    let mut engines = open_many(&bundle, Backend::Cpu, rounds * LOADS.len() + 1).unwrap();
    let mut bare = engines.pop().unwrap();
    let mut station = Station::new(scratch.path());
    station.broker.port = port;
    let input = station.input(&*bare);

    let mut alones = vec![];
    let mut measured = LOADS.map(|_| vec![]);
    for round in 0..rounds {
        let times = alone(&mut *bare, &input, WARM_UP, ALONE.min(parts));
        let inference_s = median(times.clone()).as_secs_f64();
        alones.extend(times);
        for (load, measured) in LOADS.iter().zip(&mut measured) {
            station.rate_hz = load / inference_s;
            let engine = engines.pop().unwrap();
            let times = run(&station, engine, &acknowledged, WARM_UP, parts);
            let mut acks: Vec<f64> = times.iter().map(|t| t.acknowledged_ms).collect();
            println!(
                "round {round}: inference alone {:.2} ms; {:.2} parts/s: p50 {:.2} ms",
                inference_s * 1e3,
                station.rate_hz,
                percentile(&mut acks, 0.5)
            );
            measured.extend(times);
        }
    }
    for (load, times) in LOADS.iter().zip(&measured) {
        report(*load, times);
    }
    let alone_ms = median(alones).as_secs_f64() * 1e3;
    let mut half: Vec<f64> = measured[0].iter().map(|t| t.acknowledged_ms).collect();
    let line_ms = percentile(&mut half, 0.5);
    println!(
        "RATIO latency: {line_ms:.2} ms at half load against {alone_ms:.2} ms of bare inference: \
         {:.2} ms = {:.1} % more (target at most {:.0} % or {OVERHEAD_MS_MAX} ms: {})",
        line_ms - alone_ms,
        (line_ms / alone_ms - 1.0) * 100.0,
        OVERHEAD_MAX * 100.0,
        overhead_is_met(line_ms, alone_ms)
    );
}

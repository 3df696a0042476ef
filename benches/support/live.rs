//! Parts from the complete frame to the broker's acknowledgement.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crrd::engine::Engine;
use crrd::judge::Outcome;
use crrd::pipeline::{Decision, Line};
use crrd::sys::clock::{Clock, RealClock};
use crrd::sys::notify::Notify;
use crrd::sys::shutdown::Shutdown;

use super::puback::Acknowledged;
use super::station::Station;

/// Longest wait for an acknowledgement; only a failure takes so long.
const PATIENCE: Duration = Duration::from_secs(120);

/// Times of one part in milliseconds since its frame was complete.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Its verdict was made.
    pub decided_ms: f64,
    /// The verdict is on disk.
    pub journaled_ms: f64,
    /// The broker has acknowledged it.
    pub acknowledged_ms: f64,
}

/// Runs the station until `warm_up + parts` live verdicts are acknowledged; the times of all but
/// the first `warm_up`. Every one of these parts must have been judged.
pub fn run(
    station: &Station,
    engine: Box<dyn Engine>,
    acknowledged: &Receiver<Acknowledged>,
    warm_up: usize,
    parts: usize,
) -> Vec<Times> {
    let (decided_in, decided) = channel();
    let observer = move |d: &Decision| {
        let judged = d.record.verdict.outcome() != Outcome::Invalid;
        let id = (d.record.epoch, d.record.seq);
        let _ = decided_in.send((id, judged, d.record.latency, d.arrived, RealClock.now()));
    };
    let line = Line::start(station.parts(engine, Box::new(observer))).unwrap();
    let answers: Vec<Acknowledged> = (0..warm_up + parts)
        .map(|_| acknowledged.recv_timeout(PATIENCE).expect("the broker acknowledges verdicts"))
        .collect();
    let shutdown = Shutdown::manual();
    shutdown.request();
    line.run(&shutdown, &Notify::silent()).unwrap();
    // What was still on its way belongs to nobody.
    while acknowledged.try_recv().is_ok() {}
    let decisions: BTreeMap<_, _> = decided
        .iter()
        .map(|(id, judged, decided, arrived, at)| (id, (judged, decided, arrived, at)))
        .collect();
    let times = |answer: &Acknowledged| {
        let (judged, decided, arrived, journaled) = decisions[&(answer.epoch, answer.seq)];
        assert!(judged, "part {} was judged", answer.seq);
        Times {
            decided_ms: decided.as_ms(),
            journaled_ms: journaled.since(arrived).as_ms(),
            acknowledged_ms: answer.at.since(arrived).as_ms(),
        }
    };
    answers[warm_up..].iter().map(times).collect()
}

/// The value that this share of all values does not exceed (nearest rank).
pub fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * share).ceil() as usize;
    values[rank.clamp(1, values.len()) - 1]
}

//! Parts from the complete frame to the broker's acknowledgement.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crrd::engine::Engine;
use crrd::frame::Nanos;
use crrd::judge::Outcome;
use crrd::pipeline::{Decision, Line};
use crrd::sys::clock::{Clock, RealClock};
use crrd::sys::notify::Notify;
use crrd::sys::shutdown::Shutdown;

use super::puback::Acknowledged;
use super::station::Station;
use super::watched::{Span, Watched};

/// Longest wait for an acknowledgement; only a failure takes so long.
const PATIENCE: Duration = Duration::from_secs(120);

/// Times of one part in milliseconds since its frame was complete.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// The engine was asked: the threads are awake, its input is made.
    pub asked_ms: f64,
    /// It had answered, for all tiles and views.
    pub answered_ms: f64,
    /// Its verdict was made.
    pub decided_ms: f64,
    /// The verdict is on disk.
    pub journaled_ms: f64,
    /// The broker has acknowledged it.
    pub acknowledged_ms: f64,
}

/// What was noted of one part.
struct Noted {
    judged: bool,
    arrived: Nanos,
    inferred: Span,
    decided: Nanos,
    journaled: Nanos,
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
    let ((decided_in, decided), (told, spans)) = (channel(), channel());
    let observer = move |d: &Decision| {
        let judged = d.record.verdict.outcome() != Outcome::Invalid;
        let decided = Nanos(d.arrived.0 + d.record.latency.0);
        let id = (d.record.epoch, d.record.seq);
        let _ = decided_in.send((id, judged, d.arrived, decided, RealClock.now()));
    };
    let engine = Box::new(Watched { engine, told });
    let line = Line::start(station.parts(engine, Box::new(observer))).unwrap();
    let answers: Vec<Acknowledged> = (0..warm_up + parts)
        .map(|_| acknowledged.recv_timeout(PATIENCE).expect("the broker acknowledges verdicts"))
        .collect();
    let shutdown = Shutdown::manual();
    shutdown.request();
    line.run(&shutdown, &Notify::silent()).unwrap();
    // What was still on its way belongs to nobody.
    while acknowledged.try_recv().is_ok() {}
    let mut spans = spans.into_iter().peekable();
    let noted: BTreeMap<_, _> = decided
        .into_iter()
        .map(|(id, judged, arrived, decided, journaled)| {
            let inferred = inferred(&mut spans, arrived, decided);
            (id, Noted { judged, arrived, inferred, decided, journaled })
        })
        .collect();
    let times = |answer: &Acknowledged| {
        let part = &noted[&(answer.epoch, answer.seq)];
        assert!(part.judged, "part {} was judged", answer.seq);
        let ms = |at: Nanos| at.since(part.arrived).as_ms();
        Times {
            asked_ms: ms(part.inferred.0),
            answered_ms: ms(part.inferred.1),
            decided_ms: ms(part.decided),
            journaled_ms: ms(part.journaled),
            acknowledged_ms: ms(answer.at),
        }
    };
    answers[warm_up..].iter().map(times).collect()
}

/// From the first call for a part to the last answer: one thread does both, so its inferences are
/// those that ended after the verdict before it and not after its own. Nothing without any.
fn inferred(
    spans: &mut Peekable<impl Iterator<Item = Span>>,
    arrived: Nanos,
    decided: Nanos,
) -> Span {
    let mut all: Option<Span> = None;
    while let Some((asked, answered)) = spans.next_if(|(_, answered)| *answered <= decided) {
        all = Some((all.map_or(asked, |(first, _)| first), answered));
    }
    all.unwrap_or((arrived, arrived))
}

/// The value that this share of all values does not exceed (nearest rank).
pub fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * share).ceil() as usize;
    values[rank.clamp(1, values.len()) - 1]
}

//! Signs of life and death: state, heartbeat, last will, damaged frames, signals.

use crate::broker::{Broker, Subscriber, wait_for};
use crate::station::{Bench, Seen, bad_part, state, verdicts};
use crate::support::standin;

fn endless(port: u16) -> Bench {
    let mut bench = Bench::new(port);
    bench.pictures(30);
    bench.camera("rate_hz = 20\nmode = \"loop\"");
    bench
}

#[test]
fn a_living_station_beats_and_a_dead_one_is_announced_by_its_last_will() {
    let Some(broker) = Broker::start() else { return };
    let watcher = Subscriber::start(broker.port);
    let bench = endless(broker.port);
    let station = bench.run();
    wait_for("ready", || state(&watcher).is_some_and(|s| s.number("ready") == 1));
    let ready = state(&watcher).unwrap();
    assert_eq!((ready.number("online"), ready.text("st")), (1, "ContinuousExecution"));
    assert_eq!((ready.number("e"), ready.number("err")), (1, 0));
    wait_for("heartbeats", || watcher.count("crr/s1/hb") >= 4);
    let beats: Vec<i64> = watcher
        .on("crr/s1/hb")
        .iter()
        .map(|m| String::from_utf8_lossy(&m.payload).parse().unwrap())
        .collect();
    assert!(beats.windows(2).all(|w| w[1] > w[0]), "{beats:?}");
    station.kill();
    wait_for("the last will", || state(&watcher).is_some_and(|s| s.number("online") == 0));
    let late = Subscriber::start(broker.port);
    wait_for("the retained will", || state(&late).is_some_and(|s| s.number("online") == 0));
}

#[test]
fn a_truncated_picture_is_invalid_and_the_parts_around_it_are_not() {
    let Some(broker) = Broker::start() else { return };
    let watcher = Subscriber::start(broker.port);
    let bench = Bench::new(broker.port);
    bench.picture("a.png", &standin::grey());
    let whole = bench.picture("b.png", &bad_part());
    let bytes = std::fs::read(&whole).unwrap();
    std::fs::write(&whole, &bytes[..bytes.len() / 2]).unwrap();
    bench.picture("c.png", &standin::grey());
    let (status, log) = bench.run().end();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("b.png"), "the file is named: {log}");
    wait_for("three verdicts", || verdicts(&watcher).len() == 3);
    let outcomes: Vec<(i64, i64, i64)> = verdicts(&watcher)
        .values()
        .map(|v| (v.number("o"), v.number("k"), v.number("s").min(0)))
        .collect();
    assert_eq!(outcomes, [(1, 0, 0), (2, 8, -1), (1, 0, 0)]);
}

#[test]
fn a_stop_signal_ends_the_station_stage_by_stage_with_every_part_answered() {
    let Some(broker) = Broker::start() else { return };
    let watcher = Subscriber::start(broker.port);
    let bench = endless(broker.port);
    for signal in ["TERM", "INT"] {
        let before = verdicts(&watcher).len();
        let station = bench.run();
        wait_for("verdicts", || verdicts(&watcher).len() >= before + 10);
        station.signal(signal);
        let (status, log) = station.end();
        assert_eq!(status.code(), Some(0), "{log}");
        let stages = ["crrd-capture ended", "crrd-inspect ended", "crrd-journal ended"];
        let places: Vec<usize> = stages.iter().map(|s| log.find(s).unwrap()).collect();
        assert!(places.is_sorted(), "{log}");
        wait_for("the farewell", || state(&watcher).is_some_and(|s| s.number("online") == 0));
    }
    let numbers: Vec<i64> =
        verdicts(&watcher).keys().filter(|(e, _)| *e == 2).map(|(_, q)| *q).collect();
    assert_eq!(numbers, (1..=numbers.len() as i64).collect::<Vec<_>>());
}

#[test]
fn a_second_signal_ends_at_once() {
    // Nobody listens on port 1: the flush would take its whole time.
    let bench = endless(1);
    let mut station = bench.run();
    station.wait_log("camera streaming");
    station.signal("TERM");
    station.wait_log("stopping in order");
    station.signal("TERM");
    let (status, log) = station.end();
    assert_eq!(status.code(), Some(128 + 15), "{log}");
    assert!(!log.contains("crrd-publish ended"), "it did not wait for the flush: {log}");
}

#[test]
fn an_answer_after_the_deadline_is_invalid() {
    let Some(broker) = Broker::start() else { return };
    let watcher = Subscriber::start(broker.port);
    let mut bench = Bench::new(broker.port);
    // No machine reads 18 MB of pixels in a millisecond: every answer is late, on any machine.
    let good = image::RgbImage::from_pixel(3000, 2000, image::Rgb([128; 3]));
    for i in 0..6 {
        bench.sized_picture(&format!("{i}.png"), &good);
    }
    bench.limits("latency_ms_max = 1");
    let (status, log) = bench.run().end();
    assert_eq!(status.code(), Some(0), "{log}");
    wait_for("all verdicts", || verdicts(&watcher).len() == 6);
    for seen in verdicts(&watcher).values() {
        // Good parts all of them: only the deadline stands between them and PASS.
        assert_eq!((seen.number("o"), seen.number("k")), (2, 6), "{seen:?}");
    }
}

#[test]
fn a_consumer_that_joins_late_knows_the_state_and_the_last_verdict() {
    let Some(broker) = Broker::start() else { return };
    let bench = endless(broker.port);
    let watcher = Subscriber::start(broker.port);
    let _station = bench.run();
    wait_for("verdicts", || verdicts(&watcher).len() >= 5);
    // Only what the broker holds when the late one subscribes comes to it as retained.
    wait_for("the newest verdict", || watcher.count("crr/s1/last") >= 1);
    let late = Subscriber::start(broker.port);
    wait_for("retained state and last verdict", || {
        late.on("crr/s1/state").iter().any(|m| m.retained)
            && late.on("crr/s1/last").iter().any(|m| m.retained)
    });
    let last = late.on("crr/s1/last").into_iter().find(|m| m.retained).unwrap();
    assert!(Seen::of(&last).number("q") >= 1);
}

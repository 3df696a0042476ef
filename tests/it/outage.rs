//! What breaks around the station or takes the station down: nothing that was decided is lost.

use std::collections::BTreeSet;

use crate::broker::{Broker, Subscriber, wait_for};
use crate::station::{Bench, journaled, state, verdicts};

/// An endless line with parts every 10 ms.
fn endless(bench: &mut Bench) {
    bench.pictures(30);
    bench.camera("rate_hz = 100\nmode = \"loop\"");
}

/// (epoch, seq) of all verdicts the watcher has, which must hold 1..=n of each epoch named.
fn assert_all_there(watcher: &Subscriber, last_of_epoch: &[(i64, i64)]) {
    let have: BTreeSet<(i64, i64)> = verdicts(watcher).into_keys().collect();
    for (epoch, last) in last_of_epoch {
        let missing: Vec<i64> = (1..=*last).filter(|q| !have.contains(&(*epoch, *q))).collect();
        assert!(missing.is_empty(), "lost in epoch {epoch}: {missing:?}");
    }
}

#[test]
fn a_broker_that_dies_and_comes_back_costs_no_verdict() {
    let Some(mut broker) = Broker::start() else { return };
    let watcher = Subscriber::start(broker.port);
    let mut bench = Bench::new(broker.port);
    endless(&mut bench);
    let station = bench.run();
    for round in 1..=2 {
        wait_for("verdicts", || verdicts(&watcher).len() >= 50 * round);
        broker.kill();
        watcher.wait_lost();
        // Parts go by while nobody takes their verdicts.
        std::thread::sleep(std::time::Duration::from_millis(700));
        broker.revive();
        watcher.wait_subscribed();
    }
    wait_for("late verdicts", || watcher.count("crr/s1/hist") >= 50);
    station.signal("TERM");
    let (status, log) = station.end();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("delivered=true"), "{log}");
    let rows = journaled(&bench.path("state"));
    let last = rows.last().unwrap().1;
    assert_eq!(rows.len(), last as usize, "every accepted part once in the journal");
    wait_for("the last verdict", || verdicts(&watcher).contains_key(&(1, last.into())));
    assert_all_there(&watcher, &[(1, last.into())]);
}

#[test]
fn a_station_killed_in_the_middle_delivers_what_it_had_journaled_and_counts_on_in_a_new_epoch() {
    let Some(broker) = Broker::start() else { return };
    let watcher = Subscriber::start(broker.port);
    let mut bench = Bench::new(broker.port);
    endless(&mut bench);
    const KILLS: i64 = 4;
    for epoch in 1..=KILLS {
        let station = bench.run();
        wait_for("verdicts", || {
            verdicts(&watcher).keys().filter(|(e, _)| *e == epoch).count() >= 20
        });
        station.kill();
        wait_for("the last will", || state(&watcher).is_some_and(|s| s.number("online") == 0));
    }
    let station = bench.run();
    wait_for("verdicts of the last epoch", || {
        verdicts(&watcher).keys().filter(|(e, _)| *e == KILLS + 1).count() >= 20
    });
    station.signal("TERM");
    let (status, log) = station.end();
    assert_eq!(status.code(), Some(0), "{log}");

    let rows = journaled(&bench.path("state"));
    let last = rows.last().unwrap();
    let newest = (i64::from(last.0), i64::from(last.1));
    wait_for("the last verdict", || verdicts(&watcher).contains_key(&newest));
    let seen = verdicts(&watcher);
    for (epoch, seq, payload) in &rows {
        let key = (i64::from(*epoch), i64::from(*seq));
        let seen = seen.get(&key).unwrap_or_else(|| panic!("journaled and lost: {key:?}"));
        let payload: std::collections::BTreeMap<String, serde_json::Value> =
            serde_json::from_slice(payload).unwrap();
        assert_eq!(seen.fields, payload);
    }
    // And the reverse: nothing was told that is not in the journal.
    let known: BTreeSet<(i64, i64)> =
        rows.iter().map(|(e, q, _)| (i64::from(*e), i64::from(*q))).collect();
    assert!(seen.keys().all(|key| known.contains(key)), "told, but not in the journal");
    let epochs: BTreeSet<i64> = known.iter().map(|(e, _)| *e).collect();
    assert_eq!(epochs, (1..=KILLS + 1).collect());
}

#[test]
fn a_full_disk_stops_the_verdicts_is_told_and_heals_alone() {
    let Some(broker) = Broker::start() else { return };
    if std::process::Command::new("prlimit").arg("--version").output().is_err() {
        println!("skipped: prlimit is not installed");
        return;
    }
    let watcher = Subscriber::start(broker.port);
    let mut bench = Bench::new(broker.port);
    endless(&mut bench);
    bench.limits("latency_ms_max = 2000");
    std::fs::write(bench.path("crrd.toml"), bench.config()).unwrap();
    // A limit on file sizes looks to the journal like a disk without room; the signal that
    // would come with it is ignored, as a real full disk sends none.
    let script = "trap '' XFSZ; exec \"$0\" run --config \"$1\"";
    let mut station = bench.spawn(
        std::process::Command::new("bash")
            .args(["-c", script, env!("CARGO_BIN_EXE_crrd")])
            .arg(bench.path("crrd.toml")),
    );
    wait_for("verdicts", || verdicts(&watcher).len() >= 20);
    let limit = |bytes: &str| {
        let done = std::process::Command::new("prlimit")
            .arg(format!("--fsize={bytes}:"))
            .args(["--pid", &station.pid().to_string()])
            .status();
        assert!(done.unwrap().success());
    };
    limit("1024");
    wait_for("not ready", || state(&watcher).is_some_and(|s| s.number("ready") == 0));
    let told = state(&watcher).unwrap();
    assert_eq!((told.text("st"), told.number("online")), ("Error", 1));
    let during = verdicts(&watcher).len();
    // Long enough for the waiting parts to miss their deadlines.
    std::thread::sleep(std::time::Duration::from_millis(2500));
    assert!(verdicts(&watcher).len() <= during + 64, "nothing is told that is not journaled");
    limit("unlimited");
    wait_for("ready again", || state(&watcher).is_some_and(|s| s.number("ready") == 1));
    let passed_before = verdicts(&watcher).values().filter(|v| v.number("o") == 1).count();
    wait_for("parts passing again", || {
        verdicts(&watcher).values().filter(|v| v.number("o") == 1).count() > passed_before + 20
    });
    assert!(!station.has_ended());
    station.signal("TERM");
    let (status, log) = station.end();
    assert_eq!(status.code(), Some(0), "{log}");
    let last = journaled(&bench.path("state")).last().unwrap().1;
    wait_for("the last verdict", || verdicts(&watcher).contains_key(&(1, last.into())));
    assert_all_there(&watcher, &[(1, last.into())]);
    let late = verdicts(&watcher).values().filter(|v| v.number("k") == 6).count();
    assert!(late > 0, "parts that waited for the disk are INVALID(deadline)");
}

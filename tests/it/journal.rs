//! `crrd journal`: the tool beside a running station, on an ended journal, on a damaged one.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crrd::sys::hash::sha256_hex;
use serde_json::Value;

use crate::broker::{free_port, wait_for};
use crate::station::Bench;
use crate::support::done::{Done, done};

fn journal(arguments: &[&str], state: &Path) -> Done {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crrd"));
    done(command.arg("journal").args(arguments).arg("--state-dir").arg(state))
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A station without a broker that judges for ever: everything stays undelivered.
fn bench() -> Bench {
    let mut bench = Bench::new(free_port());
    bench.pictures(6);
    bench.camera("rate_hz = 100\nmode = \"loop\"");
    bench
}

#[test]
fn the_tool_reads_a_journal_while_the_station_writes_it_and_after_a_kill() {
    let bench = bench();
    let state = bench.path("state");
    let none = journal(&["check"], &state);
    assert_eq!(none.code, 2);
    assert!(none.err.contains("state_dir"), "{}", none.err);

    let station = bench.run();
    let rows = |done: &Done| done.out.lines().count();
    wait_for("some rows", || {
        let done = journal(&["dump"], &state);
        done.code == 0 && rows(&done) >= 400
    });
    for _ in 0..5 {
        let done = journal(&["check"], &state);
        assert_eq!(done.code, 0, "{}{}", done.out, done.err);
        assert!(!done.out.contains("warn"), "{}", done.out);
    }
    let before = rows(&journal(&["dump"], &state));
    wait_for("the station to go on", || rows(&journal(&["dump"], &state)) > before + 50);
    station.kill();

    let done = journal(&["check"], &state);
    assert_eq!(done.code, 0, "{}", done.out);
    let all = lines(&journal(&["dump", "--format", "json"], &state).out);
    let ids: Vec<u64> = all.iter().map(|row| row["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, (1..=all.len() as u64).collect::<Vec<_>>());
    assert!(all.iter().all(|row| row["delivered"] == false && row["kind"] == "verdict"));
    assert!(all.iter().all(|row| row["seq"] == row["payload"]["q"]));
    let some = lines(
        &journal(
            &["dump", "--format", "json", "--epoch", "1", "--from", "10", "--to", "12"],
            &state,
        )
        .out,
    );
    assert_eq!(some.iter().map(|row| &row["seq"]).collect::<Vec<_>>(), [10, 11, 12]);
    assert_eq!(journal(&["dump", "--kind", "event"], &state).out, "");

    let stats = journal(&["stats"], &state).out;
    assert!(stats.contains(&format!("undelivered   {}\n", all.len())), "{stats}");
    // The same folder by the configuration that names it.
    let by_config = Command::new(env!("CARGO_BIN_EXE_crrd"))
        .args(["journal", "stats", "--config"])
        .arg(bench.path("crrd.toml"))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(by_config.stdout).unwrap(), stats);
}

#[test]
fn an_export_holds_every_verdict_and_proves_itself() {
    let bench = Bench::new(free_port());
    bench.pictures(9);
    let (status, log) = bench.run().end();
    assert_eq!(status.code(), Some(0), "{log}");
    let (state, out) = (bench.path("state"), bench.path("records"));
    let to = out.to_str().unwrap();
    let done = journal(&["export", "--masks", "--out", to], &state);
    assert_eq!(done.code, 0, "{}", done.err);

    let manifest: Value =
        serde_json::from_slice(&std::fs::read(out.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["verdicts"], 9);
    let hashes: BTreeMap<String, String> =
        serde_json::from_value(manifest["sha256"].clone()).unwrap();
    assert_eq!(hashes.len(), 2 + 3, "two tables, and a mask for each rejected part");
    for (name, hash) in &hashes {
        assert_eq!(sha256_hex(&std::fs::read(out.join(name)).unwrap()), *hash, "{name}");
    }
    let csv = std::fs::read_to_string(out.join("verdicts.csv")).unwrap();
    let rows = lines(&std::fs::read_to_string(out.join("verdicts.jsonl")).unwrap());
    let dumped = lines(&journal(&["dump", "--format", "json"], &state).out);
    let table: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!((table.len(), rows.len(), dumped.len()), (10, 9, 9));
    for ((row, line), source) in rows.iter().zip(&table[1..]).zip(&dumped) {
        assert_eq!(row["seq"], source["payload"]["q"]);
        assert_eq!(row["class"], "bolt");
        assert_eq!(row["station"], "s1");
        assert_eq!(row["score"], source["detail"]["score"]);
        for (key, cell) in table[0].iter().zip(line) {
            let text = row[*key].as_str().map_or_else(|| row[*key].to_string(), str::to_owned);
            assert_eq!(&text, cell, "{key}");
        }
    }
    let outcomes: Vec<&str> = rows.iter().map(|row| row["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes[..3], ["pass", "pass", "reject"]);

    let again = journal(&["export", "--out", to], &state);
    assert_eq!(again.code, 2);
    assert!(again.err.contains("not empty"), "{}", again.err);
}

#[test]
fn a_check_names_what_is_wrong() {
    let bench = Bench::new(free_port());
    bench.pictures(6);
    bench.run().end();
    let state = bench.path("state");
    let spoil = |sql: &str| {
        let copy = bench.path("copy");
        let _ = std::fs::remove_dir_all(&copy);
        std::fs::create_dir(&copy).unwrap();
        for name in ["journal.db", "epoch"] {
            std::fs::copy(state.join(name), copy.join(name)).unwrap();
        }
        let database = rusqlite::Connection::open(copy.join("journal.db")).unwrap();
        database.execute_batch(sql).unwrap();
        drop(database);
        let done = journal(&["check"], &copy);
        (done.code, done.out + &done.err)
    };
    assert_eq!(spoil("").0, 0);
    for (sql, says) in [
        ("DELETE FROM row WHERE id = 3", "3 to 3"),
        ("UPDATE row SET seq = 77 WHERE id = 2", "payload says e=1 q=2"),
        ("UPDATE row SET payload = x'00' WHERE id = 4", "row 4 is no verdict"),
        (
            "UPDATE row SET seq = 1, payload = (SELECT payload FROM row WHERE id = 1) WHERE id = 2",
            "twice",
        ),
        (
            "DELETE FROM row WHERE id > 2; DELETE FROM mask WHERE id > 2;
          UPDATE meta SET value = 6 WHERE key = 'cursor'",
            "missing at the end",
        ),
        ("UPDATE row SET epoch = 9", "rows of epoch 9"),
        ("INSERT INTO mask VALUES (99, x'00')", "without a row"),
        ("UPDATE mask SET body = x'7b7d'", "is another's"),
    ] {
        let (code, said) = spoil(sql);
        assert_eq!(code, 1, "{sql}: {said}");
        assert!(said.contains(says), "{sql}: {said}");
    }
    // A byte pattern that no page has.
    let copy = bench.path("copy");
    let mut bytes = std::fs::read(copy.join("journal.db")).unwrap();
    bytes[4096..8192].fill(0xFF);
    std::fs::write(copy.join("journal.db"), bytes).unwrap();
    let done = journal(&["check"], &copy);
    assert_ne!(done.code, 0, "{}{}", done.out, done.err);
    assert!((done.out + &done.err).contains("damaged"));
}

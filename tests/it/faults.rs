//! Faults that a plant brings: the process killed again and again, a broker away for a shift, a
//! connection that is dead and does not know it, disks that are full, read-only, slow or broken.
//! The real program each time, and a subscriber of its own that compares what it got with what
//! the journal has: nothing that was journaled may be missing, nothing may be told twice in two
//! ways, and the station takes new work by itself once the fault is gone.
//!
//! `CRRD_KILLS=1000 CRRD_BACKLOG=1000000 cargo test --test it faults -- --nocapture` is the long
//! run for a night.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crrd::calibrate::CalibrationId;
use crrd::frame::{Nanos, PartId, RecipeId, TriggerId};
use crrd::journal::{Entry, Journal, Options, RowKind, Sync};
use crrd::judge::{Reason, Verdict};
use crrd::message::{VerdictRecord, encode_verdict};

use crate::broker::{Broker, Relay, Subscriber, wait_for};
use crate::station::{Bench, Running, Seen, journaled, state, verdicts};
use crate::support::standin;

/// Number of something, from the environment for long runs.
fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}

/// A line whose parts never end, with the default durability.
fn endless(port: u16, rate_hz: u32) -> Bench {
    let mut bench = Bench::new(port);
    bench.pictures(30);
    bench.camera(&format!("rate_hz = {rate_hz}\nmode = \"loop\""));
    bench
}

/// The configuration of the other tests is quick; here the disk counts.
fn full_sync(bench: &Bench) -> String {
    bench.config().replace("sync = \"normal\"", "sync = \"full\"")
}

fn key(seen: &Seen) -> (i64, i64) {
    (seen.number("e"), seen.number("q"))
}

/// Ends the station in order and holds what was received against the journal.
fn end_and_compare(station: Running, bench: &Bench, watcher: &Subscriber) {
    station.signal("TERM");
    let (status, log) = station.end();
    assert_eq!(status.code(), Some(0), "{log}");
    compare(&bench.path("state"), watcher);
}

fn compare(state: &Path, watcher: &Subscriber) {
    let rows = journaled(state);
    let last = rows.last().unwrap();
    let newest = (i64::from(last.0), i64::from(last.1));
    wait_for("the last verdict", || verdicts(watcher).contains_key(&newest));
    let seen = verdicts(watcher);
    let mut triggers = BTreeSet::new();
    for (epoch, seq, payload) in &rows {
        let at = (i64::from(*epoch), i64::from(*seq));
        let seen = seen.get(&at).unwrap_or_else(|| panic!("journaled and lost: {at:?}"));
        let journaled: BTreeMap<String, serde_json::Value> =
            serde_json::from_slice(payload).unwrap();
        assert_eq!(seen.fields, journaled);
        let one = triggers.insert((at.0, seen.number("t")));
        assert!(one, "a trigger has two verdicts: {seen:?}");
    }
    assert_eq!(seen.len(), rows.len(), "told, but not in the journal");
    let check = Command::new(env!("CARGO_BIN_EXE_crrd"))
        .args(["journal", "check", "--state-dir"])
        .arg(state)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(check.status.success() && !said.contains("warn"), "{said}");
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[test]
fn a_station_killed_fifty_times_under_load_loses_nothing_and_is_back_within_a_second() {
    let Some(broker) = Broker::start() else { return };
    let watcher = Subscriber::start(broker.port);
    let bench = endless(broker.port, 100);
    let kills = number("CRRD_KILLS", 50);
    let of_epoch = |epoch: usize| {
        let epoch = format!("\"e\":{epoch},");
        let is = |m: &crate::broker::Received| String::from_utf8_lossy(&m.payload).contains(&epoch);
        watcher.on("crr/s1/verdict").iter().filter(|m| is(m)).count()
    };
    let mut starts = Vec::new();
    for epoch in 1..=kills {
        let begun = Instant::now();
        let station = bench.run_text(&full_sync(&bench));
        wait_for("the first verdict", || of_epoch(epoch) > 0);
        starts.push(begun.elapsed());
        // Another moment each time: between group commits, within them, with few or many rows.
        std::thread::sleep(Duration::from_millis(40 + (epoch as u64 * 37) % 160));
        station.kill();
    }
    let station = bench.run_text(&full_sync(&bench));
    wait_for("new work", || of_epoch(kills + 1) >= 20);
    end_and_compare(station, &bench, &watcher);
    let longest = starts.iter().max().unwrap();
    let received = watcher.count("crr/s1/verdict") + watcher.count("crr/s1/hist");
    println!(
        "{kills} x kill -9: {} verdicts in the journal, {received} received (repeats included), \
         0 lost; from start to first verdict: median {:?}, longest {longest:?}",
        verdicts(&watcher).len(),
        middle(starts.clone()),
    );
    assert!(middle(starts) < Duration::from_secs(1));
}

/// Rows as a station without a broker has journaled them.
fn prefill(state: &Path, rows: usize) {
    let options = Options {
        sync: Sync::Normal,
        bytes_max: Options::BYTES_DEFAULT,
        age_days_max: 0,
        notice: |_, _| vec![],
    };
    let (mut writer, _reader, opened) = Journal::open(state, &options).unwrap();
    let seqs: Vec<u32> = (1..=rows as u32).collect();
    for group in seqs.chunks(500) {
        let entries: Vec<Entry> = group.iter().map(|seq| entry(opened.epoch, *seq)).collect();
        writer.append(&entries).unwrap();
        writer.settle().unwrap();
    }
    writer.close().unwrap();
}

fn entry(epoch: u32, seq: u32) -> Entry {
    let record = VerdictRecord {
        seq,
        epoch,
        trigger: TriggerId(seq),
        part: PartId::new(&format!("P-{seq}")).unwrap(),
        recipe: RecipeId(7),
        class: 0,
        calibration: CalibrationId(1),
        verdict: Verdict::invalid(Reason::Deadline),
        latency: Nanos(1_000_000),
        flags: 0,
    };
    let mut payload = String::new();
    encode_verdict(&record, &mut payload);
    let (payload, kind) = (payload.into_bytes(), RowKind::Verdict);
    Entry { epoch, seq, kind, at_unix_s: 0, payload, detail: vec![], mask: None }
}

#[test]
fn a_backlog_of_an_outage_drains_in_order_while_live_verdicts_go_on() {
    let Some(broker) = Broker::start() else { return };
    let bench = endless(broker.port, 20);
    let rows = number("CRRD_BACKLOG", 100_000);
    prefill(&bench.path("state"), rows);
    let watcher = Subscriber::start(broker.port);
    let begun = Instant::now();
    let station = bench.run();
    let mut drained = Duration::ZERO;
    // Patience for each hundred thousand: the night's variant has ten times as many.
    for part in (0..rows).step_by(100_000).map(|begin| rows.min(begin + 100_000)) {
        wait_for("the backlog", || {
            drained = begun.elapsed();
            watcher.count("crr/s1/hist") >= part
        });
    }
    wait_for("live verdicts", || watcher.count("crr/s1/verdict") >= 20);
    end_and_compare(station, &bench, &watcher);
    let hist: Vec<(i64, i64)> =
        watcher.on("crr/s1/hist").iter().map(|m| key(&Seen::of(m))).filter(|k| k.0 == 1).collect();
    assert!(hist.is_sorted(), "in order");
    println!("{rows} rows of an outage drained in {drained:?}, start included; 0 lost");
}

#[test]
fn a_half_open_connection_is_given_up_and_everything_is_sent_again() {
    let Some(broker) = Broker::start() else { return };
    let relay = Relay::to(broker.port);
    let watcher = Subscriber::start(broker.port);
    let bench = endless(relay.port, 50);
    let mut station = bench.run();
    wait_for("verdicts", || verdicts(&watcher).len() >= 20);
    let begun = Instant::now();
    relay.freeze(true);
    station.wait_log("no connection to the broker");
    let noticed = begun.elapsed();
    relay.cut();
    relay.freeze(false);
    let before = watcher.count("crr/s1/verdict");
    wait_for("live verdicts again", || watcher.count("crr/s1/verdict") >= before + 50);
    assert!(watcher.count("crr/s1/hist") > 0, "what was decided meanwhile came late");
    end_and_compare(station, &bench, &watcher);
    println!("half-open connection: noticed after {noticed:?} (keep-alive 2 s), 0 lost");
}

/// A small file system in memory on the bench's state folder; only root may mount one.
struct Mount(PathBuf);

impl Mount {
    fn new(path: PathBuf, options: &str) -> Option<Self> {
        std::fs::create_dir_all(&path).unwrap();
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "crrd-test"])
            .arg(&path)
            .output();
        if done.is_ok_and(|done| done.status.success()) {
            return Some(Self(path));
        }
        println!("skipped: a file system of limited size can only be mounted by root");
        None
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_disk_that_is_really_full_is_told_costs_no_verdict_and_heals_alone() {
    let Some(broker) = Broker::start() else { return };
    let bench = endless(broker.port, 200);
    let Some(mount) = Mount::new(bench.path("state"), "size=8m") else { return };
    let watcher = Subscriber::start(broker.port);
    let mut station = bench.run();
    wait_for("verdicts", || verdicts(&watcher).len() >= 20);
    // Takes what is left, to the last byte.
    let filler = mount.0.join("filler");
    let _ = std::fs::write(&filler, vec![1u8; 16 << 20]);
    station.wait_log("verdicts are safe in its tail");
    wait_for("the tail to be full", || state(&watcher).is_some_and(|s| s.number("ready") == 0));
    assert_eq!(state(&watcher).unwrap().number("err"), 3, "the journal is what is missing");
    let told = verdicts(&watcher).len();
    std::thread::sleep(Duration::from_millis(500));
    assert!(verdicts(&watcher).len() <= told + 64, "nothing is told that is not journaled");
    std::fs::remove_file(&filler).unwrap();
    wait_for("ready again", || state(&watcher).is_some_and(|s| s.number("ready") == 1));
    let passed = |w: &Subscriber| verdicts(w).values().filter(|v| v.number("o") == 1).count();
    let before = passed(&watcher);
    wait_for("parts passing again", || passed(&watcher) > before + 20);
    end_and_compare(station, &bench, &watcher);
    println!("full disk: {told} verdicts before the tail was full, 0 lost, ready again by itself");
}

#[test]
fn a_state_folder_that_is_read_only_keeps_the_station_from_starting_and_says_so() {
    let bench = endless(crate::broker::free_port(), 20);
    let Some(_mount) = Mount::new(bench.path("state"), "size=8m,ro") else { return };
    let (status, log) = bench.run().end();
    assert_eq!(status.code(), Some(2), "{log}");
    assert!(log.contains("state_dir must be a folder this user may write"), "{log}");
}

/// The shim that gives the journal's files a bad disk; `None` where it cannot be built.
struct BadDisk {
    library: PathBuf,
    words: PathBuf,
}

impl BadDisk {
    fn new(bench: &Bench) -> Option<Self> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/slow_disk.c");
        let disk = Self { library: bench.path("slow_disk.so"), words: bench.path("fault") };
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&disk.library)
            .arg(source)
            .arg("-ldl")
            .output();
        match built {
            Ok(built) => {
                assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
                Some(disk)
            }
            Err(_) => {
                println!("skipped: there is no C compiler");
                None
            }
        }
    }

    fn run(&self, bench: &Bench) -> Running {
        let file = bench.path("crrd.toml");
        std::fs::write(&file, full_sync(bench)).unwrap();
        bench.spawn(
            Command::new(env!("CARGO_BIN_EXE_crrd"))
                .args(["run", "--config"])
                .arg(file)
                .env("LD_PRELOAD", &self.library)
                .env("CRRD_FAULT", &self.words),
        )
    }

    fn is(&self, words: &str) {
        let new = self.words.with_extension("new");
        std::fs::write(&new, words).unwrap();
        std::fs::rename(new, &self.words).unwrap();
    }
}

/// Measures how long this machine and its broker let a message wait: one every 20 ms.
struct Ruler {
    begun: Instant,
    over: Arc<AtomicBool>,
}

impl Ruler {
    const TOPIC: &'static str = "crr/ruler";
    const EVERY: Duration = Duration::from_millis(20);

    fn start(port: u16) -> Self {
        let (begun, over) = (Instant::now(), Arc::<AtomicBool>::default());
        let options = rumqttc::MqttOptions::new("ruler", "127.0.0.1", port);
        let (client, mut connection) = rumqttc::Client::new(options, 100);
        let thread = |name: &str| std::thread::Builder::new().name(name.into());
        let ended = Arc::clone(&over);
        thread("ruler")
            .spawn(move || {
                while !ended.load(Ordering::SeqCst) {
                    let now = begun.elapsed().as_nanos().to_string();
                    let _ = client.publish(Self::TOPIC, rumqttc::QoS::AtMostOnce, false, now);
                    std::thread::sleep(Self::EVERY);
                }
                let _ = client.try_disconnect();
            })
            .unwrap();
        thread("ruler-net")
            .spawn(move || {
                // Ends with the client's farewell.
                connection.iter().take_while(Result::is_ok).for_each(drop);
            })
            .unwrap();
        Self { begun, over }
    }

    /// The longest from one message to the arrival of the next, beyond the time between them.
    fn longest(&self, watcher: &Subscriber) -> Duration {
        let sent = |m: &crate::broker::Received| {
            let nanos = std::str::from_utf8(&m.payload).unwrap().parse().unwrap();
            self.begun + Duration::from_nanos(nanos)
        };
        let all = watcher.on(Self::TOPIC);
        assert!(all.len() > 20, "{} messages", all.len());
        let gaps = all.windows(2).map(|pair| pair[1].at.saturating_duration_since(sent(&pair[0])));
        gaps.max().unwrap().saturating_sub(Self::EVERY)
    }
}

impl Drop for Ruler {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_disk_whose_flush_stalls_makes_no_late_live_verdict_is_told_and_recovers() {
    let Some(broker) = Broker::start() else { return };
    let mut bench = Bench::new(broker.port);
    // Good parts only: a PASS is what must not come too late.
    bench.picture("good.png", &standin::grey());
    bench.camera("rate_hz = 20\nmode = \"loop\"").limits("latency_ms_max = 1000");
    let Some(disk) = BadDisk::new(&bench) else { return };
    let watcher = Subscriber::start(broker.port);
    let ruler = Ruler::start(broker.port);
    let mut station = disk.run(&bench);
    wait_for("verdicts", || verdicts(&watcher).len() >= 20);
    disk.is("stall 3000");
    station.wait_log("the journal is slow");
    disk.is("");
    wait_for("the end of the stall", || {
        verdicts(&watcher).values().any(|v| v.number("k") == Reason::Deadline as i64)
    });
    let passed = |w: &Subscriber| {
        w.on("crr/s1/verdict").iter().filter(|m| Seen::of(m).number("o") == 1).count()
    };
    let before = passed(&watcher);
    wait_for("parts passing again", || passed(&watcher) > before + 20);
    assert!(watcher.count("crr/s1/hist") > 0, "what was committed too late is history");
    let told = watcher.on("crr/s1/event");
    let slow = |m: &crate::broker::Received| {
        String::from_utf8_lossy(&m.payload).contains("\"ev\":\"journal_slow\"")
    };
    assert!(told.iter().any(slow), "{told:?}");
    // Triggers come every 50 ms, so the number of one says when it was: no PASS on the live topic
    // is older than the time a part has, a margin, and what this machine was seen to stand still.
    let stood = ruler.longest(&watcher);
    println!("a message waited {stood:?} at most");
    let live: Vec<(Instant, Seen)> =
        watcher.on("crr/s1/verdict").iter().map(|m| (m.at, Seen::of(m))).collect();
    let trigger_at = |seen: &Seen| Duration::from_millis(50 * seen.number("t") as u64);
    let begun = live.iter().map(|(at, seen)| *at - trigger_at(seen)).min().unwrap();
    for (at, seen) in live.iter().filter(|(_, seen)| seen.number("o") == 1) {
        let age = at.saturating_duration_since(begun + trigger_at(seen));
        assert!(age < Duration::from_millis(1900) + stood, "{age:?}, {stood:?}: {seen:?}");
    }
    assert!(!station.has_ended());
    end_and_compare(station, &bench, &watcher);
}

#[test]
fn a_disk_that_gives_errors_is_told_costs_no_verdict_and_heals_alone() {
    let Some(broker) = Broker::start() else { return };
    let mut bench = endless(broker.port, 50);
    bench.limits("latency_ms_max = 1000");
    let Some(disk) = BadDisk::new(&bench) else { return };
    let watcher = Subscriber::start(broker.port);
    let mut station = disk.run(&bench);
    wait_for("verdicts", || verdicts(&watcher).len() >= 20);
    // Error numbers of Linux: input/output, read-only file system, no space.
    for (name, errno) in [("EIO", 5), ("EROFS", 30), ("ENOSPC", 28)] {
        disk.is(&format!("errno {errno}"));
        wait_for("not ready", || state(&watcher).is_some_and(|s| s.number("ready") == 0));
        assert_eq!(state(&watcher).unwrap().number("err"), 3, "{name}");
        disk.is("");
        wait_for("ready again", || state(&watcher).is_some_and(|s| s.number("ready") == 1));
        let before = watcher.count("crr/s1/verdict");
        wait_for("new work", || watcher.count("crr/s1/verdict") > before + 20);
        assert!(!station.has_ended(), "{name}");
        println!("{name}: told, nothing lost, ready again by itself");
    }
    end_and_compare(station, &bench, &watcher);
}

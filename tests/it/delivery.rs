//! Journal and publisher against a real broker that is killed, cut off, frozen and overrun.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crrd::journal::{self, Entry, Journal, Notice, Options, Sync};
use crrd::publish::{
    Credentials, Flushed, Limits, Notifier, Outbox, OutboxError, Publisher, RangePage, ReplayRange,
    Report, Row, RowId, RowKind, Settings, TopicNames, Version,
};

use crate::broker::{Broker, Relay, Subscriber, wait_for};

struct Bridge(journal::Reader);

impl Outbox for Bridge {
    fn cursor(&self) -> RowId {
        self.0.cursor()
    }

    fn newest(&self) -> RowId {
        self.0.newest()
    }

    fn backlog(&mut self, after: RowId, limit: usize) -> Result<Vec<Row>, OutboxError> {
        Ok(self.0.after(after, limit)?.into_iter().map(row_of).collect())
    }

    fn commit_cursor(&mut self, cursor: RowId) -> Result<(), OutboxError> {
        Ok(self.0.acknowledge(cursor)?)
    }

    fn range(
        &mut self,
        _range: &ReplayRange,
        _after: Option<RowId>,
        _limit: usize,
    ) -> Result<RangePage, OutboxError> {
        Err("nobody asks for verdicts again in these tests".into())
    }
}

fn row_of(row: journal::Row) -> Row {
    let kind = match row.kind {
        journal::RowKind::Verdict => RowKind::Verdict,
        journal::RowKind::Event => RowKind::Event,
        journal::RowKind::LateResult => RowKind::LateResult,
    };
    Row { id: row.id, kind, payload: row.payload, mask: row.mask }
}

fn notice(_epoch: u32, notice: &Notice) -> Vec<u8> {
    format!("{notice:?}").into_bytes()
}

pub(crate) fn settings(port: u16) -> Settings {
    let name = |last: &str| format!("crr/s1/{last}");
    Settings {
        host: "127.0.0.1".into(),
        port,
        version: Version::V3_1_1,
        tls: None,
        client_id: "crrd-s1".into(),
        credentials: None,
        keep_alive_s: 5,
        topics: TopicNames {
            verdict: name("verdict"),
            binary: name("vbin"),
            last: Some(name("last")),
            state: name("state"),
            heartbeat: name("hb"),
            hist: name("hist"),
            mask: name("mask"),
            event: name("event"),
            command: name("cmd"),
            reply: name("cmdack"),
            receipt: name("ack"),
            health: name("health"),
            calibration: name("calib"),
        },
        subscriptions: Vec::new(),
        live_expiry_s: 1,
        will: b"gone".to_vec(),
        state: b"ready".to_vec(),
        calibration: Vec::new(),
        heartbeat: |count| count.to_string().into_bytes(),
        binary: None,
        limits: Limits::default(),
    }
}

/// A station reduced to its delivery: journal, publisher, and parts that are made up.
pub(crate) struct Line {
    writer: journal::Writer,
    pub(crate) publisher: Publisher,
    notifier: Notifier,
    seq: u32,
}

pub(crate) type Key = (u32, u32);

impl Line {
    pub(crate) fn start(dir: &std::path::Path, settings: Settings) -> Self {
        let options = Options {
            sync: Sync::Normal,
            bytes_max: Options::BYTES_DEFAULT,
            age_days_max: 0,
            notice,
        };
        let (writer, reader, _) = Journal::open(dir, &options).unwrap();
        let publisher = Publisher::start(settings, Box::new(Bridge(reader))).unwrap();
        let notifier = publisher.notifier();
        Self { writer, publisher, notifier, seq: 0 }
    }

    /// Commits a group of verdicts, then announces them; every fifth has a mask.
    pub(crate) fn judge(&mut self, parts: u32) -> Vec<Key> {
        let epoch = self.writer.epoch();
        let entries: Vec<_> =
            (self.seq + 1..=self.seq + parts).map(|seq| self.entry(epoch, seq)).collect();
        self.seq += parts;
        self.commit(entries)
    }

    fn commit(&mut self, entries: Vec<Entry>) -> Vec<Key> {
        let ids = self.writer.append(&entries).unwrap();
        let keys = entries.iter().map(|entry| (entry.epoch, entry.seq)).collect();
        for (id, entry) in ids.zip(entries) {
            let Entry { payload, mask, .. } = entry;
            self.notifier.notify(Row { id, kind: RowKind::Verdict, payload, mask }, None);
        }
        self.writer.settle().unwrap();
        keys
    }

    fn entry(&self, epoch: u32, seq: u32) -> Entry {
        Entry {
            epoch,
            seq,
            kind: journal::RowKind::Verdict,
            at_unix_s: 0,
            payload: payload((epoch, seq)),
            detail: vec![b'd'; 400],
            mask: seq.is_multiple_of(5).then(|| mask((epoch, seq))),
        }
    }

    pub(crate) fn flush(self, wait: Duration) -> Flushed {
        let flushed = self.publisher.flush(wait, b"offline".to_vec());
        self.writer.close().unwrap();
        flushed
    }
}

fn payload((epoch, seq): Key) -> Vec<u8> {
    let hash = (u64::from(seq) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ u64::from(epoch);
    format!("{{\"v\":1,\"q\":{seq},\"e\":{epoch},\"p\":\"P-{hash:020}\",\"o\":{}}}", hash % 3)
        .into_bytes()
}

fn mask(key: Key) -> Vec<u8> {
    let mut body = payload(key);
    body.resize(1_200, b'm');
    body
}

pub(crate) fn key_of(payload: &[u8]) -> Key {
    let text = std::str::from_utf8(payload).unwrap();
    let field = |name: &str| {
        let rest = text.split(&format!("\"{name}\":")).nth(1).unwrap();
        rest.split(',').next().unwrap().parse().unwrap()
    };
    (field("e"), field("q"))
}

/// How often each verdict was received; panics on any content that is not what was journaled.
fn tally(
    watcher: &Subscriber,
    topics: &[&str],
    expected: fn(Key) -> Vec<u8>,
) -> BTreeMap<Key, u32> {
    let mut seen = BTreeMap::new();
    for message in topics.iter().flat_map(|topic| watcher.on(&format!("crr/s1/{topic}"))) {
        let key = key_of(&message.payload);
        assert_eq!(message.payload, expected(key), "a repeated message has the same content");
        *seen.entry(key).or_default() += 1;
    }
    seen
}

fn assert_all_received(watcher: &Subscriber, keys: &[Key]) {
    let masked: Vec<_> = keys.iter().filter(|(_, seq)| seq.is_multiple_of(5)).collect();
    wait_for("the last messages", || {
        tally(watcher, &["verdict", "hist"], payload).len() >= keys.len()
            && tally(watcher, &["mask"], mask).len() >= masked.len()
    });
    let seen = tally(watcher, &["verdict", "hist"], payload);
    let lost: Vec<_> = keys.iter().filter(|key| !seen.contains_key(key)).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert_eq!(seen.len(), keys.len(), "nothing but what was journaled");
    let masks = tally(watcher, &["mask"], mask);
    assert!(masked.iter().all(|key| masks.contains_key(key)), "masks");
    let total: u32 = seen.values().sum();
    println!("{} verdicts, {} received, {} repeated", keys.len(), total, total - keys.len() as u32);
}

#[test]
fn a_broker_killed_in_the_middle_costs_no_verdict() {
    let Some(mut broker) = Broker::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let relay = Relay::to(broker.port);
    let watcher = Subscriber::start(broker.port);
    let mut line = Line::start(dir.path(), settings(relay.port));
    let mut keys = Vec::new();
    for round in 0..4 {
        for _ in 0..40 {
            keys.extend(line.judge(20));
            std::thread::sleep(Duration::from_millis(2));
        }
        if round < 3 {
            broker.kill();
            relay.shut();
            watcher.wait_lost();
            keys.extend(line.judge(300));
            broker.revive();
            // The watcher must be there first: what a broker has acknowledged and not yet passed
            // on is the broker's to lose.
            watcher.wait_subscribed();
            relay.open();
            wait_for("the station to return", || line.publisher.health().connected);
        }
    }
    let flushed = line.flush(Duration::from_secs(30));
    assert!(flushed.drained && flushed.clean, "{flushed:?}");
    assert!(flushed.health.reconnects >= 3, "{flushed:?}");
    assert_all_received(&watcher, &keys);
    assert_eq!(watcher.on("crr/s1/state").last().unwrap().payload, b"offline");

    let again = Line::start(dir.path(), settings(relay.port));
    assert_eq!(again.publisher.health().backlog_rows, 0);
    drop(again);
}

#[test]
fn connections_cut_at_any_moment_and_restarts_of_the_publisher_lose_nothing() {
    let Some(broker) = Broker::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let relay = Relay::to(broker.port);
    let watcher = Subscriber::start(broker.port);
    let mut keys = Vec::new();
    for start in 0..3u64 {
        let mut line = Line::start(dir.path(), settings(relay.port));
        for cut in 0..6u64 {
            for group in 0..(3 + 7 * cut + start) {
                keys.extend(line.judge(13));
                std::thread::sleep(Duration::from_micros(300 * (group % 5)));
            }
            relay.cut();
            std::thread::sleep(Duration::from_millis(20 * cut));
        }
        // Dropped without a word, as kill -9 would do; the journal stays behind.
        drop(line);
    }
    let line = Line::start(dir.path(), settings(relay.port));
    let flushed = line.flush(Duration::from_secs(30));
    assert!(flushed.drained, "{flushed:?}");
    assert_all_received(&watcher, &keys);
}

#[test]
fn a_frozen_connection_is_noticed_and_its_rows_are_sent_again() {
    let Some(broker) = Broker::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let relay = Relay::to(broker.port);
    let watcher = Subscriber::start(broker.port);
    let limits = Limits { ack_wait_ms_max: 500, ..Limits::default() };
    let mut line = Line::start(dir.path(), Settings { limits, ..settings(relay.port) });
    let mut keys = line.judge(50);
    wait_for("the first rows", || {
        watcher.count("crr/s1/verdict") + watcher.count("crr/s1/hist") >= 50
    });
    relay.freeze(true);
    keys.extend(line.judge(200));
    wait_for("the connection to be given up", || !line.publisher.health().connected);
    assert!(line.publisher.health().last_error.contains("acknowledge"));
    relay.cut();
    relay.freeze(false);
    assert!(line.flush(Duration::from_secs(30)).drained);
    assert_all_received(&watcher, &keys);
}

#[test]
fn live_verdicts_stay_quick_while_a_backlog_drains() {
    let Some(broker) = Broker::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let relay = Relay::to(broker.port);
    relay.shut();
    let watcher = Subscriber::start(broker.port);
    let mut line = Line::start(dir.path(), settings(relay.port));
    let begun = Instant::now();
    let backlog: Vec<_> = (0..200).flat_map(|_| line.judge(100)).collect();
    println!("journal: {:.0} rows/s in groups of 100", 20_000.0 / begun.elapsed().as_secs_f64());
    relay.open();
    wait_for("the connection", || line.publisher.health().connected);
    let begun = Instant::now();
    let mut committed = BTreeMap::new();
    for _ in 0..200 {
        let (at, late) = (Instant::now(), line.publisher.health().late);
        committed.extend(line.judge(1).into_iter().map(|key| (key, (at, late))));
        std::thread::sleep(Duration::from_millis(2));
    }
    let still = line.publisher.health().backlog_rows;
    wait_for("the backlog", || line.publisher.health().cursor >= 20_200);
    let took = begun.elapsed();
    let mut latencies: Vec<_> = watcher
        .on("crr/s1/verdict")
        .iter()
        .filter_map(|message| Some(message.at - committed.get(&key_of(&message.payload))?.0))
        .collect();
    latencies.sort();
    let at = |share: usize| latencies[(latencies.len() - 1) * share / 100];
    println!(
        "backlog: {:.0} rows/s with masks on every fifth; live, commit to subscriber: p50 {:?}, \
         p99 {:?}, max {:?}; backlog left after the live rows: {still}",
        20_200.0 / took.as_secs_f64(),
        at(50),
        at(99),
        at(100)
    );
    assert_eq!(latencies.len(), 200, "every row committed while connected is live");
    let overtaken = overtaken(&watcher, &committed);
    let median = overtaken[overtaken.len() / 2];
    println!("late rows that went out between commit and live verdict: median {median}");
    // What is on the wire, and what the publisher's thread does before it counts; a live lane stuck
    // behind the backlog has thousands before it. A count, so that a slow machine changes nothing.
    assert!(median < 500, "{overtaken:?}");
    let hist: Vec<_> = watcher.on("crr/s1/hist").iter().map(|m| key_of(&m.payload)).collect();
    assert_eq!(hist, backlog, "late rows come once and in order");
    let last = watcher.on("crr/s1/last");
    assert_eq!(key_of(&last.last().unwrap().payload), (1, 20_200));
    assert!(line.flush(Duration::from_secs(10)).drained);
}

/// Late rows that the watcher got before each live verdict, less those that were out when it was
/// committed; in order of size.
fn overtaken(watcher: &Subscriber, committed: &BTreeMap<Key, (Instant, u64)>) -> Vec<u64> {
    let (mut hist, mut overtaken) = (0u64, vec![]);
    for message in watcher.all() {
        match message.topic.as_str() {
            "crr/s1/hist" => hist += 1,
            "crr/s1/verdict" => {
                let late = committed.get(&key_of(&message.payload)).map(|(_, late)| *late);
                overtaken.extend(late.map(|late| hist.saturating_sub(late)));
            }
            _ => {}
        }
    }
    overtaken.sort_unstable();
    overtaken
}

#[test]
fn a_broken_connection_publishes_the_will_and_a_clean_end_does_not() {
    let Some(broker) = Broker::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let relay = Relay::to(broker.port);
    let watcher = Subscriber::start(broker.port);
    let states = || -> Vec<String> {
        let received = watcher.on("crr/s1/state");
        received.iter().map(|m| String::from_utf8_lossy(&m.payload).into_owned()).collect()
    };
    let line = Line::start(dir.path(), settings(relay.port));
    wait_for("ready", || states() == ["ready"]);
    line.publisher.set_state(b"busy".to_vec());
    wait_for("busy", || states() == ["ready", "busy"]);
    relay.cut();
    wait_for("will and return", || states() == ["ready", "busy", "gone", "busy"]);
    let flushed = line.flush(Duration::from_secs(5));
    assert!(flushed.clean && flushed.drained, "{flushed:?}");
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(states(), ["ready", "busy", "gone", "busy", "offline"]);
    let late = Subscriber::start(broker.port);
    wait_for("the retained state", || late.count("crr/s1/state") == 1);
    let retained = &late.on("crr/s1/state")[0];
    assert!(retained.retained && retained.payload == b"offline");
    let beats = watcher.on("crr/s1/hb");
    assert!(!beats.is_empty());
}

#[test]
fn a_message_too_large_is_reported_and_blocks_nothing_behind_it() {
    let Some(broker) = Broker::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let watcher = Subscriber::start(broker.port);
    let mut line = Line::start(dir.path(), settings(broker.port));
    let big = Entry { mask: Some(vec![b'x'; 20_000]), ..line.entry(1, 1) };
    line.seq = 1;
    line.commit(vec![big]);
    let keys = line.judge(20);
    let report = line.publisher.reports().recv_timeout(Duration::from_secs(20)).unwrap();
    let limit = Limits::default().payload_bytes_max;
    assert_eq!(
        report,
        Report::Undeliverable { row: 1, mask: true, bytes: 20_000, bytes_max: limit }
    );
    let flushed = line.flush(Duration::from_secs(20));
    assert!(flushed.drained && flushed.health.reconnects == 0, "{flushed:?}");
    assert_eq!(flushed.health.undeliverable, 1);
    wait_for("all verdicts", || {
        tally(&watcher, &["verdict", "hist"], payload).len() == 1 + keys.len()
    });
}

#[test]
fn metrics_too_large_for_a_broker_of_mqtt_5_are_left_out_and_told_once() {
    let lines = "allow_anonymous true\nmax_packet_size 2048\n";
    let Some(broker) = Broker::start_with(lines) else { return };
    let dir = tempfile::tempdir().unwrap();
    let watcher = Subscriber::start(broker.port);
    let v5 = Settings { version: Version::V5, ..settings(broker.port) };
    let mut line = Line::start(dir.path(), v5);
    wait_for("the connection", || line.publisher.health().connected);
    let bytes_max = 2048 - 512;
    for extra in [1, 2] {
        assert!(line.publisher.tell_health(vec![b'h'; bytes_max + extra]));
    }
    assert!(line.publisher.tell_health(vec![b'h'; bytes_max]));
    wait_for("metrics that fit", || watcher.count("crr/s1/health") == 1);
    let reports: Vec<Report> = line.publisher.reports().try_iter().collect();
    assert_eq!(reports, [Report::TooLarge { topic: "health", bytes: bytes_max + 1, bytes_max }]);
    let keys = line.judge(20);
    let flushed = line.flush(Duration::from_secs(20));
    assert!(flushed.drained && flushed.health.reconnects == 0, "{flushed:?}");
    assert_all_received(&watcher, &keys);
}

#[test]
fn the_largest_allowed_message_passes() {
    let Some(broker) = Broker::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let watcher = Subscriber::start(broker.port);
    let mut line = Line::start(dir.path(), settings(broker.port));
    let bytes = Limits::default().payload_bytes_max;
    let entry = Entry { mask: Some(vec![b'x'; bytes]), ..line.entry(1, 1) };
    line.commit(vec![entry]);
    assert!(line.flush(Duration::from_secs(20)).drained);
    wait_for("the mask", || watcher.count("crr/s1/mask") == 1);
    assert_eq!(watcher.on("crr/s1/mask")[0].payload.len(), bytes);
}

#[test]
fn a_second_client_with_our_id_is_reported_as_a_takeover() {
    let Some(broker) = Broker::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let line = Line::start(dir.path(), settings(broker.port));
    let rival = rumqttc::MqttOptions::new("crrd-s1", "127.0.0.1", broker.port);
    let (_client, mut connection) = rumqttc::Client::new(rival, 10);
    std::thread::Builder::new()
        .name("rival".into())
        .spawn(move || connection.iter().take(200).for_each(drop))
        .unwrap();
    let report = line.publisher.reports().recv_timeout(Duration::from_secs(30)).unwrap();
    assert_eq!(report, Report::TakeoverSuspected { times: 3 });
    drop(line);
}

#[test]
fn credentials_open_the_door_and_are_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let passwords = dir.path().join("passwords");
    let made = std::process::Command::new("mosquitto_passwd")
        .args(["-b", "-c"])
        .arg(&passwords)
        .args(["line", "s3cret-Word"])
        .status();
    if !made.is_ok_and(|status| status.success()) {
        println!("skipped: mosquitto_passwd is not installed");
        return;
    }
    let lines = format!("allow_anonymous false\npassword_file {}\n", passwords.display());
    let Some(broker) = Broker::start_with(&lines) else { return };
    let watcher = Subscriber::start_as(broker.port, Some(("line", "s3cret-Word")));
    let with = |password: &str| {
        let credentials = Some(Credentials { user: "line".into(), password: password.into() });
        Settings { credentials, ..settings(broker.port) }
    };
    assert!(!format!("{:?}", with("s3cret-Word")).contains("s3cret"));

    let mut line = Line::start(&dir.path().join("state"), with("s3cret-Wrong"));
    let keys = line.judge(10);
    wait_for("the refusal", || !line.publisher.health().last_error.is_empty());
    let health = line.publisher.health();
    assert!(!health.connected && !format!("{health:?}").contains("s3cret"), "{health:?}");
    let flushed = line.flush(Duration::from_millis(300));
    assert!(!flushed.drained && !flushed.clean, "{flushed:?}");

    let line = Line::start(&dir.path().join("state"), with("s3cret-Word"));
    assert!(line.flush(Duration::from_secs(20)).drained);
    assert_all_received(&watcher, &keys);
}

#[test]
fn a_retained_giant_on_the_command_topic_holds_no_verdict_up() {
    let Some(broker) = Broker::start() else { return };
    let watcher = Subscriber::start(broker.port);
    let mut options = rumqttc::MqttOptions::new("giant", "127.0.0.1", broker.port);
    options.set_max_packet_size(1 << 20, 1 << 20);
    let (client, mut connection) = rumqttc::Client::new(options, 10);
    client.publish("crr/s1/cmd", rumqttc::QoS::AtLeastOnce, true, vec![b'x'; 300 << 10]).unwrap();
    let acked = |event: Result<rumqttc::Event, _>| {
        matches!(event, Ok(rumqttc::Event::Incoming(rumqttc::Packet::PubAck(_))))
    };
    assert!(connection.iter().any(acked));
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(broker.port);
    settings.subscriptions = vec!["crr/s1/cmd".to_owned()];
    let mut line = Line::start(dir.path(), settings);
    let overrun = |report| matches!(report, Report::CommandOverrun { bytes } if bytes > 300 << 10);
    wait_for("the report", || line.publisher.reports().try_recv().is_ok_and(overrun));
    wait_for("the next connection", || line.publisher.health().connected);
    let mut keys = Vec::new();
    for _ in 0..20 {
        keys.extend(line.judge(5));
        std::thread::sleep(Duration::from_millis(20));
    }
    wait_for("all verdicts", || watcher.count("crr/s1/verdict") >= keys.len());
    assert_eq!(line.publisher.health().reconnects, 1, "once, and never again within the minute");
    assert!(line.flush(Duration::from_secs(10)).clean);
}

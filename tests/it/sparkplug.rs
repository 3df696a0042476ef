//! The Sparkplug mirror against hosts that know nothing of this program: pysparkplug and the npm
//! package sparkplug-payload, over a real Mosquitto. What pysparkplug needs is installed by
//! `.ci/run`; without it these tests are skipped.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::broker::{Broker, Relay, Subscriber, free_port, wait_for};
use crate::station::{Bench, Running, verdicts};

const GROUP: &str = "hall2";
const HOST_ID: &str = "scada";

/// Installed host libraries, or why a test is skipped.
fn installed(what: &str) -> Option<PathBuf> {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/sparkplug-hosts").join(what);
    if !place.exists() {
        println!("skipped: no {} (see .ci/run)", place.display());
        return None;
    }
    Some(place)
}

/// A host in a process of its own; what it decoded, in order.
struct Host {
    child: Child,
    input: ChildStdin,
    messages: Arc<Mutex<Vec<Value>>>,
}

impl Host {
    fn python(port: u16) -> Option<Self> {
        let mut command = Command::new(installed("venv/bin/python")?);
        command.arg(script("host.py")).args([&port.to_string(), GROUP, "s1", HOST_ID]);
        Some(Self::start(command))
    }

    fn node(port: u16) -> Option<Self> {
        let modules = installed("node_modules")?;
        let mut command = Command::new("node");
        command.arg(script("host.js")).args([&port.to_string(), GROUP, "s1"]);
        command.env("NODE_PATH", modules);
        Some(Self::start(command))
    }

    fn start(mut command: Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the host starts");
        let messages = Arc::<Mutex<Vec<Value>>>::default();
        let (output, into) = (child.stdout.take().unwrap(), messages.clone());
        std::thread::Builder::new()
            .name("host".into())
            .spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    into.lock().unwrap().push(serde_json::from_str(&line).unwrap());
                }
            })
            .unwrap();
        let host = Self { input: child.stdin.take().unwrap(), child, messages };
        host.wait(1, "LISTENING");
        host
    }

    fn says(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }

    fn all(&self) -> Vec<Value> {
        self.messages.lock().unwrap().clone()
    }

    fn of(&self, verb: &str) -> Vec<Value> {
        self.all().into_iter().filter(|message| message["verb"] == verb).collect()
    }

    fn wait(&self, count: usize, verb: &str) {
        wait_for(&format!("{count} x {verb}"), || self.of(verb).len() >= count);
    }

    /// Parts in DDATA as (sequence, historical).
    fn parts(&self) -> Vec<(i64, bool)> {
        let part = |message: &Value| {
            let sequence = metric(message, "Part/Sequence");
            (sequence["value"].as_i64().unwrap(), sequence["historical"].as_bool().unwrap())
        };
        self.of("DDATA").iter().map(part).collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/sparkplug").join(name)
}

fn metric<'a>(message: &'a Value, name: &str) -> &'a Value {
    let metrics = message["metrics"].as_array().unwrap();
    let found = metrics.iter().find(|metric| metric["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {message:#}"))
}

fn value<'a>(message: &'a Value, name: &str) -> &'a Value {
    &metric(message, name)["value"]
}

fn bd_seq(message: &Value) -> i64 {
    value(message, "bdSeq").as_i64().unwrap()
}

/// Births first, every number one more than the last, NDEATH without one, nothing acknowledged
/// or retained.
fn check_sessions(messages: &[Value]) {
    let mut next = None;
    for message in messages {
        let verb = message["verb"].as_str().unwrap();
        match verb {
            "LISTENING" => continue,
            "NBIRTH" => next = Some(0),
            "NDEATH" => {
                // A numberless message; protobuf's default shows as null or as absent.
                assert!(message["seq"].is_null(), "{message:#}");
                next = None;
                continue;
            }
            _ => {}
        }
        let expected = next.unwrap_or_else(|| panic!("{verb} outside a session"));
        assert_eq!(message["seq"], expected, "{message:#}");
        assert_eq!((&message["qos"], &message["retain"]), (&0.into(), &false.into()));
        next = Some((expected + 1) % 256);
    }
}

/// A line that judges a part every 20 ms and mirrors it.
struct Mirrored {
    bench: Bench,
    table: String,
}

impl Mirrored {
    fn new(port: u16, extra: &str) -> Self {
        let mut bench = Bench::new(port);
        bench.pictures(30);
        bench.camera("rate_hz = 50\nmode = \"loop\"");
        Self { bench, table: format!("[sparkplug]\ngroup = \"{GROUP}\"\n{extra}\n") }
    }

    fn run(&self) -> Running {
        self.bench.run_text(&format!("{}{}", self.bench.config(), self.table))
    }
}

#[test]
fn two_independent_hosts_decode_births_data_and_death_and_get_their_rebirths() {
    let Some(broker) = Broker::start() else { return };
    let (Some(mut python), Some(mut node)) = (Host::python(broker.port), Host::node(broker.port))
    else {
        return;
    };
    let mirrored = Mirrored::new(broker.port, "");
    let station = mirrored.run();
    python.wait(1, "NBIRTH");
    node.wait(300, "DDATA");
    python.wait(300, "DDATA");
    python.says("write camera");
    python.says("rebirth");
    python.wait(2, "DBIRTH");
    node.wait(2, "DBIRTH");
    node.says("rebirth");
    node.wait(3, "DBIRTH");
    python.wait(3, "DBIRTH");
    let parts = python.parts().len();
    python.wait(parts + 60, "DDATA");
    station.signal("TERM");
    let (status, log) = station.end();
    assert_eq!(status.code(), Some(0), "{log}");
    for host in [&python, &node] {
        host.wait(1, "NDEATH");
        let all = host.all();
        check_sessions(&all);
        check_births(host);
        check_data(host);
        assert_eq!(bd_seq(&host.of("NDEATH")[0]), 0);
        assert!(host.of("NBIRTH").iter().all(|birth| bd_seq(birth) == 0), "one session");
        let refused = "Mirror/Commands Refused";
        assert_eq!(value(&host.of("NBIRTH")[2], refused), 1, "the written verdict");
    }
    assert!(log.contains("a Sparkplug command was refused"), "{log}");
    // Both saw the same.
    assert_eq!(python.parts(), node.parts());
}

fn check_births(host: &Host) {
    let birth = &host.of("NBIRTH")[0];
    let rebirth = metric(birth, "Node Control/Rebirth");
    assert_eq!((&rebirth["value"], &rebirth["alias"]), (&false.into(), &Value::Null));
    for name in ["Station/State", "Station/Ready", "Station/Engine SHA-256", "Counters/Parts"] {
        assert!(metric(birth, name)["alias"].is_i64(), "{birth:#}");
    }
    assert_eq!(value(birth, "Station/Epoch"), 1);
    let device = &host.of("DBIRTH")[0];
    assert_eq!(device["device"], "camera");
    let latency = metric(device, "Verdict/Latency");
    assert_eq!(latency["type"].as_str().unwrap().to_lowercase(), "float");
    // The Python library shows no properties.
    if let Some(unit) = latency.get("unit") {
        assert_eq!(unit, "ms");
    }
}

fn check_data(host: &Host) {
    // The first parts may come before the first birth.
    let (late, live): (Vec<_>, Vec<_>) =
        host.parts().into_iter().partition(|(_, historical)| *historical);
    for parts in [&late, &live] {
        assert!(parts.windows(2).all(|two| two[1].0 == two[0].0 + 1), "{parts:?}");
    }
    assert_eq!(late.last().map_or(0, |(sequence, _)| *sequence) + 1, live[0].0);
    for message in host.of("DDATA") {
        let id = value(&message, "Part/Id").as_str().unwrap().to_owned();
        let (outcome, code) = if id.contains("bad") { ("Reject", 0) } else { ("Pass", 1) };
        assert_eq!(value(&message, "Verdict/Outcome"), outcome, "{message:#}");
        assert_eq!(value(&message, "Verdict/Outcome Code"), code);
        let score = value(&message, "Verdict/Score").as_f64().unwrap();
        let limit = value(&message, "Verdict/Limit").as_f64().unwrap();
        assert!((limit - 0.05).abs() < 1e-6 && (score > limit) == (code == 0), "{message:#}");
        assert_eq!(value(&message, "Part/Class"), "bolt");
        assert_eq!(
            (value(&message, "Part/Recipe"), value(&message, "Part/Epoch")),
            (&7.into(), &1.into())
        );
    }
    let counted = host.of("NDATA");
    let parts_told = |m: &Value| {
        let metrics = m["metrics"].as_array().unwrap();
        metrics.iter().find(|m| m["name"] == "Counters/Parts").map(|m| m["value"].as_i64().unwrap())
    };
    let counts: Vec<i64> = counted.iter().filter_map(parts_told).collect();
    assert!(counts.len() >= 3 && counts.is_sorted(), "{counts:?}");
}

#[test]
fn a_killed_station_is_dead_for_its_host_and_comes_back_as_the_next_session() {
    let Some(broker) = Broker::start() else { return };
    let Some(host) = Host::python(broker.port) else { return };
    let mirrored = Mirrored::new(broker.port, "");
    for session in 0..3 {
        let births = usize::try_from(session).unwrap() + 1;
        let station = mirrored.run();
        host.wait(births, "DBIRTH");
        let parts = host.parts().len();
        host.wait(parts + 5, "DDATA");
        station.kill();
        host.wait(births, "NDEATH");
        assert_eq!(bd_seq(host.of("NBIRTH").last().unwrap()), session);
        assert_eq!(bd_seq(host.of("NDEATH").last().unwrap()), session);
    }
    check_sessions(&host.all());
    let kept = std::fs::read_to_string(mirrored.bench.path("state/sparkplug-bdseq")).unwrap();
    assert_eq!(kept.trim(), "2");
}

#[test]
fn parts_of_a_broker_outage_reach_the_host_as_history() {
    let Some(broker) = Broker::start() else { return };
    let Some(host) = Host::python(broker.port) else { return };
    let relay = Relay::to(broker.port);
    let mirrored = Mirrored::new(relay.port, "");
    let station = mirrored.run();
    host.wait(20, "DDATA");
    relay.shut();
    host.wait(1, "NDEATH");
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    relay.open();
    host.wait(2, "DBIRTH");
    let before = host.parts().iter().filter(|(_, historical)| !historical).count();
    wait_for("history and live parts", || {
        let parts = host.parts();
        let historical = parts.iter().filter(|(_, historical)| *historical).count();
        historical >= 40 && parts.len() - historical >= before + 60
    });
    station.signal("TERM");
    assert_eq!(station.end().0.code(), Some(0));
    check_sessions(&host.all());
    let (mut late, live): (Vec<_>, Vec<_>) =
        host.parts().into_iter().partition(|(_, historical)| *historical);
    // The first parts of all may come before the first birth.
    late.retain(|(sequence, _)| *sequence > live[0].0);
    assert!(
        late.windows(2).all(|two| two[1].0 == two[0].0 + 1),
        "in order, none missing: {late:?}"
    );
    // Nothing is told twice, and between the last part before the outage and the first of the
    // history at most what was on the wire of a connection that was already cut.
    let first = late[0].0;
    let gap = live.iter().map(|(sequence, _)| first - sequence).filter(|d| *d > 0).min().unwrap();
    assert!((1..=10).contains(&gap), "{gap} parts on the wire");
    late.extend(&live);
    let count = late.len();
    late.sort_unstable();
    late.dedup();
    assert_eq!(late.len(), count);
}

#[test]
fn an_offline_primary_host_ends_the_session_and_misses_no_part_while_the_record_goes_on() {
    let Some(broker) = Broker::start() else { return };
    let Some(mut host) = Host::python(broker.port) else { return };
    let watcher = Subscriber::start(broker.port);
    let mirrored = Mirrored::new(broker.port, &format!("primary_host = \"{HOST_ID}\""));
    let mut station = mirrored.run();
    station.wait_log("waits for its primary host");
    wait_for("verdicts without a host", || verdicts(&watcher).len() >= 30);
    assert_eq!(host.all().len(), 1, "no birth before its host is online");
    host.says("online 1000");
    host.wait(1, "DBIRTH");
    wait_for("parts before the host came", || host.parts().iter().any(|(_, late)| *late));
    host.says("offline 999");
    let parts = host.parts().len();
    host.wait(parts + 20, "DDATA");
    assert!(host.of("NDEATH").is_empty(), "an old word");
    host.says("offline 1000");
    host.wait(1, "NDEATH");
    let known = verdicts(&watcher).len();
    wait_for("verdicts meanwhile", || verdicts(&watcher).len() >= known + 40);
    assert_eq!(host.of("NBIRTH").len(), 1, "no birth while its host is offline");
    host.says("online 2000");
    host.wait(2, "DBIRTH");
    assert_eq!(bd_seq(&host.of("NDEATH")[0]), 0);
    assert_eq!(bd_seq(&host.of("NBIRTH")[1]), 1);
    let parts = || {
        let mut parts: Vec<i64> = host.parts().into_iter().map(|(sequence, _)| sequence).collect();
        parts.sort_unstable();
        parts
    };
    // An ordered farewell loses nothing: what was decided meanwhile comes as history.
    wait_for("every part", || {
        let parts = parts();
        parts.len() > 120 && parts.iter().copied().eq(1..=parts.len() as i64)
    });
    check_sessions(&host.all());
    station.signal("TERM");
    assert_eq!(station.end().0.code(), Some(0));
}

#[test]
fn a_mirror_without_a_broker_costs_the_record_nothing() {
    let Some(broker) = Broker::start() else { return };
    let watcher = Subscriber::start(broker.port);
    let mut bench = Bench::new(broker.port);
    bench.pictures(60);
    bench.camera("rate_hz = 0");
    let table = format!("[sparkplug]\ngroup = \"g\"\nport = {}\n", free_port());
    let (status, log) = bench.run_text(&format!("{}{table}", bench.config())).end();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("no connection for the Sparkplug mirror"), "{log}");
    assert!(log.contains("delivered=true"), "{log}");
    wait_for("all verdicts", || verdicts(&watcher).len() == 60);
}

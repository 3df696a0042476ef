//! Eight stations on a cluster of three brokers, one of which is killed: every verdict arrives.
//!
//! The cluster is NATS JetStream with its MQTT gateway (Debian: `nats-server`), on loopback; in
//! front of it stands what a plant has there, a relay that connects to whichever broker lives.
//! Not part of the usual tests, for it takes half a minute and a program that few have:
//!
//! ```text
//! cargo test -p crrd --test it fleet -- --ignored --nocapture
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rumqttc::{Client, Event, MqttOptions, Packet, QoS};

use crate::broker::{free_port, wait_for};
use crate::station::{Bench, Seen, journaled};

const STATIONS: usize = 8;
const NODES: usize = 3;
/// Before the kill, and after it.
const PHASE: Duration = Duration::from_secs(8);
/// Verdicts of each station a second.
const RATE_HZ: u32 = 20;

/// One broker of the cluster; killed when dropped.
struct Node {
    child: Child,
    mqtt: u16,
}

impl Node {
    fn start(dir: &Path, number: usize, mqtt: u16, cluster: &[u16]) -> Self {
        let routes: Vec<_> =
            cluster.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect();
        let store = dir.join(format!("store-{number}"));
        let config = format!(
            "server_name: n{number}\nlisten: \"127.0.0.1:{}\"\njetstream {{ store_dir: {store:?} }}\n\
             mqtt {{ listen: \"127.0.0.1:{mqtt}\" }}\n\
             cluster {{ name: fleet, listen: \"127.0.0.1:{}\", routes: [{}] }}\n",
            free_port(),
            cluster[number],
            routes.join(", ")
        );
        let file = dir.join(format!("n{number}.conf"));
        std::fs::write(&file, config).unwrap();
        let log = std::fs::File::create(dir.join(format!("n{number}.log"))).unwrap();
        let child = Command::new("nats-server")
            .arg("-c")
            .arg(file)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, mqtt }
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A relay to the first of the brokers that takes the connection, beginning with the next one
/// each time.
fn balance(targets: Vec<u16>) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = move || {
        for (turn, near) in listener.incoming().flatten().enumerate() {
            let order = (0..targets.len()).map(|i| targets[(turn + i) % targets.len()]);
            let far =
                order.into_iter().find_map(|port| TcpStream::connect(("127.0.0.1", port)).ok());
            let Some(far) = far else { continue };
            let _ = (near.set_nodelay(true), far.set_nodelay(true));
            pump(near.try_clone().unwrap(), far.try_clone().unwrap());
            pump(far, near);
        }
    };
    thread::Builder::new().name("balance".into()).spawn(serve).unwrap();
    port
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    let copy = move || {
        let mut buffer = [0; 16 << 10];
        while let Ok(bytes @ 1..) = from.read(&mut buffer) {
            if to.write_all(&buffer[..bytes]).is_err() {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    };
    thread::Builder::new().name("pump".into()).spawn(copy).unwrap();
}

/// (station, epoch, seq) -> how often, and when first.
type Arrived = Arc<Mutex<BTreeMap<(usize, i64, i64), (usize, Instant)>>>;

/// A subscriber with a session that the cluster keeps; it acknowledges what it gets.
fn subscribe(port: u16) -> Arrived {
    let mut options = MqttOptions::new("fleet-watcher", "127.0.0.1", port);
    options.set_clean_session(false).set_keep_alive(Duration::from_secs(5));
    let (client, mut connection) = Client::new(options, 10);
    let arrived = Arrived::default();
    let (seen, (ready, agreed)) = (arrived.clone(), std::sync::mpsc::channel());
    let listen = move || {
        for event in connection.iter() {
            match event {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    for kind in ["verdict", "hist"] {
                        client.try_subscribe(format!("crr/+/{kind}"), QoS::AtLeastOnce).unwrap();
                    }
                }
                Ok(Event::Incoming(Packet::SubAck(_))) => drop(ready.send(())),
                Ok(Event::Incoming(Packet::Publish(publish))) => {
                    let station = publish.topic.split('/').nth(1).unwrap()[1..].parse().unwrap();
                    let fields = serde_json::from_slice(&publish.payload).unwrap();
                    let verdict = Seen { fields };
                    let key = (station, verdict.number("e"), verdict.number("q"));
                    let mut seen = seen.lock().unwrap();
                    seen.entry(key).or_insert((0, Instant::now())).0 += 1;
                }
                Ok(_) => {}
                Err(_) => thread::sleep(Duration::from_millis(50)),
            }
        }
    };
    thread::Builder::new().name("fleet-watcher".into()).spawn(listen).unwrap();
    for _ in 0..2 {
        agreed.recv_timeout(Duration::from_secs(30)).expect("the cluster takes no subscription");
    }
    arrived
}

#[test]
#[ignore = "half a minute and nats-server: cargo test -p crrd --test it fleet -- --ignored --nocapture"]
fn a_broker_of_the_cluster_dies_and_every_verdict_of_eight_stations_arrives() {
    if Command::new("nats-server").arg("--version").output().is_err() {
        println!("skipped: nats-server is not installed");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let cluster: Vec<u16> = (0..NODES).map(|_| free_port()).collect();
    let mut nodes: Vec<_> =
        (0..NODES).map(|i| Node::start(dir.path(), i, free_port(), &cluster)).collect();
    let ports: Vec<u16> = nodes.iter().map(|node| node.mqtt).collect();
    for port in &ports {
        wait_for("the cluster to listen", || TcpStream::connect(("127.0.0.1", *port)).is_ok());
    }
    // The watcher stays with a broker that lives; what it sees is what the cluster kept.
    let arrived = subscribe(ports[0]);
    let door = balance(ports);

    let mut benches: Vec<_> = (0..STATIONS).map(|_| Bench::new(door)).collect();
    let mut stations = Vec::new();
    for (i, bench) in benches.iter_mut().enumerate() {
        bench.pictures(30);
        bench.camera(&format!("rate_hz = {RATE_HZ}\nmode = \"loop\""));
        let name = format!("station = \"s{i}\"");
        stations.push(bench.run_text(&bench.config().replace("station = \"s1\"", &name)));
    }
    let count = || arrived.lock().unwrap().len();
    wait_for("verdicts of all stations", || {
        let seen: BTreeSet<_> = arrived.lock().unwrap().keys().map(|(s, ..)| *s).collect();
        seen.len() == STATIONS
    });
    thread::sleep(PHASE);
    let (before, killed) = (count(), Instant::now());
    nodes[NODES - 1].kill();
    thread::sleep(PHASE);
    for station in &stations {
        station.signal("TERM");
    }
    let logs: Vec<_> = stations.into_iter().map(|station| station.end().1).collect();

    let mut rows = BTreeSet::new();
    for (i, bench) in benches.iter().enumerate() {
        let all = journaled(&bench.path("state"));
        rows.extend(all.iter().map(|(e, q, _)| (i, i64::from(*e), i64::from(*q))));
        assert!(logs[i].contains("delivered=true"), "station {i}:\n{}", logs[i]);
    }
    wait_for("every verdict", || count() >= rows.len());
    let seen = arrived.lock().unwrap();
    let missing: Vec<_> = rows.iter().filter(|key| !seen.contains_key(key)).collect();
    assert!(missing.is_empty(), "journaled and lost: {missing:?}");
    let doubles: usize = seen.values().map(|(times, _)| times - 1).sum();
    let connections = |log: &String| log.matches("connected to the broker").count();
    let moved: Vec<_> = (0..STATIONS).filter(|i| connections(&logs[*i]) > 1).collect();
    assert!(!moved.is_empty(), "the killed broker had no station");
    let silence = |station: &usize| {
        let of_it = seen.iter().filter(|((s, ..), (_, at))| s == station && *at > killed);
        let mut times: Vec<_> = of_it.map(|(_, (_, at))| *at).collect();
        times.sort();
        let gaps = std::iter::once(&killed).chain(&times).zip(&times).map(|(a, b)| *b - *a);
        gaps.max().unwrap_or_default()
    };
    let longest = moved.iter().map(silence).max().unwrap_or_default();
    println!(
        "{} verdicts of {STATIONS} stations, {before} of them before the kill; {} stations lost \
         their broker, the longest silence of one was {longest:?}; {doubles} verdicts arrived \
         twice, 0 were lost",
        rows.len(),
        moved.len()
    );
}

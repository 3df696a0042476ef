//! The station over every kind of connection: both versions of MQTT, TLS, client certificates,
//! passwords, the access list that is shipped, and a broker of another make; each with a restart
//! of the broker in the middle.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rumqttc::{Client, Event, MqttOptions, Packet, QoS, TlsConfiguration, Transport};

use crate::broker::{Broker, Subscriber, free_port, wait_for};
use crate::doctor::password_file;
use crate::pki::Authority;
use crate::station::{Bench, journaled, state, verdicts};

/// A year far away, so that these tests do not end with a certificate.
const LATER: i32 = 2100;
/// Verdicts before the restart, and late ones after it.
const VERDICTS: usize = 30;
const LATE: usize = 5;

/// A broker that can be taken away and brought back.
trait Restart {
    fn kill(&mut self);
    fn revive(&mut self);
}

impl Restart for Broker {
    fn kill(&mut self) {
        Broker::kill(self);
    }

    fn revive(&mut self) {
        Broker::revive(self);
    }
}

/// Runs a station with these lines in `[mqtt]`; every verdict arrives although the broker is
/// restarted, and heartbeat and state are told.
fn delivers(bench: &mut Bench, mqtt: &str, broker: &mut dyn Restart, watcher: &Subscriber) {
    bench.pictures(30);
    bench.camera("rate_hz = 50\nmode = \"loop\"");
    let station = bench.run_text(&bench.config_with(mqtt));
    wait_for("verdicts", || verdicts(watcher).len() >= VERDICTS);
    wait_for("heartbeats", || watcher.count("crr/s1/hb") >= 2);
    assert_eq!(state(watcher).unwrap().number("ready"), 1);
    broker.kill();
    watcher.wait_lost();
    // Parts go by while nobody takes their verdicts.
    std::thread::sleep(Duration::from_millis(300));
    broker.revive();
    watcher.wait_subscribed();
    wait_for("late verdicts", || watcher.count("crr/s1/hist") >= LATE);
    let beats = watcher.count("crr/s1/hb");
    wait_for("heartbeats after the restart", || watcher.count("crr/s1/hb") > beats);
    station.signal("TERM");
    let (status, log) = station.end();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("delivered=true"), "{log}");
    wait_for("the farewell", || state(watcher).is_some_and(|s| s.number("online") == 0));
    let rows = journaled(&bench.path("state"));
    let last = rows.last().unwrap().1;
    wait_for("the last verdict", || verdicts(watcher).contains_key(&(1, last.into())));
    let seen = verdicts(watcher);
    let missing: Vec<_> =
        rows.iter().filter(|(e, q, _)| !seen.contains_key(&((*e).into(), (*q).into()))).collect();
    assert!(missing.is_empty(), "journaled and lost: {missing:?}");
}

#[test]
fn both_versions_in_the_clear() {
    for version in ["3.1.1", "5"] {
        let Some(mut broker) = Broker::start() else { return };
        let watcher = Subscriber::start(broker.port);
        let mut bench = Bench::new(broker.port);
        delivers(&mut bench, &format!("version = \"{version}\""), &mut broker, &watcher);
    }
}

/// Files in the order of [`tls`], made in `dir`.
fn pki(dir: &Path) -> Authority {
    let authority = Authority::new(dir, "ca");
    authority.sign("broker", "127.0.0.1", LATER);
    authority.sign("station", "station", LATER);
    authority
}

/// Lines for `[mqtt]`.
fn tls(dir: &Path, with_client: bool) -> String {
    let file = |name: &str| format!("{:?}", dir.join(name));
    let mut lines = format!("tls = true\nca_file = {}\n", file("ca.pem"));
    if with_client {
        lines += &format!("client_cert_file = {}\n", file("station.pem"));
        lines += &format!("client_key_file = {}\n", file("station.key"));
    }
    lines
}

#[test]
fn tls_with_and_without_a_certificate_of_ours_in_both_versions() {
    for (version, with_client) in [("3.1.1", true), ("5", false), ("5", true)] {
        let dir = tempfile::tempdir().unwrap();
        pki(dir.path());
        let (plain, folder) = (free_port(), dir.path().display());
        // The watcher comes in by another door: it is not what is tested.
        let lines = format!(
            "user root\nallow_anonymous true\ncafile {folder}/ca.pem\n\
             certfile {folder}/broker.pem\nkeyfile {folder}/broker.key\n\
             require_certificate {with_client}\nlistener {plain} 127.0.0.1\n"
        );
        let Some(mut broker) = Broker::start_with(&lines) else { return };
        let watcher = Subscriber::start(plain);
        let mut bench = Bench::new(broker.port);
        let mqtt = format!("version = \"{version}\"\n{}", tls(dir.path(), with_client));
        delivers(&mut bench, &mqtt, &mut broker, &watcher);
    }
}

#[test]
fn a_password_from_a_file_and_from_a_credential() {
    let dir = tempfile::tempdir().unwrap();
    let users = dir.path().join("users");
    let Some(()) = password_file(&users, &["station", "hmi"]) else { return };
    let lines = format!("user root\nallow_anonymous false\npassword_file {}\n", users.display());
    let Some(mut broker) = Broker::start_with(&lines) else { return };
    let watcher = Subscriber::start_as(broker.port, Some(("hmi", "right")));
    let mut bench = Bench::new(broker.port);
    std::fs::write(bench.path("password"), "right\n").unwrap();
    let mqtt = "username = \"station\"\npassword_file = \"password\"";
    delivers(&mut bench, mqtt, &mut broker, &watcher);

    // The same as systemd passes it; without it, no station.
    let mqtt = "username = \"station\"\npassword_credential = \"password\"";
    let file = bench.path("credential.toml");
    std::fs::write(&file, bench.config_with(mqtt)).unwrap();
    let run = |folder: Option<PathBuf>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_crrd"));
        command.args(["run", "--config"]).arg(&file).env_remove("CREDENTIALS_DIRECTORY");
        bench.spawn(command.envs(folder.map(|folder| ("CREDENTIALS_DIRECTORY", folder))))
    };
    let (status, log) = run(None).end();
    assert_eq!(status.code(), Some(2), "{log}");
    assert!(log.contains("LoadCredential=password:FILE"), "{log}");
    let mut station = run(Some(bench.path("")));
    station.wait_log("connected to the broker");
    wait_for("verdicts of the second run", || {
        verdicts(&watcher).keys().any(|(epoch, _)| *epoch > 1)
    });
}

/// A client with TLS and a login.
fn options(id: &str, port: u16, ca: &Path, user: &str) -> MqttOptions {
    let mut options = MqttOptions::new(id, "127.0.0.1", port);
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    let pem = std::fs::read(ca).unwrap();
    for der in
        <rustls::pki_types::CertificateDer<'_> as rustls::pki_types::pem::PemObject>::pem_slice_iter(
            &pem,
        )
    {
        roots.add(der.unwrap()).unwrap();
    }
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let transport = Transport::tls_with_config(TlsConfiguration::Rustls(config.into()));
    options.set_credentials(user, "right").set_transport(transport);
    options
}

/// Sends `payload` to each topic as `user`, and returns when the broker has acknowledged all.
fn say(port: u16, ca: &Path, user: &str, topics: &[&str], payload: &str) {
    let (client, mut connection) = Client::new(options(&format!("say-{user}"), port, ca, user), 10);
    for topic in topics {
        client.publish(*topic, QoS::AtLeastOnce, false, payload).unwrap();
    }
    let acks = connection.iter().filter(|event| {
        let event = event.as_ref().unwrap_or_else(|error| panic!("{user}: {error}"));
        matches!(event, Event::Incoming(Packet::PubAck(_)))
    });
    assert_eq!(acks.take(topics.len()).count(), topics.len());
}

#[test]
fn the_shipped_example_of_mosquitto_lets_each_do_its_own_and_no_more() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/mosquitto");
    let read = |name: &str| std::fs::read_to_string(docs.join(name)).unwrap();
    for version in ["3.1.1", "5"] {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().to_str().unwrap();
        std::fs::create_dir(dir.path().join("certs")).unwrap();
        std::fs::create_dir(dir.path().join("lib")).unwrap();
        let certs = dir.path().join("certs");
        let ca = pki(&certs).pem();
        let users = ["station", "plc", "hmi"];
        let Some(()) = password_file(&dir.path().join("passwd"), &users) else { return };
        std::fs::write(dir.path().join("acl"), read("acl").replace("line1", "s1")).unwrap();
        let port = free_port();
        let conf = read("crrd.conf")
            .replace("listener 8883", &format!("listener {port} 127.0.0.1"))
            .replace("/etc/mosquitto", folder)
            .replace("/var/lib/mosquitto", &format!("{folder}/lib"));
        let Some(mut broker) = Broker::start_from(&format!("user root\n{conf}"), port) else {
            return;
        };
        let watcher = Subscriber::with(options("watcher-plc", port, &ca, "plc"));
        let mut bench = Bench::new(port);
        std::fs::write(bench.path("password"), "right\n").unwrap();
        let mqtt = format!(
            "version = \"{version}\"\n{}username = \"station\"\npassword_file = \"password\"",
            tls(&certs, false)
        );
        delivers(&mut bench, &mqtt, &mut broker, &watcher);
        say(port, &ca, "hmi", &["crr/s1/verdict", "crr/s1/cmd"], "forged by the display");
        say(port, &ca, "plc", &["crr/s1/verdict", "crr/s1/state"], "forged by the plc");
        say(port, &ca, "station", &["crr/s2/verdict", "crr/s1/cmd"], "beside its own topics");
        say(port, &ca, "plc", &["crr/s1/cmd"], "an order");
        wait_for("the order", || watcher.count("crr/s1/cmd") >= 1);
        let texts = |topic| {
            let messages = watcher.on(topic).into_iter();
            messages.map(|m| String::from_utf8_lossy(&m.payload).into_owned()).collect::<Vec<_>>()
        };
        // The PLC hears the station itself on `cmd`, too: the list lets it write all of its own.
        assert!(texts("crr/s1/cmd").iter().all(|text| !text.contains("display")));
        for topic in ["crr/s1/verdict", "crr/s1/state", "crr/s2/verdict"] {
            assert!(texts(topic).iter().all(|text| text.starts_with('{')), "forged on {topic}");
        }
    }
}

/// Aedes, a broker in JavaScript, installed below `target` by `.ci/run`.
struct Aedes {
    modules: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl Aedes {
    /// `None`, with a printed line, where it is not installed.
    fn start() -> Option<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let modules = root.join("target/aedes/node_modules");
        let node = Command::new("node").arg("--version").output();
        if !modules.join("aedes").is_dir() || node.is_err() {
            println!("skipped: node or target/aedes (npm: aedes) is not installed");
            return None;
        }
        let mut broker = Self { modules, port: free_port(), child: None };
        broker.revive();
        Some(broker)
    }
}

impl Restart for Aedes {
    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn revive(&mut self) {
        let program = "const { Aedes } = await import(process.argv[1] + '/aedes/aedes.js');\
            const broker = await Aedes.createBroker();\
            (await import('node:net')).createServer(broker.handle)\
            .listen(Number(process.argv[2]), '127.0.0.1');";
        let child = Command::new("node")
            .args(["--input-type=module", "-e", program])
            .arg(&self.modules)
            .arg(self.port.to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        let port = self.port;
        wait_for("aedes to listen", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    }
}

impl Drop for Aedes {
    fn drop(&mut self) {
        Restart::kill(self);
    }
}

#[test]
fn a_broker_of_another_make() {
    let Some(mut broker) = Aedes::start() else { return };
    let watcher = Subscriber::start(broker.port);
    let mut bench = Bench::new(broker.port);
    delivers(&mut bench, "version = \"3.1.1\"", &mut broker, &watcher);
}

//! `crrd doctor mqtt` against a broker that is set up wrong in one way at a time: the real
//! Mosquitto where it can be wrong in that way, a few scripted bytes where it cannot.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::broker::{Broker, free_port};
use crate::pki::Authority;
use crate::station::Bench;

/// A year far away, so that these tests do not end with a certificate.
const LATER: i32 = 2100;

/// What the doctor says about this `[mqtt]`: the exit code and the JSON object.
fn ask(bench: &Bench, mqtt: &str, arguments: &[&str]) -> (i32, serde_json::Value) {
    ask_by(Command::new(env!("CARGO_BIN_EXE_crrd")), bench, mqtt, arguments)
}

/// The same with a command that runs the program in its own way.
fn ask_by(
    mut command: Command,
    bench: &Bench,
    mqtt: &str,
    arguments: &[&str],
) -> (i32, serde_json::Value) {
    let file = bench.path("doctor.toml");
    std::fs::write(&file, bench.config_with(mqtt)).unwrap();
    let output = command
        .args(["doctor", "mqtt", "--json", "--config"])
        .arg(file)
        .args(arguments)
        .env_remove("RUST_LOG")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let found = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}{told}"));
    (output.status.code().unwrap(), found)
}

/// It must find this code and say these words, in one sentence.
#[track_caller]
fn finds(bench: &Bench, mqtt: &str, code: &str, says: &[&str]) {
    finds_with(bench, mqtt, &[], code, says);
}

#[track_caller]
fn finds_with(bench: &Bench, mqtt: &str, arguments: &[&str], code: &str, says: &[&str]) {
    found(ask(bench, mqtt, arguments), code, says);
}

#[track_caller]
fn found((exit, found): (i32, serde_json::Value), code: &str, says: &[&str]) {
    let text = found["text"].as_str().unwrap();
    assert_eq!(found["code"], code, "{text}");
    let good = code == "ok";
    assert_eq!((exit, found["ok"].as_bool()), (i32::from(!good), Some(good)));
    for word in says {
        assert!(text.contains(word), "no {word:?} in: {text}");
    }
    assert!(!text.contains('\n') && !text.ends_with('.'), "not one sentence: {text}");
}

/// A bench with nothing to judge: the doctor asks for no picture.
fn bench(port: u16) -> Bench {
    Bench::new(port)
}

/// The configuration of a TLS listener with these files of `dir`.
fn tls_listener(dir: &Path, name: &str, more: &str) -> String {
    let dir = dir.display();
    format!(
        "user root\nallow_anonymous true\ncafile {dir}/ca.pem\ncertfile {dir}/{name}.pem\n\
         keyfile {dir}/{name}.key\n{more}\n"
    )
}

/// Answers every connection with these bytes, then closes it when told so.
fn scripted(answer: &'static [u8], hang_up: bool) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::Builder::new()
        .name("scripted".into())
        .spawn(move || {
            let mut held = Vec::new();
            for mut stream in listener.incoming().flatten() {
                if hang_up {
                    // What was sent is read first, so that closing is no reset.
                    let _ = stream.read(&mut [0; 1024]);
                }
                let _ = stream.write_all(answer);
                if !hang_up {
                    held.push(stream);
                }
            }
        })
        .unwrap();
    port
}

#[test]
fn a_broker_that_is_well_is_called_well_in_both_versions() {
    let Some(broker) = Broker::start() else { return };
    let bench = bench(broker.port);
    for version in ["3.1.1", "5"] {
        let mqtt = format!("version = \"{version}\"");
        finds(&bench, &mqtt, "ok", &["all is well", "there and back"]);
        let (_, found) = ask(&bench, &mqtt, &[]);
        assert!(found["round_trip_us"].as_u64().unwrap() > 0);
        assert_eq!((&found["version"], &found["tls"]), (&version.into(), &false.into()));
        finds_with(&bench, &mqtt, &["--as-station"], "ok", &["all is well"]);
    }
}

#[test]
fn a_broker_that_is_not_there_is_told_from_one_that_is_ill() {
    let bench = bench(free_port());
    finds(&bench, "", "port_closed", &["nothing listens", "1883"]);
    finds(&bench, "host = \"no-such-broker.invalid\"", "name", &["no-such-broker.invalid"]);
    let silent = self::bench(scripted(b"", false));
    finds(&silent, "", "no_answer", &["says nothing for 3 s"]);
    let web = self::bench(scripted(b"HTTP/1.1 400 Bad Request\r\n\r\n", true));
    finds(&web, "", "not_mqtt", &["0x48", "mqtt.port"]);
    let closing = self::bench(scripted(b"", true));
    finds(&closing, "", "closed", &["hangs up without an answer"]);
}

#[test]
fn a_broker_without_a_way_to_it_is_called_unreachable() {
    let Some(broker) = Broker::start() else { return };
    let bench = bench(broker.port);
    finds(&bench, "", "ok", &[]);
    // A network of its own, in which not even loopback is up.
    let alone = || {
        let mut command = Command::new("unshare");
        command.args(["--net", "--map-root-user"]);
        command
    };
    if !alone().arg("true").status().is_ok_and(|status| status.success()) {
        println!("skipped: this user may not make a network namespace");
        return;
    }
    let mut command = alone();
    command.arg(env!("CARGO_BIN_EXE_crrd"));
    let place = format!("127.0.0.1:{}", broker.port);
    let words = [&place, "cannot be reached", "cable", "IPAddressAllow="];
    found(ask_by(command, &bench, "", &[]), "unreachable", &words);
}

#[test]
fn tls_on_one_side_only_is_found_from_either_side() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), "ca");
    authority.sign("broker", "127.0.0.1", LATER);
    let ca = format!("tls = true\nca_file = {:?}", authority.pem());
    let Some(plain) = Broker::start() else { return };
    finds(&bench(plain.port), &ca, "plain_required", &["mqtt.tls = false"]);
    let lines = tls_listener(dir.path(), "broker", "");
    let secured = Broker::start_with(&lines).unwrap();
    for version in ["3.1.1", "5"] {
        let version = format!("version = \"{version}\"\n");
        finds(&bench(secured.port), &version, "tls_required", &["mqtt.tls = true"]);
        finds(&bench(secured.port), &(version + &ca), "ok", &[]);
    }
}

#[test]
fn each_fault_of_a_certificate_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), "ca");
    let stranger = Authority::new(dir.path(), "stranger");
    authority.sign("broker", "127.0.0.1", LATER);
    authority.sign("expired", "127.0.0.1", 2021);
    authority.sign("elsewhere", "broker.example", LATER);
    let ca = format!("tls = true\nca_file = {:?}", authority.pem());
    let Some(broker) = Broker::start_with(&tls_listener(dir.path(), "broker", "")) else { return };
    let other = format!("tls = true\nca_file = {:?}", stranger.pem());
    finds(&bench(broker.port), &other, "certificate_unknown", &["stranger.pem"]);
    let expired = Broker::start_with(&tls_listener(dir.path(), "expired", "")).unwrap();
    finds(&bench(expired.port), &ca, "certificate_expired", &["has expired"]);
    let elsewhere = Broker::start_with(&tls_listener(dir.path(), "elsewhere", "")).unwrap();
    finds(&bench(elsewhere.port), &ca, "certificate_name", &["127.0.0.1"]);
}

#[test]
fn a_certificate_of_ours_that_is_missing_or_foreign_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), "ca");
    let stranger = Authority::new(dir.path(), "stranger");
    authority.sign("broker", "127.0.0.1", LATER);
    authority.sign("station", "station", LATER);
    authority.sign("old", "station", 2021);
    stranger.sign("foreign", "station", LATER);
    let lines = tls_listener(dir.path(), "broker", "require_certificate true");
    let Some(broker) = Broker::start_with(&lines) else { return };
    let bench = bench(broker.port);
    let ca = format!("tls = true\nca_file = {:?}", authority.pem());
    let client = |name: &str| {
        let file = |extension: &str| dir.path().join(format!("{name}.{extension}"));
        let (cert, key) = (file("pem"), file("key"));
        format!("{ca}\nclient_cert_file = {cert:?}\nclient_key_file = {key:?}")
    };
    finds(&bench, &ca, "client_certificate_required", &["mqtt.client_cert_file"]);
    finds(&bench, &client("station"), "ok", &[]);
    finds(&bench, &client("foreign"), "client_certificate_refused", &["foreign.pem", "authority"]);
    finds(&bench, &client("old"), "client_certificate_refused", &["old.pem", "expired"]);
    let swapped = client("station").replace("station.key", "old.key");
    finds(&bench, &swapped, "files", &["old.key", "does not belong"]);
}

/// A password file of Mosquitto with these users, all with the password `right`; `None`, with a
/// printed line, where Mosquitto is not installed.
pub(crate) fn password_file(file: &Path, users: &[&str]) -> Option<()> {
    let plain: String = users.iter().map(|user| format!("{user}:right\n")).collect();
    std::fs::write(file, plain).unwrap();
    let Ok(hashed) = Command::new("mosquitto_passwd").arg("-U").arg(file).status() else {
        println!("skipped: mosquitto is not installed");
        return None;
    };
    assert!(hashed.success(), "mosquitto_passwd");
    Some(())
}

#[test]
fn a_wrong_user_password_or_access_list_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (users, acl) = (dir.path().join("users"), dir.path().join("acl"));
    std::fs::write(&acl, "user crrd\ntopic readwrite crr/s1/#\nuser mute\ntopic read crr/s1/#\n")
        .unwrap();
    let port = free_port();
    // Without the usual `max_queued_messages 0`, with which Mosquitto 2.0.11 hangs up on a
    // publish that its access list forbids.
    let config = format!(
        "listener {port} 127.0.0.1\nuser root\nallow_anonymous false\npassword_file {}\n\
         acl_file {}\n",
        users.display(),
        acl.display()
    );
    let Some(()) = password_file(&users, &["crrd", "mute"]) else { return };
    let Some(broker) = Broker::start_from(&config, port) else { return };
    let bench = bench(broker.port);
    std::fs::write(bench.path("password"), "right\n").unwrap();
    std::fs::write(bench.path("wrong"), "geheim\n").unwrap();
    for version in ["3.1.1", "5"] {
        let login = |user: &str, file: &str| {
            format!("version = \"{version}\"\nusername = {user:?}\npassword_file = {file:?}")
        };
        finds(&bench, &login("crrd", "password"), "ok", &[]);
        finds(&bench, &login("crrd", "wrong"), "login", &["the user crrd"]);
        finds(&bench, &login("nobody", "password"), "login", &["the user nobody"]);
        let anonymous = format!("version = \"{version}\"");
        finds(&bench, &anonymous, "login", &["without user and password"]);
        finds(&bench, &login("mute", "password"), "publish", &["the user mute", "crr/s1/#"]);
    }
    let credential = "username = \"crrd\"\npassword_credential = \"mqtt\"";
    finds(&bench, credential, "files", &["LoadCredential=mqtt:FILE"]);
}

/// Mosquitto's plugin for access rules that also hold for subscriptions, where it is installed.
fn dynamic_security() -> Option<PathBuf> {
    let name = "mosquitto_dynamic_security.so";
    let folders = ["x86_64-linux-gnu", "aarch64-linux-gnu", "mosquitto", ""];
    folders.iter().map(|f| Path::new("/usr/lib").join(f).join(name)).find(|file| file.is_file())
}

#[test]
fn a_subscription_that_mosquitto_refuses_is_named() {
    let Some(plugin) = dynamic_security() else {
        println!("skipped: mosquitto's dynamic security plugin is not installed");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let rules = dir.path().join("rules.json");
    let ours = serde_json::json!({
        "acltype": "subscribeLiteral", "topic": "crr/s1/doctor", "priority": 0, "allow": true,
    });
    let anybody = serde_json::json!({
        "defaultACLAccess": {
            "publishClientSend": true, "publishClientReceive": true, "subscribe": false,
            "unsubscribe": true,
        },
        "clients": [],
        "groups": [{"groupname": "anybody", "roles": [{"rolename": "doctor"}], "clients": []}],
        "roles": [{"rolename": "doctor", "acls": [ours]}],
        "anonymousGroup": "anybody",
    });
    std::fs::write(&rules, anybody.to_string()).unwrap();
    let lines = format!(
        "user root\nallow_anonymous true\nplugin {}\nplugin_opt_config_file {}\n",
        plugin.display(),
        rules.display()
    );
    let Some(broker) = Broker::start_with(&lines) else { return };
    let bench = bench(broker.port);
    for version in ["3.1.1", "5"] {
        let version = format!("version = \"{version}\"");
        finds(&bench, &version, "subscribe", &["crr/s1/cmd", "clients without a user"]);
    }
}

#[test]
fn refusals_that_mosquitto_does_not_make_are_named_from_their_bytes() {
    let v5 = "version = \"5\"";
    finds(&bench(scripted(&[0x20, 2, 0, 2], false)), "", "client_id", &["crrd-s1-doctor"]);
    let body = [0x20, 3, 0, 0x85, 0];
    let refused: &'static [u8] = Box::leak(Box::new(body));
    finds(&bench(scripted(refused, false)), v5, "client_id", &["crrd-s1-doctor"]);
    finds(&bench(scripted(&[0x20, 2, 0, 1], false)), v5, "version", &["mqtt.version = \"3.1.1\""]);
    finds(&bench(scripted(&[0x20, 2, 0, 1], false)), "", "version", &["mqtt.version = \"5\""]);
    finds(&bench(scripted(&[0x20, 2, 0, 3], false)), "", "unavailable", &["takes nobody now"]);
    // CONNACK, then a SUBACK that grants the first topic and refuses the second.
    let commands = [0x20, 2, 0, 0, 0x90, 4, 0, 1, 1, 0x80];
    let commands: &'static [u8] = Box::leak(Box::new(commands));
    finds(&bench(scripted(commands, false)), "", "subscribe", &["crr/s1/cmd"]);
}

#[test]
fn a_broker_whose_packets_are_too_small_is_named() {
    let lines = "allow_anonymous true\nmax_packet_size 300\n";
    let Some(broker) = Broker::start_with(lines) else { return };
    finds(&bench(broker.port), "version = \"5\"", "limits", &["300 bytes", "2048"]);
}

#[test]
fn a_second_client_with_our_id_is_found_by_its_coming_back() {
    let Some(broker) = Broker::start() else { return };
    let mut bench = bench(broker.port);
    bench.pictures(3);
    bench.camera("rate_hz = 10\nmode = \"loop\"");
    let mut station = bench.run();
    station.wait_log("connected to the broker");
    for version in ["3.1.1", "5"] {
        let version = format!("version = \"{version}\"");
        // Beside the running station, and in its place.
        finds(&bench, &version, "ok", &[]);
        finds_with(&bench, &version, &["--as-station"], "takeover", &["client id crrd-s1"]);
    }
}

//! `[mqtt]`: the broker, how to speak to it, and who we are there. Pure.

use std::path::PathBuf;

use super::reader::{Found, Section};
use super::types::{ByteOrder, Mqtt, MqttVersion, Password, Tls};
use crate::frame::StationId;

/// Longest topic a Rockwell add-on instruction takes, in characters.
const TOPIC_BYTES_MAX: usize = 64;
/// Most topic levels that CODESYS takes by default.
const TOPIC_LEVELS_MAX: usize = 10;
/// Longest last level of a PLC-facing topic: `verdict`.
const TOPIC_NAME_BYTES_MAX: usize = 7;
/// Longest client id; brokers need not take more than 23 characters but all known ones do.
const CLIENT_ID_BYTES_MAX: usize = 64;
/// Messages in flight at most, live and late ones together, the most that the publisher takes: a
/// window beyond this only hides a broker that does not keep up.
pub const IN_FLIGHT_MAX: i64 = 1000;
/// The ports that are registered for MQTT without and with TLS.
const PORTS: [i64; 2] = [1883, 8883];
/// Shortest keep-alive with MQTT 5 in seconds, and the default of both versions.
const KEEP_ALIVE_S_MIN_V5: i64 = 5;
/// Longest name of a credential: it is the name of a file.
const CREDENTIAL_BYTES_MAX: usize = 255;

pub(super) fn mqtt(section: Section<'_>, station: Option<&StationId>) -> Mqtt {
    let host = section.text("host", "\"127.0.0.1\"").map_or("127.0.0.1", |found| {
        check_host(&found);
        found.value
    });
    let tls = tls(&section);
    let port = section
        .integer_optional("port", 1..=65535, "1883, with TLS 8883")
        .map_or(PORTS[usize::from(tls.is_some())], |found| found.value);
    let versions = [("3.1.1", MqttVersion::V3_1_1), ("5", MqttVersion::V5)];
    let version = section.word("version", &versions, 0);
    let keep_alive_s = keep_alive_s(&section, version);
    let prefix = prefix(&section, station);
    let client_id = client_id(&section, station);
    let username = section.text("username", "none");
    let password = password(&section, username.is_some());
    let (live_in_flight_max, hist_in_flight_max) = in_flight(&section);
    let mqtt = Mqtt {
        host: host.to_owned(),
        port: port as u16,
        version,
        tls,
        prefix,
        client_id,
        username: username.map(|found| found.value.to_owned()),
        password,
        keep_alive_s,
        live_in_flight_max,
        hist_in_flight_max,
        binary: section.word("vbin", &binary_words(), 0),
        health_s: section.integer("health_s", 1..=3600, 10) as u32,
    };
    section.finish();
    mqtt
}

fn binary_words() -> [(&'static str, Option<ByteOrder>); 3] {
    [("off", None), ("big", Some(ByteOrder::Big)), ("little", Some(ByteOrder::Little))]
}

/// Live and late messages in flight. They share one window, so what can be too much is their sum;
/// it is noted at the larger one, which is then more than its default and so in the file.
fn in_flight(section: &Section<'_>) -> (u16, u16) {
    let names = ["live_in_flight_max", "hist_in_flight_max"];
    let read = |name, default: i64| {
        let found = section.integer_optional(name, 1..=IN_FLIGHT_MAX - 1, &default.to_string());
        (found.as_ref().map_or(default, |found| found.value), found)
    };
    let (live, live_found) = read(names[0], 32);
    let (hist, hist_found) = read(names[1], 8);
    let (found, other, value) =
        if live >= hist { (live_found, names[1], hist) } else { (hist_found, names[0], live) };
    if live + hist > IN_FLIGHT_MAX
        && let Some(found) = found
    {
        found.refuse(
            format!("with mqtt.{other} = {value} more than {IN_FLIGHT_MAX} in flight together"),
            format!("use at most {} here, or lower the other one", IN_FLIGHT_MAX - value),
        );
    }
    (live as u16, hist as u16)
}

/// The client library takes no shorter one with MQTT 5.
fn keep_alive_s(section: &Section<'_>, version: MqttVersion) -> u16 {
    let found = section.integer_optional("keep_alive_s", 2..=600, "5");
    let seconds = found.as_ref().map_or(KEEP_ALIVE_S_MIN_V5, |found| found.value);
    if let (Some(found), MqttVersion::V5) = (&found, version)
        && seconds < KEEP_ALIVE_S_MIN_V5
    {
        let remedy = format!("use {KEEP_ALIVE_S_MIN_V5} to 600, or version = \"3.1.1\"");
        found.refuse("too short for MQTT 5", remedy);
    }
    seconds as u16
}

/// The files of TLS when it is asked for. Files without `tls = true` are refused: who names a
/// certificate must not talk in the clear.
fn tls(section: &Section<'_>) -> Option<Tls> {
    let on = section.boolean("tls", false);
    let ca = section.text("ca_file", "required with TLS");
    let cert = section.text("client_cert_file", "none");
    let key = section.text("client_key_file", "none");
    for found in [&ca, &cert, &key].into_iter().flatten() {
        if found.value.is_empty() {
            found.refuse("empty", "name a PEM file");
        } else if !on {
            found.refuse("only used with TLS", "set tls = true, or remove it");
        }
    }
    match (&cert, &key) {
        (Some(found), None) => found.refuse("has no key", "set client_key_file too"),
        (None, Some(found)) => found.refuse("has no certificate", "set client_cert_file too"),
        _ => {}
    }
    if on && ca.is_none() {
        let remedy = "name the certificate of the authority that signed the broker's";
        section.missing("ca_file", remedy);
    }
    let path = |found: Found<'_, &str>| -> PathBuf { section.anchor(found.value) };
    let client = cert.zip(key).map(|(cert, key)| (path(cert), path(key)));
    on.then_some(())?;
    Some(Tls { ca_file: path(ca?), client })
}

fn password(section: &Section<'_>, has_user: bool) -> Option<Password> {
    let file = section.text("password_file", "none");
    let credential = section.text("password_credential", "none");
    for found in [&file, &credential].into_iter().flatten() {
        if !has_user {
            found.refuse("a password needs a user name", "set username too");
        }
    }
    match (file, credential) {
        (Some(_), Some(found)) => {
            found.refuse("the password is in two places", "keep one of them");
            None
        }
        (Some(found), None) => Some(Password::File(section.anchor(found.value))),
        (None, Some(found)) => {
            let name = found.value;
            let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
            let length_ok = (1..=CREDENTIAL_BYTES_MAX).contains(&name.len());
            if !length_ok || !name.bytes().all(allowed) || name.starts_with('.') {
                let remedy = "use the name of LoadCredential=: letters, digits, '-', '_' or '.'";
                found.refuse("not the name of a credential", remedy);
            }
            Some(Password::Credential(name.to_owned()))
        }
        (None, None) => None,
    }
}

pub(super) fn check_host(found: &Found<'_, &str>) {
    let host = found.value;
    if host.is_empty() || host.contains(['/', ' ']) || has_port(host) {
        found.refuse("not a host", "use a bare name or address; the port is a field of its own");
    }
}

/// `name:1883`, which is not an IPv6 address (those have two colons at least).
fn has_port(host: &str) -> bool {
    host.matches(':').count() == 1
}

fn prefix(section: &Section<'_>, station: Option<&StationId>) -> String {
    let Some(found) = section.text("prefix", "\"crr\"") else { return "crr".to_owned() };
    let prefix = found.value;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if prefix.split('/').any(|level| level.is_empty() || !level.bytes().all(allowed)) {
        found.refuse(
            "not a topic prefix",
            "use levels of ASCII letters, digits, '-', '_' or '.', joined by '/'",
        );
    }
    // Prefix, station and name, joined by two slashes.
    let station_bytes = station.map_or(StationId::BYTES_MAX, |s| s.as_str().len());
    let topic_bytes = prefix.len() + station_bytes + TOPIC_NAME_BYTES_MAX + 2;
    let levels = prefix.split('/').count() + 2;
    if topic_bytes > TOPIC_BYTES_MAX || levels > TOPIC_LEVELS_MAX {
        found.refuse(
            format!("gives topics of {topic_bytes} characters and {levels} levels"),
            format!(
                "shorten it: PLCs take {TOPIC_BYTES_MAX} characters and {TOPIC_LEVELS_MAX} levels"
            ),
        );
    }
    prefix.to_owned()
}

fn client_id(section: &Section<'_>, station: Option<&StationId>) -> String {
    let Some(found) = section.text("client_id", "\"crrd-STATION\"") else {
        return format!("crrd-{}", station.map_or("", |s| s.as_str()));
    };
    let allowed = |b: u8| b.is_ascii_graphic();
    let id = found.value;
    if id.is_empty() || id.len() > CLIENT_ID_BYTES_MAX || !id.bytes().all(allowed) {
        let remedy = format!("use 1 to {CLIENT_ID_BYTES_MAX} ASCII characters without white space");
        found.refuse("not a client id", remedy);
    }
    id.to_owned()
}

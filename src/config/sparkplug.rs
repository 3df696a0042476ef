//! The table `[sparkplug]`: there when the station is mirrored to SCADA.

use super::reader::{Found, Section};
use super::types::{Mqtt, Password, Sparkplug};
use crate::frame::StationId;

/// Longest name of a group, node, device or host: each is one topic level, and hosts show them.
const NAME_BYTES_MAX: usize = 64;
/// Name of the one device unless told otherwise.
const DEVICE_DEFAULT: &str = "camera";
/// Second topic level of the hosts' own messages; a group of this name would be mistaken for it.
const RESERVED_GROUP: &str = "STATE";

/// `None` without the table; its fields are asked for all the same, so that the reference is
/// complete.
pub(super) fn sparkplug(
    section: Section<'_>,
    present: bool,
    station: Option<&StationId>,
    mqtt: &Mqtt,
) -> Option<Sparkplug> {
    let group = group(&section, present);
    let edge = section.text("edge", "\"STATION\"");
    let device = section.text("device", &format!("\"{DEVICE_DEFAULT}\""));
    let primary_host = section.text("primary_host", "none");
    let host = section.text("host", "mqtt.host");
    let port = section.integer_optional("port", 1..=65535, "mqtt.port");
    let username = section.text("username", "mqtt.username");
    let password_file = section.text("password_file", "mqtt.password_file");
    for found in [&group, &edge, &device, &primary_host].into_iter().flatten() {
        name(found);
    }
    if let Some(found) = group.as_ref().filter(|found| found.value == RESERVED_GROUP) {
        found.refuse("reserved for the hosts' own messages", "choose another name for the group");
    }
    if let Some(found) = &host {
        super::mqtt::check_host(found);
    }
    if let (Some(found), None) = (&password_file, &username) {
        found.refuse("a password needs a user name", "set username too");
    }
    let value = |found: Option<Found<'_, &str>>, default: &str| {
        found.map_or(default, |found| found.value).to_owned()
    };
    let mut broker = Mqtt { client_id: format!("{}-sparkplug", mqtt.client_id), ..mqtt.clone() };
    if host.is_some() || port.is_some() || username.is_some() {
        // Credentials of one broker are never shown to another.
        broker.username = username.map(|found| found.value.to_owned());
        broker.password = password_file.map(|found| Password::File(section.anchor(found.value)));
    }
    broker.host = value(host, &mqtt.host);
    broker.port = port.map_or(mqtt.port, |found| found.value as u16);
    let sparkplug = Sparkplug {
        group: value(group, ""),
        edge: value(edge, station.map_or("", |station| station.as_str())),
        device: value(device, DEVICE_DEFAULT),
        primary_host: primary_host.map(|found| found.value.to_owned()),
        broker,
    };
    section.finish();
    present.then_some(sparkplug)
}

fn group<'a>(section: &Section<'a>, present: bool) -> Option<Found<'a, &'a str>> {
    match present {
        true => section
            .text_required("group", "name the group of edge nodes, for example group = \"hall2\""),
        false => section.text("group", "required"),
    }
}

/// Sparkplug's rule for identifiers, and no character that a display cannot show.
fn name(found: &Found<'_, &str>) {
    let name = found.value;
    let length_ok = (1..=NAME_BYTES_MAX).contains(&name.len());
    if !length_ok || name.chars().any(|c| c.is_control() || matches!(c, '+' | '#' | '/')) {
        let remedy = format!("use 1 to {NAME_BYTES_MAX} bytes without '+', '#' and '/'");
        found.refuse("not a Sparkplug name", remedy);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::parse;
    use super::Password;

    const BASE: &str = r#"
station = "line1"
engine = "e"
calibration = "c"
[[recipe]]
id = 7
class = "steel"
[camera]
folder = "parts"
[mqtt]
host = "broker.plant"
port = 1884
username = "crrd"
password_file = "secret"
"#;

    fn table(lines: &str) -> Result<super::Sparkplug, String> {
        match parse(Path::new("/etc/crrd/crrd.toml"), &format!("{BASE}[sparkplug]\n{lines}")) {
            Ok(config) => Ok(config.sparkplug.unwrap()),
            Err(error) => Err(error.problems().iter().map(|p| format!("{p}\n")).collect()),
        }
    }

    #[test]
    fn without_the_table_there_is_no_mirror() {
        assert_eq!(parse(Path::new("crrd.toml"), BASE).unwrap().sparkplug, None);
    }

    #[test]
    fn the_broker_of_the_record_is_the_default_with_its_credentials() {
        let config = table("group = \"hall 2\"").unwrap();
        assert_eq!((config.group.as_str(), config.edge.as_str()), ("hall 2", "line1"));
        assert_eq!((config.device.as_str(), config.primary_host), ("camera", None));
        let broker = config.broker;
        assert_eq!((broker.host.as_str(), broker.port), ("broker.plant", 1884));
        assert_eq!(broker.username.as_deref(), Some("crrd"));
        assert_eq!(broker.password, Some(Password::File("/etc/crrd/secret".into())));
        assert_eq!(broker.client_id, "crrd-line1-sparkplug");
    }

    #[test]
    fn a_record_over_tls_is_mirrored_over_tls() {
        let text = BASE.replace("port = 1884", "port = 8884\ntls = true\nca_file = \"ca.pem\"");
        let text = text + "[sparkplug]\ngroup = \"g\"\nhost = \"scada.plant\"";
        let config = parse(Path::new("/etc/crrd/crrd.toml"), &text).unwrap();
        assert!(config.mqtt.tls.is_some());
        assert_eq!(config.sparkplug.unwrap().broker.tls, config.mqtt.tls);
    }

    #[test]
    fn another_broker_never_gets_the_password_of_the_first() {
        for lines in ["host = \"scada.plant\"", "port = 1885"] {
            let broker = table(&format!("group = \"g\"\n{lines}")).unwrap().broker;
            assert_eq!((broker.username, broker.password), (None, None), "{lines}");
        }
        let broker = table("group = \"g\"\nusername = \"mirror\"").unwrap().broker;
        assert_eq!((broker.username.as_deref(), broker.password), (Some("mirror"), None));
    }

    #[test]
    fn names_that_a_topic_or_the_specification_cannot_carry_are_refused() {
        // tck-id-topic-structure-namespace-valid-group-id,
        // tck-id-topic-structure-namespace-valid-edge-node-id,
        // tck-id-topic-structure-namespace-valid-device-id
        let long = "x".repeat(65);
        for field in ["group", "edge", "device", "primary_host"] {
            for bad in ["", "a/b", "a+", "#", "a\\u0007b", &long] {
                let group = if field == "group" { "" } else { "group = \"g\"\n" };
                let said = table(&format!("{group}{field} = \"{bad}\"")).unwrap_err();
                assert!(said.contains(&format!("sparkplug.{field}")), "{said}");
                assert!(said.contains("without '+', '#' and '/'"), "{said}");
            }
        }
        assert!(table("group = \"STATE\"").unwrap_err().contains("another name"));
        assert!(table("").unwrap_err().contains("sparkplug.group: missing"));
        assert!(
            table("group = \"g\"\npassword_file = \"p\"").unwrap_err().contains("username too")
        );
        assert!(table("group = \"g\"\nhost = \"a:1\"").unwrap_err().contains("field of its own"));
        assert!(table("group = \"g\"\nnode = \"a\"").unwrap_err().contains("unknown field"));
    }
}

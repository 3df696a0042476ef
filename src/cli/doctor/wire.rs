//! The few MQTT packets that an examination needs, of both versions, byte by byte. The client
//! library would hide what is looked for here: which byte came, and which did not.

use std::io::{ErrorKind, Read, Write};

use crate::config::MqttVersion;

/// Seconds without traffic that the broker allows us; the examination is shorter.
const KEEP_ALIVE_S: u16 = 30;
/// Largest packet that is read, in bytes: what comes here is small.
const PACKET_BYTES_MAX: usize = 256 << 10;

pub(super) const CONNACK: u8 = 0x20;
pub(super) const PUBLISH: u8 = 0x30;
pub(super) const PUBACK: u8 = 0x40;
pub(super) const SUBACK: u8 = 0x90;
pub(super) const DISCONNECT: u8 = 0xe0;
/// Packet id of the one subscription and the one publish.
const PACKET_ID: [u8; 2] = [0, 1];

/// Why no packet came.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The other side hung up.
    Closed,
    /// Nothing came in time.
    Silent,
    /// What came begins with this byte and is not MQTT.
    NotMqtt(u8),
    /// TLS failed.
    Tls(rustls::Error),
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match (inner, error.kind()) {
            (Some(inner), _) => Self::Tls(inner.clone()),
            (None, ErrorKind::WouldBlock | ErrorKind::TimedOut) => Self::Silent,
            _ => Self::Closed,
        }
    }
}

/// What the broker said to CONNECT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// 0 = taken.
    pub(super) code: u8,
    /// The broker's own words (MQTT 5).
    pub(super) reason: Option<String>,
    pub(super) max_qos: Option<u8>,
    pub(super) retain_available: Option<u8>,
    pub(super) packet_bytes_max: Option<u32>,
}

/// Who we say we are.
pub(super) struct Login<'a> {
    pub(super) client_id: &'a str,
    pub(super) user: Option<(&'a str, &'a str)>,
}

pub(super) fn connect(version: MqttVersion, login: &Login<'_>) -> Vec<u8> {
    let (level, v5) = match version {
        MqttVersion::V3_1_1 => (4, false),
        MqttVersion::V5 => (5, true),
    };
    let clean = 0x02;
    let flags = if login.user.is_some() { 0xc0 | clean } else { clean };
    let mut body = b"\0\x04MQTT".to_vec();
    body.extend([level, flags]);
    body.extend(KEEP_ALIVE_S.to_be_bytes());
    if v5 {
        body.push(0);
    }
    push_text(&mut body, login.client_id);
    if let Some((user, password)) = login.user {
        push_text(&mut body, user);
        push_text(&mut body, password);
    }
    packet(0x10, &body)
}

/// Both at QoS 1.
pub(super) fn subscribe(version: MqttVersion, topics: &[&str]) -> Vec<u8> {
    let mut body = PACKET_ID.to_vec();
    if version == MqttVersion::V5 {
        body.push(0);
    }
    for topic in topics {
        push_text(&mut body, topic);
        body.push(1);
    }
    packet(0x82, &body)
}

/// QoS 1, not retained.
pub(super) fn publish(version: MqttVersion, topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    push_text(&mut body, topic);
    body.extend(PACKET_ID);
    if version == MqttVersion::V5 {
        body.push(0);
    }
    body.extend_from_slice(payload);
    packet(0x32, &body)
}

pub(super) fn disconnect() -> Vec<u8> {
    packet(DISCONNECT, &[])
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut left = body.len();
    loop {
        let more = if left > 0x7f { 0x80 } else { 0 };
        bytes.push((left & 0x7f) as u8 | more);
        left >>= 7;
        if left == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

fn push_text(body: &mut Vec<u8>, text: &str) {
    // Names are short, and a password file is refused over this length.
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    body.extend(length.to_be_bytes());
    body.extend_from_slice(&text.as_bytes()[..usize::from(length)]);
}

/// The next packet from the broker: type and flags, and what follows the length.
pub(super) fn read(stream: &mut dyn Read) -> Result<(u8, Vec<u8>), Trouble> {
    let mut byte = [0];
    read_exact(stream, &mut byte)?;
    let first = byte[0];
    // What a broker may send: CONNACK to PUBCOMP, SUBACK, UNSUBACK, PINGRESP, DISCONNECT, AUTH.
    if !matches!(first >> 4, 2..=7 | 9 | 11 | 13..=15) || first >> 4 != 3 && first & 0x0d != 0 {
        return Err(Trouble::NotMqtt(first));
    }
    let (mut length, mut shift) = (0, 0);
    loop {
        read_exact(stream, &mut byte)?;
        length |= usize::from(byte[0] & 0x7f) << shift;
        shift += 7;
        if byte[0] & 0x80 == 0 {
            break;
        }
        if shift > 21 {
            return Err(Trouble::NotMqtt(first));
        }
    }
    if length > PACKET_BYTES_MAX {
        return Err(Trouble::NotMqtt(first));
    }
    let mut body = vec![0; length];
    read_exact(stream, &mut body)?;
    Ok((first, body))
}

fn read_exact(stream: &mut dyn Read, bytes: &mut [u8]) -> Result<(), Trouble> {
    Ok(stream.read_exact(bytes)?)
}

/// Writes; what the other side said before it hung up is found by reading.
pub(super) fn write(stream: &mut dyn Write, bytes: &[u8]) {
    let _ = stream.write_all(bytes).and_then(|()| stream.flush());
}

/// Reads the body of a CONNACK; `None` when it is not one. A broker that does not know MQTT 5
/// answers in the old form: two bytes.
pub(super) fn answer(body: &[u8]) -> Option<Answer> {
    let (head, rest) = body.split_at_checked(2)?;
    let mut answer = Answer { code: head[1], ..Answer::default() };
    let mut properties = Properties::new(rest);
    while let Some((id, value)) = properties.next() {
        match id {
            0x1f => answer.reason = Some(String::from_utf8_lossy(value).into_owned()),
            0x24 => answer.max_qos = value.first().copied(),
            0x25 => answer.retain_available = value.first().copied(),
            0x27 => answer.packet_bytes_max = value.try_into().ok().map(u32::from_be_bytes),
            _ => {}
        }
    }
    Some(answer)
}

/// The properties of a packet, one after the other: id and value.
struct Properties<'a>(&'a [u8]);

impl<'a> Properties<'a> {
    /// `bytes` begin with the length of all properties; 127 bytes are enough for what is read.
    fn new(bytes: &'a [u8]) -> Self {
        let length = bytes.first().map_or(0, |length| usize::from(*length));
        match bytes.get(1..=length) {
            Some(properties) if length < 0x80 => Self(properties),
            _ => Self(&[]),
        }
    }

    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (id, rest) = self.0.split_first()?;
        let u16_at =
            |at: usize| rest.get(at..at + 2).map(|b| usize::from(u16::from_be_bytes([b[0], b[1]])));
        let (skip, length) = match id {
            // A byte, two bytes, four bytes.
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2a => (0, 1),
            0x13 | 0x21..=0x23 => (0, 2),
            0x02 | 0x11 | 0x18 | 0x27 => (0, 4),
            // A text, or bytes.
            0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => (2, u16_at(0)?),
            // A pair of texts; its value is not needed.
            0x26 => {
                let key = u16_at(0)? + 2;
                (0, key + 2 + u16_at(key)?)
            }
            _ => return None,
        };
        let value = rest.get(skip..skip + length)?;
        self.0 = &rest[skip + length..];
        Some((*id, value))
    }
}

/// Reason code of a SUBACK for the topic with this number, of a PUBACK, or of a DISCONNECT.
pub(super) fn sub_code(version: MqttVersion, body: &[u8], topic: usize) -> u8 {
    let codes = match version {
        MqttVersion::V3_1_1 => body.get(2..),
        MqttVersion::V5 => body.get(2).and_then(|length| body.get(3 + usize::from(*length)..)),
    };
    codes.and_then(|codes| codes.get(topic)).copied().unwrap_or(0x80)
}

/// MQTT 3.1.1 has none, and MQTT 5 leaves a good one out.
pub(super) fn ack_code(body: &[u8]) -> u8 {
    body.get(2).copied().unwrap_or(0)
}

/// Topic of a PUBLISH.
pub(super) fn topic(body: &[u8]) -> Option<&str> {
    let length = usize::from(u16::from_be_bytes([*body.first()?, *body.get(1)?]));
    std::str::from_utf8(body.get(2..2 + length)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connect_of_each_version_has_the_bytes_of_the_standard() {
        let login = Login { client_id: "c", user: Some(("u", "pw")) };
        assert_eq!(
            connect(MqttVersion::V3_1_1, &login),
            b"\x10\x14\0\x04MQTT\x04\xc2\0\x1e\0\x01c\0\x01u\0\x02pw"
        );
        let login = Login { client_id: "c", user: None };
        assert_eq!(connect(MqttVersion::V5, &login), b"\x10\x0e\0\x04MQTT\x05\x02\0\x1e\0\0\x01c");
    }

    #[test]
    fn the_properties_of_a_connack_are_found_among_others() {
        let old = answer(&[0, 1]).unwrap();
        assert_eq!((old.code, old.packet_bytes_max), (1, None));
        let properties = b"\x21\0\x14\x26\0\x01k\0\x01v\x27\0\0\x01\0\x24\0\x25\x01\x1f\0\x02no";
        let body = [&[0, 0x87, properties.len() as u8], &properties[..]].concat();
        let found = answer(&body).unwrap();
        let reason = Some("no".to_owned());
        let expected = Answer {
            code: 0x87,
            reason,
            max_qos: Some(0),
            retain_available: Some(1),
            packet_bytes_max: Some(256),
        };
        assert_eq!(found, expected);
        assert_eq!(answer(&[0]), None);
        // Cut off anywhere, it is read as far as it goes.
        for length in 2..body.len() {
            assert_eq!(answer(&body[..length]).unwrap().code, 0x87);
        }
    }

    #[test]
    fn what_is_no_mqtt_is_told_by_its_first_byte() {
        let first = |bytes: &[u8]| match read(&mut &bytes[..]) {
            Err(Trouble::NotMqtt(first)) => Some(first),
            _ => None,
        };
        assert_eq!(first(b"HTTP/1.1 400 Bad Request\r\n"), Some(b'H'));
        assert_eq!(first(b"\x15\x03\x01\0\x02\x02\x0a"), Some(0x15));
        assert_eq!(first(b"SSH-2.0-"), Some(b'S'));
        assert_eq!(first(&[0x20, 0xff, 0xff, 0xff, 0xff, 1]), Some(0x20));
        assert_eq!(read(&mut &[0x20, 2, 0, 0][..]).unwrap(), (CONNACK, vec![0, 0]));
        assert!(matches!(read(&mut &[0x20, 2, 0][..]), Err(Trouble::Closed)));
    }
}

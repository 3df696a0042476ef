//! The connection against a broker of a few lines whose every byte is known.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use super::*;
use crate::publish::{Limits, TopicNames};

/// Longest wait for a packet or an event; only a failure takes so long.
const PATIENCE: Duration = Duration::from_secs(20);
const CONNACK: [u8; 4] = [0x20, 2, 0, 0];

fn settings(port: u16, version: Version) -> Settings {
    let name = |last: &str| format!("crr/s1/{last}");
    Settings {
        host: "127.0.0.1".into(),
        port,
        version,
        tls: None,
        client_id: "crrd-s1".into(),
        credentials: None,
        keep_alive_s: 30,
        topics: TopicNames {
            verdict: name("verdict"),
            binary: name("vbin"),
            last: None,
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
        subscriptions: vec![name("cmd"), name("ack")],
        live_expiry_s: 1,
        will: b"gone".to_vec(),
        state: b"ready".to_vec(),
        calibration: Vec::new(),
        heartbeat: |count| count.to_string().into_bytes(),
        binary: None,
        limits: Limits::default(),
    }
}

/// One MQTT packet: its first byte and what follows the length.
fn packet(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut byte = [0];
    stream.read_exact(&mut byte).unwrap();
    let first = byte[0];
    let (mut length, mut shift) = (0usize, 0);
    loop {
        stream.read_exact(&mut byte).unwrap();
        length |= usize::from(byte[0] & 0x7f) << shift;
        shift += 7;
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    (first, body)
}

/// A packet of this first byte and body.
fn encoded(first: u8, body: &[u8]) -> Vec<u8> {
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

/// A QoS 1 PUBLISH with packet id 9.
fn publish(flags: u8, topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut body = (topic.len() as u16).to_be_bytes().to_vec();
    body.extend_from_slice(topic.as_bytes());
    body.extend_from_slice(&[0, 9]);
    body.extend_from_slice(payload);
    encoded(0x32 | flags, &body)
}

/// Runs `broker` in a thread with the accepted connection while `station` has the link.
fn with_broker<F: Future<Output = ()>>(
    version: Version,
    broker: impl FnOnce(TcpStream) + Send + 'static,
    station: impl FnOnce(Link, Settings) -> F,
) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let settings = settings(listener.local_addr().unwrap().port(), version);
    let accept = move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        broker(stream);
    };
    let broker = std::thread::Builder::new().name("broker".into()).spawn(accept).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let link = Link::open(&settings, true);
        station(link, settings).await;
    });
    broker.join().unwrap();
}

async fn next(link: &mut Link) -> LinkEvent {
    tokio::time::timeout(PATIENCE, link.event()).await.expect("no event came")
}

#[test]
fn it_subscribes_first_and_tells_of_messages_and_of_what_is_refused() {
    let broker = |mut stream: TcpStream| {
        assert_eq!(packet(&mut stream).0, 0x10, "CONNECT");
        stream.write_all(&CONNACK).unwrap();
        let (first, body) = packet(&mut stream);
        assert_eq!((first, &body[..2]), (0x82, &[0, 1][..]), "SUBSCRIBE with id 1");
        let topics = b"\0\x0acrr/s1/cmd\x01\0\x0acrr/s1/ack\x01";
        assert_eq!(&body[2..], topics, "both at QoS 1");
        // The second is refused.
        stream.write_all(&encoded(0x90, &[0, 1, 1, 0x80])).unwrap();
        stream.write_all(&publish(0, "crr/s1/cmd", b"order")).unwrap();
        assert_eq!(packet(&mut stream), (0x40, vec![0, 9]), "PUBACK");
        stream.write_all(&publish(1, "crr/s1/cmd", &[b'x'; COMMAND_BYTES_MAX + 1])).unwrap();
        assert_eq!(packet(&mut stream), (0x40, vec![0, 9]), "PUBACK of the large one, too");
        stream.write_all(&publish(1, "crr/s1/cmd", b"kept")).unwrap();
        // The first publish of ours: the id after the subscription's.
        assert_eq!(packet(&mut stream).0, 0x40);
        let (first, body) = packet(&mut stream);
        assert_eq!(first, 0x32);
        assert_eq!(&body[..16], b"\0\x0ecrr/s1/verdict");
        assert_eq!(&body[16..], [&[0, 2][..], b"pass"].concat());
        stream.write_all(&[0x40, 2, 0, 2]).unwrap();
        // Held until the station has gone.
        let _ = stream.read(&mut [0]);
    };
    with_broker(Version::V3_1_1, broker, async |mut link, settings| {
        assert!(matches!(next(&mut link).await, LinkEvent::Connected(_)));
        let LinkEvent::Subscribed { refused } = next(&mut link).await else { panic!() };
        assert_eq!(refused, ["crr/s1/ack"]);
        let LinkEvent::Message(message) = next(&mut link).await else { panic!() };
        assert_eq!(message.topic, "crr/s1/cmd");
        assert_eq!((message.payload.as_slice(), message.retained), (&b"order"[..], false));
        let LinkEvent::MessageTooLarge { topic, bytes } = next(&mut link).await else { panic!() };
        assert_eq!((topic.as_str(), bytes), ("crr/s1/cmd", COMMAND_BYTES_MAX + 1));
        let LinkEvent::Message(message) = next(&mut link).await else { panic!() };
        assert_eq!((message.payload.as_slice(), message.retained), (&b"kept"[..], true));
        let verdict = Publish::new(Topic::Verdict, b"pass".to_vec());
        assert!(link.publish(&settings, verdict));
        assert!(matches!(next(&mut link).await, LinkEvent::Sent(2)));
        assert!(matches!(next(&mut link).await, LinkEvent::Acked(2)));
    });
}

/// CONNACK of MQTT 5 with these properties.
fn connack(properties: &[u8]) -> Vec<u8> {
    encoded(0x20, &[&[0, 0, properties.len() as u8], properties].concat())
}

#[test]
fn mqtt_5_says_what_it_needs_and_takes_only_good_acknowledgements() {
    let broker = |mut stream: TcpStream| {
        let (first, body) = packet(&mut stream);
        assert_eq!((first, &body[..7]), (0x10, &b"\0\x04MQTT\x05"[..]));
        assert_eq!(body[7] & 0x02, 0x02, "clean start");
        let properties = &body[11..11 + usize::from(body[10])];
        assert_eq!(
            properties, b"\x11\0\0\0\0\x27\0\x04\0\0",
            "session expiry 0, packets of 256 KiB"
        );
        // Receive maximum 20, maximum packet size 4096.
        stream.write_all(&connack(b"\x21\0\x14\x27\0\0\x10\0")).unwrap();
        let (first, body) = packet(&mut stream);
        assert_eq!((first, &body[..2]), (0x82, &[0, 1][..]), "SUBSCRIBE with id 1");
        // Not authorised for the second.
        stream.write_all(&encoded(0x90, &[0, 1, 0, 1, 0x87])).unwrap();
        let (first, body) = packet(&mut stream);
        assert_eq!((first, &body[..16]), (0x32, &b"\0\x0ecrr/s1/verdict"[..]));
        // Packet id, five bytes of properties: message expiry of a second.
        assert_eq!(&body[16..], [&[0, 2, 5, 2, 0, 0, 0, 1][..], b"pass"].concat());
        let (_, body) = packet(&mut stream);
        assert_eq!(&body[13..], [&[0, 3, 0][..], b"late"].concat(), "no expiry on hist");
        let (_, body) = packet(&mut stream);
        let left = [&[0, 4, 5, 2, 0, 0, 0, 3][..], b"fail"].concat();
        assert_eq!(&body[16..], left, "what is left of its time, in whole seconds");
        // Nobody listens, which is good; not authorised, which is not.
        stream.write_all(&encoded(0x40, &[0, 2, 0x10])).unwrap();
        stream.write_all(&encoded(0x40, &[0, 3, 0x87, 0])).unwrap();
        let _ = stream.read(&mut [0]);
    };
    with_broker(Version::V5, broker, async |mut link, settings| {
        let LinkEvent::Connected(offer) = next(&mut link).await else { panic!() };
        assert_eq!(offer, Offer { receive_max: 20, packet_bytes_max: 4_096 });
        let LinkEvent::Subscribed { refused } = next(&mut link).await else { panic!() };
        assert_eq!(refused, ["crr/s1/ack"]);
        for (topic, payload) in [(Topic::Verdict, "pass"), (Topic::Hist, "late")] {
            let payload = payload.as_bytes().to_vec();
            assert!(link.publish(&settings, Publish::new(topic, payload)));
        }
        let lasts = Some(Nanos(0).plus_ms(2_001));
        let verdict = Publish { lasts, ..Publish::new(Topic::Verdict, b"fail".to_vec()) };
        assert!(link.publish(&settings, verdict));
        assert!(matches!(next(&mut link).await, LinkEvent::Sent(2)));
        assert!(matches!(next(&mut link).await, LinkEvent::Sent(3)));
        assert!(matches!(next(&mut link).await, LinkEvent::Sent(4)));
        assert!(matches!(next(&mut link).await, LinkEvent::Acked(2)));
        let LinkEvent::Refused { id, reason } = next(&mut link).await else { panic!() };
        assert_eq!((id, reason), (3, "not authorised"));
    });
}

#[test]
fn a_broker_that_cannot_carry_the_contract_is_not_connected_to() {
    for (properties, says) in
        [(&b"\x24\0"[..], "QoS"), (b"\x25\0", "retained"), (b"\x27\0\0\x01\0", "at most 256 bytes")]
    {
        let broker = move |mut stream: TcpStream| {
            packet(&mut stream);
            stream.write_all(&connack(properties)).unwrap();
            while stream.read(&mut [0; 64]).is_ok_and(|bytes| bytes > 0) {}
        };
        with_broker(Version::V5, broker, async |mut link, _| {
            let LinkEvent::Lost(cause) = next(&mut link).await else { panic!() };
            assert!(cause.contains(says), "{cause}");
        });
    }
}

#[test]
fn files_of_tls_that_cannot_be_used_are_a_lost_connection_with_the_cause() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ca = std::path::PathBuf::from("/nowhere/ca.pem");
    let settings = Settings {
        tls: Some(crate::publish::TlsFiles { ca, client: None }),
        ..settings(9, Version::V3_1_1)
    };
    runtime.block_on(async {
        let mut link = Link::open(&settings, true);
        let LinkEvent::Lost(cause) = next(&mut link).await else { panic!() };
        assert!(cause.contains("/nowhere/ca.pem"), "{cause}");
    });
}

#[test]
fn a_message_over_the_incoming_limit_is_told_before_the_connection_is_lost() {
    let broker = |mut stream: TcpStream| {
        packet(&mut stream);
        stream.write_all(&CONNACK).unwrap();
        packet(&mut stream);
        // The head of a PUBLISH of a megabyte is enough.
        stream.write_all(&[0x30, 0x80, 0x80, 0x40]).unwrap();
        let _ = stream.read(&mut [0]);
    };
    with_broker(Version::V3_1_1, broker, async |mut link, _| {
        assert!(matches!(next(&mut link).await, LinkEvent::Connected(_)));
        assert!(matches!(next(&mut link).await, LinkEvent::Overrun { bytes: 1_048_576 }));
        assert!(matches!(next(&mut link).await, LinkEvent::Lost(_)));
    });
}

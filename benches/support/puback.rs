//! When a verdict was acknowledged: a relay between station and broker that reads along.
//!
//! It knows of MQTT 3.1.1 only what it needs: where a packet ends, which verdict a PUBLISH
//! carries, and which PUBLISH a PUBACK answers. The relay adds two hops on loopback to what it
//! measures, some tens of microseconds.

use std::collections::BTreeMap;
use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use crrd::frame::Nanos;
use crrd::message::decode_verdict;
use crrd::sys::clock::{Clock, RealClock};

/// Kinds of packet, the upper half of the first byte.
const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;

/// A verdict that the broker has acknowledged.
#[derive(Clone, Copy, Debug)]
pub struct Acknowledged {
    pub epoch: u32,
    pub seq: u32,
    /// When the acknowledgement had been handed to the station.
    pub at: Nanos,
}

/// (epoch, seq) of what is on its way to the broker, by packet id.
type OnTheWay = Arc<Mutex<BTreeMap<u16, (u32, u32)>>>;

/// A relay to the broker at `target` on loopback: its port, and the live verdicts as they are
/// acknowledged.
pub fn relay(target: u16) -> (u16, Receiver<Acknowledged>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (told, acknowledged) = channel();
    named(move || {
        for near in listener.incoming().flatten() {
            let far = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).unwrap();
            near.set_nodelay(true).unwrap();
            far.set_nodelay(true).unwrap();
            join(near, far, told.clone());
        }
    });
    (port, acknowledged)
}

fn named(run: impl FnOnce() + Send + 'static) {
    thread::Builder::new().name("relay".into()).spawn(run).unwrap();
}

/// Passes packets on in both directions until either side closes.
fn join(near: TcpStream, far: TcpStream, told: Sender<Acknowledged>) {
    let on_the_way = OnTheWay::default();
    let up = (near.try_clone().unwrap(), far.try_clone().unwrap());
    let noted = Arc::clone(&on_the_way);
    named(move || {
        pass(up.0, up.1, |packet, to| {
            // Before it is sent on: the answer may come at once.
            if let Some((id, verdict)) = live_verdict(packet) {
                noted.lock().unwrap().insert(id, verdict);
            }
            to.write_all(packet.bytes)
        });
    });
    named(move || {
        pass(far, near, |packet, to| {
            to.write_all(packet.bytes)?;
            let at = RealClock.now();
            let answered = (packet.kind() == PUBACK).then(|| u16_at(packet.body(), 0)).flatten();
            let verdict = answered.and_then(|id| on_the_way.lock().unwrap().remove(&id));
            if let Some((epoch, seq)) = verdict {
                let _ = told.send(Acknowledged { epoch, seq, at });
            }
            Ok(())
        });
    });
}

struct Packet<'a> {
    bytes: &'a [u8],
    body_at: usize,
}

impl Packet<'_> {
    fn kind(&self) -> u8 {
        self.bytes[0] >> 4
    }

    fn body(&self) -> &[u8] {
        &self.bytes[self.body_at..]
    }
}

fn pass(
    from: TcpStream,
    mut to: TcpStream,
    mut each: impl FnMut(&Packet<'_>, &mut TcpStream) -> std::io::Result<()>,
) {
    let mut reader = BufReader::new(from);
    let mut bytes = Vec::new();
    while let Ok(body_at) = read_packet(&mut reader, &mut bytes) {
        if each(&Packet { bytes: &bytes, body_at }, &mut to).is_err() {
            break;
        }
    }
    let _ = (reader.get_ref().shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// Reads one packet into `bytes`; where its body begins.
fn read_packet(from: &mut impl Read, bytes: &mut Vec<u8>) -> std::io::Result<usize> {
    bytes.clear();
    bytes.push(byte(from)?);
    let mut length = 0;
    for group in 0..4 {
        let next = byte(from)?;
        bytes.push(next);
        length |= usize::from(next & 0x7f) << (7 * group);
        if next & 0x80 == 0 {
            let body_at = bytes.len();
            bytes.resize(body_at + length, 0);
            from.read_exact(&mut bytes[body_at..])?;
            return Ok(body_at);
        }
    }
    Err(ErrorKind::InvalidData.into())
}

fn byte(from: &mut impl Read) -> std::io::Result<u8> {
    let mut one = [0];
    from.read_exact(&mut one)?;
    Ok(one[0])
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// Packet id and (epoch, seq) of a PUBLISH of a live verdict with QoS 1.
fn live_verdict(packet: &Packet<'_>) -> Option<(u16, (u32, u32))> {
    let (first, body) = (packet.bytes[0], packet.body());
    if packet.kind() != PUBLISH || (first >> 1) & 3 != 1 {
        return None;
    }
    let id_at = 2 + usize::from(u16_at(body, 0)?);
    if !body.get(2..id_at)?.ends_with(b"/verdict") {
        return None;
    }
    let verdict = decode_verdict(body.get(id_at + 2..)?).ok()?;
    Some((u16_at(body, id_at)?, (verdict.e, verdict.q)))
}

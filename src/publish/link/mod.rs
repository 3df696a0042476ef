//! One connection of the MQTT client library, used once and thrown away.
//!
//! What rumqttc 0.25.1 does, read in its source and tried, and what follows from it. Of both
//! protocol versions:
//! - A broker without a session for us makes it clear everything pending, even what was never
//!   sent: so we ask for a clean session, and after any error the client is dropped.
//! - A publish over the packet limit is accepted, fails when it is encoded, and is tried again
//!   for ever: so sizes are checked before (the session) and the limit is set from the same
//!   number.
//! - `publish().await` blocks when the queue is full: so only `try_publish` is used, on a queue
//!   larger than the window.
//! - `poll()` loses a packet when it is cancelled in the middle of a write: so it runs in a task
//!   of its own and is never raced against anything.
//! - Packet ids are given in the order of the queue, from 1 to the in-flight bound: so that bound
//!   is set far above the window, and an id comes back only after many others.
//! - Subscriptions are not remembered: so they are the first request of every connection, queued
//!   before it is made. They take packet id 1, which is told as `Outgoing::Subscribe`; so the
//!   publishes keep their ids in the order of hand-over, and id 1 comes back long after SUBACK.
//! - A message over the incoming limit ends the connection, and one that the broker retains ends
//!   every connection that subscribes: so that limit is far above what a message to us may have,
//!   what is below it but too large for us is only told of, and after one that is above it the
//!   next connection does not subscribe for a while ([`LinkEvent::Overrun`]).
//!
//! Of MQTT 5 alone:
//! - The broker's receive maximum (Mosquitto: 20) becomes the in-flight bound and the highest
//!   packet id. What we hand over beyond it waits in the library's queue, live verdicts behind
//!   late ones: so it is told to the session ([`Offer`]), whose window shrinks to one less, which
//!   leaves an id to the subscription.
//! - A packet over the broker's maximum packet size fails as over our own limit: so that is told
//!   to the session, too, and a broker that cannot take a verdict is not connected to.
//! - A PUBACK with a bad reason counts as any other for the library, which only logs it; after
//!   it, a publish that waits for the id is stuck: so the reason is told to the session.
//! - A keep-alive below 5 s is a panic: so it is refused in the configuration.
//! - Our own packet limit is told to the broker, which drops larger messages before us.
//! - A flush to a socket that takes nothing more never ends: the session gives up a connection
//!   whose acknowledgements stay away, and dropping it ends the flush.

mod v4;
mod v5;

use rumqttc::NetworkOptions;
use std::time::Duration;

use super::limits::{Limits, Offer};
use super::polled::Polled;
use super::session::{Publish, Topic};
use super::tls::TlsFiles;
use super::types::{Settings, Version};
use crate::frame::Nanos;
use crate::message::COMMAND_BYTES_MAX;

/// Packet ids in rotation; the window is far smaller, so an id never comes back while an
/// acknowledgement for its last use could still be on the way.
const PACKET_IDS: u16 = 1_000;
/// Wait for TCP, TLS, CONNACK and each flush, in seconds.
const CONNECT_WAIT_S: u64 = 5;
/// Largest packet taken from the broker, in bytes: a bound on memory, not on messages.
const INCOMING_BYTES_MAX: usize = 256 << 10;
/// Events on their way from the connection's task; the task waits when it is full.
const EVENTS_MAX: usize = 256;
/// Requests besides the window: the subscription, heartbeats and the disconnect.
const SPARE_REQUESTS: usize = 64;

/// What the connection's task reports.
#[derive(Debug)]
pub(super) enum LinkEvent {
    /// The broker took the connection, on these conditions.
    Connected(Offer),
    Sent(u16),
    Acked(u16),
    /// The broker answered a publish with a reason why it does not pass it on.
    Refused {
        id: u16,
        reason: &'static str,
    },
    /// The broker answered the subscriptions; it refused these topics.
    Subscribed {
        refused: Vec<String>,
    },
    /// A message on a subscribed topic.
    Message(Message),
    /// A message that no consumer of ours takes; its payload was not kept.
    MessageTooLarge {
        topic: String,
        bytes: usize,
    },
    /// A message over the incoming limit; the connection is lost with it.
    Overrun {
        bytes: usize,
    },
    /// The DISCONNECT packet was handed to the socket.
    Closed,
    /// The connection is gone or could not be made; nothing follows.
    Lost(String),
}

/// A message from the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) topic: String,
    /// At most [`COMMAND_BYTES_MAX`].
    pub(super) payload: Vec<u8>,
    /// Kept by the broker, so it is no answer to anything that happens now.
    pub(super) retained: bool,
}

/// The library's handle, by protocol version.
#[derive(Debug)]
enum Client {
    V4(rumqttc::AsyncClient),
    V5(rumqttc::v5::AsyncClient),
}

/// A connection being made or standing.
#[derive(Debug)]
pub(super) struct Link {
    /// `None` when it could not even be begun.
    client: Option<Client>,
    polled: Polled<LinkEvent>,
}

impl Link {
    /// Begins to connect, and to listen when `listen`; must be called inside the runtime.
    pub(super) fn open(settings: &Settings, listen: bool) -> Self {
        let requests = usize::from(settings.limits.window) + SPARE_REQUESTS;
        let transport = match TlsFiles::transport(settings.tls.as_ref()) {
            Ok(transport) => transport,
            Err(cause) => {
                return Self { client: None, polled: Polled::failed(LinkEvent::Lost(cause)) };
            }
        };
        let (topics, limits) = (settings.subscriptions.clone(), settings.limits);
        let (client, polled) = match settings.version {
            Version::V3_1_1 => {
                let (client, event_loop) = v4::open(settings, transport, requests);
                let drive = |sender| v4::drive(event_loop, topics, sender);
                (Client::V4(client), Polled::start(EVENTS_MAX, drive))
            }
            Version::V5 => {
                let (client, event_loop) = v5::open(settings, transport, requests);
                let drive = |sender| v5::drive(event_loop, topics, limits, sender);
                (Client::V5(client), Polled::start(EVENTS_MAX, drive))
            }
        };
        let link = Self { client: Some(client), polled };
        if listen {
            link.listen(settings);
        }
        link
    }

    /// Subscribes; the answer is [`LinkEvent::Subscribed`].
    pub(super) fn listen(&self, settings: &Settings) {
        let topics = &settings.subscriptions;
        if topics.is_empty() {
            return;
        }
        // The queue has room for it, and the names were checked when the publisher was started.
        match &self.client {
            Some(Client::V4(client)) => v4::subscribe(client, topics),
            Some(Client::V5(client)) => v5::subscribe(client, topics),
            None => {}
        }
    }

    pub(super) async fn event(&mut self) -> LinkEvent {
        let ended = || LinkEvent::Lost("the connection's task ended".to_owned());
        self.polled.event().await.unwrap_or_else(ended)
    }

    pub(super) fn try_event(&mut self) -> Option<LinkEvent> {
        self.polled.try_event()
    }

    /// Queues a publish; false when the queue is full, which the window rules out.
    pub(super) fn publish(&self, settings: &Settings, publish: Publish) -> bool {
        let Publish { topic, payload, lasts } = publish;
        let names = &settings.topics;
        let (payload, acknowledged) = match topic {
            Topic::Heartbeat(count) => ((settings.heartbeat)(count), false),
            Topic::Binary => (settings.binary.map(|of| of(&payload)).unwrap_or_default(), true),
            _ => (payload, true),
        };
        let message = Outgoing {
            topic: names.of(topic),
            retain: topic == Topic::State || topic == Topic::Last && names.last.is_some(),
            acknowledged,
            expiry_s: matches!(topic, Topic::Verdict | Topic::Binary)
                .then(|| lasts.map_or(settings.live_expiry_s, expiry_s)),
            payload,
        };
        let queued = match &self.client {
            Some(Client::V4(client)) => v4::publish(client, message),
            Some(Client::V5(client)) => v5::publish(client, message),
            None => false,
        };
        // A heartbeat that finds no room is no loss: there is more urgent traffic.
        queued || !acknowledged
    }

    /// Queues a clean end: the broker then does not publish the last will.
    pub(super) fn close(&self) {
        // A full queue means a dead connection; dropping it is all that is left.
        match &self.client {
            Some(Client::V4(client)) => drop(client.try_disconnect()),
            Some(Client::V5(client)) => drop(client.try_disconnect()),
            None => {}
        }
    }
}

/// A publish of either protocol version.
struct Outgoing<'a> {
    topic: &'a str,
    retain: bool,
    /// QoS 1, else 0.
    acknowledged: bool,
    /// After so many seconds the broker forgets it; MQTT 5 only.
    expiry_s: Option<u32>,
    payload: Vec<u8>,
}

/// MQTT counts in whole seconds: at least one.
fn expiry_s(lasts: Nanos) -> u32 {
    u32::try_from(lasts.0.div_ceil(1_000_000_000)).unwrap_or(u32::MAX).max(1)
}

fn keep_alive(settings: &Settings) -> Duration {
    Duration::from_secs(settings.keep_alive_s.max(1).into())
}

fn network_options() -> NetworkOptions {
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(CONNECT_WAIT_S);
    network
}

fn packet_ids(limits: &Limits) -> u16 {
    PACKET_IDS.max(limits.window.saturating_mul(2))
}

fn packet_bytes_max(limits: &Limits) -> usize {
    limits.payload_bytes_max + super::limits::PACKET_ROOM_BYTES
}

fn incoming_bytes_max(limits: &Limits) -> usize {
    INCOMING_BYTES_MAX.max(packet_bytes_max(limits))
}

/// A message for the station, or the news that it is too large for it.
fn message(topic: String, payload: &[u8], retained: bool) -> LinkEvent {
    if payload.len() > COMMAND_BYTES_MAX {
        return LinkEvent::MessageTooLarge { topic, bytes: payload.len() };
    }
    LinkEvent::Message(Message { topic, payload: payload.to_vec(), retained })
}

/// The topics without a good answer; the answers come in the order of the topics.
fn refused(topics: &[String], granted: impl Fn(usize) -> bool) -> Vec<String> {
    let refused = topics.iter().enumerate().filter(|(i, _)| !granted(*i));
    refused.map(|(_, topic)| topic.clone()).collect()
}

#[cfg(test)]
mod tests;

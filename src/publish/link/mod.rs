//! One connection of the MQTT client library, used once and thrown away.
//!
//! What rumqttc 0.25.1 does, and what follows from it:
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
//!   before it is made. They take packet id 1, which is told as [`Outgoing::Subscribe`]; so the
//!   publishes keep their ids in the order of hand-over, and id 1 comes back long after SUBACK.
//! - A message over the incoming limit ends the connection: so that limit is far above what a
//!   message to us may have, and what is too large for us but below it is only told of.

use rumqttc::{
    AsyncClient, Event, EventLoop, LastWill, MqttOptions, Outgoing, Packet, QoS, SubAck,
    SubscribeFilter, SubscribeReasonCode,
};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::session::{Publish, Topic};
use super::types::Settings;
use crate::message::COMMAND_BYTES_MAX;

/// Packet ids in rotation; the window is far smaller, so an id never comes back while an
/// acknowledgement for its last use could still be on the way.
const PACKET_IDS: u16 = 1_000;
/// Wait for TCP, CONNACK and each flush, in seconds.
const CONNECT_WAIT_S: u64 = 5;
/// Room for topic name and header above the payload limit, in bytes.
const PACKET_ROOM_BYTES: usize = 512;
/// Largest packet taken from the broker, in bytes: a bound on memory, not on messages.
const INCOMING_BYTES_MAX: usize = 256 << 10;
/// Events on their way from the connection's task; the task waits when it is full.
const EVENTS_MAX: usize = 256;
/// Requests besides the window: heartbeats and the disconnect.
const SPARE_REQUESTS: usize = 64;

/// What the connection's task reports.
#[derive(Debug)]
pub(super) enum LinkEvent {
    Connected,
    Sent(u16),
    Acked(u16),
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

/// A connection being made or standing.
#[derive(Debug)]
pub(super) struct Link {
    client: AsyncClient,
    task: JoinHandle<()>,
    events: mpsc::Receiver<LinkEvent>,
}

impl Drop for Link {
    fn drop(&mut self) {
        // Closes the socket without DISCONNECT: the broker publishes our last will.
        self.task.abort();
    }
}

impl Link {
    /// Begins to connect; must be called inside the runtime.
    pub(super) fn open(settings: &Settings) -> Self {
        let requests = usize::from(settings.limits.window) + SPARE_REQUESTS;
        let (client, mut event_loop) = AsyncClient::new(options(settings), requests);
        let topics = settings.subscriptions.clone();
        if !topics.is_empty() {
            let filters =
                topics.iter().map(|topic| SubscribeFilter::new(topic.clone(), QoS::AtLeastOnce));
            // The queue is empty, and the names were checked when the publisher was started.
            let _ = client.try_subscribe_many(filters);
        }
        let mut network = event_loop.network_options();
        network.set_tcp_nodelay(true);
        network.set_connection_timeout(CONNECT_WAIT_S);
        event_loop.set_network_options(network);
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let task = tokio::spawn(drive(event_loop, topics, sender));
        Self { client, task, events }
    }

    pub(super) async fn event(&mut self) -> LinkEvent {
        let ended = || LinkEvent::Lost("the connection's task ended".to_owned());
        self.events.recv().await.unwrap_or_else(ended)
    }

    pub(super) fn try_event(&mut self) -> Option<LinkEvent> {
        self.events.try_recv().ok()
    }

    /// Queues a publish; false when the queue is full, which the window rules out.
    pub(super) fn publish(&self, settings: &Settings, publish: Publish) -> bool {
        let Publish { topic, payload } = publish;
        let names = &settings.topics;
        let (name, retain) = match topic {
            Topic::Verdict => (&names.verdict, false),
            Topic::Last => (names.last.as_ref().unwrap_or(&names.verdict), names.last.is_some()),
            Topic::State => (&names.state, true),
            Topic::Heartbeat(count) => {
                let (payload, at_most_once) = ((settings.heartbeat)(count), QoS::AtMostOnce);
                // One that finds no room is no loss: there is more urgent traffic.
                let _ = self.client.try_publish(&names.heartbeat, at_most_once, false, payload);
                return true;
            }
            Topic::Hist => (&names.hist, false),
            Topic::Mask => (&names.mask, false),
            Topic::Event => (&names.event, false),
        };
        self.client.try_publish(name, QoS::AtLeastOnce, retain, payload).is_ok()
    }

    /// Queues a clean end: the broker then does not publish the last will.
    pub(super) fn close(&self) {
        // A full queue means a dead connection; dropping it is all that is left.
        let _ = self.client.try_disconnect();
    }
}

fn options(settings: &Settings) -> MqttOptions {
    let mut options = MqttOptions::new(&settings.client_id, &settings.host, settings.port);
    let packet_bytes_max = settings.limits.payload_bytes_max + PACKET_ROOM_BYTES;
    options
        .set_clean_session(true)
        .set_keep_alive(Duration::from_secs(settings.keep_alive_s.max(1).into()))
        .set_inflight(PACKET_IDS.max(settings.limits.window.saturating_mul(2)))
        .set_max_packet_size(INCOMING_BYTES_MAX.max(packet_bytes_max), packet_bytes_max)
        .set_last_will(LastWill::new(
            &settings.topics.state,
            settings.will.clone(),
            QoS::AtLeastOnce,
            true,
        ));
    if let Some(credentials) = &settings.credentials {
        options.set_credentials(&credentials.user, &credentials.password);
    }
    options
}

/// Polls until the first error: polling on would reconnect with the library's own memory.
async fn drive(mut event_loop: EventLoop, topics: Vec<String>, sender: mpsc::Sender<LinkEvent>) {
    loop {
        let (event, last) = match event_loop.poll().await {
            Ok(event) => match told(event, &topics) {
                Some(event) => (event, false),
                None => continue,
            },
            Err(error) => (LinkEvent::Lost(error.to_string()), true),
        };
        if sender.send(event).await.is_err() || last {
            return;
        }
    }
}

/// What of the library's event matters to the session.
fn told(event: Event, topics: &[String]) -> Option<LinkEvent> {
    Some(match event {
        Event::Incoming(Packet::ConnAck(_)) => LinkEvent::Connected,
        Event::Incoming(Packet::PubAck(ack)) => LinkEvent::Acked(ack.pkid),
        Event::Incoming(Packet::SubAck(ack)) => {
            LinkEvent::Subscribed { refused: refused(&ack, topics) }
        }
        Event::Incoming(Packet::Publish(publish)) => {
            let (topic, bytes) = (publish.topic, publish.payload.len());
            if bytes > COMMAND_BYTES_MAX {
                return Some(LinkEvent::MessageTooLarge { topic, bytes });
            }
            let payload = publish.payload.to_vec();
            LinkEvent::Message(Message { topic, payload, retained: publish.retain })
        }
        // Packet id 0 is a publish without acknowledgement.
        Event::Outgoing(Outgoing::Publish(id)) if id != 0 => LinkEvent::Sent(id),
        Event::Outgoing(Outgoing::Disconnect) => LinkEvent::Closed,
        _ => return None,
    })
}

/// The topics without a good answer; the answers come in the order of the topics.
fn refused(ack: &SubAck, topics: &[String]) -> Vec<String> {
    let granted =
        |i: usize| matches!(ack.return_codes.get(i), Some(SubscribeReasonCode::Success(_)));
    let refused = topics.iter().enumerate().filter(|(i, _)| !granted(*i));
    refused.map(|(_, topic)| topic.clone()).collect()
}

#[cfg(test)]
mod tests;

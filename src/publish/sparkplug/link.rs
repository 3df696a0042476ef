//! One connection of the mirror, used once and thrown away; the rules are those of the record's
//! own connection: a task of its own polls, nothing waits, the first error ends it.

use std::io;
use std::time::Duration;

use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, LastWill, MqttOptions, Outgoing, Packet, QoS,
    SubscribeFilter, SubscribeReasonCode,
};
use tokio::sync::mpsc;

use super::events::{Publish, Topics, Verb};
use super::types::Settings;
use crate::publish::TlsFiles;
use crate::publish::polled::Polled;

/// Wait for TCP, CONNACK and each flush, in seconds.
const CONNECT_WAIT_S: u64 = 5;
/// Largest message either way, in bytes: a birth has about 2 kB, a command far less.
const PACKET_BYTES_MAX: usize = 64 * 1024;
/// Messages on their way to the socket. When it is full the broker does not keep up: the
/// connection is given up, and what follows is told as history.
const REQUESTS_MAX: usize = 512;
/// Events on their way from the connection's task; the task waits when it is full.
const EVENTS_MAX: usize = 64;

/// What the connection's task reports.
#[derive(Debug)]
pub(super) enum LinkEvent {
    Connected,
    /// The broker's answer to the subscriptions; `refused` when it did not take all.
    Subscribed {
        refused: bool,
    },
    Message {
        topic: String,
        payload: Vec<u8>,
    },
    /// The DISCONNECT packet was handed to the socket.
    Closed,
    /// The connection is gone or could not be made; nothing follows.
    Lost {
        cause: String,
        connect_sent: bool,
    },
}

/// A connection being made or standing.
#[derive(Debug)]
pub(super) struct Link {
    /// `None` when it could not even be begun.
    client: Option<AsyncClient>,
    polled: Polled<LinkEvent>,
}

impl Link {
    /// Begins to connect; must be called inside the runtime.
    pub(super) fn open(settings: &Settings, topics: &Topics, will: Vec<u8>) -> Self {
        let mut options = options(settings, topics, will);
        match TlsFiles::transport(settings.tls.as_ref()) {
            Ok(transport) => drop(options.set_transport(transport)),
            Err(cause) => {
                let lost = LinkEvent::Lost { cause, connect_sent: false };
                return Self { client: None, polled: Polled::failed(lost) };
            }
        }
        let (client, mut event_loop) = AsyncClient::new(options, REQUESTS_MAX);
        let mut network = event_loop.network_options();
        network.set_tcp_nodelay(true);
        network.set_connection_timeout(CONNECT_WAIT_S);
        event_loop.set_network_options(network);
        let polled = Polled::start(EVENTS_MAX, |sender| drive(event_loop, sender));
        Self { client: Some(client), polled }
    }

    pub(super) async fn event(&mut self) -> LinkEvent {
        let ended = || LinkEvent::Lost {
            cause: "the connection's task ended".to_owned(),
            connect_sent: true,
        };
        self.polled.event().await.unwrap_or_else(ended)
    }

    /// False when the queue is full.
    pub(super) fn subscribe(&self, topics: Vec<String>) -> bool {
        let filter = |topic| SubscribeFilter::new(topic, QoS::AtLeastOnce);
        let filters = topics.into_iter().map(filter);
        self.client.as_ref().is_some_and(|client| client.try_subscribe_many(filters).is_ok())
    }

    /// False when the queue is full.
    pub(super) fn publish(&self, topics: &Topics, publish: Publish) -> bool {
        let Publish { verb, payload } = publish;
        let publish = |client: &AsyncClient| {
            client.try_publish(topics.of(verb), qos(verb), Verb::RETAIN, payload).is_ok()
        };
        self.client.as_ref().is_some_and(publish)
    }

    /// False when the queue is full.
    pub(super) fn close(&self) -> bool {
        self.client.as_ref().is_some_and(|client| client.try_disconnect().is_ok())
    }
}

fn qos(verb: Verb) -> QoS {
    match verb.qos() {
        0 => QoS::AtMostOnce,
        _ => QoS::AtLeastOnce,
    }
}

fn options(settings: &Settings, topics: &Topics, will: Vec<u8>) -> MqttOptions {
    let mut options = MqttOptions::new(&settings.client_id, &settings.host, settings.port);
    let verb = Verb::NDeath;
    options
        .set_clean_session(true)
        .set_keep_alive(Duration::from_secs(settings.keep_alive_s.max(1).into()))
        .set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX)
        .set_last_will(LastWill::new(topics.of(verb), will, qos(verb), Verb::RETAIN));
    if let Some(credentials) = &settings.credentials {
        options.set_credentials(&credentials.user, &credentials.password);
    }
    options
}

/// Polls until the first error: polling on would reconnect with an old last will.
async fn drive(mut event_loop: EventLoop, sender: mpsc::Sender<LinkEvent>) {
    loop {
        let event = match event_loop.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => LinkEvent::Connected,
            Ok(Event::Incoming(Packet::SubAck(ack))) => LinkEvent::Subscribed {
                refused: ack.return_codes.contains(&SubscribeReasonCode::Failure),
            },
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                LinkEvent::Message { topic: publish.topic, payload: publish.payload.to_vec() }
            }
            Ok(Event::Outgoing(Outgoing::Disconnect)) => LinkEvent::Closed,
            Ok(_) => continue,
            Err(error) => {
                let connect_sent = !was_refused(&error);
                let _ =
                    sender.send(LinkEvent::Lost { cause: error.to_string(), connect_sent }).await;
                return;
            }
        };
        if sender.send(event).await.is_err() {
            return;
        }
    }
}

/// Nobody listens there: the one failure that proves that no CONNECT was seen.
fn was_refused(error: &ConnectionError) -> bool {
    matches!(error, ConnectionError::Io(e) if e.kind() == io::ErrorKind::ConnectionRefused)
}

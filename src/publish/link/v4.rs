//! MQTT 3.1.1 by the client library.

use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, LastWill, MqttOptions, Packet, QoS, StateError,
    SubscribeFilter, SubscribeReasonCode, Transport,
};
use tokio::sync::mpsc;

use super::super::limits::Offer;
use super::super::types::Settings;
use super::{LinkEvent, Outgoing};

/// Makes the client.
pub(super) fn open(
    settings: &Settings,
    transport: Transport,
    requests: usize,
) -> (AsyncClient, EventLoop) {
    let (client, mut event_loop) = AsyncClient::new(options(settings, transport), requests);
    event_loop.set_network_options(super::network_options());
    (client, event_loop)
}

pub(super) fn subscribe(client: &AsyncClient, topics: &[String]) {
    let filter = |topic: &String| SubscribeFilter::new(topic.clone(), QoS::AtLeastOnce);
    let _ = client.try_subscribe_many(topics.iter().map(filter));
}

fn options(settings: &Settings, transport: Transport) -> MqttOptions {
    let limits = &settings.limits;
    let mut options = MqttOptions::new(&settings.client_id, &settings.host, settings.port);
    options
        .set_transport(transport)
        .set_clean_session(true)
        .set_keep_alive(super::keep_alive(settings))
        .set_inflight(super::packet_ids(limits))
        .set_max_packet_size(super::incoming_bytes_max(limits), super::packet_bytes_max(limits))
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

pub(super) fn publish(client: &AsyncClient, message: Outgoing<'_>) -> bool {
    let qos = if message.acknowledged { QoS::AtLeastOnce } else { QoS::AtMostOnce };
    client.try_publish(message.topic, qos, message.retain, message.payload).is_ok()
}

/// Polls until the first error: polling on would reconnect with the library's own memory.
pub(super) async fn drive(
    mut event_loop: EventLoop,
    topics: Vec<String>,
    sender: mpsc::Sender<LinkEvent>,
) {
    loop {
        let (event, last) = match event_loop.poll().await {
            Ok(event) => match told(event, &topics) {
                Some(event) => (event, false),
                None => continue,
            },
            Err(error) => {
                if let Some(bytes) = overrun(&error)
                    && sender.send(LinkEvent::Overrun { bytes }).await.is_err()
                {
                    return;
                }
                (LinkEvent::Lost(error.to_string()), true)
            }
        };
        if sender.send(event).await.is_err() || last {
            return;
        }
    }
}

/// Size of the message that ended the connection by being over the incoming limit.
fn overrun(error: &ConnectionError) -> Option<usize> {
    match error {
        ConnectionError::MqttState(StateError::Deserialization(
            rumqttc::mqttbytes::Error::PayloadSizeLimitExceeded(bytes),
        )) => Some(*bytes),
        _ => None,
    }
}

/// What of the library's event matters to the session.
fn told(event: Event, topics: &[String]) -> Option<LinkEvent> {
    Some(match event {
        Event::Incoming(Packet::ConnAck(_)) => LinkEvent::Connected(Offer::UNBOUNDED),
        Event::Incoming(Packet::PubAck(ack)) => LinkEvent::Acked(ack.pkid),
        Event::Incoming(Packet::SubAck(ack)) => {
            let code = |i: usize| ack.return_codes.get(i);
            let granted = |i| matches!(code(i), Some(SubscribeReasonCode::Success(_)));
            LinkEvent::Subscribed { refused: super::refused(topics, granted) }
        }
        Event::Incoming(Packet::Publish(publish)) => {
            super::message(publish.topic, &publish.payload, publish.retain)
        }
        // Packet id 0 is a publish without acknowledgement.
        Event::Outgoing(rumqttc::Outgoing::Publish(id)) if id != 0 => LinkEvent::Sent(id),
        Event::Outgoing(rumqttc::Outgoing::Disconnect) => LinkEvent::Closed,
        _ => return None,
    })
}

//! MQTT 5 by the client library.

use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnectProperties, Filter, LastWill, Packet, PubAckReason, PublishProperties,
    SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use rumqttc::{Outgoing as Sent, Transport};
use tokio::sync::mpsc;

use super::super::limits::{Limits, Offer, PACKET_BYTES_NEEDED};
use super::super::types::Settings;
use super::{LinkEvent, Outgoing};

/// The library panics on a shorter one; the configuration refuses it before.
const KEEP_ALIVE_MIN: Duration = Duration::from_secs(5);

/// Makes the client.
pub(super) fn open(
    settings: &Settings,
    transport: Transport,
    requests: usize,
) -> (AsyncClient, EventLoop) {
    AsyncClient::new(options(settings, transport), requests)
}

pub(super) fn subscribe(client: &AsyncClient, topics: &[String]) {
    let filter = |topic: &String| Filter::new(topic.clone(), QoS::AtLeastOnce);
    let _ = client.try_subscribe_many(topics.iter().map(filter));
}

fn options(settings: &Settings, transport: Transport) -> MqttOptions {
    let limits = &settings.limits;
    let incoming = u32::try_from(super::incoming_bytes_max(limits)).unwrap_or(u32::MAX);
    let properties = ConnectProperties {
        // Nothing of ours waits at the broker: what is told late is worth less than nothing.
        session_expiry_interval: Some(0),
        max_packet_size: Some(incoming),
        ..ConnectProperties::new()
    };
    let will =
        LastWill::new(&settings.topics.state, settings.will.clone(), QoS::AtLeastOnce, true, None);
    let mut options = MqttOptions::new(&settings.client_id, &settings.host, settings.port);
    options
        .set_transport(transport)
        .set_clean_start(true)
        .set_keep_alive(super::keep_alive(settings).max(KEEP_ALIVE_MIN))
        .set_connection_timeout(super::CONNECT_WAIT_S)
        .set_network_options(super::network_options())
        .set_outgoing_inflight_upper_limit(super::packet_ids(limits))
        .set_connect_properties(properties)
        .set_last_will(will);
    if let Some(credentials) = &settings.credentials {
        options.set_credentials(&credentials.user, &credentials.password);
    }
    options
}

pub(super) fn publish(client: &AsyncClient, message: Outgoing<'_>) -> bool {
    let qos = if message.acknowledged { QoS::AtLeastOnce } else { QoS::AtMostOnce };
    let properties = PublishProperties {
        message_expiry_interval: message.expiry_s,
        ..PublishProperties::default()
    };
    let Outgoing { topic, retain, payload, .. } = message;
    client.try_publish_with_properties(topic, qos, retain, payload, properties).is_ok()
}

/// Polls until the first error: polling on would reconnect with the library's own memory.
pub(super) async fn drive(
    mut event_loop: EventLoop,
    topics: Vec<String>,
    limits: Limits,
    sender: mpsc::Sender<LinkEvent>,
) {
    loop {
        let event = match event_loop.poll().await {
            Ok(event) => match told(event, &topics, &limits) {
                Some(event) => event,
                None => continue,
            },
            Err(error) => LinkEvent::Lost(error.to_string()),
        };
        let last = matches!(event, LinkEvent::Lost(_));
        if sender.send(event).await.is_err() || last {
            return;
        }
    }
}

/// What of the library's event matters to the session.
fn told(event: Event, topics: &[String], limits: &Limits) -> Option<LinkEvent> {
    Some(match event {
        Event::Incoming(Packet::ConnAck(ack)) => match offer(&ack, limits) {
            Ok(offer) => LinkEvent::Connected(offer),
            Err(cause) => LinkEvent::Lost(cause),
        },
        Event::Incoming(Packet::PubAck(ack)) => match refusal(ack.reason) {
            None => LinkEvent::Acked(ack.pkid),
            Some(reason) => LinkEvent::Refused { id: ack.pkid, reason },
        },
        Event::Incoming(Packet::SubAck(ack)) => {
            let code = |i: usize| ack.return_codes.get(i);
            let granted = |i| matches!(code(i), Some(SubscribeReasonCode::Success(_)));
            LinkEvent::Subscribed { refused: super::refused(topics, granted) }
        }
        Event::Incoming(Packet::Publish(publish)) => {
            let topic = String::from_utf8_lossy(&publish.topic).into_owned();
            super::message(topic, &publish.payload, publish.retain)
        }
        // Packet id 0 is a publish without acknowledgement.
        Event::Outgoing(Sent::Publish(id)) if id != 0 => LinkEvent::Sent(id),
        Event::Outgoing(Sent::Disconnect) => LinkEvent::Closed,
        _ => return None,
    })
}

/// The broker's conditions, or why we cannot work with it. Giving up keeps the verdicts in the
/// journal; going on would have them refused one by one.
fn offer(ack: &ConnAck, limits: &Limits) -> Result<Offer, String> {
    let Some(properties) = &ack.properties else { return Ok(Offer::UNBOUNDED) };
    if properties.max_qos == Some(0) {
        return Err("the broker acknowledges nothing (maximum QoS 0): allow QoS 1".to_owned());
    }
    if properties.retain_available == Some(0) {
        return Err("the broker keeps no retained messages, which `state` needs: allow them".into());
    }
    let packet_bytes_max = properties.max_packet_size.map_or(usize::MAX, |bytes| bytes as usize);
    let needed = PACKET_BYTES_NEEDED.min(super::packet_bytes_max(limits));
    if packet_bytes_max < needed {
        return Err(format!(
            "the broker takes packets of at most {packet_bytes_max} bytes and {needed} are \
             needed: raise its limit"
        ));
    }
    Ok(Offer { receive_max: properties.receive_max.unwrap_or(u16::MAX), packet_bytes_max })
}

/// Why a publish was not taken; `None` when it was. That nobody listens now is no refusal.
fn refusal(reason: PubAckReason) -> Option<&'static str> {
    Some(match reason {
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => return None,
        PubAckReason::UnspecifiedError => "unspecified error",
        PubAckReason::ImplementationSpecificError => "implementation specific error",
        PubAckReason::NotAuthorized => "not authorised",
        PubAckReason::TopicNameInvalid => "topic name invalid",
        PubAckReason::PacketIdentifierInUse => "packet identifier in use",
        PubAckReason::QuotaExceeded => "quota exceeded",
        PubAckReason::PayloadFormatInvalid => "payload format invalid",
    })
}

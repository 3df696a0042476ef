//! An onlooker with a connection of its own: receives what the station published.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rumqttc::{Client, Event, MqttOptions, Packet, QoS};

use crate::message::decode_verdict;

/// Requests of this client that may wait: the subscription and the farewell.
const REQUESTS_MAX: usize = 4;
/// Verdicts kept for the comparison; a demonstration without end compares the newest only.
pub(super) const KEPT_MAX: usize = 100_000;
/// Time for the broker to answer the subscription.
const SUBSCRIBE_WAIT: Duration = Duration::from_secs(5);

/// Payload by result number.
type Received = Arc<Mutex<BTreeMap<u32, Vec<u8>>>>;

pub(super) struct Subscriber {
    client: Client,
    received: Received,
}

impl Subscriber {
    /// Connects and subscribes to live and late verdicts; returns when the broker has agreed, so
    /// that no verdict can be missed.
    pub(super) fn start(port: u16, prefix: &str, station: &str) -> Result<Self> {
        let mut options = MqttOptions::new("crrd-demo-onlooker", "127.0.0.1", port);
        options.set_keep_alive(Duration::from_secs(30));
        let (client, mut connection) = Client::new(options, REQUESTS_MAX);
        for kind in ["verdict", "hist"] {
            client
                .subscribe(format!("{prefix}/{station}/{kind}"), QoS::AtLeastOnce)
                .context("cannot subscribe to the demonstration's verdicts")?;
        }
        let received = Received::default();
        let (agreed_in, agreed) = crossbeam_channel::bounded(2);
        let kept = Arc::clone(&received);
        std::thread::Builder::new()
            .name("crrd-onlooker".to_owned())
            .spawn(move || {
                for event in connection.iter() {
                    match event {
                        Ok(Event::Incoming(Packet::SubAck(_))) => drop(agreed_in.try_send(())),
                        Ok(Event::Incoming(Packet::Publish(message))) => {
                            keep(&kept, &message.payload);
                        }
                        Ok(_) => {}
                        // Disconnected on request, or the broker is gone: nothing to wait for.
                        Err(_) => return,
                    }
                }
            })
            .context("cannot start the onlooker's thread")?;
        for _ in 0..2 {
            agreed
                .recv_timeout(SUBSCRIBE_WAIT)
                .context("the demonstration's broker does not answer a subscription")?;
        }
        Ok(Self { client, received })
    }

    /// Waits for every result number in `published`, and compares payload by payload. Returns how
    /// many arrived.
    pub(super) fn finish(self, published: &BTreeMap<u32, Vec<u8>>, wait: Duration) -> Result<u64> {
        let started = Instant::now();
        while self.arrived(published)? < published.len() && started.elapsed() < wait {
            std::thread::sleep(Duration::from_millis(5));
        }
        let arrived = self.arrived(published)?;
        // The connection may be gone already.
        let _ = self.client.disconnect();
        Ok(arrived as u64)
    }

    fn arrived(&self, published: &BTreeMap<u32, Vec<u8>>) -> Result<usize> {
        let received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        let mut arrived = 0;
        for (seq, payload) in published {
            if let Some(got) = received.get(seq) {
                ensure!(got == payload, "verdict {seq} arrived with another content");
                arrived += 1;
            }
        }
        Ok(arrived)
    }
}

fn keep(received: &Received, payload: &[u8]) {
    let Ok(verdict) = decode_verdict(payload) else {
        tracing::error!("a verdict that cannot be read was published");
        return;
    };
    let mut received = received.lock().unwrap_or_else(PoisonError::into_inner);
    received.insert(verdict.q, payload.to_vec());
    while received.len() > KEPT_MAX {
        received.pop_first();
    }
}

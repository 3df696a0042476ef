//! An onlooker with a connection of its own: receives what the station published.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rumqttc::{Client, Event, MqttOptions, Packet, QoS};

use crate::message::decode_verdict;

/// Requests of this client that may wait: the subscription and the farewell.
const REQUESTS_MAX: usize = 4;
/// Time for the broker to answer the subscription.
const SUBSCRIBE_WAIT: Duration = Duration::from_secs(5);

/// What was decided against what arrived, payload by payload. Holds only what is still open, so a
/// demonstration may run without end.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// Decided and not yet arrived, by result number.
    decided: BTreeMap<u32, Vec<u8>>,
    /// Arrived before the station told of the decision.
    early: BTreeMap<u32, Vec<u8>>,
    newest_decided: u32,
    /// Verdicts that arrived as decided.
    same: u64,
    /// Verdicts that arrived with another content.
    different: u64,
}

impl Comparison {
    /// A decision; they come in the order of their numbers.
    pub(super) fn decided(&mut self, seq: u32, payload: Vec<u8>) {
        self.newest_decided = seq;
        match self.early.remove(&seq) {
            Some(arrived) => self.compare(&payload, &arrived),
            None => drop(self.decided.insert(seq, payload)),
        }
    }

    fn arrived(&mut self, seq: u32, payload: &[u8]) {
        if seq > self.newest_decided {
            self.early.insert(seq, payload.to_vec());
        } else if let Some(decided) = self.decided.remove(&seq) {
            self.compare(&decided, payload);
        }
        // Neither: delivered twice, as QoS 1 may.
    }

    fn compare(&mut self, decided: &[u8], arrived: &[u8]) {
        match decided == arrived {
            true => self.same += 1,
            false => self.different += 1,
        }
    }
}

/// Shared by the station's observer and the onlooker's thread.
type Shared = Arc<Mutex<Comparison>>;

pub(super) struct Subscriber {
    client: Client,
    comparison: Shared,
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
        let comparison = Shared::default();
        let (agreed_in, agreed) = crossbeam_channel::bounded(2);
        let kept = Arc::clone(&comparison);
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
        Ok(Self { client, comparison })
    }

    /// Where decisions are told.
    pub(super) fn comparison(&self) -> Shared {
        Arc::clone(&self.comparison)
    }

    /// Waits until everything that was decided has arrived; returns how many verdicts did.
    ///
    /// # Errors
    /// When one arrived with another content than was decided.
    pub(super) fn finish(self, wait: Duration) -> Result<u64> {
        let started = Instant::now();
        let open = || !lock(&self.comparison).decided.is_empty();
        while open() && started.elapsed() < wait {
            std::thread::sleep(Duration::from_millis(5));
        }
        // The connection may be gone already.
        let _ = self.client.disconnect();
        let comparison = lock(&self.comparison);
        ensure!(
            comparison.different == 0,
            "{} verdicts arrived with another content",
            comparison.different
        );
        Ok(comparison.same)
    }
}

fn lock(comparison: &Shared) -> MutexGuard<'_, Comparison> {
    comparison.lock().unwrap_or_else(PoisonError::into_inner)
}

fn keep(comparison: &Shared, payload: &[u8]) {
    let Ok(verdict) = decode_verdict(payload) else {
        tracing::error!("a verdict that cannot be read was published");
        return;
    };
    lock(comparison).arrived(verdict.q, payload);
}

#[cfg(test)]
mod tests {
    use super::Comparison;

    #[test]
    fn verdicts_match_in_any_order_of_telling_and_duplicates_count_once() {
        let mut c = Comparison::default();
        c.arrived(1, b"a");
        c.decided(1, b"a".to_vec());
        c.decided(2, b"b".to_vec());
        c.arrived(2, b"b");
        c.arrived(2, b"b");
        assert_eq!((c.same, c.different), (2, 0));
        assert!(c.decided.is_empty() && c.early.is_empty());
    }

    #[test]
    fn another_content_is_seen() {
        let mut c = Comparison::default();
        c.decided(1, b"a".to_vec());
        c.arrived(1, b"b");
        c.decided(2, b"b".to_vec());
        assert_eq!((c.same, c.different, c.decided.len()), (0, 1, 1));
    }
}

//! The station's state as all stages share it, and its voice on the state topic.
//!
//! The rules are in `station`; this is the lock around them. Locks are held for a few
//! instructions and never two at a time, so no order can be wrong.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::tally::Latencies;
use crate::calibrate::CalibrationId;
use crate::message::{StateRecord, VerdictRecord, encode_offline, encode_state};
use crate::publish::{Flushed, Health, Publisher};
use crate::station::{Counters, Event, Need, Station};

pub(super) struct Board {
    epoch: u32,
    engine_sha256: String,
    inner: Mutex<Inner>,
    publisher: Mutex<Option<Publisher>>,
}

struct Inner {
    station: Station,
    calibration: CalibrationId,
    latencies: Latencies,
}

/// State and counters are whole between any two instructions that hold the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Board {
    /// A station whose engine proved itself, with a valid calibration and an open journal; only
    /// the camera is missing.
    pub(super) fn new(epoch: u32, engine_sha256: String, calibration: CalibrationId) -> Self {
        let mut station = Station::new(epoch);
        for need in [Need::Engine, Need::Calibration, Need::Journal] {
            station.apply(Event::Need(need, true));
        }
        let inner = Inner { station, calibration, latencies: Latencies::default() };
        Self { epoch, engine_sha256, inner: Mutex::new(inner), publisher: Mutex::new(None) }
    }

    /// From now on changes are published.
    pub(super) fn attach(&self, publisher: Publisher) {
        *lock(&self.publisher) = Some(publisher);
    }

    pub(super) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Accepts a part: the number of its answer.
    pub(super) fn accept(&self) -> u32 {
        lock(&self.inner).station.accept()
    }

    pub(super) fn may_judge(&self) -> bool {
        lock(&self.inner).station.may_judge()
    }

    pub(super) fn is_ready(&self) -> bool {
        lock(&self.inner).station.is_ready()
    }

    pub(super) fn apply(&self, event: Event) {
        let changed = lock(&self.inner).station.apply(event);
        if changed {
            self.tell();
        }
    }

    pub(super) fn calibration_replaced(&self, id: CalibrationId) {
        lock(&self.inner).calibration = id;
        self.tell();
    }

    pub(super) fn decided(&self, record: &VerdictRecord) {
        let mut inner = lock(&self.inner);
        inner.station.decided(&record.verdict);
        inner.latencies.record(record.latency);
    }

    pub(super) fn counters(&self) -> Counters {
        lock(&self.inner).station.counters()
    }

    pub(super) fn latencies(&self) -> Latencies {
        lock(&self.inner).latencies.clone()
    }

    /// The payload of the state topic.
    pub(super) fn state(&self) -> Vec<u8> {
        let inner = lock(&self.inner);
        let (station, missing) = (&inner.station, inner.station.missing());
        let record = StateRecord {
            ready: station.is_ready(),
            busy: station.is_busy(),
            name: station.name(),
            epoch: self.epoch,
            seq: station.seq(),
            error: missing.map_or(0, |need| need as u8),
            calibration: inner.calibration,
            engine_sha256: &self.engine_sha256,
            text: missing.map_or("", Need::missing),
        };
        encode_state(&record).into_bytes()
    }

    /// The last will, and the state of a station that left in order.
    pub(super) fn offline(&self) -> Vec<u8> {
        encode_offline(self.epoch).into_bytes()
    }

    fn tell(&self) {
        // The lock comes first: of two changes at once, the later one's state is set last.
        let publisher = lock(&self.publisher);
        if let Some(publisher) = &*publisher {
            publisher.set_state(self.state());
        }
    }

    /// One line for people.
    pub(super) fn status(&self) -> String {
        let health = self.health();
        let broker = match &health {
            Some(h) if h.connected => "broker connected",
            _ => "broker not connected",
        };
        let inner = lock(&self.inner);
        let missing = inner.station.missing().map_or("ready", Need::missing);
        let Counters { parts, pass, reject, invalid, .. } = inner.station.counters();
        format!(
            "{missing}; {parts} parts: {pass} pass, {reject} reject, {invalid} invalid; {broker}, \
             {} rows undelivered",
            health.map_or(0, |h| h.backlog_rows)
        )
    }

    pub(super) fn publisher_alive(&self) -> bool {
        lock(&self.publisher).as_ref().is_some_and(Publisher::is_alive)
    }

    fn health(&self) -> Option<Health> {
        lock(&self.publisher).as_ref().map(Publisher::health)
    }

    /// Ends the publisher; `None` when it is gone already.
    pub(super) fn flush(&self, wait: Duration) -> Option<Flushed> {
        let publisher = lock(&self.publisher).take()?;
        Some(publisher.flush(wait, self.offline()))
    }
}

//! The station's state as all stages share it, and its voice on the state topic.
//!
//! The rules are in `station`; this is the lock around them. Locks are held for a few
//! instructions. Where two are held at once (`Board::tell`), the publisher's comes first; nobody
//! asks for it while holding the other, so no two threads can wait for each other.

use std::borrow::Cow;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::cameras::{Loss, Roster, Tally};
use super::engine_news::{EngineNews, News};
use super::observer::Snapshot;
use super::tally::Latencies;
use crate::calibrate::CalibrationId;
use crate::capture::supervisor::State;
use crate::engine::{Condition, Happening};
use crate::frame::Nanos;
use crate::journal::{self, Receipts};
use crate::message::{
    Counters, EngineHealth, HealthRecord, Receipt, RecordingHealth, StateRecord, VerdictRecord,
    encode_health, encode_offline, encode_state,
};
use crate::publish::{Flushed, Health, Publisher, ReplayRange};
use crate::record::Feed;
use crate::station::{Action, Event, Need, Settings, Station, Step};

pub(super) struct Board {
    epoch: u32,
    engine_sha256: String,
    inner: Mutex<Inner>,
    receipts: Receipts,
    recording: Option<Feed>,
    publisher: Mutex<Option<Publisher>>,
}

struct Inner {
    station: Station,
    calibration: CalibrationId,
    latencies: Latencies,
    cameras: Roster,
    engine: Condition,
    engine_news: EngineNews,
}

impl Inner {
    fn engine_health(&self) -> EngineHealth {
        EngineHealth { state: self.engine.name(), failures: self.engine_news.failures() }
    }
}

fn recording_health(feed: &Feed) -> RecordingHealth {
    let counters = feed.counters();
    RecordingHealth {
        parts: counters.parts,
        frames: counters.frames,
        dropped: counters.dropped,
        running: !counters.failed,
    }
}

/// State and counters are whole between any two instructions that hold the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Board {
    /// A station whose engine proved itself, with a valid calibration and an open journal; only
    /// the cameras of these names are missing.
    pub(super) fn new(
        epoch: u32,
        settings: Settings,
        engine_sha256: String,
        calibration: CalibrationId,
        receipts: Receipts,
        cameras: impl IntoIterator<Item = String>,
    ) -> Self {
        let mut station = Station::new(epoch, settings);
        for need in [Need::Engine, Need::Calibration, Need::Journal] {
            station.step(Nanos(0), Event::Need(need, true), &mut Step::new());
        }
        let (latencies, cameras) = (Latencies::default(), Roster::new(cameras));
        let (engine, engine_news) = (Condition::default(), EngineNews::default());
        let inner = Inner { station, calibration, latencies, cameras, engine, engine_news };
        let inner = Mutex::new(inner);
        let (recording, publisher) = (None, Mutex::new(None));
        Self { epoch, engine_sha256, inner, receipts, recording, publisher }
    }

    /// The same, telling how its recording is, when there is one.
    pub(super) fn recorded_by(self, recording: Option<Feed>) -> Self {
        Self { recording, ..self }
    }

    /// From now on changes are published.
    pub(super) fn attach(&self, publisher: Publisher) {
        *lock(&self.publisher) = Some(publisher);
    }

    pub(super) fn epoch(&self) -> u32 {
        self.epoch
    }

    pub(super) fn is_ready(&self) -> bool {
        lock(&self.inner).station.is_ready()
    }

    /// Whether nothing is missing, whatever the mode.
    pub(super) fn has_all_it_needs(&self) -> bool {
        lock(&self.inner).station.missing().is_none()
    }

    /// One step of the station. A change of state is told here; the other actions are the
    /// caller's, in `out`.
    pub(super) fn step(&self, now: Nanos, event: Event, out: &mut Step) {
        lock(&self.inner).station.step(now, event, out);
        let actions = out.len();
        out.retain(|action| *action != Action::TellState);
        if out.len() < actions {
            self.tell();
        }
    }

    /// A camera is in another state, or something new went wrong with it (with the wall time). The
    /// station is ready only while all cameras stream.
    pub(super) fn camera_changed(
        &self,
        now: Nanos,
        camera: usize,
        state: State,
        cause: Option<(Cow<'static, str>, u64)>,
    ) {
        let mut out = Step::new();
        let mut inner = lock(&self.inner);
        inner.cameras.changed(camera, state, cause);
        let all = inner.cameras.all_stream();
        inner.station.step(now, Event::Need(Need::Camera, all), &mut out);
        drop(inner);
        if !out.is_empty() {
            self.tell();
        }
    }

    /// The engine is in another condition. The station is ready only while one serves.
    pub(super) fn engine_changed(&self, now: Nanos, condition: Condition) {
        let mut out = Step::new();
        let mut inner = lock(&self.inner);
        inner.engine = condition;
        inner.station.step(now, Event::Need(Need::Engine, condition.judges()), &mut out);
        drop(inner);
        tracing::info!(engine = condition.name(), "the engine changed");
        if !out.is_empty() {
            self.tell();
        }
    }

    /// Something happened to the engine; the journal takes it.
    pub(super) fn engine_happened(&self, what: Happening) {
        lock(&self.inner).engine_news.add(what);
    }

    /// What happened to the engine since this was asked last.
    pub(super) fn take_engine_news(&self) -> Vec<News> {
        lock(&self.inner).engine_news.take()
    }

    /// How the engine is at the start.
    pub(super) fn engine_starts(&self, condition: Condition) {
        let mut inner = lock(&self.inner);
        inner.engine = condition;
        let need = Event::Need(Need::Engine, condition.judges());
        inner.station.step(Nanos(0), need, &mut Step::new());
    }

    /// Whether an engine is being made and nobody serves meanwhile.
    pub(super) fn awaits_engine(&self) -> bool {
        !lock(&self.inner).engine.judges()
    }

    /// The newest counts of a camera.
    pub(super) fn camera_counted(&self, camera: usize, tally: Tally) {
        lock(&self.inner).cameras.counted(camera, tally);
    }

    /// How the engine is.
    #[cfg(test)]
    pub(super) fn engine_health(&self) -> EngineHealth {
        lock(&self.inner).engine_health()
    }

    /// How each camera is.
    #[cfg(test)]
    pub(super) fn camera_health(&self) -> Vec<crate::message::CameraHealth> {
        lock(&self.inner).cameras.health()
    }

    /// Cameras lost since this was asked last.
    pub(super) fn take_losses(&self) -> Vec<Loss> {
        lock(&self.inner).cameras.take_losses()
    }

    /// Expected parts that brought no frame of this camera so far.
    pub(super) fn unseen(&self, camera: usize) -> u64 {
        let inner = lock(&self.inner);
        inner.station.unseen() + inner.cameras.views_missed(camera)
    }

    /// The view of a camera did not come in time for its part; true when it is worth a line.
    pub(super) fn view_missed(&self, camera: usize, at_unix_s: u64) -> bool {
        lock(&self.inner).cameras.missed(camera, at_unix_s)
    }

    /// The view of a camera cannot be used; true when it is worth a line.
    pub(super) fn view_refused(&self, camera: usize) -> bool {
        lock(&self.inner).cameras.refused(camera)
    }

    /// The views of a part were replaced by newer ones before they were looked at.
    pub(super) fn views_replaced(&self) {
        lock(&self.inner).cameras.replaced();
    }

    /// The source of a camera came to its end.
    pub(super) fn camera_ended(&self, camera: usize) {
        lock(&self.inner).cameras.ended(camera);
    }

    /// Whether the sources of all cameras came to their ends.
    pub(super) fn all_ended(&self) -> bool {
        lock(&self.inner).cameras.all_ended()
    }

    /// Whether all cameras stream.
    pub(super) fn all_stream(&self) -> bool {
        lock(&self.inner).cameras.all_stream()
    }

    /// Whether this camera streams.
    pub(super) fn streams(&self, camera: usize) -> bool {
        lock(&self.inner).cameras.streams(camera)
    }

    /// The calibration in force.
    pub(super) fn calibration(&self) -> CalibrationId {
        lock(&self.inner).calibration
    }

    /// How long the station may be left without an [`Event::Tick`] from `now` on.
    pub(super) fn wait_max(&self, now: Nanos) -> Nanos {
        lock(&self.inner).station.wait_max(now)
    }

    /// Another calibration came into force; `change` is what its topic says of it.
    pub(super) fn calibration_replaced(&self, id: CalibrationId, change: Vec<u8>) {
        lock(&self.inner).calibration = id;
        if let Some(publisher) = &*lock(&self.publisher) {
            publisher.set_calibration(change);
        }
        self.tell();
    }

    /// Publishes the answer to a command; false when there was no room.
    pub(super) fn reply(&self, payload: Vec<u8>) -> bool {
        lock(&self.publisher).as_ref().is_some_and(|publisher| publisher.reply(payload))
    }

    /// Sends verdicts again; false when too many ranges wait already.
    pub(super) fn replay(&self, range: ReplayRange) -> bool {
        lock(&self.publisher).as_ref().is_some_and(|publisher| publisher.replay(range))
    }

    /// A consumer has everything up to this verdict. One that was never sent is a mistake: false.
    pub(super) fn confirmed(&self, receipt: Receipt) -> bool {
        let newest = lock(&self.inner).station.seq();
        let possible = (receipt.epoch, receipt.seq) <= (self.epoch, newest);
        if possible && let Some(forgotten) = self.receipts.note(receipt) {
            let (of, most) = (receipt.consumer, journal::CONSUMERS_MAX);
            tracing::warn!(consumer = %of, %forgotten, most, "a new consumer confirms verdicts; \
                the one not heard of for longest is forgotten");
        }
        possible
    }

    /// Publishes the metrics of a station that has been up for `up`.
    pub(super) fn tell_health(&self, up: Nanos) {
        let Some(delivery) = self.health() else { return };
        let receipts = self.receipts.all();
        let record = HealthRecord { receipts: &receipts, ..self.health_record(up, &delivery) };
        let payload = encode_health(&record).into_bytes();
        if let Some(publisher) = &*lock(&self.publisher) {
            // Metrics that find no room are replaced by the next.
            let _ = publisher.tell_health(payload);
        }
    }

    fn health_record(&self, up: Nanos, delivery: &Health) -> HealthRecord<'static> {
        let inner = lock(&self.inner);
        let quantile = |q| inner.latencies.quantile(q).unwrap_or_default();
        HealthRecord {
            epoch: self.epoch,
            up_s: up.0 / 1_000_000_000,
            counters: inner.station.counters(),
            missed: inner.station.missed(),
            latency_p50: quantile(0.5),
            latency_p99: quantile(0.99),
            backlog_rows: delivery.backlog_rows,
            reconnects: delivery.reconnects,
            hist: delivery.late,
            receipts: &[],
            cameras: inner.cameras.health(),
            engine: inner.engine_health(),
            recording: self.recording.as_ref().map(recording_health),
        }
    }

    /// An answer is in the journal.
    pub(super) fn recorded(&self, now: Nanos, record: &VerdictRecord) {
        let mut inner = lock(&self.inner);
        // Counting is silent: it changes nothing that the state topic leads with.
        inner.station.step(now, Event::Recorded(record.verdict.outcome()), &mut Step::new());
        inner.latencies.record(record.latency);
    }

    pub(super) fn counters(&self) -> Counters {
        lock(&self.inner).station.counters()
    }

    pub(super) fn latencies(&self) -> Latencies {
        lock(&self.inner).latencies.clone()
    }

    /// The station for observers.
    pub(super) fn snapshot(&self) -> Snapshot {
        let inner = lock(&self.inner);
        let station = &inner.station;
        Snapshot {
            epoch: self.epoch,
            ready: station.is_ready(),
            name: station.name(),
            missing: station.missing(),
            mode: station.mode(),
            recipe: station.recipe(),
            missed: station.missed(),
            calibration: inner.calibration,
            counters: station.counters(),
        }
    }

    /// The payload of the state topic.
    pub(super) fn state(&self) -> Vec<u8> {
        let inner = lock(&self.inner);
        let (station, missing) = (&inner.station, inner.station.missing());
        let record = StateRecord {
            ready: station.is_ready(),
            busy: station.is_busy(),
            name: station.name(),
            mode: station.mode(),
            recipe: station.recipe(),
            missed: station.missed(),
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

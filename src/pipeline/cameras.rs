//! How the cameras are: capture tells it, and readiness, the health topic and events are made
//! from it.

use std::borrow::Cow;

use crate::capture::CameraStats;
use crate::capture::supervisor::{Counts, State};
use crate::message::CameraHealth;

/// What a camera and its supervisor counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) stats: CameraStats,
    pub(super) counts: Counts,
    /// Parts whose picture was replaced by a newer one before it was looked at.
    pub(super) replaced: u64,
    /// Times that the newest frame was copied whole on its way.
    pub(super) copies: u8,
}

/// A camera that was lost since that was told last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    /// Its name and what was seen, for people.
    pub(super) text: String,
    /// How often.
    pub(super) times: u64,
}

/// All cameras of the station.
#[derive(Debug)]
pub(super) struct Roster {
    cameras: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    name: String,
    state: State,
    tally: Tally,
    /// What went wrong last, and when (wall time).
    cause: Option<(Cow<'static, str>, u64)>,
    losses_untold: u64,
    /// What ended the stream last.
    loss: Cow<'static, str>,
    /// Views that did not come in time for their part.
    missed: u64,
    /// Views that came when their part was answered, or contradicted their count.
    refused: u64,
    /// Views that a newer part's replaced before they were looked at.
    replaced: u64,
    /// Its source came to its end.
    ended: bool,
}

impl Roster {
    /// Cameras of these names, none of them started.
    pub(super) fn new(names: impl IntoIterator<Item = String>) -> Self {
        let cameras = names.into_iter().map(|name| Entry {
            name,
            state: State::Starting,
            tally: Tally::default(),
            cause: None,
            losses_untold: 0,
            loss: Cow::Borrowed(""),
            missed: 0,
            refused: 0,
            replaced: 0,
            ended: false,
        });
        Self { cameras: cameras.collect() }
    }

    /// A camera is in another state, or something new went wrong.
    pub(super) fn changed(
        &mut self,
        camera: usize,
        state: State,
        cause: Option<(Cow<'static, str>, u64)>,
    ) {
        let Some(entry) = self.cameras.get_mut(camera) else { return };
        if state == State::Lost && entry.state.streams() {
            entry.losses_untold += 1;
            entry.loss = cause.as_ref().map_or(Cow::Borrowed(""), |(text, _)| text.clone());
        }
        entry.state = state;
        if cause.is_some() {
            entry.cause = cause;
        }
    }

    /// The newest counts of a camera; allocates nothing.
    pub(super) fn counted(&mut self, camera: usize, tally: Tally) {
        if let Some(entry) = self.cameras.get_mut(camera) {
            entry.tally = tally;
        }
    }

    /// The view of a camera did not come in time for its part; true the 1st, 2nd, 4th, 8th... time,
    /// when it is worth a line.
    pub(super) fn missed(&mut self, camera: usize, at_unix_s: u64) -> bool {
        let Some(entry) = self.cameras.get_mut(camera) else { return false };
        entry.missed += 1;
        entry.cause = Some((Cow::Borrowed("a view did not come in time for its part"), at_unix_s));
        entry.missed.is_power_of_two()
    }

    /// The view of a camera came too late, or contradicted its count; true when that is worth a
    /// line.
    pub(super) fn refused(&mut self, camera: usize) -> bool {
        let Some(entry) = self.cameras.get_mut(camera) else { return false };
        entry.refused += 1;
        entry.refused.is_power_of_two()
    }

    /// Views of this camera that did not come in time for their part.
    pub(super) fn views_missed(&self, camera: usize) -> u64 {
        self.cameras.get(camera).map_or(0, |entry| entry.missed)
    }

    /// The pictures of a part were replaced by newer ones before they were looked at.
    pub(super) fn replaced(&mut self) {
        self.cameras.iter_mut().for_each(|entry| entry.replaced += 1);
    }

    /// The source of a camera came to its end.
    pub(super) fn ended(&mut self, camera: usize) {
        if let Some(entry) = self.cameras.get_mut(camera) {
            entry.ended = true;
        }
    }

    /// Whether nothing will come any more.
    pub(super) fn all_ended(&self) -> bool {
        self.cameras.iter().all(|entry| entry.ended)
    }

    /// Whether every camera streams.
    pub(super) fn all_stream(&self) -> bool {
        self.cameras.iter().all(|entry| entry.state.streams())
    }

    /// Whether this camera streams.
    pub(super) fn streams(&self, camera: usize) -> bool {
        self.cameras.get(camera).is_some_and(|entry| entry.state.streams())
    }

    /// Losses that were not told yet; they count as told from here on.
    pub(super) fn take_losses(&mut self) -> Vec<Loss> {
        let untold = self.cameras.iter_mut().filter(|entry| entry.losses_untold > 0);
        let losses = untold.map(|entry| {
            let text = format!("camera {}: {}", entry.name, entry.loss);
            Loss { text, times: std::mem::take(&mut entry.losses_untold) }
        });
        losses.collect()
    }

    /// For the health topic.
    pub(super) fn health(&self) -> Vec<CameraHealth> {
        self.cameras.iter().map(Entry::health).collect()
    }
}

impl Entry {
    fn health(&self) -> CameraHealth {
        let Tally { stats, counts, replaced, copies } = self.tally;
        let (cause, cause_unix_s) = self.cause.clone().unwrap_or_default();
        CameraHealth {
            name: self.name.clone(),
            state: self.state.name(),
            delivered: stats.delivered,
            incomplete: stats.incomplete,
            no_buffer: stats.no_buffer,
            lost: counts.lost + self.missed,
            stale: counts.stale + self.refused,
            replaced: replaced + self.replaced,
            reconnects: counts.reconnects,
            packets_missing: stats.packets_missing,
            packets_resent: stats.packets_resent,
            copies,
            cause: cause.into_owned(),
            cause_unix_s,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_told_once_with_its_camera_and_cause_and_all_must_stream() {
        let mut roster = Roster::new(["top", "side"].map(str::to_owned));
        assert!(!roster.all_stream());
        roster.changed(0, State::Running, None);
        assert!(!roster.all_stream(), "one of two is not enough");
        roster.changed(1, State::Running, None);
        assert!(roster.all_stream());
        assert_eq!(roster.take_losses(), []);
        roster.changed(1, State::Lost, Some(("unplugged".into(), 5)));
        // A start that fails is the same loss going on.
        roster.changed(1, State::Starting, None);
        roster.changed(1, State::Lost, Some(("no such device".into(), 6)));
        assert!(!roster.all_stream());
        let text = "camera side: unplugged".to_owned();
        assert_eq!(roster.take_losses(), [Loss { text, times: 1 }]);
        assert_eq!(roster.take_losses(), []);
        let health = &roster.health()[1];
        assert_eq!(
            (health.state, health.cause.as_str(), health.cause_unix_s),
            ("lost", "no such device", 6)
        );
    }
}

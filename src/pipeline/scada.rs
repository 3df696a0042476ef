//! The line as the Sparkplug mirror sees it. The two know nothing of each other; this is the wire.

use std::sync::Arc;

use super::observer::{Observer, Snapshot};
use super::work::Decision;
use crate::message::Mode;
use crate::publish::sparkplug::{Feed, Part, Status};
use crate::station::Need;
use crate::sys::clock::Clock;

/// An observer that tells the Sparkplug mirror.
pub struct Scada {
    feed: Feed,
    clock: Arc<dyn Clock>,
}

impl Scada {
    /// Tells `feed`; wall time is that of `clock`.
    pub fn new(feed: Feed, clock: Arc<dyn Clock>) -> Self {
        Self { feed, clock }
    }
}

impl Observer for Scada {
    fn decided(&mut self, decision: &Decision) {
        let at_unix_ms = self.clock.wall_unix_ms();
        self.feed.part(Part { record: decision.record.clone(), at_unix_ms });
    }

    fn changed(&mut self, station: &Snapshot) {
        self.feed.status(status(station));
    }
}

fn status(station: &Snapshot) -> Status {
    Status {
        epoch: station.epoch,
        ready: station.ready,
        state: station.name,
        missing: station.missing.map_or("", Need::missing),
        mode: match station.mode {
            Mode::Continuous => "Continuous",
            Mode::Single => "Single",
            Mode::Stopped => "Stopped",
        },
        recipe: station.recipe.map(|recipe| recipe.0),
        missed: station.missed,
        calibration: station.calibration.0,
        // The camera is the last need: another one that is missing hides it.
        camera: match station.missing {
            None => Some(true),
            Some(Need::Camera) => Some(false),
            Some(Need::Engine | Need::Calibration | Need::Journal) => None,
        },
        counters: station.counters,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::CalibrationId;
    use crate::frame::RecipeId;
    use crate::message::Counters;

    #[test]
    fn the_camera_is_known_unless_something_before_it_is_missing() {
        let station = Snapshot {
            epoch: 1,
            ready: true,
            name: "Ready",
            missing: None,
            mode: Mode::Single,
            recipe: Some(RecipeId(7)),
            missed: 2,
            calibration: CalibrationId(9),
            counters: Counters { parts: 3, reject: 1, ..Default::default() },
        };
        let told = status(&station);
        assert_eq!((told.camera, told.mode, told.missing), (Some(true), "Single", ""));
        assert_eq!((told.counters.parts, told.counters.reject), (3, 1));
        assert_eq!((told.recipe, told.missed, told.calibration), (Some(7), 2, 9));
        // The camera must stay the last of the needs, or the rule above is wrong.
        assert_eq!(Need::ALL.last(), Some(&Need::Camera));
        for need in Need::ALL {
            let missing = status(&Snapshot { missing: Some(need), ready: false, ..station });
            let expected = (need == Need::Camera).then_some(false);
            assert_eq!((missing.camera, missing.missing), (expected, need.missing()));
        }
    }
}

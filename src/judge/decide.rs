//! The decision. [`Judge::judge`] gathers the facts, `decide` turns them into an outcome.

use super::regions::Finder;
use super::{Mask, Outcome, Reason, Regions, Verdict};
use crate::calibrate::{ClassLimit, p_value};
use crate::frame::AnomalyMap;

/// Everything a verdict depends on.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// What the engine said.
    pub map: &'a AnomalyMap,
    /// The limit of the part's class; `None` when the class was never calibrated.
    pub limit: Option<&'a ClassLimit>,
    /// Whether the calibration belongs to the engine that made the map.
    pub calibration_valid: bool,
    /// Whether the answer can still reach the PLC before the part's deadline.
    pub in_time: bool,
}

/// Judges maps of one size; owns the scratch memory, so that judging allocates nothing.
#[derive(Debug)]
pub struct Judge {
    width: usize,
    height: usize,
    finder: Finder,
}

/// What PASS must be proved from.
struct Facts {
    map_complete: bool,
    score: f32,
    limit: Option<f32>,
    calibration_valid: bool,
    in_time: bool,
}

impl Judge {
    /// Largest side of a map in pixels: four times the largest model input in sight, and inside
    /// the 16 bits of a region's coordinates.
    pub const SIDE_PX_MAX: usize = 4096;

    /// For maps of `map_width` x `map_height`. Maps of any other size are incomplete; with a
    /// side above [`Judge::SIDE_PX_MAX`] every map is.
    pub fn new(map_width: usize, map_height: usize) -> Self {
        let (width, height) = Self::kept((map_width, map_height));
        Self { width, height, finder: Finder::new(width * height) }
    }

    /// The same for maps of another size from now on; allocates only to grow.
    pub fn set_size(&mut self, map: (usize, usize)) {
        (self.width, self.height) = Self::kept(map);
        self.finder.reserve(self.width * self.height);
    }

    fn kept((width, height): (usize, usize)) -> (usize, usize) {
        let fits = width <= Self::SIDE_PX_MAX && height <= Self::SIDE_PX_MAX;
        if fits { (width, height) } else { (0, 0) }
    }

    /// The verdict, with the defect areas; `mask` is overwritten.
    ///
    /// Areas are the pixels above the class's pixel threshold, whatever the outcome; a rejected
    /// part without any gets the area around the map's maximum, so that a reject always points
    /// somewhere.
    pub fn judge(&mut self, question: &Question<'_>, mask: &mut Mask) -> Verdict {
        let Question { map, limit, calibration_valid, in_time } = *question;
        mask.reset(self.width, self.height);
        let facts = Facts {
            map_complete: self.fits(map) && map.is_complete(),
            score: map.score,
            limit: limit.and_then(usable),
            calibration_valid,
            in_time,
        };
        let mut verdict = decide(&facts);
        verdict.p_value = limit.map_or(0.0, |l| p_value(&l.scores, map.score));
        if let (true, Some(limit)) = (facts.map_complete, limit) {
            verdict.regions = self.regions(map, limit.pixel_threshold, verdict.outcome, mask);
        }
        verdict
    }

    fn fits(&self, map: &AnomalyMap) -> bool {
        (map.width, map.height) == (self.width, self.height)
    }

    fn regions(&mut self, map: &AnomalyMap, limit: f32, o: Outcome, mask: &mut Mask) -> Regions {
        let regions = self.finder.above(map, limit, mask);
        if regions.found == 0 && o == Outcome::Reject {
            return self.finder.around_maximum(map, mask);
        }
        regions
    }
}

/// The image limit, unless the record is damaged.
fn usable(limit: &ClassLimit) -> Option<f32> {
    (limit.image_threshold.is_finite() && limit.pixel_threshold.is_finite())
        .then_some(limit.image_threshold)
}

/// The one place where PASS is built: a conjunction of everything that must hold. Each
/// comparison is written so that NaN makes it false.
fn decide(facts: &Facts) -> Verdict {
    let limit = facts.limit.unwrap_or(f32::NAN);
    let proved = facts.map_complete
        && facts.score.is_finite()
        && limit.is_finite()
        && facts.score <= limit
        && facts.calibration_valid
        && facts.in_time;
    let (outcome, reason) = if proved { (Outcome::Pass, Reason::None) } else { refusal(facts) };
    let (score, p_value, regions) = (facts.score, 0.0, Regions::default());
    Verdict { outcome, reason, score, limit, p_value, regions }
}

/// Why there is no PASS; the first that applies. The order is from the station to the part: a
/// broken measurement says nothing, a wrong limit cannot be compared with, a late answer is void,
/// and only what is left speaks about the part.
fn refusal(facts: &Facts) -> (Outcome, Reason) {
    if !facts.map_complete {
        (Outcome::Invalid, Reason::MapIncomplete)
    } else if !facts.score.is_finite() {
        (Outcome::Invalid, Reason::ScoreNotFinite)
    } else if !facts.calibration_valid {
        (Outcome::Invalid, Reason::CalibrationForeign)
    } else if facts.limit.is_none() {
        (Outcome::Invalid, Reason::NotCalibrated)
    } else if !facts.in_time {
        (Outcome::Invalid, Reason::Deadline)
    } else {
        (Outcome::Reject, Reason::ScoreAboveLimit)
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;

//! What a part was found to be.

/// The answer to one trigger. Anything but [`Outcome::Pass`] must drive the reject output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Outcome {
    /// The part is anomalous.
    Reject = 0,
    /// The part is proved good.
    Pass = 1,
    /// No verdict could be reached; treat as reject.
    Invalid = 2,
    /// Result of a test run; never drives an output.
    Test = 3,
}

/// Why the outcome is what it is; the `k` of the PLC payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reason {
    /// Proved good.
    None = 0,
    /// The image score is above the limit.
    ScoreAboveLimit = 1,
    /// The image score is NaN or infinite.
    ScoreNotFinite = 2,
    /// The anomaly map has missing or non-finite values.
    MapIncomplete = 3,
    /// There is no limit for the part's class.
    NotCalibrated = 4,
    /// The calibration belongs to another engine.
    CalibrationForeign = 5,
    /// The answer was not ready at its deadline.
    Deadline = 6,
    /// The expected frame never came.
    FrameLost = 7,
    /// The frame came damaged or could not be read.
    FrameDamaged = 8,
    /// Inference failed.
    Engine = 9,
    /// A queue was full.
    Overrun = 10,
    /// The recipe is not in the configuration.
    RecipeUnknown = 11,
    /// A defect in the station itself.
    Internal = 12,
    /// The station was not ready when the part came.
    NotReady = 13,
    /// A picture came without an armed part.
    Unmatched = 14,
}

impl Outcome {
    /// The word for people and files.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Reject => "REJECT",
            Outcome::Pass => "PASS",
            Outcome::Invalid => "INVALID",
            Outcome::Test => "TEST",
        }
    }
}

impl Reason {
    /// The word for people and files.
    pub fn name(self) -> &'static str {
        match self {
            Reason::None => "none",
            Reason::ScoreAboveLimit => "score_above_limit",
            Reason::ScoreNotFinite => "score_not_finite",
            Reason::MapIncomplete => "map_incomplete",
            Reason::NotCalibrated => "not_calibrated",
            Reason::CalibrationForeign => "calibration_foreign",
            Reason::Deadline => "deadline",
            Reason::FrameLost => "frame_lost",
            Reason::FrameDamaged => "frame_damaged",
            Reason::Engine => "engine",
            Reason::Overrun => "overrun",
            Reason::RecipeUnknown => "recipe_unknown",
            Reason::Internal => "internal",
            Reason::NotReady => "not_ready",
            Reason::Unmatched => "unmatched",
        }
    }
}

/// A connected defect area in map pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Region {
    /// Left column.
    pub x: u16,
    /// Top row.
    pub y: u16,
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
    /// Largest map value inside.
    pub score: f32,
}

/// Up to eight largest defect areas, in place (no allocation), strongest first.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Regions {
    items: [Region; Regions::MAX],
    len: u8,
    /// Areas found, including those beyond [`Regions::MAX`].
    pub found: u16,
}

impl Regions {
    /// Boxes that fit the mask message of the PLC contract.
    pub const MAX: usize = 8;

    /// The kept areas, strongest first.
    pub fn as_slice(&self) -> &[Region] {
        &self.items[..usize::from(self.len)]
    }

    /// Offers an area: kept when it is among the strongest eight so far.
    pub fn offer(&mut self, region: Region) {
        self.found = self.found.saturating_add(1);
        let at = self.as_slice().partition_point(|r| r.score >= region.score);
        if at >= Self::MAX {
            return;
        }
        let len = (usize::from(self.len) + 1).min(Self::MAX);
        self.items.copy_within(at..len - 1, at + 1);
        self.items[at] = region;
        self.len = len as u8;
    }
}

/// The judgement of one part; identities and latency are added by the station.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    pub(super) outcome: Outcome,
    /// Why.
    pub reason: Reason,
    /// Image score; NaN when there is none.
    pub score: f32,
    /// The limit the score was held against; NaN when there is none.
    pub limit: f32,
    /// Conformal p-value, (1 + #{calibration >= score}) / (n + 1); 0 when there is none.
    pub p_value: f32,
    /// Defect areas.
    pub regions: Regions,
}

impl Verdict {
    /// The outcome; private in the struct so that only this module can build a PASS.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// The same as the result of a test run, which drives no output. No verdict stays none.
    pub fn as_test(self) -> Self {
        match self.outcome {
            Outcome::Pass | Outcome::Reject => Self { outcome: Outcome::Test, ..self },
            Outcome::Invalid | Outcome::Test => self,
        }
    }

    /// A part without a usable picture or result: never PASS.
    pub fn invalid(reason: Reason) -> Self {
        Self {
            outcome: Outcome::Invalid,
            reason,
            score: f32::NAN,
            limit: f32::NAN,
            p_value: 0.0,
            regions: Regions::default(),
        }
    }
}

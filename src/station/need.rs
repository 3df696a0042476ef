//! What must hold before the station judges.

/// What must hold before the station answers triggers by judgement. The order is the order in
/// which a missing one is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Need {
    /// The engine reproduced its golden pictures.
    Engine = 1,
    /// A calibration that is valid for the engine is in force.
    Calibration = 2,
    /// The journal takes rows.
    Journal = 3,
    /// The camera delivers.
    Camera = 4,
}

impl Need {
    /// All of them, in reporting order.
    pub const ALL: [Need; 4] = [Need::Engine, Need::Calibration, Need::Journal, Need::Camera];

    /// What is wrong while it is missing, for people.
    pub fn missing(self) -> &'static str {
        match self {
            Need::Engine => "no engine that passed its self-check serves; see the log",
            Need::Calibration => "no calibration valid for this engine is in force",
            Need::Journal => "the journal cannot be written; see disk space and the log",
            Need::Camera => "the camera delivers no pictures",
        }
    }
}

/// The needs that are met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Met(u8);

impl Met {
    pub(super) fn set(&mut self, need: Need, met: bool) {
        let bit = 1 << (need as u8);
        match met {
            true => self.0 |= bit,
            false => self.0 &= !bit,
        }
    }

    pub(super) fn has(self, need: Need) -> bool {
        self.0 & (1 << (need as u8)) != 0
    }

    /// The first that is missing.
    pub(super) fn missing(self) -> Option<Need> {
        Need::ALL.into_iter().find(|need| !self.has(*need))
    }
}

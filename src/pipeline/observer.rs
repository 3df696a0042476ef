//! A seat beside the line: who wants to see decisions without standing in their way.

use super::work::Decision;
use crate::calibrate::CalibrationId;
use crate::frame::RecipeId;
use crate::message::{Counters, Mode};
use crate::station::Need;

/// Told of every decision after it is in the journal, in order, on the journal thread. It must
/// return soon: the next commit waits for it.
pub trait Observer: Send {
    /// A decision that is journaled and on its way to the broker.
    fn decided(&mut self, decision: &Decision);

    /// The station as it is now; told when it has changed, at the latest after 100 ms.
    fn changed(&mut self, _station: &Snapshot) {}
}

impl<F: FnMut(&Decision) + Send> Observer for F {
    fn decided(&mut self, decision: &Decision) {
        self(decision);
    }
}

/// Several observers, told in order.
impl Observer for Vec<Box<dyn Observer>> {
    fn decided(&mut self, decision: &Decision) {
        self.iter_mut().for_each(|observer| observer.decided(decision));
    }

    fn changed(&mut self, station: &Snapshot) {
        self.iter_mut().for_each(|observer| observer.changed(station));
    }
}

/// The station at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Boot epoch.
    pub epoch: u32,
    /// Triggers are answered by judgement.
    pub ready: bool,
    /// State name of OPC 40100-1.
    pub name: &'static str,
    /// The first thing that is missing for `ready`.
    pub missing: Option<Need>,
    /// How triggers are taken.
    pub mode: Mode,
    /// The current recipe.
    pub recipe: Option<RecipeId>,
    /// Triggers that could not be taken since they were acknowledged.
    pub missed: u64,
    /// Calibration in force.
    pub calibration: CalibrationId,
    /// Parts answered.
    pub counters: Counters,
}

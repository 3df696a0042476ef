//! What the configuration says about parts.

use crate::frame::RecipeId;
use crate::message::Mode;

/// What the configuration says about parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// From trigger to answer in milliseconds.
    pub latency_ms_max: u64,
    /// From arming to picture in milliseconds; 0 = parts are not armed here.
    pub arm_wait_ms_max: u64,
    /// Mode after the start.
    pub mode: Mode,
    /// Current recipe after the start, for parts that name none.
    pub recipe: Option<RecipeId>,
    /// Configured recipes.
    pub recipes: Vec<RecipeId>,
    /// The camera takes a picture when it is told to.
    pub software_trigger: bool,
}

/// Longest time kept between forcing an answer and its deadline, in milliseconds: one commit of
/// the journal and the way to the broker.
const RESERVE_MS_MAX: u64 = 10;

impl Settings {
    /// How long before its deadline a part is answered without its result: at most a quarter of
    /// the time it has.
    pub(super) fn reserve_ms(&self) -> u64 {
        RESERVE_MS_MAX.min(self.latency_ms_max / 4)
    }
}

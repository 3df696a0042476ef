//! Training: settings, batches, the two stages and what runs them.

mod batch;
mod compute;
mod error;
mod finish;
mod fit;
mod levels;
mod odd;
mod prepare;
mod prototypes;
mod run;
mod settings;
mod stage1;
mod stage2;
mod stand;
mod thin;
mod workers;

pub use batch::{Classes, draw_pairs, mask_elements, pick_tokens};
pub use compute::Compute;
pub use error::{TrainError, TrainErrorKind};
pub use fit::{FitOptions, Fitted, fit};
pub use run::{Length, Outcome, Run};
pub use settings::{HeadChoice, HeadOptimiser, MixChoice, Part, Preset, Settings};
pub use stage1::{Mining, Stage1, Stage1Batch, Stage1Loss};
pub use stage2::{CLEAN_SHARE, HeadStep, JudgedAt, Stage2, Stage2Batch};
pub use workers::Workers;

use crate::arch::Weights;

/// Adds `factor * part` to `sum`, by name.
pub(crate) fn add_scaled(sum: &mut Weights, part: Weights, factor: f32) {
    for (name, mut tensor) in part {
        match sum.get_mut(&name) {
            Some(total) => {
                for (t, v) in total.values.iter_mut().zip(&tensor.values) {
                    *t += factor * v;
                }
            }
            None => {
                tensor.values.iter_mut().for_each(|v| *v *= factor);
                sum.insert(name, tensor);
            }
        }
    }
}

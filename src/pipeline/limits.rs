//! The calibration in force and the recipes: what turns a map into a decision.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::calibrate::{Calibration, CalibrationId, ClassLimit};
use crate::frame::RecipeId;

use super::error::{PipelineError, PipelineErrorKind};

/// What the PLC's recipe number means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// Number at the PLC.
    pub id: RecipeId,
    /// Product class of the engine.
    pub class: String,
}

/// Recipes with the engine's class numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Recipes {
    table: BTreeMap<RecipeId, (u16, String)>,
}

impl Recipes {
    /// # Errors
    /// When there is no recipe, a number comes twice, or a class is not the engine's.
    pub(super) fn new(recipes: &[Recipe], classes: &[String]) -> Result<Self, PipelineError> {
        let refuse = |message| PipelineError::new(PipelineErrorKind::Recipe, message);
        let mut table = BTreeMap::new();
        for Recipe { id, class } in recipes {
            let Some(number) = classes.iter().position(|c| c == class) else {
                return Err(refuse(format!(
                    "recipe {}: the engine knows no class {class:?}; its classes are {}",
                    id.0,
                    classes.join(", ")
                )));
            };
            // Class numbers go out as 16 bits; more classes would need another payload.
            let number = u16::try_from(number)
                .map_err(|_| refuse(format!("class {class:?} has a number above 65535")))?;
            if table.insert(*id, (number, class.clone())).is_some() {
                return Err(refuse(format!("recipe {} is defined twice: remove one", id.0)));
            }
        }
        if table.is_empty() {
            return Err(refuse("there is no recipe: define at least one".to_owned()));
        }
        Ok(Self { table })
    }

    /// Class number and name.
    pub(super) fn class(&self, recipe: RecipeId) -> Option<(u16, &str)> {
        self.table.get(&recipe).map(|(number, name)| (*number, name.as_str()))
    }

    pub(super) fn classes(&self) -> impl Iterator<Item = &str> {
        self.table.values().map(|(_, name)| name.as_str())
    }
}

/// A calibration that was checked against the engine.
#[derive(Debug)]
pub(super) struct Armed {
    pub(super) calibration: Calibration,
    pub(super) id: CalibrationId,
}

impl Armed {
    /// # Errors
    /// When the calibration contradicts itself or belongs to another engine: it can then not
    /// replace the one in force.
    pub(super) fn new(
        calibration: Calibration,
        engine_sha256: &str,
    ) -> Result<Self, PipelineError> {
        let kind = PipelineErrorKind::Calibration;
        calibration.check_invariants().map_err(|error| {
            PipelineError::with_source(kind, "the calibration is not usable", error)
        })?;
        if !calibration.valid_for(engine_sha256) {
            return Err(PipelineError::new(
                kind,
                format!(
                    "the calibration was made for engine {}, this engine is {}: calibrate this \
                     engine, or load the one the calibration was made for",
                    short(&calibration.engine_sha256),
                    short(engine_sha256)
                ),
            ));
        }
        let id = calibration.id().map_err(|error| {
            PipelineError::with_source(kind, "the calibration is not usable", error)
        })?;
        Ok(Self { calibration, id })
    }

    pub(super) fn limit(&self, class: &str) -> Option<&ClassLimit> {
        self.calibration.limit(class)
    }
}

/// Enough of a hash for a person to compare.
fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

/// The calibration in force; replaced between frames, never during one.
#[derive(Clone, Debug)]
pub(super) struct InForce {
    cell: Arc<RwLock<Arc<Armed>>>,
}

impl InForce {
    pub(super) fn new(armed: Armed) -> Self {
        Self { cell: Arc::new(RwLock::new(Arc::new(armed))) }
    }

    /// The calibration for the next frame; held for the whole frame.
    pub(super) fn get(&self) -> Arc<Armed> {
        // Replacing is one assignment: a panic elsewhere cannot leave it half done.
        Arc::clone(&self.cell.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn replace(&self, armed: Armed) {
        *self.cell.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(armed);
    }
}

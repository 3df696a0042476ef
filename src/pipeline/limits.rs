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
    /// Cameras whose view of this product is a class of its own, by name.
    pub views: BTreeMap<String, String>,
}

impl Recipe {
    /// A recipe by which all cameras see the same class.
    pub fn new(id: RecipeId, class: &str) -> Self {
        Self { id, class: class.to_owned(), views: BTreeMap::new() }
    }
}

/// Recipes with the engine's class numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Recipes {
    /// Class of each view, in the order of the cameras.
    table: BTreeMap<RecipeId, Vec<(u16, String)>>,
}

impl Recipes {
    /// # Errors
    /// When there is no recipe, a number comes twice, a class is not the engine's, or a view is no
    /// camera's.
    pub(super) fn new(
        recipes: &[Recipe],
        classes: &[String],
        cameras: &[String],
    ) -> Result<Self, PipelineError> {
        let refuse = |message| PipelineError::new(PipelineErrorKind::Recipe, message);
        let mut table = BTreeMap::new();
        for Recipe { id, class, views } in recipes {
            if let Some(view) = views.keys().find(|view| !cameras.contains(view)) {
                return Err(refuse(format!(
                    "recipe {}: there is no camera {view:?}; there are {}",
                    id.0,
                    cameras.join(", ")
                )));
            }
            let view_class = |camera| {
                let class: &String = views.get(camera).unwrap_or(class);
                number_of(class, classes)
                    .map(|number| (number, class.clone()))
                    .map_err(|what| refuse(format!("recipe {}: {what}", id.0)))
            };
            let views = cameras.iter().map(view_class).collect::<Result<Vec<_>, _>>()?;
            if table.insert(*id, views).is_some() {
                return Err(refuse(format!("recipe {} is defined twice: remove one", id.0)));
            }
        }
        if table.is_empty() {
            return Err(refuse("there is no recipe: define at least one".to_owned()));
        }
        Ok(Self { table })
    }

    /// Class number and name of a view.
    pub(super) fn class(&self, recipe: RecipeId, view: usize) -> Option<(u16, &str)> {
        let (number, name) = self.table.get(&recipe)?.get(view)?;
        Some((*number, name.as_str()))
    }

    pub(super) fn classes(&self) -> impl Iterator<Item = &str> {
        self.table.values().flatten().map(|(_, name)| name.as_str())
    }
}

/// The engine's number of a class; what is wrong when it has none.
fn number_of(class: &str, classes: &[String]) -> Result<u16, String> {
    let Some(number) = classes.iter().position(|c| c == class) else {
        let known = classes.join(", ");
        return Err(format!("the engine knows no class {class:?}; its classes are {known}"));
    };
    // Class numbers go out as 16 bits; more classes would need another payload.
    u16::try_from(number).map_err(|_| format!("class {class:?} has a number above 65535"))
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

//! The calibration in force and the recipes: what turns a map into a decision.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::calibrate::{Calibration, CalibrationId, ClassLimit};
use crate::frame::{Framing, Geometry, Precision, RecipeId, Tiling};

use super::error::{PipelineError, PipelineErrorKind};

/// What the PLC's recipe number means.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// Number at the PLC.
    pub id: RecipeId,
    /// Product class of the engine.
    pub class: String,
    /// Cameras whose view of this product is a class of its own, by name.
    pub views: BTreeMap<String, String>,
    /// In how many tiles the model sees its pictures.
    pub tiling: Tiling,
}

impl Recipe {
    /// A recipe by which all cameras see the same class, each picture at once.
    pub fn new(id: RecipeId, class: &str) -> Self {
        let (class, views) = (class.to_owned(), BTreeMap::new());
        Self { id, class, views, tiling: Tiling::WHOLE }
    }
}

/// A recipe's view of one camera.
#[derive(Clone, Debug)]
struct View {
    camera: String,
    /// The engine's number of its class.
    number: u16,
    class: String,
    /// How the model sees its pictures.
    framing: Framing,
}

/// Recipes with the engine's class numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Recipes {
    /// In the order of the cameras.
    table: BTreeMap<RecipeId, Vec<View>>,
}

impl Recipes {
    /// For cameras of these names, of whose pictures the model sees so much.
    ///
    /// # Errors
    /// When there is no recipe, a number comes twice, a class is not the engine's, or a view is no
    /// camera's.
    pub(super) fn new(
        recipes: &[Recipe],
        classes: &[String],
        cameras: &[(&str, Geometry)],
    ) -> Result<Self, PipelineError> {
        let refuse = |message| PipelineError::new(PipelineErrorKind::Recipe, message);
        let mut table = BTreeMap::new();
        let names: Vec<&str> = cameras.iter().map(|(name, _)| *name).collect();
        for Recipe { id, class, views, tiling } in recipes {
            if let Some(view) = views.keys().find(|view| !names.contains(&view.as_str())) {
                return Err(refuse(format!(
                    "recipe {}: there is no camera {view:?}; there are {}",
                    id.0,
                    names.join(", ")
                )));
            }
            let view = |(camera, geometry): &(&str, Geometry)| {
                let class: &String = views.get(*camera).unwrap_or(class);
                let number = number_of(class, classes)
                    .map_err(|what| refuse(format!("recipe {}: {what}", id.0)))?;
                let framing = Framing { geometry: *geometry, tiling: *tiling };
                Ok(View { camera: (*camera).to_owned(), number, class: class.clone(), framing })
            };
            let views = cameras.iter().map(view).collect::<Result<Vec<_>, _>>()?;
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
        let view = self.table.get(&recipe)?.get(view)?;
        Some((view.number, view.class.as_str()))
    }

    pub(super) fn classes(&self) -> impl Iterator<Item = &str> {
        self.table.values().flatten().map(|view| view.class.as_str())
    }

    /// Every way in which pictures are cut into tiles.
    pub(super) fn tilings(&self) -> impl Iterator<Item = Tiling> {
        self.table.values().flatten().map(|view| view.framing.tiling)
    }

    /// Refuses limits that were made from pictures seen in another way than these recipes want.
    /// They would say nothing of what the station sees.
    ///
    /// # Errors
    /// For the first such limit; the message says both ways.
    pub(super) fn check(&self, calibration: &Calibration) -> Result<(), PipelineError> {
        let views = self.table.iter().flat_map(|(id, views)| views.iter().map(move |v| (id, v)));
        for (id, View { camera, class, framing, .. }) in views {
            let Some(made) = calibration.limit(class).map(ClassLimit::framing) else { continue };
            if made != *framing {
                let what = format!(
                    "the limit of class {class:?} was made from pictures of which the model saw \
                     {made}, and recipe {} wants it to see {framing} of camera {camera:?}: run \
                     `crrd calibrate` with --config and this station's file, or start the station \
                     with the settings that the limit was made with",
                    id.0
                );
                return Err(PipelineError::new(PipelineErrorKind::Calibration, what));
            }
        }
        Ok(())
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
    /// When the calibration contradicts itself or belongs to another engine or arithmetic: it can
    /// then not replace the one in force.
    pub(super) fn new(
        calibration: Calibration,
        (engine_sha256, precision): (&str, Precision),
    ) -> Result<Self, PipelineError> {
        let kind = PipelineErrorKind::Calibration;
        calibration.check_invariants().map_err(|error| {
            PipelineError::with_source(kind, "the calibration is not usable", error)
        })?;
        calibration.check_engine(engine_sha256, precision).map_err(|error| {
            PipelineError::with_source(kind, "the calibration is for something else", error)
        })?;
        let id = calibration.id().map_err(|error| {
            PipelineError::with_source(kind, "the calibration is not usable", error)
        })?;
        Ok(Self { calibration, id })
    }

    pub(super) fn limit(&self, class: &str) -> Option<&ClassLimit> {
        self.calibration.limit(class)
    }
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

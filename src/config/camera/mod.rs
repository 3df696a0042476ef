//! The `[camera]` table. Pure: what every camera has stands here, what one kind has in its file.

mod geometry;
mod gige;
mod replay;
mod types;
mod v4l2;
mod webcam;

pub use types::{
    Camera, CameraSource, Feature, FeatureValue, FileFormat, Gige, GigeLink, LineTrigger, Mode,
    RecipeChoice, Region, Replay, Webcam,
};
pub use v4l2::{Control, ControlValue, V4l2};

use super::reader::Section;
use super::types::{Recipe, TriggerMode};
use crate::frame::RecipeId;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Replay,
    Gige,
    V4l2,
    Webcam,
}

pub(super) fn camera(
    section: Section<'_>,
    recipes: &[Recipe],
    trigger: TriggerMode,
) -> Option<Camera> {
    let kinds = [
        ("replay", Kind::Replay),
        ("gige", Kind::Gige),
        ("v4l2", Kind::V4l2),
        ("webcam", Kind::Webcam),
    ];
    let kind = section.word("kind", &kinds, 0);
    let recipe = recipe_choice(&section, recipes);
    // Every kind is read, so that a slip in a table that is not in use is found, too.
    let replay = replay::replay(&section, kind == Kind::Replay);
    let gige = gige::gige(section.section("gige"), kind == Kind::Gige);
    let v4l2 = v4l2::v4l2(section.section("v4l2"), kind == Kind::V4l2);
    if kind != Kind::Replay {
        section.unused(&["recipe_from"], "pictures of a camera come from no folder: set recipe");
    }
    if kind != Kind::Gige {
        section.unused(&["gige"], "set kind = \"gige\", or remove the table");
    }
    if kind != Kind::V4l2 {
        section.unused(&["v4l2"], "set kind = \"v4l2\", or remove the table");
    }
    let webcam = webcam::webcam(section.section("webcam"));
    if kind != Kind::Webcam {
        section.unused(&["webcam"], "set kind = \"webcam\", or remove the table");
    }
    let source = match kind {
        Kind::Replay => replay.map(CameraSource::Replay),
        Kind::Gige => gige.map(CameraSource::Gige),
        Kind::V4l2 => v4l2.map(CameraSource::V4l2),
        Kind::Webcam => Some(CameraSource::Webcam(webcam)),
    };
    let paced = matches!(&source, Some(CameraSource::Replay(replay)) if replay.rate_hz > 0.0);
    let free = kind == Kind::V4l2;
    let software_trigger = software_trigger(&section, (paced, free), trigger);
    if kind == Kind::Webcam {
        section.unused(&["trigger"], "a webcam cannot be triggered: remove it");
    }
    let geometry = geometry::geometry(section.section("geometry"));
    section.finish();
    Some(Camera { source: source?, recipe: recipe?, software_trigger, geometry })
}

fn software_trigger(
    section: &Section<'_>,
    (paced, free): (bool, bool),
    trigger: TriggerMode,
) -> bool {
    let Some(found) = section.text("trigger", "\"free\"") else { return false };
    match found.value {
        "free" => false,
        "software" if paced => {
            found.refuse("a picture comes when the PLC asks for it", "remove rate_hz or trigger");
            true
        }
        "software" if free => {
            let remedy = "trigger the camera by wire, or use another kind";
            found.refuse("the kernel knows no trigger by software", remedy);
            true
        }
        "software" if trigger == TriggerMode::Continuous => {
            found.refuse(
                "the PLC can trigger armed parts only, so no picture would ever come",
                "set mode = \"single\" in [trigger]",
            );
            true
        }
        "software" => true,
        _ => {
            found.refuse("not one of the known words", "use \"free\" or \"software\"");
            false
        }
    }
}

fn recipe_choice(section: &Section<'_>, recipes: &[Recipe]) -> Option<RecipeChoice> {
    let fixed = section.integer_optional("recipe", 0..=65535, "the only recipe");
    let from = section.text("recipe_from", "none");
    if let (Some(from), true) = (&from, section.has("recipe")) {
        from.refuse("excludes recipe", "keep recipe or recipe_from, not both");
        return None;
    }
    if let Some(from) = from {
        if from.value != "folder" {
            from.refuse("not one of the known words", "use \"folder\" or remove it");
            return None;
        }
        let twice = |r: &Recipe| recipes.iter().filter(|o| o.class == r.class).count() > 1;
        if let Some(recipe) = recipes.iter().find(|r| twice(r)) {
            from.refuse(
                format!("two recipes have the class {:?}", recipe.class),
                "give each class one recipe, or set recipe instead",
            );
        }
        return Some(RecipeChoice::ClassFolder);
    }
    let Some(found) = fixed else {
        return only_recipe(section, recipes);
    };
    let id = RecipeId(found.value as u16);
    if !recipes.iter().any(|r| r.id == id) {
        found.refuse("no [[recipe]] has this id", "use the id of one, or add it");
    }
    Some(RecipeChoice::Fixed(id))
}

fn only_recipe(section: &Section<'_>, recipes: &[Recipe]) -> Option<RecipeChoice> {
    match recipes {
        [only] => Some(RecipeChoice::Fixed(only.id)),
        // None at all, or a bad value, is reported already.
        [] => None,
        _ if section.has("recipe") || section.has("recipe_from") => None,
        _ => {
            let remedy = "there are several recipes: set recipe, or recipe_from = \"folder\"";
            section.missing("recipe", remedy);
            None
        }
    }
}

//! The `[camera]` table, or several of them. Pure: what every camera has stands here, what one kind
//! has in its file.

mod geometry;
mod gige;
mod replay;
mod types;
mod v4l2;
mod webcam;

pub use types::{
    Camera, CameraSource, Feature, FeatureValue, FileFormat, Gige, GigeLink, LineTrigger, Mode,
    QueuePolicy, RecipeChoice, Region, Replay, Webcam,
};
pub use v4l2::{Control, ControlValue, V4l2};

use super::reader::{Found, Section};
use super::types::{Recipe, TriggerMode};
use crate::frame::{CameraName, RecipeId, VIEWS_MAX};

/// What the only camera is called unless it has a name.
const NAME_DEFAULT: &str = "camera";

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Replay,
    Gige,
    V4l2,
    Webcam,
}

/// The cameras that look at one part: `[camera]`, or several `[[camera]]`.
pub(super) fn cameras(
    top: &Section<'_>,
    recipes: &[Recipe],
    trigger: TriggerMode,
) -> Option<Vec<Camera>> {
    let sections = top.one_or_more("camera");
    let several = sections.len() > 1;
    if sections.is_empty() || sections.len() > VIEWS_MAX {
        top.missing("camera", &format!("one [camera], or 2 to {VIEWS_MAX} [[camera]] tables"));
        return None;
    }
    let mut cameras: Vec<Camera> = Vec::new();
    let mut whole = true;
    for section in sections {
        let read = camera(section, recipes, trigger, several, cameras.first());
        whole &= read.is_some();
        let Some((camera, checks)) = read else { continue };
        checks.against(&camera, &cameras);
        cameras.push(camera);
    }
    whole.then_some(cameras)
}

/// Fields of one of several cameras that must fit those of the others.
struct Checks<'a> {
    name: Option<Found<'a, &'a str>>,
    queue: Option<Found<'a, &'a str>>,
}

impl Checks<'_> {
    fn against(&self, camera: &Camera, others: &[Camera]) {
        if let (Some(name), true) = (&self.name, others.iter().any(|o| o.name == camera.name)) {
            name.refuse("used by another camera", "give every camera a name of its own");
        }
        if let (Some(queue), true) = (&self.queue, others.iter().any(|o| o.queue != camera.queue)) {
            queue.refuse(
                "the views of a part wait together",
                "set the same queue at every [[camera]]",
            );
        }
    }
}

fn camera<'a>(
    section: Section<'a>,
    recipes: &[Recipe],
    trigger: TriggerMode,
    several: bool,
    first: Option<&Camera>,
) -> Option<(Camera, Checks<'a>)> {
    if several && !section.has("name") {
        section.missing("name", "name each of several cameras, for example name = \"top\"");
    }
    let (name, named) = name(&section);
    let kinds = [
        ("replay", Kind::Replay),
        ("gige", Kind::Gige),
        ("v4l2", Kind::V4l2),
        ("webcam", Kind::Webcam),
    ];
    let kind = section.word("kind", &kinds, 0);
    let recipe = match first {
        Some(first) => recipe_of_first(&section, first),
        None => recipe_choice(&section, recipes),
    };
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
    let queues = [("every", QueuePolicy::Every), ("latest", QueuePolicy::Latest)];
    let same = first.and_then(|first| queues.iter().position(|(_, queue)| *queue == first.queue));
    let queue = section.word("queue", &queues, same.unwrap_or(0));
    let checks = Checks { name: named, queue: section.found_text("queue") };
    let geometry = geometry::geometry(section.section("geometry"));
    section.finish();
    let (name, recipe) = (name?, recipe?);
    let camera = Camera { name, source: source?, recipe, software_trigger, queue, geometry };
    Some((camera, checks))
}

/// The first camera says which recipe a part belongs to; the others show the same part.
fn recipe_of_first(section: &Section<'_>, first: &Camera) -> Option<RecipeChoice> {
    let fixed = section.integer_optional("recipe", 0..=65535, "the only recipe");
    let from = section.text("recipe_from", "none");
    let what = "the first [[camera]] says which recipe a part belongs to";
    let remedy = "remove it here";
    fixed.iter().for_each(|found| found.refuse(what, remedy));
    from.iter().for_each(|found| found.refuse(what, remedy));
    Some(first.recipe.clone())
}

fn name<'a>(section: &Section<'a>) -> (Option<CameraName>, Option<Found<'a, &'a str>>) {
    let found = section.text("name", &format!("\"{NAME_DEFAULT}\""));
    let name = CameraName::new(found.as_ref().map_or(NAME_DEFAULT, |found| found.value));
    if let (Err(_), Some(found)) = (&name, &found) {
        let remedy =
            format!("use 1 to {} ASCII letters, digits, '-', '_' or '.'", CameraName::BYTES_MAX);
        found.refuse("not a name for a camera", remedy);
    }
    (name.ok(), found)
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

//! The `[camera]` table. Pure.

use super::reader::Section;
use super::types::{Camera, FileFormat, Mode, Recipe, RecipeChoice, TriggerMode};
use crate::frame::{PixelFormat, RecipeId};

/// Longest side of a raw picture, as for picture files; and width times height
/// times three bytes stays far from overflow.
const SIDE_PIXELS_MAX: i64 = 16_384;
/// Faster than any line; a larger number is a slip.
const RATE_HZ_MAX: f64 = 1000.0;

#[derive(Clone, Copy, PartialEq)]
enum FormatWord {
    Image,
    Raw,
}

pub(super) fn camera(
    section: Section<'_>,
    recipes: &[Recipe],
    trigger: TriggerMode,
) -> Option<Camera> {
    section.word("kind", &[("replay", ())], 0);
    let folder = section.text_required("folder", "name the folder with the pictures to replay");
    let folder = folder.and_then(|found| {
        if found.value.is_empty() {
            found.refuse("empty", "name the folder with the pictures to replay");
        }
        (!found.value.is_empty()).then(|| section.anchor(found.value))
    });
    let format = file_format(&section);
    let recipe = recipe_choice(&section, recipes);
    let rate_hz = section.number("rate_hz", 0.0..=RATE_HZ_MAX, 0.0);
    let mode = section.word("mode", &[("once", Mode::Once), ("loop", Mode::Loop)], 0);
    let software_trigger = software_trigger(&section, rate_hz, trigger);
    section.finish();
    let (folder, format, recipe) = (folder?, format?, recipe?);
    Some(Camera { folder, format, recipe, rate_hz, mode, software_trigger })
}

fn software_trigger(section: &Section<'_>, rate_hz: f64, trigger: TriggerMode) -> bool {
    let Some(found) = section.text("trigger", "\"free\"") else { return false };
    match found.value {
        "free" => false,
        "software" if rate_hz > 0.0 => {
            found.refuse("a picture comes when the PLC asks for it", "remove rate_hz or trigger");
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

fn file_format(section: &Section<'_>) -> Option<FileFormat> {
    let words = [("image", FormatWord::Image), ("raw", FormatWord::Raw)];
    let word = section.word("format", &words, 0);
    let side = 1..=SIDE_PIXELS_MAX;
    let width = section.integer_optional("width", side.clone(), "required for raw");
    let height = section.integer_optional("height", side, "required for raw");
    let pixel_format = pixel_format(section);
    let names = ["width", "height", "pixel_format"];
    if word == FormatWord::Image {
        for found in [&width, &height].into_iter().flatten() {
            found
                .refuse("picture files state their own size", "remove it, or set format = \"raw\"");
        }
        if let Some((found, _)) = &pixel_format {
            found.refuse("picture files state their layout", "remove it, or set format = \"raw\"");
        }
        return Some(FileFormat::Image);
    }
    for name in names.iter().filter(|name| !section.has(name)) {
        section.missing(name, "raw files do not state it, so it must be set here");
    }
    Some(FileFormat::Raw {
        width: width?.value as u32,
        height: height?.value as u32,
        pixel_format: pixel_format?.1,
    })
}

type FoundFormat<'a> = (super::reader::Found<'a, &'a str>, PixelFormat);

fn pixel_format<'a>(section: &Section<'a>) -> Option<FoundFormat<'a>> {
    let found = section.text("pixel_format", "required for raw")?;
    let format = match found.value {
        "Mono8" => PixelFormat::Mono8,
        "RGB8" => PixelFormat::Rgb8,
        "BGR8" => PixelFormat::Bgr8,
        _ => {
            found.refuse("not a known layout", "use \"Mono8\", \"RGB8\" or \"BGR8\"");
            return None;
        }
    };
    Some((found, format))
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

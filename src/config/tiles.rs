//! In how many tiles the model sees the pictures of a recipe. Pure.

use std::collections::BTreeMap;

use super::reader::{Found, Section};
use crate::frame::Tiling;

pub(super) fn tiling(section: &Section<'_>) -> Tiling {
    let found = section.text("tiles", "none");
    let default = Tiling::OVERLAP_DEFAULT.to_string();
    let overlap = section.number_optional("overlap", 0.0..=Tiling::OVERLAP_MAX, &default);
    let Some(found) = found else {
        section.unused(&["overlap"], "set tiles = \"4x3\" or the like, or remove it");
        return Tiling::WHOLE;
    };
    Tiling::parse(found.value, overlap.unwrap_or(Tiling::OVERLAP_DEFAULT)).unwrap_or_else(|error| {
        found.refuse(error.what, error.remedy);
        Tiling::WHOLE
    })
}

/// A class has one limit, which holds for one way to look: recipes that share it share its tiles.
pub(super) fn check_shared<'a>(
    known: &mut BTreeMap<&'a str, Tiling>,
    class: &Found<'_, &'a str>,
    tiling: Tiling,
) {
    let first = *known.entry(class.value).or_insert(tiling);
    if first != tiling {
        class.refuse(
            "another recipe sees this class in other tiles, and its limit holds for one of them",
            "set the same tiles and overlap at every recipe of this class",
        );
    }
}

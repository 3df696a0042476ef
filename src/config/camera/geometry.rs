//! What of a camera's pictures the model sees. Pure.

use crate::config::reader::Section;
use crate::frame::Geometry;

/// Degrees that a picture can be turned by.
const TURNS: [i64; 4] = [0, 90, 180, 270];

pub(super) fn geometry(section: Section<'_>) -> Geometry {
    let mut geometry = Geometry::WHOLE;
    let roi = section.numbers("roi", "none");
    if let Some(found) = &roi {
        match found.value[..] {
            [x, y, w, h] if found.value.iter().all(|v| v.fract() == 0.0 && *v >= 0.0) => {
                geometry.roi = Some([x, y, w, h].map(|v| v as u32));
            }
            _ => found.refuse("not four whole numbers", "write [left, top, width, height]"),
        }
    }
    geometry.mirror = section.boolean("mirror", false);
    if let Some(found) = section.integer_optional("rotate", 0..=270, "0") {
        if TURNS.contains(&found.value) {
            geometry.rotate = found.value as u16;
        } else {
            found.refuse("no quarter of a turn", "use 0, 90, 180 or 270");
        }
    }
    let corners = section.numbers("corners", "none");
    if let Some(found) = &corners {
        match found.value[..] {
            [a, b, c, d, e, f, g, h] => {
                geometry.corners = Some([[a, b], [c, d], [e, f], [g, h]]);
            }
            _ => found.refuse(
                "not four points",
                "write [[x, y], [x, y], [x, y], [x, y]]: top left, top right, bottom right, bottom left",
            ),
        }
    }
    if let (Err(error), Some(found)) = (geometry.check(), corners.or(roi)) {
        found.refuse(error.what, error.remedy);
    }
    section.finish();
    geometry
}

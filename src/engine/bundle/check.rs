//! Field checks of a manifest: everything a file name, a size or a tolerance could do wrong.

use super::{FORMAT, Manifest};

/// Sides of pictures and maps: a larger one is a typing error, and its buffers would not fit.
const SIDE_MAX: usize = 4096;
/// Product classes of one model; the PLC payload numbers them in 16 bits, people in far fewer.
const CLASSES_MAX: usize = 1024;
/// Golden pictures of one bundle: each costs one inference at every start.
const GOLDEN_MAX: usize = 64;
/// A self-check that forgives more than a tenth of the map's range proves nothing.
const TOLERANCE_MAX: f32 = 0.1;

/// The first thing wrong with the manifest: the field's path and what it must be.
pub(super) fn first_fault(m: &Manifest) -> Option<String> {
    if m.format != FORMAT {
        return Some(format!("`format` is {}, this program reads {FORMAT}", m.format));
    }
    files(m).or_else(|| sizes(m)).or_else(|| classes(m)).or_else(|| settings(m))
}

fn files(m: &Manifest) -> Option<String> {
    for (field, name) in [("model.file", &m.model.file), ("golden.file", &m.golden.file)] {
        // A plain name: a manifest must not reach outside its own folder.
        let plain = !name.is_empty()
            && !name.starts_with('.')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
        if !plain {
            return Some(format!("`{field}` is {name:?}, it must be a plain file name"));
        }
    }
    for (field, hash) in [("model.sha256", &m.model.sha256), ("golden.sha256", &m.golden.sha256)] {
        let hex = hash.len() == 64
            && hash.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !hex {
            return Some(format!("`{field}` is {hash:?}, it must be 64 lower-case hex digits"));
        }
    }
    None
}

fn sizes(m: &Manifest) -> Option<String> {
    let sides = [
        ("input.width", m.input.width),
        ("input.height", m.input.height),
        ("output.map_width", m.output.map_width),
        ("output.map_height", m.output.map_height),
    ];
    for (field, side) in sides {
        if !(1..=SIDE_MAX).contains(&side) {
            return Some(format!("`{field}` is {side}, it must be 1 to {SIDE_MAX}"));
        }
    }
    let names = [
        ("input.name", &m.input.name),
        ("output.anomaly_map", &m.output.anomaly_map),
        ("output.score", &m.output.score),
    ];
    for (field, name) in names {
        if name.is_empty() {
            return Some(format!("`{field}` is empty, it must name a tensor of the model"));
        }
    }
    (m.output.anomaly_map == m.output.score)
        .then(|| "`output.anomaly_map` and `output.score` name the same tensor".to_owned())
}

fn classes(m: &Manifest) -> Option<String> {
    if m.classes.is_empty() || m.classes.len() > CLASSES_MAX {
        return Some(format!(
            "`classes` has {} names, it must have 1 to {CLASSES_MAX}",
            m.classes.len()
        ));
    }
    for (i, class) in m.classes.iter().enumerate() {
        if class.trim().is_empty() {
            return Some(format!("`classes[{i}]` is empty"));
        }
        if m.classes[..i].contains(class) {
            return Some(format!("`classes` names {class:?} twice"));
        }
    }
    None
}

fn settings(m: &Manifest) -> Option<String> {
    if !(1..=GOLDEN_MAX).contains(&m.golden.count) {
        return Some(format!(
            "`golden.count` is {}, it must be 1 to {GOLDEN_MAX}: an engine is proved by its \
             golden pictures",
            m.golden.count
        ));
    }
    if !(m.golden.tolerance > 0.0 && m.golden.tolerance <= TOLERANCE_MAX) {
        return Some(format!(
            "`golden.tolerance` is {}, it must be above 0 and at most {TOLERANCE_MAX}",
            m.golden.tolerance
        ));
    }
    None
}

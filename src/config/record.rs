//! The table `[record]`: there when the station is recorded.

use super::reader::Section;
use super::types::{KeepWord, Record};

/// `None` without the table; its fields are asked for all the same, so that the reference is
/// complete.
pub(super) fn record(section: Section<'_>, present: bool) -> Option<Record> {
    let remedy = "name the folder of the recordings";
    let folder = match present {
        true => section.text_required("folder", remedy),
        false => section.text("folder", "required"),
    };
    if let Some(found) = folder.as_ref().filter(|found| found.value.is_empty()) {
        found.refuse("empty", remedy);
    }
    let record = Record {
        folder: section.anchor(folder.map_or("", |found| found.value)),
        bytes_max: section.integer("bytes_max_mb", 16..=100_000_000, 10_000) as u64 * 1_000_000,
        keep: section.word("keep", &[("all", KeepWord::All), ("rejects", KeepWord::Rejects)], 0),
    };
    section.finish();
    present.then_some(record)
}

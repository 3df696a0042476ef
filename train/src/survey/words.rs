//! The survey in plain words.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::path::Path;

use super::{ClassSurvey, Pair, Part, Survey};

/// Files that are named of one kind of finding; all are counted.
const NAMED_MAX: usize = 8;
/// Good pictures below which a class is hardly learnt.
const TRAIN_FEW: usize = 20;

pub(super) fn report(survey: &Survey, dir: &Path) -> String {
    let mut out = String::new();
    for class in &survey.classes {
        class_lines(&mut out, class);
    }
    unusable(&mut out, survey, dir);
    twins(&mut out, survey, dir);
    odd(&mut out, survey, dir);
    out
}

/// From the data set's folder on.
fn name(path: &Path, dir: &Path) -> String {
    path.strip_prefix(dir).unwrap_or(path).display().to_string()
}

fn class_lines(out: &mut String, class: &ClassSurvey) {
    let count = |part| class.counts.get(&part).copied().unwrap_or(0);
    let _ = writeln!(
        out,
        "{}: {} good pictures to train on, {} for limits, {} good and {} bad ones to test with",
        class.name,
        count(Part::Train),
        count(Part::Calibration),
        count(Part::TestGood),
        count(Part::TestBad)
    );
    if count(Part::Train) < TRAIN_FEW {
        let _ = writeln!(
            out,
            "  few to train on: below {TRAIN_FEW} the model takes what is usual for a defect; add more"
        );
    }
    view_lines(out, class);
    if class.sizes.len() > 1 {
        let size = |&(width, height): &(usize, usize)| format!("{width}x{height}");
        let _ = writeln!(
            out,
            "  sizes differ: {}; all are stretched to the model's input, so a part looks wider in \
             some than in others; take all with one camera setting",
            most_first(&class.sizes, size)
        );
    } else if let Some((width, height)) = class.sizes.keys().next() {
        let _ = writeln!(out, "  all {width}x{height} pixels");
    }
    if class.shallow > 0 {
        let _ = writeln!(
            out,
            "  {} pictures of 16 bits use the lowest 12 of them at most, so the model sees next to \
             nothing but black; save them with values that fill the 16 bits (12-bit ones times 16), or in \
             8 bits",
            class.shallow
        );
    }
    if class.kinds.len() > 1 {
        let kind = |kind: &crate::dataset::Pixels| kind.to_string();
        let _ = writeln!(
            out,
            "  kinds of pixels differ: {}; the model sees 8-bit colour of all of them, and grey \
             among colour looks like a defect",
            most_first(&class.kinds, kind)
        );
    }
}

/// What the model sees of the pictures, unless that is all of them at once.
fn view_lines(out: &mut String, class: &ClassSurvey) {
    let framing = &class.seen.framing;
    if !framing.is_whole() {
        let _ = writeln!(out, "  of each picture the model sees {framing}");
    }
    if !framing.tiling.is_whole() {
        let pictures = class.counts.get(&Part::Train).copied().unwrap_or(0);
        let tiles = pictures * framing.tiling.count();
        let _ = writeln!(out, "  {tiles} tiles to train on; all other numbers count pictures");
    }
    if class.seen.is_unnamed {
        let _ = writeln!(
            out,
            "  no recipe of the configuration names this class: its pictures are seen as the first \
             camera sees, without tiles; add a recipe if the station is to see it otherwise"
        );
    }
}

/// `A (12), B (3)`, the most frequent first.
fn most_first<K: Ord>(counts: &BTreeMap<K, usize>, text: impl Fn(&K) -> String) -> String {
    let mut all: Vec<(&K, usize)> = counts.iter().map(|(key, count)| (key, *count)).collect();
    all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let more = all.len().saturating_sub(NAMED_MAX);
    let named = all.iter().take(NAMED_MAX).map(|(key, count)| format!("{} ({count})", text(key)));
    let mut out = named.collect::<Vec<_>>().join(", ");
    if more > 0 {
        let _ = write!(out, " and {more} more");
    }
    out
}

fn list<T: Display>(out: &mut String, items: impl ExactSizeIterator<Item = T>) {
    let more = items.len().saturating_sub(NAMED_MAX);
    items.take(NAMED_MAX).for_each(|item| _ = writeln!(out, "  {item}"));
    if more > 0 {
        let _ = writeln!(out, "  and {more} more");
    }
}

fn unusable(out: &mut String, survey: &Survey, dir: &Path) {
    if survey.left_out.is_empty() {
        return;
    }
    let _ = writeln!(out, "{} files cannot be used and are left out:", survey.left_out.len());
    let line =
        |file: &crate::dataset::LeftOut| format!("{}: {}", name(&file.path, dir), file.reason);
    list(out, survey.left_out.iter().map(line));
}

fn twins(out: &mut String, survey: &Survey, dir: &Path) {
    let of = |wanted: &dyn Fn(&Pair) -> bool| -> Vec<&Pair> {
        survey.pairs.iter().filter(|pair| wanted(pair)).collect()
    };
    let line = |pair: &&Pair| {
        let [(a, first), (b, second)] = &pair.files;
        let how = if pair.is_equal { "=" } else { "~" };
        format!("{} ({}) {how} {} ({})", name(a, dir), first.name(), name(b, dir), second.name())
    };
    let kinds: [(Vec<&Pair>, &str); 4] = [
        (
            of(&|p| p.contradicts()),
            "pictures are among the good ones and among the bad ones, so one of the two folders is \
             wrong:",
        ),
        (
            of(&|p| p.leaks() && p.is_equal && !p.contradicts()),
            "training pictures are in the test or calibration folders, too: the model knows them, so \
             results and limits look better than they are; remove them there:",
        ),
        (
            of(&|p| p.leaks() && !p.is_equal && !p.contradicts()),
            "test or calibration pictures are nearly those of training, as if one part was taken \
             twice; better keep a part's pictures together:",
        ),
        (
            of(&|p| !p.leaks() && !p.contradicts()),
            "pictures are there twice, or nearly, within a folder; harmless, but they count as one:",
        ),
    ];
    for (pairs, what) in kinds.iter().filter(|(pairs, _)| !pairs.is_empty()) {
        let _ = writeln!(out, "{} {what}", pairs.len());
        list(out, pairs.iter().map(line));
    }
}

/// The outliers alone; nothing when there are none.
pub(super) fn odd(out: &mut String, survey: &Survey, dir: &Path) {
    if survey.outliers.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "{} good pictures look unlike the others of their class; look at them, a bad part here \
         teaches the model that it is good:",
        survey.outliers.len()
    );
    let line = |odd: &super::Outlier| {
        format!("{} ({:.0} times the usual spread)", name(&odd.path, dir), odd.deviations)
    };
    list(out, survey.outliers.iter().map(line));
}

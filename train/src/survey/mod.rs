//! A look at a data set before anything is trained on it: what is there, what is there twice, and
//! which of the good pictures look unlike the others. In plain words, for the person who took the
//! pictures.
//!
//! A picture that is in the training and in the test set makes the test worthless; a bad part among the
//! good ones teaches the model that it is good. Neither can be seen in the model afterwards.

mod outliers;
mod pairs;
mod sheet;
mod words;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crrd::evaluate::{ClassDir, GOOD, class_dirs, pictures, test_set};
use rayon::prelude::*;

use crate::dataset::{Dataset, LeftOut, Look, Pixels, Seen, read};

pub use outliers::{Outlier, glance_features, outliers, pooled};
pub use pairs::{Pair, pairs};
pub use sheet::sheet;

/// What a picture is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Good, to train on.
    Train,
    /// Good, to make limits from.
    Calibration,
    /// Good, to test with.
    TestGood,
    /// Defective, to test with.
    TestBad,
}

impl Part {
    /// The word for it in reports.
    pub fn name(self) -> &'static str {
        match self {
            Part::Train => "training",
            Part::Calibration => "calibration",
            Part::TestGood => "test, good",
            Part::TestBad => "test, bad",
        }
    }
}

/// A picture of the data set at a glance.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The file.
    pub path: PathBuf,
    /// Index into [`Survey::classes`].
    pub class: usize,
    /// What it is for.
    pub part: Part,
    /// What it looks like.
    pub look: Look,
}

/// What is known of one class.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClassSurvey {
    /// Its name.
    pub name: String,
    /// What the model sees of its pictures.
    pub seen: Seen,
    /// Pictures of each part.
    pub counts: BTreeMap<Part, usize>,
    /// Pictures of each size (width, height).
    pub sizes: BTreeMap<(usize, usize), usize>,
    /// Pictures of each kind of pixel.
    pub kinds: BTreeMap<Pixels, usize>,
    /// Pictures of 16 bits that use 12 of them at most.
    pub shallow: usize,
}

/// What was found in a data set.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// Class by class, in the order of the data set.
    pub classes: Vec<ClassSurvey>,
    /// Files that cannot be used.
    pub left_out: Vec<LeftOut>,
    /// Pictures that are there twice, or nearly.
    pub pairs: Vec<Pair>,
    /// Good pictures unlike the others of their class.
    pub outliers: Vec<Outlier>,
}

impl Survey {
    /// Surveys the training pictures of `set` with what else lies in `dir`. Outliers are left to
    /// [`outliers`], because they take features.
    pub fn of(set: &Dataset, dir: &Path) -> Self {
        let train = set.pictures().map(|(_, image)| Entry {
            path: image.path.clone(),
            class: image.class,
            part: Part::Train,
            look: image.look.clone(),
        });
        let (others, unreadable) = others(set, dir);
        let entries: Vec<Entry> = train.chain(others).collect();
        let left_out = set.left_out.iter().cloned().chain(unreadable).collect();
        let named = set.classes.iter().zip(&set.seen).enumerate();
        let classes = named.map(|(class, (name, seen))| ClassSurvey {
            name: name.clone(),
            seen: *seen,
            ..count(&entries, class)
        });
        Self { classes: classes.collect(), left_out, pairs: pairs(&entries), outliers: Vec::new() }
    }

    /// The outliers as [`sheet`] takes them.
    pub fn odd_ones(&self) -> Vec<(PathBuf, [String; 2])> {
        let named = |odd: &Outlier| {
            let name = odd.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let class = self.classes.get(odd.class).map_or("", |class| &class.name);
            (odd.path.clone(), [name, format!("{class} {:.0}x", odd.deviations)])
        };
        self.outliers.iter().map(named).collect()
    }

    /// Of the report the outliers, which may be known later than the rest; empty without any.
    pub fn odd_words(&self, dir: &Path) -> String {
        let mut out = String::new();
        words::odd(&mut out, self, dir);
        out
    }

    /// The report in plain words; file names from `dir` on.
    pub fn words(&self, dir: &Path) -> String {
        words::report(self, dir)
    }
}

fn count(entries: &[Entry], class: usize) -> ClassSurvey {
    let mut found = ClassSurvey::default();
    for entry in entries.iter().filter(|entry| entry.class == class) {
        *found.counts.entry(entry.part).or_default() += 1;
        *found.sizes.entry((entry.look.width, entry.look.height)).or_default() += 1;
        *found.kinds.entry(entry.look.pixels).or_default() += 1;
        found.shallow += usize::from(entry.look.is_shallow());
    }
    found
}

/// Calibration and test pictures of the classes of `set`.
fn others(set: &Dataset, dir: &Path) -> (Vec<Entry>, Vec<LeftOut>) {
    let mut files: Vec<(PathBuf, usize, Part)> = Vec::new();
    for folder in class_dirs(dir, None).unwrap_or_default() {
        let Some(class) = set.classes.iter().position(|name| *name == folder.name) else {
            continue;
        };
        files.extend(of_class(&folder).into_iter().map(|(path, part)| (path, class, part)));
    }
    let looks: Vec<_> = files
        .par_iter()
        .map(|(path, ..)| read(path).and_then(|(bytes, picture)| Look::of(&bytes, &picture)))
        .collect();
    let (mut entries, mut left_out) = (Vec::new(), Vec::new());
    for ((path, class, part), look) in files.into_iter().zip(looks) {
        match look {
            Ok(look) => entries.push(Entry { path, class, part, look }),
            Err(reason) => left_out.push(LeftOut { path, reason }),
        }
    }
    (entries, left_out)
}

/// A folder that is not there, or without pictures, has none to look at.
fn of_class(folder: &ClassDir) -> Vec<(PathBuf, Part)> {
    let calibration = folder.path.join("calibration").join(GOOD);
    let good = pictures(&calibration).unwrap_or_default();
    let calibration = good.into_iter().map(|path| (path, Part::Calibration));
    let test = test_set(folder).map(|set| set.pictures).unwrap_or_default();
    let part = |bad: bool| if bad { Part::TestBad } else { Part::TestGood };
    calibration.chain(test.into_iter().map(|p| (p.path, part(p.defect.is_some())))).collect()
}

#[cfg(test)]
mod tests;

//! Pictures that are there twice, or nearly.
//!
//! Parts on a fixture all look alike, so "alike" is measured by the class itself: two pictures are
//! nearly the same when they differ by far less than a picture usually does from the one most like
//! it.

use std::collections::HashMap;
use std::path::PathBuf;

use rayon::prelude::*;

use super::{Entry, Part};
use crate::dataset::Look;

/// Places of the hash that may differ between two that are nearly the same: noise flips the places
/// whose neighbours are alike.
const HASH_DISTANCE_MAX: u32 = 40;
/// Largest mean difference of two that are nearly the same, in grey levels: noise and flicker.
const DIFFERENCE_MAX: f32 = 1.5;
/// And at most this share of the difference that is usual in the class.
const SHARE_MAX: f32 = 0.25;
/// Pictures from which the usual difference is taken.
const SAMPLE_MAX: usize = 200;
/// Pairs that are kept: a film of one part would give millions.
const PAIRS_MAX: usize = 10_000;

/// Two pictures that are the same, or nearly.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// The first and the second, with what they are for.
    pub files: [(PathBuf, Part); 2],
    /// The files are equal, byte by byte.
    pub is_equal: bool,
    /// Mean difference in grey levels.
    pub difference: f32,
}

impl Pair {
    /// Whether one was trained on and the other tests or calibrates what was learnt.
    pub fn leaks(&self) -> bool {
        let [(_, a), (_, b)] = &self.files;
        (*a == Part::Train) != (*b == Part::Train)
    }

    /// Whether one is good and the other bad: one of them must be wrong.
    pub fn contradicts(&self) -> bool {
        let [(_, a), (_, b)] = &self.files;
        (*a == Part::TestBad) != (*b == Part::TestBad)
    }
}

/// All pairs of equal files, also of different classes, and of nearly equal pictures of a class.
pub fn pairs(entries: &[Entry]) -> Vec<Pair> {
    let mut found = equal(entries);
    let classes = entries.iter().map(|entry| entry.class + 1).max().unwrap_or(0);
    for class in 0..classes {
        let of_class: Vec<&Entry> = entries.iter().filter(|e| e.class == class).collect();
        found.extend(near(&of_class));
    }
    found.truncate(PAIRS_MAX);
    found
}

fn pair(a: &Entry, b: &Entry, is_equal: bool) -> Pair {
    let file = |entry: &Entry| (entry.path.clone(), entry.part);
    Pair { files: [file(a), file(b)], is_equal, difference: a.look.difference(&b.look) }
}

/// Each file with the first one that is equal.
fn equal(entries: &[Entry]) -> Vec<Pair> {
    let mut first: HashMap<[u8; 32], &Entry> = HashMap::new();
    let mut found = Vec::new();
    for entry in entries {
        match first.get(&entry.look.sha256) {
            Some(twin) => found.push(pair(twin, entry, true)),
            None => _ = first.insert(entry.look.sha256, entry),
        }
    }
    found
}

/// Each picture with the one most like it among those before it, when they are nearly the same.
fn near(entries: &[&Entry]) -> Vec<Pair> {
    let Some(usual) = usual_difference(entries) else { return Vec::new() };
    let bound = DIFFERENCE_MAX.min(SHARE_MAX * usual);
    let found: Vec<Option<Pair>> = entries
        .par_iter()
        .enumerate()
        .map(|(at, entry)| {
            let before = entries[..at].iter().filter(|other| {
                other.look.sha256 != entry.look.sha256
                    && other.look.hash_distance(&entry.look) <= HASH_DISTANCE_MAX
            });
            let nearest = before.map(|other| (other.look.difference(&entry.look), other));
            let (difference, other) = nearest.min_by(|a, b| a.0.total_cmp(&b.0))?;
            (difference <= bound).then(|| pair(other, entry, false))
        })
        .collect();
    found.into_iter().flatten().collect()
}

/// Median difference of a picture to the one most like it, equal files left out; `None` when
/// there are too few to say what is usual.
fn usual_difference(entries: &[&Entry]) -> Option<f32> {
    const FEW: usize = 6;
    if entries.len() < FEW {
        return None;
    }
    let step = entries.len().div_ceil(SAMPLE_MAX);
    let sample: Vec<&Look> = entries.iter().step_by(step).map(|entry| &entry.look).collect();
    let mut nearest: Vec<f32> = sample
        .par_iter()
        .filter_map(|look| {
            let others = entries.iter().filter(|other| other.look.sha256 != look.sha256);
            others.map(|other| other.look.difference(look)).min_by(f32::total_cmp)
        })
        .collect();
    nearest.sort_by(f32::total_cmp);
    nearest.get(nearest.len() / 2).copied()
}

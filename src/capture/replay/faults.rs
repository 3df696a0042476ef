//! The fault script: what goes wrong with which picture, on purpose and the same way every time.
//! Pure, but for reading the file.

use std::path::Path;

use serde::Deserialize;

use crate::capture::{CameraError, CameraErrorKind, Counter};
use crate::sys::fs;

/// A script is a page of text; more is a wrong file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Longest delay of a picture in milliseconds: more than any deadline.
const LATE_MS_MAX: u64 = 60_000;

/// What goes wrong with one picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It never comes; its frame number is used up.
    Drop,
    /// It comes twice with the same frame number.
    Duplicate,
    /// It comes this many milliseconds after its trigger.
    Late(u64),
    /// It ends early.
    Cut,
    /// Bits of it are wrong.
    Flip,
    /// The camera is lost before it is sent.
    Disconnect,
}

/// How the camera counts its frames, and where it begins in each stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameId {
    pub(super) counter: Counter,
    pub(super) first: u64,
}

impl FrameId {
    /// The camera's own number of frame `n` of a stream, which counts from 0.
    pub(super) fn raw(self, n: u64) -> u64 {
        match self.counter {
            Counter::SkipZero16 => (self.first - 1).wrapping_add(n) % 65_535 + 1,
            Counter::Wrap32 => self.first.wrapping_add(n) % (1 << 32),
            Counter::Whole64 => self.first.wrapping_add(n),
        }
    }
}

/// A script that was read and checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Faults {
    seed: u64,
    entries: Vec<(Fault, When)>,
    pub(super) frame_id: Option<FrameId>,
}

/// Which triggers are hit.
#[derive(Clone, Debug, PartialEq)]
enum When {
    /// These, in ascending order.
    At(Vec<u64>),
    /// Each with this probability.
    By(f64),
}

impl Faults {
    /// Reads a script.
    ///
    /// # Errors
    /// When it cannot be read or says what cannot be done.
    pub(super) fn load(file: &Path) -> Result<Self, CameraError> {
        let refuse = |message: String| CameraError::new(CameraErrorKind::Settings, message);
        let text = fs::read_text(file, FILE_BYTES_MAX)
            .map_err(|error| refuse(format!("fault script: {error}")))?;
        parse(&text).map_err(|error| refuse(format!("fault script {}: {error}", file.display())))
    }

    /// What happens to the picture of trigger `number`, which counts from 1 over the whole run.
    pub(super) fn at(&self, number: u64) -> Option<Fault> {
        let hit = |(i, when): (u64, &When)| match when {
            When::At(numbers) => numbers.binary_search(&number).is_ok(),
            When::By(probability) => chance(self.seed, i, number) < *probability,
        };
        let entries = self.entries.iter().enumerate();
        let mut hits = entries.filter(|(i, (_, when))| hit((*i as u64, when)));
        hits.next().map(|(_, (fault, _))| *fault)
    }
}

/// A number in [0, 1) that depends on nothing but its arguments.
fn chance(seed: u64, entry: u64, number: u64) -> f64 {
    let bits = mix(mix(mix(seed) ^ entry) ^ number);
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every bit depends on every other.
pub(super) fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    seed: u64,
    frame_id: Option<FrameIdTable>,
    #[serde(default)]
    fault: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FrameIdTable {
    counter: CounterWord,
    first: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum CounterWord {
    #[serde(rename = "skip_zero_16")]
    SkipZero16,
    #[serde(rename = "wrap_32")]
    Wrap32,
    #[serde(rename = "whole_64")]
    Whole64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    kind: Kind,
    at: Option<Vec<u64>>,
    probability: Option<f64>,
    ms: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Drop,
    Duplicate,
    Late,
    Cut,
    Flip,
    Disconnect,
}

fn parse(text: &str) -> Result<Faults, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    let frame_id = file.frame_id.map(frame_id).transpose()?;
    let entry = |(i, entry): (usize, Entry)| {
        entry.check().map_err(|error| format!("[[fault]] number {}: {error}", i + 1))
    };
    let entries = file.fault.into_iter().enumerate().map(entry).collect::<Result<_, _>>()?;
    Ok(Faults { seed: file.seed, entries, frame_id })
}

fn frame_id(table: FrameIdTable) -> Result<FrameId, String> {
    let (counter, range) = match table.counter {
        CounterWord::SkipZero16 => (Counter::SkipZero16, 1..=u64::from(u16::MAX)),
        CounterWord::Wrap32 => (Counter::Wrap32, 0..=u64::from(u32::MAX)),
        CounterWord::Whole64 => (Counter::Whole64, 0..=u64::MAX / 2),
    };
    let first = table.first.unwrap_or(1);
    if !range.contains(&first) {
        let (low, high) = range.into_inner();
        return Err(format!("frame_id.first = {first}: this counter has {low} to {high}"));
    }
    Ok(FrameId { counter, first })
}

impl Entry {
    fn check(self) -> Result<(Fault, When), String> {
        let fault = match (self.kind, self.ms) {
            (Kind::Late, Some(ms)) if (1..=LATE_MS_MAX).contains(&ms) => Fault::Late(ms),
            (Kind::Late, _) => return Err(format!("late: set ms, 1 to {LATE_MS_MAX}")),
            (_, Some(_)) => return Err("ms belongs to kind = \"late\" only: remove it".to_owned()),
            (Kind::Drop, None) => Fault::Drop,
            (Kind::Duplicate, None) => Fault::Duplicate,
            (Kind::Cut, None) => Fault::Cut,
            (Kind::Flip, None) => Fault::Flip,
            (Kind::Disconnect, None) => Fault::Disconnect,
        };
        let when = match (self.at, self.probability) {
            (Some(mut numbers), None) => {
                if numbers.contains(&0) {
                    return Err("at: pictures count from 1".to_owned());
                }
                numbers.sort_unstable();
                When::At(numbers)
            }
            (None, Some(p)) if (0.0..=1.0).contains(&p) => When::By(p),
            (None, Some(p)) => return Err(format!("probability = {p}: use 0 to 1")),
            _ => return Err("set at or probability, one of them".to_owned()),
        };
        Ok((fault, when))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Unwrap;

    #[test]
    fn a_script_says_what_happens_to_which_picture() {
        let faults = parse(
            "[[fault]]\nkind = \"drop\"\nat = [9, 3]\n[[fault]]\nkind = \"late\"\nat = [4, 9]\n\
             ms = 20\n[frame_id]\ncounter = \"skip_zero_16\"\nfirst = 65530",
        )
        .unwrap();
        let hit: Vec<_> = (1..=9).map(|n| faults.at(n)).collect();
        let mut expected = vec![None; 9];
        expected[2] = Some(Fault::Drop);
        expected[3] = Some(Fault::Late(20));
        // Where two hit, the first in the script counts.
        expected[8] = Some(Fault::Drop);
        assert_eq!(hit, expected);
        assert_eq!(faults.frame_id, Some(FrameId { counter: Counter::SkipZero16, first: 65_530 }));
        assert_eq!(parse("").unwrap(), Faults::default());
    }

    #[test]
    fn probabilities_are_kept_and_the_same_seed_gives_the_same_faults() {
        let script = |seed: u64| {
            parse(&format!("seed = {seed}\n[[fault]]\nkind = \"cut\"\nprobability = 0.1")).unwrap()
        };
        let hits = |f: &Faults| (1..=10_000).filter(|n| f.at(*n).is_some()).collect::<Vec<_>>();
        let (a, b) = (hits(&script(1)), hits(&script(2)));
        assert_eq!(a, hits(&script(1)));
        assert_ne!(a, b);
        for hits in [a, b] {
            // Five standard deviations of a fair draw: 1000 +- 150.
            assert!((850..1150).contains(&hits.len()), "{}", hits.len());
        }
        let never = parse("[[fault]]\nkind = \"cut\"\nprobability = 0").unwrap();
        assert!(hits(&never).is_empty());
        let always = parse("[[fault]]\nkind = \"cut\"\nprobability = 1").unwrap();
        assert_eq!(hits(&always).len(), 10_000);
    }

    #[test]
    fn a_script_that_cannot_be_played_is_refused_with_a_remedy() {
        for (text, says) in [
            ("[[fault]]\nkind = \"drop\"", "at or probability"),
            ("[[fault]]\nkind = \"drop\"\nat = [1]\nprobability = 0.5", "one of them"),
            ("[[fault]]\nkind = \"drop\"\nat = [0]", "count from 1"),
            ("[[fault]]\nkind = \"drop\"\nprobability = 1.5", "use 0 to 1"),
            ("[[fault]]\nkind = \"drop\"\nprobability = nan", "use 0 to 1"),
            ("[[fault]]\nkind = \"late\"\nat = [1]", "set ms"),
            ("[[fault]]\nkind = \"cut\"\nat = [1]\nms = 5", "remove it"),
            ("[[fault]]\nkind = \"burn\"\nat = [1]", "burn"),
            ("[[falut]]\nkind = \"drop\"\nat = [1]", "falut"),
            ("[frame_id]\ncounter = \"skip_zero_16\"\nfirst = 0", "1 to 65535"),
            ("[frame_id]\ncounter = \"wrap_32\"\nfirst = 4294967296", "0 to 4294967295"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
        let error = Faults::load(Path::new("/nonexistent/faults.toml")).unwrap_err();
        assert_eq!(error.kind(), CameraErrorKind::Settings);
        assert!(error.to_string().contains("/nonexistent/faults.toml"), "{error}");
    }

    #[test]
    fn simulated_counters_wrap_and_are_unwrapped_to_rows_of_numbers() {
        for (counter, first) in [
            (Counter::SkipZero16, 65_530),
            (Counter::Wrap32, u64::from(u32::MAX) - 5),
            (Counter::Whole64, 1),
        ] {
            let id = FrameId { counter, first };
            let mut unwrap = Unwrap::new(counter);
            for n in 0..70_000 {
                assert_eq!(unwrap.number(id.raw(n)), Some(first + n), "{counter:?} {n}");
            }
        }
    }
}

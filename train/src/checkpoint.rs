//! Checkpoints: everything a training run needs to go on as if it had never stopped.
//!
//! Format: one safetensors file in `OUT.checkpoint/`. Tensors are `weights/NAME`, `mean/NAME`,
//! `square/NAME` and `square_max/NAME` (f32); the metadata key `state` holds the counters as
//! JSON. The file is replaced atomically, so a crash leaves the previous checkpoint. Random
//! numbers need no state of their own: they depend on the seed and the iteration only.
//!
//! A checkpoint belongs to one combination of settings and data, identified by a fingerprint;
//! with another one it is refused, never silently mixed in.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crrd::sys::fs::{FsError, ensure_dir, read_limited, write_atomic};
use safetensors::tensor::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};

use crate::arch::{HostTensor, Weights};
use crate::optim::Moments;
use crate::report::Curve;

/// File name inside the checkpoint folder.
const FILE: &str = "state.safetensors";
/// Beside it, for people: the good pictures that look unlike the others.
const SHEET_FILE: &str = "odd.png";
/// Metadata key of the counters.
const STATE: &str = "state";
/// Largest checkpoint read, in bytes: the largest model here (ViT-L) has 110 million weights in four
/// copies, 1.8 GB.
const FILE_BYTES_MAX: u64 = 4 << 30;

/// Counters of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counters {
    /// Identifies settings and data.
    pub fingerprint: String,
    /// Stage under way, 1 or 2.
    pub stage: u8,
    /// Iterations done in this stage.
    pub iteration: u64,
    /// Iterations done in stage 1.
    pub decoder_iterations: u64,
    /// Damaged variants replaced so far.
    pub round: u64,
    /// Seconds spent in this stage.
    pub stage_s: f64,
    /// Seconds this stage may take; `None` without a time budget.
    pub stage_budget_s: Option<f64>,
    /// Seconds spent in all, encoding and earlier stages included.
    pub spent_s: f64,
    /// Damaged variants of each picture.
    pub variants: usize,
    /// Pictures used.
    pub pictures: usize,
    /// What the run tells of itself afterwards.
    #[serde(default)]
    pub records: Records,
}

/// What is kept of a run for its report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Records {
    /// Loss of stage 1.
    pub decoder_loss: Curve,
    /// Loss of stage 2.
    pub head_loss: Curve,
    /// Seconds that stage 1 took.
    pub decoder_s: f64,
}

/// A run at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// Counters.
    pub counters: Counters,
    /// All weights.
    pub weights: Weights,
    /// Optimiser state of the stage under way.
    pub moments: Moments,
}

/// Why a checkpoint cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("checkpoint {}: {reason}", path.display())]
pub struct CheckpointError {
    kind: CheckpointErrorKind,
    path: PathBuf,
    reason: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What is wrong with a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointErrorKind {
    /// The file cannot be read or written.
    Io,
    /// The file is damaged.
    Damaged,
    /// It belongs to other settings or data.
    Foreign,
}

impl CheckpointError {
    /// What is wrong.
    pub fn kind(&self) -> CheckpointErrorKind {
        self.kind
    }
}

/// The checkpoint of the bundle `out`: a folder beside it.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    dir: PathBuf,
}

impl Checkpoint {
    /// The checkpoint that belongs to the bundle folder `out`.
    pub fn beside(out: &Path) -> Self {
        let mut name = out.file_name().unwrap_or_default().to_owned();
        name.push(".checkpoint");
        Self { dir: out.with_file_name(name) }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn file(&self) -> PathBuf {
        self.dir.join(FILE)
    }

    fn error(
        &self,
        kind: CheckpointErrorKind,
        reason: &str,
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    ) -> CheckpointError {
        CheckpointError { kind, path: self.file(), reason: reason.to_owned(), source }
    }

    /// Writes `state`; the previous checkpoint stays until the new one is whole.
    ///
    /// # Errors
    /// When the folder cannot be made or the file cannot be written.
    pub fn save(&self, state: &State) -> Result<(), CheckpointError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| {
            let reason = "cannot be written; check the disk's space and the folder's permissions";
            self.error(CheckpointErrorKind::Io, reason, Some(source))
        };
        ensure_dir(&self.dir).map_err(|e| failed(e.into()))?;
        let bytes = encode(state).map_err(failed)?;
        write_atomic(&self.file(), &bytes).map_err(|e| failed(e.into()))
    }

    /// Puts a sheet of pictures into the folder, to be looked at while the run is under way; the file.
    ///
    /// # Errors
    /// When the folder cannot be made or the file cannot be written.
    pub fn keep_sheet(&self, png: &[u8]) -> Result<PathBuf, FsError> {
        let file = self.dir.join(SHEET_FILE);
        ensure_dir(&self.dir)?;
        write_atomic(&file, png)?;
        Ok(file)
    }

    /// The saved state, `None` when there is none.
    ///
    /// # Errors
    /// When the file is unreadable, damaged, or belongs to another fingerprint.
    pub fn load(&self, fingerprint: &str) -> Result<Option<State>, CheckpointError> {
        let file = self.file();
        if !file.exists() {
            return Ok(None);
        }
        let bytes = read_limited(&file, FILE_BYTES_MAX).map_err(|e| {
            let reason = "cannot be read; check its permissions, or discard it with --restart";
            self.error(CheckpointErrorKind::Io, reason, Some(e.into()))
        })?;
        let state = decode(&bytes).map_err(|e| {
            let reason = "is damaged; discard it with --restart";
            self.error(CheckpointErrorKind::Damaged, reason, Some(e))
        })?;
        if state.counters.fingerprint != fingerprint {
            let reason = "was made with other settings or pictures; repeat the command it was \
                          made with, or discard it with --restart";
            return Err(self.error(CheckpointErrorKind::Foreign, reason, None));
        }
        Ok(Some(state))
    }

    /// Removes the checkpoint, if there is one.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn discard(&self) -> Result<(), CheckpointError> {
        let ignore_missing = |result: std::io::Result<()>| match result {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                let reason = "cannot be removed; check the folder's permissions";
                Err(self.error(CheckpointErrorKind::Io, reason, Some(e.into())))
            }
            _ => Ok(()),
        };
        ignore_missing(std::fs::remove_file(self.file()))?;
        ignore_missing(std::fs::remove_file(self.dir.join(SHEET_FILE)))?;
        // Anything else in the folder is not ours; it then stays.
        let _ = std::fs::remove_dir(&self.dir);
        Ok(())
    }
}

type Boxed = Box<dyn std::error::Error + Send + Sync>;

fn parts(state: &State) -> [(&'static str, &Weights); 4] {
    let m = &state.moments;
    [
        ("weights", &state.weights),
        ("mean", &m.mean),
        ("square", &m.square),
        ("square_max", &m.square_max),
    ]
}

fn encode(state: &State) -> Result<Vec<u8>, Boxed> {
    let views = parts(state).into_iter().flat_map(|(part, tensors)| {
        tensors.iter().map(move |(name, tensor)| (format!("{part}/{name}"), Stored32(tensor)))
    });
    let stored = Stored { counters: state.counters.clone(), steps: state.moments.steps };
    let metadata = HashMap::from([(STATE.to_owned(), serde_json::to_string(&stored)?)]);
    Ok(safetensors::serialize(views, Some(metadata))?)
}

/// A tensor that becomes bytes only when it is written: all at once would be the whole state again.
struct Stored32<'a>(&'a HostTensor);

impl View for Stored32<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.0.values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>().into()
    }

    fn data_len(&self) -> usize {
        self.0.values.len() * size_of::<f32>()
    }
}

#[derive(Serialize, Deserialize)]
struct Stored {
    counters: Counters,
    steps: u64,
}

fn decode(bytes: &[u8]) -> Result<State, Boxed> {
    let (_, header) = SafeTensors::read_metadata(bytes)?;
    let text = header.metadata().as_ref().and_then(|m| m.get(STATE)).ok_or("no state inside")?;
    let stored: Stored = serde_json::from_str(text)?;
    let mut state = State { counters: stored.counters, ..State::default() };
    state.moments.steps = stored.steps;
    for (name, view) in SafeTensors::deserialize(bytes)?.tensors() {
        if view.dtype() != Dtype::F32 {
            return Err(format!("tensor {name} is not f32").into());
        }
        let values = view
            .data()
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        let tensor = HostTensor { shape: view.shape().to_vec(), values };
        let (part, name) = name.split_once('/').ok_or("a tensor name without a part")?;
        let target = match part {
            "weights" => &mut state.weights,
            "mean" => &mut state.moments.mean,
            "square" => &mut state.moments.square,
            "square_max" => &mut state.moments.square_max,
            _ => return Err(format!("unknown part {part}").into()),
        };
        target.insert(name.to_owned(), tensor);
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn state() -> State {
        let tensor = |v: &[f32]| HostTensor { shape: vec![v.len()], values: v.to_vec() };
        let named = |v: &[f32]| Weights::from([("block.0.fc1.bias".to_owned(), tensor(v))]);
        State {
            counters: Counters {
                fingerprint: "f".into(),
                stage: 1,
                iteration: 42,
                stage_s: 1.25,
                ..Counters::default()
            },
            weights: named(&[1.0, -0.0, f32::MIN_POSITIVE]),
            moments: Moments {
                steps: 42,
                mean: named(&[0.1, 0.2, 0.3]),
                square: named(&[1e-30, 0.0, 5.0]),
                square_max: named(&[1e-30, 2.0, 5.0]),
            },
        }
    }

    #[test]
    fn a_saved_state_comes_back_bit_for_bit() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoint = Checkpoint::beside(&dir.path().join("model"));
        assert_eq!(checkpoint.load("f").unwrap(), None);
        let sheet = checkpoint.keep_sheet(b"png").unwrap();
        assert_eq!(checkpoint.load("f").unwrap(), None, "a sheet is no state");
        checkpoint.save(&state()).unwrap();
        assert_eq!(checkpoint.load("f").unwrap(), Some(state()));
        assert!(sheet.is_file());
        checkpoint.discard().unwrap();
        assert_eq!(checkpoint.load("f").unwrap(), None);
        assert!(!checkpoint.dir().exists());
    }

    #[test]
    fn a_checkpoint_of_another_run_is_refused_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoint = Checkpoint::beside(&dir.path().join("model"));
        checkpoint.save(&state()).unwrap();
        let error = checkpoint.load("other").unwrap_err();
        assert_eq!(error.kind(), CheckpointErrorKind::Foreign);
        assert!(error.to_string().contains("--restart"));
    }

    proptest! {
        #[test]
        fn a_damaged_checkpoint_is_an_error_never_a_panic(
            at in 0usize..2000, value: u8, cut in 0usize..2000,
        ) {
            let mut bytes = encode(&state()).unwrap();
            let at = at % bytes.len();
            bytes[at] = value;
            bytes.truncate(bytes.len() - cut % bytes.len());
            let _ = decode(&bytes);
        }
    }
}

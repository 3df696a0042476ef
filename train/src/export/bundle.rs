//! Writes an engine bundle: the folder that the station loads.
//!
//! Everything is written into a hidden folder beside the target and made durable before the
//! target changes, and the two change places in one step, so a bundle is never half there: an
//! interrupted export leaves the old bundle (or none) and the hidden folder. Golden maps are computed from the model file as read back,
//! not from what was meant to be in it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crrd::engine::bundle::{
    FORMAT, GOLDEN_FILE, GoldenSpec, InputSpec, LicenceRecord, MANIFEST_FILE, MODEL_FILE, Manifest,
    MethodRecord, ModelFile, OutputSpec, TrainingRecord,
};
use crrd::engine::graph::to_half;
use crrd::sys::hash::sha256_hex;
use prost::Message;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use safetensors::tensor::{Dtype, TensorView};
use tract_onnx::pb::ModelProto;

use super::{ANOMALY_MAP, ExportError, ExportErrorKind, INPUT, Result, SCORE};
use crate::arch::{Architecture, Weights};
use crate::encoder::EncoderWeights;
use crate::onnx::{OPSET, Storage};
use crate::plan::Plan;
use crate::report::REPORT_FILE;

/// Trained weights inside the bundle: not needed by the station, but the model can be exported
/// again from them.
pub const WEIGHTS_FILE: &str = "weights.safetensors";
/// The model with 16-bit arithmetic (weights, too), for other programs: the station makes its own.
pub const HALF_MODEL_FILE: &str = "model.fp16.onnx";
/// Largest difference to a golden map, as a fraction of its range, that an engine may show: the
/// project's parity bound. Other 32-bit kernels stay two orders below it.
pub const GOLDEN_TOLERANCE: f32 = 1e-3;

/// What the manifest records about a model beside its tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct BundleFacts {
    /// Name of the model, for people.
    pub name: String,
    /// Training preset.
    pub preset: String,
    /// The command that makes it again.
    pub command: String,
    /// Random seed.
    pub seed: u64,
    /// Good images used.
    pub images: usize,
    /// Decoder iterations.
    pub iterations: usize,
    /// Wall time in minutes.
    pub minutes: f64,
    /// SHA-256 over names and hashes of the training images.
    pub dataset_sha256: String,
    /// RFC 3339, UTC.
    pub created_utc: String,
    /// How weights are stored.
    pub storage: Storage,
    /// Product classes in the order of their numbers.
    pub classes: Vec<String>,
    /// SPDX expression of the bundle.
    pub spdx: String,
    /// Notice of third-party parts (the encoder).
    pub notice: String,
}

/// A file of a bundle: its name and its bytes.
pub type NamedFile = (&'static str, Vec<u8>);

/// Writes the bundle `dir`; an existing bundle there is replaced when the new one is whole.
/// `golden_images` are pictures at model size (`input * input * 3` bytes, RGB).
///
/// # Errors
/// When the parts do not fit, a golden picture has the wrong size or gives a map that is not
/// finite, `dir` holds anything but a bundle, or a file cannot be written.
pub fn write_bundle(
    dir: &Path,
    arch: &Architecture,
    encoder: &EncoderWeights,
    weights: &Weights,
    golden_images: &[Vec<u8>],
    facts: BundleFacts,
) -> Result<Manifest> {
    write_bundle_with(dir, (arch, encoder, weights), golden_images, facts, &|_| Vec::new())
}

/// The same with files for people beside the model's, made when the manifest is known; no hash
/// covers them.
///
/// # Errors
/// As [`write_bundle`].
pub fn write_bundle_with(
    dir: &Path,
    (arch, encoder, weights): (&Architecture, &EncoderWeights, &Weights),
    golden_images: &[Vec<u8>],
    facts: BundleFacts,
    for_people: &dyn Fn(&Manifest) -> Vec<NamedFile>,
) -> Result<Manifest> {
    check_target(dir)?;
    let model = super::model(arch, encoder, weights, facts.storage)?;
    let half = to_half(&model, &BTreeSet::new()).map_err(|e| {
        let text = "the model cannot be written in 16 bits";
        ExportError::with_source(ExportErrorKind::Graph, text, e)
    })?;
    let model = model.encode_to_vec();
    let golden = golden(arch, &model, golden_images)?;
    let manifest = manifest(arch, encoder, facts, &model, &golden, golden_images.len());
    let text = toml::to_string_pretty(&manifest).map_err(|e| {
        ExportError::with_source(ExportErrorKind::Io, "the manifest cannot be written", e)
    })?;
    let mut files = vec![
        (MODEL_FILE, model),
        (HALF_MODEL_FILE, half.encode_to_vec()),
        (GOLDEN_FILE, golden),
        (WEIGHTS_FILE, trained(arch, weights)?),
        (MANIFEST_FILE, text.into_bytes()),
    ];
    files.extend(for_people(&manifest));
    install(dir, &files).map_err(|e| {
        let bytes: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        let remedy = match full.contains(&e.kind()) {
            true => format!(
                "the disk is full: free {} MB and run the same command again, which goes on from \
                 its checkpoint",
                bytes.div_ceil(1_000_000)
            ),
            false => "check the disk".to_owned(),
        };
        let text = format!("the bundle {} cannot be written; {remedy}", dir.display());
        ExportError::with_source(ExportErrorKind::Io, text, e)
    })?;
    Ok(manifest)
}

/// Only a missing folder, an empty one or a bundle is ever replaced. Worth asking before a long
/// training, not only after it.
///
/// # Errors
/// When `dir` is anything else.
pub fn check_target(dir: &Path) -> Result<()> {
    let known =
        [MODEL_FILE, HALF_MODEL_FILE, GOLDEN_FILE, WEIGHTS_FILE, MANIFEST_FILE, REPORT_FILE];
    let refuse = |what: &str| {
        let text = format!("{} {what}; choose another folder", dir.display());
        Err(ExportError::new(ExportErrorKind::Io, text))
    };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(_) => return refuse("is not a folder that can be read"),
    };
    for entry in entries {
        let Ok(name) = entry.map(|e| e.file_name()) else { return refuse("cannot be read") };
        if !known.iter().any(|k| name == *k) {
            return refuse(&format!("holds `{}`, no part of a bundle", name.display()));
        }
    }
    Ok(())
}

/// The golden tensors: pictures with the map and score that the written model gives them.
fn golden(arch: &Architecture, model: &[u8], images: &[Vec<u8>]) -> Result<Vec<u8>> {
    let graph = |text: &'static str| {
        move |e: Box<dyn std::error::Error + Send + Sync>| {
            ExportError::with_source(ExportErrorKind::Graph, text, e)
        }
    };
    let side = arch.input;
    if images.is_empty() || images.iter().any(|i| i.len() != side * side * 3) {
        let text = format!("golden pictures: at least one, each {side} x {side} RGB");
        return Err(ExportError::new(ExportErrorKind::Golden, text));
    }
    let read =
        ModelProto::decode(model).map_err(|e| graph("the model cannot be read back")(e.into()))?;
    let plan = Plan::new(&read, side).map_err(|e| graph("the model does not load")(e.into()))?;
    let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    for (i, image) in images.iter().enumerate() {
        let mut finite = true;
        tensors.push((format!("image.{i}"), Dtype::U8, vec![side, side, 3], image.clone()));
        let take = |output: usize, values: &[f32]| {
            finite &= values.iter().all(|v| v.is_finite());
            let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            let (name, shape) =
                [("anomaly_map", vec![arch.map, arch.map]), ("score", vec![1])][output].clone();
            tensors.push((format!("{name}.{i}"), Dtype::F32, shape, raw));
        };
        plan.run(image, take).map_err(|e| graph("the model does not run")(e.into()))?;
        if !finite {
            let text = format!("golden picture {i} gives a map that is not finite");
            return Err(ExportError::new(ExportErrorKind::Golden, text));
        }
    }
    let views: std::result::Result<Vec<_>, _> = tensors
        .iter()
        .map(|(n, kind, shape, raw)| Ok((n, TensorView::new(*kind, shape.clone(), raw)?)))
        .collect();
    views.and_then(|v| safetensors::serialize(v, None)).map_err(
        |e: safetensors::SafeTensorError| {
            ExportError::with_source(ExportErrorKind::Golden, "golden tensors cannot be written", e)
        },
    )
}

/// The trained weights with their architecture.
fn trained(arch: &Architecture, weights: &Weights) -> Result<Vec<u8>> {
    let failed = |e: Box<dyn std::error::Error + Send + Sync>| {
        ExportError::with_source(ExportErrorKind::Weights, "the weights cannot be written", e)
    };
    let arch = serde_json::to_string(arch).map_err(|e| failed(e.into()))?;
    let raw: BTreeMap<&String, Vec<u8>> = weights
        .iter()
        .map(|(n, t)| (n, t.values.iter().flat_map(|v| v.to_le_bytes()).collect()))
        .collect();
    let views: std::result::Result<Vec<_>, _> = weights
        .iter()
        .map(|(n, t)| Ok((n, TensorView::new(Dtype::F32, t.shape.clone(), &raw[n])?)))
        .collect();
    // One entry only: the order of several would differ from run to run.
    let metadata = HashMap::from([("architecture".to_owned(), arch)]);
    views
        .and_then(|v| safetensors::serialize(v, Some(metadata)))
        .map_err(|e: safetensors::SafeTensorError| failed(e.into()))
}

fn manifest(
    arch: &Architecture,
    encoder: &EncoderWeights,
    facts: BundleFacts,
    model: &[u8],
    golden: &[u8],
    count: usize,
) -> Manifest {
    Manifest {
        format: FORMAT,
        name: facts.name,
        created_utc: facts.created_utc,
        classes: facts.classes,
        model: ModelFile {
            file: MODEL_FILE.to_owned(),
            sha256: sha256_hex(model),
            opset: OPSET,
            precision: Storage::Fp32.as_str().to_owned(),
            storage: facts.storage.as_str().to_owned(),
        },
        input: InputSpec { name: INPUT.to_owned(), width: arch.input, height: arch.input },
        output: OutputSpec {
            anomaly_map: ANOMALY_MAP.to_owned(),
            score: SCORE.to_owned(),
            map_width: arch.map,
            map_height: arch.map,
        },
        method: MethodRecord {
            name: "crr".to_owned(),
            preset: facts.preset,
            encoder: encoder.name().to_owned(),
            encoder_sha256: encoder.sha256().to_owned(),
            distance_weight: arch.distance_weight,
            score_fraction: arch.score_fraction,
        },
        golden: GoldenSpec {
            file: GOLDEN_FILE.to_owned(),
            sha256: sha256_hex(golden),
            count,
            tolerance: GOLDEN_TOLERANCE,
        },
        training: TrainingRecord {
            command: facts.command,
            program: concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).to_owned(),
            seed: facts.seed,
            images: facts.images,
            iterations: facts.iterations,
            minutes: facts.minutes,
            dataset_sha256: facts.dataset_sha256,
        },
        licence: LicenceRecord { spdx: facts.spdx, notice: facts.notice },
    }
}

/// Writes the files into a hidden sibling of `dir`, then puts it in `dir`'s place.
fn install(dir: &Path, files: &[(&str, Vec<u8>)]) -> io::Result<()> {
    let dir = std::path::absolute(dir)?;
    let parent = dir.parent().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    fs::create_dir_all(&parent)?;
    let fresh = sibling(&dir, "new")?;
    // Of a run that was killed, whose number has come round.
    discard(&fresh);
    let written = write_all(&fresh, files).and_then(|()| swap(&fresh, &dir));
    // After a failure what is left of the attempt is of no use; after success it is the old bundle.
    discard(&fresh);
    written?;
    File::open(&parent)?.sync_all()
}

/// What is in the way of nobody may stay when it cannot be removed.
fn discard(folder: &Path) {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(error = %e, "{} cannot be removed; do it by hand", folder.display());
        }
        _ => {}
    }
}

/// `.NAME.TAG-PID` beside `dir`.
fn sibling(dir: &Path, tag: &str) -> io::Result<PathBuf> {
    let name = dir.file_name().ok_or(io::ErrorKind::InvalidInput)?.display();
    Ok(dir.with_file_name(format!(".{name}.{tag}-{}", std::process::id())))
}

fn write_all(dir: &Path, files: &[(&str, Vec<u8>)]) -> io::Result<()> {
    fs::create_dir(dir)?;
    for (name, bytes) in files {
        let mut file = File::create_new(dir.join(name))?;
        file.write_all(bytes)?;
        file.sync_all()?;
    }
    File::open(dir)?.sync_all()
}

/// Puts `fresh` in the place of `dir`; what was there is in `fresh` then. The two change places in one
/// step, so that whoever opens `dir`, even after a power cut, finds a whole bundle.
fn swap(fresh: &Path, dir: &Path) -> io::Result<()> {
    if !dir.exists() {
        return fs::rename(fresh, dir);
    }
    match renameat_with(CWD, fresh, CWD, dir, RenameFlags::EXCHANGE) {
        // Network drives and a few others cannot do that.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => step_aside(fresh, dir),
        other => Ok(other?),
    }
}

/// The same in steps: the old one steps aside first, and comes back when the new one cannot take its
/// place.
fn step_aside(fresh: &Path, dir: &Path) -> io::Result<()> {
    let old = sibling(dir, "old")?;
    discard(&old);
    fs::rename(dir, &old)?;
    if let Err(e) = fs::rename(fresh, dir) {
        fs::rename(&old, dir)?;
        return Err(e);
    }
    fs::rename(&old, fresh)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_replaced_whole_where_a_killed_run_left_something_and_on_any_file_system() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("line1");
        let file = |name: &'static str, text: &str| vec![(name, text.as_bytes().to_vec())];
        let names = |dir: &Path| {
            let entries = fs::read_dir(dir).unwrap();
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
        };
        for (name, text) in [("first", "1"), ("second", "2")] {
            let rest = sibling(&dir, "new").unwrap();
            write_all(&rest, &file("half", "")).unwrap();
            install(&dir, &file(name, text)).unwrap();
            assert_eq!(
                (names(&dir), names(parent.path())),
                (vec![name.into()], vec!["line1".into()])
            );
        }
        // On a file system that cannot exchange.
        let fresh = sibling(&dir, "new").unwrap();
        write_all(&sibling(&dir, "old").unwrap(), &file("killed", "")).unwrap();
        write_all(&fresh, &file("third", "3")).unwrap();
        step_aside(&fresh, &dir).unwrap();
        assert_eq!((names(&dir), names(&fresh)), (vec!["third".into()], vec!["second".into()]));
    }
}

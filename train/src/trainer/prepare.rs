//! What is looked at before anything takes long: the data set, memory and disk.

use std::path::{Path, PathBuf};

use crrd::config::Framings;

use super::compute::Compute;
use super::fit::FitOptions;
use super::settings::Settings;
use super::workers::Workers;
use super::{TrainError, TrainErrorKind};
use crate::arch::Architecture;
use crate::dataset::{Dataset, Sight};
use crate::memory::{self, Batches, Need};
use crate::progress::Progress;
use crate::survey::Survey;

/// Bytes for each trained value that a run leaves on the disk at once: a checkpoint with the
/// optimiser's three, the one that it replaces, the model in both precisions and the weights file.
const BYTES_PER_VALUE: u64 = 4 * (4 + 4 + 1 + 1) + 2;
/// Manifest, golden pictures, report.
const SMALL_FILES_BYTES: u64 = 16 << 20;

/// Memory that the run may take, told before anything is held; `None` where it cannot be told.
pub(super) fn free_bytes(options: &FitOptions) -> Option<u64> {
    options.memory_bytes.or_else(memory::free_bytes)
}

/// The good pictures as the station sees them. What would not even fit with the least of everything
/// is refused before a picture is decoded.
pub(super) fn dataset(
    options: &FitOptions,
    settings: &Settings,
    free: Option<u64>,
) -> Result<Dataset, TrainError> {
    let arch = &settings.arch;
    let framings = Framings::of_file(options.config.as_deref()).map_err(|e| {
        let text = "what the station sees of its pictures is not known";
        TrainError::with_source(TrainErrorKind::Config, text, e)
    })?;
    let sight = Sight { input: arch.input, map: arch.map, framings: &framings };
    if let Some(free) = free {
        let decoded = Dataset::count(&options.data, &sight)?;
        let least = Need { decoded, pictures: 1, variants: 1, workers: 1 };
        memory::fit(arch, batches(options, settings), least, free).map_err(refuse)?;
    }
    Ok(Dataset::load_as_seen(&options.data, &sight)?)
}

/// Says what lies in the data set, and keeps it for the report.
pub(super) fn survey(dataset: &Dataset, dir: &Path, progress: &Progress) -> Survey {
    let survey = Survey::of(dataset, dir);
    survey.words(dir).lines().for_each(|line| progress.note(line));
    survey
}

/// Refuses to begin what could not be written at the end.
pub(super) fn check_disk(options: &FitOptions, arch: &Architecture) -> Result<(), TrainError> {
    let folder = existing(&options.out);
    crrd::sys::fs::check_writable(&folder).map_err(|e| {
        let text = format!("the bundle {} could not be written", options.out.display());
        TrainError::with_source(TrainErrorKind::Export, text, e)
    })?;
    let need = disk_bytes(arch, encoder_bytes(options));
    // Where it cannot be told the run goes on: the end says what is wrong, and loses nothing.
    let Some(free) = free_disk_bytes(&folder) else { return Ok(()) };
    enough(free, need, &folder)
}

fn enough(free: u64, need: u64, folder: &Path) -> Result<(), TrainError> {
    if free >= need {
        return Ok(());
    }
    let mb = |bytes: u64| bytes.div_ceil(1_000_000);
    Err(TrainError::new(
        TrainErrorKind::Export,
        format!(
            "{} MB are free at {}, and a run needs about {} MB for its checkpoint and the bundle: \
             free some, or choose another --out",
            mb(free),
            folder.display(),
            mb(need)
        ),
    ))
}

/// What a run leaves on the disk at once, with an encoder file of this size: it is in the model in both
/// precisions.
fn disk_bytes(arch: &Architecture, encoder: u64) -> u64 {
    encoder
        + encoder / 2
        + memory::trained_values(arch).iter().sum::<u64>() * BYTES_PER_VALUE
        + SMALL_FILES_BYTES
}

/// The folder itself or the nearest one above it that is there.
fn existing(out: &Path) -> PathBuf {
    let absolute = std::path::absolute(out).unwrap_or_else(|_| out.to_owned());
    // The bundle's own folder is replaced, so its parent is what must be writable.
    let found = absolute.ancestors().skip(1).find(|dir| dir.is_dir());
    found.map_or_else(|| PathBuf::from("."), Path::to_owned)
}

fn free_disk_bytes(dir: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(dir).ok()?;
    found.f_bavail.checked_mul(found.f_frsize)
}

fn encoder_bytes(options: &FitOptions) -> u64 {
    std::fs::metadata(&options.encoder).map_or(0, |m| m.len())
}

fn batches(options: &FitOptions, settings: &Settings) -> Batches {
    Batches {
        share: settings.batch.share,
        tokens: settings.batch.tokens,
        head_pictures: settings.head_batch.pictures,
        is_on_gpu: options.compute == Compute::Cuda,
        encoder_bytes: encoder_bytes(options),
    }
}

fn refuse(text: String) -> TrainError {
    TrainError::new(TrainErrorKind::Budget, text)
}

/// Cuts the run down to the memory there is; variants of each picture and workers that are left.
pub(super) fn within_memory(
    options: &FitOptions,
    settings: &Settings,
    (wanted, free): (Need, Option<u64>),
    workers: Workers,
    resumes: bool,
    notes: &mut Vec<String>,
) -> Result<(usize, Workers), TrainError> {
    let variants = wanted.variants;
    let Some(free) = free else { return Ok((variants, workers)) };
    let batches = batches(options, settings);
    let fit = memory::fit(&settings.arch, batches, wanted, free).map_err(refuse)?;
    if resumes && fit.need.variants != variants {
        return Err(refuse(format!(
            "the interrupted run had memory for {variants} damaged variants of each picture, and \
             now there is room for {}: end other programs, or begin anew with --restart",
            fit.need.variants
        )));
    }
    let workers = match fit.need.workers == workers.count() {
        true => workers,
        false => Workers::new(fit.need.workers).map_err(|e| {
            TrainError::with_source(TrainErrorKind::System, "worker threads cannot be started", e)
        })?,
    };
    notes.extend(fit.cut);
    let on_gpu = memory::head_bytes(&settings.arch, batches.head_pictures);
    if batches.is_on_gpu && on_gpu > 0 {
        let gib = on_gpu as f64 / (1u64 << 30) as f64;
        notes.push(format!("the parity head takes about {gib:.1} GiB of the GPU's memory"));
    }
    Ok((fit.need.variants, workers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_large_enough_for_the_encoder_in_both_precisions_or_refused_in_words() {
        let arch = crate::arch::tiny();
        let need = disk_bytes(&arch, 100_000_000);
        assert_eq!(need - disk_bytes(&arch, 0), 150_000_000);
        assert!(enough(need, need, Path::new("engines")).is_ok());
        let error = enough(need - 1, need, Path::new("engines")).unwrap_err();
        assert_eq!(error.kind(), TrainErrorKind::Export);
        let mb = need.div_ceil(1_000_000);
        for says in [format!("{mb} MB are free at engines"), format!("needs about {mb} MB")] {
            assert!(error.to_string().contains(&says), "{error}");
        }
    }
}

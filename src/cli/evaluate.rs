//! `crrd evaluate`: how well an engine tells good parts from bad ones on a labelled test set.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde::Serialize;

use super::engine::EngineArgs;
use super::geometry;
use super::workers::{PICTURE_BYTES_MAX, Workers};
use crate::config::Framings;
use crate::evaluate::{
    ClassMetrics, Overlay, Scores, TestPicture, TestSet, Values, class_dirs, read_mask, table,
    test_set,
};
use crate::frame::{AnomalyMap, Framing, Geometry};
use crate::image::decode;
use crate::sys::fs;

/// Measures an engine on a test set in MVTec layout: image and pixel AUROC, AP, F1-max, AUPRO
///
/// Masks are brought to the map's size (nearest pixel, above 0). A class without masks has image
/// metrics only. Exit code 0; 2 for an error.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    engine: EngineArgs,
    /// Folder with CLASS/test/good, CLASS/test/DEFECT, CLASS/ground_truth/DEFECT/NAME_mask.png
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Also write the numbers as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also write a picture per test picture: picture, heat, mask at F1-max, ground truth
    #[arg(long, value_name = "DIR")]
    overlays: Option<PathBuf>,
    /// The station's configuration: pictures and masks are cut, turned and rectified as
    /// `camera.geometry` says, and seen in the tiles of the recipe [default: whole pictures at once]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only these classes
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    classes: Option<Vec<String>>,
    /// Engines that work side by side [default: one per core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

/// The JSON file.
#[derive(Serialize)]
struct Report<'a> {
    engine_sha256: &'a str,
    map_width: usize,
    map_height: usize,
    classes: &'a [ClassMetrics],
    mean: Values,
}

/// # Errors
/// When the engine or the data cannot be read, or a result cannot be written.
pub fn run(args: &Args) -> Result<ExitCode> {
    let dirs = class_dirs(&args.data, args.classes.as_deref())?;
    let sets = dirs.iter().map(test_set).collect::<Result<Vec<TestSet>, _>>()?;
    let framings = Framings::of_file(args.config.as_deref())?;
    let mut workers = Workers::open(&args.engine, args.threads)?;
    let mut classes = Vec::with_capacity(sets.len());
    for set in &sets {
        let framing = framings.of_class(&set.class);
        geometry::check_size(&framing, workers.spec())?;
        classes.push(class(&mut workers, set, &framing, args.overlays.as_deref())?);
    }
    print!("{}", table(&classes));
    if let Some(file) = &args.json {
        let spec = workers.spec();
        let report = Report {
            engine_sha256: &spec.sha256,
            map_width: spec.map_width,
            map_height: spec.map_height,
            classes: &classes,
            mean: Values::mean(&classes),
        };
        fs::write_atomic(file, &serde_json::to_vec_pretty(&report)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is kept of a picture: the map and the mask at its size.
struct Answer {
    map: AnomalyMap,
    mask: Option<Vec<bool>>,
}

fn class(
    workers: &mut Workers,
    set: &TestSet,
    framing: &Framing,
    overlays: Option<&Path>,
) -> Result<ClassMetrics> {
    let geometry = &framing.geometry;
    let files: Vec<PathBuf> = set.pictures.iter().map(|p| p.path.clone()).collect();
    let answers = workers.run(&set.class, (&files, framing), |at, _, map| {
        let mask = set.pictures[at].mask.as_deref();
        let mask = mask.map(|m| mask_at(m, geometry, (map.width, map.height))).transpose()?;
        Ok(Answer { map, mask })
    })?;
    let with_pixels = set.has_masks();
    let mut scores = Scores::default();
    for (picture, answer) in set.pictures.iter().zip(&answers) {
        match picture.defect {
            None => scores.push_good(&answer.map, with_pixels),
            Some(_) => scores.push_bad(&answer.map, answer.mask.as_deref()),
        }
    }
    let metrics = scores.metrics(&set.class);
    if let Some(dir) = overlays {
        for (picture, answer) in set.pictures.iter().zip(&answers) {
            draw((dir, &set.class), geometry, picture, answer, metrics.pixel_f1_threshold)?;
        }
    }
    Ok(metrics)
}

fn mask_at(file: &Path, geometry: &Geometry, size: (usize, usize)) -> Result<Vec<bool>> {
    let bytes = fs::read_limited(file, PICTURE_BYTES_MAX)?;
    read_mask(&bytes, geometry, size).with_context(|| format!("mask {}", file.display()))
}

/// `DIR/CLASS/DEFECT_NAME.png`; the picture is decoded again, so that a class's pictures need not
/// be kept in memory.
fn draw(
    (dir, class): (&Path, &str),
    geometry: &Geometry,
    picture: &TestPicture,
    answer: &Answer,
    threshold: Option<f32>,
) -> Result<()> {
    let bytes = fs::read_limited(&picture.path, PICTURE_BYTES_MAX)?;
    let decoded = decode(&bytes).with_context(|| picture.path.display().to_string())?;
    let overlay = Overlay {
        picture: &decoded,
        geometry: *geometry,
        map: &answer.map,
        threshold,
        truth: answer.mask.as_deref(),
    };
    let png = overlay.png().with_context(|| picture.path.display().to_string())?;
    let folder = dir.join(class);
    fs::ensure_dir(&folder)?;
    let stem = picture.path.file_stem().unwrap_or_default().to_string_lossy();
    let defect = picture.defect.as_deref().unwrap_or(crate::evaluate::GOOD);
    fs::write_atomic(&folder.join(format!("{defect}_{stem}.png")), &png)?;
    Ok(())
}

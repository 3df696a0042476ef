//! `crrd-train check`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use crrd::config::Framings;
use crrd::sys::fs::write_atomic;
use rayon::prelude::*;

use crate::arch::Architecture;
use crate::dataset::{Dataset, Image, Sight};
use crate::encoder::{EncoderWeights, FrozenEncoder};
use crate::onnx::Storage;
use crate::survey::{Survey, glance_features, outliers, pooled, sheet};
use crate::trainer::Preset;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folder of product classes: CLASS/train/good/*, and CLASS/calibration, CLASS/test.
    #[arg(value_name = "DIR")]
    data: PathBuf,
    /// The station's configuration: what the model sees of the pictures, and whether they fit
    /// [default: whole pictures at once].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Encoder weights, of any encoder that `fit` takes: good pictures are compared by what a model
    /// sees. Without, by their looks.
    #[arg(long, value_name = "FILE")]
    encoder: Option<PathBuf>,
    /// Picture of the good parts that look unlike the others, with their names (PNG).
    #[arg(long, value_name = "FILE")]
    sheet: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    // First: what cannot be used is said before all pictures are read.
    let encoder = args.encoder.as_deref().map(load).transpose()?;
    let arch = encoder.as_ref().map_or_else(|| Preset::Edge.settings().arch, |(_, a)| a.clone());
    let framings = Framings::of_file(args.config.as_deref())?;
    let sight = Sight { input: arch.input, map: arch.map, framings: &framings };
    let set = Dataset::load_as_seen(&args.data, &sight)?;
    let mut survey = Survey::of(&set, &args.data);
    let features: Vec<(&Image, Vec<f32>)> = match &encoder {
        None => set.images.iter().map(|image| (image, glance_features(image))).collect(),
        Some((encoder, arch)) => {
            let encoded = set.images.par_iter().map(|image| {
                let mut values = vec![0f32; arch.features()];
                encoder.encode(&image.rgb, &mut values)?;
                Ok((image, pooled(values.iter().copied(), arch.channels())))
            });
            encoded.collect::<anyhow::Result<_>>()?
        }
    };
    survey.outliers = outliers(&features);
    print!("{}", survey.words(&args.data));
    if let Some(file) = &args.sheet {
        write_sheet(&survey, file)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The encoder, and the model that is usual on it.
fn load(file: &Path) -> anyhow::Result<(FrozenEncoder, Architecture)> {
    let unusable = || format!("the encoder {} cannot be used; leave --encoder out", file.display());
    let weights = EncoderWeights::load(file).with_context(unusable)?;
    let preset = Preset::usual_for(&weights.spec()).unwrap_or(Preset::Edge);
    let arch = preset.settings_on(&weights.spec(), file)?.arch;
    let encoder = FrozenEncoder::with_storage(&weights, &arch, Storage::Fp32);
    Ok((encoder.with_context(unusable)?, arch))
}

fn write_sheet(survey: &Survey, file: &Path) -> anyhow::Result<()> {
    if survey.outliers.is_empty() {
        println!("no good picture looks unlike the others: no sheet was written");
        return Ok(());
    }
    write_atomic(file, &sheet(&survey.odd_ones())?)?;
    println!("they are shown in {}", file.display());
    Ok(())
}

//! Bundles of presets that were never trained, weights by formula: the graphs in their real sizes,
//! for trying what builds or runs them. What such a model says of a picture means nothing.
//!
//! `cargo run -p crrd-train --locked --example untrained -- FOLDER PRESET...`
#![allow(clippy::unwrap_used, reason = "the helpers of the tests, which may unwrap, are used")]

use std::path::Path;

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use crrd_train::export::{BundleFacts, write_bundle};
use crrd_train::onnx::Storage;
use crrd_train::trainer::Preset;

#[path = "../tests/export_support/mod.rs"]
mod export_support;

use export_support::{encoder_weights, picture, weights};

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [folder, presets @ ..] = &args[..] else { bail!("usage: untrained FOLDER PRESET...") };
    ensure!(!presets.is_empty(), "no preset is named");
    let named = |name: &String| {
        Preset::from_str(name, false).map_err(|e| anyhow::anyhow!("preset {name}: {e}"))
    };
    for preset in presets.iter().map(named).collect::<Result<Vec<_>, _>>()? {
        write(preset, Path::new(folder)).with_context(|| format!("preset {}", preset.as_str()))?;
    }
    Ok(())
}

/// Writes `FOLDER/PRESET`.
fn write(preset: Preset, folder: &Path) -> anyhow::Result<()> {
    let arch = preset.settings().arch;
    let encoder = encoder_weights(&arch.encoder);
    let trained = weights(&arch);
    let values: usize = trained.values().map(|t| t.values.len()).sum();
    let out = folder.join(preset.as_str());
    write_bundle(&out, &arch, &encoder, &trained, &[picture(arch.input, 0)], facts(preset))?;
    println!("{}: {:.1} million trained values", preset.as_str(), values as f64 / 1e6);
    Ok(())
}

fn facts(preset: Preset) -> BundleFacts {
    BundleFacts {
        name: format!("untrained-{}", preset.as_str()),
        preset: preset.as_str().to_owned(),
        command: format!("untrained {}", preset.as_str()),
        seed: 0,
        images: 0,
        iterations: 0,
        minutes: 0.0,
        dataset_sha256: "0".repeat(64),
        created_utc: "1970-01-01T00:00:00Z".to_owned(),
        storage: Storage::Fp32,
        classes: ["cap", "coupon", "washer"].map(str::to_owned).to_vec(),
        spdx: "CC0-1.0".to_owned(),
        notice: "weights by formula, never trained".to_owned(),
    }
}

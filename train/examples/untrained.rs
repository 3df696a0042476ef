//! Bundles of presets that were never trained, weights by formula: the graphs in their real sizes,
//! for trying what builds or runs them. What such a model says of a picture means nothing.
//!
//! `cargo run -p crrd-train --locked --example untrained -- FOLDER PRESET...`, with the published head
//! for those named PRESET-parity.
#![allow(clippy::unwrap_used, reason = "the helpers of the tests, which may unwrap, are used")]

use std::path::Path;

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use crrd_train::export::{BundleFacts, write_bundle};
use crrd_train::onnx::Storage;
use crrd_train::trainer::{HeadChoice, Preset};

#[path = "../tests/export_support/mod.rs"]
mod export_support;

use export_support::{encoder_weights, picture, weights};

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [folder, presets @ ..] = &args[..] else { bail!("usage: untrained FOLDER PRESET...") };
    ensure!(!presets.is_empty(), "no preset is named");
    for name in presets {
        write(name, Path::new(folder)).with_context(|| format!("preset {name}"))?;
    }
    Ok(())
}

/// Writes `FOLDER/NAME`.
fn write(name: &str, folder: &Path) -> anyhow::Result<()> {
    let (preset, head) = match name.strip_suffix("-parity") {
        Some(preset) => (preset, HeadChoice::Parity),
        None => (name, HeadChoice::Slim),
    };
    let preset = Preset::from_str(preset, false).map_err(anyhow::Error::msg)?;
    let arch = preset.settings().with_head(head).arch;
    let encoder = encoder_weights(&arch.encoder);
    let trained = weights(&arch);
    let values: usize = trained.values().map(|t| t.values.len()).sum();
    let golden = [picture(arch.input, 0)];
    write_bundle(&folder.join(name), &arch, &encoder, &trained, &golden, facts(name, preset))?;
    println!("{name}: {:.1} million trained values", values as f64 / 1e6);
    Ok(())
}

fn facts(name: &str, preset: Preset) -> BundleFacts {
    BundleFacts {
        name: format!("untrained-{name}"),
        preset: preset.as_str().to_owned(),
        command: format!("untrained {name}"),
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

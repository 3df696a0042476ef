//! `crrd-train fit`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::ValueEnum;
use crrd::sys::clock::{Clock, RealClock};
use crrd::sys::shutdown::Shutdown;

use crate::onnx::Storage;
use crate::progress::Progress;
use crate::trainer::{Compute, FitOptions, Fitted, HeadChoice, MixChoice, Part, Preset, fit};

/// Where the encoder is looked for when nothing is said.
const ENCODER: &str = "encoders/efficientnet_lite0.safetensors";
/// Longest budget that is surely meant: a week.
const MINUTES_MAX: f64 = 7.0 * 24.0 * 60.0;
/// Most threads that are surely meant.
const THREADS_MAX: usize = 1024;
/// Exit code of an interrupted run: 128 + SIGINT, as shells expect.
const EXIT_INTERRUPTED: u8 = 130;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum StorageArg {
    Fp16,
    Fp32,
}

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folder of product classes: CLASS/train/good/*.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The station's configuration: pictures are cut, turned and rectified as `camera.geometry`
    /// says, and seen in the tiles of the recipe [default: whole pictures at once].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The engine bundle to write, e.g. engines/NAME.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Model size.
    #[arg(long, value_enum, default_value = "edge")]
    preset: Preset,
    /// The segmentation head; parity is the published one, for paper-* on a GPU with much memory.
    #[arg(long, value_enum, default_value = "slim")]
    head: HeadChoice,
    /// Leave a part of the method out, to measure what it brings.
    #[arg(long, value_enum, value_name = "PART", value_delimiter = ',')]
    without: Vec<Part>,
    /// Share of the decoder's input that is masked in training, 0 to below 1; by default the
    /// preset's (0.4).
    #[arg(long, value_name = "P")]
    mask: Option<f32>,
    /// Kinds of synthetic damage; by default perlin (as published) for paper-*, standard for the
    /// others.
    #[arg(long, value_enum, value_name = "KINDS")]
    mix: Option<MixChoice>,
    /// Seed of everything random.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Time budget, everything included; by default 22 (edge), 55 (accurate) or 2.5 (tiny),
    /// none for paper-*.
    #[arg(long, value_name = "M", conflicts_with = "iterations")]
    minutes: Option<f64>,
    /// Decoder iterations instead of a time budget: runs with the same seed are then equal; by
    /// default 10000 for paper-*.
    #[arg(long, value_name = "N")]
    iterations: Option<usize>,
    /// Encoder weights, from `crrd-train import-encoder`; the file says which encoder it is. paper-*
    /// take their own, the other presets any convolutional one.
    #[arg(long, value_name = "FILE", default_value = ENCODER)]
    encoder: PathBuf,
    /// Folder of textures for synthetic defects; procedural textures by default.
    #[arg(long, value_name = "DIR")]
    textures: Option<PathBuf>,
    /// Worker threads; by default one for each processor.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// What decoder and head are trained on; cuda needs a program built with the feature `cuda`.
    #[arg(long, value_enum, default_value = "cpu")]
    device: Compute,
    /// Memory to use at most in MB; by default what is free.
    #[arg(long, value_name = "N")]
    memory_mb: Option<u64>,
    /// How the model file stores weights; fp16 halves the file.
    #[arg(long, value_enum, default_value = "fp32")]
    storage: StorageArg,
    /// Name of the model; by default the name of the output folder.
    #[arg(long)]
    name: Option<String>,
    /// Discard the checkpoint of an interrupted run.
    #[arg(long)]
    restart: bool,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let options = options(args)?;
    let shutdown = Shutdown::install().context("signals cannot be handled")?;
    let progress = Progress::visible();
    let fitted = fit(&options, &progress, &|| shutdown.is_requested());
    progress.finish();
    match fitted? {
        Fitted::Bundle(manifest) => {
            let training = &manifest.training;
            println!(
                "{}: {} images, {} iterations, {} minutes",
                options.out.display(),
                training.images,
                training.iterations,
                training.minutes
            );
            println!("model {} {}", manifest.model.sha256, manifest.model.file);
            Ok(ExitCode::SUCCESS)
        }
        Fitted::Interrupted(kept) => {
            eprintln!("{}", farewell(kept.as_deref()));
            Ok(ExitCode::from(EXIT_INTERRUPTED))
        }
    }
}

/// What an interrupted run leaves: the folder of its checkpoint, if it got that far.
fn farewell(kept: Option<&Path>) -> String {
    match kept {
        Some(dir) => format!(
            "interrupted; the same command resumes from {}, with --restart it begins anew",
            dir.display()
        ),
        None => "interrupted before training began: nothing was kept, and the same command begins \
                 anew"
            .to_owned(),
    }
}

fn options(args: Args) -> anyhow::Result<FitOptions> {
    if let Some(minutes) = args.minutes {
        ensure!(
            minutes > 0.0 && minutes <= MINUTES_MAX,
            "--minutes {minutes} is not between 0 and {MINUTES_MAX}"
        );
    }
    if let Some(mask) = args.mask {
        ensure!((0.0..1.0).contains(&mask), "--mask {mask} is not between 0 and 1");
    }
    ensure!(
        args.head == HeadChoice::Slim || !args.without.contains(&Part::Head),
        "--head parity and --without head contradict each other"
    );
    ensure!(args.iterations != Some(0), "--iterations must be at least 1");
    let available = || std::thread::available_parallelism().map_or(1, |n| n.get());
    let threads = args.threads.unwrap_or_else(available);
    ensure!(
        (1..=THREADS_MAX).contains(&threads),
        "--threads {threads} is not between 1 and {THREADS_MAX}"
    );
    let out_name = args.out.file_name().context("--out must name a folder")?;
    let name = args.name.clone().unwrap_or_else(|| out_name.to_string_lossy().into_owned());
    let command = command(&args);
    let iterations = match args.minutes {
        None => args.iterations.or(args.preset.iterations()),
        Some(_) => None,
    };
    Ok(FitOptions {
        name,
        command,
        data: args.data,
        config: args.config,
        out: args.out,
        preset: args.preset,
        head: args.head,
        without: args.without,
        mask_probability: args.mask,
        mix: args.mix,
        seed: args.seed,
        minutes: args.minutes,
        iterations,
        encoder: args.encoder,
        textures: args.textures,
        threads,
        compute: args.device,
        memory_bytes: args.memory_mb.map(|mb| mb.saturating_mul(1_000_000)),
        storage: match args.storage {
            StorageArg::Fp16 => Storage::Fp16,
            StorageArg::Fp32 => Storage::Fp32,
        },
        restart: args.restart,
        created_utc: RealClock.wall_utc_rfc3339(),
    })
}

/// The command that makes the model again. Only the last part of paths is recorded: a bundle
/// travels to other machines and should not tell about this one.
fn command(args: &Args) -> String {
    let last = |p: &Path| p.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut text = format!(
        "crrd-train fit --data {} --out {} --preset {} --seed {}",
        last(&args.data),
        last(&args.out),
        args.preset.as_str(),
        args.seed
    );
    if args.encoder != Path::new(ENCODER) {
        text += &format!(" --encoder {}", last(&args.encoder));
    }
    if let Some(file) = &args.config {
        text += &format!(" --config {}", last(file));
    }
    if args.head == HeadChoice::Parity {
        text += " --head parity";
    }
    if !args.without.is_empty() {
        let parts: Vec<_> = args.without.iter().map(|part| part.as_str()).collect();
        text += &format!(" --without {}", parts.join(","));
    }
    if let Some(mask) = args.mask {
        text += &format!(" --mask {mask}");
    }
    if let Some(mix) = args.mix {
        text += &format!(" --mix {}", mix.as_str());
    }
    if let Some(n) = args.iterations {
        text += &format!(" --iterations {n}");
    }
    if let Some(m) = args.minutes {
        text += &format!(" --minutes {m}");
    }
    if let Some(dir) = &args.textures {
        text += &format!(" --textures {}", last(dir));
    }
    if args.device == Compute::Cuda {
        text += " --device cuda";
    }
    if args.storage == StorageArg::Fp16 {
        text += " --storage fp16";
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parsed(more: &str) -> anyhow::Result<FitOptions> {
        let line = format!("fit --data d --out o/m {more}");
        options(Line::parse_from(line.split_whitespace()).args)
    }

    #[test]
    fn the_head_is_chosen_recorded_and_not_left_out_at_once() {
        let plain = parsed("--preset paper-b").unwrap();
        assert_eq!(plain.head, HeadChoice::Slim);
        assert!(!plain.command.contains("--head"));
        let parity = parsed("--preset paper-b --head parity --without repair").unwrap();
        assert_eq!(parity.head, HeadChoice::Parity);
        assert!(parity.command.contains("--head parity --without repair"), "{}", parity.command);
        let error = parsed("--head parity --without mask,head").unwrap_err().to_string();
        assert!(error.contains("contradict"), "{error}");
    }

    #[test]
    fn an_interrupted_run_promises_only_what_it_kept() {
        assert!(
            farewell(Some(Path::new("o/m.checkpoint"))).contains("resumes from o/m.checkpoint")
        );
        let nothing = farewell(None);
        assert!(nothing.contains("begins anew") && !nothing.contains("resumes"), "{nothing}");
    }

    #[test]
    fn an_encoder_of_ones_own_is_recorded_without_its_folder() {
        assert!(!parsed("").unwrap().command.contains("--encoder"));
        let own = parsed("--encoder here/resnet18.safetensors").unwrap();
        assert!(
            own.command.ends_with("--seed 0 --encoder resnet18.safetensors"),
            "{}",
            own.command
        );
    }

    #[test]
    fn the_damage_is_the_presets_unless_another_is_asked_for_and_then_recorded() {
        let plain = parsed("").unwrap();
        assert!(plain.mix.is_none() && !plain.command.contains("--mix"));
        for mix in [MixChoice::Standard, MixChoice::Perlin] {
            let asked = parsed(&format!("--mix {}", mix.as_str())).unwrap();
            assert_eq!(asked.mix, Some(mix));
            let recorded = format!("--mix {}", mix.as_str());
            assert!(asked.command.contains(&recorded), "{}", asked.command);
        }
    }
}

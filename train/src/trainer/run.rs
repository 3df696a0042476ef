//! One training run over prepared material: both stages, checkpoints, interruption.

use std::time::Instant;

use burn::tensor::Device;

use super::batch::Classes;
use super::levels;
use super::prototypes::Choice;
use super::settings::{HeadOptimiser, Settings};
use super::stage1::Stage1;
use super::stage2::{HeadStep, Stage2};
use super::workers::Workers;
use super::{TrainError, TrainErrorKind};
use crate::arch::{HostTensor, Weights};
use crate::checkpoint::{Checkpoint, State};
use crate::features::{Cache, Material, Purpose, Statistics, Variant, stream};
use crate::model::{init_decoder, init_head};
use crate::optim::{Moments, StableAdamW, clip_norm};
use crate::progress::{Moment, Progress};
use crate::schedule::{EASY_SHARE, Pace, easy_share, learning_rate};

/// Seconds between checkpoints: what a power cut costs at most.
const CHECKPOINT_INTERVAL_S: f64 = 120.0;
/// Limit of the gradient's norm in stage 2, where spikes come from single large defects.
const HEAD_NORM_MAX: f64 = 1.0;
/// Learning rates fall to this fraction of their peak.
const RATE_FLOOR: f64 = 0.1;
/// Weight of the newest batch in the loss that is shown.
const LOSS_SMOOTHING: f64 = 0.05;

/// How long the stages last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Length {
    /// A fixed number of stage 1 iterations: reproducible.
    Iterations(usize),
    /// Seconds for both stages together; the presets' iteration limit applies too.
    Seconds(f64),
}

/// What a run needs from outside.
pub struct Run<'a> {
    /// Settings.
    pub settings: &'a Settings,
    /// Pictures, damage, encoder and seed.
    pub material: &'a Material<'a>,
    /// Threads.
    pub workers: &'a Workers,
    /// A burn device with autodiff.
    pub device: &'a Device,
    /// Where progress is shown.
    pub progress: &'a Progress,
    /// Where the state is kept; `None` keeps none.
    pub checkpoint: Option<&'a Checkpoint>,
    /// Whether the user wants to stop.
    pub stop: &'a (dyn Fn() -> bool + Sync),
    /// How long to train.
    pub length: Length,
    /// When the program started, for the total time.
    pub started: Instant,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Trained to the end.
    Finished(Box<State>),
    /// Stopped by the user; the checkpoint has been written.
    Interrupted,
}

/// Share of the time that stage 1 takes of `head_share : 1` iterations; measured on two cores, a
/// stage 2 iteration costs about as much as one of stage 1.
fn decoder_time_share(settings: &Settings) -> f64 {
    1.0 / (1.0 + settings.head_share)
}

impl Run<'_> {
    /// Trains from scratch or from `resumed`.
    ///
    /// # Errors
    /// When the encoder fails, a checkpoint cannot be written, or the weights stop being finite.
    pub fn train(
        &self,
        cache: &mut Cache,
        resumed: Option<State>,
        fresh: State,
    ) -> Result<Outcome, TrainError> {
        let mut state = resumed.unwrap_or(fresh);
        let statistics = self.statistics(cache, &mut state);
        if state.counters.stage == 0 {
            self.begin(cache, &statistics, &mut state)?;
        }
        if state.counters.stage == 1 {
            if !self.stage1(cache, &statistics, &mut state)? {
                return self.interrupted(&mut state);
            }
            self.turn_to_head(cache, &statistics, &mut state)?;
        }
        if !self.stage2(cache, &statistics, &mut state)? {
            return self.interrupted(&mut state);
        }
        self.progress.finish();
        // Nothing is lost when the bundle cannot be written: the same command goes on from here.
        self.save(&mut state)?;
        state.counters.spent_s += self.started.elapsed().as_secs_f64();
        Ok(Outcome::Finished(Box::new(state)))
    }

    fn interrupted(&self, state: &mut State) -> Result<Outcome, TrainError> {
        self.progress.finish();
        self.save(state)?;
        Ok(Outcome::Interrupted)
    }

    /// What is kept is the state with the time spent so far; nothing is copied for it, a state may
    /// have gigabytes.
    fn save(&self, state: &mut State) -> Result<(), TrainError> {
        let Some(checkpoint) = self.checkpoint else { return Ok(()) };
        let before_s = state.counters.spent_s;
        state.counters.spent_s += self.started.elapsed().as_secs_f64();
        let saved = checkpoint.save(state);
        state.counters.spent_s = before_s;
        saved.map_err(TrainError::from)
    }

    /// Channel statistics with the taps' weights; on resumption those of the checkpoint, because
    /// they are part of the model.
    fn statistics(&self, cache: &Cache, state: &mut State) -> Statistics {
        let arch = &self.settings.arch;
        let stored = |name: &str| state.weights.get(name).map(|t| t.values.clone());
        if let (Some(mean), Some(deviation)) = (stored("taps.mean"), stored("taps.std")) {
            return Statistics { mean, deviation };
        }
        let mut statistics = match arch.is_projected() {
            true => Statistics::of(&cache.clean, arch.channels()),
            false => Statistics::identity(arch.channels()),
        };
        let weights = arch.taps.iter().zip(&self.settings.tap_weights);
        let factors = weights.flat_map(|(tap, w)| std::iter::repeat_n(*w, tap.channels));
        statistics.deviation.iter_mut().zip(factors).for_each(|(d, w)| *d /= w);
        let tensor =
            |values: &[f32]| HostTensor { shape: vec![values.len()], values: values.to_vec() };
        state.weights.insert("taps.mean".into(), tensor(&statistics.mean));
        state.weights.insert("taps.std".into(), tensor(&statistics.deviation));
        statistics
    }

    fn begin(
        &self,
        cache: &Cache,
        statistics: &Statistics,
        state: &mut State,
    ) -> Result<(), TrainError> {
        let (arch, seed) = (&self.settings.arch, self.material.seed);
        state.weights.extend(init_decoder(arch, &mut stream(seed, Purpose::Weights, 0, 0)));
        state.weights.extend(init_head(arch, &mut stream(seed, Purpose::Weights, 1, 0)));
        let (material, classes) = (self.material, &self.classes());
        let choice = Choice { arch, cache, material, statistics, classes };
        for i in 0..arch.memories.len() {
            let prototypes = choice.of(i, self.workers)?;
            state.weights.insert(format!("memory.{i}.prototypes"), prototypes);
        }
        state.moments = Moments::default();
        state.counters.stage = 1;
        state.counters.stage_budget_s = match self.length {
            Length::Iterations(_) => None,
            Length::Seconds(s) => Some(s * decoder_time_share(self.settings)),
        };
        Ok(())
    }

    fn turn_to_head(
        &self,
        cache: &Cache,
        statistics: &Statistics,
        state: &mut State,
    ) -> Result<(), TrainError> {
        let counters = &mut state.counters;
        counters.decoder_iterations = counters.iteration;
        counters.records.decoder_s = counters.stage_s;
        counters.stage_budget_s = match self.length {
            Length::Iterations(_) => None,
            // What stage 1 left over, when its iteration limit came first, is not stretched.
            Length::Seconds(s) => Some(s * (1.0 - decoder_time_share(self.settings))),
        };
        (counters.stage, counters.iteration, counters.stage_s) = (2, 0, 0.0);
        state.moments = Moments::default();
        let device = self.device.clone().inner();
        let measured = levels::measure(
            (&self.settings.arch, &state.weights),
            (cache, self.material, statistics),
            &device,
            self.workers,
        )?;
        state.weights.extend(measured);
        Ok(())
    }

    fn stage1(
        &self,
        cache: &mut Cache,
        statistics: &Statistics,
        state: &mut State,
    ) -> Result<bool, TrainError> {
        self.progress.stage("decoder");
        let settings = self.settings;
        let iterations_max = match self.length {
            Length::Iterations(n) => n,
            Length::Seconds(_) => settings.iterations_max,
        };
        let classes = self.classes();
        let pace = Pace { iterations_max, seconds: state.counters.stage_budget_s };
        let mut clock = StageClock::new(state, 2 * settings.batch.pairs);
        loop {
            let progress = pace.progress(state.counters.iteration as usize, clock.elapsed_s());
            if progress >= 1.0 {
                return Ok(true);
            }
            let easy = easy_share(progress) * settings.easy_share / EASY_SHARE;
            let (loss, mut gradients, refreshed) = Stage1 {
                arch: &settings.arch,
                cache,
                statistics,
                classes: &classes,
                batch: settings.batch,
                seed: self.material.seed,
                device: self.device,
            }
            .step_with(
                &state.weights,
                state.counters.iteration,
                easy,
                self.workers,
                &|| self.refreshed(cache, state.counters.round),
            );
            clip_norm(&mut gradients, settings.gradient_norm_max);
            let rate = {
                let peak = settings.decoder_rate;
                learning_rate(progress, settings.warm_up, peak, peak * RATE_FLOOR)
            };
            StableAdamW::default().step(&mut state.weights, &gradients, &mut state.moments, rate);
            for (slot, variant) in refreshed? {
                cache.variants[slot] = variant;
                state.counters.round += 1;
            }
            state.counters.iteration += 1;
            if !self.after(state, &mut clock, loss.total(), &pace)? {
                return Ok(false);
            }
        }
    }

    fn stage2(
        &self,
        cache: &Cache,
        statistics: &Statistics,
        state: &mut State,
    ) -> Result<bool, TrainError> {
        self.progress.stage("head");
        let settings = self.settings;
        let decoder = state.counters.decoder_iterations as f64;
        let iterations_max = match self.length {
            Length::Iterations(_) => (decoder * settings.head_share).ceil() as usize,
            Length::Seconds(_) => settings.iterations_max,
        };
        let classes = self.classes();
        let batch = (settings.head_batch, self.material.seed);
        let stage = Stage2::new(&settings.arch, cache, statistics, &classes, batch, self.device);
        let pace = Pace { iterations_max, seconds: state.counters.stage_budget_s };
        let mut clock = StageClock::new(state, settings.head_batch.pictures);
        loop {
            let progress = pace.progress(state.counters.iteration as usize, clock.elapsed_s());
            if progress >= 1.0 {
                return Ok(true);
            }
            let HeadStep { loss, gradients, statistics } =
                stage.step(&state.weights, state.counters.iteration, self.workers);
            self.move_head(state, gradients, progress);
            state.weights.extend(statistics);
            state.counters.iteration += 1;
            if !self.after(state, &mut clock, loss, &pace)? {
                return Ok(false);
            }
        }
    }

    fn move_head(&self, state: &mut State, mut gradients: Weights, progress: f64) {
        let (settings, peak) = (self.settings, self.settings.head_rate);
        let (optimiser, rate) = match settings.head_optimiser {
            HeadOptimiser::StableAdamW => {
                clip_norm(&mut gradients, HEAD_NORM_MAX);
                let rate = learning_rate(progress, settings.warm_up, peak, peak * RATE_FLOOR);
                (StableAdamW::default(), rate)
            }
            HeadOptimiser::Adam => (StableAdamW::adam(), peak),
        };
        optimiser.step(&mut state.weights, &gradients, &mut state.moments, rate);
    }

    fn classes(&self) -> Classes {
        Classes::new(self.material.pictures.iter().map(|p| p.class))
    }

    fn refreshed(&self, cache: &Cache, round: u64) -> Result<Vec<(usize, Variant)>, TrainError> {
        (0..self.settings.refresh as u64)
            .map(|i| {
                let (slot, number) = cache.slot(round + i);
                let variant = self.material.variant(slot / cache.per_picture, number);
                Ok((slot, variant.map_err(TrainError::from)?))
            })
            .collect()
    }

    /// Bookkeeping after an iteration; false when the user wants to stop.
    fn after(
        &self,
        state: &mut State,
        clock: &mut StageClock,
        loss: f64,
        pace: &Pace,
    ) -> Result<bool, TrainError> {
        if !loss.is_finite() {
            return Err(TrainError::new(
                TrainErrorKind::Diverged,
                format!("the loss became {loss} in iteration {}", state.counters.iteration),
            ));
        }
        state.counters.stage_s = clock.elapsed_s();
        let records = &mut state.counters.records;
        match state.counters.stage {
            1 => records.decoder_loss.push(loss),
            _ => records.head_loss.push(loss),
        }
        let progress = pace.progress(state.counters.iteration as usize, clock.elapsed_s());
        self.progress.update(clock.moment(loss, progress));
        if (self.stop)() {
            return Ok(false);
        }
        if clock.checkpoint_due() {
            self.save(state)?;
        }
        Ok(true)
    }
}

/// Time and loss of a stage.
struct StageClock {
    began: Instant,
    before_s: f64,
    saved_s: f64,
    images: usize,
    done: u64,
    loss: Option<f64>,
}

impl StageClock {
    fn new(state: &State, images: usize) -> Self {
        let before_s = state.counters.stage_s;
        Self { began: Instant::now(), before_s, saved_s: before_s, images, done: 0, loss: None }
    }

    fn elapsed_s(&self) -> f64 {
        self.before_s + self.began.elapsed().as_secs_f64()
    }

    fn moment(&mut self, loss: f64, progress: f64) -> Moment {
        self.done += 1;
        let shown = self.loss.map_or(loss, |l| l + LOSS_SMOOTHING * (loss - l));
        self.loss = Some(shown);
        let here = self.began.elapsed().as_secs_f64().max(1e-9);
        let rate = (self.done * self.images as u64) as f64 / here;
        Moment { progress, loss: Some(shown), rate, elapsed_s: self.elapsed_s() }
    }

    fn checkpoint_due(&mut self) -> bool {
        let due = self.elapsed_s() - self.saved_s >= CHECKPOINT_INTERVAL_S;
        if due {
            self.saved_s = self.elapsed_s();
        }
        due
    }
}

//! The same work on many files by a few named threads, each with an engine of its own.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, anyhow};
use indicatif::{ProgressBar, ProgressStyle};

use super::engine::EngineArgs;
use crate::engine::ModelSpec;
use crate::evaluate::Runner;
use crate::frame::{AnomalyMap, Framing};
use crate::image::RgbImage;
use crate::sys::fs;

/// Largest picture file in bytes: an uncompressed 64 Mpx RGB picture.
pub(super) const PICTURE_BYTES_MAX: u64 = 256 << 20;

/// Engines ready to work side by side.
pub(super) struct Workers {
    runners: Vec<Runner>,
    spec: ModelSpec,
}

/// Threads to use when none are asked for: every core, one engine each.
fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

impl Workers {
    /// Opens one engine per thread; the weights are in memory once.
    ///
    /// # Errors
    /// When the engine cannot be opened.
    pub(super) fn open(engine: &EngineArgs, threads: Option<usize>) -> Result<Self> {
        let threads = threads.unwrap_or_else(default_threads).max(1);
        let runners: Vec<Runner> = engine.open(threads)?.into_iter().map(Runner::new).collect();
        let spec = runners.first().context("no engine was opened")?.engine().spec().clone();
        Ok(Self { runners, spec })
    }

    /// What the engines take and give.
    pub(super) fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// Runs what `framing` shows of every file and hands picture and map to `keep` on the worker's
    /// thread; the results come in the order of `files`, whatever thread made them.
    ///
    /// # Errors
    /// The first failure in file order, with the file's name; the rest is then not run.
    pub(super) fn run<T: Send>(
        &mut self,
        title: &str,
        (files, framing): (&[PathBuf], &Framing),
        keep: impl Fn(usize, RgbImage, AnomalyMap) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let bar = progress(title, files.len() as u64);
        let slots: Vec<Mutex<Option<Result<T>>>> = files.iter().map(|_| Mutex::new(None)).collect();
        let next = AtomicUsize::new(0);
        let work = |runner: &mut Runner| {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(file) = files.get(at) else { return };
                let done = one(runner, (file, framing), |picture, map| keep(at, picture, map));
                if done.is_err() {
                    // Nobody starts another file; those under way are finished.
                    next.fetch_add(files.len(), Ordering::Relaxed);
                }
                if let Ok(mut slot) = slots[at].lock() {
                    *slot = Some(done);
                }
                bar.inc(1);
            }
        };
        std::thread::scope(|scope| -> Result<()> {
            for (i, runner) in self.runners.iter_mut().enumerate() {
                std::thread::Builder::new()
                    .name(format!("crrd-worker-{i}"))
                    .spawn_scoped(scope, || work(runner))
                    .context("cannot start a worker thread")?;
            }
            Ok(())
        })?;
        bar.finish_and_clear();
        let mut kept = Vec::with_capacity(files.len());
        for slot in slots {
            let result = slot.into_inner().map_err(|_| anyhow!("a worker thread panicked"))?;
            // An empty slot lies behind the failure that stopped the work; that failure is
            // found first unless a thread died without a word.
            match result {
                Some(result) => kept.push(result?),
                None => continue,
            }
        }
        if kept.len() < files.len() {
            return Err(anyhow!("a worker thread stopped before its work was done"));
        }
        Ok(kept)
    }
}

fn one<T>(
    runner: &mut Runner,
    (file, framing): (&Path, &Framing),
    keep: impl FnOnce(RgbImage, AnomalyMap) -> Result<T>,
) -> Result<T> {
    let bytes = fs::read_limited(file, PICTURE_BYTES_MAX)?;
    let (picture, map) = runner.run(&bytes, framing).with_context(|| file.display().to_string())?;
    if !map.is_complete() || !map.score.is_finite() {
        return Err(anyhow!(
            "{}: the engine's answer is not finite; run `crrd engine check`",
            file.display()
        ));
    }
    keep(picture, map).with_context(|| file.display().to_string())
}

fn progress(title: &str, length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:20} {bar:30} {pos}/{len} {per_sec} {eta}");
    // A template is a constant; a mistake in it only costs the looks.
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style).with_message(title.to_owned())
}

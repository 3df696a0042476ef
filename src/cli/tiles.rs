//! Whether a part seen in tiles can be answered in time.

use anyhow::Result;

use super::check::Outcome;
use super::geometry;
use crate::config::{Recipe, ValidConfig};
use crate::engine::{Engine, ModelSpec};
use crate::frame::{AnomalyMap, Framing};
use crate::sys::clock::{Clock, RealClock};

/// Inferences timed: the engine is warm, and one of three is not disturbed.
const RUNS: usize = 3;
/// Share of the time for a part that its inferences may take before it is warned about: camera,
/// resizing and journal need theirs, and a busy machine is slower than this one is now.
const SHARE_WARN: f64 = 0.7;

/// Time of one inference in milliseconds, the median of a few.
///
/// # Errors
/// When the engine fails.
pub(super) fn inference_ms(engine: &mut dyn Engine) -> Result<f64> {
    let (input, mut map) = (vec![0; engine.spec().input_bytes()], AnomalyMap::default());
    let mut times = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let started = RealClock.now();
        engine.infer(&input, &mut map)?;
        times.push(RealClock.now().since(started).as_ms());
    }
    times.sort_by(f64::total_cmp);
    Ok(times[RUNS / 2])
}

/// The recipe with the most tiles against the time for a part; `None` when there are no tiles.
pub(super) fn check(config: &ValidConfig, spec: &ModelSpec, inference_ms: f64) -> Option<Outcome> {
    let recipe = config.recipes.iter().max_by_key(|recipe| recipe.tiling.count())?;
    if recipe.tiling.is_whole() {
        return None;
    }
    let framing = Framing { tiling: recipe.tiling, ..Framing::WHOLE };
    if let Err(error) = geometry::check_size(&framing, spec) {
        return Some(Outcome::Fail(format!("{error:#}")));
    }
    Some(in_time(config, recipe, inference_ms))
}

fn in_time(config: &ValidConfig, recipe: &Recipe, inference_ms: f64) -> Outcome {
    let inferences = recipe.tiling.count() * config.cameras.len();
    let (took_ms, limit_ms) =
        (inferences as f64 * inference_ms, f64::from(config.limits.latency_ms_max));
    let found = format!(
        "recipe {} ({}) is seen {}: {inferences} inferences a part take about {took_ms:.0} ms of \
         limits.latency_ms_max = {limit_ms:.0}",
        recipe.id.0, recipe.class, recipe.tiling
    );
    if took_ms <= SHARE_WARN * limit_ms {
        return Outcome::Ok(found);
    }
    Outcome::Warn(format!(
        "{found}: parts would come too late and be INVALID; use fewer tiles, a region in \
         [camera.geometry], or raise the limit where the line allows it"
    ))
}

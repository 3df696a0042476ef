//! `crrd run`: the station in production.
//!
//! Exit codes: 0 the source ended or a stop was asked for, and every accepted part is journaled;
//! 1 a stage failed while running; 2 the station could not start. The service manager starts it
//! again in both cases; `crrd check` says in detail what keeps a station from starting.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;

use super::{assets, cameras, geometry, recording};
use crate::config::{self, ValidConfig};
use crate::engine;
use crate::frame::CameraId;
use crate::journal;
use crate::message::{ByteOrder, Mode};
use crate::pipeline::{
    Broker, Line, Parts, Queue, Recipe, Scada, StationCamera, Summary, Triggers,
};
use crate::publish;
use crate::publish::sparkplug::{self, Mirror};
use crate::sys::clock::{Clock, RealClock};
use crate::sys::log;
use crate::sys::notify::Notify;
use crate::sys::shutdown::Shutdown;

const SECONDS_PER_DAY: u64 = 86_400;
/// Beside the journal: the number of the mirror's last session.
const BD_SEQ_FILE: &str = "sparkplug-bdseq";

/// Arguments of `crrd run`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Configuration file; see docs/spec/config.md.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// Runs the station until its source ends or a signal stops it.
///
/// # Errors
/// When the station cannot start.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    // Before any thread and any slow step: a signal during the start must be heard.
    let shutdown = Shutdown::install().context("cannot install the signal handlers")?;
    let notify = Notify::from_env();
    let config = config::load(&args.config)?;
    log::init(config.log)?;
    let mut parts = parts(&config)?;
    let mirror = mirror(&config, &mut parts)?;
    let (parts, recorder) = recording::start(&config, parts);
    let ended = Line::start(parts)?.run(&shutdown, &notify);
    // After the last part is told; SCADA is told of the end, the record needs nothing of it.
    drop(mirror);
    if let Some(recorder) = recorder {
        recorder.stop();
    }
    match ended {
        Ok(summary) => {
            report(&summary);
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "the station ended");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// The last line of the log.
fn report(summary: &Summary) {
    let ms = |q| summary.latencies.quantile(q).map_or(0.0, |l| l.as_ms());
    let c = summary.counters;
    tracing::info!(
        epoch = summary.epoch,
        parts = c.parts,
        pass = c.pass,
        reject = c.reject,
        invalid = c.invalid,
        latency_p50_ms = ms(0.5),
        latency_p99_ms = ms(0.99),
        delivered = summary.delivered,
        "done"
    );
}

/// Everything the configuration names, loaded and checked.
fn parts(config: &ValidConfig) -> anyhow::Result<Parts> {
    let clock: Arc<dyn Clock> = Arc::new(RealClock);
    let source = assets::bundle_source(&config.engine);
    let backend = assets::backend(config);
    let engine = engine::open_serving(&source, backend, config.inference.serve_while_building)?;
    let recipes = config.recipes.iter().map(|r| Recipe {
        id: r.id,
        class: r.class.clone(),
        views: r.views.clone(),
        tiling: r.tiling,
    });
    let recipes = recipes.collect();
    let calibration = assets::calibration(&config.calibration)?;
    geometry::check(config, &calibration)?;
    let cameras = config.cameras.iter().enumerate().map(|(at, camera)| {
        let id = CameraId(at as u16);
        let opened = cameras::open(camera, id, &config.recipes, Arc::clone(&clock))?;
        let (name, geometry) = (camera.name.to_string(), camera.geometry);
        Ok(StationCamera { name, geometry, camera: opened })
    });
    let cameras = cameras.collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Parts {
        station: config.station.clone(),
        cameras,
        window_ms_max: config.trigger.window_ms_max.into(),
        queue: match config.camera().queue {
            config::QueuePolicy::Every => Queue::Every,
            config::QueuePolicy::Latest => Queue::Latest,
        },
        engine,
        core: config.inference.core,
        calibration,
        recipes,
        latency_ms_max: config.limits.latency_ms_max.into(),
        triggers: triggers(config),
        queue_frames: config.limits.queue_frames,
        journal_dir: config.state_dir.clone(),
        journal_sync: match config.journal.sync {
            config::SyncMode::Full => journal::Sync::Full,
            config::SyncMode::Normal => journal::Sync::Normal,
        },
        journal_bytes_max: config.journal.bytes_max,
        journal_age_days_max: u32::try_from(config.journal.age_max.as_secs() / SECONDS_PER_DAY)
            .unwrap_or(u32::MAX),
        broker: broker(&config.mqtt)?,
        recording: None,
        observer: None,
        clock,
    })
}

/// The mirror for SCADA, when it is asked for, with its seat beside the line.
fn mirror(config: &ValidConfig, parts: &mut Parts) -> anyhow::Result<Option<Mirror>> {
    let Some(sparkplug) = &config.sparkplug else { return Ok(None) };
    let spec = parts.engine.spec();
    let settings = sparkplug::Settings {
        host: sparkplug.broker.host.clone(),
        port: sparkplug.broker.port,
        tls: tls(&sparkplug.broker)?,
        client_id: sparkplug.broker.client_id.clone(),
        credentials: assets::credentials(&sparkplug.broker).context("[sparkplug]")?,
        keep_alive_s: sparkplug.broker.keep_alive_s,
        names: sparkplug::Names {
            group: sparkplug.group.clone(),
            edge: sparkplug.edge.clone(),
            device: sparkplug.device.clone(),
            primary_host: sparkplug.primary_host.clone(),
        },
        version: env!("CARGO_PKG_VERSION").to_owned(),
        engine_sha256: spec.sha256.clone(),
        classes: spec.classes.clone(),
        bd_seq_file: config.state_dir.join(BD_SEQ_FILE),
    };
    let (mirror, feed) = Mirror::start(settings, Arc::clone(&parts.clock))?;
    parts.observer = Some(Box::new(Scada::new(feed, Arc::clone(&parts.clock))));
    Ok(Some(mirror))
}

fn triggers(config: &ValidConfig) -> Triggers {
    Triggers {
        mode: match config.trigger.mode {
            config::TriggerMode::Continuous => Mode::Continuous,
            config::TriggerMode::Single => Mode::Single,
            config::TriggerMode::Stop => Mode::Stopped,
        },
        arm_wait_ms_max: config.trigger.arm_wait_ms_max.into(),
        recipe: match config.camera().recipe {
            config::RecipeChoice::Fixed(recipe) => Some(recipe),
            config::RecipeChoice::ClassFolder => None,
        },
    }
}

/// The files are read at every connection; here it is proved once that they can be used.
fn tls(mqtt: &config::Mqtt) -> anyhow::Result<Option<publish::TlsFiles>> {
    let files = assets::tls(mqtt);
    if let Some(files) = &files {
        files.load().context("TLS to the broker")?;
    }
    Ok(files)
}

// What the configuration allows must start.
const _: () = assert!(config::IN_FLIGHT_MAX <= publish::WINDOW_MAX as i64);

fn broker(mqtt: &config::Mqtt) -> anyhow::Result<Broker> {
    Ok(Broker {
        host: mqtt.host.clone(),
        port: mqtt.port,
        version: assets::version(mqtt),
        tls: tls(mqtt)?,
        prefix: mqtt.prefix.clone(),
        client_id: mqtt.client_id.clone(),
        credentials: assets::credentials(mqtt)?,
        keep_alive_s: mqtt.keep_alive_s,
        binary: mqtt.binary.map(|order| match order {
            config::ByteOrder::Big => ByteOrder::Big,
            config::ByteOrder::Little => ByteOrder::Little,
        }),
        health_s: mqtt.health_s,
        limits: publish::Limits {
            window: mqtt.live_in_flight_max.saturating_add(mqtt.hist_in_flight_max),
            bulk_window: mqtt.hist_in_flight_max,
            ..publish::Limits::default()
        },
    })
}

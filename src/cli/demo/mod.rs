//! `crrd demo`: the whole station with nothing installed. Parts are rendered, judged by the
//! engine inside the program, journaled and published on a broker of its own; a subscriber
//! compares what arrives with what was decided.

mod broker;
mod camera;
mod subscriber;
mod tally;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};

use super::assets;
use crate::config::{CalibrationSource, EngineSource};
use crate::engine::{self, Backend};
use crate::frame::{RecipeId, StationId};
use crate::journal;
use crate::message::{Mode, encode_verdict};
use crate::pipeline::{
    Broker, Decision, Line, Observer, Parts, Queue, Recipe, StationCamera, Triggers,
};
use crate::publish;
use crate::sys::clock::{Clock, RealClock};
use crate::sys::log::{self, Level, LogSettings};
use crate::sys::notify::Notify;
use crate::sys::shutdown::Shutdown;

use broker::LocalBroker;
use camera::RenderedParts;
use subscriber::Subscriber;
use tally::Tally;

/// Name of the station on the broker.
const STATION: &str = "demo";
/// First topic level.
const PREFIX: &str = "crr";
/// A demonstration has no line that waits: on a busy desktop, or an emulated board, a slow part is
/// not a lost one.
const LATENCY_MS_MAX: u64 = 60_000;
/// Frames that may wait; the camera waits too.
const QUEUE_FRAMES: usize = 4;
/// Bound of the throw-away journal in bytes.
const JOURNAL_BYTES_MAX: u64 = 64 << 20;
/// How long the subscriber is waited for after the last part.
const RECEIVE_WAIT: Duration = Duration::from_secs(5);

/// Watch it work: renders parts, judges them and publishes the verdicts on a broker of its own.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Stop after N parts and print a summary as one line of JSON; without it the demonstration
    /// runs until Ctrl-C
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub parts: Option<u32>,
    /// Port of the broker on 127.0.0.1; by default 1883 when it is free, else any
    #[arg(long, value_name = "P")]
    pub port: Option<u16>,
    /// Parts per second; 0 = as fast as they are judged
    #[arg(long, value_name = "HZ", default_value_t = 4.0)]
    pub rate: f64,
    /// The same seed shows the same parts
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
}

/// Runs the demonstration.
///
/// # Errors
/// When the broker or the station cannot start, or when a verdict that was decided did not arrive
/// as it was decided.
pub fn run(args: &Args) -> Result<ExitCode> {
    ensure!(
        args.rate.is_finite() && (0.0..=1000.0).contains(&args.rate),
        "--rate {}: give parts per second between 0 (as fast as possible) and 1000",
        args.rate
    );
    let shutdown = Shutdown::install().context("cannot install the signal handlers")?;
    // The view shows what happens; the log only what goes wrong.
    log::init(LogSettings { level: Level::Warn, ..LogSettings::default() })?;
    let broker = LocalBroker::start(args.port)?;
    let dir = TemporaryFolder::new()?;
    let subscriber = Subscriber::start(broker.port(), PREFIX, STATION)?;
    let view = View::new(args, broker.port());
    let tally = Arc::new(Mutex::new(Tally::default()));
    let onlooker = subscriber.comparison();
    let observer = {
        let (seed, tally, view) = (args.seed, Arc::clone(&tally), view.clone());
        move |decision: &Decision| {
            let truth = camera::plan(seed, u64::from(decision.record.trigger.0) - 1);
            let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            tally.count(decision, truth.1.is_some());
            view.show(decision, truth, &tally);
            let mut payload = String::new();
            encode_verdict(&decision.record, &mut payload);
            let mut onlooker = onlooker.lock().unwrap_or_else(PoisonError::into_inner);
            onlooker.decided(decision.record.seq, payload.into_bytes());
        }
    };
    let line = Line::start(parts(args, &broker, &dir, Box::new(observer))?)?;
    let summary = line.run(&shutdown, &Notify::silent())?;
    view.finish();
    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
    tally.received = subscriber.finish(RECEIVE_WAIT)?;
    println!("{}", tally.summary(&summary));
    ensure!(
        summary.delivered && tally.received == tally.parts,
        "{} verdicts were decided, but {} arrived",
        tally.parts,
        tally.received
    );
    Ok(ExitCode::SUCCESS)
}

fn parts(
    args: &Args,
    broker: &LocalBroker,
    dir: &TemporaryFolder,
    observer: Box<dyn Observer>,
) -> Result<Parts> {
    let clock: Arc<dyn Clock> = Arc::new(RealClock);
    let engine = engine::open(&assets::bundle_source(&EngineSource::Demo), Backend::Cpu)?;
    let classes = engine.spec().classes.clone();
    let recipe = |(i, class): (usize, &String)| Recipe::new(RecipeId(i as u16 + 1), class);
    let camera =
        RenderedParts::new(Arc::clone(&clock), args.seed, args.parts, args.rate, &classes)?;
    Ok(Parts {
        station: StationId::new(STATION)?,
        cameras: StationCamera::only(Box::new(camera)),
        window_ms_max: 50,
        queue: Queue::Every,
        engine,
        core: None,
        calibration: assets::calibration(&CalibrationSource::Demo)?,
        recipes: classes.iter().enumerate().map(recipe).collect(),
        latency_ms_max: LATENCY_MS_MAX,
        triggers: Triggers { mode: Mode::Continuous, arm_wait_ms_max: 0, recipe: None },
        queue_frames: QUEUE_FRAMES,
        journal_dir: dir.path().to_owned(),
        journal_sync: journal::Sync::Normal,
        journal_bytes_max: JOURNAL_BYTES_MAX,
        journal_age_days_max: 0,
        broker: Broker {
            host: "127.0.0.1".to_owned(),
            port: broker.port(),
            version: crate::publish::Version::V3_1_1,
            tls: None,
            prefix: PREFIX.to_owned(),
            client_id: format!("crrd-{STATION}"),
            credentials: None,
            keep_alive_s: 5,
            binary: None,
            health_s: 10,
            limits: publish::Limits::default(),
        },
        recording: None,
        observer: Some(observer),
        clock,
    })
}

/// A folder for the journal that goes with the program.
struct TemporaryFolder(std::path::PathBuf);

impl TemporaryFolder {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("crrd-demo-{}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| {
            format!("cannot create {}: free space, or set TMPDIR", path.display())
        })?;
        Ok(Self(path))
    }

    fn path(&self) -> &std::path::Path {
        &self.0
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // Left behind at worst: nothing in it matters after the demonstration.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a person sees: a line for each part, and a last line with the counts.
#[derive(Clone)]
struct View {
    bar: ProgressBar,
}

impl View {
    fn new(args: &Args, port: u16) -> Self {
        eprintln!("crrd demo: parts are rendered here, judged by the engine inside the program.");
        eprintln!("Subscribe: mosquitto_sub -h 127.0.0.1 -p {port} -v -t '{PREFIX}/{STATION}/#'");
        eprintln!("Stop with Ctrl-C.\n");
        let bar = match args.parts {
            Some(n) => ProgressBar::new(u64::from(n)),
            None => ProgressBar::new_spinner(),
        };
        // Without a terminal nothing is drawn and the parts are plain lines.
        if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} parts  {msg}") {
            bar.set_style(style);
        }
        Self { bar }
    }

    fn show(&self, decision: &Decision, truth: camera::Truth, tally: &Tally) {
        let line = tally::line(decision, truth);
        match self.bar.is_hidden() {
            true => eprintln!("{line}"),
            false => self.bar.println(line),
        }
        self.bar.set_message(tally.counts());
        self.bar.inc(1);
    }

    fn finish(&self) {
        self.bar.finish();
    }
}

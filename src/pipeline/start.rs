//! Putting the line together: parts in, running threads out.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel::bounded;

use super::board::Board;
use super::captures::Captures;
use super::command_stage::CommandStage;
use super::encode::{self, Encoder};
use super::error::{PipelineError, PipelineErrorKind};
use super::gate::{Gate, Queue};
use super::inspect_stage::{Examiner, InspectStage};
use super::limits::{Armed, InForce, Recipe, Recipes};
use super::line::Line;
use super::newest::Newest;
use super::observer::Observer;
use super::outbox::JournalOutbox;
use super::progress::{Progress, Stage};
use super::record_stage::RecordStage;
use super::stage::{Outcome, Signals, spawn};
use super::taken::Taken;
use super::work::{Decision, NOTICES_MAX, Slots};
use crate::calibrate::Calibration;
use crate::capture::{Camera, SoftTrigger, part_id_of};
use crate::engine::Engine;
use crate::frame::{FrameKeys, Geometry, Nanos, RecipeId, StationId, TriggerId, VIEWS_MAX};
use crate::journal::{self, Journal};
use crate::judge::{Reason, Verdict};
use crate::message::{ByteOrder, CLASS_NONE, Mode, Topics, VerdictRecord, ViewResults};
use crate::publish::{self, Publisher};
use crate::record::Feed;
use crate::station::{self, Step};
use crate::sys::clock::Clock;
use crate::sys::cores;

/// Buffers besides those of waiting frames: one that the camera fills, one that is preprocessed.
const FRAMES_IN_HAND: usize = 2;

/// Buffers of each camera besides, with several: frames that wait for the other views.
const FRAMES_AWAITED: usize = 1;

/// Where and how to publish.
#[derive(Clone, Debug)]
pub struct Broker {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Version of MQTT.
    pub version: publish::Version,
    /// TLS; `None` = plain TCP.
    pub tls: Option<publish::TlsFiles>,
    /// First topic levels.
    pub prefix: String,
    /// MQTT client id, unique at the broker.
    pub client_id: String,
    /// User name and password.
    pub credentials: Option<publish::Credentials>,
    /// Keep-alive in seconds.
    pub keep_alive_s: u16,
    /// Byte order of the binary verdicts; `None` = they are not published.
    pub binary: Option<ByteOrder>,
    /// Time between metrics in seconds.
    pub health_s: u32,
    /// Bounds of the delivery.
    pub limits: publish::Limits,
}

/// How triggers become parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Triggers {
    /// Mode after the start.
    pub mode: Mode,
    /// From arming to picture in milliseconds.
    pub arm_wait_ms_max: u64,
    /// Recipe of parts that name none, until a command changes it.
    pub recipe: Option<RecipeId>,
}

/// A camera and its name.
pub struct StationCamera {
    /// For people; unique.
    pub name: String,
    /// What of its pictures the model sees.
    pub geometry: Geometry,
    /// What gives frames.
    pub camera: Box<dyn Camera>,
}

impl StationCamera {
    /// A camera whose whole pictures the model sees.
    pub fn new(name: impl Into<String>, camera: Box<dyn Camera>) -> Self {
        Self { name: name.into(), geometry: Geometry::WHOLE, camera }
    }

    /// The only camera of a station.
    pub fn only(camera: Box<dyn Camera>) -> Vec<StationCamera> {
        vec![Self::new("camera", camera)]
    }
}

/// Everything a station is made of.
pub struct Parts {
    /// Its name.
    pub station: StationId,
    /// What gives frames: the views of each part, one to [`VIEWS_MAX`].
    pub cameras: Vec<StationCamera>,
    /// How far apart the frames of one part may come, with several cameras, in milliseconds.
    pub window_ms_max: u64,
    /// What becomes of pictures when more come than are inspected.
    pub queue: Queue,
    /// A loaded engine that proved itself.
    pub engine: Box<dyn Engine>,
    /// The processor that the inspecting thread keeps to, with whatever the engine computes in it.
    pub core: Option<usize>,
    /// Limits made for this engine.
    pub calibration: Calibration,
    /// What the PLC's recipe numbers mean; at least one.
    pub recipes: Vec<Recipe>,
    /// From trigger to verdict in milliseconds; later is INVALID.
    pub latency_ms_max: u64,
    /// How triggers become parts.
    pub triggers: Triggers,
    /// Frames that may wait for the inspection.
    pub queue_frames: usize,
    /// Folder of the journal.
    pub journal_dir: PathBuf,
    /// When a commit counts, and how much is kept.
    pub journal_sync: journal::Sync,
    /// Bound of the journal in bytes.
    pub journal_bytes_max: u64,
    /// Delivered rows older than this many days are dropped; 0 = never.
    pub journal_age_days_max: u32,
    /// Where to publish.
    pub broker: Broker,
    /// The recording of this station, whose counts go to the health topic.
    pub recording: Option<Feed>,
    /// Told of every decision and of every change of the station.
    pub observer: Option<Box<dyn Observer>>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

impl Line {
    /// Starts all stages. When an error is returned, whatever was started has ended.
    ///
    /// # Errors
    /// When the calibration does not fit the engine or the recipes, a recipe the classes, the
    /// journal cannot be opened, or a thread cannot be started. A camera or broker that is not
    /// there is no error: both are tried for ever.
    pub fn start(mut parts: Parts) -> Result<Line, PipelineError> {
        let spec = parts.engine.spec().clone();
        let names = camera_names(&parts.cameras)?;
        let eyes: Vec<_> = parts.cameras.iter().map(|c| (c.name.as_str(), c.geometry)).collect();
        let recipes = Recipes::new(&parts.recipes, &spec.classes, &eyes)?;
        recipes.check(&parts.calibration)?;
        let armed = Armed::new(parts.calibration, (&spec.sha256, spec.precision))?;
        for class in recipes.classes().filter(|class| armed.limit(class).is_none()) {
            tracing::warn!(class, "no limit for this class: its parts cannot pass; calibrate it");
        }
        let topics = Topics::new(&parts.broker.prefix, &parts.station).map_err(|error| {
            PipelineError::with_source(PipelineErrorKind::Publish, "cannot publish", error)
        })?;
        let options = journal::Options {
            sync: parts.journal_sync,
            bytes_max: parts.journal_bytes_max,
            age_days_max: parts.journal_age_days_max,
            notice: encode::notice,
        };
        let (writer, reader, opened) =
            Journal::open(&parts.journal_dir, &options).map_err(|error| {
                let message =
                    "the journal cannot be opened; a verdict must be kept before it is told";
                PipelineError::with_source(PipelineErrorKind::Journal, message, error)
            })?;
        tracing::info!(epoch = opened.epoch, undelivered = opened.undelivered, "journal open");
        let fire = soft_trigger(&parts.cameras);
        let settings = station::Settings {
            latency_ms_max: parts.latency_ms_max,
            arm_wait_ms_max: parts.triggers.arm_wait_ms_max,
            mode: parts.triggers.mode,
            recipe: parts.triggers.recipe,
            recipes: parts.recipes.iter().map(|recipe| recipe.id).collect(),
            software_trigger: fire.is_some(),
        };
        let (sha256, receipts) = (spec.sha256.clone(), writer.receipts());
        let board =
            Board::new(opened.epoch, settings, sha256, armed.id, receipts, names.iter().cloned());
        let board = Arc::new(board.recorded_by(parts.recording));
        let condition = parts.engine.attend();
        board.engine_starts(condition);
        let live_expiry_s = live_expiry_s(parts.latency_ms_max);
        let health_every_ms = u64::from(parts.broker.health_s) * 1_000;
        let change = encode::calibration(opened.epoch, &armed, None);
        let settings = publish_settings(parts.broker, &topics, live_expiry_s, &board, change);
        let publisher =
            Publisher::start(settings, Box::new(JournalOutbox(reader))).map_err(|error| {
                let message = "cannot start publishing";
                PipelineError::with_source(PipelineErrorKind::Publish, message, error)
            })?;
        let encoder = Encoder {
            station: parts.station,
            engine_sha256: spec.sha256.clone(),
            classes: spec.classes,
            cameras: names,
        };

        let buffers = parts.engine.buffers();
        let examiner = Examiner::new(parts.engine, recipes.tilings());
        let cameras = parts.cameras.len();
        let frames =
            parts.queue_frames + FRAMES_IN_HAND + usize::from(cameras > 1) * FRAMES_AWAITED;
        let (work_in, work_out) = bounded(frames + NOTICES_MAX);
        let mut blank = Decision {
            record: blank_record(),
            mask: examiner.blank_mask(),
            picture: (0, 0),
            frames: FrameKeys::default(),
            geometry: Geometry::WHOLE,
            views: ViewResults::default(),
            arrived: Nanos(0),
            deadline: Nanos(0),
        };
        let slots = Slots::new(&blank);
        blank.record.epoch = opened.epoch;
        blank.record.calibration = armed.id;
        let in_force = InForce::new(armed);
        let stages = Stage::all(cameras);
        let (ended_in, ended) = bounded(stages.len());
        let (progress, signals) = (Progress::new(stages), Arc::new(Signals::default()));
        let record = RecordStage {
            to_journal: slots.to_journal,
            give_back: slots.give_back,
            reports: publisher.reports().clone(),
            notifier: publisher.notifier(),
            writer,
            encoder,
            observer: parts.observer,
            shown: None,
            board: Arc::clone(&board),
            progress: progress.clone(),
            signals: Arc::clone(&signals),
            clock: Arc::clone(&parts.clock),
            blank,
            scratch: Step::new(),
            missed: 0,
            losses: vec![],
            engine_news: vec![],
            latency_ms_max: parts.latency_ms_max,
            slow_ms: 0,
            unsettled: false,
        };
        let newest = Newest::default();
        let inspect = InspectStage {
            work: work_out,
            newest: newest.clone(),
            empty: slots.empty,
            decided: slots.decided,
            examiner,
            in_force: in_force.clone(),
            recipes: recipes.clone(),
            cameras,
            board: Arc::clone(&board),
            progress: progress.clone(),
            signals: Arc::clone(&signals),
            clock: Arc::clone(&parts.clock),
            condition,
        };
        let gate = Gate {
            work: work_in,
            newest: (parts.queue == Queue::Latest).then_some(newest),
            board: Arc::clone(&board),
            clock: Arc::clone(&parts.clock),
            scratch: Step::new(),
        };
        let captures = Captures {
            frames,
            buffers,
            window: Nanos(0).plus_ms(parts.window_ms_max),
            board: Arc::clone(&board),
            progress: progress.clone(),
            signals: Arc::clone(&signals),
            clock: Arc::clone(&parts.clock),
        };
        let (captures, views) = captures.stages(parts.cameras, gate);
        let command = CommandStage {
            inbound: publisher.inbound().clone(),
            fire,
            board: Arc::clone(&board),
            progress: progress.clone(),
            signals: Arc::clone(&signals),
            clock: Arc::clone(&parts.clock),
            health_every_ms,
            taken: Taken::default(),
            refused: 0,
            unanswered: 0,
            scratch: Step::new(),
        };
        board.attach(publisher);
        // From the end of the line to its start: nobody sends to a stage that is not there. When
        // a later one fails to start, the channels close and the earlier ones end by themselves.
        let mut threads = VecDeque::new();
        let start = |stage, run| Ok((stage, spawn(stage, ended_in.clone(), run)?));
        threads.push_front(start(Stage::Journal, run(move || record.run()))?);
        let core = parts.core;
        threads.push_front(start(
            Stage::Inspect,
            run(move || {
                keep_to(core);
                inspect.run()
            }),
        )?);
        if let Some(views) = views {
            threads.push_front(start(Stage::Views, run(move || views.run()))?);
        }
        for capture in captures.into_iter().rev() {
            let stage = Stage::Capture(capture.view);
            threads.push_front(start(stage, run(move || capture.run()))?);
        }
        // It is the last to start and the first to end: no command without a line behind it.
        threads.push_front(start(Stage::Command, run(move || command.run()))?);
        Ok(Line {
            threads: threads.into(),
            ended,
            board,
            progress,
            signals,
            in_force,
            engine_sha256: spec.sha256,
            precision: spec.precision,
            recipes,
            latency_ms_max: parts.latency_ms_max,
            clock: parts.clock,
        })
    }
}

/// What a stage runs.
type Run = Box<dyn FnOnce() -> Outcome + Send>;

fn run(stage: impl FnOnce() -> Outcome + Send + 'static) -> Run {
    Box::new(stage)
}

/// Keeps this thread to a processor. It is faster there, not righter: without it parts are judged
/// all the same.
fn keep_to(core: Option<usize>) {
    if let Some(Err(error)) = core.map(cores::keep_to) {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "the inspection runs on any processor; correct inference.core"
        );
    }
}

fn camera_names(cameras: &[StationCamera]) -> Result<Vec<String>, PipelineError> {
    let names: Vec<String> = cameras.iter().map(|view| view.name.clone()).collect();
    let unique = (1..names.len()).all(|i| !names[..i].contains(&names[i]));
    if unique && (1..=VIEWS_MAX).contains(&names.len()) {
        return Ok(names);
    }
    let message = format!("a station has 1 to {VIEWS_MAX} cameras with names of their own");
    Err(PipelineError::new(PipelineErrorKind::Camera, message))
}

/// What makes all cameras take a picture, as far as they are triggered by software; the others
/// hang on the line of one that is.
fn soft_trigger(cameras: &[StationCamera]) -> Option<SoftTrigger> {
    let all: Vec<SoftTrigger> = cameras.iter().filter_map(|v| v.camera.soft_trigger()).collect();
    // Every one of them is fired, whatever the others say.
    let fire = move || all.iter().filter(|fire| !fire()).count() == 0;
    cameras.iter().any(|v| v.camera.soft_trigger().is_some()).then(|| Box::new(fire) as SoftTrigger)
}

/// A verdict that reaches the PLC after the deadline is worth nothing; MQTT counts in seconds.
fn live_expiry_s(latency_ms_max: u64) -> u32 {
    u32::try_from(latency_ms_max.div_ceil(1_000)).unwrap_or(u32::MAX).max(1)
}

fn publish_settings(
    broker: Broker,
    topics: &Topics,
    live_expiry_s: u32,
    board: &Board,
    calibration: Vec<u8>,
) -> publish::Settings {
    publish::Settings {
        host: broker.host,
        port: broker.port,
        version: broker.version,
        tls: broker.tls,
        client_id: broker.client_id,
        credentials: broker.credentials,
        keep_alive_s: broker.keep_alive_s,
        topics: encode::topic_names(topics),
        subscriptions: vec![topics.command(), topics.consumer_ack()],
        live_expiry_s,
        will: board.offline(),
        state: board.state(),
        calibration,
        heartbeat: encode::heartbeat,
        binary: broker.binary.map(encode::binary),
        limits: broker.limits,
    }
}

/// What a slot holds before its first use.
fn blank_record() -> VerdictRecord {
    VerdictRecord {
        seq: 0,
        epoch: 0,
        trigger: TriggerId(0),
        part: part_id_of(""),
        recipe: RecipeId(0),
        class: CLASS_NONE,
        calibration: Default::default(),
        verdict: Verdict::invalid(Reason::Internal),
        latency: Nanos(0),
        flags: 0,
    }
}

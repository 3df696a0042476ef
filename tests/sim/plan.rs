//! What a seed decides before the world begins: the line, the network, the faults and their hour.

use crrd::journal::Sync;
use crrd::publish::Limits;

use super::rng::Rng;

/// How the line gives its parts to the station.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Regime {
    /// Each picture is a part; the camera reads the part's number.
    Continuous,
    /// The PLC arms each part, waits for the answer, then pulses the camera.
    Armed,
    /// The PLC has the station take the picture; the part stands still meanwhile.
    Software,
}

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// The station's process is killed at any point of any step.
    Kill,
    /// The same with the power of the machine: what was not synced may be gone.
    PowerCut,
    /// The station is stopped and started in order.
    Restart,
    /// The broker ends and comes back with its memory.
    BrokerRestart,
    /// The broker ends and comes back without it.
    BrokerForgets,
    /// The broker refuses connections for a while.
    BrokerRefuses,
    /// The station's connection breaks.
    Cut,
    /// The station's packets vanish, both ways, and nobody closes.
    HalfOpen,
    /// Another client takes the station's client id, several times.
    Takeover,
    /// Acknowledgements get lost.
    AckLost,
    /// Acknowledgements come late.
    AckLate,
    /// Acknowledgements come twice.
    AckTwice,
    /// Acknowledgements come in another order.
    AckShuffled,
    /// An acknowledgement of what was never sent.
    AckForeign,
    /// The client library's queue is full.
    QueueFull,
    /// Announcements from the journal's thread are dropped.
    Unannounced,
    /// Commits take long.
    SlowDisk,
    /// Commits fail, for a while.
    FullDisk,
    /// Reads of the backlog fail.
    ReadFails,
    /// The wall clock jumps.
    WallClock,
    /// The camera goes away for a while.
    CameraGone,
    /// A picture gets lost between camera and station.
    FrameLost,
    /// A picture arrives damaged.
    FrameDamaged,
    /// A picture arrives twice.
    FrameTwice,
    /// A picture is under way for almost as long as a part has.
    FrameSlow,
    /// A picture's trigger pulse never reaches the camera.
    PulseLost,
    /// The inspection hangs until the watchdog ends the process.
    EngineHangs,
    /// The inspection is slower than the deadline for a while.
    EngineSlow,
    /// The inspection panics, the engine fails, or its map is no map.
    EngineWrong,
    /// The PLC restarts and forgets what it was waiting for.
    PlcRestart,
    /// The PLC's connection breaks.
    PlcCut,
    /// The PLC's packets vanish.
    PlcHalfOpen,
    /// A command arrives twice.
    CommandTwice,
    /// A command arrives late.
    CommandLate,
    /// Nonsense, and commands nobody should give, on the command topic.
    CommandOdd,
    /// Parts come faster than the station can take them.
    Flood,
}

impl Fault {
    pub(crate) const ALL: [Fault; 36] = [
        Fault::Kill,
        Fault::PowerCut,
        Fault::Restart,
        Fault::BrokerRestart,
        Fault::BrokerForgets,
        Fault::BrokerRefuses,
        Fault::Cut,
        Fault::HalfOpen,
        Fault::Takeover,
        Fault::AckLost,
        Fault::AckLate,
        Fault::AckTwice,
        Fault::AckShuffled,
        Fault::AckForeign,
        Fault::QueueFull,
        Fault::Unannounced,
        Fault::SlowDisk,
        Fault::FullDisk,
        Fault::ReadFails,
        Fault::WallClock,
        Fault::CameraGone,
        Fault::FrameLost,
        Fault::FrameDamaged,
        Fault::FrameTwice,
        Fault::FrameSlow,
        Fault::PulseLost,
        Fault::EngineHangs,
        Fault::EngineSlow,
        Fault::EngineWrong,
        Fault::PlcRestart,
        Fault::PlcCut,
        Fault::PlcHalfOpen,
        Fault::CommandTwice,
        Fault::CommandLate,
        Fault::CommandOdd,
        Fault::Flood,
    ];
}

/// A defect built in on purpose: the oracle must find each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    /// The broker acknowledges a publish and drops it.
    BrokerDrops,
    /// A kill takes the newest committed row from the journal.
    JournalForgets,
    /// Rows are announced before they are committed.
    AnnouncedBeforeCommit,
    /// The first row of the backlog is skipped after a reconnect.
    BacklogSkips,
    /// The boot epoch stays the same over a restart.
    EpochStays,
    /// A result after its deadline is told as if it were in time.
    LateResultPasses,
    /// A result that waited for the journal beyond its deadline still passes.
    NothingExpires,
    /// A pass whose commit took too long is announced as live.
    LatePassAnnounced,
    /// A row that waited for the window beyond its time is sent as live.
    NothingIsOverdue,
    /// A decision is forgotten when two wait.
    DecisionDropped,
    /// A picture that comes twice is a part twice.
    FramesTwice,
    /// A damaged map is judged by its score alone.
    DamagedMapJudged,
    /// A rejected backlog acknowledgement counts: the cursor runs to the newest row at a reconnect.
    CursorRunsAhead,
    /// The PLC takes answers that come after its time.
    PlcPatient,
    /// The PLC pulses the camera without waiting for the answer to its arming.
    PlcBlind,
    /// Armed parts wait longer than parts are apart.
    ArmWaitTooLong,
    /// Nothing is delivered any more after the first reconnect.
    NeverReconnects,
    /// An answer to a command is lost between station and session.
    AnswerForgotten,
    /// The newest answer is given again after a reconnect.
    AnswerRepeated,
    /// An answer overtakes the state that its command changed.
    AnswerBeforeState,
    /// A repeated command to send a range again is carried out again.
    ReplayTwice,
    /// The first row of each page of a replay is skipped.
    ReplaySkips,
    /// A replay goes one verdict too far.
    ReplayForeign,
    /// A replay counts as the delivery of everything.
    ReplayMovesCursor,
}

impl Defect {
    pub(crate) const ALL: [Defect; 24] = [
        Defect::BrokerDrops,
        Defect::JournalForgets,
        Defect::AnnouncedBeforeCommit,
        Defect::BacklogSkips,
        Defect::EpochStays,
        Defect::LateResultPasses,
        Defect::NothingExpires,
        Defect::LatePassAnnounced,
        Defect::NothingIsOverdue,
        Defect::DecisionDropped,
        Defect::FramesTwice,
        Defect::DamagedMapJudged,
        Defect::CursorRunsAhead,
        Defect::PlcPatient,
        Defect::PlcBlind,
        Defect::ArmWaitTooLong,
        Defect::NeverReconnects,
        Defect::AnswerForgotten,
        Defect::AnswerRepeated,
        Defect::AnswerBeforeState,
        Defect::ReplayTwice,
        Defect::ReplaySkips,
        Defect::ReplayForeign,
        Defect::ReplayMovesCursor,
    ];

    /// What the oracle says of it.
    pub(crate) fn sign(self) -> &'static str {
        match self {
            Defect::BrokerDrops
            | Defect::JournalForgets
            | Defect::BacklogSkips
            | Defect::CursorRunsAhead
            | Defect::ReplayMovesCursor => "lost:",
            Defect::AnnouncedBeforeCommit => "is not in the journal",
            Defect::EpochStays => "came twice",
            Defect::LateResultPasses => "every accepted part is answered or waits",
            Defect::NothingExpires => "late PASS",
            Defect::LatePassAnnounced => "was announced as live",
            Defect::NothingIsOverdue => "as live after its time",
            Defect::DecisionDropped | Defect::NeverReconnects => "never came to rest",
            Defect::FramesTwice => "was answered twice",
            Defect::DamagedMapJudged | Defect::PlcBlind | Defect::ArmWaitTooLong => "WRONG PASS",
            Defect::PlcPatient => "LATE PASS",
            Defect::AnswerForgotten => "without a word",
            Defect::AnswerRepeated => "was not given",
            Defect::AnswerBeforeState => "before the state",
            Defect::ReplayTwice => "was taken twice",
            Defect::ReplaySkips => "was not sent again",
            Defect::ReplayForeign => "nobody asked for",
        }
    }
}

/// Everything a seed decides before the start. Times in the unit of their names.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) regime: Regime,
    pub(crate) parts: u32,
    pub(crate) spacing_ms: (u64, u64),
    /// The station's promise: from trigger to answer.
    pub(crate) latency_ms: u64,
    pub(crate) arm_wait_ms: u64,
    /// The PLC rejects a part whose answer to arming is not there after this.
    pub(crate) patience_ms: u64,
    /// From trigger to the gate, where the PLC decides.
    pub(crate) gate_ms: u64,
    pub(crate) inspect_us: (u64, u64),
    pub(crate) commit_us: (u64, u64),
    pub(crate) net_us: (u64, u64),
    pub(crate) queue_frames: usize,
    pub(crate) limits: Limits,
    /// The camera knows when a picture was taken; otherwise the station takes its arrival for it.
    pub(crate) stamps_exposure: bool,
    pub(crate) keep_alive_ms: u64,
    pub(crate) sync: Sync,
    /// Bound of the journal in bytes of payload; small ones drop what was not delivered.
    pub(crate) journal_bytes: usize,
    pub(crate) plc_clean: bool,
    /// When the PLC asks for verdicts again (in ms).
    pub(crate) replays: Vec<u64>,
    /// Rows on a page of a replay.
    pub(crate) range_rows: usize,
    /// What happens, and when (in ms).
    pub(crate) faults: Vec<(u64, Fault)>,
    /// Everything is repaired at this time.
    pub(crate) heal_ms: u64,
    pub(crate) defect: Option<Defect>,
}

impl Plan {
    pub(crate) fn of(seed: u64, defect: Option<Defect>) -> Self {
        // Streams of neighbouring seeds must not be shifted copies of each other.
        let mut rng = Rng::new(seed.wrapping_mul(0xD6E8_FEB8_6659_FD93) ^ 0x5EED);
        let blind = defect == Some(Defect::PlcBlind);
        let regime = match rng.below(5) {
            _ if blind => Regime::Armed,
            0 | 1 => Regime::Continuous,
            2 | 3 => Regime::Armed,
            _ => Regime::Software,
        };
        let latency_ms = rng.pick(&[40, 80, 150, 300]);
        let net_us = rng.pick(&[(50, 300), (200, 3_000), (1_000, 8_000)]);
        let commit_us = rng.pick(&[(100, 500), (500, 3_000), (2_000, 6_000)]);
        // Four ways: to the broker, to the station, and back.
        let patience_ms = 4 * net_us.1 / 1_000 + 6;
        let gate_ms = latency_ms + net_us.1 / 500 + 20;
        let mut arm_wait_ms = rng.pick(&[20, 60, 120]) + patience_ms;
        let spacing_min = match regime {
            Regime::Continuous => rng.pick(&[5, 20, 60, 150]),
            Regime::Armed => arm_wait_ms + patience_ms + 5,
            // The part stands until the gate's decision.
            Regime::Software => patience_ms + gate_ms + 5,
        };
        if defect == Some(Defect::ArmWaitTooLong) {
            arm_wait_ms = 5 * spacing_min;
        }
        // Now and then enough rows for the cursor to be stored on the way.
        let many = regime == Regime::Continuous && spacing_min <= 20 && rng.chance(8);
        let parts = rng.between(if many { (80, 200) } else { (3, 20) }) as u32;
        let spacing_ms =
            (spacing_min, spacing_min + if many { 1 } else { rng.pick(&[1, 30, 120]) });
        let length_ms = u64::from(parts) * spacing_ms.1 + 300;
        let mut faults = Self::faults(&mut rng, length_ms);
        if blind {
            // What it is about: an arming that comes when its part has gone.
            faults.extend((0..6).map(|_| (rng.below(length_ms), Fault::CommandLate)));
        }
        faults.sort_unstable();
        let window = rng.pick(&[3u16, 8, 32, 64]);
        let limits = Limits {
            window,
            bulk_window: rng.between((1, u64::from(window) - 1)) as u16,
            live_rows_max: rng.pick(&[1, 4, 256]),
            bulk_queue_max: rng.pick(&[1, 4, 256]),
            payload_bytes_max: 16 << 10,
            ack_wait_ms_max: rng.pick(&[300, 1_000, 2_000]),
            backoff_ms_min: rng.pick(&[20, 100]),
            backoff_ms_max: rng.pick(&[200, 1_000]),
            heartbeat_ms: 500,
        };
        let power = faults.iter().any(|(_, fault)| *fault == Fault::PowerCut);
        Self {
            seed,
            regime,
            parts,
            spacing_ms,
            latency_ms,
            arm_wait_ms,
            patience_ms,
            gate_ms,
            inspect_us: rng.pick(&[(500, 4_000), (2_000, 20_000), (5_000, 60_000)]),
            commit_us,
            net_us,
            queue_frames: rng.pick(&[1, 4]),
            stamps_exposure: rng.chance(50),
            limits,
            keep_alive_ms: rng.pick(&[300, 1_000]),
            sync: if rng.chance(50) { Sync::Full } else { Sync::Normal },
            // Dropping and losing the tail at once is left to the tests of the real journal.
            journal_bytes: if !power && rng.chance(15) { 1_500 } else { usize::MAX },
            plc_clean: rng.chance(50),
            replays: (0..rng.pick(&[0, 0, 1, 2, 6])).map(|_| rng.below(length_ms)).collect(),
            range_rows: rng.pick(&[8, 32, 256]),
            faults,
            heal_ms: length_ms + 200,
            defect,
        }
    }

    /// Some kinds, several times each: what goes wrong twice is what was not cleaned up once.
    fn faults(rng: &mut Rng, length_ms: u64) -> Vec<(u64, Fault)> {
        let kinds = rng.pick(&[0, 1, 2, 2, 3, 4, 6, 10]);
        let mut faults = vec![];
        for _ in 0..kinds {
            let fault = rng.pick(&Fault::ALL);
            for _ in 0..rng.between((1, 4)) {
                faults.push((rng.below(length_ms), fault));
            }
        }
        faults
    }

    /// No fault holds up the commits, so every answer must be in time.
    pub(crate) fn disk_is_sound(&self) -> bool {
        let slow = [Fault::SlowDisk, Fault::FullDisk];
        !self.faults.iter().any(|(_, fault)| slow.contains(fault))
    }

    pub(crate) fn is(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }
}

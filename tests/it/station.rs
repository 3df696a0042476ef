//! The real program in a folder of its own: bundle, calibration, frames, configuration.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crrd::engine::bundle::MODEL_FILE;
use crrd::frame::Tiling;
use crrd::sys::hash::sha256_hex;

use crate::broker::{Received, Subscriber, wait_for};
use crate::support::parts::calibration;
use crate::support::standin;

/// Score limit of the test calibration: far above a grey part, far below one with a square.
const LIMIT: f32 = 0.05;

/// Numbers the log files: each start keeps its own.
static LOGS: AtomicU32 = AtomicU32::new(0);

/// A folder with everything a station needs.
pub(crate) struct Bench {
    dir: tempfile::TempDir,
    port: u16,
    /// Lines of `[camera]` and `[limits]` beside the fixed ones.
    camera: String,
    limits: String,
    /// Raw lines put before the first table.
    head: String,
}

impl Bench {
    /// Everything but the frames; the broker listens on `port`.
    pub(crate) fn new(port: u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        standin::write_bundle(&dir.path().join("engine"), &["bolt"]);
        std::fs::create_dir(dir.path().join("frames")).unwrap();
        let bench = Self {
            dir,
            port,
            camera: "rate_hz = 0".to_owned(),
            // Debug builds on a busy machine: a deadline is tested on its own.
            limits: "latency_ms_max = 30000".to_owned(),
            head: String::new(),
        };
        let hash = sha256_hex(&std::fs::read(bench.path("engine").join(MODEL_FILE)).unwrap());
        bench.write_calibration(&hash);
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The calibration file, made for the engine of this hash.
    pub(crate) fn write_calibration(&self, engine_sha256: &str) {
        let calibration = calibration(engine_sha256, "bolt", LIMIT, Tiling::WHOLE);
        std::fs::write(self.path("calibration.toml"), calibration.to_toml().unwrap()).unwrap();
    }

    /// Starts the station as a service manager does that listens at `notify` and wants a ping
    /// within each `period`.
    pub(crate) fn spawn_watched(&self, period: Duration) -> Running {
        self.spawn(
            Command::new(env!("CARGO_BIN_EXE_crrd"))
                .args(["run", "--config"])
                .arg(self.path("crrd.toml"))
                .env("NOTIFY_SOCKET", self.path("notify"))
                .env("WATCHDOG_USEC", period.as_micros().to_string())
                .env_remove("WATCHDOG_PID"),
        )
    }

    /// A frame as a picture file.
    pub(crate) fn picture(&self, name: &str, rgb: &[u8]) -> PathBuf {
        let side = standin::SIDE as u32;
        self.sized_picture(name, &image::RgbImage::from_raw(side, side, rgb.to_vec()).unwrap())
    }

    /// A frame of any size as a picture file.
    pub(crate) fn sized_picture(&self, name: &str, picture: &image::RgbImage) -> PathBuf {
        let path = self.path("frames").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        picture.save(&path).unwrap();
        path
    }

    /// `count` pictures, every third with a defect: `good-000`, `good-001`, `bad-002`...
    pub(crate) fn pictures(&self, count: usize) {
        for i in 0..count {
            match is_bad(i) {
                true => self.picture(&format!("{i:03}-bad.png"), &bad_part()),
                false => self.picture(&format!("{i:03}-good.png"), &standin::grey()),
            };
        }
    }

    /// Replaces the lines of `[camera]`.
    pub(crate) fn camera(&mut self, lines: &str) -> &mut Self {
        self.camera = lines.to_owned();
        self
    }

    /// Replaces the lines of `[limits]`.
    pub(crate) fn limits(&mut self, lines: &str) -> &mut Self {
        self.limits = lines.to_owned();
        self
    }

    /// Replaces the lines before the first table (after the required ones).
    pub(crate) fn head(&mut self, lines: &str) -> &mut Self {
        self.head = lines.to_owned();
        self
    }

    /// The configuration as text.
    pub(crate) fn config(&self) -> String {
        let mut text = String::new();
        let state = if self.head.contains("state_dir") { "" } else { "state_dir = \"state\"" };
        writeln!(text, "station = \"s1\"\nengine = \"engine\"\ncalibration = \"calibration.toml\"")
            .unwrap();
        writeln!(text, "{state}\n{}", self.head).unwrap();
        writeln!(text, "[mqtt]\nport = {}\nkeep_alive_s = 2", self.port).unwrap();
        writeln!(text, "[[recipe]]\nid = 7\nclass = \"bolt\"").unwrap();
        writeln!(text, "[camera]\nfolder = \"frames\"\n{}", self.camera).unwrap();
        writeln!(text, "[limits]\n{}\n[journal]\nsync = \"normal\"", self.limits).unwrap();
        text
    }

    /// The same with these lines in `[mqtt]`. MQTT 5 takes no keep-alive as short as the usual.
    pub(crate) fn config_with(&self, mqtt: &str) -> String {
        let keep_alive = if mqtt.contains("version = \"5\"") { 5 } else { 2 };
        self.config().replace("keep_alive_s = 2", &format!("keep_alive_s = {keep_alive}\n{mqtt}"))
    }

    /// Starts `crrd run`.
    pub(crate) fn run(&self) -> Running {
        self.run_text(&self.config())
    }

    /// Starts `crrd run` with this configuration file.
    pub(crate) fn run_text(&self, config: &str) -> Running {
        let file = self.path("crrd.toml");
        std::fs::write(&file, config).unwrap();
        self.spawn(Command::new(env!("CARGO_BIN_EXE_crrd")).arg("run").arg("--config").arg(file))
    }

    /// Starts a prepared command with its log kept.
    pub(crate) fn spawn(&self, command: &mut Command) -> Running {
        let log = self.path(&format!("log-{}", LOGS.fetch_add(1, Ordering::Relaxed)));
        let child = command
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Running { child, log }
    }
}

/// Whether the `i`th of [`Bench::pictures`] has a defect.
pub(crate) fn is_bad(i: usize) -> bool {
    i % 3 == 2
}

/// A part with a white square.
pub(crate) fn bad_part() -> Vec<u8> {
    standin::with_square(255, 20, 30, 8)
}

/// The running program; killed when dropped.
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it said so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Sends a signal by name, e.g. `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let sent =
            Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(sent.unwrap().success(), "kill -{name}");
    }

    /// kill -9.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end; the exit status and the log.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        wait_for("the program to end", || self.child.try_wait().unwrap().is_some());
        (self.child.wait().unwrap(), self.log())
    }

    /// Waits for a line with `text` in the log.
    pub(crate) fn wait_log(&mut self, text: &str) {
        wait_for(&format!("{text:?} in the log"), || {
            let said = self.log().contains(text);
            assert!(said || !self.has_ended(), "ended without {text:?}:\n{}", self.log());
            said
        });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("--- log of the station\n{}", self.log());
        }
    }
}

/// A verdict as a consumer that knows nothing of this program reads it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) fields: BTreeMap<String, serde_json::Value>,
}

impl Seen {
    pub(crate) fn of(message: &Received) -> Self {
        Self { fields: serde_json::from_slice(&message.payload).unwrap() }
    }

    pub(crate) fn number(&self, key: &str) -> i64 {
        self.fields[key].as_i64().unwrap_or_else(|| panic!("{key} in {:?}", self.fields))
    }

    pub(crate) fn text(&self, key: &str) -> &str {
        self.fields[key].as_str().unwrap_or_else(|| panic!("{key} in {:?}", self.fields))
    }
}

/// All answers on `verdict` and `hist` by (epoch, seq). Doubles must be equal. A result that came
/// after its part was answered at the deadline is no answer (flag 1).
pub(crate) fn verdicts(subscriber: &Subscriber) -> BTreeMap<(i64, i64), Seen> {
    let mut all = BTreeMap::new();
    for topic in ["crr/s1/verdict", "crr/s1/hist"] {
        for message in subscriber.on(topic) {
            let seen = Seen::of(&message);
            if seen.number("f") & 1 != 0 {
                continue;
            }
            let key = (seen.number("e"), seen.number("q"));
            if let Some(before) = all.insert(key, seen.clone()) {
                assert_eq!(before, seen, "one (epoch, seq), two contents");
            }
        }
    }
    all
}

/// Newest state the subscriber saw.
pub(crate) fn state(subscriber: &Subscriber) -> Option<Seen> {
    subscriber.on("crr/s1/state").last().map(Seen::of)
}

/// Payloads of all verdict rows in the journal of an ended station.
pub(crate) fn journaled(dir: &Path) -> Vec<(u32, u32, Vec<u8>)> {
    let options = crrd::journal::Options {
        sync: crrd::journal::Sync::Normal,
        bytes_max: 1 << 30,
        age_days_max: 0,
        notice: |_, _| vec![],
    };
    let (_writer, mut reader, _) = crrd::journal::Journal::open(dir, &options).unwrap();
    let (mut rows, mut after) = (vec![], 0);
    loop {
        let page = reader.after(after, 1000).unwrap();
        let Some(last) = page.last() else { return rows };
        after = last.id;
        let verdicts = page.into_iter().filter(|r| r.kind == crrd::journal::RowKind::Verdict);
        rows.extend(verdicts.map(|r| (r.epoch, r.seq, r.payload)));
    }
}

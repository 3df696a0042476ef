//! The service manager is told the truth: ready when ready, alive only while parts can move.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::broker::wait_for;
use crate::station::Bench;

/// Watchdog period that the test's service manager asks for.
const PERIOD: Duration = Duration::from_secs(1);

/// The service manager's end of the notification socket.
struct Manager {
    socket: UnixDatagram,
    heard: Vec<(Instant, String)>,
}

impl Manager {
    fn new(bench: &Bench) -> Self {
        let socket = UnixDatagram::bind(bench.path("notify")).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, heard: vec![] }
    }

    fn listen(&mut self) {
        let mut buffer = [0; 4096];
        loop {
            match self.socket.recv(&mut buffer) {
                Ok(bytes) => {
                    let text = String::from_utf8_lossy(&buffer[..bytes]).into_owned();
                    self.heard.push((Instant::now(), text));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn count(&mut self, word: &str) -> usize {
        self.listen();
        self.heard.iter().filter(|(_, text)| text.contains(word)).count()
    }
}

fn spawn(bench: &Bench) -> crate::station::Running {
    std::fs::write(bench.path("crrd.toml"), bench.config()).unwrap();
    bench.spawn_watched(PERIOD)
}

#[test]
fn the_service_manager_hears_ready_pings_and_the_end() {
    let mut bench = Bench::new(1);
    bench.pictures(10);
    // Slower than the watchdog's period: an idle station is alive, too.
    bench.camera("rate_hz = 0.5\nmode = \"loop\"");
    let mut manager = Manager::new(&bench);
    let station = spawn(&bench);
    wait_for("ready", || manager.count("READY=1") == 1);
    let before = manager.count("WATCHDOG=1");
    std::thread::sleep(3 * PERIOD);
    let pings = manager.count("WATCHDOG=1") - before;
    assert!(pings >= 3, "at least one ping a period: {pings}");
    station.signal("TERM");
    wait_for("the farewell", || manager.count("STOPPING=1") == 1);
    let (status, log) = station.end();
    assert_eq!(status.code(), Some(0), "{log}");
    assert_eq!(manager.count("READY=1"), 1, "told once");
}

#[test]
fn a_stage_that_hangs_starves_the_watchdog() {
    let mut bench = Bench::new(1);
    for i in 0..5 {
        std::fs::write(bench.path("frames").join(format!("{i}.raw")), vec![128; 64 * 64]).unwrap();
    }
    // A pipe that nobody writes to: whoever opens it waits for ever, like a dead network drive.
    let pipe = bench.path("frames").join("5.raw");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    bench.camera(
        "rate_hz = 5\nmode = \"loop\"\nformat = \"raw\"\nwidth = 64\nheight = 64\n\
         pixel_format = \"Mono8\"",
    );
    let mut manager = Manager::new(&bench);
    let mut station = spawn(&bench);
    wait_for("a ping", || manager.count("WATCHDOG=1") > 0);
    station.wait_log("no progress");
    let log = station.log();
    assert!(log.contains("crrd-capture"), "the hanging stage is named: {log}");
    // Every ping there was came before the hang was noticed.
    let pings = manager.count("WATCHDOG=1");
    std::thread::sleep(2 * PERIOD);
    assert_eq!(manager.count("WATCHDOG=1"), pings, "no ping without progress");
}

#[test]
fn a_station_that_judges_nothing_by_its_mode_is_up_all_the_same() {
    let mut bench = Bench::new(1);
    bench.pictures(2);
    bench.camera("rate_hz = 5\nmode = \"loop\"");
    bench.head("[trigger]\nmode = \"stop\"");
    let mut manager = Manager::new(&bench);
    let station = spawn(&bench);
    wait_for("up", || manager.count("READY=1") == 1);
    drop(station);
}

//! A camera that does not answer is asked again and again, and that takes time: the service manager
//! must not take it for a hang.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use crate::HOME;
use crate::broker::wait_for;
use crate::fake::Fake;
use crate::line::CAMERA;
use crate::net::alone;
use crate::station::Bench;
use crate::support::standin;

/// Watchdog period of the test's service manager; the shipped unit has 10 s.
const PERIOD: Duration = Duration::from_secs(3);
/// Longest wait for the first attempt to open it to fail.
const DARK: Duration = Duration::from_secs(60);

#[test]
fn the_watchdog_is_fed_while_a_lost_camera_is_looked_for() {
    alone(&[], || {
        let bytes = standin::SIDE * standin::SIDE * 3;
        let mut fake = Fake::with(HOME, "GV01", bytes, vec![standin::grey()]);
        let bench = Bench::new(1);
        let config = bench.config().replace("folder = \"frames\"\nrate_hz = 0", CAMERA);
        std::fs::write(bench.path("crrd.toml"), config).unwrap();
        let socket = UnixDatagram::bind(bench.path("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let mut station = bench.spawn_watched(PERIOD);
        wait_for("a ping", || pinged(&socket));
        fake.switch_off();
        let off = Instant::now();
        let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
        while !station.log().contains("camera not started") {
            assert!(off.elapsed() < DARK, "{}", station.log());
            if pinged(&socket) {
                last = Instant::now();
            }
            longest = longest.max(last.elapsed());
        }
        assert!(longest < PERIOD, "{longest:?} without a ping:\n{}", station.log());
        assert!(station.log().contains("camera lost"), "{}", station.log());
        fake.switch_on(HOME, "GV01");
        station.wait_log("camera opened again and set up");
        station.signal("TERM");
        let (status, log) = station.end();
        assert_eq!(status.code(), Some(0), "{log}");
    });
}

/// Whether a ping came within a moment.
fn pinged(socket: &UnixDatagram) -> bool {
    let mut buffer = [0; 4096];
    match socket.recv(&mut buffer) {
        Ok(bytes) => String::from_utf8_lossy(&buffer[..bytes]).contains("WATCHDOG=1"),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => false,
        Err(error) => panic!("{error}"),
    }
}

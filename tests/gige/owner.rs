//! Who controls the camera: another process that lives, one that died, and ourselves again.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crrd::capture::{Camera as _, CameraErrorKind};
use crrd::frame::PixelFormat;

use crate::fake::Fake;
use crate::net::alone;
use crate::{HOME, SIZE, open, settings, try_open};

/// Set for the process that only holds the camera.
const HOLDER: &str = "CRRD_TEST_HOLDS_CAMERA";
const SAYS: &str = "the camera is mine";

/// The other process: run by the tests below, and no test by itself.
#[test]
fn another_process_holds_the_camera() {
    if std::env::var_os(HOLDER).is_none() {
        return;
    }
    let camera = open(settings(PixelFormat::Mono8));
    println!("{SAYS}");
    std::thread::sleep(std::time::Duration::from_secs(60));
    drop(camera);
}

/// Another process that controls the camera; killed when dropped.
struct Holder(Child);

impl Holder {
    fn start() -> Self {
        let this = std::env::current_exe().unwrap();
        let mut child = Command::new(this)
            .args(["--exact", "owner::another_process_holds_the_camera", "--nocapture"])
            .env(HOLDER, "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let held = said.lines().map_while(Result::ok).any(|line| line.contains(SAYS));
        assert!(held, "the other process opens the camera");
        Self(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_camera_that_somebody_uses_is_named_with_its_address() {
    alone(&[], || {
        let _fake = Fake::start(HOME, "GV01", (SIZE.0 * SIZE.1) as usize);
        let _holder = Holder::start();
        let error = try_open(settings(PixelFormat::Mono8)).err().expect("it is taken");
        assert_eq!(error.kind(), CameraErrorKind::Open);
        let said = error.to_string();
        assert!(said.contains("owned by someone else") && said.contains(HOME), "{said}");
    });
}

#[test]
fn a_camera_whose_user_was_killed_is_ours_after_its_heartbeat() {
    alone(&[], || {
        let _fake = Fake::start(HOME, "GV01", (SIZE.0 * SIZE.1) as usize);
        drop(Holder::start());
        let begun = Instant::now();
        let mut camera = open(settings(PixelFormat::Mono8));
        let waited = begun.elapsed().as_secs();
        assert!(waited < 10, "after {waited} s");
        camera.stop().unwrap();
    });
}

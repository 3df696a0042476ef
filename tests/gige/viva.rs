//! Against an independent implementation of GigE Vision: packets that are lost, sent again or not,
//! and control that is taken away. Skipped where `viva-genicam` is not installed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use crrd::capture::gige::{self, Gige, GigeOptions};
use crrd::capture::{Camera as _, Damage, Event};
use crrd::config::FeatureValue;
use crrd::frame::{CameraId, PixelFormat, Pool};
use crrd::sys::clock::RealClock;

use crate::net::alone;
use crate::{BUFFERS, GONE_WITHIN_S, feature, next, open, settings, sooner_or_later};

/// Python with the package, made by `.ci/run`.
const PYTHON: &str = "target/viva-venv/bin/python";
/// Enough for a few packets of the smallest kind a frame.
const OPTIONS: &str = r#""width": 64, "height": 64, "fps": 25, "pixel_format": "Mono8""#;

/// A camera in a process of its own.
struct Viva {
    child: Child,
    tell: ChildStdin,
    said: BufReader<ChildStdout>,
}

impl Viva {
    /// `None`, with a printed line, where the package is not installed.
    fn start(more: &str) -> Option<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join(PYTHON);
        if !python.exists() {
            println!("skipped: {PYTHON} with viva-genicam is not there");
            return None;
        }
        let mut child = Command::new(python)
            .arg(root.join("tests/gige/viva.py"))
            .arg(format!("{{{OPTIONS}{more}}}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let tell = child.stdin.take().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let mut viva = Self { child, tell, said };
        assert_eq!(viva.line(), "ready");
        Some(viva)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// Sends its process a signal by name.
    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap();
        assert!(sent.success(), "kill -{name}");
    }

    fn ask(&mut self, word: &str) -> String {
        writeln!(self.tell, "{word}").unwrap();
        self.line()
    }
}

impl Drop for Viva {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wanted(resend: bool) -> crrd::config::Gige {
    let mut wanted = settings(PixelFormat::Mono8);
    wanted.region.height = Some(64);
    wanted.features = vec![feature("ExposureTime", FeatureValue::Float(2500.0))];
    wanted.link.resend = resend;
    wanted.link.packet_bytes = Some(576);
    wanted
}

/// What came of the frames `1..=count`: whole or damaged, by number; lost ones are absent.
fn come(camera: &mut Gige, count: u64) -> (Vec<u64>, Vec<u64>) {
    let (mut whole, mut damaged) = (vec![], vec![]);
    loop {
        let seq = match sooner_or_later(camera, 10) {
            Event::Frame { trigger, frame } => {
                assert_eq!(frame.meta.bytes, 64 * 64);
                whole.push(trigger.seq);
                trigger.seq
            }
            Event::Incomplete { trigger, why } => {
                assert_eq!(why, Damage::Unreadable);
                damaged.push(trigger.seq);
                trigger.seq
            }
            other => panic!("{other:?}"),
        };
        if seq >= count {
            return (whole, damaged);
        }
    }
}

#[test]
fn packets_that_are_lost_are_asked_for_again_and_nothing_is_lost() {
    alone(&[], || {
        let Some(_viva) = Viva::start(r#", "drop_packets": [[5, 1], [7, 2], [7, 3], [12, 1]]"#)
        else {
            return;
        };
        let mut camera = open(wanted(true));
        camera.start(Pool::new(BUFFERS, camera.frame_bytes_max()), 1).unwrap();
        let (whole, damaged) = come(&mut camera, 20);
        assert_eq!(whole, (1..=20).collect::<Vec<_>>());
        assert_eq!(damaged, [0; 0]);
        let stats = camera.stats();
        assert_eq!((stats.packets_resent, stats.packets_missing), (4, 0), "{stats:?}");
        camera.stop().unwrap();
    });
}

#[test]
fn facts_that_the_camera_writes_behind_the_picture_come_with_the_frame() {
    alone(&[], || {
        for chunks in [true, false] {
            let Some(_viva) = Viva::start("") else { return };
            let mut camera = open(crrd::config::Gige { chunks, ..wanted(true) });
            camera.start(Pool::new(BUFFERS, camera.frame_bytes_max()), 1).unwrap();
            let mut before = None;
            for seq in 1..=10 {
                let Event::Frame { frame, .. } = sooner_or_later(&mut camera, 10) else {
                    panic!("nothing is lost here")
                };
                assert_eq!((frame.meta.seq, frame.meta.bytes), (seq, 64 * 64));
                let facts = frame.meta.facts;
                assert_eq!(facts.exposure_us, chunks.then_some(2500.0), "in a chunk alone");
                // Its chunks say the same as its packets.
                assert_eq!(facts.raw_id, Some(seq));
                let now = facts.device_ns.unwrap();
                // 25 pictures a second, by the camera's own clock.
                let between_ms = before.replace(now).map(|before| (now - before) / 1_000_000);
                assert!(between_ms.is_none_or(|ms| (30..60).contains(&ms)), "{between_ms:?}");
            }
            camera.stop().unwrap();
        }
    });
}

#[test]
fn without_resend_exactly_the_frames_with_lost_packets_are_damaged() {
    alone(&[], || {
        let Some(_viva) = Viva::start(r#", "drop_packets": [[5, 1], [7, 2], [12, 1]]"#) else {
            return;
        };
        let mut camera = open(wanted(false));
        camera.start(Pool::new(BUFFERS, camera.frame_bytes_max()), 1).unwrap();
        let (whole, damaged) = come(&mut camera, 20);
        assert_eq!(damaged, [5, 7, 12]);
        let others: Vec<_> = (1..=20).filter(|n| !damaged.contains(n)).collect();
        assert_eq!(whole, others);
        assert_eq!(camera.stats().packets_resent, 0);
        camera.stop().unwrap();
    });
}

#[test]
fn control_that_the_camera_takes_away_is_a_loss_and_is_taken_again() {
    alone(&[], || {
        let Some(mut viva) = Viva::start("") else { return };
        let mut camera = open(wanted(true));
        let pool = Pool::new(BUFFERS, camera.frame_bytes_max());
        camera.start(pool.clone(), 1).unwrap();
        come(&mut camera, 3);
        assert_eq!(viva.ask("revoke"), "revoked");
        let begun = Instant::now();
        while !matches!(next(&mut camera, 200), Event::Gone { .. }) {
            assert!(begun.elapsed().as_secs() < GONE_WITHIN_S, "not noticed");
        }
        camera.stop().unwrap();
        camera.start(pool, 2).unwrap();
        match sooner_or_later(&mut camera, 10) {
            Event::Frame { frame, .. } => assert_eq!(frame.meta.epoch, 2),
            other => panic!("{other:?}"),
        }
        camera.stop().unwrap();
    });
}

#[test]
fn a_camera_of_the_present_convention_is_triggered_and_tells_facts_of_its_frames() {
    alone(&[], || {
        let Some(mut viva) = Viva::start("") else { return };
        let options =
            GigeOptions { settings: wanted(true), software_trigger: true, camera: CameraId(0) };
        let mut camera = gige::open(options, Arc::new(RealClock)).unwrap();
        let fire = camera.soft_trigger().unwrap();
        camera.start(Pool::new(BUFFERS, camera.frame_bytes_max()), 1).unwrap();
        assert!(fire());
        match sooner_or_later(&mut camera, 10) {
            Event::Frame { frame, .. } => {
                assert_eq!(frame.meta.facts.exposure_us, Some(2500.0), "{:?}", frame.meta);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(viva.ask("triggers"), "1");
        camera.stop().unwrap();
    });
}

#[test]
fn a_camera_that_freezes_for_eight_seconds_is_lost_and_comes_back() {
    alone(&[], || {
        let Some(viva) = Viva::start("") else { return };
        let mut camera = open(wanted(true));
        let pool = Pool::new(BUFFERS, camera.frame_bytes_max());
        camera.start(pool.clone(), 1).unwrap();
        come(&mut camera, 3);
        viva.signal("STOP");
        let frozen = Instant::now();
        let mut gone = false;
        while frozen.elapsed().as_secs() < 8 {
            let tick = Instant::now();
            match next(&mut camera, 200) {
                Event::Gone { .. } if !gone => {
                    gone = true;
                    // One that is frozen does not answer: that takes its time, and is no success.
                    let _ = camera.stop();
                    assert!(camera.start(pool.clone(), 2).is_err(), "it is frozen");
                    break;
                }
                Event::Gone { .. } | Event::Frame { .. } => {}
                Event::Incomplete { .. } | Event::Idle => {}
                other => panic!("{other:?}"),
            }
            assert!(tick.elapsed().as_secs() < 2, "a call blocked for {:?}", tick.elapsed());
        }
        assert!(gone, "noticed while it was frozen");
        while frozen.elapsed().as_secs() < 8 {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        viva.signal("CONT");
        let back = Instant::now();
        while let Err(error) = camera.start(pool.clone(), 3) {
            assert!(back.elapsed().as_secs() < 20, "{error}");
            std::thread::sleep(std::time::Duration::from_millis(250));
        }
        // Settings are applied again, and frames come under the new epoch.
        match sooner_or_later(&mut camera, 10) {
            Event::Frame { frame, .. } => {
                assert_eq!(frame.meta.epoch, 3);
                assert_eq!(frame.meta.facts.exposure_us, Some(2500.0));
            }
            other => panic!("{other:?}"),
        }
        camera.stop().unwrap();
        assert_eq!(pool.free(), pool.slots(), "every buffer came home");
    });
}

#[test]
fn a_configured_camera_that_announces_itself_to_nobody_is_found_at_its_address() {
    alone(&[], || {
        let Some(_viva) = Viva::start("") else { return };
        let bench = crate::station::Bench::new(9);
        let camera = |address: &str| {
            format!(
                "kind = \"gige\"\n[camera.gige]\ndevice = \"{address}\"\npixel_format = \"Mono8\""
            )
        };
        let list = |address: &str| {
            let from = "folder = \"frames\"\nrate_hz = 0";
            let config = bench.config().replace(from, &camera(address));
            std::fs::write(bench.path("crrd.toml"), config).unwrap();
            let mut command = Command::new(env!("CARGO_BIN_EXE_crrd"));
            let command = command.args(["camera", "list", "--config"]).arg(bench.path("crrd.toml"));
            String::from_utf8(command.output().unwrap().stdout).unwrap()
        };
        let text = list("127.0.0.1");
        assert!(text.contains("gige 127.0.0.1, which is there"), "{text}");
        let text = list("127.0.0.77");
        assert!(text.contains("gige 127.0.0.77, which was NOT found"), "{text}");
    });
}

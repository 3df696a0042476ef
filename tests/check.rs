//! `crrd check` on a station that would run, and on one broken thing at a time.

// Helpers of tests may unwrap: a panic is how a test fails.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crrd::calibrate::{Calibration, ClassLimit};
use crrd::cli::check::{Check, Outcome, examine};
use crrd::frame::Precision;
use crrd::sys::cores;
use support::standin;

/// A folder with everything a station needs: stand-in engine, calibration, pictures.
struct Site {
    dir: tempfile::TempDir,
    port: u16,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        standin::write_bundle(&dir.path().join("engine"), &["steel", "brass"]);
        let site = Self { dir, port: free_port() };
        site.write_calibration(&site.engine_sha256());
        std::fs::create_dir_all(site.path("parts/steel")).unwrap();
        let side = standin::SIDE as u32;
        let picture = image::RgbImage::from_raw(side, side, standin::grey()).unwrap();
        picture.save(site.path("parts/steel/001.png")).unwrap();
        site.write_config("steel", "");
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write_config(&self, class: &str, extra: &str) {
        let port = self.port;
        let text = format!(
            "station = \"line1\"\nengine = \"engine\"\ncalibration = \"calibration.toml\"\n\
             state_dir = \"state/crrd\"\n[[recipe]]\nid = 7\nclass = \"{class}\"\n[camera]\n\
             folder = \"parts\"\nrecipe_from = \"folder\"\n[mqtt]\nport = {port}\n{extra}"
        );
        std::fs::write(self.path("crrd.toml"), text).unwrap();
    }

    fn write_calibration(&self, engine_sha256: &str) {
        self.write_calibration_in(Precision::Fp32, engine_sha256);
    }

    fn write_calibration_in(&self, precision: Precision, engine_sha256: &str) {
        let scores: Vec<f32> = (0..300).map(|i| i as f32 / 1000.0).collect();
        let limit = ClassLimit {
            image_threshold: 0.299,
            pixel_threshold: 0.4,
            n: 300,
            k: 0,
            dataset_sha256: "0".repeat(64),
            scores,
            geometry: crrd::frame::Geometry::WHOLE,
            tiling: crrd::frame::Tiling::WHOLE,
        };
        let calibration = Calibration {
            format: 1,
            engine_sha256: engine_sha256.to_owned(),
            precision,
            created_utc: "2026-01-01T00:00:00Z".into(),
            author: "test".into(),
            reason: "test".into(),
            previous: None,
            alpha: 0.01,
            confidence: 0.95,
            class: [("steel".to_owned(), limit)].into(),
        };
        std::fs::write(self.path("calibration.toml"), calibration.to_toml().unwrap()).unwrap();
    }

    fn engine_sha256(&self) -> String {
        crrd::sys::hash::sha256_file_hex(&self.path("engine/model.onnx")).unwrap()
    }

    fn check(&self) -> Vec<Check> {
        examine(&self.path("crrd.toml"))
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn outcome<'a>(checks: &'a [Check], name: &str) -> &'a Outcome {
    let found = checks.iter().find(|c| c.name == name);
    &found.unwrap_or_else(|| panic!("no {name} in {checks:#?}")).outcome
}

#[track_caller]
fn fails(checks: &[Check], name: &str, says: &[&str]) {
    let Outcome::Fail(text) = outcome(checks, name) else {
        panic!("{name} does not fail: {checks:#?}")
    };
    for word in says {
        assert!(text.contains(word), "{text:?} does not say {word:?}");
    }
    let others = checks.iter().filter(|c| c.name != name);
    for check in others {
        let dependent = name == "engine" && check.name == "calibration";
        assert!(dependent || !matches!(check.outcome, Outcome::Fail(_)), "{check}");
    }
}

#[track_caller]
fn warns(checks: &[Check], name: &str, says: &[&str]) {
    let Outcome::Warn(text) = outcome(checks, name) else {
        panic!("{name} does not warn: {checks:#?}")
    };
    for word in says {
        assert!(text.contains(word), "{text:?} does not say {word:?}");
    }
}

#[test]
fn armed_parts_that_wait_too_long_for_a_fast_line_are_warned_about() {
    let site = Site::new();
    let trigger = |more: &str| {
        site.write_config("steel", &format!("[trigger]\nmode = \"single\"\n{more}"));
        site.check()
    };
    let checks = trigger("");
    let Outcome::Ok(text) = outcome(&checks, "triggers") else { panic!("{checks:#?}") };
    assert!(text.contains("500 ms") && text.contains("further apart"), "{text}");
    warns(&trigger("arm_wait_ms_max = 5000"), "triggers", &["5000 ms", "less than the time"]);
}

#[test]
fn a_whole_station_passes_and_a_missing_broker_is_only_a_warning() {
    let site = Site::new();
    let checks = site.check();
    let names: Vec<_> = checks.iter().map(|c| c.name).collect();
    assert_eq!(
        names,
        [
            "config",
            "engine",
            "inference",
            "recipes",
            "calibration",
            "camera",
            "state_dir",
            "broker"
        ]
    );
    for check in &checks[..7] {
        assert!(matches!(check.outcome, Outcome::Ok(_)), "{check}");
    }
    warns(&checks, "broker", &[&site.port.to_string(), "starts and delivers"]);
    assert!(!site.path("state").exists(), "a check starts nothing and leaves nothing");
}

#[test]
fn a_broken_configuration_is_explained_problem_by_problem() {
    let site = Site::new();
    site.write_config("steel", "prot = 5\nkeep_alive_s = 0\n");
    let checks = site.check();
    assert_eq!(checks.len(), 2, "{checks:#?}");
    let text: Vec<_> = checks.iter().map(ToString::to_string).collect();
    let file = site.path("crrd.toml").display().to_string();
    assert!(text[0].contains(&file) && text[0].contains("did you mean \"port\""), "{text:#?}");
    assert!(text[1].contains("mqtt.keep_alive_s = 0"), "{text:#?}");
    let missing = examine(Path::new("/nonexistent/crrd.toml"));
    fails(&missing, "config", &["/nonexistent/crrd.toml", "path exists"]);
}

#[test]
fn a_damaged_model_is_named_and_nothing_that_needs_it_is_said_to_be_fine() {
    let site = Site::new();
    let model = site.path("engine/model.onnx");
    let mut bytes = std::fs::read(&model).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&model, bytes).unwrap();
    let checks = site.check();
    fails(&checks, "engine", &["model.onnx", "SHA-256", "copy the whole bundle"]);
    let Outcome::Fail(text) = outcome(&checks, "calibration") else { panic!("{checks:#?}") };
    assert!(text.contains("not compared"), "{text}");
}

#[test]
fn a_calibration_that_is_foreign_damaged_incomplete_or_of_another_arithmetic_is_refused() {
    let site = Site::new();
    site.write_calibration(&"ab".repeat(32));
    fails(&site.check(), "calibration", &["abababababab", "crrd calibrate"]);

    site.write_calibration(&site.engine_sha256());
    let text = std::fs::read_to_string(site.path("calibration.toml")).unwrap();
    let edited = text.replace("image_threshold = 0.299", "image_threshold = 0.2991");
    assert_ne!(text, edited);
    std::fs::write(site.path("calibration.toml"), edited).unwrap();
    fails(&site.check(), "calibration", &["calibration.toml", "steel"]);

    site.write_calibration_in(Precision::Fp16, &site.engine_sha256());
    fails(&site.check(), "calibration", &["made in 16 bits", "crrd calibrate", "32 bits"]);

    site.write_calibration(&site.engine_sha256());
    std::fs::create_dir(site.path("parts/brass")).unwrap();
    std::fs::rename(site.path("parts/steel/001.png"), site.path("parts/brass/001.png")).unwrap();
    site.write_config("brass", "");
    fails(&site.check(), "calibration", &["recipe 7 (brass)", "crrd calibrate"]);
}

#[test]
fn a_recipe_the_engine_does_not_know_is_refused() {
    let site = Site::new();
    site.write_config("bronze", "");
    let checks = site.check();
    let Outcome::Fail(text) = outcome(&checks, "recipes") else { panic!("{checks:#?}") };
    assert!(text.contains("recipe 7 (bronze)") && text.contains("steel, brass"), "{text}");
}

#[test]
fn a_camera_without_pictures_fails_and_a_damaged_or_stray_one_is_a_warning() {
    let site = Site::new();
    let picture = site.path("parts/steel/001.png");
    let whole = std::fs::read(&picture).unwrap();
    // A second, whole picture, so that the folder itself is usable.
    std::fs::write(site.path("parts/steel/002.png"), &whole).unwrap();
    std::fs::write(&picture, &whole[..whole.len() / 2]).unwrap();
    warns(&site.check(), "camera", &["steel-001", "cannot be read"]);
    std::fs::write(site.path("parts/000.png"), &whole).unwrap();
    warns(&site.check(), "camera", &["000", "no folder named like"]);
    for name in ["parts/000.png", "parts/steel/001.png", "parts/steel/002.png"] {
        std::fs::remove_file(site.path(name)).unwrap();
    }
    fails(&site.check(), "camera", &["parts", "png"]);
}

#[test]
fn a_state_folder_that_cannot_be_written_is_refused() {
    let site = Site::new();
    // A file in the way stops root, too, whom permissions do not stop.
    std::fs::write(site.path("state"), "in the way").unwrap();
    fails(&site.check(), "state_dir", &["state"]);
}

#[test]
fn a_broker_that_takes_the_password_is_fine_and_one_that_does_not_is_a_warning() {
    let site = Site::new();
    let Some(_broker) = Broker::start(&site) else {
        println!("skipped: mosquitto is not installed");
        return;
    };
    let password_file = site.path("password");
    std::fs::write(&password_file, "right\n").unwrap();
    set_mode(&password_file, 0o640);
    let login = "username = \"crrd\"\npassword_file = \"password\"\n";
    site.write_config("steel", login);
    let checks = site.check();
    assert!(matches!(outcome(&checks, "broker"), Outcome::Ok(_)), "{checks:#?}");

    set_mode(&password_file, 0o644);
    warns(&site.check(), "broker", &["everybody may read", "chmod 640"]);

    std::fs::write(&password_file, "wrong\n").unwrap();
    let checks = site.check();
    warns(&checks, "broker", &["mqtt.username and the password", "starts and delivers"]);
    assert!(checks.iter().all(|c| !c.to_string().contains("wrong")), "{checks:#?}");

    site.write_config("steel", "");
    warns(&site.check(), "broker", &["without user and password"]);
}

#[test]
fn a_peer_that_never_answers_does_not_hold_the_start_up() {
    let site = Site::new();
    let silent = TcpListener::bind(("127.0.0.1", site.port)).unwrap();
    let started = Instant::now();
    warns(&site.check(), "broker", &["starts and delivers"]);
    assert!(started.elapsed() < Duration::from_secs(30));
    drop(silent);
}

#[test]
fn certificates_are_read_and_their_end_is_told_in_time() {
    let site = Site::new();
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
    let certify = |name: &str, days: i64| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["s".to_owned()]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        // A library of its own for dates: seconds since 1970 are all that is needed of it.
        params.not_after =
            rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs((now + days * 86_400) as u64);
        std::fs::write(site.path(&format!("{name}.pem")), params.self_signed(&key).unwrap().pem())
            .unwrap();
        std::fs::write(site.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
        set_mode(&site.path(&format!("{name}.key")), 0o640);
    };
    certify("ca", 400);
    certify("good", 300);
    certify("soon", 20);
    certify("over", -3);
    let tls = |cert: &str, key: &str| {
        let client =
            format!("client_cert_file = \"{cert}.pem\"\nclient_key_file = \"{key}.key\"\n");
        site.write_config("steel", &format!("tls = true\nca_file = \"ca.pem\"\n{client}"));
    };
    tls("good", "good");
    let checks = site.check();
    let Outcome::Ok(text) = outcome(&checks, "certificates") else { panic!("{checks:#?}") };
    assert!(text.contains("2 certificates") && text.contains("days left"), "{text}");
    tls("soon", "soon");
    warns(&site.check(), "certificates", &["soon.pem", "days are left", "renew"]);
    tls("over", "over");
    warns(&site.check(), "certificates", &["over.pem", "has expired"]);
    tls("good", "soon");
    fails(&site.check(), "certificates", &["soon.key", "does not belong"]);
}

fn set_mode(file: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A Mosquitto on the site's port that knows the user `crrd` with the password `right`.
struct Broker(Child);

impl Broker {
    fn start(site: &Site) -> Option<Self> {
        let program = |name: &str| {
            let folders = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];
            folders.iter().map(|f| Path::new(f).join(name)).find(|p| p.exists())
        };
        let (broker, passwd) = (program("mosquitto")?, program("mosquitto_passwd")?);
        let users = site.path("users");
        let made = Command::new(passwd)
            .args(["-b", "-c"])
            .arg(&users)
            .args(["crrd", "right"])
            .output()
            .unwrap();
        assert!(made.status.success());
        // Mosquitto gives up root for a user of its own, who must be able to read this.
        set_mode(&users, 0o644);
        set_mode(site.dir.path(), 0o755);
        let config = site.path("mosquitto.conf");
        let text = format!(
            "listener {} 127.0.0.1\nallow_anonymous false\npassword_file {}\n",
            site.port,
            users.display()
        );
        std::fs::write(&config, text).unwrap();
        let child = Command::new(broker)
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let broker = Self(child);
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", site.port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(30), "mosquitto did not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(broker)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended by itself; nothing is left to do then.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What `frames` says, or nothing, with these settings; no library is where they name it.
fn frames(site: &Site, inference: &str, camera: &str) -> Vec<Outcome> {
    std::fs::create_dir_all(site.path("libs")).unwrap();
    let inference = format!("[inference]\nlibrary_dir = \"libs\"\n{inference}");
    site.write_config("steel", &inference);
    let text = std::fs::read_to_string(site.path("crrd.toml")).unwrap();
    let text = text.replace("[mqtt]", &format!("{camera}[mqtt]"));
    std::fs::write(site.path("crrd.toml"), text).unwrap();
    let checks = site.check();
    checks.into_iter().filter(|c| c.name == "frames").map(|c| c.outcome).collect()
}

#[test]
fn what_reads_the_frames_of_a_camera_is_told_with_the_command_that_builds_it() {
    let site = Site::new();
    assert_eq!(frames(&site, "", ""), [], "nobody asked for it");
    let found = frames(&site, "raw_frames = true\n", "");
    let [Outcome::Warn(text)] = &found[..] else { panic!("{found:?}") };
    let side = standin::SIDE;
    let (engine, state) = (site.path("engine"), site.path("state/crrd/plans"));
    let (engine, state) = (engine.display(), state.display());
    let command = format!("`crrd engine build --engine {engine} --plans {state} --library-dir ");
    for word in [&command, "not read where they lie", "no TensorRT with a GPU here"] {
        assert!(text.contains(word), "{text:?} does not say {word:?}");
    }
    assert!(text.contains(&format!("--format RGB8 --size {side}x{side}`")), "{text}");

    // What the model sees of a frame is part of its engine.
    let geometry = "[camera.geometry]\nroi = [0, 0, 8, 6]\nmirror = true\n";
    let found = frames(&site, "raw_frames = true\nprecision = \"fp16\"\n", geometry);
    let [Outcome::Warn(text)] = &found[..] else { panic!("{found:?}") };
    assert!(
        text.contains("--precision fp16 ") && text.contains("--roi 0,0,8,6 --mirror`"),
        "{text}"
    );

    let corners = "[camera.geometry]\ncorners = [[0, 0], [7, 0], [7, 7], [0, 7]]\n";
    let found = frames(&site, "raw_frames = true\n", corners);
    let [Outcome::Ok(text)] = &found[..] else { panic!("{found:?}") };
    assert!(text.contains("the CPU prepares its pictures"), "{text}");

    let found = frames(&site, "raw_frames = true\nbackend = \"cpu\"\n", "");
    let [Outcome::Warn(text)] = &found[..] else { panic!("{found:?}") };
    assert!(text.contains("no effect"), "{text}");

    std::fs::remove_file(site.path("parts/steel/001.png")).unwrap();
    let found = frames(&site, "raw_frames = true\n", "");
    let [Outcome::Warn(text)] = &found[..] else { panic!("{found:?}") };
    assert!(text.contains("not known before a picture has come"), "{text}");
}

#[test]
fn the_processor_of_the_inspection_is_held_against_those_that_there_are() {
    let site = Site::new();
    assert!(site.check().iter().all(|check| check.name != "core"), "nobody asked for it");
    let mine = cores::allowed().unwrap()[0];
    site.write_config("steel", &format!("[inference]\ncore = {mine}\n"));
    let Outcome::Ok(text) = outcome(&site.check(), "core").clone() else { panic!("not there") };
    assert!(text.contains(&format!("processor {mine} of")), "{text}");
    site.write_config("steel", "[inference]\ncore = 1023\n");
    let Outcome::Warn(text) = outcome(&site.check(), "core").clone() else { panic!("it is there") };
    assert!(text.contains("1023") && text.contains("name one of these"), "{text}");
}

#[test]
fn a_station_that_needs_tensorrt_is_told_in_words_that_there_is_none() {
    let site = Site::new();
    let found = frames(&site, "raw_frames = true\nbackend = \"tensorrt\"\n", "");
    assert_eq!(found.len(), 1);
    fails(&site.check(), "inference", &["no TensorRT here", "use the backend `cpu`"]);
}

#[test]
fn tiles_are_held_against_the_time_for_a_part_and_the_limits_made_for_them() {
    let site = Site::new();
    let in_tiles = |tiles: &str, limits: &str| {
        site.write_config("steel", limits);
        let text = std::fs::read_to_string(site.path("crrd.toml")).unwrap();
        let text = text.replace("class = \"steel\"", &format!("class = \"steel\"\n{tiles}"));
        std::fs::write(site.path("crrd.toml"), text).unwrap();
        site.check()
    };
    let checks = in_tiles("tiles = \"2x1\"", "[limits]\nlatency_ms_max = 60000");
    let Outcome::Ok(text) = outcome(&checks, "tiles") else { panic!("{checks:#?}") };
    assert!(text.contains("2 inferences a part") && text.contains("60000"), "{text}");
    // Limits made at once do not hold in tiles.
    fails(&checks, "calibration", &["at once", "in 2x1 tiles", "crrd calibrate"]);
    // 64 of them: a stand-in's inference takes longer than 16 us.
    let checks = in_tiles("tiles = \"8x8\"", "[limits]\nlatency_ms_max = 1");
    let Outcome::Warn(text) = outcome(&checks, "tiles") else { panic!("{checks:#?}") };
    assert!(text.contains("64 inferences") && text.contains("use fewer tiles"), "{text}");
}

//! `crrd camera`: the real program looks at a camera by itself.

use std::process::{Command, Output};

use crate::station::Bench;
use crate::support::standin;

/// No broker is needed to look at a camera.
const NO_BROKER: u16 = 9;

fn camera(bench: &Bench, arguments: &[&str]) -> Output {
    let file = bench.path("crrd.toml");
    std::fs::write(&file, bench.config()).unwrap();
    Command::new(env!("CARGO_BIN_EXE_crrd"))
        .arg("camera")
        .arg(arguments[0])
        .arg("--config")
        .arg(file)
        .args(&arguments[1..])
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

#[test]
fn a_test_counts_what_is_lost_and_says_what_to_do() {
    let mut bench = Bench::new(NO_BROKER);
    bench.pictures(20);
    let script = "[[fault]]\nkind = \"drop\"\nat = [3, 4]\n[[fault]]\nkind = \"cut\"\nat = [7]\n\
                  [[fault]]\nkind = \"duplicate\"\nat = [9]\n[[fault]]\nkind = \"disconnect\"\n\
                  at = [12]\n";
    std::fs::write(bench.path("faults.toml"), script).unwrap();
    bench.camera("rate_hz = 0\nfaults = \"faults.toml\"");
    let output = camera(&bench, &["test", "--seconds", "30", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |key: &str| report["measured"][key].as_u64().unwrap();
    // Two by their numbers, one when the camera was lost.
    assert_eq!((number("frames"), number("lost"), number("damaged")), (16, 3, 1), "{report}");
    assert_eq!((number("gone"), number("stale"), number("no_buffer")), (1, 1, 0), "{report}");
    let findings = report["findings"].as_array().unwrap();
    let codes: Vec<&str> = findings.iter().map(|f| f["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["connection_lost", "damaged", "lost", "twice"]);
    let output = camera(&bench, &["test", "--seconds", "30"]);
    let text = said(&output);
    for says in ["16 pictures, 3 lost, 1 damaged", "FAULT", "check the plug", "64x64"] {
        assert!(text.contains(says), "{says:?} in {text}");
    }
}

#[test]
fn a_test_of_a_good_camera_measures_its_rate_and_finds_nothing() {
    let mut bench = Bench::new(NO_BROKER);
    bench.pictures(10);
    bench.camera("rate_hz = 40\nmode = \"loop\"");
    let output = camera(&bench, &["test", "--seconds", "2", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let measured = &report["measured"];
    let frames = measured["frames"].as_u64().unwrap();
    assert!((60..=82).contains(&frames), "{report}");
    assert_eq!(measured["lost"], 0);
    let mean = measured["intervals"]["mean_ms"].as_f64().unwrap();
    assert!((24.0..27.5).contains(&mean), "{report}");
    // A busy machine may make it irregular; nothing may be lost.
    let codes = report["findings"].as_array().unwrap().iter().map(|f| f["code"].as_str().unwrap());
    assert!(codes.clone().all(|code| code == "jitter"), "{:?}", codes.collect::<Vec<_>>());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

#[test]
fn a_camera_triggered_by_software_is_triggered_by_the_command() {
    let mut bench = Bench::new(NO_BROKER);
    bench.pictures(5);
    bench.camera("trigger = \"software\"\n[trigger]\nmode = \"single\"");
    let output = camera(&bench, &["test", "--seconds", "20", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["measured"]["frames"], 5, "{report}");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

#[test]
fn a_snapshot_is_the_picture_and_raw_are_its_bytes() {
    let bench = Bench::new(NO_BROKER);
    let rgb: Vec<u8> =
        (0..standin::SIDE * standin::SIDE * 3).map(|i| (i * 31 % 251) as u8).collect();
    bench.picture("000.png", &rgb);
    let (png, raw) = (bench.path("shot.png"), bench.path("shot.raw"));
    let output = camera(&bench, &["snapshot", "--out", png.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let picture = image::open(&png).unwrap().into_rgb8();
    assert_eq!(picture.dimensions(), (standin::SIDE as u32, standin::SIDE as u32));
    assert_eq!(picture.into_raw(), rgb);
    let output = camera(&bench, &["snapshot", "--raw", "--out", raw.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("RGB8"), "{}", said(&output));
    assert_eq!(std::fs::read(&raw).unwrap(), rgb);
}

#[test]
fn a_snapshot_of_a_camera_without_a_usable_picture_says_why() {
    let mut bench = Bench::new(NO_BROKER);
    bench.pictures(2);
    let script = "[[fault]]\nkind = \"drop\"\nprobability = 1.0\n";
    std::fs::write(bench.path("faults.toml"), script).unwrap();
    bench.camera("rate_hz = 20\nmode = \"loop\"\nfaults = \"faults.toml\"");
    let out = bench.path("shot.png");
    let output = camera(&bench, &["snapshot", "--wait-s", "1", "--out", out.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("no usable picture in 1 s"), "{}", said(&output));
    assert!(!out.exists());
}

#[test]
fn the_aid_shows_the_sharper_picture_with_the_longer_bar() {
    let bench = Bench::new(NO_BROKER);
    let side = standin::SIDE as u32;
    for (name, cell) in [("0-sharp.png", 2), ("1-soft.png", 16)] {
        let picture = image::RgbImage::from_fn(side, side, |x, y| {
            let level = if (x / cell + y / cell) % 2 == 0 { 90 } else { 160 };
            image::Rgb([level; 3])
        });
        bench.sized_picture(name, &picture);
    }
    let output = camera(&bench, &["focus", "--window", "0,0,32,32"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let bars: Vec<usize> = text
        .lines()
        .filter(|line| line.starts_with("sharpness"))
        .map(|line| line.matches('#').count())
        .collect();
    assert!(bars.len() == 2 && bars[0] == 40 && bars[1] < 30, "{text}");
    assert!(!text.contains('\x1b'), "no cursor commands into a file");
    assert!(text.contains("good"), "{text}");
    let output = camera(&bench, &["focus", "--window", "60,0,32,32"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("does not lie in the picture"), "{}", said(&output));
}

#[test]
fn the_list_says_that_a_configured_camera_is_not_there_and_files_have_no_settings() {
    let mut bench = Bench::new(NO_BROKER);
    bench.pictures(1);
    let output = camera(&bench, &["list"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("config  camera: replay "), "{}", said(&output));
    let output = camera(&bench, &["show"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("files have no settings"), "{}", said(&output));
    bench.camera("");
    let config = bench.config().replace("folder = \"frames\"", "kind = \"webcam\"");
    let file = bench.path("webcam.toml");
    std::fs::write(&file, config + "[camera.webcam]\nindex = 255\n").unwrap();
    let crrd = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_crrd"));
        command.args(arguments).arg("--config").arg(&file).output().unwrap()
    };
    let output = crrd(&["camera", "list"]);
    assert!(said(&output).contains("/dev/video255, which was NOT found"), "{}", said(&output));
    let output = crrd(&["camera", "test"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("webcam"), "{}", said(&output));
}

#[test]
fn one_of_several_cameras_is_looked_at_by_its_name() {
    let mut bench = Bench::new(NO_BROKER);
    for (folder, side) in [("top", 32), ("side", 16)] {
        bench.sized_picture(&format!("{folder}/0.png"), &image::RgbImage::new(side, side));
    }
    bench.camera("");
    let cameras = "[[camera]]\nname = \"top\"\nfolder = \"frames/top\"\n\
                   [[camera]]\nname = \"side\"\nkind = \"v4l2\"\n[camera.v4l2]\n\
                   device = \"/dev/video254\"\npixel_format = \"Mono8\"\nwidth = 64\nheight = 48\n\
                   [[camera]]\nname = \"end\"\nfolder = \"frames/side\"";
    let config = bench.config().replace("[camera]\nfolder = \"frames\"", cameras);
    let file = bench.path("three.toml");
    std::fs::write(&file, config).unwrap();
    let crrd = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_crrd"));
        command.arg("camera").args(arguments).arg("--config").arg(&file).output().unwrap()
    };
    let out = bench.path("shot.png");
    let out = out.to_str().unwrap();
    for (name, size) in [("top", "32x32"), ("end", "16x16")] {
        let output = crrd(&["snapshot", "--camera", name, "--out", out]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        assert!(said(&output).contains(size), "{}", said(&output));
    }
    for command in [&["test"][..], &["show"], &["focus"], &["snapshot", "--out", out]] {
        let output = crrd(command);
        assert_eq!(output.status.code(), Some(2), "{command:?}");
        assert!(
            said(&output).contains("name one by --camera: top, side, end"),
            "{}",
            said(&output)
        );
        let output = crrd(&[command, &["--camera", "left"]].concat());
        assert!(said(&output).contains("no camera \"left\""), "{}", said(&output));
    }
    // A node that is not there is named with what to look for.
    for command in [&["show", "--camera", "side"][..], &["test", "--camera", "side"]] {
        let output = crrd(command);
        assert_eq!(output.status.code(), Some(2), "{command:?}");
        let text = said(&output);
        assert!(text.contains("/dev/video254") && text.contains("is it plugged in"), "{text}");
    }
    let text = said(&crrd(&["list"]));
    assert!(text.contains("config  side: v4l2 /dev/video254, which was NOT found"), "{text}");
    assert!(text.contains("config  end: replay "), "{text}");
}

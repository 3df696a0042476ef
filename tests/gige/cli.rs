//! `crrd camera` on cameras of a network: found, described, one of several looked at.

use std::process::{Command, Output};

use crate::fake::Fake;
use crate::net::alone;
use crate::station::Bench;
use crate::{HOME, SIZE};

/// No broker is needed to look at a camera.
const NO_BROKER: u16 = 9;
/// The second camera.
const OTHER: &str = "10.77.0.2";

fn crrd(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_crrd")).arg("camera").args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", said(output)))
}

/// A configuration with two cameras of this kind.
fn two(bench: &Bench) -> String {
    let camera = |name: &str, address: &str, format: &str| {
        format!(
            "[[camera]]\nname = \"{name}\"\nkind = \"gige\"\n[camera.gige]\n\
             device = \"{address}\"\npixel_format = \"{format}\"\nwidth = {}\nheight = {}\n\
             features = {{ AcquisitionFrameRate = 25.0, ExposureTime = 5000.0 }}\n",
            SIZE.0, SIZE.1
        )
    };
    let both = camera("top", HOME, "Mono8") + &camera("side", OTHER, "RGB8");
    let config = bench.config().replace("[camera]\nfolder = \"frames\"\nrate_hz = 0", &both);
    assert!(config.contains("[[camera]]"), "{config}");
    let file = bench.path("crrd.toml");
    std::fs::write(&file, config).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn cameras_are_listed_described_and_looked_at_one_of_several() {
    alone(&["10.77.0.2/24"], || {
        let pixels = (SIZE.0 * SIZE.1) as usize;
        let _top = Fake::start(HOME, "GV01", pixels);
        let side = Fake::start(OTHER, "GV02", 3 * pixels);
        let bench = Bench::new(NO_BROKER);
        let file = two(&bench);
        lists(&file);
        shows(&file);
        looks(&bench, &file);
        drop(side);
        let text = said(&crrd(&["list", "--config", &file]));
        assert!(text.contains("config  side: gige 10.77.0.2, which was NOT found"), "{text}");
        assert!(text.contains("config  top: gige 127.0.0.1, which is there"), "{text}");
        let output =
            crrd(&["snapshot", "--config", &file, "--camera", "side", "--out", "/dev/null"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(said(&output).contains("10.77.0.2") && said(&output).contains("camera list"));
    });
}

fn lists(file: &str) {
    let output = crrd(&["list", "--json", "--config", file]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report = json(&output);
    let found = report["cameras"].as_array().unwrap();
    let of = |serial: &str| {
        let ends = |text: &serde_json::Value| text.as_str().unwrap().ends_with(serial);
        found.iter().find(|camera| ends(&camera["name"])).unwrap_or_else(|| panic!("{report}"))
    };
    assert_eq!(
        (of("GV01")["kind"].as_str(), of("GV02")["kind"].as_str()),
        (Some("gige"), Some("gige"))
    );
    assert!(of("GV02")["detail"].as_str().unwrap().contains(OTHER), "{report}");
    let configured = report["configured"].as_array().unwrap();
    let names: Vec<_> =
        configured.iter().map(|c| (c["name"].as_str(), c["found"].as_bool())).collect();
    assert_eq!(names, [(Some("top"), Some(true)), (Some("side"), Some(true))]);
}

fn shows(file: &str) {
    let text = said(&crrd(&["show", HOME]));
    assert!(text.starts_with("Aravis Fake GV01 at 127.0.0.1\n"), "{text}");
    let line = text.lines().find(|line| line.starts_with("Width = ")).unwrap();
    assert!(
        line.ends_with("[a whole number]  1 to 2048, step 1") || line.contains("2048"),
        "{line}"
    );
    assert!(
        text.lines().any(|line| line.starts_with("PixelFormat = ") && line.contains("BayerRG8 | "))
    );
    let output = crrd(&["show", "--json", "--config", file, "--camera", "side"]);
    let shown = json(&output);
    assert_eq!(shown["camera"], "Aravis Fake GV02 at 10.77.0.2");
    let settings = shown["settings"].as_array().unwrap();
    let exposure = settings.iter().find(|s| s["name"] == "ExposureTimeAbs").unwrap();
    assert!(exposure["limits"].as_str().unwrap().contains("10 to 10000000"), "{exposure}");
    // Which one is meant must be said.
    for command in [&["show"][..], &["test"], &["focus"], &["snapshot", "--out", "/dev/null"]] {
        let output = crrd(&[command, &["--config", file]].concat());
        assert_eq!(output.status.code(), Some(2), "{command:?}");
        assert!(
            said(&output).contains("2 cameras") && said(&output).contains("top, side"),
            "{command:?}"
        );
    }
    let output = crrd(&["show", "--config", file, "--camera", "left"]);
    assert!(said(&output).contains("no camera \"left\""), "{}", said(&output));
    assert_eq!(crrd(&["show", "10.77.0.9"]).status.code(), Some(2));
}

fn looks(bench: &Bench, file: &str) {
    let output = crrd(&["test", "--seconds", "2", "--json", "--config", file, "--camera", "side"]);
    let report = json(&output);
    assert_eq!(report["camera"], "side");
    let measured = &report["measured"];
    assert_eq!(measured["frame_bytes"], SIZE.0 * SIZE.1 * 3, "{report}");
    assert!((30..=52).contains(&measured["frames"].as_u64().unwrap()), "{report}");
    assert_eq!((&measured["lost"], &measured["damaged"]), (&0.into(), &0.into()), "{report}");
    let picture = bench.path("shot.png");
    let out = picture.to_str().unwrap();
    for (name, format) in [("top", "Mono8"), ("side", "RGB8")] {
        let output = crrd(&["snapshot", "--config", file, "--camera", name, "--out", out]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        assert!(said(&output).contains(&format!("64x32 from {format}")), "{}", said(&output));
        assert_eq!(image::open(&picture).unwrap().into_rgb8().dimensions(), SIZE);
    }
    let output = crrd(&["focus", "--pictures", "3", "--config", file, "--camera", "top"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(said(&output).matches("sharpness").count(), 3, "{}", said(&output));
}

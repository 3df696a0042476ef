//! A defect that the resize swallows is found in tiles, and a limit holds for its tiles alone.

use std::process::{Command, Output};

use crrd::message::decode_mask;

use crate::broker::{Broker, Subscriber, wait_for};
use crate::station::{Bench, verdicts};

const WIDTH: u32 = 1280;
const HEIGHT: u32 = 960;
/// Side of the defect in pixels: a third of one of the model's when it sees the picture at once.
const DEFECT_PX: u32 = 6;
const TILES: &str = "tiles = \"4x3\"\noverlap = 0.15";
/// Lights under which good parts were seen, in grey levels beside the usual.
const LIGHTS: [i32; 7] = [-3, -2, -1, 0, 1, 2, 3];

/// A grainy grey part under some light, with a white spot.
fn part(light: i32, spot: Option<(u32, u32)>) -> image::RgbImage {
    image::RgbImage::from_fn(WIDTH, HEIGHT, |x, y| {
        let hit = |(left, top): (u32, u32)| {
            (left..left + DEFECT_PX).contains(&x) && (top..top + DEFECT_PX).contains(&y)
        };
        if spot.is_some_and(hit) {
            return image::Rgb([255; 3]);
        }
        let grain = (x.wrapping_mul(2_654_435_761) ^ y.wrapping_mul(2_246_822_519)) >> 27;
        image::Rgb([(112 + light + grain as i32) as u8; 3])
    })
}

fn crrd(args: &[&str], bench: &Bench) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crrd"));
    command.current_dir(bench.path(".")).args(args).output().unwrap()
}

/// The configuration with these lines in its recipe.
fn config(bench: &Bench, tiles: &str) -> String {
    bench.config().replace("class = \"bolt\"", &format!("class = \"bolt\"\n{tiles}"))
}

/// Limits from the good parts, seen as the configuration with these lines says.
fn calibrate(bench: &Bench, tiles: &str) {
    std::fs::write(bench.path("seen.toml"), config(bench, tiles)).unwrap();
    let args = ["calibrate", "--engine", "engine", "--data", "data", "--config", "seen.toml"];
    let rest = ["--alpha", "0.5", "--confidence", "0.5", "--threads", "1", "--out"];
    let output = crrd(&[&args[..], &rest, &["calibration.toml"]].concat(), bench);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The JSON lines of `crrd inspect`, whose pictures are those of the station.
fn inspect(bench: &Bench) -> Vec<serde_json::Value> {
    let args = ["inspect", "--engine", "engine", "--calibration", "calibration.toml", "--json"];
    let output = crrd(&[&args[..], &["frames/0.png", "frames/1.png"]].concat(), bench);
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_defect_that_vanishes_in_the_resize_is_found_in_tiles() {
    let Some(broker) = Broker::start() else { return };
    let watcher = Subscriber::start(broker.port);
    let bench = Bench::new(broker.port);
    let good = bench.path("data/bolt/calibration/good");
    std::fs::create_dir_all(&good).unwrap();
    for light in LIGHTS {
        part(light, None).save(good.join(format!("{light}.png"))).unwrap();
    }
    let spot = (871, 403);
    bench.sized_picture("0.png", &part(0, None));
    bench.sized_picture("1.png", &part(1, Some(spot)));

    calibrate(&bench, "");
    let at_once = inspect(&bench);
    assert_eq!(at_once[1]["outcome"], "PASS", "the resize swallows it: {}", at_once[1]);

    // A limit made without tiles is refused where there are some, and the other way round.
    let (status, log) = bench.run_text(&config(&bench, TILES)).end();
    assert_eq!(status.code(), Some(2), "{log}");
    assert!(log.contains("at once") && log.contains("4x3 tiles with overlap 0.15"), "{log}");
    assert!(log.contains("crrd calibrate"), "{log}");
    calibrate(&bench, TILES);
    let (status, log) = bench.run().end();
    assert_eq!(status.code(), Some(2), "{log}");

    let (status, log) = bench.run_text(&config(&bench, TILES)).end();
    assert_eq!(status.code(), Some(0), "{log}");
    wait_for("verdicts and a mask", || {
        verdicts(&watcher).len() == 2 && watcher.count("crr/s1/mask") == 1
    });
    let said = inspect(&bench);
    let told = verdicts(&watcher);
    for (i, outcome) in [(0, "PASS"), (1, "REJECT")] {
        assert_eq!(said[i]["outcome"], outcome, "{}", said[i]);
        let scaled = (said[i]["score"].as_f64().unwrap() * 10_000.0).round() as i64;
        assert_eq!(told[&(1, i as i64 + 1)].number("s"), scaled, "as crrd inspect says");
    }
    let region = &said[1]["regions"][0];
    let [x, y, width, height] =
        ["x", "y", "width", "height"].map(|key| region[key].as_u64().unwrap() as u32);
    let middle = DEFECT_PX / 2;
    assert!((x..x + width).contains(&(spot.0 + middle)), "{region}");
    assert!((y..y + height).contains(&(spot.1 + middle)), "{region}");
    // The map of all tiles: of 64 pixels each, which share 10 with their neighbours.
    let mask = decode_mask(&watcher.on("crr/s1/mask")[0].payload).unwrap();
    let [scale_x, scale_y, ..] = mask.affine_milli.map(|v| v as f64 / 1000.0);
    assert!((scale_x - f64::from(WIDTH) / 226.0).abs() < 0.01, "{scale_x}");
    assert!((scale_y - f64::from(HEIGHT) / 172.0).abs() < 0.01, "{scale_y}");
    let told = mask.boxes[0].map(|v| v as f64);
    assert!((told[0] * scale_x - f64::from(x)).abs() <= 1.0, "{told:?} {region}");
    assert!((told[1] * scale_y - f64::from(y)).abs() <= 1.0, "{told:?} {region}");
}

//! What the station publishes of a part is what `crrd inspect` says of the same picture.

use std::process::Command;

use crrd::message::decode_mask;

use crate::broker::{Broker, Subscriber, wait_for};
use crate::station::{Bench, verdicts};

/// Larger than the model and of another shape, so that map and picture pixels differ.
const WIDTH: u32 = 160;
const HEIGHT: u32 = 96;

fn part(squares: &[(u32, u32)]) -> image::RgbImage {
    image::RgbImage::from_fn(WIDTH, HEIGHT, |x, y| {
        let inside = |(left, top): &(u32, u32)| {
            (*left..left + 24).contains(&x) && (*top..top + 24).contains(&y)
        };
        image::Rgb(if squares.iter().any(inside) { [255; 3] } else { [128; 3] })
    })
}

/// The JSON line of `crrd inspect` for each picture.
fn inspected(bench: &Bench, pictures: &[std::path::PathBuf]) -> Vec<serde_json::Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_crrd"))
        .arg("inspect")
        .arg("--engine")
        .arg(bench.path("engine"))
        .arg("--calibration")
        .arg(bench.path("calibration.toml"))
        .arg("--json")
        .args(pictures)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn verdict_and_regions_on_the_broker_are_those_of_crrd_inspect() {
    let Some(broker) = Broker::start() else { return };
    let watcher = Subscriber::start(broker.port);
    let bench = Bench::new(broker.port);
    let parts = [vec![], vec![(40, 30)], vec![(10, 8), (120, 60)]];
    let name = |i: usize| format!("{i}.png");
    let pictures: Vec<_> =
        parts.iter().enumerate().map(|(i, p)| bench.sized_picture(&name(i), &part(p))).collect();
    let (status, log) = bench.run().end();
    assert_eq!(status.code(), Some(0), "{log}");
    wait_for("verdicts and masks", || {
        verdicts(&watcher).len() == 3 && watcher.count("crr/s1/mask") == 2
    });

    let masks: Vec<_> =
        watcher.on("crr/s1/mask").iter().map(|m| decode_mask(&m.payload).unwrap()).collect();
    for (i, said) in inspected(&bench, &pictures).iter().enumerate() {
        let told = &verdicts(&watcher)[&(1, i as i64 + 1)];
        let outcome = ["REJECT", "PASS"][told.number("o") as usize];
        assert_eq!(said["outcome"], outcome, "part {i}");
        let scaled = |v: &serde_json::Value| (v.as_f64().unwrap() * 10_000.0).round() as i64;
        assert_eq!(told.number("s"), scaled(&said["score"]));
        assert_eq!(told.number("h"), scaled(&said["limit"]));
        assert_eq!(told.number("n"), said["regions_found"].as_i64().unwrap());
        assert_eq!(told.number("n"), parts[i].len() as i64, "one region for each square");
        let Some(mask) = masks.iter().find(|m| i64::from(m.seq) == told.number("q")) else {
            assert_eq!(outcome, "PASS");
            continue;
        };
        let [scale_x, scale_y, offset_x, offset_y] = mask.affine_milli.map(|v| v as f64 / 1000.0);
        let regions = said["regions"].as_array().unwrap();
        assert_eq!(mask.boxes.len(), regions.len());
        for (told, said) in mask.boxes.iter().zip(regions) {
            let [x, y, width, height, score] = told.map(|v| v as f64);
            for (key, value) in [
                ("x", x * scale_x + offset_x),
                ("y", y * scale_y + offset_y),
                ("width", width * scale_x),
                ("height", height * scale_y),
            ] {
                let said = said[key].as_f64().unwrap();
                assert!((said - value).abs() <= 1.0, "{key}: {said} against {value}");
            }
            assert_eq!(score as i64, scaled(&said["score"]));
        }
        // Every square that was painted lies in the mask, at its place in the picture.
        let (columns, _, pixels) = mask.mask.as_ref().unwrap();
        for (left, top) in &parts[i] {
            let (x, y) = (f64::from(left + 12) / scale_x, f64::from(top + 12) / scale_y);
            assert_eq!(pixels[y as usize * columns + x as usize], 1, "square at {left}, {top}");
        }
    }
}

/// `crrd calibrate` on three good parts, seen as the configuration says.
fn calibrate(bench: &Bench, config: &std::path::Path) {
    let good = bench.path("data/bolt/calibration/good");
    std::fs::create_dir_all(&good).unwrap();
    for i in 0..3 {
        part(&[]).save(good.join(format!("{i}.png"))).unwrap();
    }
    let output = Command::new(env!("CARGO_BIN_EXE_crrd"))
        .args(["calibrate", "--alpha", "0.5", "--confidence", "0.5", "--threads", "1"])
        .arg("--engine")
        .arg(bench.path("engine"))
        .arg("--data")
        .arg(bench.path("data"))
        .arg("--config")
        .arg(config)
        .arg("--out")
        .arg(bench.path("calibration.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_station_that_sees_a_turned_region_points_into_the_camera_picture() {
    let Some(broker) = Broker::start() else { return };
    let watcher = Subscriber::start(broker.port);
    let mut bench = Bench::new(broker.port);
    bench.camera("rate_hz = 0\n[camera.geometry]\nroi = [40, 8, 96, 80]\nrotate = 90");
    // One square in the region, and one outside of it that must not be seen.
    let (seen, unseen) = ((64, 40), (8, 8));
    let pictures = [
        bench.sized_picture("0.png", &part(&[unseen])),
        bench.sized_picture("1.png", &part(&[seen])),
    ];
    let (status, log) = bench.run().end();
    assert_eq!(status.code(), Some(2), "limits made from whole pictures: {log}");
    assert!(log.contains("[camera.geometry]") && log.contains("crrd calibrate"), "{log}");

    let config = bench.path("geometry.toml");
    std::fs::write(&config, bench.config()).unwrap();
    calibrate(&bench, &config);
    let (status, log) = bench.run().end();
    assert_eq!(status.code(), Some(0), "{log}");
    wait_for("verdicts and a mask", || {
        verdicts(&watcher).len() == 2 && watcher.count("crr/s1/mask") == 1
    });
    let mask = decode_mask(&watcher.on("crr/s1/mask")[0].payload).unwrap();
    let said = inspected(&bench, &pictures);
    assert_eq!(said[0]["outcome"], "PASS");
    assert_eq!(said[1]["outcome"], "REJECT");
    let [x, y, width, height] = mask.picture_boxes.unwrap()[0];
    let region = &said[1]["regions"][0];
    let told = ["x", "y", "width", "height"].map(|key| region[key].as_i64().unwrap());
    assert_eq!(told, [x, y, width, height], "inspect and the station say the same");
    // The map is coarse: a pixel of it is a few of the picture.
    for (got, want) in [(x, 64), (y, 40), (x + width, 88), (y + height, 64)] {
        assert!((got - want).abs() <= 12, "{told:?}");
    }
    // Top left, top right of the mask: bottom left, top left of the region.
    assert_eq!(mask.quad_milli.unwrap()[..4], [40_000, 88_000, 40_000, 8_000]);
}

//! What latency depends on: size of the picture, number of tiles, of cameras, of product classes.
//! One thing at a time is changed from the first row; all rows in turn, several times, from the
//! complete frame to the acknowledgement of a real Mosquitto on loopback. Parts come at half the
//! rate that the row's inferences would allow, so that none waits for the one before it.
//!
//! Target: the number of classes changes nothing (at most 5 %, the noise of the medians).

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod support;

use std::path::{Path, PathBuf};

use crrd::engine::bundle::BundleSource;
use crrd::engine::{Backend, Engine, open_many};
use crrd::frame::Tiling;
use support::broker::Broker;
use support::live::{percentile, run};
use support::puback::relay;
use support::station::{Pace, Station, alone};
use support::{bundle, median};

const ROUNDS: usize = 5;
/// Parts of each row in a round.
const PARTS: usize = 12;
const WARM_UP: usize = 3;
/// Share of the rate that the inferences of a row would allow.
const LOAD: f64 = 0.5;
/// Pictures for the time of the inference alone.
const ALONE: usize = 20;
/// What 1 000 classes may take longer than one.
const CLASSES_RATIO_MAX: f64 = 1.05;

#[derive(Clone, Copy)]
struct Row {
    picture: (usize, usize),
    tiles: (u16, u16),
    cameras: usize,
    classes: usize,
}

const FIRST: Row = Row { picture: (640, 480), tiles: (1, 1), cameras: 1, classes: 1 };
const ROWS: [Row; 9] = [
    FIRST,
    Row { picture: (1280, 960), ..FIRST },
    Row { picture: (1920, 1200), ..FIRST },
    Row { picture: (4096, 3000), ..FIRST },
    Row { tiles: (2, 2), ..FIRST },
    Row { tiles: (4, 3), ..FIRST },
    Row { cameras: 2, ..FIRST },
    Row { classes: 30, ..FIRST },
    Row { classes: 1_000, ..FIRST },
];

/// A copy of the bundle whose manifest names so many classes. The graph is the same: CRR knows no
/// class, a class is a limit.
fn with_classes(bundle: &Path, copy: PathBuf, classes: usize) -> PathBuf {
    std::fs::create_dir(&copy).unwrap();
    for file in std::fs::read_dir(bundle).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.join(file.file_name())).unwrap();
    }
    let path = copy.join("manifest.toml");
    let mut manifest: toml::Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
    let names: Vec<String> = (0..classes).map(|i| format!("class-{i}")).collect();
    manifest.insert("classes".to_owned(), names.into());
    std::fs::write(&path, manifest.to_string()).unwrap();
    copy
}

fn engines(bundle: &Path, scratch: &Path, rounds: usize) -> Vec<Vec<Box<dyn Engine>>> {
    let each = |(i, row): (usize, &Row)| {
        let copy = with_classes(bundle, scratch.join(format!("engine-{i}")), row.classes);
        open_many(&BundleSource::Dir(copy), Backend::Cpu, rounds).unwrap()
    };
    ROWS.iter().enumerate().map(each).collect()
}

fn print(row: &Row, times: &mut [f64], first_ms: f64) -> f64 {
    let Row { picture: (width, height), tiles: (columns, rows), cameras, classes } = row;
    let (p50, p99) = (percentile(times, 0.5), percentile(times, 0.99));
    println!(
        "| {width}x{height} | {columns}x{rows} | {cameras} | {classes} | {p50:.1} | {p99:.1} | {:.2} |",
        p50 / first_ms
    );
    p50
}

fn main() {
    let bench = std::env::args().any(|a| a == "--bench");
    let (rounds, parts) = if bench { (ROUNDS, PARTS) } else { (1, 2) };
    let Some(broker) = Broker::start() else { return };
    let (port, acknowledged) = relay(broker.port);
    let scratch = tempfile::tempdir().unwrap();
    let mut engines = engines(&bundle(scratch.path()), scratch.path(), rounds);
    let mut times = ROWS.map(|_| vec![]);
    for _ in 0..rounds {
        for ((row, engines), times) in ROWS.iter().zip(&mut engines).zip(&mut times) {
            let mut station = Station::new(scratch.path());
            station.broker.port = port;
            (station.picture, station.cameras) = (row.picture, row.cameras);
            let (columns, rows) = row.tiles;
            let overlap = if columns * rows > 1 { Tiling::OVERLAP_DEFAULT } else { 0.0 };
            station.tiling = Tiling { columns, rows, overlap };
            let mut engine = engines.pop().unwrap();
            let input = station.input(&*engine);
            let inference_s =
                median(alone(&mut *engine, &input, Pace::Unbroken, WARM_UP, ALONE)).as_secs_f64();
            let inferences = station.tiling.count() * row.cameras;
            station.rate_hz = LOAD / (inference_s * inferences as f64);
            let measured = run(&station, engine, &acknowledged, WARM_UP, parts);
            times.extend(measured.iter().map(|t| t.acknowledged_ms));
        }
    }
    println!("| picture | tiles | cameras | classes | p50 ms | p99 ms | of the first row |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    let first_ms = percentile(&mut times[0], 0.5);
    let p50s: Vec<f64> =
        ROWS.iter().zip(&mut times).map(|(row, times)| print(row, times, first_ms)).collect();
    let ratio = p50s[ROWS.len() - 1] / first_ms;
    let met = if ratio <= CLASSES_RATIO_MAX { "met" } else { "MISSED" };
    println!("RATIO classes: 1000 against 1 = {ratio:.3} (at most {CLASSES_RATIO_MAX}: {met})");
}

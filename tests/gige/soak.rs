//! Hours in short: after it is warm, a running camera takes no more memory and no more descriptors.
//!
//! The long one is asked for by name:
//! `cargo test -p crrd -p crrd-train --features crrd/gige --test gige -- --ignored --exact soak::ten_minutes --nocapture`

use std::process::Command;
use std::time::{Duration, Instant};

use crrd::capture::{Camera as _, Event};
use crrd::config::FeatureValue;
use crrd::frame::{PixelFormat, Pool};

use crate::fake::{Fake, stamp};
use crate::net::alone;
use crate::{BUFFERS, HOME, feature, next, open, settings};

/// Set for the process that soaks: seconds.
const SOAKS: &str = "CRRD_TEST_SOAKS_S";
/// How the line begins that tells of it.
const TOLD: &str = "soaked ";
/// Settings, streams and allocators have their size by then.
const WARM_UP: Duration = Duration::from_secs(5);
const RATE_HZ: f64 = 60.0;
const SIZE: (u32, u32) = (320, 240);
/// Pictures that the station would hold.
const HELD: usize = 4;
/// Growth that is taken for what an allocator keeps back: less than two pictures.
const GROWTH_KIB_MAX: i64 = 128;

#[test]
fn twenty_seconds() {
    soak_for(20);
}

#[test]
#[ignore = "ten minutes: cargo test --features crrd/gige --test gige -- --ignored --exact soak::ten_minutes"]
fn ten_minutes() {
    soak_for(600);
}

/// In a process of its own: other tests open and close, too.
fn soak_for(seconds: u64) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "soak::soaks", "--nocapture"])
        .env(SOAKS, seconds.to_string())
        .output()
        .unwrap();
    let (out, err) = (&output.stdout, &output.stderr);
    let text = format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err));
    // On one core the name of the test stands before it in its line.
    let told = text.lines().find_map(|line| Some(&line[line.find(TOLD)?..]));
    println!("{}", told.unwrap_or(&text));
    assert!(output.status.success() && told.is_some(), "{text}");
}

/// The other process: run by the tests above, and no test by itself.
#[test]
fn soaks() {
    let Some(seconds) = std::env::var_os(SOAKS) else { return };
    let seconds: u64 = seconds.to_str().unwrap().parse().unwrap();
    alone(&[], move || soak(Duration::from_secs(seconds)));
}

fn soak(length: Duration) {
    let _fake = Fake::start(HOME, "GV01", (SIZE.0 * SIZE.1) as usize);
    let mut wanted = settings(PixelFormat::Mono8);
    (wanted.region.width, wanted.region.height) = (Some(SIZE.0), Some(SIZE.1));
    wanted.features = vec![feature("AcquisitionFrameRate", FeatureValue::Float(RATE_HZ))];
    let mut camera = open(wanted);
    let pool = Pool::new(BUFFERS, camera.frame_bytes_max());
    camera.start(pool.clone(), 1).unwrap();
    let begun = Instant::now();
    let mut held = std::collections::VecDeque::new();
    let (mut frames, mut last, mut warm) = (0u64, None, None);
    while begun.elapsed() < length {
        match next(&mut camera, 2_000) {
            Event::Frame { trigger, frame } => {
                let count = stamp(frame.view().unwrap().contiguous().unwrap()).count;
                let now = (trigger.seq, count);
                assert!(
                    last.is_none_or(|(seq, count)| now == (seq + 1, count + 1)),
                    "{last:?} {now:?}"
                );
                last = Some(now);
                frames += 1;
                held.push_back(frame);
                if held.len() > HELD {
                    held.pop_front();
                }
            }
            other => panic!("{other:?} after {frames} frames"),
        }
        if warm.is_none() && begun.elapsed() >= WARM_UP {
            warm = Some((resident_kib(), descriptors()));
        }
    }
    let (rate, after) =
        (frames as f64 / begun.elapsed().as_secs_f64(), (resident_kib(), descriptors()));
    let (rss, fds) = warm.expect("longer than the warm-up");
    println!(
        "{TOLD}{} s: {frames} frames at {rate:.1} Hz, none lost; {} KiB resident and {} descriptors \
         after {} s, {} KiB and {} at the end",
        length.as_secs(),
        rss,
        fds,
        WARM_UP.as_secs(),
        after.0,
        after.1
    );
    assert!(rate > RATE_HZ / 2.0, "{rate} Hz");
    assert_eq!(after.1, fds, "descriptors");
    assert!(after.0 - rss <= GROWTH_KIB_MAX, "{} KiB more", after.0 - rss);
    held.clear();
    camera.stop().unwrap();
    assert_eq!(pool.free(), pool.slots(), "every buffer came home");
}

/// Memory of this process that lies in RAM.
fn resident_kib() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

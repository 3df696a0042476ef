//! What the benches share: the model they run on, the station around it, and how a ratio is
//! measured.

// Each bench includes the whole file and uses its own part of it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[path = "../../tests/it/broker.rs"]
pub mod broker;
#[path = "../../tests/support/parts.rs"]
pub mod common;
pub mod live;
pub mod puback;
#[path = "../../tests/support/standin.rs"]
pub mod standin;
pub mod station;
pub mod watched;

/// The bundle to measure: the folder in `CRRD_ENGINE`, else the committed demo engine, else the
/// tests' stand-in, written into `scratch`.
pub fn bundle(scratch: &Path) -> PathBuf {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("engines/demo");
    let chosen = match std::env::var_os("CRRD_ENGINE") {
        Some(folder) => PathBuf::from(folder),
        None if demo.join("manifest.toml").is_file() => demo,
        None => standin::write_bundle(&scratch.join("engine"), &["part"]),
    };
    println!("engine: {}", chosen.display());
    chosen
}

/// Median times of two things done in turn, so that both meet the same machine: the same heat,
/// the same neighbours.
pub struct Pair {
    pub ours: Duration,
    pub reference: Duration,
}

impl Pair {
    pub fn measure(rounds: usize, mut ours: impl FnMut(), mut reference: impl FnMut()) -> Self {
        let time = |f: &mut dyn FnMut()| {
            let begin = Instant::now();
            f();
            begin.elapsed()
        };
        let (mut a, mut b) = (Vec::with_capacity(rounds), Vec::with_capacity(rounds));
        for round in 0..rounds {
            // Who goes first changes: the second may profit from a warm cache.
            if round % 2 == 0 {
                a.push(time(&mut ours));
                b.push(time(&mut reference));
            } else {
                b.push(time(&mut reference));
                a.push(time(&mut ours));
            }
        }
        Self { ours: median(a), reference: median(b) }
    }

    pub fn ratio(&self) -> f64 {
        self.ours.as_secs_f64() / self.reference.as_secs_f64()
    }

    pub fn print(&self, what: &str, reference: &str) {
        println!(
            "RATIO {what}: {:.3} ms against {:.3} ms of {reference} = {:.3}",
            self.ours.as_secs_f64() * 1e3,
            self.reference.as_secs_f64() * 1e3,
            self.ratio()
        );
    }
}

pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Bytes without a pattern that a filter could profit from.
pub fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let next = |_| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..bytes).map(next).collect()
}

/// What the line may add to the inference: this share of it, or so many milliseconds.
pub const OVERHEAD_MAX: f64 = 0.03;
pub const OVERHEAD_MS_MAX: f64 = 1.0;

/// For the report: whether the line adds no more than it may.
pub fn overhead_is_met(line_ms: f64, alone_ms: f64) -> &'static str {
    let added = line_ms - alone_ms;
    if added <= OVERHEAD_MS_MAX.max(OVERHEAD_MAX * alone_ms) { "met" } else { "MISSED" }
}

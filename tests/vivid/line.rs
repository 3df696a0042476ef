//! A whole station on the driver: what the engine reads is what the driver wrote, where it wrote it.

use std::collections::BTreeSet;

use crrd::frame::PixelFormat;

use crate::places::judge;
use crate::{SINGLE, SIZE, open, options};

/// A station of one camera and an engine that notes where its inputs lie.
pub(crate) fn line() -> String {
    const PARTS: usize = 20;
    let camera = Box::new(open(options(SINGLE, PixelFormat::Rgb8)));
    let state = std::env::temp_dir().join("crrd-vivid-state");
    let seen = judge(camera, SIZE, PARTS, &state);
    let _ = std::fs::remove_dir_all(state);
    assert!(seen.is_uncopied(), "{:?}\n{:?}", seen.given, seen.read);
    assert!(seen.passed >= PARTS / 2, "{} of {PARTS} passed", seen.passed);
    let buffers: BTreeSet<usize> = seen.read.iter().map(|(at, _)| *at).collect();
    format!("{} pictures judged in {} buffers of the driver", seen.read.len(), buffers.len())
}

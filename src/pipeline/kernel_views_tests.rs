//! Several cameras of the kernel on one trigger line: which pictures show one part.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::tests::{SIDE, parts};
use super::views_tests::{EVERY_MS, Skipping, WINDOW_MS};
use super::*;
use crate::capture::v4l2::model::Model;
use crate::capture::v4l2::{V4l2, V4l2Options, Way};
use crate::frame::{CameraId, PixelFormat, RecipeId};
use crate::judge::{Outcome, Reason};
use crate::message::deciding_view;
use crate::sys::clock::{Clock, RealClock};
use crate::sys::notify::Notify;
use crate::sys::shutdown::Shutdown;

/// What is told of a part: its trigger, its verdict, the view that decided, and its frames.
type Told = (u32, Outcome, Reason, Option<usize>, Vec<Option<u64>>);

fn camera(at: usize, model: &Model, clock: Arc<dyn Clock>) -> StationCamera {
    let options = V4l2Options {
        device: format!("/dev/video-model-{at}").into(),
        format: PixelFormat::Mono8,
        width: SIDE as u32,
        height: SIDE as u32,
        interval: None,
        way: Way::Mmap,
        buffers: None,
        controls: vec![],
        camera: CameraId(at as u16),
    };
    let camera = V4l2::open_by(options, model.opener(), clock).unwrap();
    StationCamera::new(["a", "b"][at], Box::new(camera))
}

#[test]
fn two_cameras_of_the_kernel_on_one_line_lose_no_part_in_silence() {
    const PARTS: u32 = 9;
    /// The part whose picture the second driver never delivers.
    const LOST: u32 = 4;
    const FIRST: u32 = 10;
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(Skipping::default());
    let models = [Model::new(), Model::new()];
    let (told_in, told) = mpsc::channel::<Told>();
    let [a, b] = [0, 1].map(|at| camera(at, &models[at], clock.clone()));
    let (mut parts, _) = parts(dir.path(), a.camera);
    parts.cameras[0].name = a.name;
    parts.cameras.push(b);
    parts.clock = clock.clone();
    parts.window_ms_max = WINDOW_MS;
    parts.latency_ms_max = 600_000;
    parts.triggers.recipe = Some(RecipeId(1));
    parts.observer = Some(Box::new(move |d: &Decision| {
        let verdict = &d.record.verdict;
        let keys: Vec<Option<u64>> = d.frames[..2].iter().map(|k| k.map(|k| k.seq)).collect();
        let view = deciding_view(d.record.flags);
        told_in.send((d.record.trigger.0, verdict.outcome(), verdict.reason, view, keys)).unwrap();
    }));
    let line = Line::start(parts).unwrap();
    let board = Arc::clone(&line.board);
    let until = RealClock.now().plus_ms(60_000);
    while !board.all_stream() {
        assert!(RealClock.now() < until);
        std::thread::sleep(Duration::from_millis(5));
    }
    // The scripted engine has plans of its own for the lowest levels, which are frame numbers here.
    models.iter().for_each(|model| model.skip(FIRST));
    for part in 0..PARTS {
        assert!(models[0].shoot());
        let seq = Some(u64::from(FIRST + part));
        let (expected, frames) = match part {
            LOST => ((Outcome::Invalid, Reason::FrameLost, Some(1)), vec![seq, None]),
            // Both say the same: the first stands for them.
            _ => ((Outcome::Pass, Reason::None, Some(0)), vec![seq, seq]),
        };
        if part == LOST {
            models[1].skip(1);
            // Seen by the station, then its window is over.
            while board.camera_health()[0].delivered <= u64::from(part) {
                std::thread::sleep(Duration::from_millis(5));
            }
            clock.skip_ms(EVERY_MS);
        } else {
            assert!(models[1].shoot());
        }
        let (trigger, outcome, reason, view, keys) =
            told.recv_timeout(Duration::from_secs(60)).unwrap();
        assert_eq!(((outcome, reason, view), keys), (expected, frames), "part {part}");
        assert_eq!(trigger, part + 1);
        clock.skip_ms(EVERY_MS);
    }
    let shutdown = Shutdown::manual();
    shutdown.request();
    line.run(&shutdown, &Notify::silent()).unwrap();
    assert_eq!(told.iter().count(), 0);
    let lost: Vec<u64> = board.camera_health().iter().map(|camera| camera.lost).collect();
    assert_eq!(lost[0], 0);
    assert!(lost[1] >= 1, "{lost:?}");
    models.iter().for_each(Model::assert_well_treated);
}

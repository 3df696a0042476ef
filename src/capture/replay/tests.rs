use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::capture::{Damage, Event};
use crate::frame::RecipeId;
use crate::sys::clock::RealClock;

fn png(path: &Path, width: u32, height: u32, level: u8) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let picture = ::image::RgbImage::from_pixel(width, height, ::image::Rgb([level, 1, 2]));
    picture.save(path).unwrap();
}

fn options(folder: &Path) -> ReplayOptions {
    ReplayOptions {
        folder: folder.to_owned(),
        source: Source::Images,
        recipe: RecipeChoice::Fixed(RecipeId(1)),
        rate_hz: 0.0,
        triggered: false,
        repeat: false,
        faults: None,
        camera: CameraId(0),
    }
}

/// Starts a camera with a pool of `slots`.
fn started(options: ReplayOptions, slots: usize) -> (Replay, Pool) {
    let mut camera = Replay::open(options, Arc::new(RealClock)).unwrap();
    let pool = Pool::new(slots, camera.frame_bytes_max());
    camera.start(pool.clone(), 7).unwrap();
    (camera, pool)
}

fn next(camera: &mut Replay, wait_ms: u64) -> Event {
    camera.next(RealClock.now().plus_ms(wait_ms)).unwrap()
}

/// (trigger id, part, recipe, first byte of the picture) of each event until the end.
fn all(camera: &mut Replay) -> Vec<(u32, String, Option<u16>, Option<u8>)> {
    let mut seen = vec![];
    loop {
        let (trigger, first) = match next(camera, 5_000) {
            Event::Frame { trigger, frame } => (trigger, Some(frame.view().unwrap().row(0)[0])),
            Event::Incomplete { trigger, .. } => (trigger, None),
            Event::End => return seen,
            other => panic!("{other:?}"),
        };
        let part = trigger.part.as_str().to_owned();
        seen.push((trigger.id.0, part, trigger.recipe.map(|r| r.0), first));
    }
}

#[test]
fn files_are_played_in_order_with_recipes_by_folder_and_damage_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    png(&dir.path().join("bolt/test/good/000.png"), 8, 6, 10);
    png(&dir.path().join("bolt/test/bent/000.png"), 4, 4, 20);
    png(&dir.path().join("bolt/ground_truth/bent/000_mask.png"), 4, 4, 255);
    png(&dir.path().join("nut/train/good/000.png"), 9, 9, 30);
    png(&dir.path().join("washer/000.png"), 2, 2, 40);
    std::fs::write(dir.path().join("nut/train/good/001.png"), b"no picture").unwrap();
    std::fs::write(dir.path().join("readme.txt"), b"no frame").unwrap();
    let recipe = RecipeChoice::Folder(
        [("bolt".to_owned(), RecipeId(3)), ("nut".to_owned(), RecipeId(4))].into(),
    );
    let (mut camera, pool) = started(ReplayOptions { recipe, ..options(dir.path()) }, 1);
    assert_eq!(camera.frame_bytes_max(), 9 * 9 * 3);
    assert_eq!(
        all(&mut camera),
        [
            (1, "bent-000".to_owned(), Some(3), Some(20)),
            (2, "good-000".to_owned(), Some(3), Some(10)),
            (3, "good-000".to_owned(), Some(4), Some(30)),
            (4, "good-001".to_owned(), Some(4), None),
            (5, "washer-000".to_owned(), None, Some(40)),
        ]
    );
    assert_eq!(camera.stats(), CameraStats { delivered: 4, incomplete: 1, ..Default::default() });
    drop(camera);
    assert!(pool.lease().is_some(), "the buffer is back");
}

#[test]
fn the_class_is_found_above_the_folder_when_only_its_inside_is_played() {
    let dir = tempfile::tempdir().unwrap();
    png(&dir.path().join("bolt/test/good/000.png"), 8, 6, 10);
    let recipe = RecipeChoice::Folder([("bolt".to_owned(), RecipeId(3))].into());
    let folder = dir.path().join("bolt/test");
    let (mut camera, _pool) = started(ReplayOptions { recipe, ..options(&folder) }, 1);
    assert_eq!(all(&mut camera)[0].2, Some(3));
}

#[test]
fn a_truncated_picture_is_an_incomplete_frame() {
    let dir = tempfile::tempdir().unwrap();
    let noise = ::image::RgbImage::from_fn(64, 64, |x, y| {
        let v = (x * 7 + y * 13) as u8;
        ::image::Rgb([v, v.wrapping_mul(31), v ^ 0x55])
    });
    for ending in ["png", "jpg", "bmp"] {
        let path = dir.path().join(format!("a.{ending}"));
        noise.save(&path).unwrap();
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(dir.path().join(format!("b.{ending}")), &whole[..whole.len() * 2 / 3])
            .unwrap();
    }
    let (mut camera, _pool) = started(options(dir.path()), 1);
    let usable: Vec<(String, bool)> =
        all(&mut camera).into_iter().map(|(_, part, _, first)| (part, first.is_some())).collect();
    let expected =
        [("a", true), ("a", true), ("a", true), ("b", false), ("b", false), ("b", false)];
    assert_eq!(usable, expected.map(|(p, u)| (p.to_owned(), u)));
}

#[test]
fn raw_frames_must_have_exactly_the_stated_size() {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in [("a.raw", 12), ("b.raw", 11), ("c.raw", 13)] {
        std::fs::write(dir.path().join(name), vec![9u8; bytes]).unwrap();
    }
    let source = Source::Raw { width: 4, height: 3, format: PixelFormat::Mono8 };
    let (mut camera, _pool) = started(ReplayOptions { source, ..options(dir.path()) }, 1);
    let firsts: Vec<Option<u8>> = all(&mut camera).into_iter().map(|(.., first)| first).collect();
    assert_eq!(firsts, [Some(9), None, None]);
}

#[test]
fn without_a_rate_the_replay_waits_for_a_buffer_and_drops_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..3 {
        png(&dir.path().join(format!("{i}.png")), 2, 2, i);
    }
    let (mut camera, _pool) = started(options(dir.path()), 1);
    let Event::Frame { frame, .. } = next(&mut camera, 1_000) else { panic!("no frame") };
    assert!(matches!(next(&mut camera, 5), Event::Idle), "the only buffer is in use");
    drop(frame);
    assert_eq!(all(&mut camera).len(), 2);
}

#[test]
fn with_a_rate_a_trigger_without_a_buffer_is_reported_and_time_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..4 {
        png(&dir.path().join(format!("{i}.png")), 2, 2, i);
    }
    let (mut camera, _pool) = started(ReplayOptions { rate_hz: 100.0, ..options(dir.path()) }, 1);
    let begin = RealClock.now();
    let Event::Frame { frame, .. } = next(&mut camera, 1_000) else { panic!("no frame") };
    assert!(
        matches!(next(&mut camera, 1_000), Event::Incomplete { why: Damage::NoBuffer, .. }),
        "no buffer was free when the second trigger came"
    );
    drop(frame);
    assert!(matches!(next(&mut camera, 1_000), Event::Frame { .. }));
    assert!(matches!(next(&mut camera, 1_000), Event::Frame { .. }));
    assert!(RealClock.now().since(begin).as_ms() >= 39.0, "four triggers at 100 Hz take 40 ms");
    assert_eq!(
        camera.stats(),
        CameraStats { delivered: 3, incomplete: 1, no_buffer: 1, ..Default::default() }
    );
}

#[test]
fn a_looped_replay_starts_over_with_new_triggers() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..2 {
        png(&dir.path().join(format!("{i}.png")), 2, 2, i);
    }
    let (mut camera, _pool) = started(ReplayOptions { repeat: true, ..options(dir.path()) }, 2);
    for expected in 1..=5u32 {
        let Event::Frame { trigger, frame } = next(&mut camera, 1_000) else { panic!("no frame") };
        assert_eq!((trigger.id.0, trigger.seq), (expected, u64::from(expected)));
        assert_eq!(u32::from(frame.view().unwrap().row(0)[0]), (expected - 1) % 2);
    }
}

#[test]
fn a_folder_that_cannot_be_played_is_refused_with_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |o| Replay::open(o, Arc::new(RealClock)).err().unwrap();
    let empty = refused(options(dir.path()));
    assert_eq!(empty.kind(), CameraErrorKind::Empty);
    assert!(empty.to_string().contains(dir.path().to_str().unwrap()), "{empty}");
    assert_eq!(refused(options(Path::new("/nonexistent"))).kind(), CameraErrorKind::Open);
    let rate_hz = f64::NAN;
    let settings = refused(ReplayOptions { rate_hz, ..options(dir.path()) });
    assert_eq!(settings.kind(), CameraErrorKind::Settings);
}

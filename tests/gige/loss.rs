//! A camera that loses its power: told as gone, opened again, set up again.

use std::time::{Duration, Instant};

use crrd::capture::gige::Gige;
use crrd::capture::{Camera as _, Event};
use crrd::config::FeatureValue;
use crrd::frame::{PixelFormat, Pool};

use crate::fake::{Fake, stamp};
use crate::net::{alone, link};
use crate::{BUFFERS, GONE_WITHIN_S, HOME, SIZE, feature, next, open, settings, sooner_or_later};

const PIXELS: usize = (SIZE.0 * SIZE.1) as usize;

/// Takes frames until the camera is gone; the time that took and the newest trigger number.
fn until_gone(camera: &mut Gige, mut newest: u32) -> (Duration, u32) {
    let begun = Instant::now();
    loop {
        match next(camera, 200) {
            Event::Gone { .. } => return (begun.elapsed(), newest),
            Event::Frame { trigger, .. } | Event::Incomplete { trigger, .. } => {
                newest = trigger.id.0;
            }
            Event::Idle => {}
            other => panic!("{other:?}"),
        }
        assert!(begun.elapsed().as_secs() < GONE_WITHIN_S, "not noticed");
    }
}

/// Starts it as the supervisor does: again after a pause until it works.
fn restart(camera: &mut Gige, pool: &Pool, epoch: u32) {
    camera.stop().unwrap();
    let begun = Instant::now();
    while let Err(error) = camera.start(pool.clone(), epoch) {
        assert!(begun.elapsed().as_secs() < 20, "{error}");
        std::thread::sleep(Duration::from_millis(250));
    }
}

fn opened() -> (Fake, Gige, Pool) {
    let fake = Fake::start(HOME, "GV01", PIXELS);
    let mut settings = settings(PixelFormat::Mono8);
    settings.features.push(feature("ExposureTime", FeatureValue::Float(4321.0)));
    let mut camera = open(settings);
    let pool = Pool::new(BUFFERS, camera.frame_bytes_max());
    camera.start(pool.clone(), 1).unwrap();
    (fake, camera, pool)
}

/// The newest number, and that frames come with the settings and epoch they should have.
fn proved(camera: &mut Gige, epoch: u32) -> u32 {
    let mut newest = 0;
    for _ in 0..5 {
        match sooner_or_later(camera, 10) {
            Event::Frame { trigger, frame } => {
                assert_eq!(frame.meta.epoch, epoch);
                assert_eq!(stamp(frame.view().unwrap().contiguous().unwrap()).exposure_us, 4321);
                newest = trigger.id.0;
            }
            other => panic!("{other:?}"),
        }
    }
    newest
}

#[test]
fn a_power_blip_costs_the_settings_and_they_are_applied_again() {
    alone(&[], || {
        let (mut fake, mut camera, pool) = opened();
        let before = proved(&mut camera, 1);
        fake.switch_off();
        fake.switch_on(HOME, "GV01");
        let (noticed, before) = until_gone(&mut camera, before);
        assert!(noticed.as_secs() < 4, "by the next heartbeat, not after {noticed:?}");
        restart(&mut camera, &pool, 2);
        assert_eq!(proved(&mut camera, 2), before + 5, "trigger numbers count on");
        camera.stop().unwrap();
        assert_eq!(pool.free(), pool.slots());
    });
}

#[test]
fn a_camera_without_power_is_gone_and_comes_back_when_it_has_some() {
    alone(&[], || {
        let (mut fake, mut camera, pool) = opened();
        let before = proved(&mut camera, 1);
        fake.switch_off();
        until_gone(&mut camera, before);
        camera.stop().unwrap();
        assert_eq!(pool.free(), pool.slots(), "nobody writes into its buffers any more");
        assert!(camera.start(pool.clone(), 2).is_err());
        fake.switch_on(HOME, "GV01");
        restart(&mut camera, &pool, 3);
        proved(&mut camera, 3);
        camera.stop().unwrap();
    });
}

#[test]
fn a_link_that_is_down_costs_the_frames_of_that_time_and_the_camera_comes_back() {
    alone(&[], || {
        let (_fake, mut camera, pool) = opened();
        let before = proved(&mut camera, 1);
        if !link(false) {
            return;
        }
        let (noticed, before) = until_gone(&mut camera, before);
        assert!(noticed.as_secs() < GONE_WITHIN_S, "{noticed:?}");
        camera.stop().unwrap();
        assert!(camera.start(pool.clone(), 2).is_err(), "nobody is there");
        link(true);
        let back = Instant::now();
        restart(&mut camera, &pool, 3);
        let took = back.elapsed();
        assert!(took.as_secs() < 10, "{took:?} until it was open again");
        assert_eq!(proved(&mut camera, 3), before + 5, "trigger numbers count on");
        camera.stop().unwrap();
        assert_eq!(pool.free(), pool.slots());
    });
}

#[test]
fn a_short_break_of_the_link_is_a_gap_in_the_numbers_or_a_loss_and_never_silence() {
    alone(&[], || {
        let (fake, mut camera, pool) = opened();
        let mut last = proved(&mut camera, 1);
        let made = fake.made();
        if !link(false) {
            return;
        }
        std::thread::sleep(Duration::from_secs(2));
        link(true);
        let missed = fake.made() - made;
        assert!(missed > 20, "the camera went on: {missed}");
        // Its numbers go on where it is; those between are lost parts. Or its control is lost.
        let mut gap = 0;
        let begun = Instant::now();
        while begun.elapsed().as_secs() < GONE_WITHIN_S {
            match next(&mut camera, 500) {
                Event::Frame { trigger, .. } | Event::Incomplete { trigger, .. } => {
                    gap = gap.max(u64::from(trigger.id.0 - last - 1));
                    last = trigger.id.0;
                }
                Event::Gone { .. } => {
                    restart(&mut camera, &pool, 2);
                    proved(&mut camera, 2);
                    camera.stop().unwrap();
                    return;
                }
                Event::Idle => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(gap + 5 >= missed, "{gap} of {missed} seen as missing");
        camera.stop().unwrap();
    });
}

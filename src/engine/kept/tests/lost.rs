//! The device is lost to the process: it ends, or the engine is given up.

use super::*;

const ILLEGAL: &str = "scripted: illegal address";

/// Answers so many times, then fails for the rest of the process. Must not even be freed then.
fn losing(good_pictures: usize) -> Box<dyn Engine> {
    struct Broken(usize);
    impl Drop for Broken {
        fn drop(&mut self) {
            assert!(self.0 > 0 || std::thread::panicking(), "freed in a broken context");
        }
    }
    let mut left = Broken(good_pictures);
    Box::new(ScriptedEngine::new(spec(), move |_, map| {
        map.values.fill(0.0);
        map.score = 0.0;
        if left.0 == 0 {
            return Err(EngineError::new(EngineErrorKind::Lost, ILLEGAL));
        }
        left.0 -= 1;
        Ok(())
    }))
}

fn lost(why: &str, ends: bool) -> Happening {
    Happening::Lost { why: why.to_owned(), ends }
}

#[test]
fn when_the_device_is_lost_to_the_process_nothing_is_opened_again_and_nobody_serves() {
    let mut shop = workshop(|| Ok(engine(2.0, usize::MAX)));
    shop.substitute = Some(Box::new(|| Ok(engine(3.0, usize::MAX))));
    let opened = Arc::clone(&shop.opened);
    let steady = STEADY_PICTURES as usize;
    let mut kept = KeptEngine::serving(losing(steady), shop, RETRIES).unwrap();
    (0..steady).for_each(|_| assert!(look(&mut kept).is_some()));
    // Each tile and view of the part asks.
    assert_eq!([look(&mut kept), look(&mut kept)], [None, None]);
    for _ in 0..20 {
        assert_eq!(kept.attend(), Condition::Lost);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(look(&mut kept), None);
    assert_eq!(happenings(&mut kept), [lost(ILLEGAL, true)], "once");
    assert_eq!(opened.load(Ordering::SeqCst), 0);
}

#[test]
fn a_device_that_is_lost_with_the_first_pictures_is_given_up_for_the_next_process_would_lose_it_too()
 {
    for (substitute, end) in [(true, Condition::Substitute), (false, Condition::Lost)] {
        let mut shop = workshop(|| Ok(engine(2.0, usize::MAX)));
        if substitute {
            shop.substitute = Some(Box::new(|| Ok(engine(3.0, usize::MAX))));
        }
        let opened = Arc::clone(&shop.opened);
        let good = STEADY_PICTURES as usize - 1;
        let mut kept = KeptEngine::serving(losing(good), shop, RETRIES).unwrap();
        (0..good).for_each(|_| assert!(look(&mut kept).is_some()));
        assert_eq!([look(&mut kept), look(&mut kept)], [None, None]);
        until(&mut kept, end);
        let begin = Instant::now();
        while !kept.given_up {
            assert!(begin.elapsed() < WAIT);
            kept.attend();
        }
        assert_eq!((kept.attend(), opened.load(Ordering::SeqCst)), (end, 0));
        assert_eq!(look(&mut kept), substitute.then_some(3.0));
        let given_up = Happening::GivenUp { why: ILLEGAL.to_owned(), substitute };
        assert_eq!(happenings(&mut kept), [lost(ILLEGAL, false), given_up]);
    }
}

#[test]
fn what_others_answer_on_the_device_counts_and_so_does_their_loss_of_it() {
    for (good, ends) in [(STEADY_PICTURES - 1, false), (STEADY_PICTURES, true)] {
        let mut shop = workshop(nothing);
        shop.substitute = Some(Box::new(|| Ok(engine(3.0, usize::MAX))));
        let mut kept = KeptEngine::serving(losing(1), shop, RETRIES).unwrap();
        kept.hear(Err(&EngineError::new(EngineErrorKind::Backend, "its own fault")));
        (0..good).for_each(|_| kept.hear(Ok(())));
        assert_eq!(kept.attend(), Condition::Serving);
        for _ in 0..2 {
            kept.hear(Err(&EngineError::new(EngineErrorKind::Lost, ILLEGAL)));
        }
        assert_eq!(look(&mut kept), None, "nobody uses the device any more");
        until(&mut kept, if ends { Condition::Lost } else { Condition::Substitute });
        let told = happenings(&mut kept);
        let losses = told.iter().filter(|what| matches!(what, Happening::Lost { .. })).count();
        assert_eq!((&told[0], losses), (&lost(ILLEGAL, ends), 1), "told once");
    }
}

#[test]
fn a_device_that_is_found_lost_when_the_engine_is_opened_again_ends_the_attempts() {
    let mut shop =
        workshop(|| Err(EngineError::new(EngineErrorKind::Lost, "scripted: launch failed")));
    shop.substitute = Some(Box::new(|| Ok(engine(3.0, usize::MAX))));
    let opened = Arc::clone(&shop.opened);
    let patient = Retries { attempts_max: u32::MAX, ..RETRIES };
    let steady = STEADY_PICTURES as usize;
    let mut kept = KeptEngine::serving(engine(1.0, steady), shop, patient).unwrap();
    (0..steady).for_each(|_| assert!(look(&mut kept).is_some()));
    assert_eq!(look(&mut kept), None);
    // Another process has the GPU again, so the substitute does not go on for good.
    until(&mut kept, Condition::Lost);
    assert_eq!((look(&mut kept), opened.load(Ordering::SeqCst)), (None, 1));
    assert_eq!(happenings(&mut kept), [failed(), lost("scripted: launch failed", true)]);
}

#[test]
fn a_device_that_is_found_lost_soon_after_the_start_leaves_the_substitute() {
    let mut shop = workshop(|| Err(EngineError::new(EngineErrorKind::Lost, ILLEGAL)));
    shop.substitute = Some(Box::new(|| Ok(engine(3.0, usize::MAX))));
    let opened = Arc::clone(&shop.opened);
    let mut kept = KeptEngine::serving(engine(1.0, 0), shop, RETRIES).unwrap();
    assert_eq!(look(&mut kept), None);
    let begin = Instant::now();
    while !kept.given_up {
        assert!(begin.elapsed() < WAIT);
        kept.attend();
    }
    assert_eq!((kept.attend(), look(&mut kept)), (Condition::Substitute, Some(3.0)));
    assert_eq!(opened.load(Ordering::SeqCst), 1);
    let given_up = Happening::GivenUp { why: ILLEGAL.to_owned(), substitute: true };
    assert_eq!(happenings(&mut kept), [failed(), lost(ILLEGAL, false), given_up]);
}

//! Engines that fail by a script, and a workshop that makes others by a script.

mod lost;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::*;
use crate::engine::{ScriptedEngine, Stopper};
use crate::frame::Precision;

const RETRIES: Retries =
    Retries { attempts_max: 3, first: Duration::from_millis(1), longest: Duration::from_millis(4) };
/// Longest wait for what the maker does, on a loaded machine.
const WAIT: Duration = Duration::from_secs(20);

fn spec_in(precision: Precision) -> ModelSpec {
    ModelSpec {
        input_width: 1,
        input_height: 1,
        map_width: 1,
        map_height: 1,
        classes: vec!["a".to_owned()],
        sha256: "m".to_owned(),
        precision,
    }
}

fn spec() -> ModelSpec {
    spec_in(Precision::Fp32)
}

/// Answers `score` so many times, then fails.
fn engine(score: f32, good_pictures: usize) -> Box<dyn Engine> {
    engine_of(spec(), score, good_pictures)
}

fn engine_of(spec: ModelSpec, score: f32, good_pictures: usize) -> Box<dyn Engine> {
    let mut left = good_pictures;
    Box::new(ScriptedEngine::new(spec, move |_, map| {
        if left == 0 {
            return Err(EngineError::new(EngineErrorKind::Backend, "scripted failure"));
        }
        left -= 1;
        map.values.fill(score);
        map.score = score;
        Ok(())
    }))
}

/// Answers these (score, value of the map) in turn, and the last one for ever.
fn engine_saying(answers: &'static [(f32, f32)]) -> Box<dyn Engine> {
    let mut turn = 0;
    Box::new(ScriptedEngine::new(spec(), move |_, map| {
        let (score, value) = answers[turn.min(answers.len() - 1)];
        turn += 1;
        map.values.fill(value);
        map.score = score;
        Ok(())
    }))
}

type Makes = Box<dyn FnMut() -> Result<Box<dyn Engine>, EngineError> + Send>;

/// What its parts make; `opened` counts how often an engine was to be opened again.
struct Scripted {
    build: Makes,
    reopen: Makes,
    substitute: Option<Makes>,
    opened: Arc<AtomicUsize>,
}

impl Workshop for Scripted {
    fn build(&mut self) -> Result<Box<dyn Engine>, EngineError> {
        (self.build)()
    }

    fn reopen(&mut self) -> Result<Box<dyn Engine>, EngineError> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        (self.reopen)()
    }

    fn substitute(&mut self) -> Result<Option<Box<dyn Engine>>, EngineError> {
        self.substitute.as_mut().map(|make| make()).transpose()
    }
}

fn nothing() -> Result<Box<dyn Engine>, EngineError> {
    Err(EngineError::new(EngineErrorKind::Backend, "scripted: nothing can be made"))
}

fn workshop(
    reopen: impl FnMut() -> Result<Box<dyn Engine>, EngineError> + Send + 'static,
) -> Scripted {
    Scripted {
        build: Box::new(nothing),
        reopen: Box::new(reopen),
        substitute: None,
        opened: Arc::default(),
    }
}

/// The score of the next picture; `None` when it was answered with an error.
fn look(kept: &mut KeptEngine) -> Option<f32> {
    let mut map = AnomalyMap { width: 1, height: 1, values: vec![0.0], score: 0.0 };
    match kept.infer(&[0; 3], &mut map) {
        Ok(()) => Some(map.score),
        Err(_) => {
            assert!(map.score.is_nan() && map.values[0].is_nan(), "a map that cannot pass");
            None
        }
    }
}

fn happenings(kept: &mut KeptEngine) -> Vec<Happening> {
    std::iter::from_fn(|| kept.happened()).collect()
}

fn failed() -> Happening {
    Happening::Failed { why: "scripted failure".to_owned() }
}

fn until(kept: &mut KeptEngine, wanted: Condition) {
    let begin = Instant::now();
    while kept.attend() != wanted {
        assert!(begin.elapsed() < WAIT, "{wanted:?} never came, it is {:?}", kept.attend());
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn an_engine_that_fails_is_opened_again_and_nobody_serves_meanwhile() {
    let may_open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&may_open);
    let shop = workshop(move || {
        while !gate.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        Ok(engine(2.0, usize::MAX))
    });
    let mut kept = KeptEngine::serving(engine(1.0, 2), shop, RETRIES).unwrap();
    assert_eq!(kept.attend(), Condition::Serving);
    assert_eq!([look(&mut kept), look(&mut kept)], [Some(1.0), Some(1.0)]);
    assert_eq!(look(&mut kept), None, "the picture at which it fails is not judged again");
    assert_eq!(kept.attend(), Condition::Absent);
    assert_eq!([look(&mut kept), look(&mut kept)], [None, None]);
    may_open.store(true, Ordering::SeqCst);
    assert_eq!(happenings(&mut kept), [failed()]);
    until(&mut kept, Condition::Serving);
    assert_eq!(look(&mut kept), Some(2.0));
    assert_eq!(happenings(&mut kept), [Happening::Back], "each is told once");
}

#[test]
fn a_substitute_serves_until_the_engine_is_there_again() {
    let may_open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&may_open);
    let shop = Scripted {
        substitute: Some(Box::new(|| Ok(engine(3.0, usize::MAX)))),
        ..workshop(move || if gate.load(Ordering::SeqCst) { Ok(engine(2.0, 1)) } else { nothing() })
    };
    let patient = Retries { attempts_max: u32::MAX, ..RETRIES };
    let mut kept = KeptEngine::serving(engine(1.0, 0), shop, patient).unwrap();
    assert_eq!(look(&mut kept), None);
    until(&mut kept, Condition::Substitute);
    assert_eq!([look(&mut kept), look(&mut kept)], [Some(3.0), Some(3.0)]);
    may_open.store(true, Ordering::SeqCst);
    until(&mut kept, Condition::Serving);
    assert_eq!([look(&mut kept), look(&mut kept)], [Some(2.0), None]);
}

#[test]
fn attempts_are_bounded_and_then_the_substitute_stays_or_nobody_is_left() {
    for (substitute, end) in [(false, Condition::Lost), (true, Condition::Substitute)] {
        let mut shop = workshop(nothing);
        if substitute {
            shop.substitute = Some(Box::new(|| Ok(engine(3.0, usize::MAX))));
        }
        let opened = Arc::clone(&shop.opened);
        let mut kept = KeptEngine::serving(engine(1.0, 0), shop, RETRIES).unwrap();
        assert_eq!(look(&mut kept), None);
        until(&mut kept, end);
        let begin = Instant::now();
        while !kept.given_up {
            assert!(begin.elapsed() < WAIT);
            kept.attend();
        }
        assert_eq!(opened.load(Ordering::SeqCst), 3);
        assert_eq!(kept.attend(), end);
        let why = "scripted: nothing can be made".to_owned();
        let given_up = Happening::GivenUp { why, substitute };
        assert_eq!(happenings(&mut kept), [failed(), given_up]);
        assert_eq!(look(&mut kept).is_some(), substitute);
    }
}

#[test]
fn an_engine_that_opens_and_fails_in_turn_is_given_up_and_one_that_served_well_is_not() {
    for (good_pictures, given_up) in [(1, true), (STEADY_PICTURES as usize, false)] {
        let shop = workshop(move || Ok(engine(2.0, good_pictures)));
        let opened = Arc::clone(&shop.opened);
        let mut kept = KeptEngine::serving(engine(1.0, 0), shop, RETRIES).unwrap();
        let begin = Instant::now();
        while opened.load(Ordering::SeqCst) < 8 && kept.attend() != Condition::Lost {
            assert!(begin.elapsed() < WAIT);
            look(&mut kept);
        }
        assert_eq!(kept.attend() == Condition::Lost, given_up, "{good_pictures}");
        assert_eq!(opened.load(Ordering::SeqCst), if given_up { 3 } else { 8 });
    }
}

#[test]
fn an_engine_that_goes_on_answering_what_is_no_number_has_failed() {
    const NAN: f32 = f32::NAN;
    const INF: f32 = f32::INFINITY;
    // Answers, and how many pictures are answered before one is an error.
    let cases: [(&'static [(f32, f32)], usize); 6] = [
        (&[(NAN, 1.0)], 2),
        (&[(1.0, NAN)], 2),
        (&[(-INF, 1.0)], 2),
        (&[(1.0, INF)], 2),
        (&[(1.0, 1.0), (NAN, NAN), (1.0, 1.0), (NAN, 1.0), (1.0, 1.0), (1.0, INF)], 5),
        (&[(NAN, NAN), (NAN, NAN), (1.0, 1.0)], 500),
    ];
    for (answers, good) in cases {
        let shop = workshop(|| Ok(engine(2.0, usize::MAX)));
        let mut kept = KeptEngine::serving(engine_saying(answers), shop, RETRIES).unwrap();
        for at in 0..good {
            assert!(look(&mut kept).is_some(), "answer {at} of {answers:?}");
            assert_eq!(kept.attend(), Condition::Serving);
        }
        if good < 500 {
            assert_eq!(look(&mut kept), None, "{answers:?}");
            until(&mut kept, Condition::Serving);
            assert_eq!(look(&mut kept), Some(2.0), "it was opened again");
        }
    }
}

#[test]
fn one_that_answers_no_numbers_whenever_it_is_opened_is_given_up() {
    let mut shop = workshop(|| Ok(engine_saying(&[(f32::NAN, f32::NAN)])));
    shop.substitute = Some(Box::new(|| Ok(engine(3.0, usize::MAX))));
    let opened = Arc::clone(&shop.opened);
    let first = engine_saying(&[(f32::NAN, f32::NAN)]);
    let mut kept = KeptEngine::serving(first, shop, RETRIES).unwrap();
    let begin = Instant::now();
    while !kept.given_up {
        assert!(begin.elapsed() < WAIT);
        look(&mut kept);
        kept.attend();
    }
    assert_eq!(opened.load(Ordering::SeqCst), 3);
    assert_eq!((kept.attend(), look(&mut kept)), (Condition::Substitute, Some(3.0)));
}

#[test]
fn what_stands_in_for_the_engine_stays_whatever_it_answers() {
    let mut shop = workshop(nothing);
    shop.substitute = Some(Box::new(|| Ok(engine_saying(&[(f32::NAN, 1.0)]))));
    let mut kept = KeptEngine::serving(engine(1.0, 0), shop, RETRIES).unwrap();
    assert_eq!(look(&mut kept), None);
    until(&mut kept, Condition::Substitute);
    for _ in 0..9 {
        assert!(look(&mut kept).is_some_and(f32::is_nan), "the judge refuses it");
        assert_eq!(kept.attend(), Condition::Substitute);
    }
}

#[test]
fn the_failed_engine_is_gone_before_another_one_is_opened() {
    struct Tells(Arc<AtomicBool>);
    impl Drop for Tells {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let gone = Arc::new(AtomicBool::new(false));
    let (tells, seen) = (Tells(Arc::clone(&gone)), Arc::clone(&gone));
    let failing = ScriptedEngine::new(spec(), move |_, _| {
        let _held = &tells;
        Err(EngineError::new(EngineErrorKind::Backend, "scripted failure"))
    });
    let shop = workshop(move || {
        assert!(seen.load(Ordering::SeqCst), "its memory is still held");
        Ok(engine(2.0, 9))
    });
    let mut kept = KeptEngine::serving(Box::new(failing), shop, RETRIES).unwrap();
    assert_eq!(look(&mut kept), None);
    until(&mut kept, Condition::Serving);
}

#[test]
fn an_engine_of_another_model_or_arithmetic_never_serves() {
    let others = [
        spec_in(Precision::Fp16),
        ModelSpec { sha256: "other".to_owned(), ..spec() },
        ModelSpec { map_width: 2, ..spec() },
    ];
    for other in others {
        let (meant, instead) = (other.clone(), other.clone());
        let shop = Scripted {
            substitute: Some(Box::new(move || Ok(engine_of(instead.clone(), 3.0, 9)))),
            ..workshop(move || Ok(engine_of(meant.clone(), 2.0, 9)))
        };
        let mut kept = KeptEngine::serving(engine(1.0, 0), shop, RETRIES).unwrap();
        assert_eq!(look(&mut kept), None);
        until(&mut kept, Condition::Lost);
        assert_eq!(*kept.spec(), spec(), "what the limits are bound to stays");
    }
}

#[test]
fn a_picture_of_the_wrong_size_is_no_fault_of_the_engine() {
    let mut kept = KeptEngine::serving(engine(1.0, 9), workshop(nothing), RETRIES).unwrap();
    let mut map = AnomalyMap::unwritten(1, 1);
    assert_eq!(kept.infer(&[0; 2], &mut map).unwrap_err().kind(), EngineErrorKind::Input);
    assert_eq!((kept.attend(), look(&mut kept)), (Condition::Serving, Some(1.0)));
}

#[test]
fn while_an_engine_is_built_the_substitute_serves_or_nobody() {
    for (substitute, meanwhile) in
        [(None, Condition::Absent), (Some(engine(3.0, 9)), Condition::Substitute)]
    {
        let may_build = Arc::new(AtomicBool::new(false));
        let gate = Arc::clone(&may_build);
        let build = move || {
            while !gate.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            Ok(engine(2.0, 9))
        };
        let shop = Scripted { build: Box::new(build), ..workshop(nothing) };
        let mut kept = KeptEngine::building(spec(), substitute, shop, RETRIES).unwrap();
        assert_eq!(kept.attend(), meanwhile);
        assert_eq!(look(&mut kept).is_some(), meanwhile == Condition::Substitute);
        may_build.store(true, Ordering::SeqCst);
        until(&mut kept, Condition::Serving);
        assert_eq!(look(&mut kept), Some(2.0));
        assert_eq!(happenings(&mut kept), [], "nothing went wrong");
    }
}

#[test]
fn an_engine_that_cannot_be_built_leaves_the_substitute_or_nobody() {
    for (substitute, end) in
        [(None, Condition::Lost), (Some(engine(3.0, 9)), Condition::Substitute)]
    {
        let mut kept =
            KeptEngine::building(spec(), substitute, workshop(nothing), RETRIES).unwrap();
        let begin = Instant::now();
        while !kept.given_up {
            assert!(begin.elapsed() < WAIT);
            kept.attend();
        }
        assert_eq!(kept.attend(), end);
        let (why, substitute) =
            ("scripted: nothing can be made".to_owned(), end != Condition::Lost);
        assert_eq!(happenings(&mut kept), [Happening::GivenUp { why, substitute }]);
    }
}

#[test]
fn a_workshop_that_panics_ends_the_attempts_and_not_the_station() {
    let mut kept =
        KeptEngine::serving(engine(1.0, 0), workshop(|| panic!("scripted")), RETRIES).unwrap();
    assert_eq!(look(&mut kept), None);
    until(&mut kept, Condition::Lost);
    kept.attend();
    let gone = Happening::GivenUp { why: NO_MAKER.to_owned(), substitute: false };
    assert_eq!(happenings(&mut kept), [failed(), gone], "once, however often it is asked");
}

#[test]
fn nothing_is_opened_any_more_when_the_owner_has_gone() {
    let ended = Arc::new(Mutex::new(()));
    let held = Arc::clone(&ended);
    let shop = workshop(move || {
        let _lives_with_the_workshop = &held;
        nothing()
    });
    let opened = Arc::clone(&shop.opened);
    let patient = Retries { attempts_max: u32::MAX, first: WAIT * 10, longest: WAIT * 10 };
    let mut kept = KeptEngine::serving(engine(1.0, 0), shop, patient).unwrap();
    assert_eq!((look(&mut kept), kept.attend()), (None, Condition::Absent));
    drop(kept);
    let begin = Instant::now();
    while Arc::strong_count(&ended) > 1 {
        assert!(begin.elapsed() < WAIT, "its thread goes on");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(opened.load(Ordering::SeqCst), 0);
}

/// Builds for ever, unless somebody ends it.
struct Endless(Arc<AtomicBool>);

impl Workshop for Endless {
    fn build(&mut self) -> Result<Box<dyn Engine>, EngineError> {
        while !self.0.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        nothing()
    }

    fn reopen(&mut self) -> Result<Box<dyn Engine>, EngineError> {
        nothing()
    }

    fn substitute(&mut self) -> Result<Option<Box<dyn Engine>>, EngineError> {
        Ok(None)
    }

    fn stopper(&self) -> Stopper {
        let ended = Arc::clone(&self.0);
        Box::new(move || ended.store(true, Ordering::SeqCst))
    }
}

#[test]
fn a_building_under_way_is_ended_with_its_owner() {
    let ended = Arc::new(AtomicBool::new(false));
    let shop = Endless(Arc::clone(&ended));
    let kept = KeptEngine::building(spec(), None, shop, RETRIES).unwrap();
    std::thread::sleep(Duration::from_millis(5));
    drop(kept);
    // The workshop held one; its thread has ended and freed it.
    assert_eq!((ended.load(Ordering::SeqCst), Arc::strong_count(&ended)), (true, 1));
}

#[test]
fn pauses_double_up_to_the_longest() {
    let pauses = Retries::default();
    let found: Vec<u128> = (0..8).map(|attempt| pauses.pause(attempt).as_millis()).collect();
    assert_eq!(found, [500, 1000, 2000, 4000, 8000, 16_000, 16_000, 16_000]);
}

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;

use super::*;
use crate::engine::{KeptEngine, Retries, ScriptedEngine, Workshop};
use crate::frame::{CameraId, FrameMeta, Nanos, NoBuffer, PixelFormat, Pool, Precision, Slab};

/// Memory that a device is said to see.
struct Seen(Vec<u8>, u64);

impl Slab for Seen {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    fn memory(&self) -> Memory {
        Memory::MappedPinned { host: self.0.as_ptr() as usize, device: self.1 }
    }
}

struct Device(u64);

impl Buffers for Device {
    fn make(&self, bytes: usize) -> Result<Box<dyn Slab>, NoBuffer> {
        Ok(Box::new(Seen(vec![0; bytes], self.0)))
    }
}

fn spec(sha256: &str) -> ModelSpec {
    ModelSpec {
        input_width: 2,
        input_height: 2,
        map_width: 2,
        map_height: 2,
        classes: vec!["plate".to_owned()],
        sha256: sha256.to_owned(),
        precision: Precision::Fp32,
    }
}

/// Answers with the address that it was given; fails at 13, and its score is no number at 14.
struct Reader(ModelSpec, CameraFrames);

impl FrameReader for Reader {
    fn frames(&self) -> &CameraFrames {
        &self.1
    }

    fn spec(&self) -> &ModelSpec {
        &self.0
    }

    fn read(&mut self, address: u64, out: &mut AnomalyMap) -> Result<(), EngineError> {
        if address == 13 {
            return Err(EngineError::new(EngineErrorKind::Backend, "scripted failure"));
        }
        out.values.fill(address as f32);
        out.score = if address == 14 { f32::NAN } else { address as f32 };
        Ok(())
    }
}

struct Bench {
    engine: FramesEngine,
    asked: Receiver<CameraFrames>,
    made: Sender<Box<dyn FrameReader>>,
    /// How often the making of readers was ended.
    stopped: Arc<AtomicUsize>,
}

fn bench() -> Bench {
    bench_of(Box::new(ScriptedEngine::from_scores(spec("m"), vec![0.5])))
}

fn bench_of(pictures: Box<dyn Engine>) -> Bench {
    let (ask, asked) = bounded(KINDS_MAX);
    let (made, readers) = bounded(KINDS_MAX);
    let stopped = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&stopped);
    let stop = Box::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
    });
    // The test itself makes the readers.
    let maker = Background::start("maker", stop, || {}).unwrap();
    let source = ReaderSource { ask, made: readers, maker };
    let engine = FramesEngine::new(pictures, source, Arc::new(Device(7)));
    Bench { engine, asked, made, stopped }
}

/// A grey frame of 4 x 3 pixels in rows of 6 bytes, the buffer of this size, seen at `address`.
fn frame(address: u64, bytes: usize) -> Frame {
    let pool = Pool::made_by(&Device(address), 1, bytes).unwrap();
    let packed = FrameMeta::packed(CameraId(0), (1, 1), Nanos(0), PixelFormat::Mono8, (4, 3));
    let meta = FrameMeta { stride: 6, bytes: 16, ..packed };
    Frame { meta, lease: pool.lease().unwrap() }
}

const WHOLE: Geometry = Geometry::WHOLE;

#[test]
fn a_reader_is_asked_for_once_and_serves_from_when_it_is_there() {
    let Bench { mut engine, asked, made, .. } = bench();
    for _ in 0..3 {
        assert!(!engine.reads(&frame(7, 18), &WHOLE));
    }
    let wanted = asked.try_recv().unwrap();
    assert_eq!((wanted.format, wanted.width, wanted.row_bytes), (PixelFormat::Mono8, 4, Some(6)));
    assert!(asked.try_recv().is_err(), "once");
    made.send(Box::new(Reader(spec("m"), wanted))).unwrap();
    assert!(!engine.reads(&frame(7, 18), &WHOLE), "engines change between two parts only");
    assert_eq!(engine.attend(), Condition::Serving);
    assert!(engine.reads(&frame(7, 18), &WHOLE));
    let mut map = AnomalyMap::default();
    engine.infer_frame(&frame(9, 18), &WHOLE, &mut map).unwrap();
    assert_eq!((map.score, map.values.as_slice()), (9.0, &[9.0; 4][..]));
    // Pictures are looked at as before.
    engine.infer(&[0; 12], &mut map).unwrap();
    assert_eq!(map.score, 0.5);
    // What the model sees of it makes it another kind.
    let mirror = Geometry { mirror: true, ..WHOLE };
    assert!(!engine.reads(&frame(7, 18), &mirror));
    assert_eq!(asked.try_recv().unwrap().geometry, mirror);
    assert!(engine.buffers().unwrap().make(3).unwrap().memory() != Memory::Heap);
}

#[test]
fn a_frame_that_the_device_would_read_beyond_its_buffer_is_not_read() {
    let Bench { mut engine, asked, .. } = bench();
    // Good for the processor, which does not touch the padding of the last row.
    let short = frame(7, 17);
    assert!(short.view().is_ok());
    assert!(!engine.reads(&short, &WHOLE));
    let heap = Frame { lease: Pool::new(1, 18).lease().unwrap(), ..frame(7, 18) };
    assert!(!engine.reads(&heap, &WHOLE));
    let mut damaged = frame(7, 18);
    damaged.meta.width = 7;
    assert!(!engine.reads(&damaged, &WHOLE));
    let mut jpeg = frame(7, 18);
    jpeg.meta.format = PixelFormat::Mjpeg;
    assert!(!engine.reads(&jpeg, &WHOLE));
    let corners = Some([[0.0, 0.0], [4.0, 0.0], [4.0, 3.0], [0.0, 3.0]]);
    assert!(!engine.reads(&frame(7, 18), &Geometry { corners, ..WHOLE }));
    assert!(asked.try_recv().is_err(), "nothing is built for what cannot be read");
}

#[test]
fn a_failure_leaves_a_map_that_cannot_pass() {
    let Bench { mut engine, asked, made, .. } = bench();
    let unwritten = |map: &AnomalyMap| {
        map.values.len() == 4 && map.score.is_nan() && map.values.iter().all(|v| v.is_nan())
    };
    let mut map = AnomalyMap { width: 2, height: 2, values: vec![0.0; 4], score: 0.0 };
    let error = engine.infer_frame(&frame(7, 18), &WHOLE, &mut map).unwrap_err();
    assert_eq!(error.kind(), EngineErrorKind::Input);
    assert!(unwritten(&map));
    assert!(!engine.reads(&frame(7, 18), &WHOLE));
    made.send(Box::new(Reader(spec("m"), asked.try_recv().unwrap()))).unwrap();
    engine.attend();
    assert!(engine.reads(&frame(13, 18), &WHOLE));
    (map.score, map.values) = (0.0, vec![0.0; 4]);
    let error = engine.infer_frame(&frame(13, 18), &WHOLE, &mut map).unwrap_err();
    assert_eq!(error.kind(), EngineErrorKind::Backend);
    assert!(unwritten(&map));
    assert!(!engine.reads(&frame(7, 18), &WHOLE), "what failed is not used again");
    let Some(Happening::ReaderFailed { frames, why }) = engine.happened() else {
        panic!("nobody is told")
    };
    assert!(frames.starts_with("Mono8 4x3 in rows of 6 bytes") && why == "scripted failure");
    assert_eq!(engine.happened(), None);
    assert!(asked.try_recv().is_err());
}

#[test]
fn a_reader_whose_answers_are_no_numbers_again_and_again_is_not_used_any_more() {
    let Bench { mut engine, asked, made, .. } = bench();
    assert!(!engine.reads(&frame(14, 18), &WHOLE));
    made.send(Box::new(Reader(spec("m"), asked.try_recv().unwrap()))).unwrap();
    engine.attend();
    let mut map = AnomalyMap::default();
    let mut look = |address| {
        assert!(engine.reads(&frame(address, 18), &WHOLE));
        engine.infer_frame(&frame(address, 18), &WHOLE, &mut map).map_err(|e| e.kind())
    };
    assert_eq!([look(14), look(7), look(14)], [Ok(()); 3], "the judge refuses what is no number");
    assert_eq!(look(14), Err(EngineErrorKind::Backend));
    assert!(map.values.iter().all(|v| v.is_nan()), "nothing of it is left");
    assert!(!engine.reads(&frame(7, 18), &WHOLE));
}

#[test]
fn a_reader_of_another_model_never_serves_and_kinds_are_bounded() {
    let Bench { mut engine, asked, made, .. } = bench();
    assert!(!engine.reads(&frame(7, 18), &WHOLE));
    made.send(Box::new(Reader(spec("other"), asked.try_recv().unwrap()))).unwrap();
    engine.attend();
    assert!(!engine.reads(&frame(7, 18), &WHOLE));
    for left in 0..20 {
        let geometry = Geometry { roi: Some([left, 0, 2, 2]), ..WHOLE };
        assert!(!engine.reads(&frame(7, 18), &geometry));
    }
    assert_eq!(asked.try_iter().count(), KINDS_MAX - 1);
    // When nobody makes readers any more, pictures are prepared as ever.
    drop((asked, made));
    assert!(!engine.reads(&frame(7, 18), &WHOLE));
}

/// Holds the context of a device, and says when it lets go.
struct Holds(&'static str, Arc<Mutex<Vec<&'static str>>>);

impl Drop for Holds {
    fn drop(&mut self) {
        self.1.lock().unwrap().push(self.0);
    }
}

/// Makes good engines; those that stand in for them answer 3.
struct Opens;

impl Workshop for Opens {
    fn build(&mut self) -> Result<Box<dyn Engine>, EngineError> {
        unreachable!("it was built before")
    }

    fn reopen(&mut self) -> Result<Box<dyn Engine>, EngineError> {
        Ok(Box::new(ScriptedEngine::from_scores(spec("m"), vec![0.5])))
    }

    fn substitute(&mut self) -> Result<Option<Box<dyn Engine>>, EngineError> {
        Ok(Some(Box::new(ScriptedEngine::from_scores(spec("m"), vec![3.0]))))
    }
}

fn kept(pictures: ScriptedEngine) -> Box<dyn Engine> {
    let retries = Retries { attempts_max: 3, first: Duration::ZERO, longest: Duration::ZERO };
    Box::new(KeptEngine::serving(Box::new(pictures), Opens, retries).unwrap())
}

/// An engine for pictures that fails so, and is opened again where that helps.
fn failing(kind: EngineErrorKind) -> Box<dyn Engine> {
    kept(ScriptedEngine::new(spec("m"), move |_, _| Err(EngineError::new(kind, "scripted"))))
}

#[test]
fn readers_go_on_while_the_engine_for_pictures_is_opened_again() {
    let Bench { mut engine, asked, made, stopped } = bench_of(failing(EngineErrorKind::Backend));
    assert!(!engine.reads(&frame(7, 18), &WHOLE));
    made.send(Box::new(Reader(spec("m"), asked.try_recv().unwrap()))).unwrap();
    engine.attend();
    let mut map = AnomalyMap::default();
    engine.infer(&[0; 12], &mut map).unwrap_err();
    assert!(engine.reads(&frame(9, 18), &WHOLE));
    engine.infer_frame(&frame(9, 18), &WHOLE, &mut map).unwrap();
    assert_eq!(map.score, 9.0);
    let begin = Instant::now();
    while engine.attend() != Condition::Serving {
        assert!(begin.elapsed() < Duration::from_secs(20));
    }
    engine.infer(&[0; 12], &mut map).unwrap();
    assert_eq!((map.score, stopped.load(Ordering::SeqCst)), (0.5, 0));
    let happened: Vec<_> = std::iter::from_fn(|| engine.happened()).collect();
    assert_eq!(happened, [Happening::Failed { why: "scripted".to_owned() }, Happening::Back]);
}

/// Answers so many times, and then finds the device lost to the process; counts how often it is asked.
struct Losing(Reader, usize, Arc<AtomicUsize>);

impl Drop for Losing {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "freed in a broken context");
    }
}

impl FrameReader for Losing {
    fn frames(&self) -> &CameraFrames {
        self.0.frames()
    }

    fn spec(&self) -> &ModelSpec {
        self.0.spec()
    }

    fn read(&mut self, address: u64, out: &mut AnomalyMap) -> Result<(), EngineError> {
        if self.2.fetch_add(1, Ordering::SeqCst) < self.1 {
            return self.0.read(address, out);
        }
        Err(EngineError::new(EngineErrorKind::Lost, "scripted"))
    }
}

#[test]
fn when_the_device_is_lost_to_the_process_no_reader_serves_whoever_found_it_out() {
    // Late, the process must end; early, the next one would fare no better.
    for (by_reader, good) in [(true, 100), (true, 99), (false, 0)] {
        let ends = good == 100;
        let pictures = match by_reader {
            true => kept(ScriptedEngine::from_scores(spec("m"), vec![0.5])),
            false => failing(EngineErrorKind::Lost),
        };
        let Bench { mut engine, asked, made, .. } = bench_of(pictures);
        let read = Arc::<AtomicUsize>::default();
        assert!(!engine.reads(&frame(7, 18), &WHOLE));
        let reader = Reader(spec("m"), asked.try_recv().unwrap());
        made.send(Box::new(Losing(reader, good, Arc::clone(&read)))).unwrap();
        assert_eq!(engine.attend(), Condition::Serving);
        let mut map = AnomalyMap { width: 2, height: 2, values: vec![0.0; 4], score: 0.0 };
        for _ in 0..good {
            engine.infer_frame(&frame(7, 18), &WHOLE, &mut map).unwrap();
        }
        let error = match by_reader {
            true => engine.infer_frame(&frame(7, 18), &WHOLE, &mut map).unwrap_err(),
            false => engine.infer(&[0; 12], &mut map).unwrap_err(),
        };
        assert_eq!(error.kind(), EngineErrorKind::Lost);
        assert!(!map.is_finite(), "a map that cannot pass");
        // Further views of the part, before anybody stands in.
        assert!(!engine.reads(&frame(7, 18), &WHOLE));
        (map.score, map.values) = (0.0, vec![0.0; 4]);
        engine.infer(&[0; 12], &mut map).unwrap_err();
        assert!(!map.is_finite(), "a map that cannot pass");
        let begin = Instant::now();
        let end = if ends { Condition::Lost } else { Condition::Substitute };
        while engine.attend() != end {
            assert!(begin.elapsed() < Duration::from_secs(20));
        }
        assert_eq!(engine.infer(&[0; 12], &mut map).is_ok(), !ends);
        assert_eq!(map.score == 3.0, !ends, "{}", map.score);
        // One that was under way, and other frames.
        let late = Reader(spec("m"), kind_of(&frame(7, 18), &WHOLE).unwrap());
        made.send(Box::new(Losing(late, 0, Arc::clone(&read)))).unwrap();
        assert_eq!(engine.attend(), end);
        assert!(!engine.reads(&frame(7, 18), &WHOLE));
        let mirror = Geometry { mirror: true, ..WHOLE };
        assert!(!engine.reads(&frame(7, 18), &mirror) && asked.try_recv().is_err());
        let asks = if by_reader { good + 1 } else { 0 };
        assert_eq!(read.load(Ordering::SeqCst), asks, "not asked again");
        let why = "scripted".to_owned();
        assert_eq!(engine.happened(), Some(Happening::Lost { why, ends }));
    }
}

#[test]
fn the_making_of_readers_is_ended_and_waited_for_with_their_engine() {
    let told = Arc::<Mutex<Vec<&'static str>>>::default();
    let (ask, asked) = bounded::<CameraFrames>(KINDS_MAX);
    let (made, readers) = bounded(KINDS_MAX);
    let (ended, teller) = (Arc::<AtomicUsize>::default(), Arc::clone(&told));
    let stop = Arc::clone(&ended);
    let ends = Arc::clone(&ended);
    // Builds until it is told to end, as NVIDIA's builder does: a step longer, and with the device held.
    let work = move || {
        let _device = Holds("device", Arc::clone(&teller));
        for frames in asked {
            while ends.load(Ordering::SeqCst) == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(Duration::from_millis(30));
            let reader: Box<dyn FrameReader> = Box::new(Reader(spec("m"), frames));
            if made.send(reader).is_ok() {
                teller.lock().unwrap().push("wanted");
            }
        }
    };
    let stop = Box::new(move || _ = stop.fetch_add(1, Ordering::SeqCst));
    let maker = Background::start("maker", stop, work).unwrap();
    let source = ReaderSource { ask, made: readers, maker };
    let pictures = Box::new(ScriptedEngine::from_scores(spec("m"), vec![0.5]));
    let mut engine = FramesEngine::new(pictures, source, Arc::new(Device(7)));
    assert!(!engine.reads(&frame(7, 18), &WHOLE));
    drop(engine);
    assert_eq!(ended.load(Ordering::SeqCst), 1, "once");
    assert_eq!(*told.lock().unwrap(), ["device"], "its thread lets go before its owner has gone");
}

//! A toy world in which training takes seconds: small pictures, an encoder by formula, a small
//! model. Everything else is the real code.

use std::f32::consts::TAU;
use std::time::Instant;

use crrd_train::arch::{Architecture, Group, HeadShape, Memory, Tap, edge};
use crrd_train::checkpoint::{Checkpoint, Counters, State};
use crrd_train::encoder::EncoderError;
use crrd_train::features::{Cache, Encode, Material, Picture, Purpose, stream};
use crrd_train::progress::Progress;
use crrd_train::synth::{Synthesizer, Textures};
use crrd_train::trainer::{
    Compute, Length, Outcome, Preset, Run, Settings, Stage1Batch, Stage2Batch, Workers,
};
use rand::Rng;

const INPUT: usize = 64;
const GRID: usize = 16;
const CELL: usize = INPUT / GRID;
const CHANNELS: usize = 24;

/// Random projections of each cell's surroundings, squashed: a random convolution layer.
pub(crate) struct ToyEncoder {
    weights: Vec<f32>,
}

/// Side of the window a position sees: more than its own cell, as a real encoder's does.
const WINDOW: usize = 2 * CELL;

impl ToyEncoder {
    pub(crate) fn new() -> Self {
        let mut rng = stream(7, Purpose::Weights, 0, 0);
        let count = CHANNELS * WINDOW * WINDOW * 3;
        Self { weights: (0..count).map(|_| rng.random_range(-0.3..0.3)).collect() }
    }
}

impl ToyEncoder {
    /// The first `channels` of each cell of a `grid` x `grid` grid.
    fn project(&self, rgb: &[u8], grid: usize, channels: usize, out: &mut [f32]) {
        let cell = INPUT / grid;
        for (t, features) in out.chunks_exact_mut(channels).enumerate() {
            let (cy, cx) = ((t / grid * cell) as isize, (t % grid * cell) as isize);
            let mut window = Vec::with_capacity(WINDOW * WINDOW * 3);
            for y in 0..WINDOW as isize {
                for x in 0..WINDOW as isize {
                    let y = (cy + y - (CELL / 2) as isize).clamp(0, INPUT as isize - 1) as usize;
                    let x = (cx + x - (CELL / 2) as isize).clamp(0, INPUT as isize - 1) as usize;
                    let at = (y * INPUT + x) * 3;
                    window.extend(rgb[at..at + 3].iter().map(|&v| f32::from(v) / 127.5 - 1.0));
                }
            }
            for (f, w) in features.iter_mut().zip(self.weights.chunks_exact(window.len())) {
                *f = w.iter().zip(&window).map(|(w, v)| w * v).sum::<f32>().tanh();
            }
        }
    }
}

impl Encode for ToyEncoder {
    fn encode(&self, rgb: &[u8], out: &mut [f32]) -> Result<(), EncoderError> {
        self.project(rgb, GRID, CHANNELS, out);
        Ok(())
    }

    /// The memory that looks closer sees the first tap, twice as fine.
    fn encode_fine(&self, memory: usize, rgb: &[u8], out: &mut [f32]) -> Result<(), EncoderError> {
        assert_eq!(memory, 1);
        self.project(rgb, 2 * GRID, CHANNELS / 2, out);
        Ok(())
    }
}

pub(crate) fn settings() -> Settings {
    let tap = |name: &str, channels, stride| Tap { name: name.into(), channels, stride };
    let arch = Architecture {
        input: INPUT,
        taps: vec![tap("f4", 12, 4), tap("f8", 12, 8)],
        grid: GRID,
        groups: vec![
            Group { taps: vec![0], after_block: 2 },
            Group { taps: vec![1], after_block: 1 },
        ],
        bottleneck: 48,
        width: 32,
        heads: 2,
        mlp_ratio: 2,
        depth: 2,
        memories: vec![
            Memory { taps: vec![0, 1], scale: 1, window: 3, prototypes: 64, weight: 0.5 },
            Memory { taps: vec![0], scale: 2, window: 3, prototypes: 32, weight: 0.25 },
        ],
        head: HeadShape::Slim([16, 8]),
        map: INPUT,
        ..edge()
    };
    let tiny = Preset::Tiny.settings();
    Settings {
        arch,
        batch: Stage1Batch { pairs: 4, share: 2, tokens: 128, ..tiny.batch },
        variants: 3,
        head_batch: Stage2Batch { pictures: 4, ..tiny.head_batch },
        tap_weights: vec![1.0, 1.0],
        ..tiny
    }
}

/// Two products: vertical and horizontal stripes with varying phase and brightness.
pub(crate) fn pictures(count: usize, seed: u64) -> Vec<Picture> {
    (0..count)
        .map(|i| {
            let class = i % 2;
            let mut rng = stream(seed, Purpose::Textures, i as u64, 0);
            let (phase, light): (f32, f32) = (rng.random(), rng.random_range(0.8..1.0));
            let pixel = |p: usize| {
                let along = if class == 0 { p % INPUT } else { p / INPUT } as f32;
                let wave = ((along / 16.0 + phase) * TAU).sin() * 0.5 + 0.5;
                let value = light * (40.0 + 150.0 * wave);
                [value as u8, (value * 0.9) as u8, (value * 0.7) as u8]
            };
            Picture { class, rgb: (0..INPUT * INPUT).flat_map(pixel).collect() }
        })
        .collect()
}

pub(crate) fn material<'a>(
    settings: &Settings,
    pictures: Vec<Picture>,
    encoder: &'a ToyEncoder,
    workers: &Workers,
) -> Material<'a> {
    let synthesizer = Synthesizer::new(Textures::procedural(3, INPUT, 20), INPUT);
    Material::new(&settings.arch, pictures, synthesizer, encoder, 5, workers)
}

/// Trains on toy material; `stop` is asked after each iteration. A checkpoint that exists is
/// resumed, as `fit` does.
pub(crate) fn train(
    settings: &Settings,
    iterations: usize,
    threads: usize,
    checkpoint: Option<&Checkpoint>,
    stop: &(dyn Fn() -> bool + Sync),
) -> Outcome {
    let workers = Workers::new(threads).unwrap();
    let encoder = ToyEncoder::new();
    let material = material(settings, pictures(12, 1), &encoder, &workers);
    let resumed = checkpoint.and_then(|c| c.load("toy").unwrap());
    let round = resumed.as_ref().map_or(0, |s| s.counters.round);
    let mut cache =
        Cache::fill(&material, settings.variants, round, &workers, &|_| true).unwrap().unwrap();
    let counters = Counters { fingerprint: "toy".into(), ..Counters::default() };
    Run {
        settings,
        material: &material,
        workers: &workers,
        device: &Compute::Cpu.device().unwrap(),
        progress: &Progress::silent(),
        checkpoint,
        stop,
        length: Length::Iterations(iterations),
        started: Instant::now(),
    }
    .train(&mut cache, resumed, State { counters, ..State::default() })
    .unwrap()
}

pub(crate) fn finished(outcome: Outcome) -> State {
    match outcome {
        Outcome::Finished(state) => *state,
        Outcome::Interrupted => panic!("nobody stopped the run"),
    }
}

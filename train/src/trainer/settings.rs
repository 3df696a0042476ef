//! Presets and the settings of a run.

use serde::Serialize;

use super::stage1::{Mining, Stage1Batch};
use super::stage2::{CLEAN_SHARE, JudgedAt, Stage2Batch};
use crate::arch::{self, Architecture, HeadShape};
use crate::synth::Mix;

/// Decoder iterations of the published model.
const PAPER_ITERATIONS: usize = 10_000;

/// A preset: how large the model is and how long it trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Preset {
    /// For small defects: 384 px, about 55 minutes on two cores.
    Accurate,
    /// The default: all four taps, three blocks, about 22 minutes on two cores.
    Edge,
    /// The published model on DINOv2 ViT-S: 10 000 iterations, meant for a GPU or patience.
    PaperS,
    /// The published model on DINOv2 ViT-B.
    PaperB,
    /// The published model on DINOv2 ViT-L.
    PaperL,
    /// For tests and first tries: three taps, two narrow blocks, about two and a half minutes.
    Tiny,
}

impl Preset {
    /// Name as on the command line and in the manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Preset::Accurate => "accurate",
            Preset::Edge => "edge",
            Preset::PaperS => "paper-s",
            Preset::PaperB => "paper-b",
            Preset::PaperL => "paper-l",
            Preset::Tiny => "tiny",
        }
    }

    /// Time budget in minutes when the user gives none.
    pub fn minutes(self) -> f64 {
        match self {
            Preset::Accurate => 55.0,
            Preset::Edge => 22.0,
            // Counted in iterations: this only bounds a run that is given no number of them.
            Preset::PaperS | Preset::PaperB | Preset::PaperL => 7.0 * 24.0 * 60.0,
            Preset::Tiny => 2.5,
        }
    }

    /// Decoder iterations when the user gives neither these nor a time budget.
    pub fn iterations(self) -> Option<usize> {
        match self {
            Preset::PaperS | Preset::PaperB | Preset::PaperL => Some(PAPER_ITERATIONS),
            Preset::Accurate | Preset::Edge | Preset::Tiny => None,
        }
    }

    /// The settings of this preset.
    pub fn settings(self) -> Settings {
        match self {
            Preset::Accurate => Settings::accurate(),
            Preset::Edge => Settings::edge(),
            Preset::PaperS => Settings::paper(arch::paper_s()),
            Preset::PaperB => Settings::paper(arch::paper_b()),
            Preset::PaperL => Settings::paper(arch::paper_l()),
            Preset::Tiny => Settings::tiny(),
        }
    }
}

/// A part of the method that can be left out, to measure what it brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Repair of damaged features: the decoder then learns from clean pictures only.
    Repair,
    /// The random mask on the decoder's input.
    Mask,
    /// The segmentation head: the map is then the distance map.
    Head,
    /// The memories of normal surroundings.
    Memory,
}

impl Part {
    /// Name as on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Part::Repair => "repair",
            Part::Mask => "mask",
            Part::Head => "head",
            Part::Memory => "memory",
        }
    }
}

/// A segmentation head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum HeadChoice {
    /// Four convolutions, of the preset's widths.
    Slim,
    /// The published one: 70 million parameters on ViT-B, five times the work of all else.
    Parity,
}

/// Which kinds of synthetic damage are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum MixChoice {
    /// Half as published, half scratches, spots and other damage that production lines show.
    Standard,
    /// As published: areas of Perlin noise, painted with textures or with the picture itself.
    Perlin,
}

impl MixChoice {
    /// Name as on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            MixChoice::Standard => "standard",
            MixChoice::Perlin => "perlin",
        }
    }

    /// How often each kind is drawn.
    pub fn mix(self) -> Mix {
        match self {
            MixChoice::Standard => Mix::standard(),
            MixChoice::Perlin => Mix::perlin(),
        }
    }
}

/// What moves the head's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadOptimiser {
    /// As the decoder: StableAdamW, the gradient's norm limited, a rate that rises and falls.
    StableAdamW,
    /// As published: Adam at the peak rate throughout.
    Adam,
}

/// What shapes a run, apart from data, seed and time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Settings {
    /// Shape of the model.
    pub arch: Architecture,
    /// Make-up of a stage 1 batch.
    pub batch: Stage1Batch,
    /// Kinds of synthetic damage.
    pub mix: MixChoice,
    /// Damaged variants kept of each picture.
    pub variants: usize,
    /// Variants replaced in each stage 1 iteration.
    pub refresh: usize,
    /// Most stage 1 iterations: beyond, a model of this size gains nothing.
    pub iterations_max: usize,
    /// Make-up of a stage 2 batch.
    pub head_batch: Stage2Batch,
    /// What moves the head's weights.
    pub head_optimiser: HeadOptimiser,
    /// Stage 2 iterations for each stage 1 iteration.
    pub head_share: f64,
    /// Factor on the standardised features of each tap: how much it weighs in the distances.
    pub tap_weights: Vec<f32>,
    /// Peak learning rate of the decoder; it falls to a tenth.
    pub decoder_rate: f64,
    /// Peak learning rate of the head.
    pub head_rate: f64,
    /// Share of a stage over which the learning rate rises.
    pub warm_up: f64,
    /// Limit of the gradient's norm in stage 1.
    pub gradient_norm_max: f64,
    /// Share of positions that end up easy.
    pub easy_share: f64,
}

impl Settings {
    /// The same without a part of the method.
    pub fn without(mut self, part: Part) -> Self {
        match part {
            Part::Repair => self.batch.repair = false,
            Part::Mask => self.arch.mask_probability = 0.0,
            Part::Head => (self.arch.distance_weight, self.head_share) = (1.0, 0.0),
            Part::Memory => self.arch.memories.clear(),
        }
        self
    }

    /// The same with this head.
    pub fn with_head(mut self, head: HeadChoice) -> Self {
        match head {
            HeadChoice::Slim => {}
            HeadChoice::Parity => self.arch.head = HeadShape::Parity,
        }
        self
    }

    fn edge() -> Self {
        Self {
            arch: arch::edge(),
            batch: Stage1Batch {
                pairs: 8,
                share: 2,
                tokens: 256,
                repair: true,
                mining: Mining::Share,
            },
            mix: MixChoice::Standard,
            variants: 2,
            refresh: 1,
            iterations_max: 20_000,
            head_batch: Stage2Batch {
                pictures: 8,
                clean_share: CLEAN_SHARE,
                judged_at: JudgedAt::Input,
            },
            head_optimiser: HeadOptimiser::StableAdamW,
            head_share: 0.4,
            tap_weights: vec![1.0; 4],
            decoder_rate: 2e-3,
            head_rate: 1e-3,
            warm_up: crate::schedule::WARM_UP,
            gradient_norm_max: 0.1,
            easy_share: crate::schedule::EASY_SHARE,
        }
    }

    fn accurate() -> Self {
        let edge = Self::edge();
        let batch = Stage1Batch { tokens: 384, ..edge.batch };
        Self { arch: arch::accurate(), batch, head_share: 0.25, ..edge }
    }

    /// As published, up to 15 classes: batches of 16, 10 000 and 8000 iterations. What is not as
    /// published: docs/training.md.
    pub fn paper(arch: Architecture) -> Self {
        let edge = Self::edge();
        Self {
            batch: Stage1Batch {
                pairs: 16,
                share: 1,
                tokens: arch.tokens(),
                repair: true,
                mining: Mining::Batch,
            },
            mix: MixChoice::Perlin,
            iterations_max: PAPER_ITERATIONS,
            head_batch: Stage2Batch {
                clean_share: 0.0,
                judged_at: JudgedAt::Map,
                ..edge.head_batch
            },
            head_optimiser: HeadOptimiser::Adam,
            head_share: 0.8,
            tap_weights: vec![1.0; arch.taps.len()],
            head_rate: 1e-4,
            warm_up: 0.01,
            arch,
            ..edge
        }
    }

    fn tiny() -> Self {
        Self {
            arch: arch::tiny(),
            variants: 1,
            iterations_max: 1_500,
            tap_weights: vec![1.0; 3],
            ..Self::edge()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_can_be_left_out_alone() {
        let whole = Settings::edge();
        assert!(whole.batch.repair && whole.arch.memories.len() == 2 && whole.head_share > 0.0);
        assert!(!whole.clone().without(Part::Repair).batch.repair);
        assert_eq!(whole.clone().without(Part::Mask).arch.mask_probability, 0.0);
        assert_eq!(whole.clone().without(Part::Memory).arch.memories, []);
        let headless = whole.clone().without(Part::Head);
        assert_eq!((headless.head_share, headless.arch.distance_weight), (0.0, 1.0));
        assert_eq!(headless.arch.memories, whole.arch.memories);
    }

    #[test]
    fn the_published_presets_train_as_published_and_no_other_preset_does() {
        for preset in <Preset as clap::ValueEnum>::value_variants() {
            let s = preset.settings();
            let Stage2Batch { pictures, clean_share, judged_at } = s.head_batch;
            let stage1 = (s.mix, s.batch.mining, s.decoder_rate, s.gradient_norm_max);
            let stage2 = (s.head_optimiser, s.head_rate, pictures, clean_share, judged_at);
            match preset.as_str().starts_with("paper") {
                true => {
                    assert_eq!(stage1, (MixChoice::Perlin, Mining::Batch, 2e-3, 0.1), "{preset:?}");
                    let published = (HeadOptimiser::Adam, 1e-4, 8, 0.0, JudgedAt::Map);
                    assert_eq!(stage2, published, "{preset:?}");
                    // A hundred iterations of ten thousand, and eight thousand for the head.
                    let counts = (s.batch.pairs, s.iterations_max, s.warm_up, s.head_share);
                    assert_eq!(counts, (16, 10_000, 0.01, 0.8), "{preset:?}");
                }
                false => {
                    assert_eq!(stage1, (MixChoice::Standard, Mining::Share, 2e-3, 0.1));
                    let own = (HeadOptimiser::StableAdamW, 1e-3, 8, 0.35, JudgedAt::Input);
                    assert_eq!(stage2, own, "{preset:?}");
                }
            }
        }
        assert_eq!(MixChoice::Perlin.mix(), Mix::perlin());
        assert_eq!(MixChoice::Standard.mix(), Mix::standard());
    }

    #[test]
    fn every_preset_can_have_either_head() {
        for preset in <Preset as clap::ValueEnum>::value_variants() {
            let settings = preset.settings();
            assert!(matches!(settings.arch.head, HeadShape::Slim(_)));
            assert_eq!(settings.clone().with_head(HeadChoice::Slim), settings);
            let parity = settings.with_head(HeadChoice::Parity).arch;
            assert_eq!(parity.head, HeadShape::Parity);
            crate::export::check_architecture(&parity).unwrap();
        }
    }
}

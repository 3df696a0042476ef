//! How much memory a run needs and how much there is: told before it begins, because the kernel
//! ends a program that takes too much without a word.

use std::path::Path;

use crate::arch::{Architecture, HeadShape};
use crate::dataset::{GLANCE_PX, Image};
use crate::export::expected_weights;

const GIB: f64 = (1u64 << 30) as f64;
/// The program, textures, a picture's way through the encoder on each of a few threads, the slim
/// head's steps, the report.
const BASE_BYTES: u64 = 300 << 20;
/// Copies of the encoder's file while it is used: its weights and the graph that is run.
const ENCODER_COPIES: u64 = 4;
/// Copies of encoder and trained weights while the bundle is made: the graph in both precisions and
/// as bytes, read back, prepared and run.
const EXPORT_COPIES: u64 = 6;
/// Values that a token keeps for the backward pass, in multiples of the decoder's width, for each
/// block. At the size of ViT-S a second pair in a share took 550 MB, and 830 MB are told.
const KEPT_PER_BLOCK: u64 = 40;
/// Values that the parity head keeps for the backward pass, in multiples of its convolutions'
/// outputs: measured at the size of ViT-S by an ignored test of the trainer.
const KEPT_PER_OUTPUT: u64 = 3;
/// Copies of the head's weights in a step: on the device, its gradient and what the backward pass
/// makes on the way to it (together 4, measured with the parity head), and the sum.
const HEAD_COPIES: u64 = 5;
/// What the optimiser keeps of each value.
const MOMENTS: u64 = 3;
/// Gradients of the decoder for each worker: one that is being made, one that waits for its turn to
/// be added.
const GRADIENTS: u64 = 2;
/// Share of what is free that a run may take: others need some, too.
const SHARE: f64 = 0.9;

/// Memory that this process may still take, in bytes: what the machine has free, or the control
/// group (container, service) if that is less. `None` where it cannot be told.
pub fn free_bytes() -> Option<u64> {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let machine = read(Path::new("/proc/meminfo")).and_then(|text| meminfo(&text));
    let own = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let group = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/").to_owned();
    let root = Path::new("/sys/fs/cgroup");
    let groups =
        Path::new(&group).ancestors().map(|dir| root.join(dir.strip_prefix("/").unwrap_or(dir)));
    let limits = groups.filter_map(|dir| {
        let file = |name: &str| read(&dir.join(name)).unwrap_or_default();
        cgroup(&file("memory.max"), &file("memory.current"), &file("memory.stat"))
    });
    machine.into_iter().chain(limits).min()
}

/// `MemAvailable` of /proc/meminfo.
fn meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kb| kb * 1024)
}

/// What a control group may still take; files in its cache give way. `None` without a limit.
fn cgroup(max: &str, current: &str, stat: &str) -> Option<u64> {
    let max: u64 = max.trim().parse().ok()?;
    let current: u64 = current.trim().parse().ok()?;
    let cached = stat.lines().find_map(|line| line.strip_prefix("inactive_file "));
    let cached: u64 = cached.and_then(|v| v.trim().parse().ok()).unwrap_or(0);
    Some(max.saturating_sub(current.saturating_sub(cached)))
}

/// What a run keeps in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Good pictures that are decoded, those that are held out included.
    pub decoded: usize,
    /// Good pictures that are trained on.
    pub pictures: usize,
    /// Damaged variants of each.
    pub variants: usize,
    /// Worker threads.
    pub workers: usize,
}

/// What is trained on at a time, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batches {
    /// Pairs of pictures that a worker takes in stage 1.
    pub share: usize,
    /// Places of each picture.
    pub tokens: usize,
    /// Pictures in a stage 2 batch.
    pub head_pictures: usize,
    /// Steps take the memory of a GPU, not this machine's.
    pub is_on_gpu: bool,
    /// Size of the encoder's file.
    pub encoder_bytes: u64,
}

impl Batches {
    fn head_on_host(&self, arch: &Architecture) -> u64 {
        if self.is_on_gpu { 0 } else { head_bytes(arch, self.head_pictures) }
    }
}

/// Trained values of the decoder (with memories and statistics) and of the head.
pub fn trained_values(arch: &Architecture) -> [u64; 2] {
    let count = |(_, shape): &(String, Vec<usize>)| shape.iter().product::<usize>() as u64;
    let head = arch.head_weights().iter().map(count).sum::<u64>();
    [expected_weights(arch).iter().map(count).sum::<u64>() - head, head]
}

/// Bytes that `pairs` pairs of a stage 1 batch take for the backward pass, weights apart. An estimate.
pub fn share_bytes(arch: &Architecture, pairs: usize, tokens: usize) -> u64 {
    let n = |v: usize| v as u64;
    let rows = 2 * n(pairs) * n(tokens + arch.extra_tokens());
    let block = KEPT_PER_BLOCK * n(arch.width) * n(arch.depth);
    let ends = 4 * n(arch.channels()) + 4 * n(arch.bottleneck);
    4 * rows * (block + ends)
}

/// Bytes that a batch of `pictures` takes in the parity head, its weights apart; 0 with the slim
/// head, whose share is in the base. An estimate.
pub fn head_bytes(arch: &Architecture, pictures: usize) -> u64 {
    if arch.head != HeadShape::Parity {
        return 0;
    }
    let outputs =
        arch.parity_convs().iter().map(|c| (c.output * c.side * c.side) as u64).sum::<u64>();
    4 * KEPT_PER_OUTPUT * outputs * pictures as u64
}

impl Need {
    /// Bytes for a model of this shape. An estimate: with 16 pictures, runs of `edge` and `accurate`
    /// with two threads took 424 and 609 MB at most where 641 and 784 are told, and one of
    /// `paper-s` with one thread 1309 MB, without its end, where 1962 are told (thousands of kB).
    pub fn bytes(&self, arch: &Architecture, batches: Batches) -> u64 {
        BASE_BYTES
            + ENCODER_COPIES * batches.encoder_bytes
            + self.pictures_bytes(arch)
            + self.model_bytes(arch, batches)
    }

    /// Pictures and features: there all the time.
    fn pictures_bytes(&self, arch: &Architecture) -> u64 {
        let n = |v: usize| v as u64;
        let pixels = n(arch.input * arch.input);
        let (rgb, features) = (3 * pixels, 2 * n(arch.features()));
        let decoded = rgb + size_of::<Image>() as u64 + n(GLANCE_PX * GLANCE_PX);
        // What is trained on is copied, with a foreground.
        let picture = rgb + pixels + features + n(self.variants) * (features + pixels);
        n(self.decoded) * decoded + n(self.pictures) * picture
    }

    /// The weights and what is done with them, at most: steps of either stage, a checkpoint, the
    /// bundle.
    fn model_bytes(&self, arch: &Architecture, batches: Batches) -> u64 {
        let [decoder, head] = trained_values(arch);
        let (weights, workers) = (decoder + head, self.workers as u64);
        let on_host = |bytes: u64| if batches.is_on_gpu { 0 } else { bytes };
        let shared = 4 * (weights + (MOMENTS + 1) * decoder + on_host(decoder));
        let activations = on_host(share_bytes(arch, batches.share, batches.tokens));
        let stage1 = shared + workers * (4 * GRADIENTS * decoder + activations);
        let slim = if arch.head == HeadShape::Parity { 1 } else { GRADIENTS * workers };
        let stage2 = 4 * (weights + MOMENTS * head + on_host(weights + HEAD_COPIES * head * slim))
            + batches.head_on_host(arch);
        let state = weights + MOMENTS * decoder.max(head);
        let checkpoint = 4 * 2 * state;
        let export =
            4 * (weights + MOMENTS * head) + EXPORT_COPIES * (batches.encoder_bytes + 4 * weights);
        stage1.max(stage2).max(checkpoint).max(export)
    }
}

/// What a run is cut down to so that it fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fit {
    /// What it may take.
    pub need: Need,
    /// What was cut, as a sentence; `None` when nothing was.
    pub cut: Option<String>,
}

/// Cuts a run down to `free` bytes: first the variants of each picture, then the workers, which
/// costs variety and time, never pictures.
///
/// # Errors
/// A sentence when it does not fit even so.
pub fn fit(arch: &Architecture, batches: Batches, wanted: Need, free: u64) -> Result<Fit, String> {
    let room = (free as f64 * SHARE) as u64;
    let gib = |bytes: u64| bytes as f64 / GIB;
    let mut need = wanted;
    while need.bytes(arch, batches) > room && need.variants > 1 {
        need.variants -= 1;
    }
    while need.bytes(arch, batches) > room && need.workers > 1 {
        need.workers -= 1;
    }
    let (asked, least) = (wanted.bytes(arch, batches), need.bytes(arch, batches));
    if least > room {
        return Err(format!(
            "training with {} pictures, each tile counted, takes about {:.1} GiB of memory at the \
             least, and {:.1} GiB are free: use fewer pictures or tiles, a smaller preset{}, or end \
             other programs",
            need.decoded,
            gib(least),
            gib(free),
            match batches.head_on_host(arch) {
                0 => String::new(),
                head =>
                    format!(", the slim head (the parity head takes {:.1} GiB of it)", gib(head)),
            }
        ));
    }
    let cut = (need != wanted).then(|| {
        format!(
            "{:.1} GiB of memory are free and {:.1} GiB were wanted: going on with {} instead of {} \
             damaged variants of each picture and {} instead of {} threads",
            gib(free),
            gib(asked),
            need.variants,
            wanted.variants,
            need.workers,
            wanted.workers
        )
    });
    Ok(Fit { need, cut })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch;
    use crate::features::{Purpose, stream};
    use crate::model::init_decoder;

    const BATCHES: Batches = Batches {
        share: 2,
        tokens: 256,
        head_pictures: 8,
        is_on_gpu: false,
        encoder_bytes: 20 << 20,
    };

    #[test]
    fn what_is_free_is_read_from_the_machine_and_the_control_group() {
        let text = "MemTotal:  8000000 kB\nMemAvailable:    5000 kB\nBuffers: 1 kB\n";
        assert_eq!(meminfo(text), Some(5_120_000));
        assert_eq!(meminfo("MemTotal: 1 kB"), None);
        assert_eq!(cgroup("1000\n", "700\n", "anon 5\ninactive_file 200\n"), Some(500));
        assert_eq!(cgroup("1000", "1200", ""), Some(0));
        assert_eq!(cgroup("max\n", "700\n", ""), None);
        assert!(free_bytes().is_some_and(|free| free > 1 << 20));
    }

    #[test]
    fn a_run_is_cut_down_step_by_step_and_refused_when_that_is_not_enough() {
        let arch = arch::edge();
        let wanted = Need { decoded: 1020, pictures: 1000, variants: 2, workers: 8 };
        let at = |need: Need| (need.bytes(&arch, BATCHES) as f64 / SHARE) as u64 + 8;
        let fit = |free| fit(&arch, BATCHES, wanted, free);
        assert_eq!(fit(at(wanted)).unwrap(), Fit { need: wanted, cut: None });
        let fewer = Need { variants: 1, ..wanted };
        let found = fit(at(fewer)).unwrap();
        assert_eq!(found.need, fewer);
        assert!(found.cut.unwrap().contains("1 instead of 2 damaged variants"));
        let alone = Need { workers: 1, ..fewer };
        let found = fit(at(alone)).unwrap();
        assert_eq!(found.need, alone);
        assert!(found.cut.unwrap().contains("1 instead of 8 threads"));
        let why = fit(at(alone) / 2).unwrap_err();
        assert!(why.contains("1020 pictures") && why.contains("fewer pictures"), "{why}");
    }

    #[test]
    fn what_a_model_holds_is_counted_as_often_as_it_is_held() {
        let state = |head| 4 * (decoder() + head) + 4 * 3 * decoder();
        let arch = arch::paper_b();
        fn decoder() -> u64 {
            let mut rng = stream(1, Purpose::Weights, 0, 0);
            let made = init_decoder(&arch::paper_b(), &mut rng);
            made.values().map(|t| t.values.len() as u64).sum()
        }
        let [told, head] = trained_values(&arch);
        // The statistics of the taps are no part of what is drawn.
        assert_eq!(told, decoder() + 2 * arch.channels() as u64);
        let nothing = Need { decoded: 0, pictures: 0, variants: 1, workers: 0 };
        let all = |need: Need, batches| need.bytes(&arch, batches);
        let one = Need { workers: 1, ..nothing };
        let each = all(Need { workers: 9, ..nothing }, BATCHES)
            - all(Need { workers: 8, ..nothing }, BATCHES);
        assert!(each >= 4 * 2 * decoder() + share_bytes(&arch, BATCHES.share, BATCHES.tokens));
        assert!(all(one, BATCHES) >= BASE_BYTES + 20 * (1 << 20) + 2 * state(head), "a checkpoint");
        let large = Batches { encoder_bytes: 350 << 20, ..BATCHES };
        assert!(all(one, large) - all(one, BATCHES) >= 330 << 20, "the encoder");
        let picture = Need { decoded: 1, pictures: 1, ..one };
        let pixels = 392 * 392;
        let held = 2 * 3 * pixels + 2 * pixels + 2 * 2 * arch.features() as u64;
        assert!(all(picture, BATCHES) - all(one, BATCHES) >= held, "a picture and its variant");
    }

    #[test]
    fn the_parity_head_of_the_published_model_is_refused_where_it_does_not_fit() {
        let arch = arch::Architecture { head: HeadShape::Parity, ..arch::paper_b() };
        let wanted = Need { decoded: 100, pictures: 100, variants: 2, workers: 1 };
        let free = 8 << 30;
        let why = fit(&arch, BATCHES, wanted, free).unwrap_err();
        assert!(why.contains("the slim head"), "{why}");
        let on_gpu = Batches { is_on_gpu: true, ..BATCHES };
        assert_eq!(fit(&arch, on_gpu, wanted, free).unwrap().need, wanted);
        assert_eq!(head_bytes(&arch::paper_b(), 8), 0, "the slim head");
    }
}

//! How much memory a run needs and how much there is: told before it begins, because the kernel
//! ends a program that takes too much without a word.

use std::path::Path;

use crate::arch::{Architecture, HeadShape};

const GIB: f64 = (1u64 << 30) as f64;
/// The program, the encoder with its working memory, textures, weights with the optimiser's state
/// and a checkpoint being written.
const BASE_BYTES: u64 = 500 << 20;
/// Values that a token keeps for the backward pass, in multiples of the decoder's width, for each
/// block; an estimate that was not compared with a run yet.
const KEPT_PER_BLOCK: u64 = 40;
/// Values that the parity head keeps for the backward pass, in multiples of its convolutions'
/// outputs: measured at the size of ViT-S by an ignored test of the trainer.
const KEPT_PER_OUTPUT: u64 = 3;
/// Copies of a weight of the parity head: on the host, on the device, its gradient and what the
/// backward pass makes on the way to it (together 5, measured), the optimiser's three.
const COPIES: u64 = 8;
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
    /// Good pictures that are trained on.
    pub pictures: usize,
    /// Damaged variants of each.
    pub variants: usize,
    /// Worker threads.
    pub workers: usize,
}

/// What is trained on at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batches {
    /// Pairs of pictures that a worker takes in stage 1.
    pub share: usize,
    /// Places of each picture.
    pub tokens: usize,
    /// Pictures that go through the parity head together in this machine's memory; 0 on a GPU.
    pub head_pictures: usize,
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

/// Bytes of the parity head's weights and what the optimiser keeps of them.
fn head_state_bytes(arch: &Architecture) -> u64 {
    if arch.head != HeadShape::Parity {
        return 0;
    }
    let count = |(_, shape): &(String, Vec<usize>)| shape.iter().product::<usize>() as u64;
    4 * COPIES * arch.head_weights().iter().map(count).sum::<u64>()
}

impl Need {
    /// Bytes for a model of this shape. An estimate.
    pub fn bytes(&self, arch: &Architecture, batches: Batches) -> u64 {
        let n = |v: usize| v as u64;
        let rgb = n(arch.input * arch.input) * 3;
        let features = n(arch.features()) * 2;
        let mask = n(arch.input * arch.input);
        // Decoded once for the data set, once for what is trained on.
        let picture = 2 * rgb + features + n(self.variants) * (features + mask);
        let rows = 2 * n(batches.share) * n(batches.tokens);
        let block = KEPT_PER_BLOCK * n(arch.width) * n(arch.depth);
        let ends = 4 * n(arch.channels()) + 4 * n(arch.bottleneck);
        let worker = 4 * rows * (block + ends);
        // The head is trained when the decoder is done.
        let steps = (n(self.workers) * worker).max(head_bytes(arch, batches.head_pictures));
        BASE_BYTES + head_state_bytes(arch) + n(self.pictures) * picture + steps
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
            "training on {} pictures, each tile counted, takes about {:.1} GiB of memory at the \
             least, and {:.1} GiB are free: use fewer pictures or tiles, a smaller preset{}, or end \
             other programs",
            need.pictures,
            gib(least),
            gib(free),
            match head_bytes(arch, batches.head_pictures) {
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

    const BATCHES: Batches = Batches { share: 2, tokens: 256, head_pictures: 8 };

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
        let wanted = Need { pictures: 1000, variants: 2, workers: 8 };
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
        assert!(why.contains("1000 pictures") && why.contains("fewer pictures"), "{why}");
    }

    #[test]
    fn the_parity_head_of_the_published_model_is_refused_where_it_does_not_fit() {
        let arch = arch::Architecture { head: HeadShape::Parity, ..arch::paper_b() };
        let wanted = Need { pictures: 100, variants: 2, workers: 1 };
        let free = 8 << 30;
        let why = fit(&arch, BATCHES, wanted, free).unwrap_err();
        assert!(why.contains("the slim head"), "{why}");
        let on_gpu = Batches { head_pictures: 0, ..BATCHES };
        assert_eq!(fit(&arch, on_gpu, wanted, free).unwrap().need, wanted);
        assert_eq!(head_bytes(&arch::paper_b(), 8), 0, "the slim head");
    }
}

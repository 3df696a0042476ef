//! `crrd render-parts`: writes a data set of rendered parts in the MVTec layout, by which the
//! demonstration's model is trained, evaluated and calibrated.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, anyhow, bail, ensure};
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use indicatif::{ProgressBar, ProgressStyle};

use crate::demo::{Defect, Product, Purpose, SIDE_PX_DEFAULT, SIDE_PX_MIN, part_seed, render};
use crate::sys::fs;

/// Largest picture side: beyond, rendering takes seconds a part and shows nothing new.
const SIDE_PX_MAX: usize = 2048;

/// Writes a data set of rendered parts: CLASS/train/good, CLASS/calibration/good, CLASS/test/good,
/// CLASS/test/DEFECT and CLASS/ground_truth/DEFECT.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Folder to write; it must not exist or be empty.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Good parts per class to train on.
    #[arg(long, value_name = "N", default_value_t = 160)]
    pub train: usize,
    /// Good parts per class to calibrate on.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub calibration: usize,
    /// Good parts per class to test on.
    #[arg(long, value_name = "N", default_value_t = 40)]
    pub good: usize,
    /// Defective parts per class to test on, spread evenly over the kinds of defects.
    #[arg(long, value_name = "N", default_value_t = 56)]
    pub bad: usize,
    /// The same seed gives the same parts.
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
    /// Side of the square pictures in pixels.
    #[arg(long, value_name = "PX", default_value_t = SIDE_PX_DEFAULT)]
    pub size: usize,
}

/// One part to render and the files to write it to.
struct Job {
    product: Product,
    defect: Option<Defect>,
    seed: u64,
    picture: PathBuf,
    mask: Option<PathBuf>,
}

/// Renders and writes all parts.
///
/// # Errors
/// When the folder is not empty or cannot be written, or the size is out of range.
pub fn run(args: &Args) -> Result<ExitCode> {
    ensure!(
        (SIDE_PX_MIN..=SIDE_PX_MAX).contains(&args.size),
        "--size {}: choose {SIDE_PX_MIN} to {SIDE_PX_MAX} pixels",
        args.size
    );
    fs::ensure_dir(&args.out)?;
    let mut entries =
        std::fs::read_dir(&args.out).with_context(|| args.out.display().to_string())?;
    if entries.next().is_some() {
        bail!("{} is not empty: choose another folder or empty this one", args.out.display());
    }
    let jobs = jobs(args);
    let folders: std::collections::BTreeSet<&Path> = jobs
        .iter()
        .flat_map(|j| [Some(&j.picture), j.mask.as_ref()])
        .flatten()
        .filter_map(|f| f.parent())
        .collect();
    for folder in folders {
        fs::ensure_dir(folder)?;
    }
    write_all(&jobs, args.size)?;
    println!("{} parts of {} classes in {}", jobs.len(), Product::ALL.len(), args.out.display());
    Ok(ExitCode::SUCCESS)
}

fn jobs(args: &Args) -> Vec<Job> {
    let mut jobs = Vec::new();
    for product in Product::ALL {
        let class = args.out.join(product.name());
        let good = [
            ("train", Purpose::Training, args.train),
            ("calibration", Purpose::Calibration, args.calibration),
            ("test", Purpose::TestGood, args.good),
        ];
        for (split, purpose, count) in good {
            for index in 0..count {
                jobs.push(Job {
                    product,
                    defect: None,
                    seed: part_seed(args.seed, purpose, index as u64),
                    picture: class.join(split).join("good").join(format!("{index:04}.png")),
                    mask: None,
                });
            }
        }
        for index in 0..args.bad {
            let defect = Defect::ALL[index % Defect::ALL.len()];
            let name = format!("{:04}", index / Defect::ALL.len());
            let truth = class.join("ground_truth").join(defect.name());
            jobs.push(Job {
                product,
                defect: Some(defect),
                seed: part_seed(args.seed, Purpose::TestBad, index as u64),
                picture: class.join("test").join(defect.name()).join(format!("{name}.png")),
                mask: Some(truth.join(format!("{name}_mask.png"))),
            });
        }
    }
    jobs
}

/// Renders on every core; the files do not depend on which thread writes them.
fn write_all(jobs: &[Job], size: usize) -> Result<()> {
    let style = ProgressStyle::with_template("rendering {bar:30} {pos}/{len} {per_sec} {eta}");
    // A template is a constant; a mistake in it only costs the looks.
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(jobs.len() as u64).with_style(style);
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let written = write(job, size);
            if written.is_err() {
                // Nobody starts another part; those under way are finished.
                next.fetch_add(jobs.len(), Ordering::Relaxed);
            }
            written?;
            bar.inc(1);
        }
        Ok(())
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    std::thread::scope(|scope| {
        let mut handles = Vec::new();
        for i in 0..threads {
            let builder = std::thread::Builder::new().name(format!("crrd-render-{i}"));
            handles.push(builder.spawn_scoped(scope, work).context("cannot start a thread")?);
        }
        for handle in handles {
            handle.join().map_err(|_| anyhow!("a rendering thread panicked"))??;
        }
        Ok(())
    })
}

fn write(job: &Job, size: usize) -> Result<()> {
    let part = render(job.product, job.defect, job.seed, size);
    write_png(&job.picture, &part.rgb, size, ExtendedColorType::Rgb8)?;
    if let Some(mask) = &job.mask {
        let levels: Vec<u8> = part.mask.iter().map(|m| m * 255).collect();
        write_png(mask, &levels, size, ExtendedColorType::L8)?;
    }
    Ok(())
}

fn write_png(path: &Path, pixels: &[u8], size: usize, colour: ExtendedColorType) -> Result<()> {
    let mut bytes = Vec::new();
    let side = u32::try_from(size)?;
    PngEncoder::new(&mut bytes).write_image(pixels, side, side, colour)?;
    // Plain writes: a data set can be made again, thousands of flushes to disk would only cost.
    std::fs::write(path, &bytes).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(out: &Path) -> Args {
        Args { out: out.to_owned(), train: 2, calibration: 1, good: 1, bad: 8, seed: 3, size: 64 }
    }

    fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        let mut open = vec![dir.to_owned()];
        while let Some(folder) = open.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    let name = path.strip_prefix(dir).unwrap().to_owned();
                    found.push((name, std::fs::read(path).unwrap()));
                }
            }
        }
        found.sort();
        found
    }

    #[test]
    fn a_data_set_is_complete_reproducible_and_readable() {
        let dir = tempfile::tempdir().unwrap();
        run(&args(&dir.path().join("a"))).unwrap();
        run(&args(&dir.path().join("b"))).unwrap();
        let (a, b) = (files(&dir.path().join("a")), files(&dir.path().join("b")));
        assert_eq!(a, b);
        // 3 classes of 2 + 1 + 1 good and 8 bad parts with 8 masks.
        assert_eq!(a.len(), 3 * (4 + 16));
        for (name, bytes) in &a {
            let picture = crate::image::decode(bytes).unwrap();
            assert_eq!((picture.width, picture.height), (64, 64), "{}", name.display());
            if name.to_string_lossy().contains("ground_truth") {
                assert!(picture.data.contains(&255), "{} marks nothing", name.display());
                assert!(picture.data.iter().all(|v| [0, 255].contains(v)));
                let part = name.to_string_lossy().replace("ground_truth", "test");
                let part = PathBuf::from(part.replace("_mask", ""));
                assert!(a.iter().any(|(n, _)| *n == part), "{} has no picture", name.display());
            }
        }
        let distinct: std::collections::HashSet<_> = a.iter().map(|(_, bytes)| bytes).collect();
        assert_eq!(distinct.len(), a.len(), "no two parts are the same");
    }

    #[test]
    fn a_folder_with_something_in_it_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("precious.txt"), "x").unwrap();
        let error = run(&args(dir.path())).unwrap_err().to_string();
        assert!(error.contains("not empty"), "{error}");
        let tiny = Args { size: 10, ..args(&dir.path().join("new")) };
        assert!(run(&tiny).unwrap_err().to_string().contains("--size"));
        assert_eq!(files(dir.path()).len(), 1);
    }
}

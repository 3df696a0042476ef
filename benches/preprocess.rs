//! Preprocessing of every layout against what others would do, in the same run: the conversion
//! to RGB alone and `fast_image_resize` (the same filter) alone. The sum of these two parts is
//! the reference; for grey and RGB there is no conversion.
//!
//! Target: at most 1.25 of the sum of the parts, for `BayerRG8` above all.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod support;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group};
use crrd::frame::{Geometry, ImageView, PixelFormat};
use crrd::image::Preprocessor;
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use support::{median, noise};
use yuv::{YuvBiPlanarImage, YuvConversionMode, YuvPackedImage, YuvRange, YuvStandardMatrix};

/// Side of the model's input.
const MODEL: usize = 256;
/// Ratio to the sum of the parts.
const RATIO_MAX: f64 = 1.25;
/// Rounds, in turn.
const ROUNDS: usize = 101;
/// A 2.3 megapixel sensor with all layouts, and a small one.
const CASES: [(usize, usize, PixelFormat); 11] = [
    (1920, 1200, PixelFormat::BayerRG8),
    (1920, 1200, PixelFormat::BayerRG12),
    (1920, 1200, PixelFormat::Mono8),
    (1920, 1200, PixelFormat::Mono12),
    (1920, 1200, PixelFormat::Rgb8),
    (1920, 1200, PixelFormat::Bgr8),
    (1920, 1200, PixelFormat::Yuyv),
    (1920, 1200, PixelFormat::Uyvy),
    (1920, 1200, PixelFormat::Nv12),
    (640, 480, PixelFormat::Rgb8),
    (640, 480, PixelFormat::BayerRG8),
];

/// Writes the converted picture into the memory that it is given.
type Conversion<'a> = Box<dyn FnMut(&mut Vec<u8>) + 'a>;

struct Case {
    name: String,
    size: (usize, usize),
    format: PixelFormat,
    pixels: Vec<u8>,
}

fn cases() -> Vec<Case> {
    let case = |(width, height, format): (usize, usize, PixelFormat)| {
        let mut pixels = noise(format.rows(height) * format.row_bytes(width));
        if format.bits() > 8 {
            // Values of 12 bits.
            pixels.iter_mut().skip(1).step_by(2).for_each(|high| *high &= 0x0F);
        }
        let name = format!("{width}x{height} {format}");
        Case { name, size: (width, height), format, pixels }
    };
    CASES.into_iter().map(case).collect()
}

impl Case {
    fn view(&self) -> ImageView<'_> {
        let (width, height) = self.size;
        let stride = self.format.row_bytes(width);
        ImageView::new(&self.pixels, width, height, stride, self.format).unwrap()
    }

    fn ours(&self, geometry: Geometry) -> impl FnMut() + use<'_> {
        let mut preprocessor = Preprocessor::new(MODEL, MODEL);
        let mut out = vec![0; preprocessor.output_bytes()];
        move || {
            preprocessor.run_in(&geometry, black_box(self.view()), &mut out).unwrap();
            black_box(&out);
        }
    }

    /// To 8-bit RGB, or to half the size for a mosaic; to 8 bits for grey.
    fn conversion(&self) -> Conversion<'_> {
        use PixelFormat as F;
        let (width, height) = self.size;
        match self.format {
            F::Rgb8 | F::Bgr8 | F::Mono8 => Box::new(|_| {}),
            F::Mono12 => Box::new(|out| {
                out.clear();
                let words = self.pixels.as_chunks::<2>().0.iter();
                out.extend(words.map(|word| (u16::from_le_bytes(*word) >> 4) as u8));
            }),
            F::BayerRG12 => {
                let mut high = Vec::new();
                Box::new(move |out| {
                    high.clear();
                    let words = self.pixels.as_chunks::<2>().0.iter();
                    high.extend(words.map(|word| (u16::from_le_bytes(*word) >> 4) as u8));
                    superpixel(&high, width, out);
                })
            }
            F::BayerRG8 => Box::new(move |out| superpixel(&self.pixels, width, out)),
            F::Nv12 => Box::new(move |out| {
                let (y_plane, uv_plane) = self.pixels.split_at(width * height);
                let (w, h) = (width as u32, height as u32);
                let image = YuvBiPlanarImage {
                    y_plane,
                    y_stride: w,
                    uv_plane,
                    uv_stride: w,
                    width: w,
                    height: h,
                };
                out.resize(width * height * 3, 0);
                let (range, matrix) = (YuvRange::Limited, YuvStandardMatrix::Bt601);
                let mode = YuvConversionMode::Balanced;
                yuv::yuv_nv12_to_rgb(&image, out, w * 3, range, matrix, mode).unwrap();
            }),
            _ => Box::new(move |out| {
                let (w, h) = (width as u32, height as u32);
                let image =
                    YuvPackedImage { yuy: &self.pixels, yuy_stride: w * 2, width: w, height: h };
                out.resize(width * height * 3, 0);
                let (range, matrix) = (YuvRange::Limited, YuvStandardMatrix::Bt601);
                match self.format {
                    F::Yuyv => yuv::yuyv422_to_rgb(&image, out, w * 3, range, matrix).unwrap(),
                    _ => yuv::uyvy422_to_rgb(&image, out, w * 3, range, matrix).unwrap(),
                }
            }),
        }
    }

    /// Size and layout of what the conversion gives.
    fn converted(&self) -> ((usize, usize), PixelType) {
        use PixelFormat as F;
        let (width, height) = self.size;
        match self.format {
            F::Mono8 | F::Mono12 => ((width, height), PixelType::U8),
            F::BayerRG8 | F::BayerRG12 => ((width / 2, height / 2), PixelType::U8x3),
            _ => ((width, height), PixelType::U8x3),
        }
    }

    /// Grey stays grey there: the reference does not even make RGB of it.
    fn resize(&self) -> impl FnMut(&[u8]) + use<> {
        let ((width, height), kind) = self.converted();
        let mut resizer = Resizer::new();
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
        let mut out = Image::new(MODEL as u32, MODEL as u32, kind);
        move |pixels| {
            let view = ImageRef::new(width as u32, height as u32, pixels, kind).unwrap();
            resizer.resize(black_box(&view), &mut out, &options).unwrap();
            black_box(out.buffer());
        }
    }
}

/// One RGB pixel from each R G / G B cell: the cheap way to demosaic.
fn superpixel(mosaic: &[u8], width: usize, out: &mut Vec<u8>) {
    out.resize(mosaic.len() / 4 * 3, 0);
    let rows = mosaic.chunks_exact(2 * width);
    for (pair, out) in rows.zip(out.chunks_exact_mut(width / 2 * 3)) {
        let (even, odd) = pair.split_at(width);
        let cells = even.as_chunks::<2>().0.iter().zip(odd.as_chunks::<2>().0);
        for (pixel, ([r, g], [h, b])) in out.as_chunks_mut::<3>().0.iter_mut().zip(cells) {
            *pixel = [*r, (u16::from(*g) + u16::from(*h)).div_ceil(2) as u8, *b];
        }
    }
}

fn time(mut f: impl FnMut()) -> Duration {
    let begin = Instant::now();
    f();
    begin.elapsed()
}

/// Ours and the two parts, in turn, so that all meet the same machine.
fn compare(case: &Case, rounds: usize) {
    let mut ours = case.ours(Geometry::WHOLE);
    let (mut conversion, mut resize) = (case.conversion(), case.resize());
    let mut converted = case.pixels.clone();
    let (mut a, mut b, mut c) = (vec![], vec![], vec![]);
    // Once before: memory is there then, for all of them.
    for round in 0..=rounds {
        let one = time(&mut ours);
        let two = time(|| conversion(&mut converted));
        let three = time(|| resize(&converted));
        if round > 0 {
            (a.push(one), b.push(two), c.push(three)).2
        }
    }
    let ms = |times: Vec<Duration>| median(times).as_secs_f64() * 1e3;
    let (ours, conversion, resize) = (ms(a), ms(b), ms(c));
    let ratio = ours / (conversion + resize);
    println!(
        "RATIO preprocess {}: {ours:.3} ms against {conversion:.3} ms conversion + {resize:.3} ms \
         fast_image_resize = {ratio:.2} (target at most {RATIO_MAX}: {})",
        case.name,
        if ratio <= RATIO_MAX { "met" } else { "MISSED" }
    );
}

/// What a geometry costs against the whole picture.
fn geometries(rounds: usize) {
    let all = cases();
    let case = &all[0];
    let corners = Some([[410.0, 112.0], [1507.0, 130.0], [1620.0, 1040.0], [300.0, 1022.0]]);
    for (name, geometry) in [
        ("whole", Geometry::WHOLE),
        ("turned by 90", Geometry { rotate: 90, ..Geometry::WHOLE }),
        ("region 960x600", Geometry { roi: Some([480, 300, 960, 600]), ..Geometry::WHOLE }),
        ("perspective", Geometry { corners, ..Geometry::WHOLE }),
    ] {
        let mut run = case.ours(geometry);
        run();
        let ms = median((0..rounds).map(|_| time(&mut run)).collect()).as_secs_f64() * 1e3;
        println!("geometry {name} of {}: {ms:.3} ms", case.name);
    }
}

fn bench(c: &mut Criterion) {
    for case in cases() {
        let mut group = c.benchmark_group(format!("preprocess {}", case.name));
        group.sample_size(30);
        group.bench_function("crrd", |b| b.iter(case.ours(Geometry::WHOLE)));
        group.finish();
    }
}

criterion_group!(benches, bench);

fn main() {
    // `cargo test --benches` only asks whether it starts.
    let rounds = if std::env::args().any(|a| a == "--bench") { ROUNDS } else { 1 };
    if rounds > 1 {
        benches();
    }
    cases().iter().for_each(|case| compare(case, rounds));
    geometries(rounds);
}

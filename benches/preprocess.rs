//! Preprocessing against its named reference: `fast_image_resize`, the same filter, alone.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod support;

use std::hint::black_box;

use criterion::{Criterion, criterion_group};
use crrd::frame::{ImageView, PixelFormat};
use crrd::image::Preprocessor;
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use support::{Pair, noise};

/// Side of the model's input.
const MODEL: usize = 256;
/// Cameras of the line: a 2.3 megapixel sensor in colour and grey, and a small one.
const SIZES: [(usize, usize, PixelFormat); 3] = [
    (1920, 1200, PixelFormat::Rgb8),
    (1920, 1200, PixelFormat::Mono8),
    (640, 480, PixelFormat::Rgb8),
];

struct Case {
    name: String,
    width: usize,
    height: usize,
    format: PixelFormat,
    pixels: Vec<u8>,
}

fn cases() -> Vec<Case> {
    let case = |(width, height, format): (usize, usize, PixelFormat)| Case {
        name: format!("{width}x{height} {format}"),
        width,
        height,
        format,
        pixels: noise(height * format.row_bytes(width)),
    };
    SIZES.into_iter().map(case).collect()
}

impl Case {
    fn ours(&self) -> impl FnMut() + use<'_> {
        let mut preprocessor = Preprocessor::new(MODEL, MODEL);
        let mut out = vec![0; preprocessor.output_bytes()];
        move || {
            let stride = self.format.row_bytes(self.width);
            let view =
                ImageView::new(&self.pixels, self.width, self.height, stride, self.format).unwrap();
            preprocessor.run(black_box(view), &mut out).unwrap();
            black_box(&out);
        }
    }

    /// Grey stays grey there: the reference does not even make RGB of it.
    fn reference(&self) -> impl FnMut() + use<'_> {
        let kind = match self.format {
            PixelFormat::Mono8 => PixelType::U8,
            _ => PixelType::U8x3,
        };
        let mut resizer = Resizer::new();
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
        let mut out = Image::new(MODEL as u32, MODEL as u32, kind);
        move || {
            let view =
                ImageRef::new(self.width as u32, self.height as u32, &self.pixels, kind).unwrap();
            resizer.resize(black_box(&view), &mut out, &options).unwrap();
            black_box(out.buffer());
        }
    }
}

fn bench(c: &mut Criterion) {
    for case in cases() {
        let mut group = c.benchmark_group(format!("preprocess {}", case.name));
        group.sample_size(30);
        group.bench_function("crrd", |b| b.iter(case.ours()));
        group.bench_function("fast_image_resize", |b| b.iter(case.reference()));
        group.finish();
    }
}

criterion_group!(benches, bench);

fn main() {
    benches();
    for case in cases() {
        let pair = Pair::measure(101, case.ours(), case.reference());
        pair.print(&format!("preprocess {}", case.name), "fast_image_resize");
    }
}

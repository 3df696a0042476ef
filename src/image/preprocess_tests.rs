//! The preprocessing against a naive reference and against `fast_image_resize`.

use fast_image_resize as fir;
use proptest::prelude::*;

use super::*;

/// Antialiased triangle filter in f64, written from its definition, nothing shared with the code.
fn reference(data: &[u8], (w, h): (usize, usize), (ow, oh): (usize, usize), c: usize) -> Vec<f64> {
    let weights = |n: usize, on: usize, o: usize| -> Vec<f64> {
        let scale = n as f64 / on as f64;
        let centre = (o as f64 + 0.5) * scale - 0.5;
        let raw: Vec<f64> =
            (0..n).map(|i| (1.0 - (i as f64 - centre).abs() / scale.max(1.0)).max(0.0)).collect();
        let sum: f64 = raw.iter().sum();
        raw.iter().map(|r| r / sum).collect()
    };
    let across: Vec<_> = (0..ow).map(|o| weights(w, ow, o)).collect();
    let mut out = Vec::new();
    for oy in 0..oh {
        let down = weights(h, oh, oy);
        for taps in &across {
            for ch in 0..c {
                let mut sum = 0.0;
                for (y, ky) in down.iter().enumerate().filter(|(_, k)| **k > 0.0) {
                    for (x, kx) in taps.iter().enumerate().filter(|(_, k)| **k > 0.0) {
                        sum += f64::from(data[(y * w + x) * c + ch]) * ky * kx;
                    }
                }
                out.push(sum);
            }
        }
    }
    out
}

fn noise(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    // Blocks of noise and blocks of extremes: the filter must be right on edges, not on average.
    (0..len)
        .map(|i| if i % 97 < 40 { (next() >> 24) as u8 } else { [0, 255][(i / 31) % 2] })
        .collect()
}

fn run(data: &[u8], w: usize, h: usize, f: PixelFormat, ow: usize, oh: usize) -> Vec<u8> {
    let stride = f.row_bytes(w);
    let mut out = vec![0; ow * oh * 3];
    let view = ImageView::new(data, w, h, stride, f).unwrap();
    Preprocessor::new(ow, oh).run(view, &mut out).unwrap();
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn the_result_is_the_antialiased_triangle_filter(
        w in 1usize..120, h in 1usize..120, ow in 1usize..70, oh in 1usize..70, seed in any::<u32>(),
    ) {
        let data = noise(w * h * 3, seed);
        let got = run(&data, w, h, PixelFormat::Rgb8, ow, oh);
        for (g, want) in got.iter().zip(reference(&data, (w, h), (ow, oh), 3)) {
            // Half a level of rounding at the end, a tenth for the fixed point on the way.
            prop_assert!((f64::from(*g) - want).abs() <= 0.6, "{g} for {want}");
        }
    }

    #[test]
    fn a_flat_picture_stays_flat(
        w in 1usize..900, h in 1usize..300, ow in 1usize..64, oh in 1usize..64, v in any::<u8>(),
    ) {
        let data = vec![v; w * h];
        prop_assert!(run(&data, w, h, PixelFormat::Mono8, ow, oh).iter().all(|&p| p == v));
    }
}

#[test]
fn the_result_is_that_of_fast_image_resize_within_one_level() {
    use fir::images::{Image, ImageRef};
    for (w, h, ow, oh) in [(640, 480, 256, 256), (1000, 750, 256, 256), (90, 70, 128, 128)] {
        let data = noise(w * h * 3, 7);
        let src = ImageRef::new(w as u32, h as u32, &data, fir::PixelType::U8x3).unwrap();
        let mut dst = Image::new(ow as u32, oh as u32, fir::PixelType::U8x3);
        let options = fir::ResizeOptions::new()
            .resize_alg(fir::ResizeAlg::Convolution(fir::FilterType::Bilinear));
        fir::Resizer::new().resize(&src, &mut dst, &options).unwrap();
        let ours = run(&data, w, h, PixelFormat::Rgb8, ow, oh);
        let worst = ours.iter().zip(dst.buffer()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(worst <= 1, "{w}x{h} -> {ow}x{oh}: differs by {worst} levels");
    }
}

#[test]
fn a_very_large_reduction_stays_within_two_levels() {
    let (w, h) = (4096, 64);
    let data = noise(w * h, 3);
    let got = run(&data, w, h, PixelFormat::Mono8, 8, 8);
    for (g, want) in got.chunks(3).zip(reference(&data, (w, h), (8, 8), 1)) {
        assert!((f64::from(g[0]) - want).abs() <= 2.0, "{} for {want}", g[0]);
    }
}

#[test]
fn layouts_differ_only_in_the_order_of_bytes() {
    let (w, h) = (50, 40);
    let rgb = noise(w * h * 3, 9);
    let bgr: Vec<u8> = rgb.chunks(3).flat_map(|p| [p[2], p[1], p[0]]).collect();
    let want = run(&rgb, w, h, PixelFormat::Rgb8, 32, 32);
    assert_eq!(run(&bgr, w, h, PixelFormat::Bgr8, 32, 32), want);

    let grey = noise(w * h, 9);
    let spread: Vec<u8> = grey.iter().flat_map(|&v| [v; 3]).collect();
    assert_eq!(
        run(&grey, w, h, PixelFormat::Mono8, 32, 32),
        run(&spread, w, h, PixelFormat::Rgb8, 32, 32)
    );
}

#[test]
fn padding_between_rows_is_not_read() {
    let (w, h, stride) = (21, 17, 80);
    let tight = noise(w * h * 3, 5);
    let mut padded = vec![0xEE; stride * h];
    for y in 0..h {
        padded[y * stride..][..w * 3].copy_from_slice(&tight[y * w * 3..][..w * 3]);
    }
    let mut out = vec![0; 16 * 16 * 3];
    let view = ImageView::new(&padded, w, h, stride, PixelFormat::Rgb8).unwrap();
    Preprocessor::new(16, 16).run(view, &mut out).unwrap();
    assert_eq!(out, run(&tight, w, h, PixelFormat::Rgb8, 16, 16));
}

#[test]
fn the_result_does_not_depend_on_the_pictures_before() {
    let mut shared = Preprocessor::new(24, 20);
    let mut out = vec![0; shared.output_bytes()];
    for (w, h) in [(60, 50), (10, 90), (60, 50), (24, 20), (200, 3)] {
        let data = noise(w * h * 3, (w * h) as u32);
        let view = ImageView::new(&data, w, h, w * 3, PixelFormat::Rgb8).unwrap();
        shared.run(view, &mut out).unwrap();
        assert_eq!(out, run(&data, w, h, PixelFormat::Rgb8, 24, 20), "{w}x{h}");
    }
}

#[test]
fn a_picture_of_the_model_size_is_copied() {
    let data = noise(30 * 20 * 3, 1);
    assert_eq!(run(&data, 30, 20, PixelFormat::Rgb8, 30, 20), data);
}

#[test]
fn a_buffer_of_another_size_is_refused() {
    let data = [0; 12];
    let view = ImageView::new(&data, 2, 2, 6, PixelFormat::Rgb8).unwrap();
    let err = Preprocessor::new(4, 4).run(view, &mut [0; 47]).unwrap_err();
    assert_eq!(err.kind(), ImageErrorKind::Buffer);
    assert!(err.to_string().contains("48 bytes"));
}

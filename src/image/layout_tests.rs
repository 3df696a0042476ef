//! Every layout and geometry against direct sums in f64 that share nothing with the code: a list
//! of samples with their places, a weight for each, and the mean.

use proptest::prelude::*;

use super::*;
use crate::frame::Mosaic;

/// The layouts that are rows of samples.
fn layouts() -> impl Iterator<Item = PixelFormat> {
    PixelFormat::ALL.into_iter().filter(|format| !format.is_compressed())
}

/// A sample of a picture: its centre, and where its bytes lie.
#[derive(Clone, Copy, Debug)]
struct Sample {
    x: f64,
    y: f64,
    byte: usize,
}

/// Samples of one kind: a colour of a mosaic at one place of its cells, or Y, or U, ...
struct Plane {
    samples: Vec<Sample>,
    /// Pixels from one sample to the next.
    step: (f64, f64),
}

fn plane(w: usize, h: usize, each: (usize, usize), at: impl Fn(usize, usize) -> Sample) -> Plane {
    let samples = (0..h).flat_map(|y| (0..w).map(move |x| (x, y))).map(|(x, y)| at(x, y)).collect();
    Plane { samples, step: (each.0 as f64, each.1 as f64) }
}

/// The samples of a picture without padding, by the definitions of the layouts.
fn planes(format: PixelFormat, w: usize, h: usize) -> Vec<Plane> {
    use PixelFormat as F;
    let bytes = if format.bits() > 8 { 2 } else { 1 };
    let sample =
        |x: usize, y: usize, byte: usize| Sample { x: x as f64 + 0.5, y: y as f64 + 0.5, byte };
    match format {
        F::Rgb8 | F::Bgr8 => {
            (0..3).map(|c| plane(w, h, (1, 1), |x, y| sample(x, y, (y * w + x) * 3 + c))).collect()
        }
        F::Yuyv | F::Uyvy => {
            let luma = usize::from(format == F::Uyvy);
            let chroma = 1 - luma;
            let each = |x: usize, y: usize, c: usize| sample(2 * x, y, y * w * 2 + 4 * x + c);
            vec![
                plane(w, h, (1, 1), |x, y| sample(x, y, y * w * 2 + 2 * x + luma)),
                plane(w / 2, h, (2, 1), |x, y| each(x, y, chroma)),
                plane(w / 2, h, (2, 1), |x, y| each(x, y, chroma + 2)),
            ]
        }
        F::Nv12 => {
            let colour = |x: usize, y: usize, c: usize| Sample {
                x: 2.0 * x as f64 + 0.5,
                y: 2.0 * y as f64 + 1.0,
                byte: (h + y) * w + 2 * x + c,
            };
            vec![
                plane(w, h, (1, 1), |x, y| sample(x, y, y * w + x)),
                plane(w / 2, h.div_ceil(2), (2, 2), |x, y| colour(x, y, 0)),
                plane(w / 2, h.div_ceil(2), (2, 2), |x, y| colour(x, y, 1)),
            ]
        }
        _ if format.mosaic().is_some() => [(0, 0), (1, 0), (0, 1), (1, 1)]
            .map(|(dx, dy)| {
                plane((w + 1 - dx) / 2, (h + 1 - dy) / 2, (2, 2), |x, y| {
                    let (x, y) = (2 * x + dx, 2 * y + dy);
                    sample(x, y, (y * w + x) * bytes)
                })
            })
            .into(),
        _ => vec![plane(w, h, (1, 1), |x, y| sample(x, y, (y * w + x) * bytes))],
    }
}

/// RGB of a value of each plane, on the scale of 8 bits.
fn rgb(format: PixelFormat, v: &[f64]) -> [f64; 3] {
    use PixelFormat as F;
    match (format, format.mosaic()) {
        (F::Rgb8, _) => [v[0], v[1], v[2]],
        (F::Bgr8, _) => [v[2], v[1], v[0]],
        (F::Yuyv | F::Uyvy | F::Nv12, _) => {
            // BT.601: Kr = 0.299, Kb = 0.114; Y in 16..235, U and V in 16..240.
            let (y, pb, pr) =
                ((v[0] - 16.0) / 219.0, (v[1] - 128.0) / 224.0, (v[2] - 128.0) / 224.0);
            let (r, b) = (y + 2.0 * (1.0 - 0.299) * pr, y + 2.0 * (1.0 - 0.114) * pb);
            let g = (y - 0.299 * r - 0.114 * b) / 0.587;
            [r, g, b].map(|c| (c * 255.0).clamp(0.0, 255.0))
        }
        (_, Some(Mosaic::Rg)) => [v[0], (v[1] + v[2]) / 2.0, v[3]],
        (_, Some(Mosaic::Gr)) => [v[1], (v[0] + v[3]) / 2.0, v[2]],
        (_, Some(Mosaic::Gb)) => [v[2], (v[0] + v[3]) / 2.0, v[1]],
        (_, Some(Mosaic::Bg)) => [v[3], (v[1] + v[2]) / 2.0, v[0]],
        _ => [v[0]; 3],
    }
}

fn value(format: PixelFormat, data: &[u8], byte: usize) -> f64 {
    let max = f64::from((1u32 << format.bits()) - 1);
    let raw = if format.bits() > 8 {
        f64::from(u16::from_le_bytes([data[byte], data[byte + 1]]))
    } else {
        f64::from(data[byte])
    };
    raw.min(max) * 255.0 / max
}

pub(super) struct Picture {
    format: PixelFormat,
    size: (usize, usize),
    pub(super) data: Vec<u8>,
}

impl Picture {
    fn view(&self) -> ImageView<'_> {
        let (w, h) = self.size;
        ImageView::new(&self.data, w, h, self.format.row_bytes(w), self.format).unwrap()
    }

    fn run(&self, geometry: &Geometry, to: (usize, usize)) -> Vec<u8> {
        let mut out = vec![0; to.0 * to.1 * 3];
        Preprocessor::new(to.0, to.1).run_in(geometry, self.view(), &mut out).unwrap();
        out
    }

    fn noise(format: PixelFormat, (w, h): (usize, usize), seed: u32) -> Self {
        let (w, h) = sized(format, (w, h));
        let mut state = seed | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state >> 8
        };
        let bytes = format.row_bytes(w) * format.rows(h);
        let mut data: Vec<u8> = (0..bytes).map(|_| next() as u8).collect();
        if format.bits() > 8 {
            // Some values have bits above the range, as of a camera that is set otherwise.
            let reach = (1u32 << format.bits()) + 100;
            for word in data.as_chunks_mut::<2>().0 {
                *word = ((next() % reach).min(65_535) as u16).to_le_bytes();
            }
        }
        Self { format, size: (w, h), data }
    }

    /// A picture of a scene that has a colour at every point.
    pub(super) fn of(
        format: PixelFormat,
        size: (usize, usize),
        scene: impl Fn(f64, f64) -> [f64; 3],
    ) -> Self {
        let (w, h) = sized(format, size);
        let mut data = vec![0; format.row_bytes(w) * format.rows(h)];
        for (i, plane) in planes(format, w, h).iter().enumerate() {
            for sample in &plane.samples {
                let level = component(format, i, scene(sample.x, sample.y));
                let max = f64::from((1u32 << format.bits()) - 1);
                let raw = (level * max / 255.0).round() as u16;
                let [low, high] = raw.to_le_bytes();
                data[sample.byte] = low;
                if format.bits() > 8 {
                    data[sample.byte + 1] = high;
                }
            }
        }
        Self { format, size: (w, h), data }
    }
}

/// What plane `i` measures of a colour.
fn component(format: PixelFormat, i: usize, [r, g, b]: [f64; 3]) -> f64 {
    use PixelFormat as F;
    match (format, format.mosaic()) {
        (F::Rgb8, _) => [r, g, b][i],
        (F::Bgr8, _) => [b, g, r][i],
        (F::Yuyv | F::Uyvy | F::Nv12, _) => {
            let y = (0.299 * r + 0.587 * g + 0.114 * b) / 255.0;
            let (pb, pr) = ((b / 255.0 - y) / 1.772, (r / 255.0 - y) / 1.402);
            [16.0 + 219.0 * y, 128.0 + 224.0 * pb, 128.0 + 224.0 * pr][i]
        }
        (_, Some(Mosaic::Rg)) => [r, g, g, b][i],
        (_, Some(Mosaic::Gr)) => [g, r, b, g][i],
        (_, Some(Mosaic::Gb)) => [g, b, r, g][i],
        (_, Some(Mosaic::Bg)) => [b, g, g, r][i],
        _ => g,
    }
}

/// Sizes that the layout allows.
fn sized(format: PixelFormat, (w, h): (usize, usize)) -> (usize, usize) {
    if format.width_is_even() {
        (w.next_multiple_of(2), h)
    } else if format.mosaic().is_some() {
        (w.max(2), h.max(2))
    } else {
        (w, h)
    }
}

/// The region's samples, weighted by the triangle around each output pixel; upright.
fn filtered(picture: &Picture, roi: [usize; 4], (ow, oh): (usize, usize)) -> Vec<[f64; 3]> {
    let [x0, y0, w, h] = roi.map(|v| v as f64);
    let scale = (w / ow as f64, h / oh as f64);
    let planes = planes(picture.format, picture.size.0, picture.size.1);
    let mut out = Vec::new();
    for (oy, ox) in (0..oh).flat_map(|oy| (0..ow).map(move |ox| (oy, ox))) {
        let (cx, cy) = (x0 + (ox as f64 + 0.5) * scale.0, y0 + (oy as f64 + 0.5) * scale.1);
        let values: Vec<f64> = planes
            .iter()
            .map(|Plane { samples, step }| {
                let radius = (scale.0.max(step.0), scale.1.max(step.1));
                // A colour that stands for two pixels belongs to the region with either.
                let inside = |at: f64, from: f64, length: f64, shared: f64| {
                    at > from - shared && at < from + length
                };
                let is_shared = picture.format.width_is_even();
                let tall = if picture.format == PixelFormat::Nv12 { step.1 } else { 1.0 };
                let shared = |step: f64| if is_shared { step - 1.0 } else { 0.0 };
                let (mut sum, mut total) = (0.0, 0.0);
                for s in samples {
                    // NV12's colours lie between their rows: half a pixel from either.
                    let sy = if tall > 1.0 { s.y - 0.5 } else { s.y };
                    if !inside(s.x, x0, w, shared(step.0)) || !inside(sy, y0, h, shared(tall)) {
                        continue;
                    }
                    let kx = (1.0 - (s.x - cx).abs() / radius.0).max(0.0);
                    let ky = (1.0 - (s.y - cy).abs() / radius.1).max(0.0);
                    sum += kx * ky * value(picture.format, &picture.data, s.byte);
                    total += kx * ky;
                }
                sum / total
            })
            .collect();
        out.push(rgb(picture.format, &values));
    }
    out
}

/// By the definition of mirroring and turning, on whole pictures.
fn turned(
    mut pixels: Vec<[f64; 3]>,
    (mut w, mut h): (usize, usize),
    mirror: bool,
    rotate: u16,
) -> Vec<[f64; 3]> {
    if mirror {
        pixels = (0..w * h).map(|i| pixels[i / w * w + (w - 1 - i % w)]).collect();
    }
    for _ in 0..rotate / 90 {
        // Clockwise: the new top row is the old left column from below.
        pixels = (0..w * h).map(|i| pixels[(h - 1 - i % h) * w + i / h]).collect();
        (w, h) = (h, w);
    }
    pixels
}

/// What the layout costs in levels: half of one for rounding, more where colours are computed.
fn tolerance(format: PixelFormat) -> f64 {
    if format.width_is_even() { 1.0 } else { 0.65 }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn every_layout_region_and_turn_is_the_direct_sum(
        layout in 0usize..25, w in 2usize..60, h in 2usize..60, ow in 1usize..30, oh in 1usize..30,
        region in prop::option::of(prop::array::uniform4(0.0f64..1.0)),
        mirror in any::<bool>(), quarters in 0u16..4, seed in any::<u32>(),
    ) {
        let format = layouts().nth(layout).unwrap();
        let picture = Picture::noise(format, (w, h), seed);
        let (w, h) = picture.size;
        let roi = region.map_or([0, 0, w, h], |[x, y, across, down]| {
            let (x, y) = ((x * (w - 1) as f64) as usize, (y * (h - 1) as f64) as usize);
            let side = |rest: usize, part: f64| 2 + (part * (rest - 1) as f64) as usize;
            [x, y, side(w - x - 1, across).min(w - x), side(h - y - 1, down).min(h - y)]
        });
        prop_assume!(roi[2] >= 2 && roi[3] >= 2);
        let geometry = Geometry {
            roi: region.map(|_| roi.map(|v| v as u32)),
            mirror,
            rotate: quarters * 90,
            corners: None,
        };
        let got = picture.run(&geometry, (ow, oh));
        let upright = if quarters % 2 == 1 { (oh, ow) } else { (ow, oh) };
        let want = turned(filtered(&picture, roi, upright), upright, mirror, quarters * 90);
        for (i, (g, w)) in got.chunks(3).zip(want).enumerate() {
            for c in 0..3 {
                prop_assert!(
                    (f64::from(g[c]) - w[c]).abs() <= tolerance(format),
                    "{format} pixel {i} channel {c}: {} for {}", g[c], w[c]
                );
            }
        }
    }
}

#[test]
fn there_are_as_many_layouts_as_the_property_draws_from() {
    assert_eq!(layouts().count(), 25);
}

/// Brighter to the right by 2 levels a pixel: a shift of half a pixel is a whole level.
pub(super) fn ramp(x: f64, y: f64) -> [f64; 3] {
    [20.0 + 2.0 * x + 0.2 * y, 25.0 + 2.0 * x, 30.0 + 2.0 * x - 0.1 * y]
}

pub(super) const RAMP: (usize, usize) = (96, 80);
/// The ramp seen at an angle.
const ANGLE: [[f64; 2]; 4] = [[14.0, 8.0], [83.0, 17.0], [88.0, 71.0], [9.0, 62.0]];

fn geometries() -> [Geometry; 6] {
    let whole = Geometry::WHOLE;
    let crop = Geometry { roi: Some([7, 5, 81, 63]), ..whole };
    [
        whole,
        crop,
        Geometry { rotate: 90, ..crop },
        Geometry { rotate: 270, mirror: true, ..crop },
        Geometry { corners: Some(ANGLE), ..whole },
        Geometry { corners: Some([ANGLE[1], ANGLE[2], ANGLE[3], ANGLE[0]]), ..whole },
    ]
}

/// Mean and largest error in levels against the scene at the centre of each pixel, where the
/// geometry says it is; pixels at the rim, whose filter is cut off, left out.
pub(super) fn error(
    got: &[u8],
    geometry: &Geometry,
    to: (usize, usize),
    grey: bool,
) -> ([f64; 3], f64) {
    let onto = geometry.projection(to, RAMP);
    let (mut sums, mut worst, mut count) = ([0.0; 3], 0.0f64, 0.0);
    for y in 2..to.1 - 2 {
        for x in 2..to.0 - 2 {
            let (u, v) = onto.apply(x as f64 + 0.5, y as f64 + 0.5);
            let want = ramp(u, v);
            let want = if grey { [want[1]; 3] } else { want };
            for c in 0..3 {
                let off = f64::from(got[(y * to.0 + x) * 3 + c]) - want[c];
                sums[c] += off;
                worst = worst.max(off.abs());
            }
            count += 1.0;
        }
    }
    (sums.map(|sum| sum / count), worst)
}

fn is_grey(format: PixelFormat) -> bool {
    use PixelFormat as F;
    matches!(format, F::Mono8 | F::Mono10 | F::Mono12 | F::Mono16)
}

#[test]
fn no_layout_and_no_geometry_shifts_the_picture() {
    for format in layouts() {
        let picture = Picture::of(format, RAMP, ramp);
        for geometry in geometries() {
            for to in [(20, 24), (60, 40), (120, 100)] {
                let got = picture.run(&geometry, to);
                let (mean, worst) = error(&got, &geometry, to, is_grey(format));
                let what = format!("{format} {geometry:?} to {to:?}: {mean:?}, worst {worst}");
                assert!(mean.iter().all(|m| m.abs() < 0.25), "{what}");
                assert!(worst < 2.5, "{what}");
            }
        }
    }
}

#[test]
fn a_perspective_is_the_mean_of_the_scene_under_each_pixel() {
    let scene = |x: f64, y: f64| {
        let wave = (x * 0.21).sin() * (y * 0.17).cos();
        [120.0 + 90.0 * wave, 128.0 - 70.0 * wave, 100.0 + 50.0 * (x * 0.11 + y * 0.13).sin()]
    };
    let picture = Picture::of(PixelFormat::Rgb8, RAMP, scene);
    let geometry = Geometry { corners: Some(ANGLE), ..Geometry::WHOLE };
    let to = (40, 36);
    let got = picture.run(&geometry, to);
    let onto = geometry.projection(to, RAMP);
    const POINTS: usize = 12;
    for (i, pixel) in got.chunks(3).enumerate() {
        let mut want = [0.0; 3];
        for p in 0..POINTS * POINTS {
            let at = |p: usize| (p as f64 + 0.5) / POINTS as f64;
            let (u, v) =
                onto.apply((i % to.0) as f64 + at(p % POINTS), (i / to.0) as f64 + at(p / POINTS));
            for (sum, value) in want.iter_mut().zip(scene(u, v)) {
                *sum += value / (POINTS * POINTS) as f64;
            }
        }
        for c in 0..3 {
            assert!((f64::from(pixel[c]) - want[c]).abs() < 4.0, "{i}: {pixel:?} for {want:?}");
        }
    }
}

#[test]
fn a_pattern_finer_than_the_model_sees_is_grey_in_perspective_too() {
    let board =
        |x: f64, y: f64| [if (x as usize + y as usize).is_multiple_of(2) { 255.0 } else { 0.0 }; 3];
    let picture = Picture::of(PixelFormat::Mono8, (400, 400), board);
    // Four times as coarse at the bottom as at the top.
    let corners = Some([[150.0, 20.0], [250.0, 20.0], [390.0, 390.0], [10.0, 390.0]]);
    let got = picture.run(&Geometry { corners, ..Geometry::WHOLE }, (24, 24));
    assert!(got.iter().all(|v| v.abs_diff(128) < 12), "{got:?}");
}

#[test]
fn the_darkest_and_the_brightest_value_of_every_depth_are_0_and_255() {
    for format in layouts().filter(|f| !f.width_is_even()) {
        for (word, want) in [(0u16, 0u8), (u16::MAX >> (16 - format.bits()), 255), (u16::MAX, 255)]
        {
            let mut picture = Picture::noise(format, (31, 23), 1);
            let wide = format.bits() > 8;
            for (i, byte) in picture.data.iter_mut().enumerate() {
                *byte = if wide { word.to_le_bytes()[i % 2] } else { word as u8 };
            }
            let got = picture.run(&Geometry::WHOLE, (9, 40));
            assert!(got.iter().all(|&v| v == want), "{format} {word}: {got:?}");
        }
    }
}

#[test]
fn what_the_geometry_asks_for_must_lie_in_the_picture() {
    let picture = Picture::noise(PixelFormat::Mono8, (32, 16), 1);
    let mut out = [7; 12];
    let roi = Some([30, 0, 4, 4]);
    let geometry = Geometry { roi, ..Geometry::WHOLE };
    let err = Preprocessor::new(2, 2).run_in(&geometry, picture.view(), &mut out).unwrap_err();
    assert_eq!(err.kind(), ImageErrorKind::Size);
    let why = std::error::Error::source(&err).unwrap().to_string();
    assert!(why.contains("[30, 0, 4, 4]") && why.contains("32x16"), "{why}");
    assert_eq!(out, [7; 12], "untouched");
    let line = ImageView::new(&[1; 9], 9, 1, 9, PixelFormat::BayerRG8).unwrap();
    assert!(Preprocessor::new(2, 2).run(line, &mut out).is_err(), "no blue in one row");
}

#[test]
fn a_picture_that_is_the_model_input_is_not_copied() {
    let picture = Picture::noise(PixelFormat::Rgb8, (8, 6), 1);
    let view = picture.view();
    let same = Preprocessor::new(8, 6).as_is(&view, &Geometry::WHOLE).unwrap();
    assert_eq!((same.as_ptr(), same.len()), (picture.data.as_ptr(), 8 * 6 * 3));
    assert_eq!(same, picture.run(&Geometry::WHOLE, (8, 6)), "the filter would say the same");
    let turned = Geometry { rotate: 180, ..Geometry::WHOLE };
    assert!(Preprocessor::new(8, 6).as_is(&view, &turned).is_none());
    assert!(Preprocessor::new(6, 8).as_is(&view, &Geometry::WHOLE).is_none());
    let padded = ImageView::new(&picture.data, 7, 6, 24, PixelFormat::Rgb8).unwrap();
    assert!(Preprocessor::new(7, 6).as_is(&padded, &Geometry::WHOLE).is_none());
    let bgr = ImageView::new(&picture.data, 8, 6, 24, PixelFormat::Bgr8).unwrap();
    assert!(Preprocessor::new(8, 6).as_is(&bgr, &Geometry::WHOLE).is_none());
}

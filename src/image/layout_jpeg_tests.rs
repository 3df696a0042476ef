//! JPEG frames: the picture in them, or a refusal.

use proptest::prelude::*;

use super::layout_tests::{Picture, RAMP, error, ramp};
use super::*;

/// The ramp as a camera's JPEG frame.
fn jpeg(size: (usize, usize)) -> Vec<u8> {
    let picture = Picture::of(PixelFormat::Rgb8, size, ramp);
    let mut file = Vec::new();
    let mut encoder = ::image::codecs::jpeg::JpegEncoder::new_with_quality(&mut file, 95);
    let (w, h) = (size.0 as u32, size.1 as u32);
    encoder.encode(&picture.data, w, h, ::image::ExtendedColorType::Rgb8).unwrap();
    file
}

fn run_jpeg(file: &[u8], size: (usize, usize), to: (usize, usize)) -> Result<Vec<u8>, ImageError> {
    let view = ImageView::new(file, size.0, size.1, 0, PixelFormat::Mjpeg).unwrap();
    let mut out = vec![0; to.0 * to.1 * 3];
    Preprocessor::new(to.0, to.1).run(view, &mut out).map(|()| out)
}

#[test]
fn a_jpeg_frame_is_the_picture_in_it() {
    let mut file = jpeg(RAMP);
    // Drivers leave the rest of the buffer as it was.
    file.extend_from_slice(&[0xAB; 99]);
    let got = run_jpeg(&file, RAMP, (24, 20)).unwrap();
    let (mean, worst) = error(&got, &Geometry::WHOLE, (24, 20), false);
    assert!(mean.iter().all(|m| m.abs() < 0.6) && worst < 4.0, "{mean:?}, worst {worst}");
    let kind = run_jpeg(&file, (95, 80), (24, 20)).unwrap_err().kind();
    assert_eq!(kind, ImageErrorKind::Damaged, "another size than the camera's");
}

#[test]
fn a_damaged_jpeg_frame_is_refused_and_never_half_grey() {
    let file = jpeg((64, 48));
    for cut in 0..file.len() - 1 {
        let err = if cut == 0 { continue } else { run_jpeg(&file[..cut], (64, 48), (8, 8)) };
        assert_eq!(err.unwrap_err().kind(), ImageErrorKind::Damaged, "cut at {cut}");
    }
    // The data end early, but the end marker is there: what a lost packet leaves.
    let scan = file.windows(2).position(|w| w == [0xFF, 0xDA]).unwrap() + 14;
    for cut in scan..file.len() - 6 {
        let short = [&file[..cut], &[0xFF, 0xD9][..]].concat();
        assert!(run_jpeg(&short, (64, 48), (8, 8)).is_err(), "{cut} of {} bytes", file.len());
    }
    let flat = Picture::of(PixelFormat::Rgb8, (64, 48), |_, _| [9.0; 3]);
    let mut file = Vec::new();
    let mut encoder = ::image::codecs::jpeg::JpegEncoder::new(&mut file);
    encoder.encode(&flat.data, 64, 48, ::image::ExtendedColorType::Rgb8).unwrap();
    assert!(run_jpeg(&file, (64, 48), (8, 8)).is_ok(), "little data, but all of them");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn a_jpeg_frame_with_any_damage_brings_nothing_down(
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..9),
    ) {
        let mut file = jpeg((40, 30));
        for (at, value) in hits {
            let at = at.index(file.len());
            file[at] = value;
        }
        let _ = run_jpeg(&file, (40, 30), (8, 8));
    }
}

//! File bytes -> 8-bit RGB.

use std::io::Cursor;

use ::image::{ImageFormat, ImageReader, Limits};

use super::jpeg;
use super::{ImageError, ImageErrorKind as Kind};
use crate::frame::{ImageView, PixelFormat};

/// Longest side of a picture in pixels: above any industrial area camera (a 151 Mpx sensor has
/// 14 192), and a bound for what a hostile file can make us allocate.
pub const SIDE_PX_MAX: u32 = 16_384;

/// Memory a decoder may take for one picture in bytes: 16-bit RGB of a 64 Mpx picture.
const DECODE_BYTES_MAX: u64 = 384 << 20;

/// A decoded picture: 8-bit RGB, rows top-down without padding.
#[derive(Clone, PartialEq, Eq)]
pub struct RgbImage {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `width * height * 3` bytes.
    pub data: Vec<u8>,
}

impl RgbImage {
    /// The picture as a view.
    ///
    /// # Errors
    /// When the fields, which are public, contradict each other.
    pub fn view(&self) -> Result<ImageView<'_>, crate::frame::ViewError> {
        ImageView::new(&self.data, self.width, self.height, self.width * 3, PixelFormat::Rgb8)
    }
}

impl std::fmt::Debug for RgbImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RgbImage({}x{})", self.width, self.height)
    }
}

/// Decodes PNG, JPEG, BMP or TIFF, recognised by content. Grey becomes RGB, 16-bit is rounded to
/// 8-bit, an alpha channel is dropped. EXIF orientation is not applied: a camera's rows are rows.
///
/// # Errors
/// For another format, a damaged or truncated file, or a picture over [`SIDE_PX_MAX`].
pub fn decode(bytes: &[u8]) -> Result<RgbImage, ImageError> {
    let format = recognise(bytes)?;
    if format == ImageFormat::Jpeg && jpeg::walk(bytes).is_none() {
        return Err(ImageError::new(Kind::Damaged, "the JPEG picture is cut off or damaged"));
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_image_width = Some(SIDE_PX_MAX);
    limits.max_image_height = Some(SIDE_PX_MAX);
    limits.max_alloc = Some(DECODE_BYTES_MAX);
    reader.limits(limits);
    let rgb = reader.decode().map_err(|source| explain(format, source))?.into_rgb8();
    let (width, height) = (rgb.width() as usize, rgb.height() as usize);
    if width == 0 || height == 0 {
        return Err(ImageError::new(Kind::Size, "the picture has no pixels"));
    }
    Ok(RgbImage { width, height, data: rgb.into_raw() })
}

fn recognise(bytes: &[u8]) -> Result<ImageFormat, ImageError> {
    match ::image::guess_format(bytes) {
        Ok(f @ (ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::Bmp | ImageFormat::Tiff)) => {
            Ok(f)
        }
        _ => Err(ImageError::new(
            Kind::Format,
            "not a picture that can be read: give PNG, JPEG, BMP or TIFF",
        )),
    }
}

fn explain(format: ImageFormat, source: ::image::ImageError) -> ImageError {
    use ::image::ImageError as E;
    let name = format.extensions_str().first().copied().unwrap_or("picture");
    match source {
        E::Limits(_) => ImageError::with_source(
            Kind::Size,
            format!("the {name} picture is larger than {SIDE_PX_MAX} pixels a side or 64 Mpx"),
            source,
        ),
        E::Unsupported(_) => ImageError::with_source(
            Kind::Format,
            format!("the {name} picture uses a variant that cannot be read: save it as 8-bit PNG"),
            source,
        ),
        _ => ImageError::with_source(
            Kind::Damaged,
            format!("the {name} picture is cut off or damaged"),
            source,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::image::{DynamicImage, ImageBuffer, Luma, Rgb};
    use proptest::prelude::*;

    fn sample() -> DynamicImage {
        let mut state = 1u32;
        DynamicImage::ImageRgb8(ImageBuffer::from_fn(37, 23, |x, y| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            Rgb([(x * 6) as u8, (y * 11) as u8, (state >> 24) as u8])
        }))
    }

    fn encode(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        image.write_to(&mut out, format).unwrap();
        out.into_inner()
    }

    const FORMATS: [ImageFormat; 4] =
        [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Bmp, ImageFormat::Tiff];

    #[test]
    fn every_lossless_format_gives_the_pixels_back() {
        let image = sample();
        for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Tiff] {
            let got = decode(&encode(&image, format)).unwrap();
            assert_eq!((got.width, got.height), (37, 23));
            assert_eq!(got.data, image.to_rgb8().into_raw(), "{format:?}");
        }
        let jpeg = decode(&encode(&image, ImageFormat::Jpeg)).unwrap();
        assert_eq!(jpeg.data.len(), 37 * 23 * 3);
    }

    #[test]
    fn grey_and_16_bit_become_8_bit_rgb() {
        let grey = ImageBuffer::from_fn(4, 1, |x, _| Luma([x as u8 * 80]));
        let got = decode(&encode(&grey.into(), ImageFormat::Png)).unwrap();
        assert_eq!(got.data, [0, 0, 0, 80, 80, 80, 160, 160, 160, 240, 240, 240]);

        let deep: ImageBuffer<Luma<u16>, _> =
            ImageBuffer::from_raw(4, 1, vec![0u16, 128, 129, 65535]).unwrap();
        let got = decode(&encode(&deep.into(), ImageFormat::Png)).unwrap();
        assert_eq!(got.data, [0, 0, 0, 0, 0, 0, 1, 1, 1, 255, 255, 255]);
    }

    #[test]
    fn a_truncated_file_is_an_error_in_every_format() {
        let image = sample();
        for format in FORMATS {
            let whole = encode(&image, format);
            for cut in [whole.len() / 4, whole.len() / 2, whole.len() * 9 / 10] {
                let err = decode(&whole[..cut]).unwrap_err();
                assert_eq!(err.kind(), Kind::Damaged, "{format:?} cut at {cut}: {err}");
            }
        }
    }

    #[test]
    fn a_jpeg_cut_anywhere_is_refused_and_bytes_after_its_end_do_not_matter() {
        let mut whole = encode(&sample(), ImageFormat::Jpeg);
        for cut in 0..whole.len() - 1 {
            assert!(decode(&whole[..cut]).is_err(), "cut at {cut}");
        }
        whole.extend_from_slice(b"camera's trailer");
        assert!(decode(&whole).is_ok());
    }

    #[test]
    fn what_is_no_picture_is_refused_with_a_remedy() {
        for bytes in [&b""[..], b"hello", &[0; 100]] {
            let err = decode(bytes).unwrap_err();
            assert_eq!(err.kind(), Kind::Format);
            assert!(err.to_string().contains("PNG, JPEG, BMP or TIFF"));
        }
    }

    #[test]
    fn a_picture_over_the_size_limit_is_refused_before_it_is_allocated() {
        let mut bmp = encode(&sample(), ImageFormat::Bmp);
        bmp[18..22].copy_from_slice(&(SIDE_PX_MAX + 1).to_le_bytes());
        assert_eq!(decode(&bmp).unwrap_err().kind(), Kind::Size);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn damaged_bytes_never_panic(
            which in 0usize..4,
            cut in 0.0f64..1.0,
            hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        ) {
            let mut bytes = encode(&sample(), FORMATS[which]);
            for (at, value) in hits {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            bytes.truncate((bytes.len() as f64 * cut) as usize);
            if let Ok(image) = decode(&bytes) {
                prop_assert_eq!(image.data.len(), image.width * image.height * 3);
            }
        }
    }
}

//! A camera's JPEG frames.

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::{ImageError, ImageErrorKind as Kind, jpeg};

/// Decodes `file` into `out` as RGB rows of a picture of `width` x `height` pixels, reusing the
/// memory of `out`; the decoder allocates its tables and rows anew for each frame. What follows
/// the end of the picture is not read: drivers leave it there.
///
/// Strict: a frame with a damaged spot is refused, while a decoder for people would paint over
/// it. Cameras that leave the Huffman tables out say so by a segment `AVI1` and mean the usual
/// ones.
pub(super) fn decode_frame(
    file: &[u8],
    (width, height): (usize, usize),
    out: &mut Vec<u8>,
) -> Result<(), ImageError> {
    let Some(whole) = jpeg::walk(file) else {
        return Err(ImageError::new(Kind::Damaged, "the JPEG frame is cut off or damaged"));
    };
    if whole.is_progressive {
        let message = "the JPEG frame is progressive: set the camera to baseline JPEG";
        return Err(ImageError::new(Kind::Format, message));
    }
    // Without its end marker: behind one, the decoder goes on with zeros where data are missing,
    // and at the end of the input it says so.
    let file = &file[..whole.end];
    let damaged =
        |source| ImageError::with_source(Kind::Damaged, "the JPEG frame is damaged", source);
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(width)
        .set_max_height(height)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(file), options);
    decoder.decode_headers().map_err(damaged)?;
    if decoder.dimensions() != Some((width, height)) {
        let message = format!("the JPEG frame does not have the camera's {width}x{height} pixels");
        return Err(ImageError::new(Kind::Damaged, message));
    }
    out.resize(width * height * 3, 0);
    decoder.decode_into(out).map_err(damaged)
}

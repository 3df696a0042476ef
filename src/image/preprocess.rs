//! From a camera's picture to the model's input: the antialiased bilinear (triangle) filter that
//! Pillow, torchvision (`antialias=True`) and `fast_image_resize` (`Convolution(Bilinear)`) use.
//!
//! Own code instead of `fast_image_resize` for two reasons: that crate computes its weights anew,
//! on the heap, for every picture, and it wants RGB, which most cameras do not send. Here the
//! weights of a picture size are computed once and kept, so that a running station allocates
//! nothing per frame, and the camera's bytes are read where they lie; the tests hold it to that
//! crate's result within one level, and the benches to its speed.

use super::mjpeg;
use super::rectify::Rectifier;
use super::stretch::{Place, Rect, Stretcher};
use super::{ImageError, ImageErrorKind};
use crate::frame::{Framing, Geometry, Grid, ImageView, PixelFormat};

/// Smallest side of a picture in pixels that holds every colour of a Bayer mosaic.
const MOSAIC_PX_MIN: usize = 2;

/// Resizes pictures of any size and layout to one model size as RGB.
///
/// The memory of the largest picture size so far is kept; a picture of a size that has been seen
/// before costs no allocation, besides those of the decoder when it is a JPEG frame.
#[derive(Debug)]
pub struct Preprocessor {
    width: usize,
    height: usize,
    /// One for each tile of a picture, so that what a tile needs is computed once; one at least.
    lanes: Vec<Lane>,
    /// A JPEG frame, decoded.
    decoded: Vec<u8>,
}

/// The filters of one tile with their memory.
#[derive(Debug, Default)]
struct Lane {
    stretcher: Stretcher,
    rectifier: Rectifier,
}

impl Preprocessor {
    /// For a model input of `width` x `height` pixels.
    pub fn new(width: usize, height: usize) -> Self {
        Self { width, height, lanes: vec![Lane::default()], decoded: Vec::new() }
    }

    /// Bytes of a result: rows of RGB without padding.
    pub fn output_bytes(&self) -> usize {
        self.width * self.height * 3
    }

    /// The picture's own bytes, when they are the model's input already: there is nothing to do
    /// and nothing to copy.
    pub fn as_is<'a>(&self, picture: &ImageView<'a>, geometry: &Geometry) -> Option<&'a [u8]> {
        let fits = picture.format() == PixelFormat::Rgb8
            && (picture.width(), picture.height()) == (self.width, self.height)
            && geometry.is_whole();
        if fits { picture.contiguous() } else { None }
    }

    /// Writes `picture`, stretched, to `dst` as RGB rows without padding.
    ///
    /// # Errors
    /// As [`Preprocessor::run_in`].
    pub fn run(&mut self, picture: ImageView<'_>, dst: &mut [u8]) -> Result<(), ImageError> {
        self.run_in(&Geometry::WHOLE, picture, dst)
    }

    /// Writes what `geometry` shows of `picture`, stretched, to `dst` as RGB rows without
    /// padding.
    ///
    /// # Errors
    /// When `dst` is not [`Preprocessor::output_bytes`] long, the geometry does not fit the
    /// picture, or the picture is damaged; `dst` is then untouched.
    pub fn run_in(
        &mut self,
        geometry: &Geometry,
        picture: ImageView<'_>,
        dst: &mut [u8],
    ) -> Result<(), ImageError> {
        self.takes(dst, 1)?;
        check(geometry, &picture)?;
        self.decoded(&picture, |all, picture| all.shape(0, geometry, picture, dst))
    }

    /// Writes every tile that `grid` cuts out of what `geometry` shows of `picture`, stretched, to
    /// `dst`, one after the other. A compressed picture is decoded once.
    ///
    /// # Errors
    /// As [`Preprocessor::run_in`], with room for `grid.count()` results in `dst`, and when a tile
    /// has too few pixels.
    pub fn run_tiles(
        &mut self,
        geometry: &Geometry,
        grid: &Grid,
        picture: ImageView<'_>,
        dst: &mut [u8],
    ) -> Result<(), ImageError> {
        self.takes(dst, grid.count())?;
        check(geometry, &picture)?;
        let size = (picture.width(), picture.height());
        for at in 0..grid.count() {
            check(&grid.tile(geometry, size, at), &picture)?;
        }
        if self.lanes.len() < grid.count() {
            self.lanes.resize_with(grid.count(), Lane::default);
        }
        let bytes = self.output_bytes();
        self.decoded(&picture, |all, picture| {
            for (at, dst) in dst.chunks_exact_mut(bytes).enumerate() {
                all.shape(at, &grid.tile(geometry, size, at), picture, dst);
            }
        })
    }

    /// Writes what `framing` shows of `picture` to `dst` as the inputs of a model with maps of `map`
    /// (width, height) pixels: one result for each tile, one after the other.
    ///
    /// # Errors
    /// As [`Preprocessor::run_tiles`].
    pub fn run_framed(
        &mut self,
        framing: &Framing,
        map: (usize, usize),
        picture: ImageView<'_>,
        dst: &mut [u8],
    ) -> Result<(), ImageError> {
        match framing.tiling.is_whole() {
            true => self.run_in(&framing.geometry, picture, dst),
            false => self.run_tiles(&framing.geometry, &framing.tiling.grid(map), picture, dst),
        }
    }

    fn takes(&self, dst: &[u8], results: usize) -> Result<(), ImageError> {
        let (have, need) = (dst.len(), results * self.output_bytes());
        if have == need {
            return Ok(());
        }
        Err(ImageError::new(
            ImageErrorKind::Buffer,
            format!("the model input takes {need} bytes, but the buffer has {have}"),
        ))
    }

    /// Hands on the picture, decoded when it is compressed.
    fn decoded(
        &mut self,
        picture: &ImageView<'_>,
        then: impl FnOnce(&mut Self, &ImageView<'_>),
    ) -> Result<(), ImageError> {
        if !picture.format().is_compressed() {
            then(self, picture);
            return Ok(());
        }
        let (width, height) = (picture.width(), picture.height());
        let file = picture.contiguous().unwrap_or_default();
        // Taken out, so that the filter's memory can be borrowed beside it.
        let mut decoded = std::mem::take(&mut self.decoded);
        let result = mjpeg::decode_frame(file, (width, height), &mut decoded).and_then(|()| {
            let view = ImageView::new(&decoded, width, height, width * 3, PixelFormat::Rgb8);
            view.map_err(|error| {
                ImageError::with_source(ImageErrorKind::Size, "the JPEG frame is empty", error)
            })
            .map(|view| then(self, &view))
        });
        self.decoded = decoded;
        result
    }

    fn shape(&mut self, at: usize, geometry: &Geometry, picture: &ImageView<'_>, dst: &mut [u8]) {
        let (dst, _) = dst.as_chunks_mut::<3>();
        let to = (self.width, self.height);
        let Lane { stretcher, rectifier } = &mut self.lanes[at];
        if let Some(corners) = geometry.corners {
            rectifier.run(stretcher, picture, corners, to, dst);
            return;
        }
        let from = match geometry.roi.map(|roi| roi.map(|v| v as usize)) {
            Some([x, y, width, height]) => Rect { x, y, width, height },
            None => Rect::whole(picture),
        };
        let quarters = geometry.rotate / 90;
        let lying = quarters % 2 == 1;
        let upright = if lying { (self.height, self.width) } else { to };
        let place = Place::turned(upright, geometry.mirror, quarters);
        stretcher.run(picture, from, (upright, place), dst);
    }
}

fn check(geometry: &Geometry, picture: &ImageView<'_>) -> Result<(), ImageError> {
    check_size(geometry, picture.format(), (picture.width(), picture.height()))
}

/// Whether pictures of this format and size (width, height) hold what the model is to see.
pub(super) fn check_size(
    geometry: &Geometry,
    format: PixelFormat,
    (width, height): (usize, usize),
) -> Result<(), ImageError> {
    let fits = geometry.check().and_then(|()| geometry.fits((width, height)));
    fits.map_err(|error| {
        let message = "what the model is to see of the picture cannot be cut out";
        ImageError::with_source(ImageErrorKind::Size, message, error)
    })?;
    if format.mosaic().is_some() && width.min(height) < MOSAIC_PX_MIN {
        let message = format!("a Bayer picture of {width}x{height} pixels lacks colours");
        return Err(ImageError::new(ImageErrorKind::Size, message));
    }
    Ok(())
}

#[cfg(test)]
#[path = "preprocess_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "layout_jpeg_tests.rs"]
mod layout_jpeg_tests;

#[cfg(test)]
#[path = "layout_tests.rs"]
mod layout_tests;

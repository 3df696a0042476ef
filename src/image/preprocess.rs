//! Stretching a picture to the model's size: the antialiased bilinear (triangle) filter that
//! Pillow, torchvision (`antialias=True`) and `fast_image_resize` (`Convolution(Bilinear)`) use.
//!
//! Own code instead of `fast_image_resize` for one reason: that crate computes its weights anew,
//! on the heap, for every picture. Here the weights of a picture size are computed once and kept,
//! so that a running station allocates nothing per frame; the tests hold it to that crate's
//! result within one level, and the benches to its speed.

use super::kernel::{Kernel, mix_pixels, mix_rows};
use super::{ImageError, ImageErrorKind};
use crate::frame::{ImageView, PixelFormat};

/// Resizes pictures of any size and layout to one model size as RGB.
///
/// The memory of the largest picture size so far is kept; a picture of a size that has been seen
/// before costs no allocation.
#[derive(Debug)]
pub struct Preprocessor {
    width: usize,
    height: usize,
    /// Picture size that the kernels are for.
    planned: (usize, usize),
    across: Kernel,
    down: Kernel,
    /// One row of vertical sums.
    sums: Vec<u16>,
}

impl Preprocessor {
    /// For a model input of `width` x `height` pixels.
    pub fn new(width: usize, height: usize) -> Self {
        let (across, down) = (Kernel::default(), Kernel::default());
        Self { width, height, planned: (0, 0), across, down, sums: Vec::new() }
    }

    /// Bytes of a result: rows of RGB without padding.
    pub fn output_bytes(&self) -> usize {
        self.width * self.height * 3
    }

    /// Writes `picture`, stretched, to `dst` as RGB rows without padding.
    ///
    /// # Errors
    /// When `dst` is not [`Preprocessor::output_bytes`] long; `dst` is then untouched.
    pub fn run(&mut self, picture: ImageView<'_>, dst: &mut [u8]) -> Result<(), ImageError> {
        if dst.len() != self.output_bytes() {
            let (have, need) = (dst.len(), self.output_bytes());
            return Err(ImageError::new(
                ImageErrorKind::Buffer,
                format!("the model input takes {need} bytes, but the buffer has {have}"),
            ));
        }
        self.plan(picture.width(), picture.height());
        match picture.format() {
            PixelFormat::Rgb8 => self.stretch(picture, dst, |p: [u8; 3]| p),
            PixelFormat::Bgr8 => self.stretch(picture, dst, |[b, g, r]| [r, g, b]),
            PixelFormat::Mono8 => self.stretch(picture, dst, |[v]| [v; 3]),
            other => {
                let message = format!("{other} pictures cannot be converted");
                return Err(ImageError::new(ImageErrorKind::Format, message));
            }
        }
        Ok(())
    }

    fn plan(&mut self, width: usize, height: usize) {
        if self.planned == (width, height) {
            return;
        }
        self.across.rebuild(width, self.width);
        self.down.rebuild(height, self.height);
        self.planned = (width, height);
    }

    fn stretch<const C: usize>(
        &mut self,
        picture: ImageView<'_>,
        dst: &mut [u8],
        to_rgb: impl Fn([u8; C]) -> [u8; 3],
    ) {
        // Rows first: the sums run over contiguous bytes, which the compiler turns into vector
        // code, and leave only the model's number of rows to the slower pass across.
        self.sums.resize(picture.width() * C, 0);
        let (rows, _) = dst.as_chunks_mut::<3>();
        for (y, out) in rows.chunks_exact_mut(self.width.max(1)).enumerate() {
            mix_rows(|y| picture.row(y), self.down.taps(y), &mut self.sums);
            for (x, pixel) in out.iter_mut().enumerate() {
                *pixel = to_rgb(mix_pixels(&self.sums, self.across.taps(x)));
            }
        }
    }
}

#[cfg(test)]
#[path = "preprocess_tests.rs"]
mod tests;

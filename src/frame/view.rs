//! A borrowed picture: bytes plus how to read them.

use super::PixelFormat;

/// Why bytes cannot be read as a picture of the stated size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{have} bytes cannot hold a {width}x{height} {format} picture with stride {stride} (needs {need})"
)]
pub struct ViewError {
    width: usize,
    height: usize,
    stride: usize,
    format: PixelFormat,
    have: usize,
    need: usize,
}

/// A picture borrowed from a camera buffer or a decoded file.
#[derive(Clone, Copy, Debug)]
pub struct ImageView<'a> {
    data: &'a [u8],
    width: usize,
    height: usize,
    stride: usize,
    format: PixelFormat,
}

impl<'a> ImageView<'a> {
    /// `stride` is the distance between rows in bytes; of a compressed picture it says nothing.
    ///
    /// # Errors
    /// When the picture is empty, the stride is shorter than a row, `data` is too short, or the
    /// width is odd where the format samples columns in pairs.
    pub fn new(
        data: &'a [u8],
        width: usize,
        height: usize,
        stride: usize,
        format: PixelFormat,
    ) -> Result<Self, ViewError> {
        let row = format.row_bytes(width);
        let rows = format.rows(height).saturating_sub(1);
        let need = match format.is_compressed() {
            true => 1,
            false => stride.saturating_mul(rows).saturating_add(row),
        };
        let odd = format.width_is_even() && width % 2 == 1;
        if width == 0 || height == 0 || stride < row || data.len() < need || odd {
            return Err(ViewError { width, height, stride, format, have: data.len(), need });
        }
        Ok(Self { data, width, height, stride, format })
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Layout of one pixel.
    pub fn format(&self) -> PixelFormat {
        self.format
    }

    /// The bytes of row `y`, without the padding after it. The rows of a second plane follow
    /// those of the first ([`PixelFormat::rows`] in all). Empty when compressed.
    pub fn row(&self, y: usize) -> &'a [u8] {
        if self.format.is_compressed() {
            return &[];
        }
        let start = y * self.stride;
        &self.data[start..start + self.format.row_bytes(self.width)]
    }

    /// All pixels as one slice when rows are not padded; the file when compressed.
    pub fn contiguous(&self) -> Option<&'a [u8]> {
        if self.format.is_compressed() {
            return Some(self.data);
        }
        let row = self.format.row_bytes(self.width);
        (self.stride == row).then(|| &self.data[..row * self.format.rows(self.height)])
    }
}

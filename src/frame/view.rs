//! A borrowed picture: bytes plus how to read them.

/// Memory layout of a frame, named as in the GenICam Pixel Format Naming Convention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    /// 8-bit grey.
    Mono8,
    /// 8-bit R, G, B interleaved.
    Rgb8,
    /// 8-bit B, G, R interleaved.
    Bgr8,
}

impl PixelFormat {
    /// Bytes one pixel takes.
    pub fn bytes_per_pixel(self) -> usize {
        match self {
            PixelFormat::Mono8 => 1,
            PixelFormat::Rgb8 | PixelFormat::Bgr8 => 3,
        }
    }
}

/// Why bytes cannot be read as a picture of the stated size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{have} bytes cannot hold a {width}x{height} {format:?} picture with stride {stride} (needs {need})"
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
    /// `stride` is the distance between rows in bytes.
    ///
    /// # Errors
    /// When the picture is empty, the stride is shorter than a row, or `data` is too short.
    pub fn new(
        data: &'a [u8],
        width: usize,
        height: usize,
        stride: usize,
        format: PixelFormat,
    ) -> Result<Self, ViewError> {
        let row = width.saturating_mul(format.bytes_per_pixel());
        let need = stride.saturating_mul(height.saturating_sub(1)).saturating_add(row);
        if width == 0 || height == 0 || stride < row || data.len() < need {
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

    /// The bytes of row `y`, without the padding after it.
    pub fn row(&self, y: usize) -> &'a [u8] {
        let start = y * self.stride;
        &self.data[start..start + self.width * self.format.bytes_per_pixel()]
    }

    /// All pixels as one slice when rows are not padded.
    pub fn contiguous(&self) -> Option<&'a [u8]> {
        let row = self.width * self.format.bytes_per_pixel();
        (self.stride == row).then(|| &self.data[..row * self.height])
    }
}

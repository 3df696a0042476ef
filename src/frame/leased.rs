//! A frame: a leased buffer plus what the camera knew about it.

use super::{CameraId, ImageView, Lease, Nanos, PixelFormat, ViewError};

/// What is known of a frame besides its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameMeta {
    /// The camera it came from.
    pub camera: CameraId,
    /// Counts the camera's connections: frame numbers start again with each.
    pub epoch: u32,
    /// The camera's frame number, unwrapped; a gap is a lost frame.
    pub seq: u64,
    /// Monotonic time at which the frame was complete in memory.
    pub arrived: Nanos,
    /// Layout of one pixel.
    pub format: PixelFormat,
    /// Pixels in a row.
    pub width: usize,
    /// Rows; a value of each frame, since line-scan frames vary.
    pub height: usize,
    /// Bytes from one row to the next.
    pub stride: usize,
}

impl FrameMeta {
    /// Bytes that a frame of this shape takes, padding included.
    pub fn bytes(&self) -> usize {
        self.stride.saturating_mul(self.height)
    }
}

/// One picture of one part.
#[derive(Debug)]
pub struct Frame {
    /// What the camera knew.
    pub meta: FrameMeta,
    /// The bytes; may be longer than the picture.
    pub lease: Lease,
}

impl Frame {
    /// The picture in the buffer.
    ///
    /// # Errors
    /// When the buffer cannot hold a picture of the stated shape: the frame is damaged.
    pub fn view(&self) -> Result<ImageView<'_>, ViewError> {
        let FrameMeta { format, width, height, stride, .. } = self.meta;
        ImageView::new(&self.lease, width, height, stride, format)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Pool;

    fn frame(bytes: usize, stride: usize) -> Frame {
        let meta = FrameMeta {
            camera: CameraId(0),
            epoch: 1,
            seq: 7,
            arrived: Nanos(5),
            format: PixelFormat::Rgb8,
            width: 4,
            height: 3,
            stride,
        };
        Frame { meta, lease: Pool::new(1, bytes).lease().unwrap() }
    }

    #[test]
    fn a_frame_that_does_not_fit_its_buffer_is_refused() {
        assert!(frame(36, 12).view().is_ok());
        assert!(frame(100, 16).view().is_ok());
        assert!(frame(35, 12).view().is_err());
        assert!(frame(100, 11).view().is_err());
    }
}

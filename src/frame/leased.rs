//! A frame: a leased buffer plus what the camera knew about it.

use super::{CameraId, ImageView, Lease, Nanos, PixelFormat, VIEWS_MAX, ViewError};

/// What is known of a frame besides its bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
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
    /// Bytes of the buffer that belong to the picture.
    pub bytes: usize,
    /// What the camera told besides.
    pub facts: Facts,
}

/// Which picture it is: unique within a run of the station.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameKey {
    /// The camera it came from.
    pub camera: CameraId,
    /// The camera's connection.
    pub epoch: u32,
    /// The camera's frame number, unwrapped.
    pub seq: u64,
}

/// The pictures of a part, in the order of the cameras.
pub type FrameKeys = [Option<FrameKey>; VIEWS_MAX];

/// What a camera can tell of a frame besides its shape; `None` where it does not.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Facts {
    /// Frame number as it came, before unwrapping (GenICam `ChunkFrameID`, V4L2 `sequence`).
    pub raw_id: Option<u64>,
    /// The camera's own clock in nanoseconds; comparable within one epoch only.
    pub device_ns: Option<u64>,
    /// Exposure time in microseconds (`ChunkExposureTime`).
    pub exposure_us: Option<f32>,
    /// Gain in dB, or as the camera counts it (`ChunkGain`).
    pub gain: Option<f32>,
    /// Levels of the input lines, one bit each (`ChunkLineStatusAll`).
    pub line_status: Option<u32>,
    /// The camera's own counter of triggers or pulses (`ChunkCounterValue`).
    pub counter: Option<u64>,
    /// Times that a back-end copied the whole picture in this process after the driver or the
    /// network stack had handed it over.
    pub copies: u8,
}

impl FrameMeta {
    /// Which picture it is.
    pub fn key(&self) -> FrameKey {
        FrameKey { camera: self.camera, epoch: self.epoch, seq: self.seq }
    }

    /// Times that the whole picture is written out again between the driver and the engine: by the
    /// back-end, and by the decoder of a compressed frame.
    pub fn copies(&self) -> u8 {
        self.facts.copies.saturating_add(u8::from(self.format.is_compressed()))
    }

    /// A frame of rows without padding that tells nothing besides.
    pub fn packed(
        camera: CameraId,
        (epoch, seq): (u32, u64),
        arrived: Nanos,
        format: PixelFormat,
        (width, height): (usize, usize),
    ) -> Self {
        let stride = format.row_bytes(width);
        let bytes = stride.saturating_mul(format.rows(height));
        let facts = Facts::default();
        Self { camera, epoch, seq, arrived, format, width, height, stride, bytes, facts }
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
        let FrameMeta { format, width, height, stride, bytes, .. } = self.meta;
        let data = self.lease.get(..bytes).unwrap_or(&self.lease);
        ImageView::new(data, width, height, stride, format)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Pool;

    fn frame(bytes: usize, stride: usize) -> Frame {
        let (camera, size) = (CameraId(0), (4, 3));
        let packed = FrameMeta::packed(camera, (1, 7), Nanos(5), PixelFormat::Rgb8, size);
        let meta = FrameMeta { stride, bytes: stride * 3, ..packed };
        Frame { meta, lease: Pool::new(1, bytes).lease().unwrap() }
    }

    #[test]
    fn a_compressed_frame_is_written_out_once_more_than_its_camera_says() {
        let meta = frame(36, 12).meta;
        assert_eq!(meta.copies(), 0);
        let facts = Facts { copies: 1, ..meta.facts };
        let compressed = FrameMeta { facts, format: PixelFormat::Mjpeg, ..meta };
        assert_eq!((FrameMeta { facts, ..meta }.copies(), compressed.copies()), (1, 2));
    }

    #[test]
    fn a_frame_that_does_not_fit_its_buffer_is_refused() {
        assert!(frame(36, 12).view().is_ok());
        assert!(frame(100, 16).view().is_ok());
        assert!(frame(35, 12).view().is_err());
        assert!(frame(100, 11).view().is_err());
    }
}

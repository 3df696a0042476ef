//! The camera itself, by `nokhwa`.

use nokhwa::Camera as Nokhwa;
use nokhwa::utils::{
    CameraFormat, CameraIndex, FrameFormat, RequestedFormat, RequestedFormatType, Resolution,
};

use super::WebcamOptions;
use super::reader::Device;
use crate::capture::{CameraError, CameraErrorKind};
use crate::frame::PixelFormat;

struct Opened(Nokhwa);

impl Device for Opened {
    fn read(&mut self, show: &mut dyn FnMut(&[u8])) -> Result<(), String> {
        // Borrowed from the driver's buffer: `frame` would copy it first.
        let bytes = self.0.frame_raw().map_err(|error| error.to_string())?;
        show(&bytes);
        Ok(())
    }
}

/// Opens the camera with exactly these settings and starts its stream.
pub(super) fn open(options: &WebcamOptions) -> Result<Box<dyn Device>, CameraError> {
    let format = frame_format(options.format)?;
    let size = Resolution::new(options.width as u32, options.height as u32);
    let wanted = CameraFormat::new(size, format, options.rate_hz);
    let formats = [format];
    let request = RequestedFormat::with_formats(RequestedFormatType::Exact(wanted), &formats);
    let refuse = |what: &str, error: String| {
        CameraError::new(
            CameraErrorKind::Open,
            format!(
                "webcam {what} (/dev/video{}, {wanted}): {error}; `v4l2-ctl --list-formats-ext -d \
                 {}` shows what it has; one that another program left in a format nokhwa does not \
                 know cannot be opened at all: set it back with v4l2-ctl, or use kind = \"v4l2\"",
                options.index, options.index
            ),
        )
    };
    let index = CameraIndex::Index(options.index);
    let mut camera =
        Nokhwa::new(index, request).map_err(|error| refuse("not opened", error.to_string()))?;
    let got = camera.camera_format();
    if got != wanted {
        return Err(refuse("took other settings", got.to_string()));
    }
    camera.open_stream().map_err(|error| refuse("does not stream", error.to_string()))?;
    Ok(Box::new(Opened(camera)))
}

fn frame_format(format: PixelFormat) -> Result<FrameFormat, CameraError> {
    Ok(match format {
        PixelFormat::Mjpeg => FrameFormat::MJPEG,
        PixelFormat::Yuyv => FrameFormat::YUYV,
        PixelFormat::Nv12 => FrameFormat::NV12,
        PixelFormat::Rgb8 => FrameFormat::RAWRGB,
        PixelFormat::Bgr8 => FrameFormat::RAWBGR,
        other => {
            return Err(CameraError::new(
                CameraErrorKind::Settings,
                format!("a webcam has no {other}: use YUYV, NV12, RGB8, BGR8 or MJPEG"),
            ));
        }
    })
}

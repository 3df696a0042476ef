//! One file into one leased buffer.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::Source;
use super::scan::Item;
use crate::capture::{CameraError, CameraErrorKind};
use crate::frame::PixelFormat;
use crate::image;

/// Largest picture file in bytes: 8 times the largest frame a station is sized for, so that
/// only a file that is no picture is refused.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// How to read the buffer a file was loaded into; rows are not padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) format: PixelFormat,
}

impl Shape {
    pub(super) fn bytes(self) -> Option<usize> {
        self.format.rows(self.height).checked_mul(self.format.row_bytes(self.width))
    }
}

/// Why a file gave no picture.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error("cannot read the file")]
    Read(#[from] io::Error),
    #[error("cannot decode the file")]
    Decode(#[from] image::ImageError),
    #[error("the file has {have} bytes, the configured frame {need}")]
    Length { have: u64, need: u64 },
    #[error("the picture needs {need} bytes, a buffer holds {room}: it grew after the start")]
    Room { need: usize, room: usize },
}

/// Fills `buffer` from the file at `path`.
pub(super) fn load(path: &Path, source: Source, buffer: &mut [u8]) -> Result<Shape, LoadError> {
    match source {
        Source::Images => load_image(path, buffer),
        Source::Raw { width, height, format } => {
            load_raw(path, Shape { width, height, format }, buffer)
        }
    }
}

fn load_image(path: &Path, buffer: &mut [u8]) -> Result<Shape, LoadError> {
    let file = File::open(path)?;
    let have = file.metadata()?.len();
    if have > FILE_BYTES_MAX {
        return Err(LoadError::Length { have, need: FILE_BYTES_MAX });
    }
    let mut bytes = Vec::with_capacity(have as usize);
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    let picture = image::decode(&bytes)?;
    let (need, room) = (picture.data.len(), buffer.len());
    let Some(target) = buffer.get_mut(..need) else {
        return Err(LoadError::Room { need, room });
    };
    target.copy_from_slice(&picture.data);
    Ok(Shape { width: picture.width, height: picture.height, format: PixelFormat::Rgb8 })
}

/// Reads the pixels straight into the buffer; no allocation.
fn load_raw(path: &Path, shape: Shape, buffer: &mut [u8]) -> Result<Shape, LoadError> {
    let mut file = File::open(path)?;
    let have = file.metadata()?.len();
    let room = buffer.len();
    let need = shape.bytes().unwrap_or(usize::MAX);
    if have != need as u64 {
        return Err(LoadError::Length { have, need: need as u64 });
    }
    let Some(target) = buffer.get_mut(..need) else {
        return Err(LoadError::Room { need, room });
    };
    file.read_exact(target)?;
    Ok(shape)
}

/// Bytes of the largest frame among `items`. Unreadable files count nothing here: they are
/// reported when their turn comes.
pub(super) fn largest(items: &[Item], source: Source) -> Result<usize, CameraError> {
    let largest = match source {
        Source::Raw { width, height, format } => Shape { width, height, format }.bytes(),
        Source::Images => items.iter().filter_map(|item| image_bytes(&item.path)).max(),
    };
    match largest {
        Some(bytes) if bytes > 0 => Ok(bytes),
        _ => Err(CameraError::new(
            CameraErrorKind::Empty,
            "no file of the replay folder can be read as a frame: check the files and the \
             configured frame format",
        )),
    }
}

/// Size of the decoded picture by its header alone.
fn image_bytes(path: &Path) -> Option<usize> {
    let reader = ::image::ImageReader::open(path).ok()?.with_guessed_format().ok()?;
    let (width, height) = reader.into_dimensions().ok()?;
    Shape { width: width as usize, height: height as usize, format: PixelFormat::Rgb8 }.bytes()
}

//! Reading a recording: its head, its decisions in order, their pictures.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::line::{FrameLine, Head, PartLine};
use super::store::line_files;
use super::{FORMAT, FRAMES, HEAD_FILE};
use crate::frame::{ImageView, PixelFormat, ViewError};
use crate::sys::fs::{self, FsError};

/// A head is some lines of text; more is a wrong file.
const HEAD_BYTES_MAX: u64 = 1 << 20;
/// Largest picture that is read: far above any camera's, so that a damaged line asks for no more.
const FRAME_BYTES_MAX: u64 = 1 << 30;

/// A recording that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A file cannot be read.
    #[error("the recording cannot be read")]
    Files(#[from] FsError),
    /// The head is not one.
    #[error("{} is not the head of a recording", file.display())]
    Head {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// The head is of another version.
    #[error("{}: format {format} is not format {FORMAT}: replay it with the program that made it ({program})", file.display())]
    Format {
        /// The file.
        file: PathBuf,
        /// Its version.
        format: u32,
        /// The program that wrote it.
        program: String,
    },
    /// A line is not one.
    #[error("{}:{line} is not the line of a decision", file.display())]
    Line {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A picture is not as it was written.
    #[error("{}: the {bytes} bytes of the picture at {offset} {what}", file.display())]
    Frame {
        /// The file.
        file: PathBuf,
        /// First byte.
        offset: u64,
        /// How many.
        bytes: u64,
        /// What is wrong with them.
        what: &'static str,
    },
}

/// A recording that is read.
#[derive(Debug)]
pub struct Reading {
    head: Head,
    files: Vec<PathBuf>,
}

/// A decision and where its pictures lie.
#[derive(Debug)]
pub struct Part {
    /// What was recorded.
    pub line: PartLine,
    frames: PathBuf,
}

impl Reading {
    /// Opens the recording in `dir`.
    ///
    /// # Errors
    /// When it is none, or of another version.
    pub fn open(dir: &Path) -> Result<Self, ReadError> {
        let file = dir.join(HEAD_FILE);
        let text = fs::read_text(&file, HEAD_BYTES_MAX)?;
        let head: Head = toml::from_str(&text)
            .map_err(|source| ReadError::Head { file: file.clone(), source: Box::new(source) })?;
        if head.format != FORMAT {
            let Head { format, program, .. } = head;
            return Err(ReadError::Format { file, format, program });
        }
        Ok(Self { head, files: line_files(dir)? })
    }

    /// What was recorded by what.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Hands over every decision in the order in which they were recorded.
    ///
    /// # Errors
    /// When a file cannot be read or is damaged, or with what `each` fails.
    pub fn parts<E: From<ReadError>>(
        &self,
        mut each: impl FnMut(Part) -> Result<(), E>,
    ) -> Result<(), E> {
        for file in &self.files {
            let opened = File::open(file).map_err(|error| FsError::io("open", file, error));
            let mut lines = BufReader::new(opened.map_err(ReadError::from)?);
            let mut text = String::new();
            for number in 1.. {
                text.clear();
                let read = lines.read_line(&mut text);
                read.map_err(|error| ReadError::from(FsError::io("read", file, error)))?;
                // A line without an end was being written when the power failed.
                if !text.ends_with('\n') {
                    break;
                }
                let line = serde_json::from_str(&text).map_err(|source| ReadError::Line {
                    file: file.clone(),
                    line: number,
                    source,
                })?;
                each(Part { line, frames: file.with_extension(FRAMES) })?;
            }
        }
        Ok(())
    }
}

impl Part {
    /// Reads the bytes of one of its pictures and proves that they are those that were written.
    ///
    /// # Errors
    /// When they cannot be read or have changed.
    pub fn bytes(&self, frame: &FrameLine) -> Result<Vec<u8>, ReadError> {
        let damaged = |what| ReadError::Frame {
            file: self.frames.clone(),
            offset: frame.offset,
            bytes: frame.bytes,
            what,
        };
        if frame.bytes > FRAME_BYTES_MAX {
            return Err(damaged("are more than a picture has"));
        }
        let failed = |error| FsError::io("read", &self.frames, error);
        let mut file = File::open(&self.frames).map_err(failed)?;
        file.seek(SeekFrom::Start(frame.offset)).map_err(failed)?;
        let mut bytes = Vec::new();
        file.take(frame.bytes).read_to_end(&mut bytes).map_err(failed)?;
        if (bytes.len() as u64) < frame.bytes {
            return Err(damaged("are not all there"));
        }
        if crc32fast::hash(&bytes) != frame.crc32 {
            return Err(damaged("are not those that were recorded"));
        }
        Ok(bytes)
    }
}

impl FrameLine {
    /// The picture in its bytes; `None` when its layout is one that this program does not know.
    pub fn view<'a>(&self, bytes: &'a [u8]) -> Option<Result<ImageView<'a>, ViewError>> {
        let format = PixelFormat::named(&self.format)?;
        Some(ImageView::new(bytes, self.width, self.height, self.stride, format))
    }
}

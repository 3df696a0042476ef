//! From a picture file to training pictures: what the station would show the model of it, by the
//! station's own code.

use std::path::Path;

use crrd::config::Framings;
use crrd::frame::Framing;
use crrd::image::{Preprocessor, RgbImage};
use sha2::{Digest, Sha256};

use super::look::{Look, read};

/// How pictures are seen: the model's sides and what the configuration says.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// Side of the model's input in pixels.
    pub input: usize,
    /// Side of the model's map in pixels; tiles begin and end between them.
    pub map: usize,
    /// What of a picture, and in how many tiles, by class.
    pub framings: &'a Framings,
}

/// How the pictures of one class are seen. The default: whole, at once.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seen {
    /// What of them, in how many tiles.
    pub framing: Framing,
    /// There is a configuration, and none of its recipes names the class.
    pub is_unnamed: bool,
}

impl Sight<'_> {
    /// How the pictures of a class are seen.
    pub fn of_class(&self, class: &str) -> Seen {
        Seen { framing: self.framings.of_class(class), is_unnamed: self.framings.lack(class) }
    }

    /// Bytes of a training picture.
    pub(super) fn bytes(&self) -> usize {
        self.input * self.input * 3
    }

    /// Reads one picture: its tiles, one at least, and a glance at the whole. The error is a
    /// sentence.
    pub(super) fn load(
        &self,
        path: &Path,
        framing: &Framing,
    ) -> Result<(Vec<Vec<u8>>, Look), String> {
        let (bytes, picture) = read(path)?;
        let look = Look::of(&bytes, &picture)?;
        let inputs = inputs(&picture, framing, (self.input, self.map))?;
        Ok((inputs.chunks_exact(self.bytes()).map(<[u8]>::to_vec).collect(), look))
    }
}

/// Reads one picture and stretches it to `size` x `size` RGB; beside it the file's SHA-256. The
/// error is a sentence.
pub(crate) fn load_rgb(path: &Path, size: usize) -> Result<(Vec<u8>, [u8; 32]), String> {
    let (bytes, picture) = read(path)?;
    Ok((inputs(&picture, &Framing::WHOLE, (size, size))?, Sha256::digest(&bytes).into()))
}

/// What `framing` shows of a picture to a model with these sides of input and map: its tiles, one
/// after the other.
fn inputs(
    picture: &RgbImage,
    framing: &Framing,
    (input, map): (usize, usize),
) -> Result<Vec<u8>, String> {
    let mut preprocessor = Preprocessor::new(input, input);
    let mut inputs = vec![0; framing.tiling.count() * preprocessor.output_bytes()];
    let view = picture.view().map_err(|e| e.to_string())?;
    preprocessor
        .run_framed(framing, (map, map), view, &mut inputs)
        // With its causes: they say what does not fit.
        .map_err(|e| format!("{:#}", anyhow::Error::from(e)))?;
    Ok(inputs)
}

#[cfg(test)]
#[path = "sight_tests.rs"]
mod tests;

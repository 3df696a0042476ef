//! A sheet of pictures with their names, to be looked at.

use std::path::{Path, PathBuf};

use crrd::image::Preprocessor;
use font8x8::UnicodeFonts;
use image::ImageEncoder;
use image::codecs::png::PngEncoder;

use crate::dataset::read;

/// Side of a picture on the sheet.
const CELL_PX: usize = 192;
/// Room around it.
const GAP_PX: usize = 8;
/// Side of a letter.
const LETTER_PX: usize = 8;
/// Lines of text below a picture.
const LINES: usize = 2;
/// Pictures side by side.
const COLUMNS: usize = 5;
/// Pictures on a sheet; more nobody looks at.
const PICTURES_MAX: usize = 60;
const GROUND: u8 = 255;
const INK: u8 = 32;

/// Draws the pictures with two lines of text each as a PNG file; one that cannot be read any more
/// is left white.
///
/// # Errors
/// When the PNG cannot be made.
pub fn sheet(pictures: &[(PathBuf, [String; LINES])]) -> Result<Vec<u8>, image::ImageError> {
    let pictures = &pictures[..pictures.len().min(PICTURES_MAX)];
    let columns = pictures.len().clamp(1, COLUMNS);
    let rows = pictures.len().div_ceil(columns).max(1);
    let cell = (CELL_PX + GAP_PX, CELL_PX + GAP_PX + LINES * (LETTER_PX + 2));
    let mut canvas = Canvas::new(columns * cell.0 + GAP_PX, rows * cell.1 + GAP_PX);
    for (at, (path, lines)) in pictures.iter().enumerate() {
        let (x, y) = (at % columns * cell.0 + GAP_PX, at / columns * cell.1 + GAP_PX);
        canvas.picture(path, x, y);
        for (line, text) in lines.iter().enumerate() {
            canvas.text(text, x, y + CELL_PX + 2 + line * (LETTER_PX + 2));
        }
    }
    canvas.png()
}

struct Canvas {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Canvas {
    fn new(width: usize, height: usize) -> Self {
        Self { width, height, rgb: vec![GROUND; width * height * 3] }
    }

    /// Fitted into the cell, its shape kept.
    fn picture(&mut self, path: &Path, left: usize, top: usize) {
        let Ok((_, picture)) = read(path) else { return };
        let longest = picture.width.max(picture.height);
        let side = |pixels: usize| (pixels * CELL_PX / longest).max(1);
        let (width, height) = (side(picture.width), side(picture.height));
        let mut small = vec![0; width * height * 3];
        let drawn = picture
            .view()
            .is_ok_and(|view| Preprocessor::new(width, height).run(view, &mut small).is_ok());
        if !drawn {
            return;
        }
        for (v, row) in small.chunks_exact(width * 3).enumerate() {
            let at = ((top + v) * self.width + left) * 3;
            self.rgb[at..at + row.len()].copy_from_slice(row);
        }
    }

    /// As much of the end of the text as fits below a picture: names differ at their end.
    fn text(&mut self, text: &str, left: usize, top: usize) {
        let room = CELL_PX / LETTER_PX;
        let letters: Vec<char> = text.chars().collect();
        for (i, letter) in letters[letters.len().saturating_sub(room)..].iter().enumerate() {
            let Some(rows) = font8x8::BASIC_FONTS.get(*letter) else { continue };
            for (v, bits) in rows.iter().enumerate() {
                for u in (0..LETTER_PX).filter(|u| bits >> u & 1 == 1) {
                    let at = ((top + v) * self.width + left + i * LETTER_PX + u) * 3;
                    self.rgb[at..at + 3].fill(INK);
                }
            }
        }
    }

    fn png(&self) -> Result<Vec<u8>, image::ImageError> {
        let mut out = Vec::new();
        let (width, height) = (self.width as u32, self.height as u32);
        PngEncoder::new(&mut out).write_image(
            &self.rgb,
            width,
            height,
            image::ExtendedColorType::Rgb8,
        )?;
        Ok(out)
    }
}

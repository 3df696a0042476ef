//! The defect mask: one byte a map pixel, 0 or 1.

/// Which map pixels belong to a defect. Rows top-down, row-major.
///
/// Allocated once per pipeline slot and overwritten by each judgement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mask {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Mask {
    /// A mask without defects.
    pub fn empty(width: usize, height: usize) -> Self {
        Self { width, height, pixels: vec![0; width * height] }
    }

    /// A mask from row-major flags; `None` when there are not `width * height` of them.
    pub fn from_pixels(width: usize, height: usize, flags: &[bool]) -> Option<Self> {
        let pixels = flags.iter().map(|&f| u8::from(f)).collect();
        (width.checked_mul(height) == Some(flags.len())).then_some(Self { width, height, pixels })
    }

    /// Makes this an empty mask of the given size; allocates only to grow.
    pub fn reset(&mut self, width: usize, height: usize) {
        (self.width, self.height) = (width, height);
        self.pixels.clear();
        self.pixels.resize(width * height, 0);
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// `width * height` bytes, 0 or 1, row-major.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Whether the pixel belongs to a defect; false outside the mask.
    pub fn is_set(&self, x: usize, y: usize) -> bool {
        x < self.width && self.pixels.get(y * self.width + x).is_some_and(|&p| p != 0)
    }

    /// Pixels that belong to a defect.
    pub fn count(&self) -> usize {
        self.pixels.iter().filter(|&&p| p != 0).count()
    }

    /// Marks the pixel with row-major number `at`, which must be inside.
    pub(super) fn set(&mut self, at: usize) {
        self.pixels[at] = 1;
    }
}

//! The anomaly map: what an engine says about an image, before any threshold.

/// Anomaly map of one image: `height` rows of `width` values, row-major, larger = more anomalous.
///
/// Allocated once per pipeline slot and overwritten by each inference.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AnomalyMap {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `width * height` values, row-major.
    pub values: Vec<f32>,
    /// The engine's image score (mean of the top 1 % of the map).
    pub score: f32,
}

impl AnomalyMap {
    /// A map of the given size whose score is NaN, so that a slot that was never written
    /// can never pass a part.
    pub fn unwritten(width: usize, height: usize) -> Self {
        Self { width, height, values: vec![f32::NAN; width * height], score: f32::NAN }
    }

    /// Whether every value is there and finite.
    pub fn is_complete(&self) -> bool {
        self.values.len() == self.width * self.height
            && !self.values.is_empty()
            && self.values.iter().all(|v| v.is_finite())
    }

    /// Whether the map is complete and the score is a finite number, too.
    pub fn is_finite(&self) -> bool {
        self.score.is_finite() && self.is_complete()
    }

    /// The largest value; `-inf` for an empty map.
    pub fn max(&self) -> f32 {
        self.values.iter().copied().fold(f32::NEG_INFINITY, f32::max)
    }
}

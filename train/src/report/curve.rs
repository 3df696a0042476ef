//! A loss over the iterations of a stage, in bounded memory.

use serde::{Deserialize, Serialize};

/// Points that are kept; when there are more, neighbours are averaged.
const POINTS_MAX: usize = 400;

/// The course of a loss: means over `every` iterations each.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Curve {
    /// Iterations that a point is the mean of; 0 = nothing yet.
    every: u64,
    points: Vec<f64>,
    sum: f64,
    count: u64,
}

impl Curve {
    /// The loss of the next iteration.
    pub fn push(&mut self, loss: f64) {
        self.every = self.every.max(1);
        self.sum += loss;
        self.count += 1;
        if self.count < self.every {
            return;
        }
        self.points.push(self.sum / self.count as f64);
        (self.sum, self.count) = (0.0, 0);
        if self.points.len() > POINTS_MAX {
            let (pairs, last) = self.points.as_chunks::<2>();
            // The odd one out begins the next point.
            let rest = last.first().map_or((0.0, 0), |v| (v * self.every as f64, self.every));
            self.points = pairs.iter().map(|[a, b]| (a + b) / 2.0).collect();
            (self.sum, self.count) = rest;
            self.every *= 2;
        }
    }

    /// (iteration, loss) of each point.
    pub fn points(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        let at = |i: usize| (i as f64 + 0.5) * self.every as f64;
        self.points.iter().enumerate().map(move |(i, loss)| (at(i), *loss))
    }

    /// Loss of the first and of the last point.
    pub fn ends(&self) -> Option<(f64, f64)> {
        self.points.first().copied().zip(self.points.last().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_course_is_kept_in_bounded_memory_without_losing_its_mean() {
        let mut curve = Curve::default();
        for i in 0..10_000 {
            curve.push(f64::from(i));
            assert!(curve.points.len() <= POINTS_MAX);
        }
        let points: Vec<(f64, f64)> = curve.points().collect();
        assert!(points.len() > POINTS_MAX / 4);
        // The loss is the iteration's number here, so each point lies on the diagonal.
        assert!(points.iter().all(|(at, loss)| (at - loss).abs() <= 0.51), "{points:?}");
        let (first, last) = curve.ends().unwrap();
        assert!(first < 50.0 && last > 9_900.0, "{first} {last}");
        assert_eq!(Curve::default().ends(), None);
    }
}

//! Connected defect areas of a map, found without allocating.

use super::{Mask, Region, Regions};
use crate::frame::AnomalyMap;

/// Flood fill over 8-neighbours with memory that is kept between maps.
#[derive(Debug)]
pub(super) struct Finder {
    visited: Vec<bool>,
    /// A pixel is marked when it is pushed, so no more than all pixels are ever on the stack.
    stack: Vec<u32>,
}

impl Finder {
    pub(super) fn new(pixels: usize) -> Self {
        Self { visited: vec![false; pixels], stack: Vec::with_capacity(pixels) }
    }

    /// Takes the memory for maps of this many pixels, unless it is there.
    pub(super) fn reserve(&mut self, pixels: usize) {
        if self.visited.len() < pixels {
            self.visited.resize(pixels, false);
            self.stack.clear();
            self.stack.reserve(pixels);
        }
    }

    /// All areas of pixels above `threshold`; their pixels are set in `mask`, which must be
    /// empty and of the map's size; this finder is as large at least.
    pub(super) fn above(&mut self, map: &AnomalyMap, threshold: f32, mask: &mut Mask) -> Regions {
        let mut regions = Regions::default();
        self.visited[..map.values.len()].fill(false);
        for at in 0..map.values.len() {
            if !self.visited[at] && map.values[at] > threshold {
                regions.offer(self.flood(map, at, mask, |v| v > threshold));
            }
        }
        regions
    }

    /// The area around the map's largest value: what is connected to it and above the middle
    /// between the mean and the largest value.
    pub(super) fn around_maximum(&mut self, map: &AnomalyMap, mask: &mut Mask) -> Regions {
        let mut regions = Regions::default();
        let top = map.max();
        let Some(at) = map.values.iter().position(|&v| v == top) else {
            return regions;
        };
        let mean = map.values.iter().map(|&v| f64::from(v)).sum::<f64>() / map.values.len() as f64;
        let middle = (mean + (f64::from(top) - mean) / 2.0) as f32;
        self.visited[..map.values.len()].fill(false);
        // Rounding must not exclude the maximum itself.
        let middle = middle.min(top);
        regions.offer(self.flood(map, at, mask, |v| v >= middle));
        regions
    }

    fn flood(
        &mut self,
        map: &AnomalyMap,
        seed: usize,
        mask: &mut Mask,
        belongs: impl Fn(f32) -> bool,
    ) -> Region {
        let (width, height) = (map.width, map.height);
        let mut area = Extent::new();
        self.stack.clear();
        self.push(seed);
        while let Some(at) = self.stack.pop() {
            let at = at as usize;
            let (x, y) = (at % width, at / width);
            mask.set(at);
            area.include(x, y, map.values[at]);
            for ny in y.saturating_sub(1)..=(y + 1).min(height - 1) {
                for nx in x.saturating_sub(1)..=(x + 1).min(width - 1) {
                    let next = ny * width + nx;
                    if !self.visited[next] && belongs(map.values[next]) {
                        self.push(next);
                    }
                }
            }
        }
        area.region()
    }

    fn push(&mut self, at: usize) {
        self.visited[at] = true;
        self.stack.push(at as u32);
    }
}

struct Extent {
    left: usize,
    top: usize,
    right: usize,
    bottom: usize,
    score: f32,
}

impl Extent {
    fn new() -> Self {
        Self { left: usize::MAX, top: usize::MAX, right: 0, bottom: 0, score: f32::NEG_INFINITY }
    }

    fn include(&mut self, x: usize, y: usize, value: f32) {
        self.left = self.left.min(x);
        self.top = self.top.min(y);
        self.right = self.right.max(x);
        self.bottom = self.bottom.max(y);
        self.score = self.score.max(value);
    }

    fn region(&self) -> Region {
        // Maps are at most `Judge::SIDE_PX_MAX` wide, which 16 bits hold.
        let short = |v: usize| u16::try_from(v).unwrap_or(u16::MAX);
        Region {
            x: short(self.left),
            y: short(self.top),
            width: short(self.right - self.left + 1),
            height: short(self.bottom - self.top + 1),
            score: self.score,
        }
    }
}

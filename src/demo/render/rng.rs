//! A small generator and lattice noise; the renderer needs reproducible looks, nothing stronger.

/// SplitMix64 (Steele, Lea, Flood 2014): one addition and two multiplications a draw.
#[derive(Clone, Debug)]
pub(super) struct Rng(u64);

impl Rng {
    /// Streams of one seed and different names are independent.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        let mut rng = Self(seed ^ stream.wrapping_mul(0xD1B5_4A32_D192_ED03));
        rng.bits();
        rng
    }

    pub(super) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// 0 to 1, 1 excluded.
    pub(super) fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u32 << 24) as f32
    }

    pub(super) fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// `-half` to `half`.
    pub(super) fn spread(&mut self, half: f32) -> f32 {
        self.range(-half, half)
    }

    /// 0 to `count - 1`; 0 when `count` is 0.
    pub(super) fn below(&mut self, count: usize) -> usize {
        ((self.unit() * count as f32) as usize).min(count.saturating_sub(1))
    }

    pub(super) fn sign(&mut self) -> f32 {
        if self.bits() & 1 == 0 { 1.0 } else { -1.0 }
    }

    pub(super) fn angle(&mut self) -> f32 {
        self.range(0.0, std::f32::consts::TAU)
    }

    /// Mean 0, deviation 1, bounded by 3.5: the sum of four 16-bit uniforms.
    pub(super) fn normal(&mut self) -> f32 {
        let b = self.bits();
        let sum = (b & 0xffff) + ((b >> 16) & 0xffff) + ((b >> 32) & 0xffff) + (b >> 48);
        (sum as f32 / 65_536.0 - 2.0) * 1.732
    }
}

/// Smooth value noise, 0 to 1, one lattice cell a unit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noise(u32);

impl Noise {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self(rng.bits() as u32)
    }

    fn lattice(self, x: i32, y: i32) -> f32 {
        let mut h = (x as u32).wrapping_mul(0x85EB_CA6B) ^ (y as u32).wrapping_mul(0xC2B2_AE35);
        h = (h ^ self.0).wrapping_mul(0x27D4_EB2F);
        h = (h ^ (h >> 15)).wrapping_mul(0x2C1B_3C6D);
        ((h ^ (h >> 13)) >> 8) as f32 / (1u32 << 24) as f32
    }

    pub(super) fn at(self, x: f32, y: f32) -> f32 {
        let (fx, fy) = (x.floor(), y.floor());
        let (i, j) = (fx as i32, fy as i32);
        let (u, v) = (x - fx, y - fy);
        let (u, v) = (u * u * (3.0 - 2.0 * u), v * v * (3.0 - 2.0 * v));
        let (a, b) = (self.lattice(i, j), self.lattice(i + 1, j));
        let (c, d) = (self.lattice(i, j + 1), self.lattice(i + 1, j + 1));
        let top = a + u * (b - a);
        top + v * (c + u * (d - c) - top)
    }

    /// Three octaves, 0 to 1.
    pub(super) fn fractal(self, x: f32, y: f32) -> f32 {
        let sum = 0.5 * self.at(x, y)
            + 0.27 * self.at(2.1 * x + 17.0, 2.1 * y + 5.0)
            + 0.15 * self.at(4.3 * x + 41.0, 4.3 * y + 13.0);
        sum / 0.92
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_reproducible_spread_out_and_within_their_range() {
        let (mut a, mut b) = (Rng::new(5, 1), Rng::new(5, 1));
        let values: Vec<f32> = (0..4000).map(|_| a.unit()).collect();
        assert!(values.iter().all(|v| (0.0..1.0).contains(v) && *v == b.unit()));
        let mean = values.iter().sum::<f32>() / 4000.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
        assert_ne!(Rng::new(5, 2).bits(), Rng::new(5, 1).bits());
        let square = (0..4000).map(|_| a.normal().powi(2)).sum::<f32>() / 4000.0;
        assert!((square - 1.0).abs() < 0.1, "{square}");
    }

    #[test]
    fn noise_is_continuous_and_fills_its_range() {
        let noise = Noise::new(&mut Rng::new(1, 1));
        let mut seen = (1.0f32, 0.0f32);
        for k in 0..20_000 {
            let x = k as f32 * 0.013 - 90.0;
            let v = noise.at(x, x * 0.7);
            seen = (seen.0.min(v), seen.1.max(v));
            assert!((noise.at(x + 1e-3, x * 0.7) - v).abs() < 0.01);
        }
        assert!(seen.0 >= 0.0 && seen.0 < 0.1 && seen.1 <= 1.0 && seen.1 > 0.9, "{seen:?}");
    }
}

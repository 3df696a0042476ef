//! How settings change over a stage, as functions of its progress from 0 to 1.
//!
//! Progress instead of iteration numbers: a stage that is given three minutes and one that is
//! given an hour run through the same schedule.

/// Share of a stage over which the learning rate rises, unless a preset has its own.
pub const WARM_UP: f64 = 0.02;
/// Share of a stage over which hard mining comes in.
const MINING_RAMP: f64 = 0.1;
/// Final share of positions that count as easy.
pub const EASY_SHARE: f64 = 0.9;

/// Learning rate: linear up to `peak` over the share `warm_up`, then a cosine down to `floor`.
pub fn learning_rate(progress: f64, warm_up: f64, peak: f64, floor: f64) -> f64 {
    let p = progress.clamp(0.0, 1.0);
    if p < warm_up {
        // Never zero: the first step must move.
        return peak * (p / warm_up).max(0.05);
    }
    let along = (p - warm_up) / (1.0 - warm_up);
    floor + (peak - floor) * 0.5 * (1.0 + (std::f64::consts::PI * along).cos())
}

/// Share of positions that count as easy.
pub fn easy_share(progress: f64) -> f64 {
    EASY_SHARE * (progress / MINING_RAMP).clamp(0.0, 1.0)
}

/// When a stage ends: after a number of iterations, after a time, or whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Most iterations.
    pub iterations_max: usize,
    /// Seconds the stage may take; `None` for a fixed number of iterations, which alone makes
    /// two runs equal.
    pub seconds: Option<f64>,
}

impl Pace {
    /// Progress after `done` iterations and `elapsed_s` seconds; 1 or more means the end. A stage that
    /// is given nothing is at its end before it begins.
    pub fn progress(&self, done: usize, elapsed_s: f64) -> f64 {
        let share = |spent: f64, given: f64| if given > 0.0 { spent / given } else { 1.0 };
        let by_count = share(done as f64, self.iterations_max as f64);
        let by_time = self.seconds.map_or(0.0, |seconds| share(elapsed_s, seconds));
        by_count.max(by_time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_then_falls_to_its_floor() {
        let rate = |p| learning_rate(p, WARM_UP, 2e-3, 2e-4);
        assert!(rate(0.0) > 0.0 && rate(0.0) < rate(0.01) && rate(0.01) < rate(0.02));
        assert!((rate(0.02) - 2e-3).abs() < 1e-9);
        assert!((rate(1.0) - 2e-4).abs() < 1e-9);
        assert!((rate(0.51) - 1.1e-3).abs() < 1e-6);
    }

    #[test]
    fn hard_mining_ramps_up_and_stays() {
        let cases = [(0.0, 0.0), (0.05, 0.45), (0.1, 0.9), (0.7, 0.9)];
        for (progress, share) in cases {
            assert!((easy_share(progress) - share).abs() < 1e-12, "{progress}");
        }
    }

    #[test]
    fn a_stage_ends_by_count_or_by_time_whichever_is_first() {
        let pace = Pace { iterations_max: 100, seconds: Some(10.0) };
        assert_eq!(pace.progress(50, 1.0), 0.5);
        assert_eq!(pace.progress(50, 8.0), 0.8);
        let counted = Pace { iterations_max: 100, seconds: None };
        assert_eq!(counted.progress(99, 1e9), 0.99);
        for nothing in [Pace { iterations_max: 0, ..counted }, Pace { seconds: Some(0.0), ..pace }]
        {
            assert_eq!(nothing.progress(0, 0.0), 1.0);
        }
    }
}

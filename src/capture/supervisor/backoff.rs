//! Pauses between attempts to start a camera.

/// Pauses between attempts to start a camera again: doubled each time, from
/// [`Backoff::FIRST_MS`] to [`Backoff::LAST_MS`].
#[derive(Clone, Debug)]
pub struct Backoff {
    next_ms: u64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next_ms: Self::FIRST_MS }
    }
}

impl Backoff {
    /// First pause in milliseconds: a power blip is over by then.
    pub const FIRST_MS: u64 = 250;
    /// Longest pause in milliseconds: a repaired cable is noticed within it.
    pub const LAST_MS: u64 = 5_000;

    /// The pause before the next attempt.
    pub fn next_ms(&mut self) -> u64 {
        let now = self.next_ms;
        self.next_ms = (now * 2).min(Self::LAST_MS);
        now
    }

    /// The camera delivers again.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_limit_and_start_small_after_a_success() {
        let mut b = Backoff::default();
        let pauses: Vec<u64> = (0..7).map(|_| b.next_ms()).collect();
        assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 5000, 5000]);
        b.reset();
        assert_eq!(b.next_ms(), 250);
    }
}

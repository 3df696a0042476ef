//! When answers that are no numbers count as a failure of the device that gave them.
//!
//! A GPU whose memory or context is broken may answer NaN or infinities, and no error. One such
//! answer makes its part INVALID, which is the judge's business; it may be due to the picture alone,
//! for 16 bits can overflow on one unlike all others. Several within a short time are a failure of the
//! device, whether they come in a row or between good answers.

use super::{EngineError, EngineErrorKind};
use crate::frame::AnomalyMap;

/// So many answers count as a failure, unless they are [`FORGIVEN_AFTER`] good ones apart. A picture that
/// overflows comes alone; a broken device is found out within three parts.
const NOT_FINITE_MAX: u32 = 3;
/// Good answers in a row after which those before are forgotten.
const FORGIVEN_AFTER: u32 = 100;

/// What one device has answered of late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    /// Answers that were not finite.
    not_finite: u32,
    /// Good answers since the last of them.
    good_in_a_row: u32,
}

impl Numbers {
    /// Notes an answer and tells whether it is one of numbers; an error when the device counts as failed
    /// by it. What any other answer is worth is found out by the judge.
    ///
    /// # Errors
    /// `Backend` when too many answers were not finite.
    pub(super) fn note(&mut self, answer: &AnomalyMap) -> Result<bool, EngineError> {
        let finite = answer.is_finite();
        if !self.failed_by(finite) {
            return Ok(finite);
        }
        let what = format!(
            "the GPU answered with values that are no numbers, {NOT_FINITE_MAX} times within a short time"
        );
        Err(EngineError::new(EngineErrorKind::Backend, what))
    }

    fn failed_by(&mut self, finite: bool) -> bool {
        if finite {
            self.good_in_a_row += 1;
            if self.good_in_a_row >= FORGIVEN_AFTER {
                *self = Self::default();
            }
            return false;
        }
        self.not_finite += 1;
        self.good_in_a_row = 0;
        self.not_finite >= NOT_FINITE_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer (from 1) by which the device counts as failed.
    fn failed_at(answers: impl IntoIterator<Item = bool>) -> Option<usize> {
        let mut numbers = Numbers::default();
        answers.into_iter().position(|finite| numbers.failed_by(finite)).map(|at| at + 1)
    }

    #[test]
    fn three_bad_answers_are_a_failure_unless_a_hundred_good_ones_lie_between() {
        let good = |count: u32| vec![true; count as usize];
        let bad = vec![false];
        let (few, many) = (good(FORGIVEN_AFTER - 1), good(FORGIVEN_AFTER));
        for (answers, wanted) in [
            (vec![false; 9], Some(3)),
            (good(10_000), None),
            ([&bad[..], &many, &bad, &many, &bad, &many, &bad].concat(), None),
            ([&bad[..], &few, &bad, &few, &bad].concat(), Some(201)),
            // What was forgotten counts no more.
            ([&bad[..], &bad, &many, &bad, &bad].concat(), None),
            ([&bad[..], &bad, &many, &bad, &bad, &bad].concat(), Some(105)),
        ] {
            assert_eq!(failed_at(answers.iter().copied()), wanted, "{answers:?}");
        }
    }
}

//! One part, several views: the worst decides.

use super::{Outcome, Reason, Verdict};

/// The verdict of a part from those of its views, `None` = a view that is missing, and the number
/// of the view that decides.
///
/// The part passes only if every view does: a pass is never made here, only handed on when there
/// is nothing else. A view that accuses the part decides before one that could not be judged; of
/// several that say the same, the one whose score is the largest part of its limit.
pub fn combine(views: &[Option<Verdict>]) -> (usize, Verdict) {
    let missing = || Verdict::invalid(Reason::FrameLost);
    let all = views.iter().enumerate().map(|(at, view)| (at, view.unwrap_or_else(missing)));
    // The first of equals: cameras are listed in the order of their weight.
    let worst = all.reduce(|worst, next| if is_worse(&next.1, &worst.1) { next } else { worst });
    // A part that nobody looked at.
    worst.unwrap_or_else(|| (0, missing()))
}

fn is_worse(a: &Verdict, b: &Verdict) -> bool {
    let rank = |verdict: &Verdict| match verdict.outcome {
        Outcome::Reject => 3,
        Outcome::Invalid => 2,
        // A result that drives no output comes before one that does.
        Outcome::Test => 1,
        Outcome::Pass => 0,
    };
    match rank(a).cmp(&rank(b)) {
        std::cmp::Ordering::Equal => load(a) > load(b),
        other => other.is_gt(),
    }
}

/// The score as a part of the limit; not a number (and so never larger) when either is missing.
fn load(verdict: &Verdict) -> f32 {
    verdict.score / verdict.limit
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::judge::Regions;

    fn verdict(outcome: Outcome, reason: Reason, score: f32, limit: f32) -> Verdict {
        Verdict { outcome, reason, score, limit, p_value: 0.5, regions: Regions::default() }
    }

    fn pass(score: f32, limit: f32) -> Verdict {
        verdict(Outcome::Pass, Reason::None, score, limit)
    }

    fn reject(score: f32, limit: f32) -> Verdict {
        verdict(Outcome::Reject, Reason::ScoreAboveLimit, score, limit)
    }

    #[test]
    fn the_worst_view_decides_each_against_its_own_limit() {
        let lost = Verdict::invalid(Reason::FrameLost);
        let cases: [(&[Option<Verdict>], usize); 6] = [
            (&[Some(pass(0.1, 1.0)), Some(pass(0.1, 0.2))], 1),
            (&[Some(pass(0.9, 1.0)), Some(reject(0.3, 0.2))], 1),
            (&[Some(reject(1.1, 1.0)), Some(reject(0.9, 0.2))], 1),
            (&[Some(reject(1.1, 1.0)), Some(lost)], 0),
            (&[Some(pass(0.1, 1.0)), Some(lost), Some(lost)], 1),
            (&[Some(pass(0.1, 1.0)), Some(pass(0.1, 1.0))], 0),
        ];
        for (views, decides) in cases {
            let (at, verdict) = combine(views);
            assert_eq!(at, decides, "{views:?}");
            let expected = views[decides].unwrap();
            assert_eq!((verdict.outcome, verdict.reason), (expected.outcome, expected.reason));
        }
    }

    #[test]
    fn a_missing_view_and_a_part_without_views_are_lost() {
        let (at, verdict) = combine(&[Some(pass(0.1, 1.0)), None]);
        assert_eq!((at, verdict.outcome, verdict.reason), (1, Outcome::Invalid, Reason::FrameLost));
        assert_eq!(combine(&[]).1.reason, Reason::FrameLost);
    }

    fn view() -> impl Strategy<Value = Option<Verdict>> {
        let number = || prop_oneof![Just(f32::NAN), Just(f32::INFINITY), 0f32..2.0];
        prop_oneof![
            6 => (number(), number()).prop_map(|(s, l)| Some(pass(s, l))),
            1 => (number(), number()).prop_map(|(s, l)| Some(reject(s, l))),
            1 => Just(Some(Verdict::invalid(Reason::Engine))),
            1 => Just(None),
        ]
    }

    proptest! {
        #[test]
        fn a_part_passes_only_if_every_view_does(views in prop::collection::vec(view(), 0..=8)) {
            let (at, verdict) = combine(&views);
            let all = !views.is_empty()
                && views.iter().all(|v| v.is_some_and(|v| v.outcome == Outcome::Pass));
            prop_assert_eq!(verdict.outcome == Outcome::Pass, all);
            prop_assert!(at < views.len() || views.is_empty());
        }
    }
}

//! Which layers must keep 32 bits, when a device computes wrong answers in 16.
//!
//! The golden pictures say that an engine is wrong, not where. Layers are kept in 32 bits until
//! it is right, and as few as will do, by bisection: the shortest run of layers from the first one
//! on that makes the engine right ends with a layer that is needed; that layer is kept, and the
//! search goes on with the layers before it until those kept are enough. What is given back has
//! itself been checked, so a device on which layers influence each other costs a larger set, never
//! a wrong engine.
//!
//! One check builds an engine, which takes minutes: the number of checks is bounded, and when it is
//! used up the smallest set that was right is taken.

use std::collections::BTreeSet;

/// What a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Fallback {
    /// Numbers of the layers that keep 32 bits; none when 16 bits are right everywhere.
    pub kept: BTreeSet<usize>,
    /// How far the engine with these lay from the golden answers, as the check measured it.
    pub deviation: f32,
    /// Checks made.
    pub checks: usize,
}

/// A search without a result.
#[derive(Debug, thiserror::Error)]
pub enum SearchError<E> {
    /// Not even all layers in 32 bits give the golden answers: precision is not the cause.
    #[error(
        "the golden answers are missed by {deviation:.3e} with every layer in 32 bits, \
         {allowed:.3e} is allowed"
    )]
    NotPrecision {
        /// The deviation with all layers kept.
        deviation: f32,
        /// The deviation that is allowed.
        allowed: f32,
    },
    /// The check could not be made.
    #[error("an engine could not be checked")]
    Check(#[source] E),
}

/// Finds a small set of layers, out of `layers` in the order of computation, with which `check` stays
/// within `allowed`. `check` takes the layers kept in 32 bits and gives the worst deviation from the
/// golden answers; not a number counts as wrong. At most `checks_max` checks are made, two at
/// least.
///
/// # Errors
/// When all layers in 32 bits are not enough, or a check fails.
pub fn search<E>(
    layers: usize,
    allowed: f32,
    checks_max: usize,
    check: impl FnMut(&BTreeSet<usize>) -> Result<f32, E>,
) -> Result<Fallback, SearchError<E>> {
    let mut search = Search { check, allowed, checks: 0 };
    let none = BTreeSet::new();
    if let Some(found) = search.right(&none)? {
        return Ok(found);
    }
    let all: BTreeSet<usize> = (0..layers).collect();
    let deviation = search.deviation(&all)?;
    let mut best =
        search.taken(&all, deviation).ok_or(SearchError::NotPrecision { deviation, allowed })?;
    let mut needed = BTreeSet::new();
    // Runs of this length before the layers needed are known to be enough.
    let mut enough = layers;
    while enough > 0 {
        let mut short = 0;
        // `short` layers are too few, `enough` are enough.
        while enough - short > 1 {
            if search.checks >= checks_max {
                return Ok(Fallback { checks: search.checks, ..best });
            }
            let middle = short + (enough - short) / 2;
            let kept = &(0..middle).collect::<BTreeSet<_>>() | &needed;
            match search.right(&kept)? {
                Some(found) => (enough, best) = (middle, found),
                None => short = middle,
            }
        }
        needed.insert(enough - 1);
        enough -= 1;
        if search.checks >= checks_max {
            break;
        }
        if let Some(found) = search.right(&needed)? {
            best = found;
            break;
        }
    }
    Ok(Fallback { checks: search.checks, ..best })
}

struct Search<C> {
    check: C,
    allowed: f32,
    checks: usize,
}

impl<C> Search<C> {
    fn deviation<E>(&mut self, kept: &BTreeSet<usize>) -> Result<f32, SearchError<E>>
    where
        C: FnMut(&BTreeSet<usize>) -> Result<f32, E>,
    {
        self.checks += 1;
        (self.check)(kept).map_err(SearchError::Check)
    }

    /// The set, when the engine is right with it.
    fn right<E>(&mut self, kept: &BTreeSet<usize>) -> Result<Option<Fallback>, SearchError<E>>
    where
        C: FnMut(&BTreeSet<usize>) -> Result<f32, E>,
    {
        let deviation = self.deviation(kept)?;
        Ok(self.taken(kept, deviation))
    }

    fn taken(&self, kept: &BTreeSet<usize>, deviation: f32) -> Option<Fallback> {
        // False for NaN.
        let right = deviation <= self.allowed;
        right.then(|| Fallback { kept: kept.clone(), deviation, checks: self.checks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A device that gets these layers wrong, each by 1.
    fn device(bad: &[usize]) -> impl FnMut(&BTreeSet<usize>) -> Result<f32, String> + '_ {
        move |kept| Ok(bad.iter().filter(|layer| !kept.contains(layer)).count() as f32)
    }

    fn found(layers: usize, bad: &[usize]) -> Fallback {
        search(layers, 0.5, 1000, device(bad)).unwrap()
    }

    #[test]
    fn a_device_without_fault_keeps_nothing_after_one_check() {
        let got = found(60, &[]);
        assert_eq!((got.kept.len(), got.checks, got.deviation), (0, 1, 0.0));
    }

    #[test]
    fn exactly_the_bad_layers_are_found_wherever_they_are() {
        for bad in [
            vec![0],
            vec![59],
            vec![17],
            vec![0, 59],
            vec![20, 21],
            vec![3, 9, 30, 31, 58],
            (0..60).step_by(2).collect(),
            (0..60).collect(),
        ] {
            let got = found(60, &bad);
            assert_eq!(got.kept.iter().copied().collect::<Vec<_>>(), bad);
            assert_eq!(got.deviation, 0.0);
        }
    }

    #[test]
    fn one_bad_layer_of_many_costs_few_checks() {
        for at in [0, 31, 500, 999] {
            let got = found(1000, &[at]);
            assert_eq!(got.kept, BTreeSet::from([at]));
            assert!(got.checks <= 2 + 10 + 1, "{} checks", got.checks);
        }
    }

    #[test]
    fn when_the_checks_are_used_up_the_smallest_set_that_was_right_is_taken() {
        let bad: Vec<usize> = (0..60).step_by(2).collect();
        for checks_max in [2, 3, 8, 20] {
            let got = search(60, 0.5, checks_max, device(&bad)).unwrap();
            assert!(got.checks <= checks_max.max(2), "{} of {checks_max}", got.checks);
            assert!(bad.iter().all(|layer| got.kept.contains(layer)), "not right: {:?}", got.kept);
        }
        let early = search(60, 0.5, 8, device(&[5])).unwrap();
        assert!(early.kept.contains(&5) && early.kept.len() < 60);
    }

    #[test]
    fn a_fault_that_is_no_matter_of_precision_is_told() {
        let broken = |_: &BTreeSet<usize>| Ok::<f32, String>(f32::NAN);
        let error = search(8, 0.5, 100, broken).unwrap_err();
        assert!(matches!(error, SearchError::NotPrecision { .. }), "{error}");
        let error = search(0, 0.5, 100, |_| Ok::<f32, String>(2.0)).unwrap_err();
        assert!(error.to_string().contains("2.000e0"), "{error}");
        let error = search(8, 0.5, 100, |_| Err::<f32, _>("no memory".to_owned())).unwrap_err();
        assert!(matches!(error, SearchError::Check(ref why) if why == "no memory"));
    }

    #[test]
    fn layers_that_hide_each_other_cost_a_larger_set_and_never_a_wrong_engine() {
        // Right only with an even number of the first ten layers kept, and never without layer 4.
        let odd = |kept: &BTreeSet<usize>| {
            let count = kept.iter().filter(|layer| **layer < 10).count();
            Ok::<f32, String>(if count % 2 == 0 && kept.contains(&4) { 0.1 } else { f32::NAN })
        };
        let got = search(20, 0.5, 1000, odd).unwrap();
        assert_eq!(odd(&got.kept).unwrap(), 0.1);
    }
}

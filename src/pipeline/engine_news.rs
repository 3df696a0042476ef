//! What happened to the engine, until the journal has taken it.

use std::collections::VecDeque;

use crate::engine::Happening;

/// Happenings kept for the journal. It takes them ten times a second; while the disk is full it does not,
/// and then the newest count.
const NEWS_MAX: usize = 32;

/// Something that happened to the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct News {
    pub(super) what: Happening,
    /// How often the engine had failed by then, since the start.
    pub(super) failures: u64,
}

/// What was not taken yet, oldest first.
#[derive(Debug, Default)]
pub(super) struct EngineNews {
    untaken: VecDeque<News>,
    failures: u64,
}

impl EngineNews {
    pub(super) fn add(&mut self, what: Happening) {
        let failed = match what {
            Happening::Failed { .. } | Happening::Lost { .. } | Happening::ReaderFailed { .. } => 1,
            Happening::Back | Happening::GivenUp { .. } => 0,
        };
        self.failures += failed;
        if self.untaken.len() == NEWS_MAX {
            self.untaken.pop_front();
        }
        self.untaken.push_back(News { what, failures: self.failures });
    }

    /// How often the engine failed since the start.
    pub(super) fn failures(&self) -> u64 {
        self.failures
    }

    pub(super) fn take(&mut self) -> Vec<News> {
        self.untaken.drain(..).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_and_of_too_much_news_the_newest_is_kept() {
        let failed = |why: String| Happening::Failed { why };
        let mut news = EngineNews::default();
        news.add(failed("first".to_owned()));
        news.add(Happening::Back);
        let (what, why) = (failed("first".to_owned()), "frames".to_owned());
        let first = [News { what, failures: 1 }, News { what: Happening::Back, failures: 1 }];
        assert_eq!(news.take(), first);
        assert_eq!(news.take(), []);
        news.add(Happening::ReaderFailed { frames: "Mono8".to_owned(), why });
        news.add(Happening::Lost { why: "frames".to_owned(), ends: true });
        (0..NEWS_MAX).for_each(|at| news.add(failed(at.to_string())));
        assert_eq!(news.failures(), NEWS_MAX as u64 + 3);
        let taken = news.take();
        assert_eq!((taken.len(), taken[0].failures), (NEWS_MAX, 4));
        assert_eq!(taken[0].what, failed("0".to_owned()));
    }
}

//! What had to go undelivered, and how it is told.
//!
//! A notice of a loss is an event row like others, and in a long outage it may have to go itself.
//! It keeps in its `detail` what it tells of, so that the notice that follows can tell it again:
//! no loss becomes silent by that.

use serde::{Deserialize, Serialize};

use super::types::Notice;

/// (epoch, seq) of a row.
type Key = (u32, u32);

/// What was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    Masks,
    LateResults,
    Verdicts,
    Events,
}

/// How many of one kind were lost, and between which verdicts; events have no numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Loss {
    lost: What,
    n: u64,
    first: Key,
    last: Key,
}

impl Loss {
    /// What a notice tells of.
    fn of(notice: &Notice) -> Option<Self> {
        let (lost, n, first, last) = match *notice {
            Notice::MasksDropped { rows, first, last } => (What::Masks, rows, first, last),
            Notice::LateResultsDropped { rows, first, last } => {
                (What::LateResults, rows, first, last)
            }
            Notice::RowsDropped { rows, first, last } => (What::Verdicts, rows, first, last),
            Notice::EventsDropped { rows } => (What::Events, rows, (0, 0), (0, 0)),
            Notice::Restarted(_) => return None,
        };
        Some(Self { lost, n, first, last })
    }

    /// One row; for an event the numbers are 0.
    pub(super) fn one(lost: What, key: Key) -> Self {
        Self { lost, n: 1, first: key, last: key }
    }

    fn notice(self) -> Notice {
        let Self { lost, n: rows, first, last } = self;
        match lost {
            What::Masks => Notice::MasksDropped { rows, first, last },
            What::LateResults => Notice::LateResultsDropped { rows, first, last },
            What::Verdicts => Notice::RowsDropped { rows, first, last },
            What::Events => Notice::EventsDropped { rows },
        }
    }
}

/// What goes into the `detail` of a notice's row; empty when it tells of no loss.
pub(super) fn detail(notice: &Notice) -> Vec<u8> {
    let loss = Loss::of(notice);
    loss.and_then(|loss| serde_json::to_vec(&loss).ok()).unwrap_or_default()
}

/// What is to be told, by kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Losses(Vec<Loss>);

impl Losses {
    pub(super) fn add(&mut self, loss: Loss) {
        match self.0.iter_mut().find(|known| known.lost == loss.lost) {
            Some(known) => {
                known.n += loss.n;
                known.first = known.first.min(loss.first);
                known.last = known.last.max(loss.last);
            }
            None => self.0.push(loss),
        }
    }

    /// An undelivered event goes: it counts, unless it is a notice, which is told again.
    /// Whether it counts.
    pub(super) fn add_event(&mut self, detail: &[u8]) -> bool {
        let retold: Option<Loss> = serde_json::from_slice(detail).ok();
        self.add(retold.unwrap_or_else(|| Loss::one(What::Events, (0, 0))));
        retold.is_none()
    }

    pub(super) fn notices(&self) -> impl Iterator<Item = Notice> {
        self.0.iter().map(|loss| loss.notice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_that_goes_is_told_again_with_what_goes_later() {
        let verdicts = |rows, first, last| Notice::RowsDropped { rows, first, last };
        let mut losses = Losses::default();
        losses.add(Loss { lost: What::Verdicts, n: 5, first: (2, 9), last: (2, 13) });
        assert!(!losses.add_event(&detail(&verdicts(7, (1, 3), (2, 8)))));
        assert!(!losses.add_event(&detail(&Notice::EventsDropped { rows: 4 })));
        assert!(losses.add_event(b""), "an event of the station");
        let told: Vec<Notice> = losses.notices().collect();
        assert_eq!(told, [verdicts(12, (1, 3), (2, 13)), Notice::EventsDropped { rows: 5 }]);
    }
}

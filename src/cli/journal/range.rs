//! Which rows a command looks at.

use crate::journal::{Record, RowKind};

/// Kinds of rows by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Kind {
    /// Verdicts.
    Verdict,
    /// Events: gaps, missed triggers, calibration changes.
    Event,
    /// Results that came after their part was answered at its deadline.
    LateResult,
}

/// Selects rows; without any of it, all of them.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Range {
    /// Only this boot epoch
    #[arg(long, value_name = "N")]
    epoch: Option<u32>,
    /// Only sequence numbers from this one on; events have none and are left out
    #[arg(long, value_name = "SEQ")]
    from: Option<u32>,
    /// Only sequence numbers up to this one; events have none and are left out
    #[arg(long, value_name = "SEQ")]
    to: Option<u32>,
    /// Only rows of this kind
    #[arg(long, value_name = "KIND")]
    kind: Option<Kind>,
}

impl Range {
    pub(super) fn holds(&self, row: &Record) -> bool {
        let entry = &row.entry;
        let kind = match entry.kind {
            RowKind::Verdict => Kind::Verdict,
            RowKind::Event => Kind::Event,
            RowKind::LateResult => Kind::LateResult,
        };
        let numbered = self.from.is_none() && self.to.is_none() || kind != Kind::Event;
        numbered
            && self.kind.is_none_or(|wanted| wanted == kind)
            && self.epoch.is_none_or(|epoch| epoch == entry.epoch)
            && self.from.is_none_or(|from| entry.seq >= from)
            && self.to.is_none_or(|to| entry.seq <= to)
    }
}

//! The journal as the publisher's outbox. The two know nothing of each other; this is the wire.

use crate::journal::{self, Entry, Reader};
use crate::publish::{self, Outbox, OutboxError};

/// A journal reader behind the publisher's trait.
pub(super) struct JournalOutbox(pub(super) Reader);

impl Outbox for JournalOutbox {
    fn cursor(&self) -> publish::RowId {
        self.0.cursor()
    }

    fn newest(&self) -> publish::RowId {
        self.0.newest()
    }

    fn backlog(
        &mut self,
        after: publish::RowId,
        limit: usize,
    ) -> Result<Vec<publish::Row>, OutboxError> {
        let rows = self.0.after(after, limit)?;
        let row = |r: journal::Row| publish::Row {
            id: r.id,
            kind: kind(r.kind),
            payload: r.payload,
            mask: r.mask,
        };
        Ok(rows.into_iter().map(row).collect())
    }

    fn commit_cursor(&mut self, cursor: publish::RowId) -> Result<(), OutboxError> {
        Ok(self.0.acknowledge(cursor)?)
    }
}

/// What is announced to the publisher once `entry` is committed as row `id`.
pub(super) fn live_row(id: journal::RowId, entry: Entry) -> publish::Row {
    publish::Row { id, kind: kind(entry.kind), payload: entry.payload, mask: entry.mask }
}

fn kind(kind: journal::RowKind) -> publish::RowKind {
    match kind {
        journal::RowKind::Verdict => publish::RowKind::Verdict,
        journal::RowKind::Event => publish::RowKind::Event,
        journal::RowKind::LateResult => publish::RowKind::LateResult,
    }
}

//! Publishes between being handed to the client and being acknowledged.

use std::collections::{BTreeMap, VecDeque};

use super::Topic;
use crate::frame::Nanos;
use crate::publish::types::RowId;

/// Who waits for the acknowledgement of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// Nobody: it is not a row.
    Nobody,
    /// A row on its way out.
    Row(RowId),
    /// A row that is sent again because a consumer asked for it.
    Replayed(RowId),
}

/// Whose publish it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    /// Who waits for it.
    pub(super) owner: Owner,
    /// Where it went.
    pub(super) topic: Topic,
    /// Counts against the bulk share.
    pub(super) bulk: bool,
}

#[derive(Debug, Default)]
pub(super) struct Window {
    /// Handed over, packet id not known yet; in order.
    handed: VecDeque<(Tag, Nanos)>,
    /// By packet id.
    flying: BTreeMap<u16, (Tag, Nanos)>,
    bulk: usize,
    /// Answers to commands among them.
    replies: usize,
}

impl Window {
    pub(super) fn len(&self) -> usize {
        self.handed.len() + self.flying.len()
    }

    pub(super) fn bulk_len(&self) -> usize {
        self.bulk
    }

    /// Everything but the bulk share.
    pub(super) fn urgent_len(&self) -> usize {
        self.len() - self.bulk
    }

    /// Whether something urgent was handed over and is not on the wire yet.
    pub(super) fn is_urgent_unsent(&self) -> bool {
        self.handed.iter().any(|(tag, _)| !tag.bulk)
    }

    pub(super) fn replies_len(&self) -> usize {
        self.replies
    }

    pub(super) fn hand(&mut self, tag: Tag, now: Nanos) {
        self.bulk += usize::from(tag.bulk);
        self.replies += usize::from(tag.topic == Topic::Reply);
        self.handed.push_back((tag, now));
    }

    /// Gives the oldest handed publish its packet id; false when there is none or the id is
    /// taken.
    pub(super) fn bind(&mut self, id: u16, now: Nanos) -> bool {
        if self.flying.contains_key(&id) {
            return false;
        }
        let Some((tag, _)) = self.handed.pop_front() else { return false };
        self.flying.insert(id, (tag, now));
        true
    }

    /// Takes an acknowledged publish out; `None` when none has this id.
    pub(super) fn acknowledge(&mut self, id: u16) -> Option<Tag> {
        let (tag, _) = self.flying.remove(&id)?;
        self.bulk -= usize::from(tag.bulk);
        self.replies -= usize::from(tag.topic == Topic::Reply);
        Some(tag)
    }

    /// When the longest-waiting publish was handed over or sent.
    pub(super) fn oldest(&self) -> Option<Nanos> {
        let handed = self.handed.front().map(|(_, at)| *at);
        self.flying.values().map(|(_, at)| *at).chain(handed).min()
    }
}

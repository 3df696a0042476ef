//! What consumers have confirmed: heard by one thread, stored by the writer's.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::frame::ConsumerId;
use crate::message::Receipt;

/// Consumers that are remembered. One more, and the one not heard of for longest is forgotten.
pub const CONSUMERS_MAX: usize = 8;

/// The newest receipt of each consumer; cheap to clone.
///
/// Stored along with the rows that move to the database, and at the end. A receipt that a kill
/// took is no loss: the consumer's next one says it all again.
#[derive(Clone, Debug, Default)]
pub struct Receipts(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    /// In the order they were heard of last.
    known: Vec<Receipt>,
    /// Number of changes, and how many of them are stored.
    changes: u64,
    stored: u64,
}

impl Receipts {
    /// `known` in the order they were heard of last.
    pub(super) fn new(mut known: Vec<Receipt>) -> Self {
        known.drain(..known.len().saturating_sub(CONSUMERS_MAX));
        Self(Arc::new(Mutex::new(Table { known, ..Table::default() })))
    }

    /// Nothing can panic between two steps that belong together.
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a receipt; one that says less than an earlier one of its consumer takes nothing back.
    /// The consumer that had to be forgotten for it, if any.
    pub fn note(&self, receipt: Receipt) -> Option<ConsumerId> {
        let mut table = self.lock();
        let before = table.known.iter().position(|known| known.consumer == receipt.consumer);
        let before = before.map(|at| table.known.remove(at));
        let forgotten = before.is_none() && table.known.len() == CONSUMERS_MAX;
        let forgotten = forgotten.then(|| table.known.remove(0).consumer);
        let (epoch, seq) = before.map_or((0, 0), |before| (before.epoch, before.seq));
        let (epoch, seq) = (receipt.epoch, receipt.seq).max((epoch, seq));
        table.known.push(Receipt { epoch, seq, ..receipt });
        table.changes += 1;
        forgotten
    }

    /// All of them, by name.
    pub fn all(&self) -> Vec<Receipt> {
        let mut all = self.lock().known.clone();
        all.sort_by_key(|receipt| receipt.consumer);
        all
    }

    pub(super) fn is_changed(&self) -> bool {
        let table = self.lock();
        table.changes > table.stored
    }

    /// What is to be stored, in the order they were heard of, and its number of changes; `None`
    /// when it is stored.
    pub(super) fn unstored(&self) -> Option<(Vec<Receipt>, u64)> {
        let table = self.lock();
        (table.changes > table.stored).then(|| (table.known.clone(), table.changes))
    }

    pub(super) fn note_stored(&self, changes: u64) {
        self.lock().stored = changes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(name: &str, epoch: u32, seq: u32) -> Receipt {
        Receipt { consumer: ConsumerId::new(name).unwrap(), epoch, seq }
    }

    #[test]
    fn a_receipt_never_goes_back() {
        let receipts = Receipts::default();
        for (epoch, seq) in [(2, 5), (2, 3), (1, 900), (2, 6)] {
            receipts.note(receipt("mes", epoch, seq));
        }
        receipts.note(receipt("hmi", 1, 1));
        assert_eq!(receipts.all(), [receipt("hmi", 1, 1), receipt("mes", 2, 6)]);
    }

    #[test]
    fn the_consumer_not_heard_of_for_longest_is_forgotten_for_a_new_one() {
        let receipts = Receipts::default();
        for n in 0..CONSUMERS_MAX {
            assert_eq!(receipts.note(receipt(&format!("c{n}"), 1, n as u32)), None);
        }
        // The first says the same again: it lives.
        assert_eq!(receipts.note(receipt("c0", 1, 0)), None);
        let forgotten = receipts.note(receipt("new", 1, 1));
        assert_eq!(forgotten, Some(ConsumerId::new("c1").unwrap()));
        assert_eq!(receipts.all().len(), CONSUMERS_MAX);
    }

    #[test]
    fn what_came_while_it_was_being_stored_is_stored_next_time() {
        let receipts = Receipts::default();
        assert_eq!(receipts.unstored(), None);
        receipts.note(receipt("a", 1, 1));
        let (stored, changes) = receipts.unstored().unwrap();
        receipts.note(receipt("a", 1, 2));
        receipts.note_stored(changes);
        assert_eq!(stored, [receipt("a", 1, 1)]);
        assert!(receipts.is_changed());
        assert_eq!(receipts.unstored().unwrap().0, [receipt("a", 1, 2)]);
    }
}

//! What writer and reader tell each other without touching the disk.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::store::Numbered;
use super::types::RowId;

#[derive(Debug)]
pub(super) struct Shared {
    acknowledged: AtomicU64,
    /// Highest cursor on disk.
    stored: AtomicU64,
    newest: AtomicU64,
    writer_gone: AtomicBool,
    /// The reader found the database damaged.
    damaged: AtomicBool,
    /// Rows in the tail that the database does not have yet. Bounded by the size of the tail.
    waiting: Mutex<VecDeque<Numbered>>,
    /// Kept until both are gone: only then may another process open the folder.
    _lock: File,
}

impl Shared {
    pub(super) fn new(cursor: RowId, newest: RowId, lock: File) -> Self {
        Self {
            acknowledged: AtomicU64::new(cursor),
            stored: AtomicU64::new(cursor),
            newest: AtomicU64::new(newest),
            writer_gone: AtomicBool::new(false),
            damaged: AtomicBool::new(false),
            waiting: Mutex::default(),
            _lock: lock,
        }
    }

    pub(super) fn stored(&self) -> RowId {
        self.stored.load(Ordering::Acquire)
    }

    pub(super) fn note_stored(&self, cursor: RowId) {
        self.stored.fetch_max(cursor, Ordering::AcqRel);
    }

    pub(super) fn is_writer_gone(&self) -> bool {
        self.writer_gone.load(Ordering::Acquire)
    }

    pub(super) fn writer_goes(&self) {
        self.writer_gone.store(true, Ordering::Release);
    }

    pub(super) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Acquire)
    }

    /// True the first time.
    pub(super) fn note_damaged(&self) -> bool {
        !self.damaged.swap(true, Ordering::AcqRel)
    }

    pub(super) fn acknowledged(&self) -> RowId {
        self.acknowledged.load(Ordering::Acquire)
    }

    pub(super) fn acknowledge(&self, cursor: RowId) {
        self.acknowledged.fetch_max(cursor, Ordering::AcqRel);
    }

    pub(super) fn newest(&self) -> RowId {
        self.newest.load(Ordering::Acquire)
    }

    pub(super) fn note_newest(&self, newest: RowId) {
        self.newest.store(newest, Ordering::Release);
    }

    /// Rows that the tail has now.
    pub(super) fn wait(&self, rows: impl IntoIterator<Item = Numbered>) {
        self.lock().extend(rows);
    }

    pub(super) fn waiting(&self) -> Vec<Numbered> {
        self.lock().iter().cloned().collect()
    }

    pub(super) fn waiting_len(&self) -> usize {
        self.lock().len()
    }

    /// The database has everything that waited.
    pub(super) fn all_stored(&self) {
        self.lock().clear();
    }

    /// At most `limit` waiting rows after `after`, in order.
    pub(super) fn waiting_after(&self, after: RowId, limit: usize) -> Vec<Numbered> {
        let waiting = self.lock();
        let begin = waiting.partition_point(|(id, _)| *id <= after);
        waiting.range(begin..).take(limit).cloned().collect()
    }

    /// Nothing can panic between two steps that belong together.
    fn lock(&self) -> MutexGuard<'_, VecDeque<Numbered>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! Where delivery stands in the journal: what was taken, what is open, what is done.

use std::collections::BTreeMap;

use crate::publish::types::RowId;

#[derive(Debug)]
pub(super) struct Position {
    /// Every row up to here was taken.
    scan: RowId,
    /// Rows taken beyond `scan`: first -> last of each range. Live rows come in order, so this
    /// holds few ranges however many rows there are.
    ahead: BTreeMap<RowId, RowId>,
    /// Taken and not done: publishes still to be acknowledged.
    open: BTreeMap<RowId, u8>,
}

impl Position {
    pub(super) fn new(cursor: RowId) -> Self {
        Self { scan: cursor, ahead: BTreeMap::new(), open: BTreeMap::new() }
    }

    pub(super) fn scan(&self) -> RowId {
        self.scan
    }

    /// Everything up to this row is done.
    pub(super) fn cursor(&self) -> RowId {
        match self.open.first_key_value() {
            Some((first, _)) => self.scan.min(first - 1),
            None => self.scan,
        }
    }

    /// Back to the cursor: nothing beyond it was ever taken.
    pub(super) fn rewind(&mut self) {
        *self = Self::new(self.cursor());
    }

    pub(super) fn is_taken(&self, row: RowId) -> bool {
        row <= self.scan
            || self.ahead.range(..=row).next_back().is_some_and(|(_, last)| row <= *last)
    }

    /// Newest taken row.
    pub(super) fn taken_max(&self) -> RowId {
        self.ahead.last_key_value().map_or(self.scan, |(_, last)| *last)
    }

    /// The numbers up to `to` are known to hold nothing that was not taken.
    pub(super) fn skip_to(&mut self, to: RowId) {
        self.advance(to);
    }

    /// Takes a row that was announced; false when it lies ahead of rows not yet taken.
    pub(super) fn take_live(&mut self, row: RowId, parts: u8) -> bool {
        debug_assert!(!self.is_taken(row));
        self.open.insert(row, parts);
        if row == self.scan + 1 {
            self.advance(row);
            return true;
        }
        match self.ahead.range_mut(..row).next_back() {
            Some((_, last)) if *last + 1 == row => *last = row,
            _ => {
                self.ahead.insert(row, row);
            }
        }
        false
    }

    /// Takes the next row of the outbox; false when it was taken before.
    pub(super) fn take_late(&mut self, row: RowId, parts: u8) -> bool {
        if row <= self.scan {
            return false;
        }
        let new = !self.is_taken(row);
        if new {
            self.open.insert(row, parts);
        }
        self.advance(row);
        new
    }

    /// One publish of the row was acknowledged (or given up).
    pub(super) fn part_done(&mut self, row: RowId) {
        if let Some(parts) = self.open.get_mut(&row) {
            *parts -= 1;
            if *parts == 0 {
                self.open.remove(&row);
            }
        }
    }

    fn advance(&mut self, to: RowId) {
        self.scan = self.scan.max(to);
        while let Some((&first, &last)) = self.ahead.first_key_value() {
            if first > self.scan + 1 {
                break;
            }
            self.scan = self.scan.max(last);
            self.ahead.remove(&first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_stops_before_the_first_open_row_whatever_lies_ahead() {
        let mut position = Position::new(10);
        assert!(!position.take_live(20, 1));
        assert!(!position.take_live(21, 1));
        position.part_done(20);
        position.part_done(21);
        assert_eq!(position.cursor(), 10, "rows 11..=19 were not taken");
        for row in 11..=19 {
            assert!(position.take_late(row, 2));
        }
        assert_eq!((position.scan(), position.cursor()), (21, 10));
        for row in 11..=19 {
            position.part_done(row);
            assert_eq!(position.cursor(), 10, "row {row} has a mask in flight");
        }
        for row in 11..=19 {
            position.part_done(row);
        }
        assert_eq!(position.cursor(), 21);
    }

    #[test]
    fn holes_in_the_numbers_do_not_stop_it() {
        let mut position = Position::new(0);
        assert!(position.take_late(5, 1));
        assert!(!position.take_live(9, 1));
        assert!(!position.take_late(9, 1), "taken as live before");
        assert_eq!(position.scan(), 9);
        position.part_done(5);
        position.part_done(9);
        assert_eq!(position.cursor(), 9);
    }

    #[test]
    fn a_rewind_forgets_everything_behind_the_cursor() {
        let mut position = Position::new(3);
        assert!(position.take_live(4, 1));
        assert!(position.take_live(5, 1));
        position.part_done(5);
        position.rewind();
        assert_eq!((position.scan(), position.cursor()), (3, 3));
        assert!(!position.is_taken(4) && !position.is_taken(5));
    }
}

//! The tail: the newest rows in a small file of fixed size, before they are in the database.
//!
//! # Why
//! A commit to the database writes whole pages twice (log, then file), 10 kB for one verdict of
//! 400 bytes. The tail takes a group of rows with one write of a few sectors, past the page
//! cache, and one flush of the device; the database gets them by the hundred.
//!
//! # Format
//! Groups, each beginning at a sector: a header (magic, body length, CRC-32 of what follows),
//! then the body (write number, delivery cursor, number of the first row, rows). A group is valid
//! when its CRC is; the rest of its last sector is zero. The file is written from its beginning
//! again after its rows went to the database, so old groups lie behind the newest: rows the
//! database has are ignored, and of two groups with the same row (a write that failed, and its
//! repetition) the one with the higher write number counts.
//!
//! # Durability
//! The file is allocated and zeroed once, so that a write changes no file system metadata. With
//! [`Sync::Full`] it is opened with `O_DIRECT` where the file system can do that, and flushed by
//! `fdatasync`: what a verdict costs the device is its sectors. Elsewhere the same bytes go
//! through the page cache, whose pages are larger.

mod groups;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::types::{Entry, RowId, RowKind, Sync};
pub(super) use groups::{Found, Stored, read};
use groups::{encode, encoded_bytes};

/// Size of the file in bytes: some minutes of verdicts while the database cannot be written.
pub(super) const TAIL_BYTES: usize = 1 << 20;
/// Smallest unit a device writes, in bytes; groups begin at its multiples.
const SECTOR_BYTES: usize = 512;
/// Units tried with `O_DIRECT`, in bytes: usual devices, then those with large sectors only.
const DIRECT_UNITS_BYTES: [usize; 2] = [SECTOR_BYTES, 4096];
/// Alignment of the memory that `O_DIRECT` writes from, in bytes.
const MEMORY_ALIGN_BYTES: usize = 4096;

/// The tail, open for writing. What it held must be in the database: it is written over.
#[derive(Debug)]
pub(super) struct Tail {
    file: File,
    sync: Sync,
    /// Writes must be a multiple of this long, in bytes.
    unit: usize,
    /// Where the next group goes.
    head: usize,
    /// Number of the next write.
    write: u64,
    buffer: Vec<u8>,
}

impl Tail {
    /// Opens the file, allocating it when it is missing or of another size. `write` is the number
    /// of the next write.
    pub(super) fn open(path: &Path, sync: Sync, write: u64) -> io::Result<Self> {
        if fs::metadata(path).map_or(0, |meta| meta.len()) != TAIL_BYTES as u64 {
            allocate(path)?;
        }
        let direct = match sync {
            Sync::Full => open_direct(path),
            Sync::Normal => None,
        };
        let (file, unit) = match direct {
            Some(direct) => direct,
            None => (OpenOptions::new().write(true).open(path)?, SECTOR_BYTES),
        };
        Ok(Self { file, sync, unit, head: 0, write, buffer: Vec::new() })
    }

    /// Number of the next write.
    pub(super) fn next_write(&self) -> u64 {
        self.write
    }

    /// Whether a group finds room before the tail is [`Tail::rewind`]ed.
    pub(super) fn has_room_for(&self, entries: &[Entry]) -> bool {
        self.head + encoded_bytes(entries).next_multiple_of(self.unit) <= TAIL_BYTES
    }

    /// Writes a group; returns when it is as safe as [`Sync`] says. After an error nothing of it
    /// counts, and it may be repeated.
    pub(super) fn append(
        &mut self,
        cursor: RowId,
        first: RowId,
        entries: &[Entry],
    ) -> io::Result<()> {
        let write = self.write;
        self.write += 1;
        // O_DIRECT wants aligned memory: room to shift in front, whole units behind.
        let group = encoded_bytes(entries).next_multiple_of(self.unit);
        self.buffer.clear();
        self.buffer.reserve(MEMORY_ALIGN_BYTES + group);
        let shift = self.buffer.as_ptr().align_offset(MEMORY_ALIGN_BYTES);
        self.buffer.resize(shift, 0);
        encode(write, cursor, first, entries, &mut self.buffer);
        self.buffer.resize(shift + group, 0);
        self.file.write_all_at(&self.buffer[shift..], self.head as u64)?;
        if self.sync == Sync::Full || entries.iter().any(|entry| entry.kind == RowKind::Event) {
            self.file.sync_data()?;
        }
        self.head += group;
        Ok(())
    }

    /// From the beginning: everything in the tail is in the database.
    pub(super) fn rewind(&mut self) {
        self.head = 0;
    }
}

/// A zeroed file of full size, on the device.
pub(super) fn allocate(path: &Path) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(&vec![0; TAIL_BYTES])?;
    file.sync_all()?;
    let dir: PathBuf = path.parent().unwrap_or(Path::new(".")).into();
    File::open(dir)?.sync_all()
}

/// The file past the page cache and the unit it takes; `None` where that does not work.
fn open_direct(path: &Path) -> Option<(File, usize)> {
    let file = OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(path).ok()?;
    let zeros = vec![0; 2 * MEMORY_ALIGN_BYTES];
    let shift = zeros.as_ptr().align_offset(MEMORY_ALIGN_BYTES);
    let works = |unit: &usize| file.write_all_at(&zeros[shift..shift + unit], 0).is_ok();
    let unit = DIRECT_UNITS_BYTES.into_iter().find(works)?;
    Some((file, unit))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::groups::{scan, sectors};
    use super::*;

    fn entry(seq: u32, bytes: usize, mask: Option<usize>) -> Entry {
        Entry {
            epoch: 3,
            seq,
            kind: RowKind::Verdict,
            at_unix_s: u64::from(seq) << 33,
            payload: vec![seq as u8; bytes],
            detail: vec![!(seq as u8); bytes / 2],
            mask: mask.map(|bytes| vec![7; bytes]),
        }
    }

    const NOTHING: Stored = Stored { newest: 0, write: 0, fresh: false };

    fn at(sync: Sync) -> (tempfile::TempDir, PathBuf, Tail) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tail");
        let tail = Tail::open(&path, sync, 1).unwrap();
        (dir, path, tail)
    }

    #[test]
    fn what_was_written_is_read_back_in_both_modes() {
        for sync in [Sync::Full, Sync::Normal] {
            let (_dir, path, mut tail) = at(sync);
            let groups = [
                vec![entry(1, 100, None)],
                vec![entry(2, 3000, Some(0)), entry(3, 0, Some(5000))],
                vec![Entry { kind: RowKind::Event, ..entry(4, 9, None) }],
            ];
            let mut first = 1;
            for entries in &groups {
                tail.append(first - 1, first, entries).unwrap();
                first += entries.len() as u64;
            }
            let found = read(&path).unwrap();
            let rows: Vec<_> = found.following(NOTHING).map(|(id, r)| (id, r.cursor)).collect();
            assert_eq!(rows, [(1, 0), (2, 1), (3, 1), (4, 3)]);
            assert!(groups.concat().iter().eq(found.after(0).map(|(_, row)| &row.entry)));
            assert_eq!(fs::metadata(&path).unwrap().len(), TAIL_BYTES as u64);
        }
    }

    #[test]
    fn a_repeated_write_replaces_the_one_that_failed_wherever_either_lies() {
        let (_dir, path, mut tail) = at(Sync::Normal);
        tail.append(0, 1, &[entry(1, 10, None), entry(2, 10, None)]).unwrap();
        // As if that had failed: the same row again, with another answer.
        tail.append(0, 1, &[entry(9, 10, None)]).unwrap();
        let seqs =
            |found: &Found| found.following(NOTHING).map(|(_, r)| r.entry.seq).collect::<Vec<_>>();
        assert_eq!(seqs(&read(&path).unwrap()), [9], "the rest of the failed one does not count");
        tail.rewind();
        tail.append(0, 1, &[entry(8, 10, None)]).unwrap();
        assert_eq!(seqs(&read(&path).unwrap()), [8], "the newest write counts, not the last");
    }

    #[test]
    fn what_the_database_has_passed_by_does_not_come_back() {
        let (_dir, path, mut tail) = at(Sync::Normal);
        tail.append(0, 5, &[entry(5, 10, None)]).unwrap();
        let found = read(&path).unwrap();
        let after = |stored| found.following(stored).count();
        assert_eq!(after(Stored { newest: 4, write: 1, fresh: false }), 1);
        assert_eq!(after(Stored { newest: 3, write: 1, fresh: false }), 0, "a hole");
        assert_eq!(after(Stored { newest: 4, write: 2, fresh: false }), 0, "a leftover");
        assert_eq!(after(Stored { newest: 0, write: 0, fresh: true }), 1, "a lost database");
        assert_eq!(found.next_write(NOTHING), 2);
        assert_eq!(found.next_write(Stored { write: 9, ..NOTHING }), 9, "a lost tail");
    }

    #[test]
    fn a_full_tail_says_so_before_it_is_written() {
        let (_dir, path, mut tail) = at(Sync::Normal);
        let group = [entry(1, 1000, None)];
        let mut groups = 0;
        while tail.has_room_for(&group) {
            tail.append(0, 1 + groups, &group).unwrap();
            groups += 1;
        }
        assert_eq!(groups, (TAIL_BYTES / 2048) as u64);
        assert_eq!(fs::metadata(&path).unwrap().len(), TAIL_BYTES as u64);
        tail.rewind();
        assert!(tail.has_room_for(&group));
        assert!(!tail.has_room_for(&[entry(1, TAIL_BYTES, None)]));
    }

    proptest! {
        #[test]
        fn whatever_bytes_are_there_reading_never_fails_and_gives_whole_groups(
            sizes in proptest::collection::vec((0usize..900, 1usize..4), 1..6),
            damage in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..4),
            cut in any::<usize>(),
        ) {
            let (mut bytes, mut first, mut groups) = (Vec::new(), 1, Vec::new());
            for (write, (size, rows)) in (1..).zip(&sizes) {
                let entries: Vec<_> =
                    (0..*rows).map(|n| entry(first as u32 + n as u32, *size, None)).collect();
                let begin = bytes.len();
                encode(write, 0, first, &entries, &mut bytes);
                bytes.resize(sectors(bytes.len()), 0);
                groups.push((begin..bytes.len(), first, entries));
                first += *rows as u64;
            }
            let whole = bytes.clone();
            let length = bytes.len();
            for (place, value) in damage {
                bytes[place % length] ^= value;
            }
            bytes.truncate(length - cut % length / 2);
            let found = scan(&bytes);
            let rows: BTreeMap<_, _> = found.after(0).collect();
            for (span, first, entries) in groups {
                let intact = span.end <= bytes.len() && bytes[span.clone()] == whole[span];
                for (id, entry) in (first..).zip(entries) {
                    match rows.get(&id) {
                        Some(row) => prop_assert_eq!(&row.entry, &entry),
                        None => prop_assert!(!intact, "row {id} is intact and was not found"),
                    }
                }
            }
        }
    }
}

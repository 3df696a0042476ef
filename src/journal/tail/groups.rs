//! The bytes of the tail: groups of rows, and which of them count.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use super::SECTOR_BYTES;
use crate::journal::types::{Entry, RowId, RowKind};

/// `crrT`: a group begins here.
const MAGIC: [u8; 4] = *b"crrT";
/// Magic, body length, CRC.
const HEADER_BYTES: usize = 12;
/// Write number, cursor, first row, number of rows.
const PREFIX_BYTES: usize = 28;
/// Kind, epoch, seq, time, three lengths.
const ROW_BYTES: usize = 29;
/// Stands for the length of a mask that is not there.
const NO_MASK: u32 = u32::MAX;

/// Rows written at once, as they are read back.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    write: u64,
    cursor: RowId,
    first: RowId,
    entries: Vec<Entry>,
}

/// What a tail holds.
#[derive(Debug, Default)]
pub(in crate::journal) struct Found {
    /// Rows by number, those the database has included.
    rows: BTreeMap<RowId, Written>,
    /// Highest write number.
    write: u64,
}

/// A row as it lies in the tail.
#[derive(Debug)]
pub(in crate::journal) struct Written {
    /// Number of its write.
    write: u64,
    /// Delivery cursor at that time.
    pub(in crate::journal) cursor: RowId,
    pub(in crate::journal) entry: Entry,
}

/// Where the database stands.
#[derive(Clone, Copy, Debug)]
pub(in crate::journal) struct Stored {
    /// Its newest row.
    pub(in crate::journal) newest: RowId,
    /// Number of the first write after the last move to it.
    pub(in crate::journal) write: u64,
    /// It is new: the one before was lost, and the tail is all there is.
    pub(in crate::journal) fresh: bool,
}

impl Found {
    /// Number of the next write.
    pub(in crate::journal) fn next_write(&self, stored: Stored) -> u64 {
        stored.write.max(self.write + 1)
    }

    /// Number of the newest row; 0 when there is none.
    pub(in crate::journal) fn newest(&self) -> RowId {
        self.rows.last_key_value().map_or(0, |(id, _)| *id)
    }

    /// Rows that follow those of the database, as they were written one after the other. What
    /// lies behind a hole was written after something that a power cut took; what was written
    /// before the row in front of it is a leftover, of a write that failed or from behind such a
    /// hole. All rows when the database is fresh.
    pub(in crate::journal) fn following(
        &self,
        stored: Stored,
    ) -> impl Iterator<Item = (RowId, &Written)> {
        let Stored { newest, write, fresh } = stored;
        let mut last = (newest, write);
        self.after(newest).take_while(move |(id, row)| {
            let follows = *id == last.0 + 1 && row.write >= last.1;
            last = (*id, row.write);
            fresh || follows
        })
    }

    /// All rows after `after`, leftovers too.
    pub(in crate::journal) fn after(
        &self,
        after: RowId,
    ) -> impl Iterator<Item = (RowId, &Written)> {
        self.rows.range(after + 1..).map(|(id, row)| (*id, row))
    }

    /// Highest delivery cursor noted with any row; 0 when there is none.
    pub(in crate::journal) fn cursor(&self) -> RowId {
        self.rows.values().map(|row| row.cursor).max().unwrap_or(0)
    }

    /// Highest boot epoch of any row.
    pub(in crate::journal) fn epoch(&self) -> u32 {
        self.rows.values().map(|row| row.entry.epoch).max().unwrap_or(0)
    }
}

/// Reads a tail; one that is not there is empty, groups that are not whole are passed over.
///
/// # Errors
/// When the file cannot be read.
pub(in crate::journal) fn read(path: &Path) -> io::Result<Found> {
    match fs::read(path) {
        Ok(bytes) => Ok(scan(&bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Found::default()),
        Err(e) => Err(e),
    }
}

pub(super) fn scan(bytes: &[u8]) -> Found {
    let mut groups = Vec::new();
    let mut at = 0;
    while at + HEADER_BYTES <= bytes.len() {
        let found = decode(&bytes[at..]);
        at += found.as_ref().map_or(SECTOR_BYTES, |(_, length)| sectors(*length));
        groups.extend(found.map(|(group, _)| group));
    }
    groups.sort_by_key(|group| group.write);
    let mut all = Found::default();
    for Group { write, cursor, first, entries } in groups {
        all.write = write;
        let rows = entries.into_iter().map(|entry| Written { write, cursor, entry });
        all.rows.extend((first..).zip(rows));
    }
    all
}

/// Bytes a group takes in the file.
pub(super) fn sectors(bytes: usize) -> usize {
    bytes.next_multiple_of(SECTOR_BYTES)
}

pub(super) fn encoded_bytes(entries: &[Entry]) -> usize {
    let row = |e: &Entry| {
        ROW_BYTES + e.payload.len() + e.detail.len() + e.mask.as_ref().map_or(0, Vec::len)
    };
    HEADER_BYTES + PREFIX_BYTES + entries.iter().map(row).sum::<usize>()
}

/// Appends a group to `out`. Lengths fit 32 bits: a group is at most [`super::TAIL_BYTES`] long.
pub(super) fn encode(
    write: u64,
    cursor: RowId,
    first: RowId,
    entries: &[Entry],
    out: &mut Vec<u8>,
) {
    let begin = out.len();
    let body_bytes = encoded_bytes(entries) - HEADER_BYTES;
    out.extend(MAGIC);
    out.extend((body_bytes as u32).to_le_bytes());
    out.extend([0; 4]);
    for number in [write, cursor, first] {
        out.extend(number.to_le_bytes());
    }
    out.extend((entries.len() as u32).to_le_bytes());
    for entry in entries {
        out.push(entry.kind as u8);
        out.extend(entry.epoch.to_le_bytes());
        out.extend(entry.seq.to_le_bytes());
        out.extend(entry.at_unix_s.to_le_bytes());
        let mask_bytes = entry.mask.as_ref().map_or(NO_MASK, |mask| mask.len() as u32);
        for length in [entry.payload.len() as u32, entry.detail.len() as u32, mask_bytes] {
            out.extend(length.to_le_bytes());
        }
        out.extend(&entry.payload);
        out.extend(&entry.detail);
        out.extend(entry.mask.iter().flatten());
    }
    let body = begin + HEADER_BYTES;
    let sum = crc32fast::hash(&out[body..]).to_le_bytes();
    out[body - 4..body].copy_from_slice(&sum);
}

/// The group at the beginning of `bytes` and its length; `None` when there is no whole one.
fn decode(bytes: &[u8]) -> Option<(Group, usize)> {
    let mut header = Cursor(bytes);
    if header.take(4)? != MAGIC {
        return None;
    }
    let (length, sum) = (header.u32()? as usize, header.u32()?);
    let body = header.take(length)?;
    if crc32fast::hash(body) != sum {
        return None;
    }
    let mut body = Cursor(body);
    let (write, cursor, first) = (body.u64()?, body.u64()?, body.u64()?);
    let count = body.u32()?;
    let entries = (0..count).map(|_| body.entry()).collect::<Option<_>>()?;
    Some((Group { write, cursor, first, entries }, HEADER_BYTES + length))
}

/// Takes bytes from the front.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(front)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn entry(&mut self) -> Option<Entry> {
        let kind = RowKind::from_i64(self.take(1)?[0].into())?;
        let (epoch, seq, at_unix_s) = (self.u32()?, self.u32()?, self.u64()?);
        let (payload, detail, mask) = (self.u32()?, self.u32()?, self.u32()?);
        Some(Entry {
            epoch,
            seq,
            kind,
            at_unix_s,
            payload: self.take(payload as usize)?.to_vec(),
            detail: self.take(detail as usize)?.to_vec(),
            mask: match mask {
                NO_MASK => None,
                length => Some(self.take(length as usize)?.to_vec()),
            },
        })
    }
}

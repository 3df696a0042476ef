//! The real journal on real files, in lockstep with the model, and the ways a disk can die.
//!
//! A death is a picture of the folder's files, taken between two calls or mixed from the pictures
//! before and after one: what a file system may leave of writes that no fsync has ordered yet.
//! The next start must find whole commits, at least all that were synced.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::PathBuf;

use crrd::journal::{Entry, Journal, Opened, Options, Reader, Row, RowId, RowKind, Sync, Writer};

use super::explain::notice;
use super::rng::Rng;
use super::store::{Crash, Found, Model, Store};

/// A disk writes this many bytes whole.
const SECTOR: usize = 512;
const WAL: &str = "journal.db-wal";
const DATABASE: &str = "journal.db";
const TAIL: &str = "journal.tail";

type Files = BTreeMap<String, Vec<u8>>;

/// The journal in a folder, and the model beside it.
pub(crate) struct Disk {
    root: tempfile::TempDir,
    generation: u32,
    options: Options,
    open: Option<(Writer, Reader)>,
    pub(crate) model: Model,
    /// The files as they were when everything was synced last.
    synced: Files,
    /// The commit in which the process died: there or not, as the files say.
    caught: Option<Vec<Entry>>,
    /// Unsynced commits may be missing at the next start.
    tail_may_go: bool,
    /// Moves to the database at the last look.
    moves: u64,
    /// Died while rows moved to the database.
    caught_moving: bool,
    /// What the last start found.
    pub(crate) opened: Option<Opened>,
    pub(crate) torn: u64,
    /// The next end in order leaves no log behind.
    closes_log: bool,
}

/// On memory where there is some: the real work is in the calls, not in the medium.
pub(crate) fn scratch() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    if memory.is_dir()
        && let Ok(dir) = tempfile::tempdir_in(memory)
    {
        return dir;
    }
    tempfile::tempdir().unwrap()
}

impl Disk {
    pub(crate) fn new(sync: Sync) -> Self {
        let options = Options { sync, bytes_max: Options::BYTES_DEFAULT, age_days_max: 0, notice };
        Self {
            root: scratch(),
            generation: 0,
            options,
            open: None,
            model: Model::new(sync, usize::MAX, notice),
            synced: Files::new(),
            caught: None,
            tail_may_go: false,
            moves: 0,
            caught_moving: false,
            opened: None,
            torn: 0,
            closes_log: true,
        }
    }

    fn dir(&self) -> PathBuf {
        self.root.path().join(self.generation.to_string())
    }

    fn writer(&mut self) -> &mut Writer {
        &mut self.open.as_mut().unwrap().0
    }

    fn reader(&self) -> &Reader {
        &self.open.as_ref().unwrap().1
    }

    /// The files as a kill would leave them now.
    pub(crate) fn files(&self) -> Files {
        let mut files = Files::new();
        for item in fs::read_dir(self.dir()).unwrap().flatten() {
            let name = item.file_name().into_string().unwrap();
            if name != "lock" {
                files.insert(name, fs::read(item.path()).unwrap());
            }
        }
        files
    }

    /// The process is gone; the next start finds these files.
    pub(crate) fn leave(&mut self, files: &Files) {
        self.open = None;
        fs::remove_dir_all(self.dir()).unwrap();
        self.generation += 1;
        fs::create_dir(self.dir()).unwrap();
        for (name, bytes) in files {
            fs::write(self.dir().join(name), bytes).unwrap();
        }
    }

    /// After a commit: what is on the device now for sure. A move to the database is synced in
    /// every mode.
    fn note_synced(&mut self, full: bool) {
        let moves = self.writer().stats().moves;
        let moved = std::mem::replace(&mut self.moves, moves) != moves;
        if moved {
            self.model.moved();
        }
        if self.options.sync == Sync::Normal && (full || moved) {
            self.synced = self.files();
        }
    }

    fn is_full(&self, entries: &[Entry]) -> bool {
        self.options.sync == Sync::Full || entries.iter().any(|e| e.kind == RowKind::Event)
    }

    /// Dies within the commit of `entries`: some of its writes arrived.
    fn torn_commit(&mut self, entries: &[Entry], rng: &mut Rng) -> Files {
        let before = self.files();
        self.writer().append(entries).unwrap();
        let after = self.files();
        self.caught = Some(entries.to_vec());
        self.torn(before, &after, rng)
    }

    /// Dies while rows move from the tail to the database, if it is time for that.
    fn torn_move(&mut self, rng: &mut Rng) -> Files {
        let before = self.files();
        self.writer().settle().unwrap();
        let after = self.files();
        self.caught_moving = true;
        self.torn(before, &after, rng)
    }

    fn torn(&mut self, before: Files, after: &Files, rng: &mut Rng) -> Files {
        self.torn += 1;
        let mut files = before.clone();
        let of = |files: &Files, name: &str| files.get(name).cloned().unwrap_or_default();
        if before.get(DATABASE) != after.get(DATABASE) && rng.chance(50) {
            // Within the checkpoint that followed: the log is whole and synced.
            files.insert(WAL.into(), of(after, WAL));
            let mixed = mix(&before[DATABASE], &after[DATABASE], SECTOR, rng);
            files.insert(DATABASE.into(), mixed);
            return files;
        }
        // A group goes to the tail, or to the log when the tail has no room for it.
        for name in [TAIL, WAL] {
            let (old, new) = (of(&before, name), of(after, name));
            if old == new {
                continue;
            }
            let mixed = if rng.chance(50) {
                cut(&old, &new, rng.below(new.len() as u64 + 1) as usize)
            } else {
                mix(&old, &new, SECTOR, rng)
            };
            files.insert(name.into(), mixed);
        }
        files
    }

    /// The power goes: nothing is sure but what was synced.
    fn power(&mut self, files: &mut Files, rng: &mut Rng) {
        if self.options.sync == Sync::Normal {
            let tail = |files: &Files| files.get(TAIL).cloned().unwrap_or_default();
            let (old, new) = (tail(&self.synced), tail(files));
            let mixed = match rng.below(3) {
                0 => cut(&old, &new, rng.below(new.len() as u64 + 1) as usize),
                1 => mix(&old, &new, SECTOR, rng),
                _ => new,
            };
            files.insert(TAIL.into(), mixed);
            self.tail_may_go = true;
        }
        // The index in shared memory is never synced.
        match rng.below(3) {
            0 => drop(files.remove("journal.db-shm")),
            1 => drop(files.insert("journal.db-shm".into(), vec![0xA5; 32_768])),
            _ => {}
        }
        if rng.chance(20)
            && let Some(log) = files.get_mut(WAL)
        {
            // The file had grown for a write that never came.
            log.resize(log.len() + SECTOR * 3, 0);
        }
    }

    /// The model takes over what the real journal decided about the last, open commits.
    fn follow(&mut self, opened: &Opened) {
        let found = (opened.newest, opened.cursor);
        if let Some(entries) = self.caught.take() {
            let len = entries.len() as u64;
            if opened.newest == self.model.newest() + len && len > 0 {
                self.model.append(&entries);
            }
        }
        if std::mem::take(&mut self.caught_moving) {
            self.model.may_have_moved(opened.cursor);
        }
        if std::mem::take(&mut self.tail_may_go) {
            self.model.keep_where(|next, stored| (next - 1, stored) == found);
        }
    }
}

/// `new` up to byte `at`, what was there before behind it.
fn cut(old: &[u8], new: &[u8], at: usize) -> Vec<u8> {
    let mut mixed = new[..at].to_vec();
    mixed.extend(old.iter().skip(at));
    mixed
}

/// Each block from `old` or `new` by chance; the file ends where the last written block ends.
fn mix(old: &[u8], new: &[u8], block: usize, rng: &mut Rng) -> Vec<u8> {
    let percent = rng.pick(&[10, 50, 90]);
    let mut mixed = old.to_vec();
    for (n, bytes) in new.chunks(block).enumerate() {
        let at = n * block;
        if rng.chance(percent) {
            if mixed.len() < at + bytes.len() {
                mixed.resize(at + bytes.len(), 0);
            }
            mixed[at..at + bytes.len()].copy_from_slice(bytes);
        }
    }
    mixed
}

impl Store for Disk {
    fn open(&mut self) -> Found {
        let (writer, reader, opened) = Journal::open(&self.dir(), &self.options).unwrap();
        self.open = Some((writer, reader));
        assert_eq!(opened.restarted, None, "nothing was damaged");
        self.follow(&opened);
        let found = self.model.open();
        let real = Found { epoch: opened.epoch, cursor: opened.cursor, newest: opened.newest };
        assert_eq!(real, found, "journal and model agree at the start");
        self.opened = Some(opened);
        self.moves = 0;
        let there = self.after(0, usize::MAX).len();
        assert_eq!(there, self.model.rows());
        self.note_synced(true);
        found
    }

    fn append(&mut self, entries: &[Entry]) -> Range<RowId> {
        let ids = self.writer().append(entries).unwrap();
        assert_eq!(ids, self.model.append(entries), "row numbers");
        if !entries.is_empty() {
            self.note_synced(self.is_full(entries));
        }
        ids
    }

    fn after(&mut self, after: RowId, limit: usize) -> Vec<Row> {
        let mut rows: Vec<Row> = vec![];
        while rows.len() < limit {
            let from = rows.last().map_or(after, |row| row.id);
            let room = limit - rows.len();
            let page = self.open.as_mut().unwrap().1.after(from, room).unwrap();
            let short = page.len() < room.min(Reader::ROWS_MAX);
            rows.extend(page);
            if short {
                break;
            }
        }
        assert_eq!(rows, self.model.after(after, limit), "rows after {after}");
        rows
    }

    fn acknowledge(&mut self, cursor: RowId) {
        self.open.as_mut().unwrap().1.acknowledge(cursor).unwrap();
        self.model.acknowledge(cursor);
    }

    fn newest(&self) -> RowId {
        assert_eq!(self.reader().newest(), self.model.newest());
        self.model.newest()
    }

    fn settle(&mut self) {
        self.model.settle();
        self.writer().settle().unwrap();
        self.note_synced(false);
    }

    fn close(&mut self) {
        let (writer, reader) = self.open.take().unwrap();
        // The publisher outlives the journal's thread, or the other way round; what the writer
        // closes last is copied from the log into the database.
        if self.closes_log {
            drop(reader);
            writer.close().unwrap();
        } else {
            writer.close().unwrap();
            drop(reader);
        }
        self.closes_log = !self.closes_log;
        self.model.close();
    }

    fn crash(&mut self, how: Crash, caught: Option<&[Entry]>, rng: &mut Rng) {
        let mut files = match caught {
            Some(entries) if rng.chance(80) => self.torn_commit(entries, rng),
            _ if rng.chance(50) => self.torn_move(rng),
            _ => self.files(),
        };
        if how == Crash::Power {
            self.power(&mut files, rng);
        }
        self.leave(&files);
    }
}

/// A row of some size, for the tests of the journal alone.
fn row(epoch: u32, seq: u32, rng: &mut Rng) -> Entry {
    let payload = format!("{epoch}/{seq}").into_bytes();
    let mask = rng.chance(40).then(|| vec![b'm'; rng.pick(&[10, 10, 300, 300, 6_000, 60_000])]);
    let kind = if rng.chance(10) { RowKind::Event } else { RowKind::Verdict };
    Entry { epoch, seq, kind, at_unix_s: 0, payload, detail: vec![b'd'; 100], mask }
}

/// One life of a journal: commits, acknowledgements, deaths; every start is checked against the
/// model. Gives the number of starts and of commits torn.
pub(crate) fn life(seed: u64) -> (u64, u64) {
    let mut rng = Rng::new(seed);
    let mut disk = Disk::new(if rng.chance(50) { Sync::Full } else { Sync::Normal });
    let (mut seq, mut starts) = (0, 0);
    let mut found = disk.open();
    let mut batch = |epoch: u32, rng: &mut Rng| -> Vec<Entry> {
        // Now and then enough for a move to the database.
        let most = if rng.chance(5) { 200 } else { 6 };
        (0..rng.between((1, most)))
            .map(|_| {
                seq += 1;
                row(epoch, seq, rng)
            })
            .collect()
    };
    for _ in 0..rng.between((5, 40)) {
        match rng.below(12) {
            0..=5 => drop(disk.append(&batch(found.epoch, &mut rng))),
            6 | 7 => {
                let newest = disk.newest();
                disk.acknowledge(rng.below(newest + 1));
            }
            8 => disk.settle(),
            9 => {
                disk.close();
                found = again(&mut disk, found.epoch, &mut starts);
            }
            _ => {
                let how = if rng.chance(50) { Crash::Kill } else { Crash::Power };
                let caught = rng.chance(60).then(|| batch(found.epoch, &mut rng));
                disk.crash(how, caught.as_deref(), &mut rng);
                found = again(&mut disk, found.epoch, &mut starts);
            }
        }
    }
    (starts, disk.torn)
}

fn again(disk: &mut Disk, epoch: u32, starts: &mut u64) -> Found {
    *starts += 1;
    let found = disk.open();
    assert!(found.epoch > epoch, "the boot epoch rises");
    found
}

/// A disk that lies or rots: bytes that were synced are gone. The journal must open all the same,
/// with a higher epoch, take rows, and say what it could not read.
pub(crate) fn rot(seed: u64) -> bool {
    let mut rng = Rng::new(seed);
    let mut disk = Disk::new(Sync::Full);
    let found = disk.open();
    let mut whole = vec![];
    for commit in 0..rng.between((1, 12)) as u32 {
        let rows: Vec<_> = (0..3).map(|n| row(found.epoch, commit * 3 + n + 1, &mut rng)).collect();
        disk.append(&rows);
        whole.extend(rows);
    }
    let closed = rng.chance(50);
    if closed {
        disk.close();
    }
    let mut files = disk.files();
    let name = rng.pick(if closed {
        &[DATABASE, DATABASE, "epoch"][..]
    } else {
        &[TAIL, TAIL, WAL, DATABASE][..]
    });
    damage(files.get_mut(name).unwrap(), &mut rng);
    disk.leave(&files);
    let (mut writer, mut reader, opened) = Journal::open(&disk.dir(), &disk.options).unwrap();
    assert!(opened.epoch > found.epoch, "seed {seed}: epoch {}", opened.epoch);
    let rows = reader.after(0, Reader::ROWS_MAX).unwrap();
    let told = rows.iter().any(|r| String::from_utf8_lossy(&r.payload).contains("restarted"));
    assert_eq!(opened.restarted.is_some(), told, "seed {seed}: a loss is told");
    if opened.restarted.is_none() && name == TAIL {
        // Whole commits from the start; what was behind the damage is gone.
        assert_eq!(rows.len() % 3, 0, "seed {seed}");
        for (row, entry) in rows.iter().zip(&whole) {
            assert_eq!((&row.payload, &row.mask), (&entry.payload, &entry.mask), "seed {seed}");
        }
    }
    let next = row(opened.epoch, 1, &mut rng);
    let ids = writer.append(std::slice::from_ref(&next)).unwrap();
    let last = reader.after(ids.start - 1, 1).unwrap();
    assert_eq!(last[0].payload, next.payload, "seed {seed}: new rows are taken");
    opened.restarted.is_some()
}

fn damage(bytes: &mut Vec<u8>, rng: &mut Rng) {
    let len = bytes.len();
    match rng.below(4) {
        0 => bytes.truncate(rng.below(len as u64) as usize),
        1 => {
            let from = len.saturating_sub(SECTOR);
            bytes[from..].fill(0);
        }
        2 => {
            let at = rng.below(len as u64) as usize / SECTOR * SECTOR;
            let end = (at + SECTOR).min(len);
            bytes[at..end].fill(0xFF);
        }
        _ => {
            let at = rng.below(len as u64) as usize;
            bytes[at] ^= 1 << rng.below(8);
        }
    }
}

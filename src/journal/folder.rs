//! The journal's folder: lock, second copy of the boot epoch, damaged databases put aside, the
//! note of a recovery.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::error::{JournalError, JournalErrorKind};

/// Damaged databases kept for a technician; the oldest beyond this are removed so that repeated
/// damage cannot fill the disk.
const ASIDE_KEPT_MAX: usize = 3;

const ASIDE_PREFIX: &str = "damaged-";
const ASIDE_SUFFIX: &str = ".db";
/// What belongs to a database beside its file.
const LOGS: [&str; 2] = ["-wal", "-shm"];

/// A damaged database is being replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RecoveryNote {
    /// Where the damaged one goes.
    pub(super) moved_to: PathBuf,
    /// What is wrong with it.
    pub(super) cause: String,
}

/// Paths inside the journal's folder.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    dir: PathBuf,
}

impl Folder {
    /// Creates the folder when it is missing.
    pub(super) fn create(dir: &Path) -> Result<Self, JournalError> {
        fs::create_dir_all(dir).map_err(|e| JournalError::io("create the folder", dir, e))?;
        Ok(Self::at(dir))
    }

    /// The folder as it is.
    pub(super) fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// The folder of a journal's database.
    pub(super) fn of(database: &Path) -> Self {
        Self::at(database.parent().unwrap_or(Path::new(".")))
    }

    /// Bytes of the journal's files; one that goes away meanwhile counts nothing.
    pub(super) fn bytes(&self) -> u64 {
        let database = self.database();
        let files = ["", "-wal", "-shm"].map(|suffix| with_suffix(&database, suffix));
        files.iter().chain([&self.tail()]).flat_map(fs::metadata).map(|meta| meta.len()).sum()
    }

    pub(super) fn database(&self) -> PathBuf {
        self.dir.join("journal.db")
    }

    pub(super) fn tail(&self) -> PathBuf {
        self.dir.join("journal.tail")
    }

    /// Takes the lock that keeps a second daemon out; held until the file is dropped.
    pub(super) fn lock(&self) -> Result<File, JournalError> {
        let path = self.dir.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|e| JournalError::io("open the lock", &path, e))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(JournalError::new(
                JournalErrorKind::Locked,
                format!(
                    "journal: {} is in use by another process; give each station its own \
                     state_dir, or stop the other one",
                    self.dir.display()
                ),
            )),
            Err(TryLockError::Error(e)) => Err(JournalError::io("lock", &path, e)),
        }
    }

    /// The highest boot epoch known outside the database; 0 when there is none.
    pub(super) fn epoch_seen(&self) -> Result<u32, JournalError> {
        let from_file = self.epoch_in_file()?.unwrap_or(0);
        let from_names = self.aside()?.last().map_or(0, |(epoch, _)| *epoch);
        Ok(from_file.max(from_names))
    }

    /// The second copy of the boot epoch.
    pub(super) fn epoch_in_file(&self) -> Result<Option<u32>, JournalError> {
        let path = self.dir.join("epoch");
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text.trim().parse().ok()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            // Not text: as good as missing, the other copies still count.
            Err(e) if e.kind() == std::io::ErrorKind::InvalidData => Ok(None),
            Err(e) => Err(JournalError::io("read", &path, e)),
        }
    }

    /// Stores the boot epoch so that it survives the loss of the database.
    pub(super) fn store_epoch(&self, epoch: u32) -> Result<(), JournalError> {
        self.store_text("epoch", &format!("{epoch}\n"))
    }

    /// A small file, whole and on the device or as it was.
    fn store_text(&self, name: &str, text: &str) -> Result<(), JournalError> {
        let (path, temp) = (self.dir.join(name), self.dir.join(format!("{name}.new")));
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&temp)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&temp, &path)
        };
        write().map_err(|e| JournalError::io("write", &path, e))?;
        self.sync()
    }

    /// What was created, renamed and removed is so on the device.
    fn sync(&self) -> Result<(), JournalError> {
        let sync = || -> std::io::Result<()> { File::open(&self.dir)?.sync_all() };
        sync().map_err(|e| JournalError::io("write", &self.dir, e))
    }

    fn note_path(&self) -> PathBuf {
        self.dir.join("recovery")
    }

    /// Leaves a note that a damaged database is being replaced.
    pub(super) fn store_note(&self, note: &RecoveryNote) -> Result<(), JournalError> {
        let name = note.moved_to.file_name().unwrap_or_default().to_string_lossy();
        self.store_text("recovery", &format!("{name}\n{}\n", note.cause))
    }

    /// The note of a recovery that was not finished.
    pub(super) fn note(&self) -> Result<Option<RecoveryNote>, JournalError> {
        let path = self.note_path();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(JournalError::io("read", &path, e)),
        };
        let text = String::from_utf8_lossy(&bytes);
        let (name, cause) = text.trim_end().split_once('\n').unwrap_or(("", "unknown"));
        let moved_to = match aside_epoch(name) {
            Some(_) => self.dir.join(name),
            // Rotten itself: it was about the newest one.
            None => self.aside()?.pop().map_or_else(|| self.free_name(0), |(_, path)| path),
        };
        Ok(Some(RecoveryNote { moved_to, cause: cause.to_owned() }))
    }

    /// The new database is in its place.
    pub(super) fn forget_note(&self) -> Result<(), JournalError> {
        let path = self.note_path();
        fs::remove_file(&path).map_err(|e| JournalError::io("remove", &path, e))?;
        // Now: once rows are in the new database, the note would be about a past one.
        self.sync()
    }

    fn suspicion(&self) -> PathBuf {
        self.dir.join("suspect")
    }

    /// Damage showed while the journal was in use: the next start looks at all of the database.
    /// What cannot be noted shows again.
    pub(super) fn suspect(&self) {
        let _ = File::create(self.suspicion());
    }

    pub(super) fn is_suspect(&self) -> bool {
        self.suspicion().exists()
    }

    /// All of it was looked at.
    pub(super) fn trust(&self) -> Result<(), JournalError> {
        remove(&self.suspicion())
    }

    /// Where a new database is built.
    pub(super) fn unfinished(&self) -> PathBuf {
        self.dir.join("unfinished.db")
    }

    /// Removes what an earlier attempt left there.
    pub(super) fn discard_unfinished(&self) -> Result<(), JournalError> {
        for suffix in ["", LOGS[0], LOGS[1]] {
            remove(&with_suffix(&self.unfinished(), suffix))?;
        }
        Ok(())
    }

    /// The new database gets the journal's name.
    pub(super) fn install(&self) -> Result<(), JournalError> {
        let (from, to) = (self.unfinished(), self.database());
        // A log that lies there belongs to no file any more, and would be taken for the new one's.
        for suffix in LOGS {
            remove(&with_suffix(&to, suffix))?;
        }
        fs::rename(&from, &to).map_err(|e| JournalError::io("rename", &from, e))?;
        self.sync()
    }

    /// Moves the database and its write-ahead log aside. The database last: once it is there, all
    /// of it is.
    pub(super) fn move_aside(&self, to: &Path) -> Result<(), JournalError> {
        let from = self.database();
        for suffix in [LOGS[0], ""] {
            let (from, to) = (with_suffix(&from, suffix), with_suffix(to, suffix));
            match fs::rename(&from, &to) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                other => other.map_err(|e| JournalError::io("move aside", &from, e))?,
            }
        }
        // The shared-memory index describes a file that is no longer there.
        let _ = fs::remove_file(with_suffix(&from, LOGS[1]));
        self.sync()?;
        self.forget_oldest(to)
    }

    /// A name for a damaged database, after the last epoch.
    pub(super) fn free_name(&self, epoch: u32) -> PathBuf {
        let mut epoch = epoch;
        loop {
            let path = self.dir.join(format!("{ASIDE_PREFIX}{epoch:08}{ASIDE_SUFFIX}"));
            if !path.exists() || epoch == u32::MAX {
                return path;
            }
            epoch += 1;
        }
    }

    fn forget_oldest(&self, keep: &Path) -> Result<(), JournalError> {
        let aside = self.aside()?;
        let surplus = aside.len().saturating_sub(ASIDE_KEPT_MAX);
        for (_, path) in aside.into_iter().take(surplus).filter(|(_, path)| path != keep) {
            for suffix in ["", LOGS[0], LOGS[1]] {
                let _ = fs::remove_file(with_suffix(&path, suffix));
            }
        }
        Ok(())
    }

    /// Databases put aside, oldest first.
    pub(super) fn aside(&self) -> Result<Vec<(u32, PathBuf)>, JournalError> {
        let listing =
            fs::read_dir(&self.dir).map_err(|e| JournalError::io("list", &self.dir, e))?;
        let mut found: Vec<_> = listing
            .flatten()
            .filter_map(|item| {
                let name = item.file_name();
                Some((aside_epoch(name.to_str()?)?, item.path()))
            })
            .collect();
        found.sort();
        Ok(found)
    }
}

/// The epoch in the name of a database that was put aside.
fn aside_epoch(name: &str) -> Option<u32> {
    name.strip_prefix(ASIDE_PREFIX)?.strip_suffix(ASIDE_SUFFIX)?.parse().ok()
}

fn remove(path: &Path) -> Result<(), JournalError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(JournalError::io("remove", path, e))
        }
        _ => Ok(()),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

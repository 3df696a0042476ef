//! The journal's folder: lock, second copy of the boot epoch, damaged databases put aside.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::error::{JournalError, JournalErrorKind};

/// Damaged databases kept for a technician; the oldest beyond this are removed so that repeated
/// damage cannot fill the disk.
const ASIDE_KEPT_MAX: usize = 3;

const ASIDE_PREFIX: &str = "damaged-";
const ASIDE_SUFFIX: &str = ".db";

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
        let (path, temp) = (self.dir.join("epoch"), self.dir.join("epoch.new"));
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&temp)?;
            writeln!(file, "{epoch}")?;
            file.sync_all()?;
            fs::rename(&temp, &path)?;
            File::open(&self.dir)?.sync_all()
        };
        write().map_err(|e| JournalError::io("write", &path, e))
    }

    /// Moves the database and its write-ahead log aside, named after the last epoch.
    pub(super) fn move_aside(&self, epoch: u32) -> Result<PathBuf, JournalError> {
        let from = self.database();
        let to = self.free_name(epoch);
        for suffix in ["", "-wal"] {
            let (from, to) = (with_suffix(&from, suffix), with_suffix(&to, suffix));
            match fs::rename(&from, &to) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                other => other.map_err(|e| JournalError::io("move aside", &from, e))?,
            }
        }
        // The shared-memory index describes a file that is no longer there.
        let _ = fs::remove_file(with_suffix(&from, "-shm"));
        self.forget_oldest(&to)?;
        Ok(to)
    }

    fn free_name(&self, epoch: u32) -> PathBuf {
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
            for suffix in ["", "-wal", "-shm"] {
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
                let middle = name.to_str()?.strip_prefix(ASIDE_PREFIX)?;
                Some((middle.strip_suffix(ASIDE_SUFFIX)?.parse().ok()?, item.path()))
            })
            .collect();
        found.sort();
        Ok(found)
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

//! The lock of a run directory: one process writes, others may read.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use super::layout::LOCK;
use crate::{Error, Result};

/// Held, it keeps other processes from writing the same run.
#[derive(Debug)]
pub(super) struct Lock {
    folder: PathBuf,
    file: File,
}

impl Lock {
    /// Locks `folder`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when another process has locked it, [`Error::Io`] when it cannot be written.
    pub(super) fn acquire(folder: &Path) -> Result<Self> {
        let path = folder.join(LOCK);
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(Error::io(&path, "write the file"))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { folder: folder.to_path_buf(), file }),
            Err(TryLockError::WouldBlock) => {
                Err(Error::checkpoint(folder, "another process is writing this run"))
            }
            Err(TryLockError::Error(error)) => Err(Error::io(&path, "lock the file")(error)),
        }
    }

    /// Checks that the folder is still the one that was locked: a run whose folder is gone must not end as if it
    /// had been saved.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it is another.
    pub(super) fn check(&self) -> Result<()> {
        if is_same_file(&self.file, &self.folder.join(LOCK)) {
            return Ok(());
        }
        let reason = "the folder was moved, removed or replaced while the run trained: it is saved no further";
        Err(Error::checkpoint(&self.folder, reason))
    }
}

/// Whether a process is writing the run in this folder; it may be this one.
///
/// A process that begins to write the run while this looks is told that another one is writing it.
pub fn is_being_written(run: &Path) -> bool {
    let file = File::options().write(true).open(run.join(LOCK));
    file.is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

/// Whether `path` is this file still, which on other systems than Unix nobody can remove while it is open.
fn is_same_file(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let id = |found: std::io::Result<fs::Metadata>| found.map(|m| (m.dev(), m.ino())).ok();
        id(file.metadata()) == id(fs::metadata(path))
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        path.exists()
    }
}

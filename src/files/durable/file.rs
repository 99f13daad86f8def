//! Durable files: written under a temporary name, synced and renamed.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{Error, Result};

/// The prefix of temporary names.
pub(super) const TEMPORARY: &str = ".tmp-";

/// Puts `content` at `path`, replacing what was there, in one step.
pub(crate) fn write(path: &Path, content: &[u8]) -> Result<()> {
    let temporary = named(TEMPORARY, path);
    let written = write_synced(&temporary, content)
        .map_err(Error::io(path, "write the file"))
        .and_then(|()| rename(&temporary, path, "put the file in place"));
    if written.is_err() {
        // The error that matters is the first one.
        let _ = fs::remove_file(&temporary);
    }
    written.and_then(|()| sync_parent(path))
}

/// The name that `path` bears for a while: `prefix`, the process and a number, its own name. No thread of this
/// process gets it too, nor has an earlier process of this number left it.
pub(super) fn named(prefix: &str, path: &Path) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let (name, process) =
        (path.file_name().unwrap_or_default().to_string_lossy(), std::process::id());
    loop {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let named = path.with_file_name(format!("{prefix}{process}.{number}-{name}"));
        if named.symlink_metadata().is_err() {
            return named;
        }
    }
}

pub(super) fn write_synced(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

pub(super) fn rename(from: &Path, to: &Path, action: &'static str) -> Result<()> {
    fs::rename(from, to).map_err(Error::io(to, action))
}

pub(super) fn sync_parent(path: &Path) -> Result<()> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => sync_folder(Path::new(".")),
        Some(parent) => sync_folder(parent),
        None => Ok(()),
    }
}

/// Makes renames in `folder` last. Only Unix lets a folder be opened for this.
pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    if cfg!(unix) {
        File::open(folder)
            .and_then(|file| file.sync_all())
            .map_err(Error::io(folder, "sync the folder"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_file_replaces_the_old_one_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for content in [&b"old"[..], b"new and longer", b""] {
            write(&path, content).unwrap();
            assert_eq!(fs::read(&path).unwrap(), content);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn threads_that_write_one_file_do_not_disturb_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        // As an earlier process of this number may have left it, in a container.
        let next: u32 = named(TEMPORARY, &path)
            .to_string_lossy()
            .split(['.', '-'])
            .rev()
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        let old = format!("{TEMPORARY}{}.{}-file", std::process::id(), next + 1);
        fs::write(folder.path().join(old), b"old").unwrap();
        std::thread::scope(|scope| {
            for number in 0..4u8 {
                let path = &path;
                scope.spawn(move || (0..20).for_each(|_| write(path, &[number; 5000]).unwrap()));
            }
        });
        let content = fs::read(&path).unwrap();
        assert!(content.len() == 5000 && content.iter().all(|byte| *byte == content[0]));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_temporary_one() {
        let folder = tempfile::tempdir().unwrap();
        // A folder with a file in it cannot be replaced by a file.
        let path = folder.path().join("taken");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), b"precious").unwrap();
        assert!(write(&path, b"new").is_err());
        assert_eq!(fs::read(path.join("inside")).unwrap(), b"precious");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(write(&folder.path().join("missing/file"), b"new").is_err());
    }
}

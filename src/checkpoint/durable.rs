//! Files that are whole under their final name, or not there.
//!
//! A new file is written under a temporary name in the same folder, synced, renamed, and the
//! folder synced: a killed process or a full disk leaves the old file as it was.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// What temporary names begin with.
const TEMPORARY: &str = ".tmp-";

/// Puts `content` at `path`, replacing what was there, in one step.
pub(crate) fn write(path: &Path, content: &[u8]) -> Result<()> {
    let temporary = temporary(path);
    let written = write_synced(&temporary, content).and_then(|()| {
        fs::rename(&temporary, path).map_err(Error::io(path, "put the file in place"))
    });
    if written.is_err() {
        // The error that matters is the first one.
        let _ = fs::remove_file(&temporary);
    }
    written.and_then(|()| sync_parent(path))
}

/// Puts a folder with these files at `path`, replacing what was there.
pub(crate) fn write_folder(path: &Path, files: &[(&str, &[u8])]) -> Result<()> {
    let temporary = temporary(path);
    let written = fs::create_dir(&temporary)
        .map_err(Error::io(&temporary, "create the folder"))
        .and_then(|()| {
            files
                .iter()
                .try_for_each(|(name, content)| write_synced(&temporary.join(name), content))
        })
        .and_then(|()| sync_folder(&temporary))
        .and_then(|()| replace_folder(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_dir_all(&temporary);
    }
    written.and_then(|()| sync_parent(path))
}

/// Removes a folder; one that is half removed never stays under its own name.
pub(crate) fn remove_folder(path: &Path) -> Result<()> {
    let condemned = temporary(path);
    fs::rename(path, &condemned)
        .and_then(|()| fs::remove_dir_all(&condemned))
        .map_err(Error::io(path, "remove the folder"))
}

/// Removes what a killed process left in `folder` under temporary names.
pub(crate) fn remove_leftovers(folder: &Path) -> Result<()> {
    let entries = fs::read_dir(folder).map_err(Error::io(folder, "read the folder"))?;
    for entry in entries {
        let entry = entry.map_err(Error::io(folder, "read the folder"))?;
        if is_temporary(&entry.file_name().to_string_lossy()) {
            let path = entry.path();
            let removed =
                if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(Error::io(&path, "remove what an earlier process left"))?;
        }
    }
    Ok(())
}

fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{TEMPORARY}{}-{name}", std::process::id()))
}

/// Whether a name is one that [`temporary`] makes: nothing else is ever removed.
fn is_temporary(name: &str) -> bool {
    name.strip_prefix(TEMPORARY)
        .and_then(|rest| rest.split_once('-'))
        .is_some_and(|(process, _)| process.parse::<u32>().is_ok())
}

fn write_synced(path: &Path, content: &[u8]) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().map_err(Error::io(path, "write the file"))
}

/// A folder cannot be renamed onto one that has files, so the old one is moved aside first.
fn replace_folder(new: &Path, path: &Path) -> Result<()> {
    if path.exists() {
        let old = new.with_extension("old");
        fs::rename(path, &old).map_err(Error::io(path, "move the old folder aside"))?;
        fs::rename(new, path).map_err(Error::io(path, "put the folder in place"))?;
        fs::remove_dir_all(&old).map_err(Error::io(&old, "remove the folder"))
    } else {
        fs::rename(new, path).map_err(Error::io(path, "put the folder in place"))
    }
}

fn sync_parent(path: &Path) -> Result<()> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => sync_folder(Path::new(".")),
        Some(parent) => sync_folder(parent),
        None => Ok(()),
    }
}

/// Makes renames in `folder` last. Only Unix lets a folder be opened for this.
fn sync_folder(folder: &Path) -> Result<()> {
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

    #[test]
    fn a_written_folder_replaces_the_old_one_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("step");
        write_folder(&path, &[("a", b"1"), ("b", b"2")]).unwrap();
        write_folder(&path, &[("a", b"3")]).unwrap();
        assert_eq!(fs::read(path.join("a")).unwrap(), b"3");
        assert!(!path.join("b").exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        remove_folder(&path).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn leftovers_are_removed_and_other_files_kept() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(".tmp-1-step-2")).unwrap();
        fs::write(folder.path().join(".tmp-1-file"), b"").unwrap();
        for name in ["file", ".tmp-notes", ".tmp-mine-file"] {
            fs::write(folder.path().join(name), b"").unwrap();
        }
        remove_leftovers(folder.path()).unwrap();
        let mut left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
        left.sort();
        assert_eq!(left, [".tmp-mine-file", ".tmp-notes", "file"]);
    }
}

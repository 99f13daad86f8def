//! Durable folders: one is put in place whole, with `SHA256SUMS` over its files, and read whole or not at all.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;

use super::file::{named, rename, sync_folder, sync_parent, write_synced, TEMPORARY};
use crate::files::checksums;
use crate::{Error, Result};

/// The prefix of names of folders that were moved aside, for others to take their place.
const ASIDE: &str = ".old-";

/// Puts a folder with these files and their sums at `path`, replacing what was there.
pub(crate) fn write_folder(path: &Path, files: &[(&str, &[u8])]) -> Result<()> {
    let sums = checksums::of(files);
    let temporary = named(TEMPORARY, path);
    let written = fs::create_dir(&temporary)
        .map_err(Error::io(path, "create the folder"))
        .and_then(|()| {
            files.iter().chain(&[(checksums::NAME, sums.as_bytes())]).try_for_each(
                |(name, content)| {
                    // An error names the file as it would be called, not as it is called for now.
                    write_synced(&temporary.join(name), content)
                        .map_err(Error::io(&path.join(name), "write the file"))
                },
            )
        })
        .and_then(|()| sync_folder(&temporary))
        .and_then(|()| replace_folder(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_dir_all(&temporary);
    }
    written.and_then(|()| sync_parent(path))
}

/// Reads files of a folder that [`write_folder`] wrote with these and no others, each once, and holds
/// all of them to their sums before anything is made of them.
///
/// # Errors
/// [`Error::Checkpoint`] when a file is missing or a bit of one has changed.
pub(crate) fn read_folder<const N: usize>(path: &Path, names: [&str; N]) -> Result<[Vec<u8>; N]> {
    let read = |name: &str| {
        let path = path.join(name);
        fs::read(&path).map_err(|error| match (error.kind(), name) {
            (ErrorKind::NotFound, checksums::NAME) => Error::checkpoint(
                &path,
                "no such file: the checkpoint is incomplete, or was written by a version without \
                 checksums",
            ),
            (ErrorKind::NotFound, _) => {
                Error::checkpoint(&path, "no such file: the checkpoint is incomplete")
            }
            _ => Error::io(&path, "read the file")(error),
        })
    };
    let sums = read(checksums::NAME)?;
    let mut contents = names.map(|_| Vec::new());
    for (content, name) in contents.iter_mut().zip(names) {
        *content = read(name)?;
    }
    let files: Vec<(&str, &[u8])> = names
        .into_iter()
        .zip(&contents)
        .map(|(name, content)| (name, content.as_slice()))
        .collect();
    checksums::verify(path, &sums, &files)?;
    Ok(contents)
}

/// Creates a folder, with those above it, so that it lasts; one that exists is made to last.
pub(crate) fn create_folder(path: &Path) -> Result<()> {
    let new = path.ancestors().take_while(|folder| *folder == path || !folder.exists());
    let new: Vec<&Path> = new.filter(|folder| !folder.as_os_str().is_empty()).collect();
    fs::create_dir_all(path).map_err(Error::io(path, "create the folder"))?;
    new.into_iter().try_for_each(|folder| match sync_parent(folder) {
        // A folder above that may not be read is not opened, and no reason to refuse the run.
        Err(Error::Io { cause, .. }) if cause.kind() == ErrorKind::PermissionDenied => Ok(()),
        synced => synced,
    })
}

/// Removes a folder; one that is half removed never stays under its own name, or is not whole without its sums. Of a
/// link only itself is removed.
pub(crate) fn remove_folder(path: &Path) -> Result<()> {
    let condemned = named(TEMPORARY, path);
    fs::rename(path, &condemned)
        .and_then(|()| fs::remove_dir_all(&condemned))
        .or_else(|error| if cannot_move(&error) { remove_in_place(path) } else { Err(error) })
        .map_err(Error::io(path, "remove the folder"))
}

/// Whether a folder cannot be renamed though others in the same place can: on an overlay file system, as containers
/// have it, one of a lower layer.
fn cannot_move(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::CrossesDevices
}

/// Removes a folder under its own name. The sums of it and of the folders in it go first, and that lasts before the
/// rest goes: a folder that is half removed is known as one that is not whole.
fn remove_in_place(path: &Path) -> std::io::Result<()> {
    let inner = fs::read_dir(path)?.collect::<std::io::Result<Vec<_>>>()?;
    let inner = inner.iter().map(|entry| entry.path());
    for folder in inner.filter(|inner| inner.is_dir() && !inner.is_symlink()).chain([path.into()]) {
        match fs::remove_file(folder.join(checksums::NAME)) {
            Ok(()) => File::open(&folder)?.sync_all()?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    fs::remove_dir_all(path)
}

/// Removes what a killed process left in `folder` under temporary names, and puts back what it had
/// moved aside for a folder that then never came.
pub(crate) fn remove_leftovers(folder: &Path) -> Result<()> {
    let entries = fs::read_dir(folder).map_err(Error::io(folder, "read the folder"))?;
    for entry in entries {
        let entry = entry.map_err(Error::io(folder, "read the folder"))?;
        let (name, path) = (entry.file_name(), entry.path());
        let name = name.to_string_lossy();
        match original(ASIDE, &name).map(|original| folder.join(original)) {
            Some(original) if is_lost(&original, &path) => {
                if original.exists() {
                    remove_folder(&original)?;
                }
                rename(&path, &original, "put the old folder back")?;
                sync_folder(folder)?;
            }
            None if original(TEMPORARY, &name).is_none() => {}
            _ => {
                let removed =
                    if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                removed.map_err(Error::io(&path, "remove what an earlier process left"))?;
            }
        }
    }
    Ok(())
}

/// Whether a folder that was moved aside is to be put back: nothing has its name, or what is left of the folder itself,
/// which was removed in its place.
fn is_lost(original: &Path, aside: &Path) -> bool {
    let has_sums = |folder: &Path| folder.join(checksums::NAME).exists();
    !original.exists() || (original.is_dir() && !has_sums(original) && has_sums(aside))
}

/// The own name of what bears a name that [`named`] makes: nothing else is ever touched.
fn original<'a>(prefix: &str, name: &'a str) -> Option<&'a str> {
    let (process, original) = name.strip_prefix(prefix)?.split_once('-')?;
    process.split('.').all(|number| number.parse::<u32>().is_ok()).then_some(original)
}

/// A folder cannot be renamed onto one that has files, so the old one is moved aside first. A process
/// that is killed between the two renames leaves it to [`remove_leftovers`] to put the old one back.
fn replace_folder(new: &Path, path: &Path) -> Result<()> {
    // A link is there even if what it points to is not.
    if path.symlink_metadata().is_err() {
        return rename(new, path, "put the folder in place");
    }
    let old = named(ASIDE, path);
    move_aside(path, &old).map_err(Error::io(path, "move the old folder aside"))?;
    if let Err(error) = rename(new, path, "put the folder in place") {
        let _ = fs::rename(&old, path);
        return Err(error);
    }
    // Not before the new one is sure to last may the old one go.
    sync_parent(path)?;
    fs::remove_dir_all(&old).map_err(Error::io(&old, "remove the folder"))
}

/// Gives a folder another name. Where it cannot be renamed a copy of its files gets that name, and lasts before the
/// folder is removed in its place.
fn move_aside(path: &Path, old: &Path) -> std::io::Result<()> {
    match fs::rename(path, old) {
        Err(error) if cannot_move(&error) => {}
        moved => return moved,
    }
    copy_aside(path, old)?;
    remove_in_place(path)
}

/// A copy of a folder of files under another name, whole or not at all.
fn copy_aside(path: &Path, old: &Path) -> std::io::Result<()> {
    let temporary = named(TEMPORARY, path);
    fs::create_dir(&temporary)?;
    let copied = fs::read_dir(path)
        .and_then(|entries| {
            for entry in entries {
                let entry = entry?;
                write_synced(&temporary.join(entry.file_name()), &fs::read(entry.path())?)?;
            }
            File::open(&temporary)?.sync_all()
        })
        .and_then(|()| fs::rename(&temporary, old));
    if copied.is_err() {
        let _ = fs::remove_dir_all(&temporary);
    }
    copied.and_then(|()| match old.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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

    /// The files of a folder and what is in them; of folders in it, their names alone.
    fn content(folder: &Path) -> Vec<(String, Vec<u8>)> {
        let mut found: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                let name = entry.file_name().into_string().unwrap();
                (name, fs::read(entry.path()).unwrap_or_default())
            })
            .collect();
        found.sort();
        found
    }

    #[test]
    fn a_process_killed_while_replacing_leaves_old_or_new_folder() {
        let with = |content: &[u8]| {
            let folder = tempfile::tempdir().unwrap();
            write_folder(&folder.path().join("best"), &[("a", content)]).unwrap();
            content_of_best(folder.path())
        };
        let (old, new) = (with(b"old"), with(b"new"));
        // The names that are there after each step; another process's, as after a kill.
        for (names, expected) in [
            (["best", ".tmp-1-best"].as_slice(), &old),
            (&[".old-1-best", ".tmp-1-best"], &old),
            (&[".old-1-best"], &old),
            (&[".old-1-best", "best"], &new),
            // In the place of a folder that could not be renamed, and was half removed.
            (&[".old-1-best", "half", "best"], &old),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path();
            for (index, name) in names.iter().enumerate() {
                let content: &[u8] = if index == 0 { b"old" } else { b"new" };
                write_folder(&path.join(name), &[("a", content)]).unwrap();
            }
            if names.contains(&"half") {
                fs::remove_dir_all(path.join("half")).unwrap();
                fs::remove_file(path.join("best/SHA256SUMS")).unwrap();
            }
            remove_leftovers(path).unwrap();
            assert_eq!(content_of_best(path), *expected, "{names:?}");
            assert_eq!(content(path).len(), 1, "{names:?}");
        }
    }

    fn content_of_best(folder: &Path) -> Vec<(String, Vec<u8>)> {
        content(&folder.join("best"))
    }

    #[test]
    fn a_folder_that_cannot_be_put_in_place_leaves_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("best");
        write_folder(&path, &[("a", b"old")]).unwrap();
        let before = content(&path);
        assert!(replace_folder(&folder.path().join("missing"), &path).is_err());
        assert_eq!(content(&path), before);
        assert_eq!(content(folder.path()).len(), 1);
    }

    #[test]
    fn a_folder_that_cannot_be_renamed_is_copied_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("best"), folder.path().join(".old-1.0-best"));
        write_folder(&path, &[("a", b"1"), ("b", b"2")]).unwrap();
        let before = content(&path);
        copy_aside(&path, &old).unwrap();
        assert_eq!((content(&path), content(&old)), (before.clone(), before.clone()));
        // As it is after a kill while the folder is removed.
        fs::remove_file(path.join("SHA256SUMS")).unwrap();
        fs::remove_file(path.join("a")).unwrap();
        remove_leftovers(folder.path()).unwrap();
        assert_eq!(content(&path), before);
        assert_eq!(content(folder.path()).len(), 1);
        // Of a folder that holds others these too are known as not whole first.
        let outer = folder.path().join("outer");
        fs::create_dir(&outer).unwrap();
        fs::rename(&path, outer.join("best")).unwrap();
        remove_in_place(&outer).unwrap();
        assert_eq!(content(folder.path()).len(), 0);
    }

    #[test]
    fn a_folder_is_read_as_it_was_written_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("step");
        write_folder(&path, &[("a", b"1"), ("b", b"2")]).unwrap();
        assert_eq!(read_folder(&path, ["b", "a"]).unwrap(), [b"2", b"1"]);
        let refused = |name: &str| {
            let error = read_folder(&path, ["b", "a"]).unwrap_err();
            assert!(matches!(error, Error::Checkpoint { .. }), "{error}");
            assert!(error.to_string().starts_with(path.join(name).to_str().unwrap()), "{error}");
        };
        fs::write(path.join("a"), b"2").unwrap();
        refused("a");
        fs::remove_file(path.join("a")).unwrap();
        refused("a");
        fs::remove_file(path.join("SHA256SUMS")).unwrap();
        refused("SHA256SUMS");
    }

    #[test]
    fn leftovers_are_removed_and_other_files_kept() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(".tmp-1.0-step-2")).unwrap();
        fs::write(folder.path().join(".tmp-1.12-file"), b"").unwrap();
        // Of an earlier version.
        fs::write(folder.path().join(".tmp-1-file"), b"").unwrap();
        for name in ["file", ".tmp-notes", ".tmp-mine-file", ".old-notes"] {
            fs::write(folder.path().join(name), b"").unwrap();
        }
        remove_leftovers(folder.path()).unwrap();
        let mut left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
        left.sort();
        assert_eq!(left, [".old-notes", ".tmp-mine-file", ".tmp-notes", "file"]);
    }
}

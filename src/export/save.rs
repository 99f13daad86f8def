//! Exported files put on disk.

use std::path::Path;

use crate::files::durable;
use crate::{Error, Result};

/// The way to deal with a place that is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IfThere {
    /// An error.
    #[default]
    Refuse,
    /// A file is replaced; so is a folder that an export has written.
    Replace,
}

/// Checks that a file may be written at `path`.
///
/// # Errors
/// [`Error::Config`] when something lies there that is not to be replaced, or a folder.
pub fn check_place(path: &Path, if_there: IfThere) -> Result<()> {
    let name = path.display();
    if path.is_dir() {
        return Err(Error::Config(format!("{name} is a folder: name a file")));
    }
    if if_there == IfThere::Refuse && path.symlink_metadata().is_ok() {
        return Err(Error::Config(format!("{name} exists: name another file, or replace it")));
    }
    Ok(())
}

/// Writes an exported file, whole or not at all: under a temporary name in the same folder, synced, then renamed. The
/// folder is made if there is none.
///
/// # Errors
/// [`Error::Config`] when something lies at `path` that is not to be replaced, or a folder; [`Error::Io`] when the file
/// cannot be written.
pub fn save(path: &Path, bytes: &[u8], if_there: IfThere) -> Result<()> {
    check_place(path, if_there)?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        durable::create_folder(folder)?;
    }
    durable::write(path, bytes)
}

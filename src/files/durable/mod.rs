//! Durable, atomic writes: a file under its final name is complete, or not there.
//!
//! A new file is written under a temporary name in the same folder, synced, renamed, and the folder synced: a killed
//! process or a full disk leaves the old file as it was. A folder is put in place the same way, with `SHA256SUMS` over
//! its files; docs/durability.md has every step.

mod file;
mod folder;

pub(crate) use file::write;
pub(crate) use folder::{
    create_folder, read_folder, remove_folder, remove_leftovers, write_folder,
};

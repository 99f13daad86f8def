//! `OutputFile`: a file that is there when it is whole.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

/// A file that is written under a temporary name in its folder, and is there when it is whole. What is no file, such
/// as a pipe or a device, is written as it is.
pub(super) struct OutputFile {
    /// The name that was asked for.
    name: PathBuf,
    writer: BufWriter<File>,
    /// Where it is written, and where it is put.
    moved: Option<(PathBuf, PathBuf)>,
}

impl OutputFile {
    /// Begins a file.
    pub(super) fn create(name: &Path) -> anyhow::Result<Self> {
        let cannot = || format!("{}: cannot create the file", name.display());
        // Of a link the file that it stands for is replaced.
        let path = name.canonicalize().unwrap_or_else(|_| name.to_path_buf());
        let before = fs::metadata(&path).ok();
        // A file behind /dev/stdout is open elsewhere.
        let is_stream = ["/dev", "/proc"].iter().any(|folder| name.starts_with(folder));
        let (file, moved) = match path.file_name() {
            Some(own) if !is_stream && before.as_ref().is_none_or(fs::Metadata::is_file) => {
                let own = own.to_string_lossy();
                let temporary = path.with_file_name(format!(".tmp-{}-{own}", std::process::id()));
                let file = File::create(&temporary).with_context(cannot)?;
                if let Some(before) = before {
                    file.set_permissions(before.permissions()).with_context(cannot)?;
                }
                (file, Some((temporary, path)))
            }
            _ => (File::create(name).with_context(cannot)?, None),
        };
        Ok(Self { name: name.to_path_buf(), writer: BufWriter::new(file), moved })
    }

    /// Puts the file in place.
    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        let cannot = || format!("{}: cannot write the file", self.name.display());
        self.writer.flush().with_context(cannot)?;
        let Some((temporary, path)) = &self.moved else { return Ok(()) };
        self.writer.get_ref().sync_all().with_context(cannot)?;
        fs::rename(temporary, path).with_context(cannot)?;
        self.moved = None;
        Ok(())
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        if let Some((temporary, _)) = self.moved.take() {
            // The error that matters is the one before.
            let _ = fs::remove_file(temporary);
        }
    }
}

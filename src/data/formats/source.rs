//! `DataSource`: the bytes of a file, unpacked if they are gzip data.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use flate2::read::MultiGzDecoder;

use super::memory;
use crate::{Error, Result};

/// A file that is about to be read.
pub(super) struct DataSource {
    pub(super) path: PathBuf,
    /// Bytes on the disk.
    pub(super) size: u64,
    pub(super) gzipped: bool,
    /// The first bytes, unpacked.
    pub(super) head: Vec<u8>,
    /// Whether there are no others.
    pub(super) whole: bool,
    /// Bytes of memory that the data may take.
    pub(super) memory: u64,
    rest: Box<dyn Read>,
    /// Whether gzip data may unpack to no more than the memory.
    is_limited: Rc<Cell<bool>>,
}

/// A reader that can start anywhere.
pub(super) trait ReadSeek: Read + Seek {}

impl<T: Read + Seek> ReadSeek for T {}

impl DataSource {
    /// Bytes of the head: formats are told and tables are understood by it.
    const HEAD: u64 = 256 << 10;

    /// Opens a file and reads its head.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::DataFile`] when it is a folder, empty or damaged gzip data.
    pub(super) fn open(path: &Path, memory: Option<u64>) -> Result<Self> {
        let mut file = File::open(path).map_err(Error::io(path, "open the file"))?;
        let metadata = file.metadata().map_err(Error::io(path, "read the file"))?;
        if metadata.is_dir() {
            return Err(Error::data_file(path, "is a folder: give a file"));
        }
        let mut magic = Vec::new();
        (&mut file).take(2).read_to_end(&mut magic).map_err(Error::io(path, "read the file"))?;
        let gzipped = magic == [0x1f, 0x8b];
        let memory = memory.unwrap_or_else(memory::available);
        let bytes = Cursor::new(magic).chain(file);
        let is_limited = Rc::new(Cell::new(true));
        let mut rest: Box<dyn Read> = if gzipped {
            let unpacked = MultiGzDecoder::new(BufReader::with_capacity(64 << 10, bytes));
            let is_limited = is_limited.clone();
            Box::new(Limited { unpacked, read: 0, limit: memory, is_limited })
        } else {
            Box::new(bytes)
        };
        let mut head = Vec::new();
        (&mut rest)
            .take(Self::HEAD)
            .read_to_end(&mut head)
            .map_err(|error| unreadable(path, error))?;
        if head.is_empty() {
            return Err(Error::data_file(path, "is empty"));
        }
        let whole = (head.len() as u64) < Self::HEAD;
        let path = path.to_path_buf();
        Ok(Self { path, size: metadata.len(), gzipped, head, whole, memory, rest, is_limited })
    }

    /// Makes the head of a text longer, until it has some lines or is the whole file.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(super) fn lengthen_head(&mut self) -> Result<()> {
        const LINES: usize = 3;
        let longest = (self.memory / 8).min(1 << 28);
        // Neither empty lines nor those within quotes.
        let has_lines = |head: &[u8]| {
            let (mut lines, mut quoted, mut is_empty) = (0, false, true);
            for byte in head {
                match byte {
                    b'"' => (quoted, is_empty) = (!quoted, false),
                    b'\n' if !quoted => {
                        lines += usize::from(!std::mem::replace(&mut is_empty, true));
                    }
                    b'\r' | b'\n' => {}
                    _ => is_empty = false,
                }
            }
            lines >= LINES
        };
        while !self.whole && !has_lines(&self.head) && (self.head.len() as u64) < longest {
            let before = self.head.len() as u64;
            (&mut self.rest)
                .take(before)
                .read_to_end(&mut self.head)
                .map_err(|error| unreadable(&self.path, error))?;
            self.whole = (self.head.len() as u64) < 2 * before;
        }
        Ok(())
    }

    /// Lets gzip data unpack to more than the memory, where not all of it is held at once.
    pub(super) fn lift_limit(&self) {
        self.is_limited.set(false);
    }

    /// All bytes, in order. The head stays where it is only if it is cloned first.
    pub(super) fn into_reader(self) -> Box<dyn Read> {
        Box::new(FirstBytes { bytes: self.head, given: 0 }.chain(self.rest))
    }

    /// All bytes of a text, in order and without a byte order mark.
    pub(super) fn into_text(mut self) -> Box<dyn Read> {
        if self.head.starts_with(UTF8_MARK) {
            self.head.drain(..UTF8_MARK.len());
        }
        self.into_reader()
    }

    /// The head of a text, without a byte order mark and without a last line that is cut off.
    pub(super) fn head_lines(&self) -> &[u8] {
        let head = self.head.strip_prefix(UTF8_MARK).unwrap_or(&self.head);
        if self.whole {
            return head;
        }
        let end = head.iter().rposition(|byte| *byte == b'\n' || *byte == b'\r');
        end.map_or(head, |end| &head[..=end])
    }

    /// The bytes for reading in any order: gzip data are unpacked into memory. And how many there are.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(super) fn into_seekable(self) -> Result<(Box<dyn ReadSeek>, u64)> {
        let path = self.path.clone();
        if self.gzipped {
            let mut bytes = Vec::new();
            self.into_reader().read_to_end(&mut bytes).map_err(|error| unreadable(&path, error))?;
            let size = bytes.len() as u64;
            return Ok((Box::new(Cursor::new(bytes)), size));
        }
        let mut file = File::open(&path).map_err(Error::io(&path, "open the file"))?;
        let size = file.seek(SeekFrom::End(0)).map_err(Error::io(&path, "read the file"))?;
        file.rewind().map_err(Error::io(&path, "read the file"))?;
        Ok((Box::new(BufReader::with_capacity(256 << 10, file)), size))
    }

    /// Refuses a file whose values need more memory than there is, judged by a part of it; gzip data are not judged.
    ///
    /// - `part`: bytes of the part
    /// - `values`: bytes that its values take in memory
    ///
    /// # Errors
    /// [`Error::DataFile`] with the need.
    pub(super) fn check_need(&self, part: usize, values: usize) -> Result<()> {
        if self.gzipped || part == 0 {
            return Ok(());
        }
        let need = self.size as f64 * (values as f64 / part as f64);
        memory::check(&self.path, need as u64, self.memory)
    }
}

const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";

/// The error of a failed read: the file's if it cannot be unpacked, else the operating system's.
pub(super) fn unreadable(path: &Path, error: io::Error) -> Error {
    use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
    match error.kind() {
        Other => Error::data_file(path, error.to_string()),
        InvalidData | InvalidInput | UnexpectedEof => {
            Error::data_file(path, format!("damaged or truncated gzip data: {error}"))
        }
        _ => Error::Io { path: path.to_path_buf(), action: "read the file", cause: error },
    }
}

/// Bytes whose memory is given back when all are read.
struct FirstBytes {
    bytes: Vec<u8>,
    given: usize,
}

impl Read for FirstBytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = &self.bytes[self.given..];
        let now = left.len().min(buffer.len());
        buffer[..now].copy_from_slice(&left[..now]);
        self.given += now;
        if self.given == self.bytes.len() {
            (self.bytes, self.given) = (Vec::new(), 0);
        }
        Ok(now)
    }
}

/// Unpacked bytes, as long as they do not exceed a limit, if there is one.
struct Limited<R> {
    unpacked: R,
    read: u64,
    limit: u64,
    is_limited: Rc<Cell<bool>>,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.unpacked.read(buffer)?;
        self.read += read as u64;
        if self.read > self.limit && self.is_limited.get() {
            return Err(io::Error::other(format!(
                "unpacks to more than {}, the memory that is available: unpack it and cut it into parts",
                memory::size(self.limit)
            )));
        }
        Ok(read)
    }
}

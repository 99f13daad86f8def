//! `SequenceFile`: a file of sequences that may be larger than memory.

use std::path::{Path, PathBuf};

use super::loaded::Content;
use super::options::ReadOptions;
use super::outline::FileOutline;
use super::read::read_into;
use super::sequence_sink::{BlockSize, SequenceSink};
use crate::data::Dataset;
use crate::{Error, Result};

/// A file of sequences that was read to its end, and is in order. Few sequences are held; of a file with many it is
/// known what they are, and they are read again, block by block.
///
/// Tables, `.ts`, ARFF and JSON files are read in blocks, gzipped or not, and so are arrays; gzipped files of arrays are
/// unpacked into memory. Arrays of bytes or in Fortran's order and IDX files are held.
#[derive(Clone, Debug)]
pub struct SequenceFile {
    path: PathBuf,
    options: ReadOptions,
    size: BlockSize,
    content: FileContent,
}

#[derive(Clone, Debug)]
enum FileContent {
    Held(Dataset),
    Large(FileOutline),
}

impl SequenceFile {
    /// Reads a file to its end.
    ///
    /// - `see`: called with each block of a file that is not held; the blocks have no target
    ///
    /// # Errors
    /// As [`read`](super::read()); [`Error::DataFile`] for plain text.
    pub fn scan(
        path: impl AsRef<Path>,
        options: &ReadOptions,
        see: &mut dyn FnMut(&Dataset),
    ) -> Result<Self> {
        Self::scan_in_blocks(path, options, BlockSize::default(), see)
    }

    /// As [`scan`](Self::scan), where more or less is held.
    ///
    /// - `size`: from which size on a file is read in blocks, and the size of these
    ///
    /// # Errors
    /// Those of [`scan`](Self::scan).
    pub fn scan_in_blocks(
        path: impl AsRef<Path>,
        options: &ReadOptions,
        size: BlockSize,
        see: &mut dyn FnMut(&Dataset),
    ) -> Result<Self> {
        let path = path.as_ref();
        // What is no file, such as a pipe, cannot be read twice.
        let is_file = std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
        let mut sink =
            if is_file { SequenceSink::scanned(size, see) } else { SequenceSink::kept() };
        let loaded = read_into(path, options, &mut sink)?;
        let content = match (loaded.map(|loaded| loaded.content), sink.into_outline()) {
            (Some(Content::Sequences(data)), _) => FileContent::Held(data),
            (None, Some(outline)) => FileContent::Large(outline),
            (Some(Content::Text(_)), _) | (None, None) => {
                let reason = "plain text, where a file of sequences is needed";
                return Err(Error::data_file(path, reason));
            }
        };
        Ok(Self { path: path.to_path_buf(), options: options.clone(), size, content })
    }

    /// The sequences, if they are held.
    pub fn held(&self) -> Option<&Dataset> {
        match &self.content {
            FileContent::Held(data) => Some(data),
            FileContent::Large(_) => None,
        }
    }

    /// What is known of the sequences, if they are not held.
    pub fn outline(&self) -> Option<&FileOutline> {
        match &self.content {
            FileContent::Held(_) => None,
            FileContent::Large(outline) => Some(outline),
        }
    }

    /// N, the number of sequences.
    pub fn sequences(&self) -> usize {
        match &self.content {
            FileContent::Held(data) => data.len(),
            FileContent::Large(outline) => outline.sequences,
        }
    }

    /// Whether it is known of which time the last step of each sequence is.
    pub fn has_times(&self) -> bool {
        match &self.content {
            FileContent::Held(data) => data.last_time(0).is_some(),
            FileContent::Large(outline) => outline.has_times,
        }
    }

    /// Hands out all sequences, in their order: those that are held at once, others in blocks of
    /// [`BlockSize`].
    ///
    /// # Errors
    /// Those of `take`; as [`read`](super::read()) if the file has changed since.
    pub fn for_each_block<E: From<Error>>(
        &self,
        mut take: impl FnMut(&Dataset) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let outline = match &self.content {
            FileContent::Held(data) => return take(data),
            FileContent::Large(outline) => outline,
        };
        let mut wrong = None;
        let mut give = |block: Dataset| {
            take(&block).map_err(|error| {
                wrong = Some(error);
                Error::Config("a block was not taken".into())
            })
        };
        let mut sink = SequenceSink::given(self.size, outline.target.kind(), &mut give);
        let outcome = read_into(&self.path, &self.options, &mut sink);
        drop(sink);
        match wrong {
            Some(error) => Err(error),
            None => match outcome? {
                None => Ok(()),
                // It was read in blocks before, and is now held.
                Some(_) => {
                    Err(Error::data_file(&self.path, "has changed since it was read").into())
                }
            },
        }
    }
}

#[cfg(test)]
mod tests;

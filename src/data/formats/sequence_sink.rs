//! `SequenceSink`: what becomes of the sequences of a file as they are read.

use std::path::Path;

use super::label_reader::LabelReader;
use super::outline::FileOutline;
use super::source::DataSource;
use crate::data::{Dataset, DatasetBuilder, LabelsBuilder, Target, TargetKind};
use crate::{Error, Result};

/// How many sequences of a file are held at once. Each is held whole, however long it is.
///
/// The first block that a scan shows is what was held when the file turned out to be too large for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockSize {
    /// The bytes of values from which a file is read in blocks.
    pub whole_bytes: usize,
    /// The number of sequences from which a file is read in blocks.
    pub whole_sequences: usize,
    /// The bytes of values from which a block is handed out.
    pub block_bytes: usize,
    /// The number of sequences from which a block is handed out.
    pub block_sequences: usize,
}

impl Default for BlockSize {
    /// Files below 16 MiB of values and 65,536 sequences are held; blocks have 4 MiB or 4,096 sequences.
    fn default() -> Self {
        Self {
            whole_bytes: 16 << 20,
            whole_sequences: 1 << 16,
            block_bytes: 4 << 20,
            block_sequences: 4_096,
        }
    }
}

/// What becomes of the sequences of a file as they are read.
pub(super) struct SequenceSink<'a> {
    fate: Fate<'a>,
    size: BlockSize,
}

enum Fate<'a> {
    /// All are kept.
    Kept,
    /// They are kept as long as they are few; many are seen in blocks, and dropped.
    Scanned { outline: Option<FileOutline>, see: &'a mut dyn FnMut(&Dataset) },
    /// They are handed on in blocks, with a target of a kind that is known.
    Given { kind: TargetKind, give: &'a mut dyn FnMut(Dataset) -> Result<()> },
}

impl<'a> SequenceSink<'a> {
    /// Keeps all sequences.
    pub(super) fn kept() -> Self {
        Self { fate: Fate::Kept, size: BlockSize::default() }
    }

    /// Keeps few sequences; shows many of them to `see`, block by block and without their target.
    pub(super) fn scanned(size: BlockSize, see: &'a mut dyn FnMut(&Dataset)) -> Self {
        Self { fate: Fate::Scanned { outline: None, see }, size }
    }

    /// Hands sequences on to `give`, block by block.
    ///
    /// - `kind`: the kind of their target, as a scan has found it
    pub(super) fn given(
        size: BlockSize,
        kind: TargetKind,
        give: &'a mut dyn FnMut(Dataset) -> Result<()>,
    ) -> Self {
        Self { fate: Fate::Given { kind, give }, size }
    }

    /// Refuses a file whose values need more memory than there is, if all of them are kept.
    ///
    /// - `part`, `values`: as [`DataSource::check_need`] has them
    ///
    /// # Errors
    /// As [`DataSource::check_need`].
    pub(super) fn check_need(&self, source: &DataSource, part: usize, values: usize) -> Result<()> {
        if matches!(self.fate, Fate::Kept) {
            return source.check_need(part, values);
        }
        source.lift_limit();
        Ok(())
    }

    /// Whether sequences are kept that are known beforehand to be so many, of so many bytes of values.
    pub(super) fn keeps(&self, bytes: u64, sequences: usize) -> bool {
        let BlockSize { whole_bytes, whole_sequences, .. } = self.size;
        match &self.fate {
            Fate::Kept => true,
            Fate::Scanned { .. } => bytes < whole_bytes as u64 && sequences < whole_sequences,
            Fate::Given { .. } => false,
        }
    }

    /// Whether it is known that all ids are different.
    pub(super) fn knows_ids(&self) -> bool {
        matches!(self.fate, Fate::Given { .. })
    }

    /// The kind of target: the one that is known, or else the one that was asked for.
    pub(super) fn kind(&self, asked: Option<TargetKind>) -> Option<TargetKind> {
        match &self.fate {
            Fate::Given { kind, .. } => Some(*kind),
            Fate::Kept | Fate::Scanned { .. } => asked,
        }
    }

    /// What was found of sequences that were not kept.
    pub(super) fn into_outline(self) -> Option<FileOutline> {
        match self.fate {
            Fate::Scanned { outline, .. } => outline,
            Fate::Kept | Fate::Given { .. } => None,
        }
    }

    /// A sequence has ended, with its labels.
    ///
    /// # Errors
    /// Those of whoever takes a block.
    pub(super) fn ended<L: LabelReader>(
        &mut self,
        builder: &mut DatasetBuilder,
        labels: &mut L,
        groups: &mut LabelsBuilder,
    ) -> Result<()> {
        let BlockSize { whole_bytes, whole_sequences, block_bytes, block_sequences } = self.size;
        let (bytes, sequences) = match &self.fate {
            Fate::Kept => return Ok(()),
            Fate::Scanned { outline: None, .. } => (whole_bytes, whole_sequences),
            Fate::Scanned { .. } | Fate::Given { .. } => (block_bytes, block_sequences),
        };
        if builder.bytes() < bytes && builder.len() < sequences {
            return Ok(());
        }
        self.pass_on(builder, labels, groups)
    }

    fn pass_on<L: LabelReader>(
        &mut self,
        builder: &mut DatasetBuilder,
        labels: &mut L,
        groups: &mut LabelsBuilder,
    ) -> Result<()> {
        *groups = LabelsBuilder::new();
        let block = builder.take();
        match &mut self.fate {
            Fate::Kept => {}
            Fate::Scanned { outline, see } => {
                labels.forget();
                let block = block.build(Target::None)?;
                outline.get_or_insert_with(|| FileOutline::new(&block)).add(&block);
                see(&block);
            }
            Fate::Given { give, .. } => {
                let target = labels.take().finish(&mut Vec::new()).map_err(Error::Config)?;
                give(block.build(target)?)?;
            }
        }
        Ok(())
    }

    /// The file has ended: the sequences, if all were kept.
    ///
    /// - `groups`: if sequences have some
    ///
    /// # Errors
    /// [`Error::DataFile`] for labels that contradict each other; those of whoever takes the last block.
    pub(super) fn finish<L: LabelReader>(
        &mut self,
        mut builder: DatasetBuilder,
        mut labels: L,
        groups: Option<LabelsBuilder>,
        path: &Path,
        notes: &mut Vec<String>,
    ) -> Result<Option<Dataset>> {
        let is_kept = matches!(self.fate, Fate::Kept | Fate::Scanned { outline: None, .. });
        if !is_kept && !builder.is_empty() {
            self.pass_on(&mut builder, &mut labels, &mut LabelsBuilder::new())?;
        }
        if self.knows_ids() {
            return Ok(None);
        }
        let target = labels.finish(notes).map_err(|reason| Error::data_file(path, reason))?;
        if let Fate::Scanned { outline: Some(outline), .. } = &mut self.fate {
            outline.target = target;
            return Ok(None);
        }
        if let Some(groups) = groups {
            builder.groups(groups.build());
        }
        builder.build(target).map(Some)
    }
}

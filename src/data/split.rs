//! Images in memory with their labels, and ranges of them.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::idx::Images;
use super::image_set::{CLASSES, COLUMNS, PIXELS, ROWS};
use crate::{Error, Result};

/// Images with their labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelledImages {
    /// `(N, 28, 28)`, 0 (background) to 255 (ink).
    pub(super) pixels: Arc<Vec<u8>>,
    /// `(N,)`, `0..10`.
    pub(super) labels: Vec<u8>,
}

impl LabelledImages {
    /// Joins images with their labels; the paths are for errors.
    pub(super) fn join(images: (&Path, Images), labels: (&Path, Vec<u8>)) -> Result<Self> {
        let ((images_path, images), (labels_path, labels)) = (images, labels);
        if (images.rows, images.columns) != (ROWS, COLUMNS) {
            return Err(Error::data_file(
                images_path,
                format!(
                    "its images are {} x {}, not {ROWS} x {COLUMNS}",
                    images.rows, images.columns
                ),
            ));
        }
        if images.count != labels.len() {
            return Err(Error::data_file(
                labels_path,
                format!(
                    "holds {} labels for the {} images of {}",
                    labels.len(),
                    images.count,
                    images_path.display()
                ),
            ));
        }
        if let Some(at) = labels.iter().position(|label| usize::from(*label) >= CLASSES) {
            return Err(Error::data_file(
                labels_path,
                format!("label {at} is {}, not one of 0 to {}", labels[at], CLASSES - 1),
            ));
        }
        Ok(Self { pixels: images.pixels.into(), labels })
    }
}

/// A range of labelled images; clones share them.
#[derive(Clone, Debug)]
pub struct Split {
    pub(super) images: Arc<LabelledImages>,
    pub(super) range: Range<usize>,
}

impl Split {
    /// Number of images, N.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// All pixels, `(N, 28, 28)`, 0 (background) to 255 (ink).
    pub fn pixels(&self) -> &[u8] {
        &self.images.pixels[self.range.start * PIXELS..self.range.end * PIXELS]
    }

    /// All labels, `(N,)`, `0..10`.
    pub fn labels(&self) -> &[u8] {
        &self.images.labels[self.range.clone()]
    }

    /// The pixels of one image, `(28, 28)`.
    ///
    /// # Panics
    /// When `index` is not below [`len`](Self::len).
    pub fn image(&self, index: usize) -> &[u8] {
        &self.pixels()[index * PIXELS..][..PIXELS]
    }
}

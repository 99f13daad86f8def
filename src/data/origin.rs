//! The origin of the training files of a set of images: a known data set, the sample, or others.

use sha2::{Digest, Sha256};

use super::idx::{self, Images};
use super::image_set::ImageSet;
use crate::files::checksums::hex;

/// The origin of training files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A known data set, by their SHA-256.
    Known(ImageSet),
    /// The sample.
    #[cfg_attr(not(any(test, feature = "sample")), allow(dead_code))]
    Sample,
    /// Any others.
    Other,
}

impl Origin {
    /// Tells training files by the SHA-256 that they have uncompressed.
    pub(super) fn of(images: &Images, labels: &[u8]) -> Self {
        let digest = |header: &[u8], content: &[u8]| {
            hex(&Sha256::new().chain_update(header).chain_update(content).finalize())
        };
        let size = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
        let labels = digest(&idx::labels_header(size(labels.len())), labels);
        let by_labels = [ImageSet::Mnist, ImageSet::FashionMnist]
            .into_iter()
            .find(|dataset| dataset.checksums()[1] == labels);
        // The images are many: they are looked at only where the labels are a data set's.
        let Some(dataset) = by_labels else { return Self::Other };
        let (count, rows, columns) = (size(images.count), size(images.rows), size(images.columns));
        let images = digest(&idx::images_header(count, rows, columns), &images.pixels);
        if dataset.checksums()[0] == images {
            Self::Known(dataset)
        } else {
            Self::Other
        }
    }
}

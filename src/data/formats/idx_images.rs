//! IDX files of images of any size: the rows of an image are the steps of a sequence.

use std::path::{Path, PathBuf};

use crate::data::idx::{read_images, read_labels};
use crate::data::{dataset_of_bytes, Dataset, DatasetBuilder, LabelsBuilder, Target, TargetKind};
use crate::{Error, Result};

/// Reads images, and the labels of the file beside them.
///
/// # Errors
/// [`Error::DataFile`] when the file holds something else or the two disagree.
pub(super) fn read(
    path: &Path,
    kind: Option<TargetKind>,
    head: &[u8],
    notes: &mut Vec<String>,
) -> Result<Dataset> {
    match (head.get(2), head.get(3)) {
        (Some(8), Some(3)) => {}
        (Some(8), Some(1)) => {
            return Err(Error::data_file(
                path,
                "holds labels: give the file of images, and keep the labels beside it",
            ))
        }
        _ => {
            return Err(Error::data_file(
                path,
                "holds no images of bytes: expected the magic number 0x00000803",
            ))
        }
    }
    let images = read_images(path)?;
    let target = match kind {
        Some(TargetKind::None) => Target::None,
        None | Some(TargetKind::Class) => labels(path, images.count, notes)?,
        Some(_) => {
            return Err(Error::data_file(path, "has a class for each image, and no other target"))
        }
    };
    if images.count == 0 || images.rows * images.columns == 0 {
        return Err(Error::data_file(path, "holds no images"));
    }
    let features = DatasetBuilder::unnamed(images.columns).features().to_vec();
    dataset_of_bytes(features, images.pixels, images.rows, target)
}

fn labels(path: &Path, count: usize, notes: &mut Vec<String>) -> Result<Target> {
    let Some(beside) = beside(path) else {
        notes.push("no file of labels lies beside the images: there is no target".into());
        return Ok(Target::None);
    };
    let read = read_labels(&beside)?;
    if read.len() != count {
        let found = read.len();
        return Err(Error::data_file(
            &beside,
            format!("holds {found} labels, there are {count} images"),
        ));
    }
    notes.push(format!("the labels are those of {}", beside.display()));
    let mut labels = LabelsBuilder::new();
    read.iter().for_each(|label| labels.push(&label.to_string()));
    Ok(Target::Class(labels.build()))
}

/// The file of labels that belongs to a file of images, gzipped or not.
fn beside(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let labels = name.replace("images", "labels").replace("idx3", "idx1");
    if labels == name {
        return None;
    }
    let plain = labels.strip_suffix(".gz").unwrap_or(&labels).to_string();
    [labels.clone(), format!("{plain}.gz"), plain]
        .into_iter()
        .map(|name| path.with_file_name(name))
        .find(|path| path.is_file())
}

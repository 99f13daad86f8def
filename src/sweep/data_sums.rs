//! The checksums of a sweep's data files: where their content changes, the data are others.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::plan::SweepPlan;
use crate::data::image_files;
use crate::files::{checksums, durable};
use crate::{Error, Result};

/// The SHA-256 of each file that trials are trained on, by its path as it was named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct DataSums(BTreeMap<String, String>);

impl DataSums {
    /// The sums of a plan's files, of those that are there.
    ///
    /// # Errors
    /// [`Error::Io`] when one cannot be read.
    pub(super) fn of(plan: &SweepPlan) -> Result<Self> {
        let mut sums = BTreeMap::new();
        for path in files(plan) {
            let name = path.to_string_lossy().into_owned();
            if path.is_file() && !sums.contains_key(&name) {
                sums.insert(name, sum(&path)?);
            }
        }
        Ok(Self(sums))
    }

    /// Reads the sums that a sweep was begun with: none of a sweep that an earlier version began.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::Checkpoint`] when it is damaged.
    pub(super) fn read(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = fs::read(path).map_err(Error::io(path, "read the file"))?;
        let sums = serde_json::from_slice(&text);
        sums.map(Self).map_err(|error| Error::checkpoint(path, error.to_string()))
    }

    /// Writes them where they are not there yet.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be written.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let before = Self::read(path)?;
        let mut sums = before.clone();
        sums.0.extend(self.0.clone());
        if sums == before {
            return Ok(());
        }
        let text = serde_json::to_vec_pretty(&sums.0);
        durable::write(path, &text.map_err(|error| Error::checkpoint(path, error.to_string()))?)
    }

    /// The first file whose content was another before.
    pub(super) fn changed_since(&self, before: &Self) -> Option<&str> {
        let mut names = self.0.iter();
        let is_other = |(name, sum): &(&String, &String)| {
            before.0.get(*name).is_some_and(|before| before != *sum)
        };
        names.find(is_other).map(|(name, _)| name.as_str())
    }
}

/// The files that trials are trained on: those of `[data]`, and of images in a folder. What the program keeps in its cache is
/// checked when it is read.
fn files(plan: &SweepPlan) -> Vec<PathBuf> {
    let data = plan.data();
    let mut files: Vec<PathBuf> = data.file.iter().chain(&data.valid).cloned().collect();
    for trial in plan.trials() {
        let settings = trial.settings.run();
        let Some(source) = settings.source else { continue };
        let images = image_files(&source, settings.dataset.unwrap_or_default());
        // Where they are missing reading the data says so. Test images come last, and no trial sees them.
        files.extend(images.into_iter().flatten().take(2));
        files.push(source);
    }
    files
}

fn sum(path: &Path) -> Result<String> {
    let fail = |error| Error::io(path, "read the file")(error);
    let mut file = File::open(path).map_err(fail)?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer).map_err(fail)? {
            0 => return Ok(checksums::hex(&hash.finalize())),
            count => hash.update(&buffer[..count]),
        }
    }
}

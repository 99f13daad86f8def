//! The checkpoints of a run: their folder, and how many are kept.

use std::fs;
use std::path::{Path, PathBuf};

use super::checkpoint::{saved_epoch, saved_step, Checkpoint};
use super::config::RunConfig;
use super::layout::CHECKPOINTS;
use super::task::TaskConfig;
use crate::files::durable;
use crate::{Error, Result};

const BEST: &str = "best";
const STEP: &str = "step-";

/// `RUN/checkpoints`, which need not be there.
#[derive(Debug)]
pub(super) struct Checkpoints {
    folder: PathBuf,
}

impl Checkpoints {
    /// The checkpoints of a run directory.
    pub(super) fn of(run: &Path) -> Self {
        Self { folder: run.join(CHECKPOINTS) }
    }

    /// Whether the folder is there.
    pub(super) fn exist(&self) -> bool {
        self.folder.exists()
    }

    /// Removes what is there, and makes an empty folder.
    pub(super) fn clear(&self) -> Result<()> {
        if self.exist() {
            durable::remove_folder(&self.folder)?;
        }
        fs::create_dir(&self.folder).map_err(Error::io(&self.folder, "create the folder"))
    }

    /// Saves a checkpoint under its step, and removes all but the newest `keep`.
    pub(super) fn save<C: TaskConfig>(
        &self,
        checkpoint: &Checkpoint<C>,
        keep: usize,
    ) -> Result<PathBuf> {
        let path = self.folder.join(format!("{STEP}{:08}", checkpoint.state.adam.step));
        checkpoint.save(&path)?;
        // Folders of later steps are damaged ones, which were skipped: they count for nothing.
        let up_to_now = self.steps()?.into_iter().skip_while(|newer| *newer != path);
        for old in up_to_now.skip(keep) {
            durable::remove_folder(&old)?;
        }
        Ok(path)
    }

    /// Saves a checkpoint as the best.
    pub(super) fn save_best<C: TaskConfig>(&self, checkpoint: &Checkpoint<C>) -> Result<()> {
        checkpoint.save(&self.folder.join(BEST))
    }

    /// The best checkpoint, if it is whole and that of a run with this configuration.
    pub(super) fn best<C: TaskConfig>(&self, config: &RunConfig<C>) -> Option<Checkpoint<C>> {
        Checkpoint::load(&self.folder.join(BEST), config).ok()
    }

    /// The newest checkpoint that is whole and of a run with this configuration, and why newer ones are not.
    ///
    /// # Errors
    /// [`Error::Io`] when one may not be read, which may well be whole; [`Error::RunExists`] when there are some
    /// and none is whole.
    pub(super) fn newest<C: TaskConfig>(
        &self,
        config: &RunConfig<C>,
    ) -> Result<(Option<Checkpoint<C>>, Vec<Error>)> {
        if self.exist() {
            durable::remove_leftovers(&self.folder)?;
        }
        let mut damaged = Vec::new();
        let mut candidates = self.steps()?;
        candidates.extend(self.others());
        // Of equals those under their step come first, as they are.
        candidates.sort_by_key(|path| {
            std::cmp::Reverse(named_step(path).or_else(|| saved_step(path)).unwrap_or(0))
        });
        for path in candidates {
            match Checkpoint::load(&path, config) {
                Ok(checkpoint) => return Ok((Some(checkpoint), damaged)),
                // Others may read it: it is not for this process to pass it over.
                Err(error @ Error::Io { .. }) if is_forbidden(&error) => return Err(error),
                Err(error) => damaged.push(error),
            }
        }
        match damaged.first() {
            None => Ok((None, damaged)),
            Some(reason) => {
                Err(Error::run_exists(&self.folder, format!("no valid checkpoint ({reason})")))
            }
        }
    }

    /// The most epochs after which one was saved, whole or not; 0 without any.
    pub(super) fn epochs(&self) -> usize {
        let paths = self.steps().unwrap_or_default().into_iter();
        paths
            .chain([self.folder.join(BEST)])
            .filter_map(|path| saved_epoch(&path))
            .max()
            .unwrap_or(0)
    }

    /// The folders under their steps, newest first.
    fn steps(&self) -> Result<Vec<PathBuf>> {
        if !self.exist() {
            return Ok(Vec::new());
        }
        let entries =
            fs::read_dir(&self.folder).map_err(Error::io(&self.folder, "read the folder"))?;
        let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        found.retain(|path| named_step(path).is_some());
        found.sort_by_key(|path| std::cmp::Reverse(named_step(path)));
        Ok(found)
    }

    /// The best checkpoint, and links under names of their own to checkpoints, wherever these are.
    fn others(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let is_link = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_symlink());
        let named = entries.filter(|entry| {
            let path = entry.path();
            let is_other = named_step(&path).is_none() && saved_step(&path).is_some();
            entry.file_name() == BEST || (is_link(entry) && is_other)
        });
        let mut paths: Vec<PathBuf> = named.map(|entry| entry.path()).collect();
        paths.retain(|path| path.exists());
        // The best comes first of equals.
        paths.sort_by_key(|path| (!path.ends_with(BEST), path.clone()));
        paths
    }
}

/// The step that is in the name of a checkpoint's folder.
fn named_step(checkpoint: &Path) -> Option<u64> {
    checkpoint.file_name()?.to_str()?.strip_prefix(STEP)?.parse().ok()
}

fn is_forbidden(error: &Error) -> bool {
    matches!(error, Error::Io { cause, .. } if cause.kind() == std::io::ErrorKind::PermissionDenied)
}

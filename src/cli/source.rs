//! `--data`: the source of the images.

use std::path::PathBuf;

use candle_rnn::data::mnist::{ImageSet, Mnist, Source};
use candle_rnn::run::DataConfig;
use clap::Args;

use super::usage::wrong_usage;
use super::{fetch, screen};

/// Where the images come from.
#[derive(Args, Clone)]
pub(super) struct ImageSource {
    /// Data: `sample` (2,500 digits inside this program), a file as FILE, or a folder that holds the four IDX
    /// files, gzipped or not, itself or in MNIST/raw or raw [default: the data of the run; else the
    /// user's cache folder, downloaded on first use]
    #[arg(long, value_name = "DIR|sample")]
    pub(super) data: Option<PathBuf>,
}

impl ImageSource {
    pub(super) fn load(&self, dataset: ImageSet, quiet: bool) -> anyhow::Result<Mnist> {
        let mut progress = screen::FetchProgress::new(dataset, quiet);
        let mut show = |event| progress.show(event);
        let source = match &self.data {
            Some(data) => Source::from_arg(data),
            None => Source::Folder(fetch::ensure_cached(dataset, &mut show)?),
        };
        Ok(Mnist::load(dataset, &source, &mut show)?)
    }

    /// Refuses images where a run was trained on other data.
    pub(super) fn refuse(&self) -> anyhow::Result<()> {
        if self.data.is_none() {
            return Ok(());
        }
        Err(wrong_usage("--data names images, and this run was trained on other data: give a FILE"))
    }

    /// This source or, where none was named, the one that a run was trained on.
    pub(super) fn or(self, config: &DataConfig) -> Self {
        Self { data: self.data.or_else(|| config.source.clone()) }
    }
}

//! Files of one's own: what the columns of a table are, and how a file is read.

use std::path::{Path, PathBuf};

use candle_rnn::data::formats::{self, Content, Layout, Loaded, ReadOptions};
use candle_rnn::data::{Dataset, TargetKind};
use candle_rnn::train::tasks::SequenceConfig;

use super::choices::{value_of, LAYOUTS, TARGETS};
use super::flags::OWN;
use super::usage::wrong_usage;

/// Flags that say what a file of one's own holds.
#[derive(clap::Args, Clone, Default)]
pub(super) struct OwnFiles {
    /// Column that names the sequence of a row (by name, or by number from 1)
    #[arg(long, help_heading = OWN, value_name = "COLUMN")]
    id: Option<String>,
    /// Column with the time of a step; it must increase within a sequence
    #[arg(long, help_heading = OWN, value_name = "COLUMN")]
    time: Option<String>,
    /// Column with the target: a label or a number; several, separated by commas, for several numbers
    #[arg(long, help_heading = OWN, value_name = "COLUMN,..", value_delimiter = ',')]
    label: Vec<String>,
    /// Columns with the features [default: all others that hold numbers]
    #[arg(long, help_heading = OWN, value_name = "COLUMN,..", value_delimiter = ',')]
    features: Vec<String>,
    /// Column that names the group of a sequence, such as a person
    #[arg(long, help_heading = OWN, value_name = "COLUMN")]
    group: Option<String>,
    /// Rows of a table: a step each (`long`), a sequence each (`wide`), or a sequence of one step each (`tabular`)
    /// [default: detected]
    #[arg(long, help_heading = OWN, value_parser = value_of::<Layout>(&LAYOUTS))]
    layout: Option<Layout>,
    /// Kind of target [default: detected]
    #[arg(long, help_heading = OWN, value_parser = value_of::<TargetKind>(&TARGETS))]
    target: Option<TargetKind>,
}

/// Files beside that with the training data.
#[derive(clap::Args, Clone, Default)]
pub(super) struct OtherFiles {
    /// File with validation data [default: a part of the training data, see --valid-fraction]
    #[arg(long, help_heading = OWN, value_name = "FILE")]
    pub(super) valid: Option<PathBuf>,
    /// File with test data, measured when the training has ended
    #[arg(long, help_heading = OWN, value_name = "FILE")]
    pub(super) test: Option<PathBuf>,
}

impl OtherFiles {
    /// Refuses other files where there are no sequences.
    pub(super) fn refuse(&self) -> anyhow::Result<()> {
        if self.valid.is_none() && self.test.is_none() {
            return Ok(());
        }
        Err(wrong_usage("--valid and --test need a FILE of sequences"))
    }
}

impl OwnFiles {
    /// The options that a file is read with.
    pub(super) fn options(&self) -> ReadOptions {
        let Self { id, time, label, features, group, layout, target } = self.clone();
        let defaults = ReadOptions::default();
        ReadOptions { id, time, group, labels: label, features, target, layout, ..defaults }
    }

    /// Whether a target was asked for.
    pub(super) fn has_target(&self) -> bool {
        !self.label.is_empty() || self.target.is_some()
    }

    /// Whether a column of groups was named.
    pub(super) fn has_group(&self) -> bool {
        self.group.is_some()
    }

    /// Whether anything was said.
    pub(super) fn is_empty(&self) -> bool {
        self.options() == ReadOptions::default()
    }

    /// The options that flags name, and for the others those that a run was trained with.
    pub(super) fn or(&self, run: &ReadOptions) -> ReadOptions {
        // A label's column that is named is known by its name.
        let columns = run.columns.filter(|_| self.label.is_empty());
        let Self { id, time, label, features, group, layout, target } = self.clone();
        let or = |said: Option<String>, run: &Option<String>| said.or_else(|| run.clone());
        let all = |said: Vec<String>, run: &[String]| {
            if said.is_empty() {
                run.to_vec()
            } else {
                said
            }
        };
        ReadOptions {
            id: or(id, &run.id),
            time: or(time, &run.time),
            group: or(group, &run.group),
            labels: all(label, &run.labels),
            features: all(features, &run.features),
            layout: layout.or(run.layout),
            target: target.or(run.target),
            columns,
            ..run.clone()
        }
    }

    /// How a file is read for the model of a run: as the run's own, but for what was said; columns of the run's own table
    /// are left out for files of other formats. The model's features are found by their names, wherever they stand.
    pub(super) fn of_run(&self, run: &SequenceConfig) -> ReadOptions {
        let (stored, said) = (&run.data.source.read, self.options().for_tables());
        let mut options = self.or(stored);
        options.tables_only = stored.for_tables();
        options.tables_only.retain(|name| !said.contains(name));
        if !self.features.is_empty() {
            return options;
        }
        ReadOptions { model_features: run.spec.preprocessor.features.clone(), ..options }
    }

    /// Refuses columns where there is no table.
    pub(super) fn refuse(&self) -> anyhow::Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        Err(wrong_usage("--id, --time, --label, --features, --group, --layout and --target need a FILE of sequences"))
    }

    /// Refuses columns where no file is named to which they could belong.
    pub(super) fn refuse_without_file(&self) -> anyhow::Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        Err(wrong_usage(
            "--id, --time, --label, --features, --group, --layout and --target say how a FILE is read: name it",
        ))
    }

    /// Reads a file.
    pub(super) fn read(file: &Path, options: &ReadOptions) -> anyhow::Result<Loaded> {
        Ok(formats::read(file, options)?)
    }

    /// Reads a file of sequences.
    pub(super) fn sequences(file: &Path, options: &ReadOptions) -> anyhow::Result<Dataset> {
        match Self::read(file, options)?.content {
            Content::Sequences(data) => Ok(data),
            Content::Text(_) => {
                anyhow::bail!("{}: plain text, where a file of sequences is needed", file.display())
            }
        }
    }
}

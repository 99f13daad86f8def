//! Flags of `train FILE` that would do nothing: each is refused, so that nobody believes that it did something.

use candle_rnn::data::SplitBy;
use candle_rnn::train::tasks::{SequenceSource, SequenceTraining, TaskKind};

use super::args::TrainArgs;
use crate::cli::usage::wrong_usage;

/// Refuses flags that mean nothing for a target or beside others.
///
/// - `training`: all settings
/// - `source`: the files of the run
pub(super) fn refuse(
    args: &TrainArgs,
    task: TaskKind,
    training: &SequenceTraining,
    source: &SequenceSource,
) -> anyhow::Result<()> {
    let reason = of_target(args, task).or_else(|| of_split(args, task, training, source));
    reason.map_or(Ok(()), |reason| Err(wrong_usage(reason)))
}

/// The error for a flag that the target has no use for.
fn of_target(args: &TrainArgs, task: TaskKind) -> Option<&'static str> {
    let (flags, files) = (&args.flags, &args.files);
    let is_of_classes = matches!(task, TaskKind::Class | TaskKind::StepClass);
    if is_of_classes && flags.loss.is_some() {
        return Some("--loss is for numbers and forecasts: classes have the cross-entropy");
    }
    if task == TaskKind::StepClass && flags.readout.is_some() {
        return Some("--readout is for a target of whole sequences: a class at each step is read from each step's output");
    }
    if task != TaskKind::Forecast {
        return None;
    }
    if files.has_target() {
        return Some("--label and --target mean nothing for a forecast, whose target is the next steps of all features: choose these with --features");
    }
    if files.has_group() {
        return Some("--group means nothing for a forecast: each series is split by time");
    }
    let is_random = flags.split_by.as_ref().is_some_and(|split_by| split_by != "time");
    is_random.then_some("--split-by means nothing for a forecast: each series is split by time")
}

/// The error for a flag that the split has no use for.
fn of_split(
    args: &TrainArgs,
    task: TaskKind,
    training: &SequenceTraining,
    source: &SequenceSource,
) -> Option<&'static str> {
    let (flags, split) = (&args.flags, &training.split);
    // Of a run that is resumed, they may be named there.
    if flags.valid_fraction.is_some() && source.valid.is_some() {
        return Some("--valid-fraction means nothing beside the run's file with validation data");
    }
    if flags.test_fraction.is_some() && source.test.is_some() {
        return Some("--test-fraction means nothing beside the run's file with test data");
    }
    let validates_all = source.valid.is_some() || split.valid_fraction == 0.;
    let tests_all = source.test.is_some() || split.test_fraction == 0.;
    if flags.split_by.is_some() && task != TaskKind::Forecast && validates_all && tests_all {
        return Some("--split-by means nothing here: no part of the training data is held out");
    }
    if args.files.has_group() && split.split_by == SplitBy::Time {
        return Some("--group means nothing beside --split-by time, which takes the last sequences of any group: take --split-by group");
    }
    None
}

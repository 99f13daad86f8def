//! The check of a sweep's trials before the first is trained: data and settings, as `train` would find them.

use std::ffi::OsString;
use std::path::PathBuf;

use candle_core::Device;
use candle_rnn::data::formats::{Content, Loaded};
use candle_rnn::data::mnist::ImageSet;
use candle_rnn::settings::Settings;
use candle_rnn::train::tasks::{SequenceSource, SequenceTraining};
use clap::{Args, FromArgMatches};

use super::args::TrainArgs;
use super::{file, images, read, sequences, text};
use crate::cli::source::ImageSource;

/// What trials are checked against: data that are read once.
pub(crate) struct TrialCheck {
    args: TrainArgs,
    /// The file, as forecasts read it and as others do.
    files: Vec<(bool, SequenceSource, Content)>,
    /// The images that could be loaded.
    images: Vec<(Option<PathBuf>, Option<ImageSet>)>,
    /// Settings with which a task could be made of the data.
    made: Vec<SequenceTraining>,
}

impl TrialCheck {
    /// Prepares it.
    ///
    /// - `data`: the arguments of `train` that say what data there are
    pub(crate) fn new(data: Vec<OsString>, quiet: bool) -> anyhow::Result<Self> {
        let command = TrainArgs::augment_args(clap::Command::new("train"));
        let arguments = ["train".into()].into_iter().chain(data);
        let matches = command.try_get_matches_from(arguments)?;
        let args = TrainArgs { is_trial: true, quiet, ..TrainArgs::from_arg_matches(&matches)? };
        Ok(Self { args, files: Vec::new(), images: Vec::new(), made: Vec::new() })
    }

    /// Checks that the settings of a trial are in their ranges, go together and suit the data, which are read if they were
    /// not yet.
    pub(crate) fn check(&mut self, settings: &Settings) -> anyhow::Result<()> {
        let args = &self.args;
        args.compute(settings)?;
        let Some(file) = file(args)? else {
            images::asked(args, settings, None)?;
            let named = settings.run();
            let images = (named.source, named.dataset);
            if !self.images.contains(&images) {
                let source = ImageSource { data: images.0.clone() };
                source.load(images.1.unwrap_or_default(), args.quiet)?;
                self.images.push(images);
            }
            return Ok(());
        };
        let training = settings.config(&SequenceTraining::default());
        let is_forecast = training.is_ok_and(|training| training.is_forecast());
        let known = self.files.iter().position(|(known, ..)| *known == is_forecast);
        let place = match known {
            Some(place) => place,
            None => {
                let (Loaded { content, .. }, options) =
                    read(args, &file, &SequenceSource::default(), is_forecast)?;
                let source = SequenceSource { read: options, ..SequenceSource::default() };
                let source = sequences::source(args, &file, source)?;
                self.files.push((is_forecast, source, content));
                self.files.len() - 1
            }
        };
        let (_, source, content) = &self.files[place];
        let data = match content {
            Content::Text(_) => {
                args.files.refuse()?;
                args.others.refuse()?;
                return text::asked(args, settings, None).map(drop);
            }
            Content::Sequences(data) => data,
        };
        let (training, _) = sequences::asked(args, settings, None, source, data)?;
        let cuts = |of: &SequenceTraining| (of.split, of.preprocess, of.window, of.horizon);
        if !self.made.iter().any(|made| cuts(made) == cuts(&training)) {
            sequences::task(&training, source.clone(), data.clone(), &Device::Cpu)?;
            self.made.push(training);
        }
        Ok(())
    }
}

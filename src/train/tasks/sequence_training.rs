//! Settings of a training on sequences of one's own.

use serde::{Deserialize, Serialize};

use super::loss_kind::{ClassWeights, NumbersLoss};
use super::task_kind::TaskKind;
use crate::data::{
    season_of, DataSplits, Dataset, MissingPolicy, PreprocessConfig, Scaling, SplitBy, SplitConfig,
    Target,
};
use crate::model::{ClassifierConfig, NetworkConfig, Readout};
use crate::nn::Init;
use crate::optim::Clip;
use crate::recurrence::Cell;
use crate::train::{Precision, Schedule, TrainerConfig};
use crate::{Error, Result};

/// Optimizer steps that a small data set is trained for.
const STEPS: usize = 1_200;

/// All settings that decide which model comes out of sequences, whatever their target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SequenceTraining {
    /// The recurrent layers.
    #[serde(flatten)]
    pub network: NetworkConfig,
    /// How initial weights are drawn.
    pub init: Init,
    /// The float type.
    pub dtype: Precision,
    /// The loss of numbers.
    pub loss: NumbersLoss,
    /// How much each class counts in the loss.
    pub class_weights: ClassWeights,
    /// The part of each label that is spread over all classes.
    pub label_smoothing: f64,
    /// Whether batches are made of sequences of about the same length.
    pub bucketing: bool,
    /// W, the number of steps that a forecast is made from; 0 unless the task is a forecast.
    pub window: usize,
    /// K, the number of steps that are forecast; 0 unless the task is a forecast.
    pub horizon: usize,
    /// How values are preprocessed.
    #[serde(flatten)]
    pub preprocess: PreprocessConfig,
    /// How data are split.
    #[serde(flatten)]
    pub split: SplitConfig,
    /// The trainer's settings.
    #[serde(flatten)]
    pub trainer: TrainerConfig,
}

/// A network for a start: one bidirectional layer of 64 GRU units whose mean and maximum are read.
impl Default for SequenceTraining {
    fn default() -> Self {
        Self {
            network: NetworkConfig {
                cell: Cell::Gru,
                hidden_size: 64,
                num_layers: 1,
                bidirectional: true,
                dropout: 0.,
                readout: Readout::MeanMax,
            },
            init: Init::Pytorch,
            dtype: Precision::F32,
            loss: NumbersLoss::Mse,
            class_weights: ClassWeights::None,
            label_smoothing: 0.,
            bucketing: true,
            window: 0,
            horizon: 0,
            preprocess: PreprocessConfig::default(),
            split: SplitConfig::default(),
            trainer: TrainerConfig {
                epochs: 60,
                batch_size: 16,
                learning_rate: 3e-3,
                schedule: Schedule::Cosine,
                clip: Clip::Norm(1.),
                weight_decay: 0.01,
                patience: Some(20),
                ..TrainerConfig::default()
            },
        }
    }
}

impl SequenceTraining {
    /// Settings for a start with sequences that have a target. Small data sets get small batches and more epochs,
    /// classes label smoothing.
    pub fn for_data(data: &Dataset) -> Self {
        let mut settings = Self::default();
        let trainer = &mut settings.trainer;
        // About thirty steps an epoch at least, and batches that fill the vectors of a processor.
        trainer.batch_size = (data.len() / 30).clamp(8, 256).next_power_of_two();
        trainer.epochs = (STEPS * trainer.batch_size / data.len().max(1)).clamp(60, 150);
        trainer.patience = Some(trainer.epochs / 3);
        if matches!(data.target(), Target::Class(_) | Target::StepClass(_)) {
            settings.label_smoothing = 0.1;
        }
        settings
    }

    /// Settings for a start with series of which the next `horizon` steps are forecast: a network that reads forward in
    /// time, from as many known steps as [`default_window`](Self::default_window) says.
    pub fn for_forecast(series: &Dataset, horizon: usize) -> Self {
        let mut settings = Self::default();
        settings.network.bidirectional = false;
        settings.network.readout = Readout::Last;
        settings.split.valid_fraction = 0.15;
        settings.horizon = horizon;
        settings.window = settings.default_window(series);
        settings
    }

    /// The same where nothing validates: all data are trained on, and no epoch can be the best.
    pub fn without_validation(mut self) -> Self {
        self.split.valid_fraction = 0.;
        self.trainer.patience = None;
        self
    }

    /// Data without files of their own for validation and test, split as these settings say, with their seed.
    ///
    /// # Errors
    /// As [`DataSplits::sequences`].
    pub fn splits(&self, data: Dataset) -> Result<DataSplits> {
        DataSplits::sequences(data, None, None, &self.split, self.trainer.seed)
    }

    /// The number of known steps that a forecast is made from where none is named: two seasons of the
    /// training steps of all series, or else twice the horizon; never so many that a third of the shortest series is not left.
    pub fn default_window(&self, series: &Dataset) -> usize {
        let season = season_of(&series.parts(|len| 0..self.split.cuts(len).0));
        let wanted = if season > 1 { 2 * season } else { 2 * self.horizon };
        let shortest = series.lengths().into_iter().min().unwrap_or(1);
        wanted.clamp(1, (shortest / 3).max(1))
    }

    /// Checks that every setting is in its range.
    ///
    /// # Errors
    /// [`Error::Config`] naming the setting that is not.
    pub fn check(&self) -> Result<()> {
        self.trainer.check()?;
        self.split.check()?;
        if !(0. ..1.).contains(&self.label_smoothing) {
            let smoothing = self.label_smoothing;
            return Err(Error::Config(format!(
                "label_smoothing must be at least 0 and less than 1, got {smoothing}"
            )));
        }
        if self.trainer.patience.is_some() && self.split.valid_fraction == 0. {
            return Err(Error::Config(
                "patience needs validation data: set valid_fraction above 0, or no patience".into(),
            ));
        }
        if (self.window == 0) != (self.horizon == 0) {
            let Self { window, horizon, .. } = self;
            return Err(Error::Config(format!(
                "a forecast needs both window and horizon, got {window} and {horizon}"
            )));
        }
        const MOST: usize = 1 << 20;
        if self.window > MOST || self.horizon > MOST {
            let Self { window, horizon, .. } = self;
            return Err(Error::Config(format!(
                "window and horizon must be at most {MOST}, got {window} and {horizon}"
            )));
        }
        if self.network.readout == Readout::All {
            return Err(Error::Config(
                "readout all is for images alone: take last or mean-max".into(),
            ));
        }
        // Of any sizes: the data's own are not known here.
        ClassifierConfig {
            network: self.network.clone(),
            input_size: 1,
            seq_len: 0,
            num_classes: 1,
        }
        .check()?;
        if self.preprocess.missing_mask && self.preprocess.missing == MissingPolicy::Refuse {
            return Err(Error::Config(
                "missing_mask means nothing where missing values are refused: say how they are filled in \
                 (zero, mean or forward-fill)"
                    .into(),
            ));
        }
        if self.is_forecast() && self.preprocess.scaling == Scaling::PerSequence {
            return Err(Error::Config(
                "scaling per-sequence cannot be undone in a forecast: take standard, min-max or none".into(),
            ));
        }
        Ok(())
    }

    /// Checks that no setting is one that such a target has no use for.
    ///
    /// # Errors
    /// [`Error::Config`] naming the setting that would be ignored.
    pub fn check_target(&self, target: TaskKind) -> Result<()> {
        let is_of_classes = matches!(target, TaskKind::Class | TaskKind::StepClass);
        let what = target.name();
        let unused = |setting: &str, remedy: &str| {
            Err(Error::Config(format!(
                "{setting} means nothing where the target is {what}: {remedy}"
            )))
        };
        if is_of_classes && self.loss != NumbersLoss::Mse {
            return unused("loss", "classes have the cross-entropy");
        }
        if !is_of_classes && self.class_weights != ClassWeights::None {
            return unused("class_weights", "leave it out");
        }
        if !is_of_classes && self.label_smoothing > 0. {
            return unused("label_smoothing", "set it to 0");
        }
        if target != TaskKind::Forecast && self.split.test_steps > 0 {
            return unused("test_steps", "hold out a fraction instead");
        }
        if target == TaskKind::Forecast && self.split.split_by == SplitBy::Group {
            return unused("split_by group", "each series is split by time");
        }
        Ok(())
    }

    /// Whether the sequences' own next steps are the target.
    pub fn is_forecast(&self) -> bool {
        self.horizon > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{DatasetBuilder, Target};

    #[test]
    fn settings_without_a_use_are_refused() {
        use TaskKind::{Class, Forecast, Numbers, StepClass};
        let check = |target, change: fn(&mut SequenceTraining)| {
            let mut training = SequenceTraining::default();
            change(&mut training);
            training.check_target(target).map_err(|error| error.to_string())
        };
        type Case<'a> = (&'a str, &'a [TaskKind], fn(&mut SequenceTraining));
        let cases: [Case; 5] = [
            ("loss", &[Class, StepClass], |t| t.loss = NumbersLoss::Huber),
            ("class_weights", &[Numbers, Forecast], |t| t.class_weights = ClassWeights::Balanced),
            ("label_smoothing", &[Numbers, Forecast], |t| t.label_smoothing = 0.1),
            ("test_steps", &[Class, StepClass, Numbers], |t| t.split.test_steps = 3),
            ("split_by group", &[Forecast], |t| t.split.split_by = SplitBy::Group),
        ];
        for (name, refused, change) in cases {
            for target in [Class, StepClass, Numbers, Forecast] {
                let outcome = check(target, change);
                assert_eq!(outcome.is_err(), refused.contains(&target), "{name} {target:?}");
                assert!(outcome.err().is_none_or(|error| error.starts_with(name)));
            }
        }
        let mut mask = SequenceTraining::default();
        mask.preprocess.missing_mask = true;
        assert!(mask.check().unwrap_err().to_string().starts_with("missing_mask"));
        mask.preprocess.missing = MissingPolicy::Mean;
        assert!(mask.check().is_ok());
    }

    #[test]
    fn splits_take_fractions_and_seed_from_the_settings() {
        let mut data = DatasetBuilder::unnamed(1);
        for n in 0..20u32 {
            data.push_step(&[n as f32]).unwrap();
            data.end_sequence().unwrap();
        }
        let data = data.build(Target::None).unwrap();
        let mut training = SequenceTraining::default();
        (training.split.valid_fraction, training.split.test_fraction) = (0.25, 0.1);
        let of = |training: &SequenceTraining| training.splits(data.clone()).unwrap();
        let splits = of(&training);
        let test = splits.test.as_ref().map(Dataset::len);
        assert_eq!((splits.train.len(), splits.valid.len(), test), (13, 5, Some(2)));
        assert_eq!(of(&training).valid.fingerprint(), splits.valid.fingerprint());
        training.trainer.seed += 1;
        assert_ne!(of(&training).valid.fingerprint(), splits.valid.fingerprint());
    }
}

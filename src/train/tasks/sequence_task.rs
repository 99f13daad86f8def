//! `SequenceTask`: a network that learns from a data set of one's own.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};

use super::forecast_report::FeatureScores;
use super::loss_kind::NumbersLoss;
use super::outputs::{for_each_output, output_batches};
use super::report::Report;
use super::sequence_config::{SequenceConfig, SequenceData, SequenceSource};
use super::sequence_training::SequenceTraining;
use super::spec::SequenceSpec;
use super::task_kind::TaskKind;
use crate::data::{
    bucket_by_length, BatchTarget, DataSplits, Dataset, Padder, SequenceBatch, Target,
};
use crate::model::SequenceClassifier;
use crate::nn::{Sequences, VarSink};
use crate::recurrence::check_teams;
use crate::rng::{Purpose, SeededRng};
use crate::train::{
    huber, mae, masked_cross_entropy, mse, weighted_cross_entropy, CrossEntropyOptions,
    PiecewiseValidation, Score, StepContext, Task,
};
use crate::{Error, Result};

/// A recurrent network that learns a class, a class at each step, numbers or the next steps of sequences.
pub struct SequenceTask {
    config: SequenceConfig,
    splits: DataSplits,
    /// The numbers of the validation sequences that are looked at together.
    valid_batches: Vec<Vec<u32>>,
    padder: Padder,
    class_weights: Option<Vec<f64>>,
    vars: BTreeMap<String, Var>,
    model: SequenceClassifier,
}

/// Sequences whose loss is computed together to validate. A constant, because the last bits may depend on it.
const LOSS_BATCH_SIZE: usize = 256;

impl SequenceTask {
    /// A network with initial weights for what the data have as their target.
    ///
    /// - `splits`: of sequences with a target; the class names of all parts are made those of the training split
    /// - `source`: where the data come from, for the record
    ///
    /// # Errors
    /// [`Error::Config`] for settings out of range, and as [`SequenceSpec::fit`] and [`SequenceSpec::data`].
    pub fn new(
        training: &SequenceTraining,
        splits: DataSplits,
        source: SequenceSource,
        device: &Device,
    ) -> Result<Self> {
        training.check()?;
        let spec =
            SequenceSpec::fit(training, &splits.train, None).map_err(source.in_training())?;
        training.check_target(spec.target)?;
        Self::of(spec, training, splits, source, device)
    }

    /// A network with initial weights that forecasts the next `horizon` steps of series from `window` steps.
    ///
    /// # Errors
    /// [`Error::Config`] for settings out of range, series that are too short, and as [`SequenceSpec::fit`].
    pub fn forecast(
        training: &SequenceTraining,
        series: &Dataset,
        source: SequenceSource,
        device: &Device,
    ) -> Result<Self> {
        training.check()?;
        training.check_target(TaskKind::Forecast)?;
        let SequenceTraining { window, horizon, split, .. } = training;
        let splits = DataSplits::windows(series, *window, *horizon, split);
        let splits = splits.map_err(source.in_training())?;
        let known = series.parts(|len| 0..split.cuts(len).0);
        let spec = SequenceSpec::fit(training, &splits.train, Some(&known));
        let spec = spec.map_err(source.in_training())?;
        Self::of(spec, training, splits, source, device)
    }

    fn of(
        spec: SequenceSpec,
        training: &SequenceTraining,
        splits: DataSplits,
        source: SequenceSource,
        device: &Device,
    ) -> Result<Self> {
        let dtype = training.dtype.dtype();
        training.trainer.check_gpu_precision(training.network.cell, dtype, device)?;
        let sink = VarSink::new(dtype, device);
        let rng = &mut SeededRng::new(training.trainer.seed, Purpose::Init);
        let model = SequenceClassifier::init(&spec.model, training.init, rng, &sink)?;
        let measured = |data: Dataset| {
            let data = spec.data(data)?;
            if spec.forecast.is_none() && matches!(data.target(), Target::None) {
                return Err(Error::Config(
                    "the data have no target to compare predictions with".into(),
                ));
            }
            Ok(data)
        };
        let splits = DataSplits {
            train: spec.data(splits.train).map_err(source.in_training())?,
            valid: measured(splits.valid).map_err(source.in_file(&source.valid))?,
            test: splits.test.map(measured).transpose().map_err(source.in_file(&source.test))?,
        };
        let data = SequenceData {
            source,
            sha256: splits.train.fingerprint(),
            valid_sha256: splits.valid.fingerprint(),
            sequences: [splits.train.len(), splits.valid.len()],
        };
        Ok(Self {
            padder: spec.padder(dtype, device)?,
            class_weights: training.class_weights.of(&splits.train),
            vars: sink.named()?,
            config: SequenceConfig::new(spec, data, training.clone()),
            valid_batches: output_batches(&splits.valid),
            splits,
            model,
        })
    }

    /// The settings, with all that was fitted to the training split.
    pub fn config(&self) -> &SequenceConfig {
        &self.config
    }

    /// The parts of the data.
    pub fn splits(&self) -> &DataSplits {
        &self.splits
    }

    /// The network; it changes with every step of its trainer.
    pub fn model(&self) -> &SequenceClassifier {
        &self.model
    }

    /// How well the network does on data that [`SequenceSpec::data`] has taken, such as a part of the
    /// [`splits`](Self::splits).
    ///
    /// # Errors
    /// As [`Report::measure`].
    pub fn report(&self, data: &Dataset) -> Result<Report> {
        Report::measure(&self.config.spec, &self.model, &self.padder, data)
    }

    /// The network's forecasts of windows, in the units of the data: K times I numbers for each.
    ///
    /// # Errors
    /// [`Error::Config`] unless the task is a forecast; [`Error::Candle`] when Candle fails.
    pub fn forecasts(&self, windows: &Dataset) -> Result<Vec<Vec<f64>>> {
        let spec = &self.config.spec;
        let no_forecast = || Error::Config("the task is no forecast".into());
        let of = spec.forecast.ok_or_else(no_forecast)?;
        let mut forecasts = vec![Vec::new(); windows.len()];
        for_each_output(&self.model, &self.padder, windows, spec.read(), |index, differences| {
            let scaler = &spec.preprocessor.scaler;
            forecasts[index] = of.forecast(windows.sequence(index), scaler, differences);
            Ok(())
        })?;
        Ok(forecasts)
    }

    fn loss_of(&self, outputs: &Tensor, batch: &SequenceBatch) -> Result<Tensor> {
        let SequenceTraining { loss, label_smoothing, .. } = self.config.training;
        let options = CrossEntropyOptions {
            class_weights: self.class_weights.as_deref(),
            smoothing: label_smoothing,
            ignore_index: None,
        };
        match &batch.target {
            BatchTarget::Class(labels) => weighted_cross_entropy(outputs, labels, &options),
            BatchTarget::StepClass(labels) => {
                masked_cross_entropy(outputs, labels, batch.lengths.as_deref(), &options)
            }
            BatchTarget::Numbers(numbers) => match loss {
                NumbersLoss::Mse => mse(outputs, numbers),
                NumbersLoss::Mae => mae(outputs, numbers),
                NumbersLoss::Huber => huber(outputs, numbers, 1.),
            },
            BatchTarget::None => Err(Error::Config("the batch has no target".into())),
        }
    }

    fn sequences<'a>(batch: &'a SequenceBatch) -> Sequences<'a> {
        let sequences = Sequences::new(&batch.x);
        match &batch.lengths {
            Some(lengths) => sequences.lengths(lengths),
            None => sequences,
        }
    }

    /// The maker of batches.
    pub(super) fn padder(&self) -> &Padder {
        &self.padder
    }

    /// The numbers of the validation sequences that are looked at together.
    pub(super) fn valid_batches(&self) -> &[Vec<u32>] {
        &self.valid_batches
    }

    /// How many batches the mean loss over a data set is computed in; 0 if a report has it.
    pub(super) fn loss_batches(&self, data: &Dataset) -> usize {
        match self.config.spec.target {
            TaskKind::Class | TaskKind::StepClass => 0,
            TaskKind::Numbers | TaskKind::Forecast => data.len().div_ceil(LOSS_BATCH_SIZE),
        }
    }

    /// How much a batch counts in the mean loss over a data set, and its mean loss, as training has it but without dropout.
    ///
    /// - `batch`: which one, below [`loss_batches`](Self::loss_batches)
    pub(super) fn batch_loss(&self, data: &Dataset, batch: usize) -> Result<[f64; 2]> {
        let start = (batch * LOSS_BATCH_SIZE).min(data.len());
        let end = data.len().min(start + LOSS_BATCH_SIZE);
        let numbers: Vec<u32> = (start as u32..end as u32).collect();
        let batch = self.padder.batch(data, &numbers)?;
        let model = self.model.detach();
        let outputs = model.forward_unrolled(Self::sequences(&batch), self.config.spec.read())?;
        let loss = self.loss_of(&outputs, &batch)?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        check_teams(self.device())?;
        Ok([numbers.len() as f64, loss])
    }

    /// The score of a report. Errors of several features or numbers are in units of their scales, by default standard
    /// deviations over the training split: `scaled_rmse`, as their own units may differ.
    ///
    /// - `losses`: weight and mean loss of each batch, in their order; none for classes
    pub(super) fn score_of(&self, report: Report, losses: &[[f64; 2]]) -> Score {
        let spec = &self.config.spec;
        let mut metrics = BTreeMap::new();
        let mean_loss = || {
            let (sum, count) = losses.iter().fold((0., 0.), |(sum, count), [weight, loss]| {
                (sum + weight * loss, count + weight)
            });
            sum / count
        };
        let (loss, accuracy) = match report {
            Report::Classes(report) => {
                metrics.insert("macro_f1".to_string(), report.macro_f1);
                (report.loss, Some(report.accuracy))
            }
            Report::Numbers(report) => {
                let rmses: Vec<f64> = report.numbers.iter().map(|number| number.rmse).collect();
                let scales = spec.target_scaler.as_ref().map_or(&[][..], |scaler| &scaler.scale);
                metrics.extend(rmse(report.rmse, &rmses, scales));
                (mean_loss(), None)
            }
            Report::Forecast(report) => {
                let rmses: Vec<f64> = report.features.iter().map(FeatureScores::rmse).collect();
                let scales = &spec.preprocessor.scaler.scale;
                metrics.extend(rmse(report.forecasts[0].rmse, &rmses, scales));
                (mean_loss(), None)
            }
        };
        Score { loss, accuracy, metrics, ..Score::default() }
    }
}

/// The root mean squared error of one number, in its units, or of several in units of their scales.
fn rmse(of_all: f64, each: &[f64], scales: &[f64]) -> [(String, f64); 1] {
    if each.len() < 2 {
        return [("rmse".into(), of_all)];
    }
    let squares: f64 = each.iter().zip(scales).map(|(rmse, scale)| (rmse / scale).powi(2)).sum();
    [("scaled_rmse".into(), (squares / each.len() as f64).sqrt())]
}

impl Task for SequenceTask {
    type Batch = SequenceBatch;

    fn vars(&self) -> &BTreeMap<String, Var> {
        &self.vars
    }

    fn device(&self) -> &Device {
        self.padder.device()
    }

    fn examples(&self) -> usize {
        self.splits.train.len()
    }

    fn arrange(&self, order: &mut Vec<u32>, step_size: usize, rng: &mut SeededRng) {
        if self.config.training.bucketing {
            let train = &self.splits.train;
            bucket_by_length(order, step_size, |number| train.seq_len(number as usize), rng);
        }
    }

    /// The number of labels or, with class weights, their sum; the number of sequences where the target is numbers.
    fn weight(&self, numbers: &[u32]) -> f64 {
        let train = &self.splits.train;
        let of_label =
            |label: u32| self.class_weights.as_ref().map_or(1., |weights| weights[label as usize]);
        let of_sequence = |index: usize| match (train.label(index), train.step_labels(index)) {
            (Some(label), _) => of_label(label),
            (None, Some(labels)) => labels.map(of_label).sum(),
            (None, None) => 1.,
        };
        numbers.iter().map(|number| of_sequence(*number as usize)).sum()
    }

    fn batch(&self, numbers: &[u32], _place: usize) -> Result<SequenceBatch> {
        self.padder.batch(&self.splits.train, numbers)
    }

    fn loss(&self, batch: &SequenceBatch, context: &mut StepContext<'_>) -> Result<Tensor> {
        let read = self.config.spec.read();
        let precision = self.config.training.trainer.gpu_precision;
        let sequences = Self::sequences(batch).recurrent_dtype(precision);
        let outputs = self.model.forward_training(sequences, read, context.rng)?;
        self.loss_of(&outputs, batch)
    }

    fn dropout_draws(&self, numbers: &[u32]) -> Option<u64> {
        let lengths = numbers.iter().map(|number| self.splits.train.seq_len(*number as usize));
        let (spec, longest) = (&self.config.spec, lengths.max().unwrap_or(0));
        Some(spec.model.dropout_draws(numbers.len(), longest, spec.read()))
    }

    fn score(&self, batch: &SequenceBatch) -> Result<Score> {
        let outputs = self
            .model
            .detach()
            .forward_unrolled(Self::sequences(batch), self.config.spec.read())?;
        let loss = self.loss_of(&outputs, batch)?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        check_teams(self.device())?;
        Ok(Score { loss, ..Score::default() })
    }

    fn validate(&self) -> Result<Score> {
        let valid = &self.splits.valid;
        let report = self.report(valid)?;
        let losses = (0..self.loss_batches(valid)).map(|batch| self.batch_loss(valid, batch));
        Ok(self.score_of(report, &losses.collect::<Result<Vec<_>>>()?))
    }

    fn piecewise_validation(&self) -> Option<&dyn PiecewiseValidation> {
        Some(self)
    }
}

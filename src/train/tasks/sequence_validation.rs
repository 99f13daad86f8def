//! The validation of sequences in pieces: a piece for each batch.

use super::outputs::for_each_output_of;
use super::report_counter::ReportCounter;
use super::sequence_task::SequenceTask;
use crate::train::{PiecewiseValidation, Score};
use crate::{Error, Result};

/// First come the batches of the network's outputs, each with what a report needs of its sequences. Behind them, unless the
/// targets are classes, come those of the loss, each with its weight and its loss.
impl PiecewiseValidation for SequenceTask {
    fn pieces(&self) -> usize {
        self.valid_batches().len() + self.loss_batches(&self.splits().valid)
    }

    fn measure_piece(&self, piece: usize) -> Result<Vec<f64>> {
        let (spec, valid) = (&self.config().spec, &self.splits().valid);
        let Some(batch) = self.valid_batches().get(piece) else {
            return Ok(self.batch_loss(valid, piece - self.valid_batches().len())?.to_vec());
        };
        let (model, counter) = (self.model().detach(), ReportCounter::new(spec)?);
        let mut found = Vec::new();
        let looked_at = (batch.as_slice(), spec.read());
        for_each_output_of(&model, self.padder(), valid, looked_at, &mut |index, outputs| {
            found.extend(counter.judge(valid, index, outputs)?);
            Ok(())
        })?;
        Ok(found)
    }

    fn score_pieces(&self, found: &[Vec<f64>]) -> Result<Score> {
        let valid = &self.splits().valid;
        if found.len() != self.pieces() {
            let (known, pieces) = (found.len(), self.pieces());
            return Err(Error::Config(format!("a validation has {pieces} pieces, got {known}")));
        }
        let (outputs, losses) = found.split_at(self.valid_batches().len());
        let mut counter = ReportCounter::new(&self.config().spec)?;
        for (batch, found) in self.valid_batches().iter().zip(outputs) {
            let mut found = found.iter().copied();
            for index in batch {
                counter.add(valid, *index as usize, &mut found)?;
            }
        }
        let loss = |found: &Vec<f64>| {
            <[f64; 2]>::try_from(found.as_slice()).map_err(|_| {
                let known = found.len();
                Error::Config(format!("a batch has a weight and a loss, got {known} numbers"))
            })
        };
        let losses = losses.iter().map(loss).collect::<Result<Vec<_>>>()?;
        Ok(self.score_of(counter.report(), &losses))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::super::{SequenceSource, SequenceTraining};
    use super::*;
    use crate::data::{
        DataSplits, Dataset, DatasetBuilder, LabelsBuilder, Numbers, Target, TargetKind,
    };
    use crate::train::Task;

    /// Sequences of 1 to 9 steps of two features.
    fn data(kind: TargetKind, count: usize) -> Dataset {
        let mut builder = DatasetBuilder::unnamed(2);
        let (mut labels, mut values) = (LabelsBuilder::new(), Vec::new());
        for n in 0..count {
            let steps = 1 + (5 * n) % 9;
            let value = |step: usize| ((n + 3 * step) as f32 * 0.37).sin();
            for step in 0..steps {
                builder.push_step(&[value(step), value(step + 1)]).unwrap();
                if kind == TargetKind::StepClass {
                    labels.push(["a", "b", "c"][(n + step) % 3]);
                }
            }
            builder.end_sequence().unwrap();
            if kind == TargetKind::Class {
                labels.push(["a", "b", "c"][n % 3]);
            }
            values.extend([value(0), 10. * value(steps)]);
        }
        let target = match kind {
            TargetKind::None => Target::None,
            TargetKind::Class => Target::Class(labels.build()),
            TargetKind::StepClass => Target::StepClass(labels.build()),
            TargetKind::Numbers => {
                Target::Numbers(Numbers { names: vec!["y".into(), "z".into()], values })
            }
        };
        builder.build(target).unwrap()
    }

    fn training() -> SequenceTraining {
        let mut training =
            SequenceTraining { window: 6, horizon: 2, ..SequenceTraining::default() };
        training.network.hidden_size = 5;
        training
    }

    /// Compares pieces, measured in any order, with a whole validation.
    fn check(task: &SequenceTask, pieces: usize) {
        let whole = task.validate().unwrap();
        assert_eq!(task.pieces(), pieces);
        let mut found: Vec<Vec<f64>> =
            (0..pieces).rev().map(|piece| task.measure_piece(piece).unwrap()).collect();
        found.reverse();
        assert_eq!(task.score_pieces(&found).unwrap(), whole);
        let error = task.score_pieces(&found[1..]).unwrap_err().to_string();
        assert!(error.contains("pieces, got"), "{error}");
        found[0].pop();
        let error = task.score_pieces(&found).unwrap_err().to_string();
        assert!(error.contains("numbers and needs"), "{error}");
    }

    #[test]
    fn pieces_have_the_bits_of_a_whole_validation() {
        for (kind, pieces) in
            [(TargetKind::Class, 3), (TargetKind::StepClass, 3), (TargetKind::Numbers, 6)]
        {
            let splits = DataSplits { train: data(kind, 60), valid: data(kind, 600), test: None };
            let source = SequenceSource::default();
            check(&SequenceTask::new(&training(), splits, source, &Device::Cpu).unwrap(), pieces);
        }
    }

    #[test]
    fn pieces_of_forecasts_have_the_bits_of_a_whole_validation() {
        let mut series = DatasetBuilder::unnamed(2);
        for t in 0..2_000 {
            series.push_step(&[(t as f32 * 0.7).sin(), (t % 12) as f32]).unwrap();
        }
        series.end_sequence().unwrap();
        let series = series.build(Target::None).unwrap();
        let mut training = training();
        training.split.valid_fraction = 0.3;
        let source = SequenceSource::default();
        let task = SequenceTask::forecast(&training, &series, source, &Device::Cpu).unwrap();
        let windows = task.splits().valid.len();
        assert!(windows > 512, "{windows}");
        check(&task, 2 * windows.div_ceil(256));
    }
}

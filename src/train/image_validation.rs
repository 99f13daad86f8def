//! The validation of images in pieces: one for each batch.

use candle_core::DType;

use super::evaluate::{correct_by_step, evaluation_batch, evaluation_batches, judge, Accumulator};
use super::{Classification, PiecewiseValidation, Score};
use crate::recurrence::check_teams;
use crate::{Error, Result};

/// A piece is a batch. Its numbers are answer and loss of each image, then, where the loss is read at several steps, how
/// many images are told right after each.
impl PiecewiseValidation for Classification {
    fn pieces(&self) -> usize {
        evaluation_batches(&self.data().valid)
    }

    fn measure_piece(&self, piece: usize) -> Result<Vec<f64>> {
        let valid = &self.data().valid;
        let range = evaluation_batch(valid, piece);
        let labels = &valid.labels()[range.clone()];
        let x = self.gather().batch(valid, range)?.x;
        let model = self.model().detach();
        let logits = model.forward(&x)?.to_dtype(DType::F64)?.to_vec2::<f64>()?;
        check_teams(x.device())?;
        let mut found = Vec::with_capacity(2 * labels.len());
        for (logits, label) in logits.iter().zip(labels) {
            let (answer, loss) = judge(logits, usize::from(*label));
            found.extend([answer as f64, loss]);
        }
        if !self.config().training.objective.loss_at.is_last() {
            let correct = correct_by_step(&model.forward_steps(&x)?, labels)?;
            found.extend(correct.into_iter().map(|correct| correct as f64));
        }
        Ok(found)
    }

    fn score_pieces(&self, found: &[Vec<f64>]) -> Result<Score> {
        let valid = &self.data().valid;
        let (mut accumulator, mut correct) = (Accumulator::default(), Vec::new());
        for (piece, found) in found.iter().enumerate() {
            let labels = &valid.labels()[evaluation_batch(valid, piece)];
            let (judged, steps) = found.split_at_checked(2 * labels.len()).ok_or_else(|| {
                let (images, numbers) = (labels.len(), found.len());
                Error::Config(format!(
                    "piece {piece} of a validation has {numbers} numbers, too few for {images} images"
                ))
            })?;
            for ([answer, loss], label) in judged.as_chunks::<2>().0.iter().zip(labels) {
                accumulator.count((*answer as usize, *loss), usize::from(*label));
            }
            correct.resize(steps.len(), 0.);
            correct.iter_mut().zip(steps).for_each(|(correct, found)| *correct += found);
        }
        let found = accumulator.evaluation();
        if found.examples != valid.len() {
            let (known, all) = (found.examples, valid.len());
            return Err(Error::Config(format!("a validation has {all} images, got {known}")));
        }
        let part = |correct: f64| correct / valid.len() as f64;
        let accuracy_by_step =
            (!correct.is_empty()).then(|| correct.into_iter().map(part).collect());
        let accuracy = Some(found.accuracy);
        Ok(Score { loss: found.loss, accuracy, accuracy_by_step, ..Score::default() })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::super::{DataConfig, ImageConfig, LossAt, ObjectiveConfig, Task, TrainConfig};
    use super::*;
    use crate::data::mnist::Mnist;

    #[test]
    fn pieces_have_the_bits_of_a_whole_validation() {
        for loss_at in [LossAt::LAST, LossAt::EVERY] {
            let objective = ObjectiveConfig { loss_at, ..ObjectiveConfig::default() };
            let config = TrainConfig { objective, ..TrainConfig::default() };
            let mut data = Mnist::sample().unwrap();
            // Several pieces, of which the last is smaller.
            data.valid = data.train.clone();
            let config = ImageConfig::new(config, DataConfig::new(&data, None));
            let task = Classification::from_config(config, data, &Device::Cpu).unwrap();
            let whole = task.validate().unwrap();
            let pieces = task.pieces();
            assert!(pieces > 2, "{pieces}");
            // In any order.
            let mut found: Vec<Vec<f64>> =
                (0..pieces).rev().map(|piece| task.measure_piece(piece).unwrap()).collect();
            found.reverse();
            assert_eq!(task.score_pieces(&found).unwrap(), whole);
            let error = task.score_pieces(&found[..pieces - 1]).unwrap_err().to_string();
            assert!(error.contains("images, got"), "{error}");
            found[1].truncate(7);
            let error = task.score_pieces(&found).unwrap_err().to_string();
            assert!(error.contains("piece 1 of a validation has 7 numbers"), "{error}");
        }
    }
}

//! The scores at the end of an epoch: measured by one process, or shared out over ranks.

use super::{PiecewiseValidation, Score, Task, Trainer};
use crate::distributed::{Meeting, Wait};
use crate::recurrence::check_teams;
use crate::{Error, Result};

impl<T: Task> Trainer<T> {
    /// The scores of the epoch's last batch, and of the validation. That of the last batch is known to rank 0 alone, and
    /// so are all but the loss where the validation is not shared out.
    ///
    /// # Errors
    /// Those of the task; [`Error::NotFinite`] for the validation loss; [`Error::Rank`] when another rank has failed.
    pub(super) fn scores(&self) -> Result<[Score; 2]> {
        let [last, valid] = if self.team.is_alone() {
            self.own_scores()
        } else if let Some(validation) = self.task.piecewise_validation() {
            self.shared_scores(validation)
        } else {
            self.leaders_scores()
        }?;
        if !valid.loss.is_finite() {
            return Err(self.cause(self.not_finite("the validation loss", self.batches())));
        }
        Ok([last, valid])
    }

    fn own_scores(&self) -> Result<[Score; 2]> {
        self.measured(|task| {
            let scores = [self.last_score(task)?, task.validate()?];
            // A task of the user's own has read them by itself.
            check_teams(task.device())?;
            Ok(scores)
        })
    }

    /// The score of the epoch's last batch.
    fn last_score(&self, task: &T) -> Result<Score> {
        let last = self.batch_places(self.batches() - 1).pop();
        let last = last.map(|place| self.batch_at(&place)).transpose()?;
        let score = last.map(|batch| task.score(&batch)).transpose()?;
        Ok(score.unwrap_or_default())
    }

    /// The scores that rank 0 has measured; to the others the validation loss alone is known.
    fn leaders_scores(&self) -> Result<[Score; 2]> {
        let mine = if self.team.leads() { self.own_scores() } else { Ok(Default::default()) };
        let mine = mine.map(|scores| (scores[1].loss.to_le_bytes().to_vec(), scores));
        let (said, mut scores) = self.team.agree(self.end_of_epoch()?, mine)?;
        if let Some(loss) = said[0].first_chunk() {
            scores[1].loss = f64::from_le_bytes(*loss);
        }
        Ok(scores)
    }

    /// The scores of a validation that all ranks share: rank r has every Nth piece from piece r on, since neighbours may take
    /// alike long, and later ones longer.
    fn shared_scores(&self, validation: &dyn PiecewiseValidation) -> Result<[Score; 2]> {
        let (pieces, ranks) = (validation.pieces(), self.team.size());
        let mine = self.measured(|task| {
            let last = if self.team.leads() { self.last_score(task)? } else { Score::default() };
            let mut bytes = Vec::new();
            for piece in (self.team.rank()..pieces).step_by(ranks) {
                let found = validation.measure_piece(piece)?;
                bytes.extend((found.len() as u64).to_le_bytes());
                found.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
            }
            Ok((bytes, last))
        });
        let (said, last) = self.team.agree(self.end_of_epoch()?, mine)?;
        Ok([last, validation.score_pieces(&in_order(&said, pieces)?)?])
    }

    fn end_of_epoch(&self) -> Result<Meeting> {
        Ok(Meeting {
            name: "epoch",
            place: self.position.epoch as u64,
            replica: self.replica()?,
            wait: Wait::Long,
        })
    }
}

/// The numbers of each piece, from what each rank said.
fn in_order(said: &[Vec<u8>], pieces: usize) -> Result<Vec<Vec<f64>>> {
    let mut rests: Vec<&[u8]> = said.iter().map(Vec::as_slice).collect();
    let found = |piece: usize| -> Result<Vec<f64>> {
        let rank = piece % said.len().max(1);
        let fail = || {
            Error::Device(format!(
                "rank {rank} has not said all of piece {piece} of the validation"
            ))
        };
        let rest = rests.get_mut(rank).ok_or_else(fail)?;
        let (length, numbers) = rest.split_first_chunk().ok_or_else(fail)?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok();
        let length = length.and_then(|length| length.checked_mul(8)).ok_or_else(fail)?;
        let (own, others) = numbers.split_at_checked(length).ok_or_else(fail)?;
        *rest = others;
        Ok(own.as_chunks::<8>().0.iter().map(|number| f64::from_le_bytes(*number)).collect())
    };
    (0..pieces).map(found).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_in_their_order_from_the_ranks_that_had_them() {
        let message = |pieces: &[&[f64]]| -> Vec<u8> {
            let mut bytes = Vec::new();
            for numbers in pieces {
                bytes.extend((numbers.len() as u64).to_le_bytes());
                numbers.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
            }
            bytes
        };
        let said = [message(&[&[0., 0.5], &[2.]]), message(&[&[], &[3., -3.]])];
        let found = in_order(&said, 4).unwrap();
        assert_eq!(found, [vec![0., 0.5], vec![], vec![2.], vec![3., -3.]]);
        assert!(in_order(&said, 5).unwrap_err().to_string().contains("rank 0"));
        let short = [said[0].clone(), said[1][..30].to_vec()];
        assert!(in_order(&short, 4).unwrap_err().to_string().contains("rank 1"));
        let huge = [u64::MAX.to_le_bytes().to_vec()];
        assert!(in_order(&huge, 1).is_err());
    }
}

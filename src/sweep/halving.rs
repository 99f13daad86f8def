//! Successive halving: after each round a part of the trials goes on, the best by validation.

use serde::Deserialize;

use crate::{Error, Result};

/// How trials are stopped early (Jamieson & Talwalkar, 2016): all train for some epochs, the best part of them for more,
/// and so on; the last ones train to their end.
///
/// A trial that goes on continues where it was, on the learning-rate schedule of a whole training: one that reaches the
/// end has the bits of a training that was never compared.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HalvingConfig {
    /// Rounds, the last of which ends with the last epoch; at least 2.
    pub rounds: usize,
    /// The part of the trials that goes on after each round, above 0 and below 1. Rounds shrink by it, too: 8 epochs
    /// in 3 rounds of a half are 2, 4 and 8.
    #[serde(default = "half")]
    pub keep: f64,
}

fn half() -> f64 {
    0.5
}

/// A round of a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    /// The epochs after which it ends, counted from the beginning of the training; `None` for the last round, which
    /// ends when the training does.
    pub epochs: Option<usize>,
    /// How many trials take part in it at most.
    pub trials: usize,
    /// The epochs that a trial trains in it; 1 where nobody knows.
    pub length: usize,
}

impl Round {
    /// The only round of a sweep without halving.
    pub(super) fn whole(trials: usize) -> Self {
        Self { epochs: None, trials, length: 1 }
    }
}

impl HalvingConfig {
    /// The rounds of so many trials that train for `epochs`.
    ///
    /// # Errors
    /// [`Error::Config`] when a setting is out of its range, or the epochs are too few for so many rounds.
    pub fn rounds(&self, trials: usize, epochs: usize) -> Result<Vec<Round>> {
        let Self { rounds, keep } = *self;
        if !(keep > 0. && keep < 1.) {
            return Err(Error::Config(format!("keep must be above 0 and below 1, got {keep}")));
        }
        if !(2..=64).contains(&rounds) {
            return Err(Error::Config(format!("rounds must be 2 to 64, got {rounds}")));
        }
        let (mut result, mut left, mut before) = (Vec::new(), trials, 0);
        for round in 1..=rounds {
            let part = keep.powi((rounds - round) as i32);
            let end = ((epochs as f64 * part).round() as usize).max(1);
            if end <= before {
                return Err(Error::Config(format!(
                    "{epochs} epochs are too few for {rounds} rounds that shrink to {keep}: train for more, or in \
                     fewer rounds"
                )));
            }
            let is_last = round == rounds;
            result.push(Round {
                epochs: (!is_last).then_some(end),
                trials: left,
                length: end - before,
            });
            before = end;
            left = kept(left, keep);
        }
        Ok(result)
    }
}

/// How many of so many trials go on: the part, rounded up.
fn kept(trials: usize, keep: f64) -> usize {
    // A hair less: 0.1 of 30 is 3, whatever the product's last bit.
    let part = (trials as f64 * keep - 1e-9).ceil() as usize;
    part.clamp(trials.min(1), trials)
}
